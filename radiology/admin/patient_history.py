"""What was done to patients: their versions, merges, and suspected duplicates. To be looked at; pages decide."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.models import (
    PatientDuplicate,
    PatientLink,
    PatientMerge,
    PatientMergeItem,
    PatientNumberCounter,
    PatientVersion,
)


@admin.register(PatientVersion)
class PatientVersionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "patient_ref__site"
    list_display = ["patient_ref", "version", "changed", "agent", "reason", "created_at"]
    list_filter = [("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["=patient_ref__patient_id"]
    search_help_text = _("The whole MRN")

    @admin.display(description=_("changed"))
    def changed(self, row: PatientVersion) -> str:
        return ", ".join(row.changes)


class StandingFilter(admin.SimpleListFilter):
    """Merges that stand, and those that were taken back."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("stands", _("Stands")), ("undone", _("Taken back"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PatientMerge]) -> QuerySet[PatientMerge]:
        match self.value():
            case "stands":
                return queryset.filter(undone_at=None)
            case "undone":
                return queryset.exclude(undone_at=None)
        return queryset


@admin.register(PatientMerge)
class PatientMergeAdmin(ViewOnly, SinarModelAdmin):
    """Taken back on the history page of the patient, where it says what moves."""

    site_path = "site"
    list_display = ["merged", "survivor", "agent", "reason", "created_at", "undone_at"]
    list_filter = [StandingFilter, "site", ("survivor", AutocompleteSelectFilter), ("merged", AutocompleteSelectFilter)]
    list_select_related = ["survivor", "merged"]
    search_fields = ["=public_id", "=merged__patient_id", "=survivor__patient_id"]
    search_help_text = _("The whole MRN of either patient")


@admin.register(PatientMergeItem)
class PatientMergeItemAdmin(ViewOnly, SinarModelAdmin):
    site_path = "merge__site"
    list_display = ["merge", "kind", "row_id", "is_late"]
    list_select_related = ["merge"]
    search_fields = ["=merge__public_id"]
    search_help_text = _("The public id of the merge")


@admin.register(PatientDuplicate)
class PatientDuplicateAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["one", "other", "score", "created_at", "dismissed_at", "dismissed_by"]
    list_filter = ["site"]
    list_select_related = ["one", "other"]
    search_fields = ["=one__patient_id", "=other__patient_id"]
    search_help_text = _("The whole MRN of either patient")


@admin.register(PatientLink)
class PatientLinkAdmin(ViewOnly, SinarModelAdmin):
    """Made and taken back by the hospital system (HL7 ADT^A24, A37)."""

    site_path = "site"
    list_display = ["one", "other", "agent", "created_at"]
    list_filter = ["site"]
    list_select_related = ["one", "other"]
    search_fields = ["=one__patient_id", "=other__patient_id"]
    search_help_text = _("The whole MRN of either patient")


@admin.register(PatientNumberCounter)
class PatientNumberCounterAdmin(ViewOnly, SinarModelAdmin):
    """Which number a site gave last. The patterns stand at the site."""

    site_path = "site"
    list_display = ["site", "pattern", "last"]
    list_filter = ["site"]
    list_select_related = ["site"]
    search_fields = ["=pattern"]
    search_help_text = _("The whole pattern")
