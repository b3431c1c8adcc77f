"""The reconciliation's part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import reconciliation

CASE = "reconciliation-cases/<uuid:case>"

urlpatterns = [
    path("reconciliation-cases", reconciliation.Cases.as_view(), name="api-cases"),
    path(CASE, reconciliation.OneCase.as_view(), name="api-case"),
    path(f"{CASE}/link", reconciliation.Link.as_view(), name="api-case-link"),
    path(f"{CASE}/dismiss", reconciliation.Dismiss.as_view(), name="api-case-dismiss"),
    path(f"{CASE}/wrong-patient", reconciliation.WrongPatient.as_view(), name="api-case-wrong-patient"),
    path(f"{CASE}/undo", reconciliation.Undo.as_view(), name="api-case-undo"),
]
