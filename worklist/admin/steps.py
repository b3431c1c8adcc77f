"""Scheduled and performed steps: to be looked at; they are moved on the pages, by the modalities and by programs."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import PerformedProcedureStep, PerformedStepReference, ScheduledProcedureStep, StudyCompletion


@admin.register(ScheduledProcedureStep)
class ScheduledProcedureStepAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "scheduled_procedure_step_id", "modality", "room", "scheduled_start", "status"]
    list_filter = ["site", ("room", AutocompleteSelectFilter), ("device", AutocompleteSelectFilter)]
    list_select_related = ["room"]
    search_fields = [
        "^scheduled_procedure_step_id",
        "=public_id",
        "^requested_procedure_ref__order_ref__accession_number",
    ]
    search_help_text = _("Beginning of the step ID or of the accession number")


@admin.register(PerformedProcedureStep)
class PerformedProcedureStepAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "__str__",
        "performed_procedure_step_status",
        "modality",
        "performed_station_ae_title",
        "patient_ref",
        "started_at",
        "ended_at",
    ]
    list_filter = [
        "site",
        "is_unscheduled",
        "is_wrong_entry",
        ("patient_ref", AutocompleteSelectFilter),
        ("node", AutocompleteSelectFilter),
    ]
    list_select_related = ["patient_ref"]
    search_fields = ["=sop_instance_uid", "=study_instance_uid"]
    search_help_text = _("SOP Instance UID or Study Instance UID")


@admin.register(PerformedStepReference)
class PerformedStepReferenceAdmin(ViewOnly, SinarModelAdmin):
    site_path = "performed_ref__site"
    list_display = ["__str__", "accession_number", "requested_procedure_id", "performed_ref", "scheduled_ref"]
    list_filter = [("performed_ref", AutocompleteSelectFilter), ("scheduled_ref", AutocompleteSelectFilter)]
    list_select_related = ["performed_ref", "scheduled_ref"]
    search_fields = ["=study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(StudyCompletion)
class StudyCompletionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "study_ref__site"
    list_display = ["__str__", "study_ref", "how", "at", "number_of_instances", "reopened_at"]
    list_filter = [("study_ref", AutocompleteSelectFilter)]
    list_select_related = ["study_ref"]
    search_fields = ["=study_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")
