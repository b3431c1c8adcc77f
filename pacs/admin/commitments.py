"""Storage commitments: what nodes asked to be kept safe, what the check found, and whether they know."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from pacs.models import CommitmentState, StorageCommitment
from pacs.services import commitment as commitments
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.search import sites_of
from radiology.errors import RadiologyError
from radiology.models import JobState
from radiology.services import audit

MOST_SHOWN = 100


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(CommitmentState.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[StorageCommitment]) -> QuerySet[StorageCommitment]:
        return queryset.filter(site__in=sites_of(request), state=self.value()) if self.value() else queryset


@admin.register(StorageCommitment)
class StorageCommitmentAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "created_at",
        "calling_ae_title",
        "shown_state",
        "number_of_requested",
        "number_of_failed",
        "reported_over",
        "reported_at",
        "problem",
    ]
    list_filter = [StateFilter, ("node", AutocompleteSelectFilter), "site"]
    list_select_related = ["job"]
    search_fields = ["=transaction_uid", "=public_id"]
    search_help_text = _("Transaction UID, or public id")
    actions_detail = ["report_this"]
    fields = [
        "transaction_uid",
        "shown_state",
        "problem",
        "node",
        "calling_ae_title",
        "called_ae_title",
        "address",
        "site",
        "number_of_requested",
        "number_of_failed",
        "not_committed",
        "created_at",
        "checked_at",
        "association_until",
        "reported_at",
        "reported_over",
        "job",
    ]
    readonly_fields = ["shown_state", "problem", "not_committed"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StorageCommitment]:
        """Without the names of the objects, which may be many thousands a row."""
        return super().get_queryset(request).defer("requested", "failures")

    def has_report_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.change_storagecommitment")

    @display(
        description=_("state"),
        label={
            CommitmentState.REPORTED: "success",
            CommitmentState.REQUESTED: "info",
            CommitmentState.CHECKED: "info",
            CommitmentState.UNREPORTED: "warning",
            JobState.DEAD: "danger",
        },
    )
    def shown_state(self, row: StorageCommitment) -> tuple[str, Any]:
        if row.job is not None and row.job.state == JobState.DEAD and row.state != CommitmentState.REPORTED:
            return JobState.DEAD, JobState.DEAD.label
        return row.state, row.get_state_display()

    @admin.display(description=_("remark"))
    def problem(self, row: StorageCommitment) -> str:
        """Why it has not come through yet."""
        if row.state == CommitmentState.REPORTED:
            return row.remark
        return row.remark or (row.job.error[:200] if row.job is not None else "")

    @admin.display(description=_("not committed"))
    def not_committed(self, row: StorageCommitment) -> Any:
        shown = [(uid, f"{reason:04X}", detail) for _, uid, reason, detail in row.failures[:MOST_SHOWN]]
        return format_html_join("", "<div>{} · {} · {}</div>", shown) or "–"

    @action(description=_("Report again"), url_path="report", icon="outgoing_mail", permissions=["report"])
    def report_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        try:
            commitments.report_again(who=request.user, commitment=row, address=audit.address_of(request))
        except RadiologyError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, _("The report goes out again."), messages.SUCCESS)
        return redirect("admin:pacs_storagecommitment_change", object_id)
