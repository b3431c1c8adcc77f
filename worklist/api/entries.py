"""Rows of the schedule as the API gives them: DICOM keywords in snake_case."""

from datetime import datetime
from typing import Any

from django.urls import reverse

from worklist.models import Device, OpeningHours, Room, ScheduledProcedureStep
from worklist.services.slots import Slot


def room_entry(room: Room, origin: str) -> dict[str, Any]:
    """A room with its hours; the caller prefetches `opening_hours` and `devices`."""
    return {
        "public_id": str(room.public_id),
        "code": room.code,
        "name": room.name,
        "location": room.location,
        "slot_minutes": room.slot_minutes,
        "is_active": room.is_active,
        "modalities": sorted({each.modality for each in room.devices.all() if each.is_active}),
        "opening_hours": [_hours(each) for each in room.opening_hours.all()],
        "links": {"self": origin + reverse("api-room", args=[room.public_id])},
    }


def _hours(hours: OpeningHours) -> dict[str, Any]:
    return {"weekday": hours.weekday, "opens": f"{hours.opens:%H:%M}", "closes": f"{hours.closes:%H:%M}"}


def device_entry(device: Device, origin: str) -> dict[str, Any]:
    return {
        "public_id": str(device.public_id),
        "name": device.name,
        "modality": device.modality,
        "station_ae_title": device.station_ae_title,
        "station_name": device.station_name,
        "room": device.room.code,
        "sends_mpps": device.sends_mpps,
        "is_active": device.is_active,
        "links": {
            "self": origin + reverse("api-device", args=[device.public_id]),
            "room": origin + reverse("api-room", args=[device.room.public_id]),
        },
    }


def slot_entry(slot: Slot) -> dict[str, Any]:
    return {"room": slot.room.code, "start": slot.start.isoformat(), "end": slot.end.isoformat()}


def step_entry(step: ScheduledProcedureStep, origin: str) -> dict[str, Any]:
    """A step with what its order and patient are known by (`with_patient`)."""
    procedure = step.requested_procedure_ref
    order = procedure.order_ref
    patient = order.patient_ref
    return {
        "public_id": str(step.public_id),
        "scheduled_procedure_step_id": step.scheduled_procedure_step_id,
        "scheduled_procedure_step_description": step.scheduled_procedure_step_description,
        "scheduled_protocol_codes": [
            {"code_value": value, "coding_scheme_designator": scheme, "code_meaning": meaning}
            for value, scheme, meaning in (each[:3] for each in step.scheduled_protocol_codes if len(each) >= 3)
        ],
        "modality": step.modality,
        "room": step.room.code if step.room else None,
        "device": step.device.station_ae_title if step.device else None,
        "scheduled_station_ae_titles": step.scheduled_station_ae_titles,
        "scheduled_start": _moment(step.scheduled_start),
        "scheduled_end": _moment(step.scheduled_end),
        "status": step.status,
        "status_reason": step.status_reason,
        "arrived_at": _moment(step.arrived_at),
        "started_at": _moment(step.started_at),
        "ended_at": _moment(step.ended_at),
        "is_inferred": step.is_inferred,
        "requested_procedure_id": procedure.requested_procedure_id,
        "study_instance_uid": procedure.study_instance_uid,
        "accession_number": order.accession_number,
        "priority": order.priority,
        "patient": {
            "public_id": str(patient.public_id),
            "patient_id": patient.patient_id,
            "issuer_of_patient_id": patient.issuer_of_patient_id,
            "patient_name": patient.patient_name,
            "patient_birth_date": patient.patient_birth_date,
            "patient_sex": patient.patient_sex,
        },
        "updated_at": step.updated_at.isoformat(),
        "version": step.version,
        "links": {
            "self": origin + reverse("api-step", args=[step.public_id]),
            "patient": origin + reverse("api-patient", args=[patient.public_id]),
        },
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
