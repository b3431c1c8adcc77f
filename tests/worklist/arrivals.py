"""Images of examinations that arrive, and time that passes after them."""

from datetime import timedelta
from typing import Any

from django.db.models import F

from pacs.models import Instance
from pacs.services.store import Source, receive_part10, store_instance
from radiology.models import Job, JobState, Site
from radiology.services import jobs
from tests.pacs.objects import ct, part10
from worklist.models import PerformedProcedureStep, ScheduledProcedureStep, StudyCompletion
from worklist.services import inference


def of_step(step: ScheduledProcedureStep, **attributes: Any) -> Any:
    """An image that a device made for a step."""
    procedure = step.requested_procedure_ref
    patient = procedure.order_ref.patient_ref
    return ct(
        **{
            "StudyInstanceUID": procedure.study_instance_uid,
            "AccessionNumber": procedure.order_ref.accession_number,
            "PatientID": patient.patient_id,
            "PatientName": patient.patient_name,
            "PatientBirthDate": patient.patient_birth_date,
            **attributes,
        }
    )


def arrive(*images: Any, ae_title: str = "CT1") -> None:
    """Store them as the device does."""
    for image in images:
        with receive_part10(source=Source.of_site(Site.objects.default(), ae_title)) as incoming:
            incoming.write(part10(image))
            store_instance(received=incoming.finish())


def work(*kinds: str) -> None:
    """Run what is due of these kinds and looks at studies, and nothing of other kinds."""
    Job.objects.exclude(kind__in=[inference.LOOK, *kinds]).update(state=JobState.DONE)
    jobs.run_due()


def pass_time(**by: float) -> None:
    """As if so much time had passed since everything that happened."""
    shift = timedelta(**by)
    Instance.objects.update(created_at=F("created_at") - shift)
    Job.objects.update(next_attempt_at=F("next_attempt_at") - shift, created_at=F("created_at") - shift)
    StudyCompletion.objects.update(at=F("at") - shift)
    PerformedProcedureStep.objects.update(updated_at=F("updated_at") - shift, created_at=F("created_at") - shift)
    ScheduledProcedureStep.objects.exclude(ended_at=None).update(ended_at=F("ended_at") - shift)


def state(step: ScheduledProcedureStep) -> tuple[str, bool]:
    step.refresh_from_db()
    return step.status, step.is_inferred
