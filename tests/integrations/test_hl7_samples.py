"""Messages that others wrote (data/README.md says who), through a raw socket: what is answered, what is there then."""

from pathlib import Path

import pytest

from integrations.models import Hl7Message, Hl7Peer
from radiology.models import Order, Patient, PatientMerge
from tests.integrations.mllp_client import MllpClient, last_message
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


def test_other_numbers_of_others_are_kept(mllp: MllpClient) -> None:
    mllp.ask(sample("fhir-converter-adt-a01-v251"))
    (identifier,) = Patient.objects.get().identifiers.all()
    assert (identifier.kind, identifier.value, identifier.issuer) == ("U", "123456789", "USSSA")


# Description, code, scheme, modality, placer's and filler's number, priority
ORDERS = {
    "fhir-converter-orm-o01-ct": ("CT Head", "24725-4", "LN", "OT", "1101", "1201", "ROUTINE"),
    "fhir-converter-orm-o01-lab": (
        "Hemogram and platelet count, automated",
        "24317-0",
        "LN",
        "HM",
        "88502218",
        "82503246",
        "ROUTINE",
    ),
    "machete-orm-o01": (
        "Urinalysis, with Culture if Indicated",
        "11638",
        "99SINAR",
        "OT",
        "PRO2352",
        "",
        "ROUTINE",
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_of_others_are_placed_and_scheduled(mllp: MllpClient, name: str) -> None:
    answer = mllp.ask_to_the_end(sample(name))
    assert answer.code == "AA", answer.text
    order = Order.objects.get()
    procedure = order.requested_procedures.get()
    assert ORDERS[name] == (
        procedure.requested_procedure_description,
        procedure.procedure_code_value,
        procedure.procedure_coding_scheme,
        procedure.modality,
        order.placer_order_number,
        order.filler_order_number,
        order.priority,
    )
    assert ScheduledProcedureStep.objects.get().requested_procedure_ref == procedure
    assert order.accession_number


def test_the_patient_and_physicians_of_a_large_order_are_read(mllp: MllpClient) -> None:
    mllp.ask(sample("fhir-converter-orm-o01-ct"))
    order = Order.objects.get()
    patient = order.patient_ref
    assert (patient.patient_id, patient.issuer_of_patient_id) == ("PATID1234", "test1")
    assert patient.patient_name == "EVERYMAN^ADAM^A^Dr.^III MD"
    assert (patient.patient_mother_birth_name, patient.patient_birth_date) == ("SMITH^Angela^L", "19880818")
    assert order.referring_physician_name == "REFER^LINDA^C"
    assert order.requesting_physician == "RAD^ROBIN^B"
    assert (order.admission_id, order.current_patient_location) == ("5001", "RADUnit01 Room01 GHH")


REFUSED = [
    ("fhir-converter-orm-o01-supply", "AE", "OBR^1"),  # a new order without an OBR
    ("fhir-converter-adt-a47", "AE", "MRG^1"),  # another number, without the old one
    ("python-hl7-adt-a04", "AE", "PID^1^7"),  # born in 1013
    ("linuxforhealth-merge-as-a01", "AE", "PID^1^5"),  # says A01 of somebody without a name
    ("fhir-converter-adt-a04-v251", "AR", "MSH^1^11"),  # training
    ("linuxforhealth-adt-a01", "CR", "MSH^1^11"),  # asks for enhanced mode
    ("linuxforhealth-merge-without-id", "AR", "MSH^1^10"),
    ("python-hl7-oru-r01", "AR", "MSH^1^9^1^1"),  # results are not taken in
    ("hl7apy-rsp-k22-v27", "AR", "MSH^1^11"),
]


@pytest.mark.parametrize(("name", "code", "location"), REFUSED)
def test_what_cannot_be_done_for_others_is_said_with_its_place(
    mllp: MllpClient, name: str, code: str, location: str
) -> None:
    answer = mllp.ask(sample(name))
    assert (answer.code, answer.location) == (code, location), answer.text
    assert last_message().error and bytes(last_message().raw) == sample(name)
    assert not Patient.objects.exists() and not Order.objects.exists()


def test_all_of_them_over_one_connection_and_again_leave_the_same(mllp: MllpClient, peer: Hl7Peer) -> None:
    def state() -> tuple[int, ...]:
        models = (Patient, Order, ScheduledProcedureStep, PatientMerge)
        return tuple(model._default_manager.count() for model in models)

    names = sorted(path.stem for path in DATA.glob("*.hl7"))
    assert len(names) >= 15
    first = [mllp.ask_to_the_end(sample(name)).code for name in names]
    before = state()
    assert [mllp.ask_to_the_end(sample(name)).code for name in names] == first
    assert state() == before
    assert Hl7Message.objects.count() == 2 * len(names)
