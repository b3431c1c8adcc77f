"""Modality worklist queries over sockets, with dcmtk's findscu as it comes and with pynetdicom."""

import subprocess
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from pacs.models import ApplicationEntity
from radiology.models import AuditEvent
from tests.daemons import Daemon
from tests.factories import (
    make_device,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_step,
)
from tests.worklist.worklist_client import SPS, ask, ask_raw, findscu, identifier
from worklist.models import ScheduledProcedureStep, WorklistQuery
from worklist.services.query_log import MOST_OF_TITLE, forget_queries, record_query
from worklist.services.worklist_attributes import ATTRIBUTES, STEP
from worklist.services.worklist_rules import Station

Find = Callable[..., list[Dataset]]


@pytest.fixture(autouse=True)
def _committed(committed_db: None) -> None:
    """The daemon sees what tests write."""


@pytest.fixture
def find(dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path) -> Find:
    """`find("PatientName=…", …)`: the answers that findscu got."""

    def call(*keys: str, **options: Any) -> list[Dataset]:
        return findscu(tool("findscu"), dimse_server.port, tmp_path, *keys, **options)

    return call


def all_keys() -> Dataset:
    """Every attribute of the model as an empty key."""

    def fill(data_set: Dataset, attributes: Any) -> Dataset:
        for each in attributes.values():
            value = Sequence([fill(Dataset(), each.items)]) if each.items else "" if each.vr != "SQ" else Sequence([])
            setattr(data_set, each.keyword, None if each.vr == "US" else value)
        return data_set

    return fill(Dataset(), ATTRIBUTES)


def waiting(patient: Any = None, **fields: Any) -> ScheduledProcedureStep:
    return make_step(make_requested_procedure(make_order(patient)), **fields)


def test_findscu_is_answered_under_both_titles_by_date_station_modality_and_name(find: Find) -> None:
    device = make_device("CT1", node=make_node("CT1"))
    start = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    waiting(make_patient("7", "WIBOWO^BUDI"), device=device, scheduled_start=start)
    local = start.astimezone(Station(device.site, "CT1").zone)
    for called in ("MINIPACS", "MINIPACS_MWL"):
        for keys in (
            [f"{SPS}.ScheduledStationAETitle=CT1"],
            [f"{SPS}.ScheduledProcedureStepStartDate={local:%Y%m%d}"],
            [f"{SPS}.Modality=CT"],
            ["PatientName=wib*"],
        ):
            (answer,) = findable = find(*keys, "PatientID", f"{SPS}.ScheduledProcedureStepStartTime", called=called)
            assert answer.PatientID == "7" and len(findable) == 1
            assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime == f"{local:%H%M%S}"
    assert find(f"{SPS}.Modality=MR", "PatientID") == []


def test_an_answer_to_every_key_is_a_valid_data_set(
    full: ScheduledProcedureStep,
    dimse_server: Daemon,
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    ScheduledProcedureStep.objects.update(
        scheduled_start=timezone.now(), scheduled_end=timezone.now() + timedelta(hours=1)
    )
    (status, answer), (last, _) = ask(dimse_server.port, data_set=all_keys(), calling="VISITOR")
    assert (status.Status, last.Status) == (0xFF00, 0x0000)
    step = answer.ScheduledProcedureStepSequence[0]
    assert not [each.keyword for each in ATTRIBUTES.values() if each.keyword not in answer]
    assert not [each.keyword for each in STEP.items.values() if each.keyword not in step]
    assert answer.PregnancyStatus == 4 and answer.PatientWeight == 72.5
    assert list(answer.MedicalAlerts) == ["MRSA", "eGFR 28.0", "Metformin"]
    assert list(answer.Allergies) == ["Penicillin", "Iodine"]
    require_valid(answer, tool, tmp_path)


def require_valid(answer: Dataset, tool: Callable[[str], str], folder: Path) -> None:
    """Neither pydicom, dcmtk nor dicom3tools has anything against the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for element in answer.iterall():
            if element.VR not in {"SQ", "US"}:
                Dataset().add_new(element.tag, element.VR, element.value)
    path = folder / "answer.dcm"
    answer.file_meta = FileMetaDataset()
    answer.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    answer.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.31")
    answer.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    answer.save_as(path, enforce_file_format=True)
    dumped = subprocess.run([tool("dcmdump"), path], check=False, capture_output=True)
    assert dumped.returncode == 0 and not dumped.stderr, dumped.stderr
    checked = subprocess.run([tool("dciodvfy"), path], check=False, capture_output=True).stderr.decode(
        "utf-8", "replace"
    )
    # That an answer is no object of any IOD is all that it may complain of.
    allowed = ["SOPInstanceUID", "SOPClassUID", "Information Object Not found"]
    if not all(str(element.value).isascii() for element in answer.iterall() if element.VR == "PN"):
        # It counts bytes where PS3.5 6.2 counts characters, as pydicom has done above.
        allowed += ["PN Patient's Name", "PN Scheduled Performing", "contains invalid data values"]
    wrong = [line for line in checked.splitlines() if "Error" in line and not any(each in line for each in allowed)]
    assert not wrong, wrong


SETS = [
    # What the device says or is set to, a name, and the name as it gets it.
    ("GB18030", "", "WANG^XIAODONG=王^小东", "WANG^XIAODONG=王^小东"),
    ("\\ISO 2022 IR 87", "", "YAMADA^TAROU=山田^太郎=やまだ^たろう", "YAMADA^TAROU=山田^太郎=やまだ^たろう"),
    ("ISO_IR 144", "", "Иванов^Пётр", "Иванов^Пётр"),
    ("ISO_IR 100", "", "MÜLLER^JÜRGEN", "MÜLLER^JÜRGEN"),
    ("ISO_IR 192", "", "Иванов^Пётр=王^小东", "Иванов^Пётр=王^小东"),
    ("", "", "Иванов^Пётр", "Иванов^Пётр"),
    ("ISO_IR 192", "ISO_IR 100", "ŞAHİN^ÇAĞLA", "SAHIN^ÇAGLA"),
    ("", "ISO_IR 100", "Nguyễn^Thị", "Nguyên^Thi"),
    ("", "ISO_IR 6", "Müller^Jürgen", "Muller^Jurgen"),
    ("", "ISO_IR 100", "ABCDEFGHI " * 20 + "^" + "ß" * 9, ("ABCDEFGHI " * 20)[:64]),
    ("", "", "王小东 " * 25 + "=" + "李小龙 " * 40, ("王小东 " * 16).rstrip() + "=" + ("李小龙 " * 16).rstrip()),
]


@pytest.mark.parametrize(("asked", "node_set", "name", "expected"), SETS)
def test_names_come_in_a_character_set_that_the_device_reads(
    dimse_server: Daemon,
    tool: Callable[[str], str],
    tmp_path: Path,
    asked: str,
    node_set: str,
    name: str,
    expected: str,
) -> None:
    make_node("CT1", specific_character_set=node_set)
    waiting(make_patient("7", name), scheduled_performing_physician_name=name)
    question = identifier({"ScheduledPerformingPhysicianName": ""}, PatientName="", PatientID="")
    if asked:
        question.SpecificCharacterSet = asked.split("\\") if "\\" in asked else asked
    (_, answer), _ = ask(dimse_server.port, data_set=question)
    found = str(answer.PatientName)
    if node_set != "ISO_IR 100" or name.isascii() or len(name) > 100:
        assert found == expected
    else:
        assert found.translate(str.maketrans("ê", "e")) == expected.translate(str.maketrans("ê", "e"))
    assert str(answer.ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName) == found
    require_valid(answer, tool, tmp_path)


def test_a_query_in_another_character_set_matches(dimse_server: Daemon) -> None:
    waiting(make_patient("7", "WANG^XIAODONG=王^小东"))
    waiting(make_patient("8", "Иванов^Пётр"))
    for character_set, name, patient_id in (
        ("GB18030", "=王*", "7"),
        ("ISO_IR 144", "иванов*", "8"),
        ("ISO_IR 192", "Иванов^*", "8"),
    ):
        question = identifier(PatientName=name, PatientID="")
        question.SpecificCharacterSet = character_set
        assert [answer.PatientID for _, answer in ask(dimse_server.port, data_set=question)[:-1]] == [patient_id]


def test_texts_longer_than_their_vr_are_cut_and_never_split(
    dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path
) -> None:
    long = "Nyeri dada, sesak napas\nsejak 3 hari\\demam; " * 20
    order = make_order(
        make_patient("7", attributes={"00102110": {"vr": "LO", "Value": [long]}}),
        reason_for_the_requested_procedure=long,
        clinical_history=long,
        contrast_allergies="x" * 150,
    )
    procedure = make_requested_procedure(order, procedure_code_value="1" * 40, requested_procedure_comments=long)
    make_step(procedure, scheduled_protocol_codes=[["", "", ""], ["P" * 64]])
    (_, answer), _ = ask(dimse_server.port, data_set=all_keys(), calling="VISITOR")
    assert len(answer.ReasonForTheRequestedProcedure) <= 64 and "\\" not in answer.ReasonForTheRequestedProcedure
    assert answer.RequestedProcedureCodeSequence[0].LongCodeValue == "1" * 40
    assert all(len(value) <= 64 for value in answer.Allergies) and len(answer.Allergies) > 3
    require_valid(answer, tool, tmp_path)


def test_statuses_tell_of_unsupported_keys_malformed_values_and_rights(dimse_server: Daemon) -> None:
    waiting()
    port = dimse_server.port

    def statuses(*args: Any, **keys: Any) -> list[int]:
        return [status.Status for status, _ in ask(port, *args, **keys)]

    assert statuses({"Modality": ""}) == [0xFF00, 0x0000]
    assert statuses({"Modality": ""}, ImageComments="") == [0xFF01, 0x0000]
    for keys, keyword in (
        ({"ScheduledProcedureStepStartDate": "2026-11-28-"}, "ScheduledProcedureStepStartDate"),
        ({"ScheduledProcedureStepStartTime": "noon"}, "ScheduledProcedureStepStartTime"),
    ):
        ((status, _),) = ask(port, keys)
        assert status.Status == 0xA900 and keyword in status.ErrorComment
    ((status, _),) = ask(port, TimezoneOffsetFromUTC="Jakarta", PatientID="")
    assert status.Status == 0xA900 and "TimezoneOffsetFromUTC" in status.ErrorComment
    refused = WorklistQuery.objects.filter(error_field="ScheduledProcedureStepStartTime").get()
    assert "ScheduledProcedureStepStartTime" in refused.error and refused.answered == 0
    make_node("CT1", may_ask_worklist=False)
    assert statuses({"Modality": ""}) == [0x0124]
    ApplicationEntity.objects.update(may_ask_worklist=True, may_query=False, may_retrieve=False)
    assert statuses({"Modality": ""}) == [0xFF00, 0x0000]


def test_sequences_within_sequences_without_end_are_refused_and_the_association_lives(dimse_server: Daemon) -> None:
    undefined, item = b"\xff" * 4, b"\xfe\xff\x00\xe0"
    deep = (b"\x40\x00\x08\x00" + undefined + item + undefined) * 300
    deep += (b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)) * 300
    assert ask_raw(dimse_server.port, deep) == ask_raw(dimse_server.port, deep[:2000]) == 0xC000
    assert ask_raw(dimse_server.port, b"\x10\x00\x10\x00\xff\xff\xff\x7fAB") == 0xC000
    odd = Dataset()
    odd.ScheduledProcedureStepSequence = Sequence([identifier(Modality="CT"), identifier(Modality="MR")])
    odd.PatientName = "*" * 5000 + "x"
    assert [status.Status for status, _ in ask(dimse_server.port, data_set=odd)] == [0x0000]


def test_a_device_that_has_enough_is_answered_no_more(dimse_server: Daemon) -> None:
    from pynetdicom import AE

    procedure = make_requested_procedure()
    for number in range(400):
        make_step(procedure, scheduled_procedure_step_id=f"S{number}")
    ae = AE(ae_title="CT1")
    ae.add_requested_context("1.2.840.10008.5.1.4.31")
    association = ae.associate("127.0.0.1", dimse_server.port, ae_title="MINIPACS_MWL")
    statuses = []
    answers = association.send_c_find(identifier(PatientName=""), "1.2.840.10008.5.1.4.31", msg_id=7)
    for status, _ in answers:
        statuses.append(status.Status)
        if len(statuses) == 1:
            association.send_c_cancel(7, query_model="1.2.840.10008.5.1.4.31")
    assert statuses[-1] in {0xFE00, 0x0000} and association.is_established
    association.release()


def test_the_same_question_is_one_row_that_counts(dimse_server: Daemon) -> None:
    device = make_device("CT1", node=make_node("CT1"))
    waiting(make_patient("7", "RAHASIA^SEKALI"), device=device)
    for _ in range(3):
        ask(dimse_server.port, {"Modality": "CT"}, PatientName="RAHASIA*")
    ask(dimse_server.port, {"Modality": "MR"})
    first, second = WorklistQuery.objects.order_by("id")
    assert (first.times, first.answered, first.device, first.error) == (3, 1, device, "")
    assert first.keys == {"00400100": {"00080060": "CT"}, "00100010": "RAHASIA*"}
    assert first.last_at > first.first_at and (second.times, second.answered) == (1, 0)
    assert AuditEvent.objects.filter(event="dicom.worklist").count() == 2
    assert "RAHASIA" not in dimse_server.output


def test_questions_are_forgotten_after_a_month_and_kept_in_bounds() -> None:
    node = make_node("CT1")
    station = Station(node.site, "CT1")
    for number in range(MOST_OF_TITLE + 3):
        record_query(station=station, node=node, address="127.0.0.1", keys={"00100020": str(number)})
    assert WorklistQuery.objects.count() == MOST_OF_TITLE
    assert not WorklistQuery.objects.filter(keys={"00100020": "0"}).exists()
    WorklistQuery.objects.filter(keys={"00100020": "400"}).update(last_at=timezone.now() - timedelta(days=31))
    forget_queries()
    assert WorklistQuery.objects.count() == MOST_OF_TITLE - 1
