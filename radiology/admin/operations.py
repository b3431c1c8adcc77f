"""Jobs, the audit trail, and the keys of requests that make something once."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.search import Matches
from radiology.models import AuditEvent, IdempotencyKey, Job, JobState
from radiology.services import jobs


class KindFilter(admin.SimpleListFilter):
    """The kinds of work that this installation knows, without asking the table for its values."""

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        autodiscover_modules("tasks")  # which register their handlers; a web process has not needed them yet
        return [(kind, kind) for kind in sorted(jobs.HANDLERS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(ViewOnly, SinarModelAdmin):
    list_display = ["kind", "shown_state", "attempts", "done", "next_attempt_at", "created_at", "short_error"]
    list_filter = ["state", KindFilter]
    search_fields = ["=id", "=public_id", "=idempotency_key", "^kind"]
    search_help_text = _("Number, key, or the beginning of the kind")
    actions = ["retry", "cancel"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Those of one's own site, and the house's own chores."""
        found = super().get_queryset(request)
        user: Any = request.user
        return found if user.is_superuser else found.filter(Q(site=None) | Q(site=user.site_id))

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        # Only of unfinished jobs is the ordering key indexed.
        yield Job.objects.filter(ordering_key=term, state__in=[JobState.PENDING, JobState.RUNNING])

    def has_control_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("radiology.change_job")

    @display(
        description=_("state"),
        label={
            JobState.DONE: "success",
            JobState.RUNNING: "info",
            JobState.DEAD: "danger",
            JobState.PENDING: "warning",
            JobState.PAUSED: "warning",
        },
    )
    def shown_state(self, job: Job) -> tuple[str, str]:
        return job.state, job.get_state_display()

    @admin.display(description=_("progress"))
    def done(self, job: Job) -> str:
        return f"{job.progress} / {job.progress_total}" if job.progress_total else ""

    @admin.display(description=_("error"))
    def short_error(self, job: Job) -> str:
        return job.error[:100]

    @admin.action(description=_("Try again: failed or cancelled jobs, from the start"), permissions=["control"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        possible = list(queryset.filter(state__in=[JobState.DEAD, JobState.CANCELLED]))
        for job in possible:
            jobs.retry(job=job)
            self.log_change(request, job, [{"changed": {"fields": ["state"]}}])
        self.message_user(
            request,
            ngettext("%(count)d job will be tried again.", "%(count)d jobs will be tried again.", len(possible))
            % {"count": len(possible)},
            messages.SUCCESS if possible else messages.WARNING,
        )

    @admin.action(description=_("Cancel: jobs that have not finished"), permissions=["control"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        possible = list(queryset.filter(state__in=[JobState.PENDING, JobState.RUNNING, JobState.PAUSED]))
        for job in possible:
            jobs.cancel(job=job)
            self.log_change(request, job, [{"changed": {"fields": ["state"]}}])
        self.message_user(
            request,
            ngettext("%(count)d job was cancelled.", "%(count)d jobs were cancelled.", len(possible))
            % {"count": len(possible)},
            messages.SUCCESS if possible else messages.WARNING,
        )


@admin.register(AuditEvent)
class AuditEventAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["at", "event", "action", "succeeded", "agent", "address", "patient_ref", "study_instance_uid"]
    list_filter = [("user", AutocompleteSelectFilter), ("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["=event", "=study_instance_uid", "=user__username", "=patient_ref__patient_id"]
    search_help_text = _("Event, user name, MRN or Study Instance UID, in full")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ViewOnly, SinarModelAdmin):
    """Which request of a program made what, to see why the same request again made nothing."""

    site_path = "site"
    list_display = ["key", "caller", "operation", "reference", "created_at"]
    search_fields = ["^key"]
    search_help_text = _("Beginning of the key, as the program sent it")
