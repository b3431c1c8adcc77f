"""Messages that others wrote (data/README.md says who), through a raw socket: the patients, and what is refused."""

from pathlib import Path

import pytest

from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Order, Patient, PatientMerge
from tests.factories import make_patient
from tests.integrations.mllp_client import MllpClient, last_message, message, pid
from worklist.models import ScheduledProcedureStep

DATA = Path(__file__).parent / "data"


def sample(name: str) -> bytes:
    return (DATA / f"{name}.hl7").read_bytes()


PATIENTS = {
    "fhir-converter-adt-a04-v23": {
        "patient_id": "123456789",
        "issuer_of_patient_id": "",
        "patient_name": "BROS^MARIO",
        "patient_birth_date": "19850101",
        "patient_sex": "M",
        "patient_address": "123 FAKE STREET, MARIO LUIGI BROS PLACE, TOADSTOOL KINGDOM A1B2C3, NES, JP",
        "patient_telephone_numbers": "(555)555-0123; (555)555-0124",
    },
    "fhir-converter-adt-a01-v251": {
        "patient_id": "PATID1234",
        "issuer_of_patient_id": "ADT1",
        "patient_name": "EVERYMAN^ADAM^A^^III",
        "patient_birth_date": "19610615",
        "patient_address": "2222 HOME STREET, GREENSBORO 27401-1020, NC",
        "patient_telephone_numbers": "(555) 555-2004; (555)555-2004",
    },
    "hl7apy-adt-a01": {
        "patient_id": "123-456-789",
        "issuer_of_patient_id": "HOSPITAL",
        "patient_name": "SURNAME^NAME^A",
        "patient_birth_date": "",
        "patient_sex": "M",
        "patient_telephone_numbers": "555; 444",
    },
    "dcm4che-adt-a08-animal": {
        "patient_id": "4711471151",
        "issuer_of_patient_id": "zxcv",
        "patient_name": "Smith^Shadow",
        "patient_birth_date": "20141014",
        "patient_sex": "F",
    },
    "dcm4che-adt-a31-animal": {
        "patient_id": "PID_1",
        "issuer_of_patient_id": "ADT1",
        "patient_name": "Smith^Lucy",
        "patient_birth_date": "20141014",
        "patient_sex": "F",
        "patient_address": "PatientAddress",
    },
    "hl7parser-adt-a01-v27": {
        "patient_id": "PATID1234",
        "issuer_of_patient_id": "ADT1",
        "patient_name": "EVERYMAN^ADAM^A^^III",
        "patient_birth_date": "19610615",
        "patient_sex": "M",
        "patient_address": "HOME STREET 2, Greensboro 27401-1020, NC, Westeros",
        "patient_telephone_numbers": "(555) 555-2004; (555)555-2004",
    },
    "nextgen-connect-adt-a04": {
        "patient_id": "135769",
        "issuer_of_patient_id": "",
        "patient_name": "MOUSE^MICKEY",
        "patient_birth_date": "19281118",
        "patient_sex": "M",
        "patient_address": "123 Main St., Lake Buena Vista 32830, FL",
        "patient_telephone_numbers": "(407)939-1289",
    },
    "nhapi-adt-a01-zin": {
        "patient_id": "0216128",
        "issuer_of_patient_id": "51276",
        "patient_name": "BARDOUN^LEA SACHA",
        "patient_birth_date": "19981201",
        "patient_sex": "F",
        "patient_address": "AVENUE FRANC GOLD 8, LUXEMBOURGH 6780, 150",
        "patient_telephone_numbers": "053/12456789",
    },
    "nhapi-adt-a08-latin1": {
        "patient_id": "25106376",
        "issuer_of_patient_id": "TEC MRN",
        "patient_name": "Patient^Test^Test",
        "patient_birth_date": "19400101",
        "patient_sex": "F",
        "patient_address": "123 ENDOFTHE RD, UNIT 123, ATLANTA 40000, GA, USA",
        "patient_telephone_numbers": "5555555555; 6666666666",
    },
    "rimiti-adt-a04": {
        "patient_id": "123456",
        "issuer_of_patient_id": "ODS",
        "patient_name": "DO BAIRRO^Dimitri",
        "patient_birth_date": "19920506",
        "patient_sex": "M",
        "patient_address": "Avenue des Champs-Élysées, Paris 75000",
        "patient_telephone_numbers": "0100000000; 0200000000",
    },
}


@pytest.mark.parametrize("name", PATIENTS)
def test_patients_of_others_are_registered(mllp: MllpClient, name: str) -> None:
    answer = mllp.ask(sample(name))
    assert answer.code == "AA", answer.text
    assert answer.control_id == last_message().message_control_id
    patient = Patient.objects.get()
    assert {field: getattr(patient, field) for field in PATIENTS[name]} == PATIENTS[name]
    assert mllp.ask(sample(name)).raw == answer.raw
    assert Patient.objects.get().version == patient.version


# Of a message the numbers beside the MRN, with their issuers.
OTHERS = {
    "fhir-converter-adt-a01-v251": {("123456789", "USSSA")},
    "nhapi-adt-a08-latin1": {("1781893", "CLH MRN"), ("935307", "EUH MRN"), ("5938067", "EMPI")},
    "hl7parser-adt-a01-v27": {("123456789", "USSSA")},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_numbers_of_others_are_kept(mllp: MllpClient, name: str) -> None:
    mllp.ask(sample(name))
    there = Patient.objects.get().identifiers.all()
    assert {(each.value, each.issuer) for each in there} == OTHERS[name]
    assert {each.kind for each in there} == {"U"}


# The number that stays, with its issuer and name; and the one that goes.
MERGES = {
    "dcm4che-adt-a40": (("NEW_PID_1", "ADT1", "New_Smith^Lucy^Mark"), ("OLD_PID_1", "ADT1")),
    "linuxforhealth-adt-a18": (("000010004", "ST01A", "SENTARA10004^PAT^L"), ("000010510", "def")),
    "linuxforhealth-adt-a40": (("MR1", "XYZ", "MAIDENNAME^EVE"), ("MR2", "XYZ")),
    "rimiti-adt-a40": (("123456", "ODS", "DO BAIRRO^Dimitri"), ("21448557", "DimSolution")),
}


@pytest.mark.parametrize("name", MERGES)
def test_patients_of_others_are_merged(mllp: MllpClient, name: str) -> None:
    stays, goes = MERGES[name]
    assert mllp.ask(message("ADT^A28", pid("^^^".join(goes)))).code == "AA"
    answer = mllp.ask(sample(name))
    assert answer.code == "AA", answer.text
    merge = PatientMerge.objects.get()
    survivor = merge.survivor
    assert (survivor.patient_id, survivor.issuer_of_patient_id, survivor.patient_name) == stays
    assert (merge.merged.patient_id, merge.merged.issuer_of_patient_id) == goes
    assert Patient.objects.count() == 2


def test_a_patient_of_others_is_given_another_number(mllp: MllpClient) -> None:
    old = message("ADT^A28", pid("OLD_PID_1^^^ADT1", "Smith^Lucy^Mark", born="20141014", sex="F"))
    assert mllp.ask(old).code == "AA"
    assert mllp.ask(sample("dcm4che-adt-a47")).code == "AA"
    patient = Patient.objects.get()
    assert (patient.patient_id, patient.issuer_of_patient_id) == ("NEW_PID_1", "ADT1")


REFUSED = [
    ("fhir-converter-orm-o01-supply", "AE", "OBR^1"),  # a new order without an OBR
    ("fhir-converter-adt-a47", "AE", "MRG^1"),  # another number, without the old one
    ("python-hl7-adt-a04", "AE", "PID^1^7"),  # born in 1013
    ("linuxforhealth-merge-as-a01", "AE", "PID^1^5"),  # says A01 of somebody without a name
    ("fhir-converter-adt-a04-v251", "AR", "MSH^1^11"),  # training
    ("linuxforhealth-adt-a01", "CR", "MSH^1^11"),  # asks for enhanced mode
    ("linuxforhealth-merge-without-id", "AR", "MSH^1^10"),
    ("python-hl7-oru-r01", "AE", "PID^1^3"),  # results of nobody who is known here
    ("hl7apy-rsp-k22-v27", "AR", "MSH^1^11"),
    ("dcm4che-adt-a47", "AE", "MRG^1^1"),  # the old number is nobody's
    ("dcm4che-omg-o19", "AE", "OBR^1^20"),  # a step ID of 19 characters, of which DICOM allows 16
    ("dcm4che-omi-o23", "AE", "OBR^1^20"),  # the same in IPC-4
    ("dcm4che-omi-o23-animal", "AE", "TQ1^1^7"),  # the priority stands where the start should
    ("nhapi-orm-o01-cancel", "AE", "ORC^1^2"),  # of an order that is not here
    ("rimiti-siu-s12", "AE", "SCH^1^26"),  # names neither an order nor, without AIS, a procedure
    ("node-hl7-complete-siu-s14", "AE", "SCH^1^26"),
    ("fhir-converter-siu-s14", "AE", "SCH^1^26"),
    ("rimiti-siu-s17", "AE", "SCH^1^1"),  # no such appointment
    ("nextgen-connect-siu-s15", "AE", "SCH^1^1"),
    ("node-hl7-complete-orm-o01", "AR", "MSH^1^11"),  # debugging
    ("hl7parser-adt-a34", "AR", "MSH^1^12"),  # says no version
    ("dcm4che-oru-r01", "AE", "PID^1^3"),
    ("nhapi-qry-r02", "AR", "MSH^1^9^1^2"),  # asks for results, and writes QRY^R02 as one word
    ("hl7parser-adr-a19-v22", "AR", "MSH^1^9^1^1"),
]


def test_what_cannot_be_done_for_others_is_said_with_its_place(mllp: MllpClient) -> None:
    for name, code, location in REFUSED:
        answer = mllp.ask(sample(name))
        assert (answer.code, answer.location) == (code, location), f"{name}: {answer.text}"
        assert last_message().error and bytes(last_message().raw) == sample(name)
        assert not Patient.objects.exists() and not Order.objects.exists()


def test_a_question_of_others_is_answered(mllp: MllpClient) -> None:
    """Whom QRD-8 names is a patient of ours only the second time."""
    answer = mllp.ask(sample("camel-qry-a19"))
    assert (answer.code, answer.segment("MSH")[8]) == ("AA", "ADR^A19^ADR_A19")
    assert answer.segment("QRD")[4:9] == ["GetPatient", "", "", "1^RD", "0101701234"]
    assert "PID|" not in answer.text
    make_patient("0101701234", "NIELSEN^ANNE")
    again = mllp.ask(sample("camel-qry-a19").replace(b"|1234|P", b"|1235|P"))
    assert again.segment("PID")[3].partition("^")[0] == "0101701234"


def test_what_fails_behind_a_sender_that_does_not_wait_is_kept_as_failed(mllp: MllpClient) -> None:
    """It asks to be told that the message is kept, and no more: the room that it names is none of ours."""
    assert mllp.ask(sample("dcm4che-siu-s12")).code == "CA"
    flush(mllp)
    row = Hl7Message.objects.get(message_control_id="1551182797")
    assert row.state == MessageState.FAILED
    assert row.error.startswith("AIL-3: ") and "UCI R1" in row.error
    assert not Patient.objects.exists() and not Order.objects.exists()


def flush(mllp: MllpClient) -> None:
    """What was only kept is done: an answer that is awaited comes after it."""
    assert mllp.ask(message("ADT^A09", pid("NOBODY"))).code == "AA"


def test_all_of_them_over_one_connection_and_again_leave_the_same(mllp: MllpClient, peer: Hl7Peer) -> None:
    def state() -> tuple[int, ...]:
        flush(mllp)
        models = (Patient, Order, ScheduledProcedureStep, PatientMerge)
        return tuple(model._default_manager.count() for model in models)

    names = sorted(path.stem for path in DATA.glob("*.hl7"))
    assert len(names) >= 56
    first = [mllp.ask_to_the_end(sample(name)).code for name in names]
    before = state()
    assert [mllp.ask_to_the_end(sample(name)).code for name in names] == first
    assert state() == before
    assert Hl7Message.objects.count() == 2 * len(names) + 2
