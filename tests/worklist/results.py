"""Examinations that a doctor ordered, and reports of them that are published by the services."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from radiology.models import (
    PersonalResult,
    PractitionerTie,
    Report,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Role,
    User,
)
from radiology.services.personal_results import refresh_results
from radiology.services.reports import add_addendum, sign_report, write_draft
from tests.factories import make_order, make_patient, make_requested_procedure, make_study, make_user
from worklist.services.reading_rows import refresh_studies


def doctor(username: str = "sari", **fields: Any) -> User:
    values = {"first_name": "Sari", "last_name": "Dewi", **fields}
    return make_user(username, role=Role.DOCTOR, **values)


def radiologist(username: str = "rahmat") -> User:
    return make_user(username, role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


def tie(user: User, kind: str, value: str) -> PractitionerTie:
    made = PractitionerTie(user=user, kind=kind, value=value)
    made.full_clean()
    made.save()
    return made


def awaited(patient_name: str = "LESTARI^AYU", *, procedure: dict[str, Any] | None = None, **order: Any) -> Any:
    """A requested procedure whose results are awaited by whom the order concerns."""
    patient = order.pop("patient", None) or make_patient(None, patient_name)
    made = make_requested_procedure(make_order(patient, **order), **(procedure or {}))
    refresh_results([made.pk])
    return made


def signed(procedure: RequestedProcedure, by: User, status: str = "final", **sections: str) -> ReportVersion:
    there = Report.objects.filter(requested_procedure_ref=procedure).exclude(status="entered-in-error").first()
    report = write_draft(
        procedure=procedure,
        sections=sections or {"impression": "Pneumonia."},
        version=there.version if there else None,
        who=by,
    )
    return sign_report(report=report, version=report.version, status=ReportStatus(status), reason="better seen", who=by)


def added(report: Report, text: str, by: User) -> ReportVersion:
    report.refresh_from_db()
    return add_addendum(report=report, version=report.version, text=text, who=by)


def row_of(user: User, procedure: RequestedProcedure) -> PersonalResult:
    return PersonalResult.objects.get(user=user, requested_procedure_ref=procedure)


def long_ago(*rows: PersonalResult) -> None:
    """As if these had been published an hour ago."""
    PersonalResult.objects.filter(pk__in=[row.pk for row in rows]).update(at=timezone.now() - timedelta(hours=1))


def imaged(procedure: RequestedProcedure, **fields: Any) -> Any:
    study = make_study(
        procedure.order_ref.patient_ref,
        requested_procedure_ref=procedure,
        study_instance_uid=procedure.study_instance_uid,
        **fields,
    )
    refresh_studies([study.pk])
    return study
