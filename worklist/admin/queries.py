"""What devices ask the modality worklist for: to be looked at; `/worklist/queries` explains each."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import WorklistQuery


@admin.register(WorklistQuery)
class WorklistQueryAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["calling_ae_title", "device", "address", "answered", "times", "last_at", "error", "site"]
    list_filter = ["site", ("device", AutocompleteSelectFilter), ("node", AutocompleteSelectFilter)]
    list_select_related = ["device", "site"]
    search_fields = ["^calling_ae_title", "=public_id"]
    search_help_text = _("Beginning of the AE title")
