"""How studies found their orders: to be looked at; decisions are made on the page. And how a site wants it."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import ReconciliationCase, ReconciliationDecision, WorklistSettings


@admin.register(ReconciliationCase)
class ReconciliationCaseAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "study_ref", "state", "reason", "rule", "decided_by", "decided_at", "site"]
    list_filter = ["site", ("decided_by", AutocompleteSelectFilter)]
    list_select_related = ["study_ref", "decided_by", "site"]
    search_fields = ["=public_id", "=study_ref__study_instance_uid", "^study_ref__accession_number"]
    search_help_text = _("Study Instance UID, or beginning of the accession number")


@admin.register(ReconciliationDecision)
class ReconciliationDecisionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "case", "procedure_ref", "rule", "agent", "undone_at", "undone_by"]
    list_filter = ["site", ("user", AutocompleteSelectFilter), ("case", AutocompleteSelectFilter)]
    list_select_related = ["case", "procedure_ref"]
    search_fields = ["=public_id", "=case__study_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(WorklistSettings)
class WorklistSettingsAdmin(SinarModelAdmin):
    site_path = "site"
    list_display = ["site", "links_by_itself", "expects_orders", "claim_minutes"]
    list_select_related = ["site"]
    search_fields = ["^site__code"]
    search_help_text = _("Beginning of the site's code")
