"""Quality checks and how people look at the board: to be looked at only."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import BoardPreference, QualityCheck


@admin.register(QualityCheck)
class QualityCheckAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "study_ref", "reason", "images", "modality", "source_ae_title", "agent", "undone_at"]
    list_filter = ["site", ("user", AutocompleteSelectFilter), ("study_ref", AutocompleteSelectFilter)]
    list_select_related = ["study_ref"]
    search_fields = ["=study_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(BoardPreference)
class BoardPreferenceAdmin(ViewOnly, SinarModelAdmin):
    site_path = "user__site"
    list_display = ["user", "query"]
    list_filter = [("user", AutocompleteSelectFilter)]
    list_select_related = ["user"]
    search_fields = ["=user__username"]
    search_help_text = _("User name")
