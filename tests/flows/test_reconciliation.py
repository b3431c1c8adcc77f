"""Images come over DICOM, their orders from the desk: linked by themselves, or by one click, and undone."""

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pydicom
import pytest
from django.db import transaction
from django.utils import timezone

from pacs.models import Study
from radiology.models import Order, RequestedProcedure, User
from radiology.signals import order_placed
from tests.daemons import Daemon, wait_until
from tests.factories import make_device, make_order, make_patient, make_requested_procedure, make_step, make_user
from tests.pacs.objects import ct, part10
from worklist.models import CaseReason, CaseState, ReconciliationCase, StepStatus
from worklist.services.reconciliation import link
from worklist.services.reconciliation_decisions import undo

pytestmark = pytest.mark.usefixtures("committed_db")
SOON = 60.0


class Modality:
    """A CT that sends with dcmtk's storescu, and somebody who looks with findscu."""

    def __init__(self, dimse: Daemon, tool: Callable[[str], str], folder: Path) -> None:
        self.port, self.tool, self.folder = str(dimse.port), tool, folder

    def send(self, **attributes: Any) -> str:
        """The Study Instance UID of one image that was sent."""
        now = timezone.localtime(timezone=ZoneInfo("Asia/Jakarta"))
        values = {"StudyDate": f"{now:%Y%m%d}", "StudyTime": f"{now:%H%M%S}", "BodyPartExamined": "CHEST"}
        image = ct(**{**values, **attributes})
        file = self.folder / f"{image.SOPInstanceUID}.dcm"
        file.write_bytes(part10(image))
        command = [self.tool("storescu"), "-aet", "CT1", "-aec", "MINIPACS", "127.0.0.1", self.port, str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return str(image.StudyInstanceUID)

    def accession_numbers(self, study: str) -> str:
        """What findscu shows of a study: accession number, patient's id."""
        keys = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}", "AccessionNumber", "PatientID"]
        folder = self.folder / f"found-{pydicom.uid.generate_uid()}"
        folder.mkdir()
        command = [
            self.tool("findscu"),
            "-S",
            "-X",
            "-od",
            str(folder),
            *(part for key in keys for part in ("-k", key)),
        ]
        subprocess.run([*command, "127.0.0.1", self.port], check=True, capture_output=True, timeout=60)
        found = [pydicom.dcmread(path, force=True) for path in sorted(folder.iterdir())]
        return " ".join(f"{each.AccessionNumber}/{each.PatientID}" for each in found)


@pytest.fixture
def modality(dimse_server: Daemon, job_worker: Daemon, tool: Callable[[str], str], tmp_path: Path) -> Modality:
    return Modality(dimse_server, tool, tmp_path)


@pytest.fixture
def rina() -> User:
    return make_user("rina", role="radiographer")


def ordered(number: str, patient_id: str, name: str, *, arrived: bool = True, device: Any = None) -> RequestedProcedure:
    patient = make_patient(patient_id, name)
    with transaction.atomic():
        procedure = make_requested_procedure(make_order(patient, accession_number=number))
        status = StepStatus.ARRIVED if arrived else StepStatus.SCHEDULED
        start = timezone.now() if arrived else timezone.now() + timedelta(hours=2)
        make_step(procedure, status=status, device=device, scheduled_start=start)
        order_placed.send(sender=Order, order=procedure.order_ref, procedures=[procedure])
    return procedure


def linked(study: str) -> RequestedProcedure | None:
    return Study.objects.get(study_instance_uid=study).requested_procedure_ref


def open_case(study: str) -> ReconciliationCase:
    cases = ReconciliationCase.objects.filter(study_ref__study_instance_uid=study, state=CaseState.OPEN)
    wait_until(cases.exists, seconds=SOON, what="a case in the inbox")
    return cases.get()


def test_the_right_number_links_by_itself_a_mistyped_one_takes_one_click(modality: Modality, rina: User) -> None:
    right = ordered("A1234567", "MRN-1", "SANTOSO^BUDI")
    study = modality.send(PatientID="MRN-1", AccessionNumber="A1234567")
    wait_until(lambda: linked(study) == right, seconds=SOON, what="linked by itself")

    mine = ordered("A1234999", "MRN-2", "LESTARI^DEWI")
    who = {"PatientID": "MRN-2", "PatientName": "LESTARI^DEWI"}
    study = modality.send(AccessionNumber="A1234989", **who)
    case = open_case(study)
    assert case.reason == CaseReason.ACCESSION_UNKNOWN
    assert case.candidates[0]["procedure"] == mine.pk
    decision = link(who=rina, case=case, procedure=mine, version=case.version)
    assert modality.accession_numbers(study) == "A1234999/MRN-2"
    undo(who=rina, decision=decision)
    assert modality.accession_numbers(study) == "A1234989/MRN-2"
    assert linked(study) is None


def test_a_wrong_patient_chosen_at_the_console_is_moved_by_one_click(modality: Modality, rina: User) -> None:
    device = make_device("CT1")
    mine = ordered("A1", "MRN-1", "SANTOSO^BUDI", device=device)
    theirs = ordered("A2", "MRN-2", "LESTARI^DEWI", arrived=False, device=device)
    study = modality.send(
        PatientID="MRN-2", PatientName="LESTARI^DEWI", AccessionNumber="A2",
        StudyInstanceUID=theirs.study_instance_uid,
    )  # fmt: skip
    case = open_case(study)
    assert case.reason == CaseReason.SOMEBODY_ELSE_ARRIVED
    assert case.candidates[0]["procedure"] == mine.pk
    decision = link(who=rina, case=case, procedure=mine, version=case.version)
    assert modality.accession_numbers(study) == "A1/MRN-1"
    undo(who=rina, decision=decision)
    assert modality.accession_numbers(study) == "A2/MRN-2"


def test_images_that_came_first_find_their_order_when_it_comes(modality: Modality) -> None:
    study = modality.send(PatientID="MRN-1", PatientName="SANTOSO^BUDI", AccessionNumber="LATER-1")
    wait_until(lambda: Study.objects.filter(study_instance_uid=study).exists(), seconds=SOON)
    patient = Study.objects.get(study_instance_uid=study).patient_ref
    with transaction.atomic():
        procedure = make_requested_procedure(make_order(patient, accession_number="LATER-1"))
        make_step(procedure, scheduled_start=timezone.now())
        order_placed.send(sender=Order, order=procedure.order_ref, procedures=[procedure])
    wait_until(lambda: linked(study) == procedure, seconds=SOON, what="linked when the order came")
