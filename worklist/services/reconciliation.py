"""Studies find their orders: by themselves where nothing is in doubt, else by somebody's decision; all can be undone.

Whatever a link corrects is laid over the study (pacs.services.corrections); stored bytes never change.
The study is locked before its case, as storing and correcting lock it, so that no two decide at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import Correction, Study
from pacs.services import corrections
from pacs.services.coercion import lock_studies, show_anew
from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed
from radiology.models import AuditAction, OrderStatus, RequestedProcedure, User
from radiology.services import audit
from worklist.models import (
    CaseReason,
    CaseState,
    DecisionKind,
    ReconciliationCase,
    ReconciliationDecision,
    WorklistSettings,
)
from worklist.services.reconciliation_candidates import SHOWN, Candidate, candidates_of
from worklist.services.reconciliation_facts import facts_of
from worklist.services.reconciliation_rules import verdict_on
from worklist.services.resemblance import words
from worklist.signals import study_linked


@dataclass(frozen=True)
class ByRule:
    """Who decides when nobody does: a written rule, at one site. Stands where a user stands."""

    rule: str
    site_id: int
    sees_every_site: bool = False

    def may(self, scope: str) -> bool:
        return scope in {"studies.read", "studies.correct", "worklist.reconcile"}

    def __str__(self) -> str:
        return f"reconciliation: {self.rule}"


@transaction.atomic
def reconcile_study(*, study: int) -> ReconciliationCase | None:
    """Look for the order of a study: link it, renew its case, or let it be. Safe to run any number of times.

    What has an order, or was decided by a person, is not linked anew; an open case gets its candidates anew.
    """
    lock_studies([study])
    found = Study.objects.select_related("site", "patient_ref").filter(pk=study).first()
    if found is None or found.deleted_at is not None:
        return None
    case = ReconciliationCase.objects.select_for_update().filter(study_ref=found).first()
    if found.requested_procedure_ref_id is not None or (case is not None and case.state != CaseState.OPEN):
        return _settled(found, case)
    facts = facts_of(found)
    candidates = candidates_of(facts)
    wishes = WorklistSettings.objects.filter(site=found.site_id).first() or WorklistSettings(site=found.site)
    verdict = verdict_on(facts, candidates, expects_orders=wishes.expects_orders)
    by_hand = case is not None and case.decided_by_hand
    if verdict.link is not None and wishes.links_by_itself and not by_hand:
        case = case or _opened(found)
        _renew(case, verdict.reason, candidates)
        return _link(
            case,
            found,
            verdict.link.procedure,
            who=ByRule(verdict.rule, found.site_id),
            also=[each.procedure for each in verdict.also],
            rule=verdict.rule,
        ).case
    if by_hand or verdict.link is not None or verdict.reason is not None:
        case = case or _opened(found)
        reason = verdict.reason or CaseReason.TAKEN_BACK if by_hand else verdict.reason
        _renew(case, reason, candidates)
    elif case is not None:
        case.delete()
        return None
    return case


@transaction.atomic
def link(
    *,
    who: Any,
    case: ReconciliationCase,
    procedure: RequestedProcedure,
    version: int | None = None,
    also: Sequence[RequestedProcedure] = (),
    address: str | None = None,
) -> ReconciliationDecision:
    """Say which requested procedure a study belongs to, and whose it is with that.

    Accession number and patient of the order are laid over the study, its description and referring physician
    where the study's say nothing of the kind. Raises NotAllowed, NotFound, Conflict, PreconditionFailed when somebody
    decided after `version`.
    """
    case, study = locked_case(who, case, version)
    known = RequestedProcedure.objects.select_related("order_ref__patient_ref", "order_ref__ordering_physician")
    wanted = known.filter(pk=procedure.pk, order_ref__site=case.site_id).first()
    if wanted is None or wanted.order_ref.status in {OrderStatus.ENTERED_IN_ERROR, OrderStatus.DRAFT}:
        raise NotFound(_("There is no such order at this site."), field="procedure")
    if case.state == CaseState.WRONG_PATIENT:
        raise Conflict(_("These images are hidden as of the wrong patient: take that back first."))
    if study.requested_procedure_ref_id == wanted.pk:
        raise InvalidValue(_("The study is linked to this order already."), field="procedure")
    return _link(case, study, wanted, who=who, also=also, address=address)


def _link(
    case: ReconciliationCase,
    study: Study,
    procedure: RequestedProcedure,
    *,
    who: Any,
    also: Sequence[RequestedProcedure] = (),
    rule: str = "",
    address: str | None = None,
) -> ReconciliationDecision:
    before = standing(case, study)
    made = _correct(study, procedure, who, address)
    order = procedure.order_ref
    Study.objects.filter(pk=study.pk).update(
        requested_procedure_ref=procedure, ordering_physician=order.ordering_physician_id
    )
    show_anew(study.pk)
    study.refresh_from_db()
    case.also_serves.set(also)
    return decided(
        case,
        study,
        DecisionKind.LINK,
        state=CaseState.LINKED,
        who=who,
        rule=rule,
        procedure=procedure,
        before={**before, "corrections": made},
        address=address,
    )


def _correct(study: Study, procedure: RequestedProcedure, who: Any, address: str | None) -> list[str]:
    """Lay over what the order knows better; the corrections made, in their order."""
    order, made = procedure.order_ref, []
    reason = _("Linked to order %(number)s.") % {"number": order.accession_number or order.public_id}
    common: dict[str, Any] = {"who": who, "reason": reason[:200], "address": address}
    if order.patient_ref_id != study.patient_ref_id:
        done = corrections.assign_patient(study=study, version=study.version, patient=order.patient_ref, **common)
        made.append(str(done.public_id))
        study.refresh_from_db()
    changes = {}
    if order.accession_number and order.accession_number != study.accession_number:
        changes["AccessionNumber"] = order.accession_number
    ordered = procedure.requested_procedure_description
    if ordered and not words(ordered) & words(study.study_description):
        changes["StudyDescription"] = ordered
    referrer = order.referring_physician_name
    if referrer and not study.referring_physician_name and len(referrer) <= 194 and "\\" not in referrer:
        changes["ReferringPhysicianName"] = referrer
    if changes:
        done = corrections.correct_study(study=study, version=study.version, changes=changes, **common)
        made.append(str(done.public_id))
        study.refresh_from_db()
    return made


def standing(case: ReconciliationCase, study: Study) -> dict[str, Any]:
    """What a decision changes, as it stands before: enough to undo it."""
    return {
        "state": case.state,
        "reason": case.reason,
        "rule": case.rule,
        "decided_by": case.decided_by_id,
        "decided_at": case.decided_at.isoformat() if case.decided_at else None,
        "procedure": study.requested_procedure_ref_id,
        "ordering_physician": study.ordering_physician_id,
        "also_serves": sorted(case.also_serves.values_list("pk", flat=True)) if case.pk else [],
    }


def decided(
    case: ReconciliationCase,
    study: Study,
    kind: DecisionKind,
    *,
    state: CaseState,
    who: Any,
    before: dict[str, Any],
    rule: str = "",
    procedure: RequestedProcedure | None = None,
    removal: Any = None,
    reason: str = "",
    address: str | None = None,
) -> ReconciliationDecision:
    """Write a decision down: its row, the case as it stands now, the audit trail, and whoever must know."""
    now = timezone.now()
    case.state, case.rule, case.decided_at = state, rule, now
    case.decided_by = who if isinstance(who, User) else None
    case.decided_by_hand = case.decided_by_hand or not isinstance(who, ByRule)
    save_case(case)
    decision = ReconciliationDecision.objects.create(
        site_id=case.site_id,
        case=case,
        kind=kind,
        procedure_ref=procedure,
        removal=removal,
        rule=rule,
        before=before,
        reason=clean(reason)[:200],
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
        created_at=now,
    )
    audited(f"study.{kind}", decision, study, who, address)
    tell(case, study, before, who)
    return decision


def save_case(case: ReconciliationCase) -> None:
    """A case that changed: the next version of it, for those who look at it."""
    case.version += 1
    case.updated_at = timezone.now()
    case.save()


def tell(case: ReconciliationCase, study: Study, before: dict[str, Any], who: Any) -> None:
    """Send `study_linked` when the procedures that a study serves are others than before."""
    until = [pk for pk in (before["procedure"], *before["also_serves"]) if pk is not None]
    now = [study.requested_procedure_ref_id, *case.also_serves.order_by("pk").values_list("pk", flat=True)]
    keys = [pk for pk in now if pk is not None]
    if keys != until:
        rows = RequestedProcedure.objects.select_related("order_ref").in_bulk({*keys, *until})
        study_linked.send(
            sender=Study,
            study=study,
            procedures=[rows[pk] for pk in keys if pk in rows],
            before=[rows[pk] for pk in until if pk in rows],
            who=who,
        )


def audited(event: str, decision: ReconciliationDecision, study: Study, who: Any, address: str | None) -> None:
    procedure = decision.procedure_ref
    audit.record(
        event=event,
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={
            "decision": str(decision.public_id),
            "procedure": str(procedure.public_id) if procedure else "",
            "rule": decision.rule,
        },
    )


def require_right(who: Any) -> None:
    if not (who.may("worklist.reconcile") and who.may("studies.correct")):
        raise NotAllowed(_("You may not decide which order a study belongs to."))


def locked_case(who: Any, case: ReconciliationCase, version: int | None) -> tuple[ReconciliationCase, Study]:
    """A case and its study, both locked. Raises PreconditionFailed when somebody decided after `version`."""
    require_right(who)
    lock_studies([case.study_ref_id])
    found = ReconciliationCase.objects.visible_to(who).select_for_update(of=("self",)).filter(pk=case.pk).first()
    if found is None:
        raise NotFound(_("There is no such case."))
    study = Study.objects.select_related("site", "patient_ref").get(pk=found.study_ref_id)
    if version is not None and version != found.version:
        raise PreconditionFailed(told(found))
    if study.deleted_at is not None and found.state != CaseState.WRONG_PATIENT:
        raise Conflict(_("The study was deleted meanwhile."))
    return found, study


def told(case: ReconciliationCase) -> str:
    """What the second of two who decide the same case is told."""
    latest = case.decisions.order_by("-pk").first()
    if latest is None:
        return _("What is known of this study changed meanwhile: look at it again, then decide.")
    facts = {"who": latest.undone_by or latest.agent, "what": latest.get_kind_display()}
    if latest.undone_at is not None:
        return _("%(who)s took “%(what)s” back meanwhile: look at it again, then decide.") % facts
    return _("%(who)s decided this meanwhile: “%(what)s”. Look at it again; it can be taken back.") % facts


def _settled(study: Study, case: ReconciliationCase | None) -> ReconciliationCase | None:
    """A study that has its order: a case that still waits was overtaken by somebody who linked it elsewhere."""
    if case is not None and case.state == CaseState.OPEN and study.requested_procedure_ref_id is not None:
        case.state = CaseState.LINKED
        save_case(case)
    if (
        case is not None
        and case.state == CaseState.LINKED
        and study.requested_procedure_ref_id is None
        and not study.deleted_at
    ):
        # Somebody said that it is another patient's, and with that left the order behind.
        case.state, case.reason, case.rule = CaseState.OPEN, CaseReason.TAKEN_BACK, ""
        case.also_serves.clear()
        case.version += 1
        _renew(case, CaseReason.TAKEN_BACK, candidates_of(facts_of(study)))
    return case


def _opened(study: Study) -> ReconciliationCase:
    return ReconciliationCase.objects.create(site_id=study.site_id, study_ref=study)


def _renew(case: ReconciliationCase, reason: CaseReason | None, candidates: Sequence[Candidate]) -> None:
    """Keep what was found. No version rises: what a person is about to decide is not decided by that."""
    entries = [each.entry() for each in candidates[:SHOWN]]
    shown = {each["procedure"] for each in entries}
    entries += [each.entry() for each in candidates[SHOWN:] if each.named and each.procedure.pk not in shown][:SHOWN]
    if (case.candidates, case.reason) == (entries, reason or "") and case.state == CaseState.OPEN and case.pk:
        return
    case.candidates, case.reason, case.updated_at = entries, reason or "", timezone.now()
    case.save()


def undo_corrections(who: Any, keys: Sequence[str], address: str | None) -> None:
    """Take corrections back, the latest first. Raises Conflict when the study was corrected again since."""
    for public_id in reversed(keys):
        correction = Correction.objects.filter(public_id=public_id).first()
        if correction is not None:
            corrections.undo(who=who, correction=correction, address=address)
