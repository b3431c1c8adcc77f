"""Transfers: to be looked at here; begun, cancelled and tried again on the page of transfers."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from pacs.models import Transfer, TransferOutcome, TransferResult, TransferState
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly


@admin.register(Transfer)
class TransferAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["created_at", "direction", "node_title", "shown_state", "agent", "settled_of", "failed", "bytes"]
    list_filter = ["site", ("node", AutocompleteSelectFilter)]
    list_select_related = ["job"]
    search_fields = ["=public_id", "=study_instance_uid"]
    search_help_text = _("Public id, or Study Instance UID")
    actions_list = ["open_page"]
    actions_detail = ["open_transfer"]

    @display(
        description=_("state"),
        label={
            TransferState.DONE: "success",
            TransferState.RUNNING: "info",
            TransferState.WAITING: "info",
            TransferState.PAUSED: "warning",
            TransferState.CANCELLED: "warning",
            TransferState.FAILED: "danger",
        },
    )
    def shown_state(self, transfer: Transfer) -> tuple[str, Any]:
        return transfer.state, transfer.state.label

    @admin.display(description=_("objects"))
    def settled_of(self, transfer: Transfer) -> str:
        return f"{transfer.settled} / {transfer.total}" if transfer.total else ""

    @admin.display(description=_("bytes"))
    def bytes(self, transfer: Transfer) -> str:
        return filesizeformat(transfer.size)

    @action(description=_("Open the page of transfers"), url_path="page", icon="sync_alt")
    def open_page(self, request: HttpRequest) -> HttpResponse:
        return redirect("transfers")

    @action(description=_("Open"), url_path="open", icon="open_in_new")
    def open_transfer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        transfer = self.get_object(request, object_id)
        if transfer is None:
            raise Http404
        return redirect("transfer", transfer.public_id)


class OutcomeFilter(admin.SimpleListFilter):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [(str(value), label) for value, label in TransferOutcome.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[TransferResult]) -> QuerySet[TransferResult]:
        wanted = self.value()
        return (
            queryset.filter(outcome=int(wanted))
            if wanted in {str(each) for each in TransferOutcome.values}
            else queryset
        )


@admin.register(TransferResult)
class TransferResultAdmin(ViewOnly, SinarModelAdmin):
    """One object of a transfer."""

    site_path = "transfer__site"
    list_display = ["sop_instance_uid", "outcome", "shown_status", "error", "transfer"]
    list_filter = [OutcomeFilter, ("transfer", AutocompleteSelectFilter)]
    list_select_related = ["transfer"]
    search_fields = ["=sop_instance_uid"]
    search_help_text = _("SOP Instance UID")

    @admin.display(description=_("status"))
    def shown_status(self, result: TransferResult) -> str:
        return "" if result.status is None else f"{result.status:04X}"
