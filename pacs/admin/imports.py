"""Runs of imports: to be looked at here, started and stopped from here or from the import page."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from pacs.models import ImportedAs, ImportedFile, ImportedStudy, ImportRefusal, ImportRun, ImportState
from pacs.services import imports
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.search import sites_of
from radiology.errors import RadiologyError
from radiology.services import audit


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(ImportState.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[ImportRun]) -> QuerySet[ImportRun]:
        return queryset.filter(site__in=sites_of(request), state=self.value()) if self.value() else queryset


@admin.register(ImportRun)
class ImportRunAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "created_at",
        "kind",
        "shown_state",
        "agent",
        "found",
        "stored",
        "unchanged",
        "held",
        "skipped",
        "refused",
    ]
    list_filter = [StateFilter, "site"]
    list_select_related = ["site"]
    search_fields = ["=public_id", "=places_sha256"]
    search_help_text = _("Public id of the import")
    actions_list = ["open_page"]
    actions_detail = ["open_run", "resume_this", "cancel_this"]
    fields = [
        "kind",
        "state",
        "error",
        "places",
        "site",
        "user",
        "agent",
        "fresh",
        "found",
        "stored",
        "unchanged",
        "held",
        "skipped",
        "refused",
        "done_before",
        "bytes",
        "created_at",
        "started_at",
        "finished_at",
        "job",
    ]

    def has_control_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.import_folder")

    @display(
        description=_("state"),
        label={
            ImportState.DONE: "success",
            ImportState.RUNNING: "info",
            ImportState.WAITING: "info",
            ImportState.STOPPED: "warning",
            ImportState.FAILED: "danger",
        },
    )
    def shown_state(self, run: ImportRun) -> tuple[str, str]:
        return run.state, run.get_state_display()

    @admin.display(description=_("read"))
    def bytes(self, run: ImportRun) -> Any:
        return filesizeformat(run.bytes_read)

    @action(description=_("Start an import"), url_path="start", icon="upload", permissions=["control"])
    def open_page(self, request: HttpRequest) -> HttpResponse:
        return redirect("imports")

    @action(description=_("Progress and report"), url_path="report", icon="summarize")
    def open_run(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("import-run", self._run(request, object_id).public_id)

    @action(description=_("Go on"), url_path="resume", icon="resume", permissions=["control"])
    def resume_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._control(request, object_id, imports.resume, _("The import goes on."))

    @action(description=_("Stop"), url_path="cancel", icon="stop_circle", permissions=["control"])
    def cancel_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._control(request, object_id, imports.cancel, _("The import stops. What is stored stays."))

    def _run(self, request: HttpRequest, object_id: str) -> ImportRun:
        run = self.get_object(request, object_id)
        if run is None:
            raise Http404
        return run

    def _control(self, request: HttpRequest, object_id: str, service: Callable[..., None], done: Any) -> HttpResponse:
        try:
            service(who=request.user, run=self._run(request, object_id), address=audit.address_of(request))
        except RadiologyError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, done, messages.SUCCESS)
        return redirect("admin:pacs_importrun_change", object_id)


class OfRun(ViewOnly, SinarModelAdmin):
    """What belongs to one run."""

    site_path = "run__site"
    list_filter: Any = [("run", AutocompleteSelectFilter)]
    list_select_related = ["run"]


@admin.register(ImportedStudy)
class ImportedStudyAdmin(OfRun):
    list_display = ["study_instance_uid", "stored", "unchanged", "held", "run"]
    search_fields = ["=study_instance_uid"]
    search_help_text = _("Study Instance UID")


class OutcomeFilter(admin.SimpleListFilter):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(ImportedAs.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[ImportRefusal]) -> QuerySet[ImportRefusal]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


@admin.register(ImportRefusal)
class ImportRefusalAdmin(OfRun):
    list_display = ["outcome", "name", "reason", "run"]
    list_filter = [OutcomeFilter, ("run", AutocompleteSelectFilter)]
    search_fields = ["=study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(ImportedFile)
class ImportedFileAdmin(OfRun):
    """The journal: it only says which files need not be read again."""

    site_path = "site"
    list_display = ["digest", "run"]
    list_filter = ["site", ("run", AutocompleteSelectFilter)]
    search_fields = ["=digest"]
    search_help_text = _("Digest")
