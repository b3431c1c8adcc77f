"""C-FIND over sockets, with dcmtk's findscu as it comes and with pynetdicom."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from pacs.models import ApplicationEntity
from tests.daemons import Daemon
from tests.factories import make_node, make_patient, make_study

PATIENT_ROOT_FIND, STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
Find = Callable[..., list[Dataset]]


@pytest.fixture(autouse=True)
def _committed(committed_db: None) -> None:
    """The daemon sees what tests write."""


@pytest.fixture
def findscu(dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path) -> Find:
    """`findscu("-S", "StudyDate=…", …)`: the answers, sorted by file name."""

    def find(root: str, *keys: str) -> list[Dataset]:
        arguments = [argument for key in keys for argument in ("-k", key)]
        command = [tool("findscu"), "-v", root, "-X", "-od", str(tmp_path), "127.0.0.1", str(dimse_server.port)]
        done = subprocess.run([*command, *arguments], check=False, timeout=60, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        files = sorted(tmp_path.glob("rsp*.dcm"))
        answers: list[Dataset] = [dcmread(file, force=True) for file in files]
        for file in files:
            file.unlink()
        return answers

    return find


@pytest.mark.parametrize(
    ("root", "level", "unique", "count"),
    [
        ("-P", "PATIENT", "PatientID", 1),
        ("-P", "STUDY", "StudyInstanceUID", 2),
        ("-P", "SERIES", "SeriesInstanceUID", 4),
        ("-P", "IMAGE", "SOPInstanceUID", 8),
        ("-S", "STUDY", "StudyInstanceUID", 2),
        ("-S", "SERIES", "SeriesInstanceUID", 4),
        ("-S", "IMAGE", "SOPInstanceUID", 8),
    ],
)
def test_findscu_is_answered_at_every_level_of_both_roots(
    findscu: Find, root: str, level: str, unique: str, count: int
) -> None:
    patient = make_patient("7", "WIBOWO^BUDI")
    for _ in range(2):
        make_study(patient, series=2, instances=2)
    make_study(make_patient("8", "SITI^AMINAH"), series=1, instances=1)
    answers = findscu(root, f"QueryRetrieveLevel={level}", "PatientID=7", "PatientName=wib*", unique, "StudyDate=-")
    assert len({answer[unique].value for answer in answers}) == len(answers) == count
    for answer in answers:
        assert answer.QueryRetrieveLevel == level and answer.RetrieveAETitle == "MINIPACS"
        assert answer.PatientName == "WIBOWO^BUDI"


def test_findscu_gets_names_in_the_character_set_it_names(findscu: Find) -> None:
    make_study(make_patient("7", "Müller^Jürgen"))
    (answer,) = findscu("-S", "QueryRetrieveLevel=STUDY", "SpecificCharacterSet=ISO_IR 100", "PatientName=MULLER*")
    assert answer.SpecificCharacterSet == "ISO_IR 100" and str(answer.PatientName) == "Müller^Jürgen"
    (answer,) = findscu("-S", "QueryRetrieveLevel=STUDY", "PatientName")
    assert answer.SpecificCharacterSet == "ISO_IR 192" and str(answer.PatientName) == "Müller^Jürgen"


@pytest.fixture
def ask(dimse_server: Daemon) -> Iterator[Callable[..., list[tuple[int, Any]]]]:
    """`ask(model, keys…)`: every response's status and identifier, over one association that must survive."""
    associations = []

    def ask(
        model: str = STUDY_ROOT_FIND, *, calling: str = "VISION_PRO", extended: bytes = b"", **keys: Any
    ) -> list[tuple[int, Any]]:
        ae = AE(ae_title=calling)
        ae.add_requested_context(model, ImplicitVRLittleEndian)
        negotiation = SOPClassExtendedNegotiation()
        negotiation.sop_class_uid = model
        negotiation.service_class_application_information = extended
        association = ae.associate(
            "127.0.0.1", dimse_server.port, ae_title="MINIPACS", ext_neg=[negotiation] if extended else None
        )
        assert association.is_established
        associations.append(association)
        identifier = Dataset()
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        return [(status.Status, answer) for status, answer in association.send_c_find(identifier, model)]

    yield ask
    for association in associations:
        assert association.is_established, "the association was lost"
        association.release()


def test_statuses_tell_of_unsupported_keys_wrong_levels_and_malformed_values(ask: Any) -> None:
    make_study()
    assert [status for status, _ in ask(QueryRetrieveLevel="STUDY", PatientID="")] == [0xFF00, 0x0000]
    assert [status for status, _ in ask(QueryRetrieveLevel="STUDY", ImageComments="")] == [0xFF01, 0x0000]
    assert [status for status, _ in ask(QueryRetrieveLevel="PATIENT", PatientID="")] == [0xA900]
    assert [status for status, _ in ask(QueryRetrieveLevel="NOWHERE")] == [0xA900]
    assert [status for status, _ in ask(PatientID="")] == [0xA900]
    assert [status for status, _ in ask(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.x")] == [0xA900]
    assert [status for status, _ in ask(PATIENT_ROOT_FIND, QueryRetrieveLevel="PATIENT")] == [0xFF00, 0x0000]


def test_date_and_time_are_one_moment_when_that_was_negotiated(ask: Any) -> None:
    make_study(study_date="20240315", study_time="220000")
    keys = {"QueryRetrieveLevel": "STUDY", "StudyDate": "20240314-20240316", "StudyTime": "0800-1000"}
    assert len(ask(**keys)) == 1
    assert len(ask(extended=b"\x01\x01", **keys)) == 2


def test_a_node_gets_its_own_character_set_and_sees_no_empty_values(ask: Any) -> None:
    make_study(make_patient("7", "Müller^Jürgen"), accession_number="")
    keys = {"QueryRetrieveLevel": "STUDY", "AccessionNumber": "A1", "PatientName": ""}
    assert len(ask(calling="OLD", **keys)) == 2
    ApplicationEntity.objects.filter(title="OLD").delete()
    make_node("OLD", specific_character_set="ISO_IR 6", empty_values_match=False)
    assert len(ask(calling="OLD", **keys)) == 1
    (_, answer), _ = ask(calling="OLD", QueryRetrieveLevel="STUDY", PatientName="")
    assert answer.PatientName == "Muller^Jurgen"


def test_many_answers_come_through(ask: Any) -> None:
    patient = make_patient()
    for _ in range(650):
        make_study(patient)
    answers = ask(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    assert [status for status, _ in answers] == [0xFF00] * 650 + [0x0000]
    assert len({answer.StudyInstanceUID for _, answer in answers[:-1]}) == 650
