"""Which scheduled step a device means: by step ID, else by accession and procedure ID, else by study UID."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import QuerySet

from radiology.models import Site
from worklist.models import ENDED, ScheduledProcedureStep
from worklist.services.dicom_json import text


@dataclass(frozen=True)
class Named:
    """An item of Scheduled Step Attributes Sequence (0040,0270)."""

    study_instance_uid: str = ""
    accession_number: str = ""
    requested_procedure_id: str = ""
    scheduled_procedure_step_id: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        return cls(
            study_instance_uid=text(item, "StudyInstanceUID"),
            accession_number=text(item, "AccessionNumber"),
            requested_procedure_id=text(item, "RequestedProcedureID"),
            scheduled_procedure_step_id=text(item, "ScheduledProcedureStepID"),
        )


def matching_step(*, site: Site, named: Named, modality: str) -> ScheduledProcedureStep | None:
    """The step of `site` that is meant; None when there is none, or when the device contradicts itself.

    A step ID that comes with the accession number and the study of something else is not ours: numbers
    of an older system, which devices keep for days, may be the same as ours.
    """
    steps = ScheduledProcedureStep.objects.filter(site=site).select_related(
        "requested_procedure_ref__order_ref__patient_ref"
    )
    if named.scheduled_procedure_step_id:
        step = steps.filter(scheduled_procedure_step_id=named.scheduled_procedure_step_id).first()
        if step is not None and _agrees(step, named):
            return step
    if named.accession_number and named.requested_procedure_id:
        found = _best(
            steps.filter(
                requested_procedure_ref__order_ref__accession_number=named.accession_number,
                requested_procedure_ref__requested_procedure_id=named.requested_procedure_id,
            ),
            modality,
        )
        if found is not None:
            return found
    return _best(steps.filter(requested_procedure_ref__study_instance_uid=named.study_instance_uid), modality)


def _agrees(step: ScheduledProcedureStep, named: Named) -> bool:
    procedure = step.requested_procedure_ref
    said = {
        (named.study_instance_uid, procedure.study_instance_uid),
        (named.accession_number, procedure.order_ref.accession_number),
    }
    given = [(theirs, ours) for theirs, ours in said if theirs]
    return not given or any(theirs == ours for theirs, ours in given)


def _best(found: QuerySet[ScheduledProcedureStep], modality: str) -> ScheduledProcedureStep | None:
    """Of several steps: those of the device's modality, those that have not ended, the earliest."""
    steps = list(found.order_by("pk")[:100])
    return min(steps, key=lambda step: (step.modality != modality, step.status in ENDED, step.pk), default=None)
