"""What we write: valid by hl7apy's tables for each version and shape, readable by python-hl7, and never broken open."""

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

import hl7
import pytest
from django.core.exceptions import ValidationError as FieldError
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import ValidationError
from hl7apy.parser import parse_message

from integrations.hl7 import character_sets, order_content
from integrations.hl7.message import parse
from integrations.hl7.mllp import Framer, frame
from integrations.hl7.outgoing import orders, patients
from integrations.hl7.outgoing.orders import Group
from integrations.hl7.outgoing.writing import Written
from integrations.hl7.patients import values_of
from integrations.models import Hl7Peer, SentVersion
from radiology.models import Order, Patient
from tests.factories import make_device, make_order, make_patient, make_requested_procedure, make_step
from tests.integrations.mllp_client import make_peer

pytestmark = pytest.mark.django_db

HOSTILE = "O|BRIEN^X\rMSH|^~\\&|EVIL~&\\\x0b\x1c\r\x00\x85\u2028#"
ROUGH = "BUDI|X^&~\\ \r\n\x0b\x1c\x1c\r\x85\u2028"


def peer_of(version: str, shape: str = "ORM^O01", **fields: str) -> Hl7Peer:
    return make_peer(sent_version=version, order_message=shape, addresses=[], destination_host="x", **fields)


# What hl7apy holds against messages without reason: names of coding schemes that begin with 99 are anybody's own
# (table 0396); of the segments of ORM's choice one is there and not all; before 2.5 table 0211 had no UTF-8; and
# before 2.4 table 0004, which is the user's own, suggested neither "not applicable" nor "unknown".
GROUNDLESS = re.compile(
    r"Warning: Value 99|Error: Missing required child ORM_O01_(CHOICE|OBRRQDRQ1RXOODSODT_SUPPGRP)\."
    r"|Warning: Value UNICODE UTF-8 not in table|Warning: Value [NU] not in table HL70004"
)


def problems(written: Written, folder: Path) -> list[str]:
    """What hl7apy has against a message: structure, cardinality, types, lengths, tables."""
    report = folder / "report"
    text = written.raw.decode().rstrip("\r")
    if written.version_id == SentVersion.V2_3 and written.message_code == "ADT":
        # In 2.3 a message did not name its structure, and hl7apy takes the event's name for one.
        name = patients.STRUCTURES[written.trigger_event].replace("ADT_A05", "ADT_A01").replace("_", "^")
        text = text.replace(f"ADT^{written.trigger_event}|", f"{name}|", 1)
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    with contextlib.suppress(ValidationError):
        message.validate(report_file=str(report))
    return [line for line in report.read_text().splitlines() if not GROUNDLESS.match(line)]


def a_patient() -> Patient:
    return make_patient(
        "001234",
        "WIBOWO^BUDI^AGUS^Dr.^S.Ked=胃^山=ふ^く",
        identifiers=[("NIK", "3171010101700001")],
        patient_birth_date="19700131",
        patient_address="Jl. Merdeka 1, Jakarta",
        patient_telephone_numbers="(021)555-1234",
        patient_mother_birth_name="SARI^DEWI",
        issuer_of_patient_id="RSUD",
    )


def an_order(patient: Patient | None = None) -> tuple[Order, list[Group]]:
    order = make_order(
        patient or a_patient(),
        accession_number="2601250001",
        placer_order_number="P-1",
        referring_physician_name="TAN^ANI^^dr",
        requesting_physician="LIM^BUDI",
        requesting_service="Poli Paru",
        reason_for_the_requested_procedure="Batuk",
        clinical_history="Demam",
        current_patient_location="W3 12",
        admission_id="V-1",
        pregnancy_status="3",
        patient_state="Isolation",
        patient_transport_arrangements="WHLC",
        status_reason="Alasan",
        priority="STAT",
    )
    at = datetime(2026, 1, 26, 3, 30, tzinfo=UTC)
    groups = []
    for code, status in (("CTTHX", "SC"), ("CTABD", "IP")):
        procedure = make_requested_procedure(
            order,
            procedure_code_value=code,
            procedure_coding_scheme="99SINAR",
            requested_procedure_description=f"CT {code}",
            requested_procedure_comments="Bring films",
            laterality="R",
        )
        step = make_step(
            procedure, device=make_device(f"CT{code}"), scheduled_protocol_codes=[["P1", "99HOSP", "Protocol"]],
            scheduled_station_ae_titles=["CT1"], scheduled_station_name="CT1",
        )  # fmt: skip
        groups.append(Group(procedure, status, at, step))
    return order, groups


@pytest.mark.parametrize("version", SentVersion.values)
@pytest.mark.parametrize("events", ["A28 A31", "A04 A08"])
def test_messages_about_patients_are_valid(version: str, events: str, tmp_path: Path) -> None:
    peer, patient = peer_of(version, patient_events=events), a_patient()
    changes = {"patient_id": ["OLD", "001234"], "patient_address": ["x", ""]}
    for written in (
        patients.registered(peer, patient),
        patients.changed(peer, patient, changes),
        patients.renumbered(peer, patient, changes),
        patients.merged(peer, patient, make_patient("GONE", "WIBOWO^B")),
    ):
        assert problems(written, tmp_path) == [], written.raw.decode()


@pytest.mark.parametrize(
    ("version", "shape"),
    [*((version, "ORM^O01") for version in SentVersion.values)]
    + [(version, "OMG^O19") for version in ("2.4", "2.5", "2.5.1")]
    + [(version, "OMI^O23") for version in ("2.5", "2.5.1")],
)
def test_messages_about_orders_are_valid(version: str, shape: str, tmp_path: Path) -> None:
    peer = peer_of(version, shape, expected_answer="application")
    order, groups = an_order()
    for written in (orders.filler_order(peer, order, groups), orders.order_status(peer, order, groups)):
        assert problems(written, tmp_path) == [], written.raw.decode()


@pytest.mark.parametrize("character_set", ["UNICODE UTF-8", "ASCII", "8859/1", "GB 18030-2000", "BIG-5"])
def test_no_value_can_end_its_field_its_segment_or_the_message(character_set: str) -> None:
    peer = make_peer(addresses=[], destination_host="x", sent_character_set=character_set)
    peer.receiving_facility = HOSTILE
    patient = make_patient("N|1^&~\\\r\x0b\x1c", "X", issuer_of_patient_id="I|&~^")
    for name in ("patient_name", "patient_address", "patient_telephone_numbers"):
        setattr(patient, name, HOSTILE)
    order, groups = an_order(patient)
    for name in ("reason_for_the_requested_procedure", "clinical_history", "placer_order_number", "admission_id"):
        setattr(order, name, ROUGH)
    groups[0].procedure.requested_procedure_comments = ROUGH
    order.patient_ref = patient
    written = orders.order_status(peer, order, groups)
    assert not {0x0B, 0x1C} & set(written.raw)
    framer = Framer(1_000_000)
    framer.feed(frame(written.raw))
    assert framer.next_message() == written.raw and framer.next_message() is None and not framer.is_within
    parsed = hl7.parse(written.raw.decode(peer_codec(character_set)))
    assert [str(each[0]) for each in parsed] == ["MSH", "PID", "PV1", *["ORC", "OBR", "NTE", "ZDS"] * 2]
    text = "\r".join(str(each) for each in parsed)
    assert "|EVIL" not in text and "^X" not in str(parsed.segment("PID")[11])
    assert len(parsed.segment("PID")) == 14 and str(parsed.segment("PID")[8]) == "M"


def peer_codec(character_set: str) -> str:
    return character_sets.codec_of(character_set)


def test_what_a_character_set_lacks_is_spelt_in_it() -> None:
    patient = make_patient("1", "ŁÓDŹ^Пётр=王^小东")
    latin = patients.registered(peer_of("2.5.1", sent_character_set="8859/1"), patient).raw.decode("latin-1")
    assert "LÓDZ^Petr" in latin and "|8859/1" in latin.splitlines()[0]
    assert "Wang^XiaoDong" in latin
    whole = patients.registered(Hl7Peer(site=patient.site), patient).raw.decode()
    assert "ŁÓDŹ^Пётр" in whole and "王^小东" in whole


def test_a_value_that_was_taken_away_is_to_be_deleted_and_one_that_looks_so_is_not() -> None:
    patient = make_patient("1", '""', patient_address="", patient_telephone_numbers="")
    raw = patients.changed(peer_of("2.5"), patient, {"patient_address": ["Jl. 1", ""]}).raw.decode()
    pid = hl7.parse(raw).segment("PID")
    assert str(pid[11]) == '""' and len(pid) == 12
    assert str(pid[5]) == "''^^^^^^L"


def test_what_a_peer_sent_is_understood_again_by_our_own_side() -> None:
    """The way out is the way in turned round: names, numbers, priority, time, procedure."""
    order, groups = an_order()
    message = parse(orders.filler_order(peer_of("2.5.1", "OMI^O23"), order, groups).raw)
    content = order_content.read(message, make_peer("Other"))
    assert [each.accession_number for each in content] == ["2601250001"]
    assert content[0].values["priority"] == "STAT"
    assert content[0].values["requested_start"] == datetime(2026, 1, 26, 3, 30, tzinfo=UTC)
    assert content[0].values["referring_physician_name"] == order.referring_physician_name
    assert content[0].values["pregnancy_status"] == "3"
    assert [each.request.study_instance_uid for each in content[0].wanted] == [
        each.procedure.study_instance_uid for each in groups
    ]
    said = values_of(message.first("PID"))
    assert said["patient_name"] == order.patient_ref.patient_name
    assert said["patient_mother_birth_name"] == order.patient_ref.patient_mother_birth_name


def test_shapes_that_a_version_does_not_have_are_refused() -> None:
    for version, shape, is_there in (
        ("2.3.1", "OMG^O19", False), ("2.4", "OMG^O19", True), ("2.4", "OMI^O23", False), ("2.5", "OMI^O23", True),
    ):  # fmt: skip
        peer = Hl7Peer(name="x", sent_version=version, order_message=shape, destination_host="x")
        if is_there:
            peer.clean()
        else:
            with pytest.raises(FieldError, match="has no such message"):
                peer.clean()
