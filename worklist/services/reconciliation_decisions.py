"""The other answers to a case: no order, wrong patient; and taking any decision back."""

import contextlib
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from pacs.models import WRITTEN, RemovalCode, Study
from pacs.services import removal
from pacs.services.coercion import lock_studies, show_anew
from pacs.services.hiding import hide_study
from radiology.dicom import new_uid
from radiology.errors import Conflict, InvalidValue, NotFound, PreconditionFailed
from radiology.models import Order, OrderOrigin, OrderStatus, ProcedureStatus, RequestedProcedure, User
from radiology.services.order_states import move_order
from radiology.signals import order_placed
from worklist.models import CaseReason, CaseState, DecisionKind, ReconciliationCase, ReconciliationDecision
from worklist.services.reconciliation import (
    ByRule,
    audited,
    decided,
    locked_case,
    require_right,
    save_case,
    standing,
    tell,
    told,
    undo_corrections,
)
from worklist.services.reconciliation_facts import facts_of


@transaction.atomic
def dismiss(
    *,
    who: Any,
    case: ReconciliationCase,
    version: int | None = None,
    makes_order: bool = False,
    address: str | None = None,
) -> ReconciliationDecision:
    """Say that a study has no order. With `makes_order` it gets one of its own, so that it is billed and reported.

    Raises NotAllowed, NotFound, Conflict, PreconditionFailed.
    """
    case, study = locked_case(who, case, version)
    if case.state != CaseState.OPEN:
        raise Conflict(_("This is decided already: take that back first."))
    before = standing(case, study)
    procedure = None
    if makes_order:
        procedure = unscheduled_order(study=study, who=who)
        Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
        show_anew(study.pk)
        study.refresh_from_db()
        before["made"] = procedure.order_ref_id
    return decided(
        case,
        study,
        DecisionKind.DISMISS,
        state=CaseState.DISMISSED,
        who=who,
        procedure=procedure,
        before=before,
        address=address,
    )


def unscheduled_order(*, study: Study, who: Any) -> RequestedProcedure:
    """An order for images that were made without one, inside the caller's transaction; its only procedure.

    It takes the accession number of the images where no order has it, and is completed: the images are there.
    """
    number = study.accession_number.strip()[:16]
    issuer = study.issuer_of_accession_number
    same = Order.objects.filter(site=study.site_id, accession_number=number, issuer_of_accession_number=issuer)
    free = bool(number) and len(study.accession_number.strip()) <= 16 and not same.exists()
    order = Order.objects.create(
        site_id=study.site_id,
        patient_ref_id=study.patient_ref_id,
        accession_number=number if free else "",
        issuer_of_accession_number=issuer if free else "",
        referring_physician_name=study.referring_physician_name,
        status=OrderStatus.COMPLETED,
        origin=OrderOrigin.IMAGES,
        entered_by=who if isinstance(who, User) else None,
        requested_start=study.study_datetime,
    )
    modalities = [each for each in study.modalities_in_study if each not in WRITTEN]
    series = study.series.exclude(body_part_examined="").order_by("pk").first()
    uid = study.study_instance_uid
    procedure = RequestedProcedure.objects.create(
        order_ref=order,
        requested_procedure_id=f"U{order.pk}"[:16],
        requested_procedure_description=(study.study_description or ", ".join(modalities))[:64],
        modality=modalities[0] if modalities else "",
        body_part_examined=series.body_part_examined[:16] if series else "",
        status=ProcedureStatus.COMPLETED,
        study_instance_uid=new_uid() if RequestedProcedure.objects.filter(study_instance_uid=uid).exists() else uid,
    )
    order_placed.send(sender=Order, order=order, procedures=[procedure])
    return procedure


@transaction.atomic
def mark_wrong_patient(
    *,
    who: Any,
    case: ReconciliationCase,
    version: int | None = None,
    reason: str = "",
    address: str | None = None,
) -> ReconciliationDecision:
    """Say that these images are of somebody else than they name, whom nobody knows yet.

    They are hidden from every door, with what still arrives for them, and never deleted. Raises NotAllowed, NotFound,
    Conflict, PreconditionFailed.
    """
    case, study = locked_case(who, case, version)
    if case.state == CaseState.WRONG_PATIENT:
        raise Conflict(_("These images are hidden already."))
    before = standing(case, study)
    hidden = hide_study(who=who, study=study, code=RemovalCode.WORKLIST_ENTRY, reason=reason, address=address)
    return decided(
        case,
        study,
        DecisionKind.WRONG_PATIENT,
        state=CaseState.WRONG_PATIENT,
        who=who,
        before=before,
        removal=hidden,
        reason=reason,
        address=address,
    )


@transaction.atomic
def undo(
    *,
    who: Any,
    decision: ReconciliationDecision,
    version: int | None = None,
    address: str | None = None,
) -> ReconciliationCase:
    """Take a decision back: study, case and order are as before it. Undoing twice is harmless.

    What was linked by itself waits for a person from then on. Raises NotAllowed, NotFound; Conflict when a later
    decision or correction stands on it; PreconditionFailed when the case is not at `version`.
    """
    require_right(who)
    known = ReconciliationDecision.objects.visible_to(who).select_related("case").filter(pk=decision.pk).first()
    if known is None:
        raise NotFound(_("There is no such decision."))
    case, study = locked_case(who, known.case, None)
    decision = ReconciliationDecision.objects.select_for_update(of=("self",)).get(pk=known.pk)
    if decision.undone_at is not None:
        return case
    if version is not None and version != case.version:
        raise PreconditionFailed(told(case))
    latest = case.decisions.filter(undone_at=None).order_by("-pk").first()
    if latest is not None and latest.pk != decision.pk:
        raise Conflict(_("It was decided anew since: take the later decision back first."))
    now_serves = {
        "procedure": study.requested_procedure_ref_id,
        "also_serves": list(case.also_serves.order_by("pk").values_list("pk", flat=True)),
    }
    _restore(case, study, decision, who, address)
    decision.undone_at = case.updated_at
    decision.undone_by = str(who)[:200]
    decision.save(update_fields=["undone_at", "undone_by"])
    audited("study.decision.undone", decision, study, who, address)
    tell(case, study, now_serves, who)
    return case


def withdraw_wrong_entry(*, study: int) -> None:
    """Take back what was linked by itself, once the device says that it had the wrong entry of its worklist before it.

    What a person decided stays, and so does a study that was corrected since.
    """
    with transaction.atomic():
        lock_studies([study])
        cases = ReconciliationCase.objects.filter(study_ref=study, state=CaseState.LINKED, decided_by_hand=False)
        case = cases.exclude(rule="").select_related("study_ref__patient_ref").first()
        if case is None or case.study_ref.deleted_at is not None or not facts_of(case.study_ref).wrong_entry:
            return
        latest = case.decisions.filter(undone_at=None).order_by("-pk").first()
        if latest is not None:
            with contextlib.suppress(Conflict), transaction.atomic():
                undo(who=ByRule("wrong-entry", case.site.pk), decision=latest)


def _restore(
    case: ReconciliationCase, study: Study, decision: ReconciliationDecision, who: Any, address: str | None
) -> None:
    """Put back what `standing` kept. Raises Conflict, and nothing is done, where something stands on it."""
    before = decision.before
    if decision.kind == DecisionKind.WRONG_PATIENT:
        hidden = decision.removal
        if hidden is None:
            raise InvalidValue(_("What hid these images is not known any more: restore them on the study's page."))
        removal.restore(who=who, removal=hidden, address=address)
    undo_corrections(who, before.get("corrections", []), address)
    Study.objects.filter(pk=study.pk).update(
        requested_procedure_ref=_still(RequestedProcedure, before["procedure"]),
        ordering_physician=_still(User, before["ordering_physician"]),
    )
    show_anew(study.pk)
    study.refresh_from_db()
    if before.get("made"):
        _discard_order(before["made"], who)
    case.also_serves.set(RequestedProcedure.objects.filter(pk__in=before["also_serves"]))
    case.state, case.rule = before["state"], before["rule"]
    case.reason = before["reason"] if before["reason"] or case.state != CaseState.OPEN else CaseReason.TAKEN_BACK
    case.decided_by_id = _still(User, before["decided_by"])
    case.decided_at = datetime.fromisoformat(before["decided_at"]) if before["decided_at"] else None
    case.decided_by_hand = True
    save_case(case)


def _still(model: Any, key: int | None) -> int | None:
    """The key of a row that may be gone since."""
    return key if key is not None and model.objects.filter(pk=key).exists() else None


def _discard_order(key: int, who: Any) -> None:
    """The order that a decision made was made in error; one that is used elsewhere stays."""
    order = Order.objects.filter(pk=key, origin=OrderOrigin.IMAGES).first()
    if order is None or Study.objects.filter(requested_procedure_ref__order_ref=order).exists():
        return
    Order.objects.filter(pk=key).update(accession_number="", issuer_of_accession_number="")
    RequestedProcedure.objects.filter(order_ref=key).update(study_instance_uid=new_uid())
    move_order(order=order, to=OrderStatus.ENTERED_IN_ERROR, who=who, reason=_("The study has another order."))
