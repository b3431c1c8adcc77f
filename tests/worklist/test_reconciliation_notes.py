"""Images of the wrong patient are rejected wherever copies of them are: by a note (IHE IOCM, RAD-66)."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import (
    ApplicationEntity,
    HeldObject,
    Instance,
    Removal,
    Study,
    Transfer,
    TransferResult,
    Volume,
)
from pacs.services import removal, transfers
from pacs.services.removal import RemovalCode
from radiology.models import Job, User
from radiology.services.jobs import run_due
from tests.daemons import accepts, wait_until
from tests.factories import (
    default_site,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_step,
    make_user,
)
from tests.pacs.objects import ct
from tests.worklist.arrivals import arrive, of_step, pass_time, state, work
from worklist.models import CaseState, ReconciliationCase, ScheduledProcedureStep, StepStatus, WorklistSettings
from worklist.services.quality import reject_images
from worklist.services.reconciliation import link
from worklist.services.reconciliation_decisions import mark_wrong_patient, undo


@pytest.fixture
def rina(settings: Any, tmp_path: Path) -> User:
    """A radiographer at a site that expects an order for every study."""
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    WorklistSettings.objects.create(site=default_site(), expects_orders=True)
    return make_user("rina", role="radiographer")


@pytest.fixture
def holder(tmp_path: Path, tool: Callable[[str], str], free_port: Callable[[], int]) -> Iterator[ApplicationEntity]:
    """Another archive, dcmtk's; what it gets lies in `tmp_path / "received"`."""
    port = free_port()
    (tmp_path / "received").mkdir()
    receiver = subprocess.Popen([tool("storescp"), "-od", str(tmp_path / "received"), "--unique-filenames", str(port)])
    try:
        wait_until(lambda: accepts(port), what="storescp listens")
        yield make_node("HOLDER", port=port)
    finally:
        receiver.kill()
        receiver.wait()


@pytest.fixture
def step(rina: User) -> ScheduledProcedureStep:
    return make_step()


def imaged(count: int = 2, **attributes: Any) -> tuple[Study, ReconciliationCase]:
    first = ct(**attributes)
    fixed = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID, **attributes}
    arrive(first, *[ct(**fixed, InstanceNumber=number, seed=number) for number in range(2, count + 1)])
    run_due()
    study = Study.objects.get()
    return study, ReconciliationCase.objects.get(study_ref=study)


def notes_in(folder: Path) -> list[Dataset]:
    return [each for each in map(dcmread, folder.iterdir()) if each.Modality == "KO"]


def named(note: Dataset) -> set[str]:
    [study] = note.CurrentRequestedProcedureEvidenceSequence
    return {
        str(each.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    }


@pytest.mark.usefixtures("committed_db")
def test_an_archive_that_holds_copies_is_told(rina: User, holder: ApplicationEntity, tmp_path: Path) -> None:
    make_node("OTHER", port=holder.port)
    study, case = imaged()
    uids = set(Instance.objects.values_list("sop_instance_uid", flat=True))
    transfers.send(who=make_user("chief", is_superuser=True), node=holder, study=study)
    run_due()
    assert len(list((tmp_path / "received").iterdir())) == 2
    mark_wrong_patient(who=rina, case=case, reason="two babies swapped")
    run_due()
    run_due()
    assert list(TransferResult.objects.exclude(error="").values_list("error", flat=True)) == []
    [note] = notes_in(tmp_path / "received")
    assert named(note) == uids
    assert note.ConceptNameCodeSequence[0].CodeValue == RemovalCode.WORKLIST_ENTRY
    assert note.ContentSequence[0].TextValue == "two babies swapped"
    assert note.SOPInstanceUID == Removal.objects.get().note_sop_instance_uid
    assert not Study.objects.visible_to(rina).exists() and not Instance.objects.filter(removed_at=None).exists()


@pytest.mark.django_db
def test_undo_shows_the_images_and_not_the_note_and_tells_nobody_who_was_not_told(rina: User) -> None:
    study, case = imaged()
    transfers.send(who=make_user("chief", is_superuser=True), node=make_node("HOLDER"), study=study)
    Transfer.objects.get().results.create(sop_instance_uid=Instance.objects.earliest("pk").sop_instance_uid, outcome=1)
    decision = mark_wrong_patient(who=rina, case=case)
    undo(who=rina, decision=decision)
    study.refresh_from_db()
    assert study.number_of_study_related_instances == 2 and study.modalities_in_study == ["CT"]
    hidden = Instance.objects.exclude(removed_at=None).get()
    assert hidden.sop_instance_uid == Removal.objects.get().note_sop_instance_uid
    run_due()
    assert Transfer.objects.count() == 1
    again = mark_wrong_patient(who=rina, case=case)
    run_due()
    assert Transfer.objects.latest("pk").sop_instance_uids == [again.removal and again.removal.note_sop_instance_uid]
    assert not Instance.objects.filter(removed_at=None).exists()


@pytest.mark.django_db
def test_a_study_that_was_linked_to_another_patients_order_is_rejected_too(rina: User) -> None:
    _, case = imaged()
    procedure = make_requested_procedure(make_order(make_patient("MRN-77", "LAIN^ORANG")))
    link(who=rina, case=case, procedure=procedure)
    decision = mark_wrong_patient(who=rina, case=case)
    case.refresh_from_db()
    assert case.state == CaseState.WRONG_PATIENT and not HeldObject.objects.exists()
    assert decision.removal is not None and decision.removal.note_sop_instance_uid
    assert decision.removal.user == rina
    assert Job.objects.filter(kind="pacs.forward_rejection").count() == 1
    assert not Instance.objects.filter(removed_at=None).exists()


@pytest.mark.django_db
def test_images_without_a_patient_id_are_rejected_too(rina: User) -> None:
    _, case = imaged(PatientID="", PatientName="")
    decision = mark_wrong_patient(who=rina, case=case)
    assert decision.removal is not None and decision.removal.note_sop_instance_uid
    assert not Instance.objects.filter(removed_at=None).exists() and not HeldObject.objects.exists()


@pytest.mark.django_db
def test_what_was_rejected_before_stays_rejected_after_undo(rina: User) -> None:
    study, case = imaged()
    chief = make_user("chief", is_superuser=True)
    first = Instance.objects.earliest("pk")
    removal.reject(who=chief, study=study, code=RemovalCode.QUALITY, instances=[first])
    decision = mark_wrong_patient(who=rina, case=case)
    undo(who=rina, decision=decision)
    shown = Instance.objects.filter(removed_at=None).values_list("sop_instance_uid", flat=True)
    assert set(shown) == {Instance.objects.exclude(pk=first.pk).earliest("pk").sop_instance_uid}


@pytest.mark.django_db
def test_a_rejection_note_is_no_image_that_came_late(rina: User, step: ScheduledProcedureStep) -> None:
    arrive(of_step(step), of_step(step))
    work()
    pass_time(minutes=11)
    work()
    assert state(step) == (StepStatus.COMPLETED, True)
    bad = Instance.objects.latest("pk")
    reject_images(who=rina, study=bad.series_ref.study_ref, reason="motion", instances=[bad])
    work()
    assert state(step) == (StepStatus.COMPLETED, True)
