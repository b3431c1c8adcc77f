"""Orders and appointments that others wrote (data/README.md says who), through a raw socket."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from radiology.models import Order, OrderStatus
from tests.integrations.mllp_client import MllpClient, message, pid
from tests.integrations.test_hl7_samples import flush, sample
from worklist.models import ScheduledProcedureStep, StepStatus

URINALYSIS = "Urinalysis, with Culture if Indicated"
BLOOD = "Hemogram and platelet count, automated"

# Placer's and filler's number, priority, and each procedure: description, code, scheme, modality
ORDERS: dict[str, tuple[Any, ...]] = {
    "fhir-converter-orm-o01-ct": ("1101", "1201", "ROUTINE", ("CT Head", "24725-4", "LN", "OT")),
    "fhir-converter-orm-o01-lab": ("88502218", "82503246", "ROUTINE", (BLOOD, "24317-0", "LN", "HM")),
    "machete-orm-o01": ("PRO2352", "", "ROUTINE", (URINALYSIS, "11638", "99SINAR", "OT")),
    "dcm4che-orm-o01": ("A103Z", "B103Z", "STAT", ("Procedure 1", "P1", "ERL_MESA", "MR")),
    "nhapi-orm-o01-new": ("20060307110114", "", "ROUTINE", ("Urinalysis", "003038", "99SINAR", "OT")),
    "pacs-bridge-orm-o01-nw": ("ORD001", "ACC001", "ROUTINE", ("CHEST XRAY", "71020", "CPT", "1")),
    "camel-orm-o01-three": (
        "213",
        "",
        "ROUTINE",
        ("Serum Cortisol", "CCOR", "JRH06", "820"),
        ("Serum Copper", "GCU", "JRH06", "820"),
        ("Serum Thyroglobulin", "THYG", "JRH06", "820"),
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_of_others_are_placed_and_scheduled(mllp: MllpClient, name: str) -> None:
    answer = mllp.ask_to_the_end(sample(name))
    assert answer.code in {"AA", "CA"}, answer.text
    flush(mllp)
    order = Order.objects.get()
    procedures = list(order.requested_procedures.order_by("pk"))
    assert ORDERS[name] == (
        order.placer_order_number,
        order.filler_order_number,
        order.priority,
        *(
            (
                each.requested_procedure_description,
                each.procedure_code_value,
                each.procedure_coding_scheme,
                each.modality,
            )
            for each in procedures
        ),
    )
    steps = ScheduledProcedureStep.objects.order_by("pk")
    assert [step.requested_procedure_ref for step in steps] == procedures
    assert order.accession_number


# Of an order's patient, and of the order.
DETAILS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "fhir-converter-orm-o01-ct": (
        {
            "patient_id": "PATID1234",
            "issuer_of_patient_id": "test1",
            "patient_name": "EVERYMAN^ADAM^A^Dr.^III MD",
            "patient_mother_birth_name": "SMITH^Angela^L",
            "patient_birth_date": "19880818",
        },
        {
            "referring_physician_name": "REFER^LINDA^C",
            "requesting_physician": "RAD^ROBIN^B",
            "admission_id": "5001",
            "current_patient_location": "RADUnit01 Room01 GHH",
        },
    ),
    "dcm4che-orm-o01": (
        {"patient_id": "583295", "issuer_of_patient_id": "ADT1", "patient_name": "DOE^J1", "medical_alerts": "xxx"},
        {
            "accession_number": "MOF5026",
            "referring_physician_name": "NELL^FREDERICK^P^DR",
            "requesting_physician": "ESTRADA^JAIME^P^DR",
            "requesting_service": "IHE-RAD",
            "admission_id": "V103-1",
            "patient_transport_arrangements": "WALK",
            "clinical_history": "xxx",
        },
    ),
    "nhapi-orm-o01-new": (
        {"patient_id": "12001", "patient_name": "Jones^John^^Mr.", "patient_birth_date": "19670824"},
        {"current_patient_location": "OP PAREG", "admission_id": "2"},
    ),
    "camel-orm-o01-three": (
        {"patient_id": "ICE999999", "issuer_of_patient_id": "ICE", "patient_name": "Testpatient^Testy^^Mr"},
        {"accession_number": "ADM162", "requesting_physician": "TestDoctor^GPtests", "requesting_service": "RTH00"},
    ),
}


@pytest.mark.parametrize("name", DETAILS)
def test_patients_and_physicians_of_orders_are_read(mllp: MllpClient, name: str) -> None:
    mllp.ask_to_the_end(sample(name))
    flush(mllp)
    order = Order.objects.get()
    of_patient, of_order = DETAILS[name]
    assert {field: getattr(order.patient_ref, field) for field in of_patient} == of_patient
    assert {field: getattr(order, field) for field in of_order} == of_order


def test_ids_side_and_protocol_of_a_radiology_order_reach_its_step(mllp: MllpClient) -> None:
    """The numbers that the department's system gave (IHE RAD-4) are those of the worklist."""
    assert mllp.ask(sample("dcm4che-orm-o01")).code == "AA"
    step = ScheduledProcedureStep.objects.get()
    procedure = step.requested_procedure_ref
    assert (procedure.requested_procedure_id, procedure.laterality) == ("RP1026", "R")
    assert procedure.study_instance_uid == "1.113654.3.13.1026"
    assert step.scheduled_procedure_step_id == "SPS2032"
    assert step.scheduled_protocol_codes == [["X1_A1", "DSS_MESA", "SP Action Item X1_A1"]]


# What becomes of the order of one system: status, version, place, and its procedure's step.
COURSES = {
    ("nw",): ("active", "WARD 101 A HOSPITAL", StepStatus.SCHEDULED),
    ("nw", "xo"): ("active", "WARD 102 B HOSPITAL", StepStatus.SCHEDULED),
    ("xo",): ("active", "WARD 102 B HOSPITAL", StepStatus.SCHEDULED),  # of an order that never came
    ("nw", "sc"): ("active", "WARD 101 A HOSPITAL", StepStatus.SCHEDULED),  # IP: this department says that itself
    ("nw", "ca"): ("revoked", "WARD 101 A HOSPITAL", StepStatus.CANCELLED),
    ("nw", "xo", "dc"): ("revoked", "WARD 102 B HOSPITAL", StepStatus.CANCELLED),
}


@pytest.mark.parametrize("course", COURSES)
def test_an_order_of_others_is_changed_and_called_off(mllp: MllpClient, course: tuple[str, ...]) -> None:
    for control in course:
        assert mllp.ask(sample(f"pacs-bridge-orm-o01-{control}")).code == "CA"  # it does not wait for more
    flush(mllp)
    order = Order.objects.get()
    step = ScheduledProcedureStep.objects.get()
    assert (order.status, order.current_patient_location, step.status) == COURSES[course]
    assert step.requested_procedure_ref.requested_procedure_description.startswith("CHEST XRAY")


def test_an_order_of_others_is_found_by_its_numbers(mllp: MllpClient) -> None:
    who = pid("1^^^XXX", "LastName^FirstName", born="19660429", sex="F")
    assert mllp.ask(message("ORM^O01", who, "ORC|NW|1410", "OBR|1|1410||RX50^ADDOME SUPINO")).code == "AA"
    assert mllp.ask(sample("nhapi-orm-o01-cancel")).code == "AA"
    assert Order.objects.get().status == OrderStatus.REVOKED


def test_an_appointment_of_others_is_made_moved_and_called_off(mllp: MllpClient) -> None:
    """Without a room, the examination waits for one from the time of the appointment on."""
    for event, day, hour, minute in (("s12", 20, 10, 0), ("s13", 21, 14, 30), ("s14", 20, 10, 0)):
        answer = mllp.ask(sample(f"pacs-bridge-siu-{event}"))
        assert answer.code == "AA", answer.text
        order = Order.objects.get()
        zone = ZoneInfo(order.site.time_zone)
        assert order.requested_start == datetime(2024, 1, day, hour, minute, tzinfo=zone)
    assert mllp.ask(sample("pacs-bridge-siu-s15")).code == "AA"
    order = Order.objects.get()
    procedure = order.requested_procedures.get()
    assert (procedure.procedure_code_value, procedure.requested_procedure_description) == ("CT_SCAN", "CT Scan")
    step = ScheduledProcedureStep.objects.get()
    assert (order.status, step.status, step.scheduled_start) == (OrderStatus.ACTIVE, StepStatus.SCHEDULED, None)
    assert order.requested_start is None  # the time that was called off is nobody's wish any more
    assert (order.patient_ref.patient_id, order.patient_ref.patient_name) == ("12345", "DOE^JOHN^A")
