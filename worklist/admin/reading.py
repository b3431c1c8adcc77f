"""The reading list: agreed turnarounds and what each radiologist reads are set here; the list itself is only shown."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import Reading, ReadingArea, Turnaround


@admin.register(Reading)
class ReadingAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["requested_procedure_ref", "modality", "priority", "state", "due_at", "claimed_by", "site"]
    list_filter = ["site", ("claimed_by", AutocompleteSelectFilter), ("assigned_to", AutocompleteSelectFilter)]
    list_select_related = ["requested_procedure_ref", "claimed_by", "site"]
    search_fields = ["=requested_procedure_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(Turnaround)
class TurnaroundAdmin(SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "minutes", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    search_fields = ["=modality", "=priority"]
    search_help_text = _("Modality or priority")
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "How long a report may take, from the complete images to the signature. The reading list is sorted "
                    "by it, and says what is late. Without an entry: stat 1 hour, high 4 hours, low 3 days, everything "
                    "else 1 day. What waits already is counted anew within a minute."
                ),
                "fields": ("site", "priority", "modality", "minutes", "cosign_minutes"),
            },
        ),
    )


@admin.register(ReadingArea)
class ReadingAreaAdmin(SinarModelAdmin):
    site_path = "user__site"
    list_display = ["user", "modality", "region"]
    list_filter = [("user", AutocompleteSelectFilter)]
    list_select_related = ["user"]
    search_fields = ["=user__username"]
    search_help_text = _("User name")
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What somebody reads by preference: “My areas” on the reading list shows it. Nobody is kept from "
                    "reading anything else."
                ),
                "fields": ("user", "modality", "region"),
            },
        ),
    )
