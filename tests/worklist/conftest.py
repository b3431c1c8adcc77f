"""A step that has a value for each key of the modality worklist."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_step,
    make_user,
)
from worklist.models import ScheduledProcedureStep, StepStatus


@pytest.fixture
def full() -> ScheduledProcedureStep:
    """It starts on 10 March 2026 at 09:30 in Jakarta."""
    patient = make_patient(
        "RM-1",
        "Wibowo^Budi",
        identifiers=[("NIK", "3171")],
        patient_birth_date="19800215",
        issuer_of_patient_id="RSUD",
        attributes={
            "00102110": {"vr": "LO", "Value": ["Penicillin"]},
            "00102000": {"vr": "LO", "Value": ["MRSA"]},
            "00403001": {"vr": "LO", "Value": ["VIP"]},
            "00104000": {"vr": "LT", "Value": ["Deaf"]},
            "00101040": {"vr": "LO", "Value": ["Jl. Merdeka 1"]},
            "00102154": {"vr": "SH", "Value": ["0812-345"]},
            "00101060": {"vr": "PN", "Value": [{"Alphabetic": "Siti"}]},
        },
    )
    order = make_order(
        patient,
        accession_number="ACC1",
        issuer_of_accession_number="RSUD-RAD",
        placer_order_number="P1",
        filler_order_number="F1",
        priority="HIGH",
        referring_physician_name="Sari^Dewi",
        requesting_physician="Hadi^Agus",
        reason_for_the_requested_procedure="Cough",
        requesting_service="Pulmonology",
        current_patient_location="Ward 3",
        admission_id="V1",
        patient_transport_arrangements="Wheelchair",
        clinical_history="TB in 2010",
        pregnancy_status="4",
        last_menstrual_date="2026-02-20",
        patient_weight=Decimal("72.5"),
        patient_size=Decimal("1.70"),
        contrast_allergies="Iodine",
        egfr=Decimal("28.0"),
        takes_metformin=True,
        special_needs="Interpreter",
        patient_state="Isolation",
        entered_by=make_user("clerk", first_name="Rina", last_name="Putri"),
        created_at=datetime(2026, 3, 9, 7, 5, tzinfo=UTC),
    )
    order.refresh_from_db()
    procedure = make_requested_procedure(
        order,
        requested_procedure_id="RP1",
        requested_procedure_comments="Please hurry",
        study_instance_uid="1.2.3.4",
    )
    device = make_device("CT1", room=make_room("CTROOM", name="CT room"), station_name="CTSTATION")
    return make_step(
        procedure,
        device=device,
        scheduled_procedure_step_id="S1",
        scheduled_start=datetime(2026, 3, 10, 2, 30, tzinfo=UTC),
        scheduled_performing_physician_name="Rahman^Eko",
        pre_medication="Buscopan",
        requested_contrast_agent="Iohexol",
        scheduled_protocol_codes=[["P17", "99SINAR", "Thorax low dose"]],
        comments_on_the_scheduled_procedure_step="Second floor",
        status=StepStatus.ARRIVED,
    )
