"""What a merge of patients does to performed steps: they move with the examination that they answer.

One that comes under a merged number is the survivor's, says so, and is noted with the merge; should that be undone,
it goes back, and an order that was made for it as well.
"""

from collections.abc import Iterable
from typing import Any

from radiology.models import Order, OrderOrigin, Patient, PatientMerge, PatientMergeItem
from radiology.services.identity import Identity, means
from radiology.services.patient_moves import Mover, moves
from radiology.services.survivors import kind_of, note_late_arrival, survivor_of
from worklist.models import PerformedProcedureStep, PerformedWarning


@moves("worklist.performedprocedurestep.patient_ref")
class PerformedSteps(Mover):
    """After their orders, which are earlier in the order of kinds."""

    def give_back(self, before: dict[int, dict[str, Any]], survivor: Patient, merged: Patient) -> list[int]:
        keys = super().give_back(before, survivor, merged)
        former = PerformedWarning.FORMER_NUMBER
        for each in PerformedProcedureStep.objects.filter(pk__in=keys, warnings__contains=[former]).order_by("pk"):
            each.warnings = [warning for warning in each.warnings if warning != former]
            each.save(update_fields=["warnings"])
        return keys

    def late(self, merge: PatientMerge, survivor: Patient, merged: Patient) -> Iterable[int]:
        """Those that came since for an examination which is the merged patient's by now, whatever they named."""
        since = self.rows(survivor).filter(created_at__gte=merge.created_at)
        theirs = since.filter(references__scheduled_ref__requested_procedure_ref__order_ref__patient_ref=merged)
        return list(theirs.order_by("pk").values_list("pk", flat=True).distinct())


def merged_patient_named(*, identity: Identity, patient: Patient) -> Patient | None:
    """The patient whose number a device names, when that one was merged into `patient`."""
    if not identity.patient_id or not identity.trusted or identity.patient_id == patient.patient_id:
        return None
    former = Patient.objects.filter(site=patient.site_id, patient_id=identity.patient_id, provisional_for="")
    return next(
        (
            each
            for each in former.exclude(merged_into=None).order_by("pk")[:5]
            if survivor_of(each).pk == patient.pk and means(each, identity)
        ),
        None,
    )


def note_former_number(*, performed: PerformedProcedureStep, named: Patient, orders: Iterable[Order]) -> None:
    """Note with the merge of `named` that a performed step, and an order that was made for it, came since.

    One that answers an order of the survivor's own stays with that.
    """
    while named.merged_into is not None and named.merged_at is not None:
        came_since = False
        for order in orders:
            if order.origin == OrderOrigin.IMAGES and order.created_at >= named.merged_at:
                note_late_arrival(named=named, row=order)
            came_since = came_since or _moves_with(named, order)
        if came_since:
            note_late_arrival(named=named, row=performed)
        named = named.merged_into


def _moves_with(named: Patient, order: Order) -> bool:
    moved = PatientMergeItem.objects.filter(merge__merged=named, merge__undone_at=None)
    return moved.filter(kind=kind_of(Order, "patient_ref"), row_id=order.pk).exists()
