"""Performed steps as the API gives them: DICOM keywords in snake_case."""

from datetime import datetime
from typing import Any

from django.urls import reverse

from worklist.models import PerformedProcedureStep, PerformedStepReference, PerformedWarning
from worklist.services.dose import dose_of
from worklist.services.performed_series import PerformedSeries, series_of


def performed_entry(performed: PerformedProcedureStep, origin: str) -> dict[str, Any]:
    """A performed step; the caller has its patient, and its references with their scheduled steps."""
    patient = performed.patient_ref
    links = {"self": origin + reverse("api-performed-step", args=[performed.sop_instance_uid])}
    if patient is not None:
        links["patient"] = origin + reverse("api-patient", args=[patient.public_id])
    dose = dose_of(performed=performed)
    return {
        "sop_instance_uid": performed.sop_instance_uid,
        "performed_procedure_step_id": performed.performed_procedure_step_id,
        "performed_procedure_step_status": performed.performed_procedure_step_status,
        "performed_procedure_step_description": performed.performed_procedure_step_description,
        "modality": performed.modality,
        "performed_station_ae_title": performed.performed_station_ae_title,
        "performed_station_name": performed.performed_station_name,
        "study_instance_uid": performed.study_instance_uid,
        "started_at": _moment(performed.started_at),
        "ended_at": _moment(performed.ended_at),
        "received_at": performed.created_at.isoformat(),
        "closed_at": _moment(performed.closed_at),
        "discontinuation_reason": _code(performed.discontinuation_reason),
        "is_unscheduled": performed.is_unscheduled,
        "is_wrong_entry": performed.is_wrong_entry,
        "warnings": [{"code": each, "text": str(PerformedWarning(each).label)} for each in performed.warnings],
        "patient": str(patient.public_id) if patient else None,
        "references": [_reference(each) for each in performed.references.all()],
        "series": [_series(each) for each in series_of(performed=performed)],
        "dose": dose.as_json() if dose else None,
        "updated_at": performed.updated_at.isoformat(),
        "version": performed.version,
        "links": links,
    }


def _reference(reference: PerformedStepReference) -> dict[str, Any]:
    step = reference.scheduled_ref
    return {
        "study_instance_uid": reference.study_instance_uid,
        "accession_number": reference.accession_number,
        "requested_procedure_id": reference.requested_procedure_id,
        "scheduled_procedure_step_id": reference.scheduled_procedure_step_id,
        "scheduled_step": str(step.public_id) if step else None,
        "scheduled_step_status": step.status if step else None,
        "scheduled_step_is_inferred": step.is_inferred if step else None,
    }


def _series(series: PerformedSeries) -> dict[str, Any]:
    return {
        "series_instance_uid": series.series_instance_uid,
        "series_description": series.series_description,
        "protocol_name": series.protocol_name,
        "performing_physician_name": series.performing_physician_name,
        "operators_name": series.operators_name,
        "number_of_instances": len(series.objects),
    }


def _code(code: list[str]) -> dict[str, str] | None:
    names = ("code_value", "coding_scheme_designator", "code_meaning")
    return dict(zip(names, code, strict=True)) if len(code) == 3 else None


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
