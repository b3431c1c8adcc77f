"""What makes a study be matched with orders: its first image, a correction, an order, a performed step."""

from collections.abc import Sequence
from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from pacs.models import Correction, Study
from pacs.services.hiding import hide_what_came
from pacs.signals import studies_stored
from radiology.models import Order, Patient
from radiology.signals import order_changed, order_placed, patient_merged, patient_unmerged
from worklist.models import CaseState, PerformedProcedureStep, ReconciliationCase, ReconciliationDecision
from worklist.services.reconciliation_jobs import look_at, look_at_new, look_at_order, look_at_patients


@receiver(studies_stored)
def match_what_is_new(new: Sequence[int], returned: Sequence[int] = (), **_: Any) -> None:
    """Only a study's first image costs anything; what comes for hidden images of a wrong patient is hidden too."""
    if returned:
        _hide_what_came(returned)
    if new:
        look_at_new(new)


def _hide_what_came(studies: Sequence[int]) -> None:
    hidden = ReconciliationCase.objects.filter(study_ref__in=studies, state=CaseState.WRONG_PATIENT)
    standing = ReconciliationDecision.objects.filter(case__in=hidden, undone_at=None).exclude(removal=None)
    for decision in standing.select_related("removal").order_by("pk"):
        if decision.removal is not None and decision.removal.restored_at is None:
            hide_what_came(removal=decision.removal)


@receiver(post_save, sender=Correction)
def match_what_was_corrected(instance: Correction, **_: Any) -> None:
    """A study that was corrected, split or merged, and one that was corrected back."""
    studies = [instance.study_ref_id, instance.other_study_ref_id]
    look_at([pk for pk in studies if pk is not None])


@receiver(order_placed)
@receiver(order_changed)
def match_with_order(order: Order, **_: Any) -> None:
    """Images may have come before their order; and what was called off is a candidate no more."""
    look_at_order(order)


@receiver(patient_merged)
@receiver(patient_unmerged)
def match_with_patients(survivor: Patient, merged: Patient, **_: Any) -> None:
    """Who contradicted the images may be the same person now, or another one again."""
    look_at_patients(survivor, merged)


@receiver(post_save, sender=PerformedProcedureStep)
def match_what_was_performed(instance: PerformedProcedureStep, **_: Any) -> None:
    """What the modality reports of a study, once the study is here, says which order it is for."""
    if instance.study_instance_uid:
        found = Study.objects.filter(study_instance_uid=instance.study_instance_uid, site=instance.site_id)
        if not instance.discontinuation_reason:
            found = found.filter(requested_procedure_ref=None)
        look_at(found.values_list("pk", flat=True))
