"""One examination from the order to its end: MPPS begins it, images arrive, MPPS ends it, and it is told."""

from pydicom.uid import generate_uid

from pacs.models import Instance, Study
from radiology.models import OrderStatus, ProcedureStatus
from tests.daemons import Daemon, wait_until
from tests.factories import make_device, make_node, make_step
from tests.pacs.dimse_client import of_data_set, store
from tests.pacs.objects import ct
from tests.worklist.mpps import begun, ended, modality
from worklist.models import CompletedBy, ScheduledProcedureStep, StepStatus, StudyCompletion


def test_an_examination_with_mpps(committed_db: None, dimse_server: Daemon, job_worker: Daemon) -> None:
    node = make_node("CT1")
    step = make_step(device=make_device("CT1", node=node, sends_mpps=True))
    procedure = step.requested_procedure_ref
    patient = procedure.order_ref.patient_ref
    series, uid = generate_uid(), generate_uid()
    images = [
        ct(
            StudyInstanceUID=procedure.study_instance_uid,
            SeriesInstanceUID=series,
            AccessionNumber=procedure.order_ref.accession_number,
            PatientID=patient.patient_id,
            PatientName=patient.patient_name,
            PatientBirthDate=patient.patient_birth_date,
            InstanceNumber=number,
        )
        for number in (1, 2, 3)
    ]

    def states() -> tuple[str, str, str]:
        row = ScheduledProcedureStep.objects.select_related("requested_procedure_ref__order_ref").get(pk=step.pk)
        return row.status, row.requested_procedure_ref.status, row.requested_procedure_ref.order_ref.status

    with modality(dimse_server.port) as device:
        assert device.create(begun(step), uid).Status == 0
        assert states() == (StepStatus.STARTED, ProcedureStatus.IN_PROGRESS, OrderStatus.ACTIVE)
        assert set(store(dimse_server.port, [of_data_set(each) for each in images], calling="CT1").values()) == {0}
        assert Study.objects.get().number_of_study_related_instances == 3
        listed = [each.SOPInstanceUID for each in images]
        assert device.set(ended(images=listed, series=series), uid).Status == 0
        assert states() == (StepStatus.COMPLETED, ProcedureStatus.COMPLETED, OrderStatus.COMPLETED)
    wait_until(lambda: StudyCompletion.objects.exists(), seconds=60, what="the study is complete")
    completion = StudyCompletion.objects.get()
    assert (completion.how, completion.performed_step_uids, completion.number_of_instances) == (
        CompletedBy.MPPS,
        [uid],
        3,
    )
    assert completion.study_ref == Study.objects.get()


def test_an_examination_without_mpps(committed_db: None, dimse_server: Daemon, job_worker: Daemon) -> None:
    make_node("CR1")
    step = make_step(device=make_device("CR1", modality="CR"))
    procedure = step.requested_procedure_ref
    patient = procedure.order_ref.patient_ref
    image = ct(
        Modality="CR",
        StudyInstanceUID=procedure.study_instance_uid,
        PatientID=patient.patient_id,
        PatientName=patient.patient_name,
        PatientBirthDate=patient.patient_birth_date,
    )
    assert set(store(dimse_server.port, [of_data_set(image)], calling="CR1").values()) == {0}

    def begun_by_images() -> bool:
        step.refresh_from_db()
        return step.status == StepStatus.STARTED and step.is_inferred

    wait_until(begun_by_images, seconds=60, what="the image begins the examination")
    assert step.started_at == Instance.objects.get().created_at
