"""The addresses of the reconciliation inbox."""

from django.urls import path

from worklist import reconciliation_pages as pages

urlpatterns = [
    path("reconciliation", pages.inbox, name="reconciliation"),
    path("reconciliation/count", pages.count, name="reconciliation-count"),
    path("reconciliation/<uuid:public_id>", pages.case_page, name="reconciliation-case"),
    path("reconciliation/<uuid:public_id>/link", pages.link, name="reconciliation-link"),
    path("reconciliation/<uuid:public_id>/dismiss", pages.dismiss, name="reconciliation-dismiss"),
    path("reconciliation/<uuid:public_id>/wrong-patient", pages.wrong_patient, name="reconciliation-wrong-patient"),
    path("reconciliation/decisions/<uuid:public_id>/undo", pages.undo, name="reconciliation-undo"),
]
