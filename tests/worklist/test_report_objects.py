"""Reports in the archive and the worklist: they follow their images, and are no images themselves."""

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pydicom.uid import generate_uid

from pacs.models import Instance, Removal, RemovalCode, StorageCommitment, Study, Volume
from pacs.services import corrections, removal
from radiology.models import Job, JobState, Order, Report, ReportStatus, Role, User
from radiology.services import jobs, report_holds
from radiology.services.merges import merge_patients
from radiology.services.reports import sign_report, withdraw_report
from tests.factories import make_node, make_patient, make_step, make_user
from tests.pacs.reported import files_of, image_of, imaged, keep, objects_of, ordered, written
from tests.worklist.arrivals import pass_time
from worklist import tasks  # noqa: F401  (registers the handlers)
from worklist.models import (
    ReconciliationCase,
    ScheduledProcedureStep,
    StepStatus,
    StudyCompletion,
)
from worklist.services.completion import names_all
from worklist.services.reconciliation import link
from worklist.services.reconciliation_decisions import undo, unscheduled_order
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _archive(db: None, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def chief() -> User:
    return make_user("chief", is_superuser=True)


@pytest.fixture
def step() -> ScheduledProcedureStep:
    return make_step(ordered())


def run_all() -> None:
    """What is due, of every kind, and what that leaves; a match with orders does not wait for more images."""
    while True:
        Job.objects.filter(kind__startswith="worklist.reconcile").update(next_attempt_at=timezone.now())
        if not jobs.run_due():
            return


def shown(study: Study) -> dict[str, int]:
    return {modality: len(files_of(study, modality)) for modality in ("CT", "SR", "DOC")}


def test_a_report_waits_for_its_images(step: ScheduledProcedureStep, radiologist: User) -> None:
    procedure = step.requested_procedure_ref
    written(procedure, radiologist)
    run_all()
    assert not Study.objects.exists() and not Job.objects.filter(state=JobState.DEAD).exists()
    keep(image_of(procedure))
    run_all()
    study = Study.objects.get()
    assert study.requested_procedure_ref == procedure
    assert shown(study) == {"CT": 1, "SR": 1, "DOC": 1}


def test_a_report_that_waits_is_stored_as_it_was_last(step: ScheduledProcedureStep, radiologist: User) -> None:
    procedure = step.requested_procedure_ref
    report = written(procedure, radiologist)
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    written(procedure, radiologist, impression="Normal.")
    keep(image_of(procedure))
    run_all()
    assert shown(Study.objects.get()) == {"CT": 1, "SR": 1, "DOC": 1}
    assert "PredecessorDocumentsSequence" not in objects_of(Study.objects.get(), "SR")[0]


def test_it_is_no_examination_and_no_image(step: ScheduledProcedureStep, radiologist: User) -> None:
    """No order, no case, no step that starts, no study that is opened again; and no loop."""
    procedure = step.requested_procedure_ref
    keep(image_of(procedure), image_of(procedure))
    run_all()
    pass_time(minutes=30)
    run_all()
    step.refresh_from_db()
    study = Study.objects.get()
    completion = StudyCompletion.objects.standing().get()
    before = (step.status, step.version, Order.objects.count(), ReconciliationCase.objects.count())
    assert step.status == StepStatus.COMPLETED
    written(procedure, radiologist)
    run_all()
    pass_time(minutes=30)
    run_all()
    step.refresh_from_db()
    assert (step.status, step.version, Order.objects.count(), ReconciliationCase.objects.count()) == before
    assert StudyCompletion.objects.standing().get() == completion
    assert Study.objects.count() == 1 and shown(study) == {"CT": 2, "SR": 1, "DOC": 1}
    assert not Job.objects.filter(state__in=[JobState.DEAD, JobState.PENDING], kind__startswith="pacs.").exists()


def test_a_step_that_somebody_took_back_stays_back_when_the_report_is_stored(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    run_all()
    pass_time(minutes=30)
    run_all()
    step.refresh_from_db()
    assert step.status == StepStatus.COMPLETED
    for to in (StepStatus.STARTED, StepStatus.SCHEDULED):
        step = move_step(step=step, to=to, who=chief)
    written(procedure, radiologist)
    run_all()
    step.refresh_from_db()
    assert step.status == StepStatus.SCHEDULED and shown(Study.objects.get())["SR"] == 1


def test_a_device_that_commits_its_images_need_not_know_of_the_report(
    step: ScheduledProcedureStep, radiologist: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    images = list(Instance.objects.values_list("sop_class_uid", "sop_instance_uid"))
    run_all()
    written(procedure, radiologist)
    run_all()
    study = Study.objects.get()
    assert study.number_of_study_related_instances == 3
    commitment = StorageCommitment(
        site=study.site,
        node=make_node("CT1"),
        calling_ae_title="CT1",
        transaction_uid=generate_uid(),
        requested=[list(each) for each in images],
        number_of_requested=1,
        number_of_failed=0,
        checked_at=study.created_at,
    )
    assert names_all(commitment=commitment, study=study)


def test_an_order_made_for_images_is_of_the_modality_that_made_them(radiologist: User) -> None:
    procedure = ordered()
    study = imaged(procedure, Modality="DX")
    written(procedure, radiologist)
    run_all()
    study.refresh_from_db()
    assert study.modalities_in_study == ["DOC", "DX", "SR"]
    assert unscheduled_order(study=study, who=None).modality == "DX"


def test_images_that_turn_out_to_be_of_another_order_lose_the_report(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    first = step.requested_procedure_ref
    keep(image_of(first))
    run_all()
    written(first, radiologist)
    run_all()
    study = Study.objects.get()
    assert shown(study)["SR"] == 1
    other = ordered(make_patient("MRN-2", "LESTARI^AYU"), number="2")
    decision = link(who=chief, case=ReconciliationCase.objects.get(study_ref=study), procedure=other)
    run_all()
    assert shown(study) == {"CT": 1, "SR": 0, "DOC": 0}
    assert Removal.objects.get().code == RemovalCode.WORKLIST_ENTRY
    written(other, radiologist, impression="Normal.")
    run_all()
    assert [str(each.PatientName) for each in objects_of(study, "SR")] == ["LESTARI^AYU"]
    undo(who=chief, decision=decision)
    run_all()
    assert shown(study) == {"CT": 1, "SR": 0, "DOC": 0}  # neither is given out until somebody has looked
    held = Report.objects.get(requested_procedure_ref=first)
    report_holds.release(report=held, version=held.version, reason="Benar", who=radiologist)
    run_all()
    [document] = objects_of(study, "SR")  # the first report is here again, the other one is not
    assert str(document.PatientName) == "SANTOSO^BUDI" and shown(study)["DOC"] == 1


def test_images_that_were_linked_by_hand_for_two_procedures_get_both_reports(radiologist: User, chief: User) -> None:
    procedure = ordered()
    second = ordered(procedure.order_ref.patient_ref, number="2")
    keep(image_of(procedure, StudyInstanceUID=generate_uid(), AccessionNumber=""))
    study = Study.objects.get()
    case = ReconciliationCase.objects.create(study_ref=study, site=study.site)
    written(procedure, radiologist)
    link(who=chief, case=case, procedure=procedure, also=[second])
    run_all()
    assert shown(study) == {"CT": 1, "SR": 1, "DOC": 1}
    written(second, radiologist)
    run_all()
    assert shown(study) == {"CT": 1, "SR": 2, "DOC": 2}
    requests = [each.ReferencedRequestSequence[0] for each in objects_of(study, "SR")]
    assert [each.RequestedProcedureID for each in requests] == ["RP1", "RP2"]


def test_a_study_that_becomes_another_patients_takes_its_objects_along(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    run_all()
    report = written(procedure, radiologist)
    run_all()
    study = Study.objects.get()
    assert shown(study) == {"CT": 1, "SR": 1, "DOC": 1}
    other = make_patient("MRN-2", "LESTARI^AYU", patient_birth_date="19901231", patient_sex="F")
    corrections.assign_patient(who=chief, study=study, version=study.version, patient=other)
    report.refresh_from_db()
    for modality in ("CT", "SR", "DOC"):
        for each in objects_of(study, modality):
            assert (each.PatientID, str(each.PatientName)) == ("MRN-2", "LESTARI^AYU"), modality
            assert (each.PatientBirthDate, each.PatientSex) == ("19901231", "F")
    run_all()
    assert report.held_at and shown(study) == {"CT": 1, "SR": 0, "DOC": 0}  # whose report it is, nobody has said
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    run_all()
    assert shown(study) == {"CT": 1, "SR": 0, "DOC": 0}


def test_of_a_patient_who_was_merged_the_report_is_the_survivors(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    run_all()
    written(procedure, radiologist, ReportStatus.PRELIMINARY)
    run_all()
    merged = procedure.order_ref.patient_ref
    survivor = make_patient("MRN-9", "SANTOSO^BUDI HADI", patient_birth_date=merged.patient_birth_date)
    merge_patients(merged=merged, survivor=survivor, reason="Dua nomor", who=chief)
    run_all()
    report = Report.objects.get()
    sign_report(report=report, version=report.version, who=radiologist)
    run_all()
    assert [each.PatientID for each in objects_of(Study.objects.get(), "SR")] == ["MRN-9", "MRN-9"]


def test_a_series_that_was_moved_is_still_found_when_the_report_is_withdrawn(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    run_all()
    report = written(procedure, radiologist)
    run_all()
    study = Study.objects.get()
    written_of = list(study.series.filter(modality__in=["SR", "DOC"]))
    study.refresh_from_db()
    corrections.move_series(who=chief, series=written_of, version=study.version)
    apart = Study.objects.exclude(pk=study.pk).get()
    assert shown(apart) == {"CT": 0, "SR": 1, "DOC": 1}
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    run_all()
    apart.refresh_from_db()
    assert shown(apart) == {"CT": 0, "SR": 0, "DOC": 0} and apart.deleted_at is not None


def test_a_report_withdrawn_while_its_study_is_deleted_does_not_come_back(
    step: ScheduledProcedureStep, radiologist: User, chief: User
) -> None:
    procedure = step.requested_procedure_ref
    keep(image_of(procedure))
    run_all()
    report = written(procedure, radiologist)
    run_all()
    study = Study.objects.get()
    assert shown(study) == {"CT": 1, "SR": 1, "DOC": 1}
    deleted = removal.delete_study(who=chief, study=study, reason="Uji")
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    run_all()
    study.refresh_from_db()
    assert study.deleted_at is not None
    removal.restore(who=chief, removal=deleted)
    assert shown(study) == {"CT": 1, "SR": 0, "DOC": 0}
