"""Reports and their versions, to be looked at: they are written and signed elsewhere."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.search import sites_of
from radiology.models import Report, ReportStatus, ReportVersion


class ReportStatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(ReportStatus.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Report]) -> QuerySet[Report]:
        return queryset.filter(site__in=sites_of(request), status=self.value()) if self.value() else queryset


@admin.register(Report)
class ReportAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["public_id", "requested_procedure_ref", "status", "origin", "published_at", "site"]
    list_filter = [ReportStatusFilter, "site"]
    list_select_related = ["requested_procedure_ref", "site"]
    search_fields = ["=public_id", "=external_id", "=requested_procedure_ref__order_ref__accession_number"]
    search_help_text = _("The whole accession number, or the report's number")
    exclude = ["draft"]


@admin.register(ReportVersion)
class ReportVersionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "report_ref__site"
    list_display = ["report_ref", "number", "status", "author_name", "agent", "at"]
    list_select_related = ["report_ref"]
    search_fields = ["=report_ref__public_id"]
    search_help_text = _("The report's public id")
    ordering = ("-id",)
