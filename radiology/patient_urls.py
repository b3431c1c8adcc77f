"""The addresses of the pages about patients; a patient's own page is that of the pacs, which has the studies."""

from django.urls import path

from radiology import patient_merge_pages, patient_pages

urlpatterns = [
    path("patients", patient_pages.patients, name="patients"),
    path("patients/new", patient_pages.register, name="patient-register"),
    path("patients/unknown", patient_pages.register_unknown, name="patient-register-unknown"),
    path("patients/candidates", patient_pages.candidates, name="patient-candidates"),
    path("patients/duplicates", patient_merge_pages.suspected, name="patient-duplicates"),
    path("patients/duplicates/<uuid:public_id>", patient_merge_pages.dismiss, name="patient-duplicate-dismiss"),
    path("patients/merges/<uuid:public_id>/undo", patient_merge_pages.undo, name="patient-merge-undo"),
    path("patients/<uuid:public_id>/edit", patient_pages.edit, name="patient-edit"),
    path("patients/<uuid:public_id>/merge", patient_merge_pages.merge, name="patient-merge"),
    path("patients/<uuid:public_id>/history", patient_pages.history, name="patient-history"),
]
