"""Corrections, and what was deleted or rejected: to be looked at; they are undone on the study's page."""

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from pacs.models import Correction, Removal, RemovedInstance
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly


@admin.register(Correction)
class CorrectionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "study_ref", "agent", "reason", "is_undone"]
    list_filter = ["kind"]
    list_select_related = ["study_ref"]
    search_fields = ["=study_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")

    @admin.display(description=_("undone"), boolean=True)
    def is_undone(self, correction: Correction) -> bool:
        return correction.undone_at is not None


@admin.register(Removal)
class RemovalAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "study_instance_uid", "agent", "reason", "is_restored"]
    list_filter = ["code"]
    search_fields = ["=study_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")

    @admin.display(description=_("restored"), boolean=True)
    def is_restored(self, removal: Removal) -> bool:
        return removal.restored_at is not None


@admin.register(RemovedInstance)
class RemovedInstanceAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display: Any = ["sop_instance_uid", "removal"]
    list_select_related = ["removal"]
    search_fields = ["=sop_instance_uid"]
    search_help_text = _("SOP Instance UID")
