"""Deciding about held objects: those that were received, kept, and contradict what is there.

All objects of one case (one study, conflict, sender and patient) are decided together, by a person,
and each decision can be taken back: the bytes of both sides stay.
"""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import (
    Correction,
    HeldChoice,
    HeldDecision,
    HeldObject,
    HeldReason,
    HeldState,
    Location,
)
from pacs.services import corrections, held_filing
from pacs.services.held_admission import Admission, CaseKey, set_demographics, study_of
from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Patient, User
from radiology.services import audit

# What may be decided, by conflict.
CHOICES: dict[HeldReason, tuple[HeldChoice, ...]] = {
    HeldReason.OTHER_HEADER: (HeldChoice.REPLACE, HeldChoice.REJECT),
    HeldReason.OTHER_PIXELS: (HeldChoice.REJECT, HeldChoice.REPLACE),
    HeldReason.STUDY_OF_OTHER_PATIENT: (HeldChoice.APART, HeldChoice.JOIN, HeldChoice.REJECT),
    HeldReason.SERIES_OF_OTHER_STUDY: (HeldChoice.APART, HeldChoice.JOIN, HeldChoice.REJECT),
    HeldReason.INSTANCE_ELSEWHERE: (HeldChoice.REJECT, HeldChoice.REPLACE),
}
# Takes an image out of sight that people may have read: somebody must say why.
NEEDS_REASON = {
    (HeldReason.OTHER_PIXELS, HeldChoice.REPLACE),
    (HeldReason.INSTANCE_ELSEWHERE, HeldChoice.REPLACE),
}


def decide(*, who: Any, case: CaseKey, choice: HeldChoice, why: str = "", address: str | None = None) -> HeldDecision:
    """Decide about what waits of a case, up to the newest object that was seen.

    The same decision again is the same decision. Raises NotAllowed, NotFound, InvalidValue (another
    choice than CHOICES offers, no reason where one is needed), Conflict when somebody else has decided
    otherwise or when the archive does not allow it.
    """
    _require_right(who)
    why = clean(why)[:200]
    if choice not in CHOICES[case.reason]:
        raise InvalidValue(_("This conflict cannot be decided so."), field="choice")
    if (case.reason, choice) in NEEDS_REASON and not why:
        raise InvalidValue(_("Say why the first image is to be replaced: people may have read it."), field="why")
    with transaction.atomic():
        found = HeldObject.objects.visible_to(who).waiting().filter(**case.filter, pk__lte=case.newest)
        held = list(found.select_for_update(of=("self",)).select_related("site", "volume").order_by("pk"))
        if not held:
            return _decided_already(who, case, choice)
        held_filing.lock_touched(held)
        decision = _decide(who, case, choice, why, held, address)
    if decision is None:
        raise Conflict(_("Objects with these UIDs have arrived since: look at the conflict again."))
    return decision


def undo(*, who: Any, decision: HeldDecision, address: str | None = None) -> None:
    """Take a decision back: its objects wait again. Twice is harmless.

    Raises NotAllowed, NotFound, Conflict when something later builds upon it.
    """
    _require_right(who)
    with transaction.atomic():
        found = HeldDecision.objects.visible_to(who).select_for_update().filter(pk=decision.pk).first()
        if found is None:
            raise NotFound(_("There is no such decision."))
        if found.undone_at is not None:
            return
        _record(who, "held.undone", found, address)
        held = list(HeldObject.objects.select_for_update().filter(decision=found))
        held_filing.lock_touched(held)
        made = found.undo.get("made_studies", [])
        if made:
            _require_untouched(made, held)
        for correction in Correction.objects.filter(public_id__in=found.undo.get("corrections", [])):
            corrections.undo(who=who, correction=correction, address=address)
        if found.choice != HeldChoice.REJECT:
            held_filing.take_back(held=held, undo=found.undo)
        for public_id, before in found.undo.get("patients", {}).items():
            set_demographics(Patient.objects.get(public_id=public_id), before, who=who, address=address)
        held_filing.release(held)
        found.undone_at = timezone.now()
        found.save(update_fields=["undone_at"])


def _decide(
    who: Any,
    case: CaseKey,
    choice: HeldChoice,
    why: str,
    held: list[HeldObject],
    address: str | None,
) -> HeldDecision | None:
    decision = HeldDecision.objects.create(
        site_id=case.site_id,
        reason=case.reason,
        choice=choice,
        study_instance_uid=case.study_instance_uid,
        source_ae_title=case.source_ae_title,
        patient_id=case.patient_id,
        study_ref=study_of(case),
        why=why,
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
    )
    filing = Admission(who, case, decision, held, address)
    if choice == HeldChoice.REJECT:
        decided, state = [each.pk for each in held], HeldState.REJECTED
    else:
        {HeldChoice.REPLACE: filing.replace, HeldChoice.JOIN: filing.join, HeldChoice.APART: filing.apart}[choice]()
        decided, state = [entry["held"] for entry in filing.filed.objects], HeldState.ACCEPTED
        held_filing.settle(filing.filed)
    if not decided:
        decision.delete()
        return None
    HeldObject.objects.filter(pk__in=decided).update(state=state, decision=decision)
    decision.number_of_objects = len(decided)
    decision.undo = filing.filed.as_json() | filing.extra
    decision.save()
    _record(who, "held.decided", decision, address)
    return decision


def _require_right(who: Any) -> None:
    if not who.may("inbox.decide"):
        raise NotAllowed(_("You may not decide about conflicting images."))


def _decided_already(who: Any, case: CaseKey, choice: HeldChoice) -> HeldDecision:
    found = HeldDecision.objects.visible_to(who).filter(**case.filter, undone_at=None).order_by("-pk").first()
    if found is None:
        raise NotFound(_("This conflict is not waiting any more."))
    if found.choice != choice:
        raise Conflict(
            _("%(who)s has decided otherwise: %(choice)s.") % {"who": found.agent, "choice": found.get_choice_display()}
        )
    return found


def _require_untouched(studies: Sequence[int], held: Sequence[HeldObject]) -> None:
    later = Correction.objects.filter(Q(study_ref__in=studies) | Q(other_study_ref__in=studies), undone_at=None)
    if later.exists():
        raise Conflict(_("The study that was made for them was corrected since: undo that first."))
    others = (
        Location.objects.current()
        .filter(instance_ref__series_ref__study_ref__in=studies)
        .exclude(sha256__in=[bytes(each.sha256) for each in held])
    )
    if others.exists():
        raise Conflict(_("More images joined the study that was made for them: take those decisions back first."))


def _record(who: Any, event: str, decision: HeldDecision, address: str | None) -> None:
    """Into the history of the study that the objects name, and of the one that they went to."""
    uids = {decision.study_instance_uid}
    if decision.study_ref is not None:
        uids.add(decision.study_ref.study_instance_uid)
    for uid in sorted(uids):
        audit.record(
            event=event,
            action=AuditAction.UPDATE,
            who=who,
            address=address,
            site_id=decision.site_id,
            patient_id=decision.study_ref.patient_ref_id if decision.study_ref else None,
            study_instance_uid=uid,
            detail={
                "decision": str(decision.public_id),
                "conflict": decision.reason,
                "choice": decision.choice,
                "objects": decision.number_of_objects,
            },
        )
