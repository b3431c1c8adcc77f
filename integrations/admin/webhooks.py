"""Who is told of events, where that may be, and how each delivery went."""

import json
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Max, Min, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from integrations.models import Webhook, WebhookDelivery, WebhookEvent, WebhookNetwork
from integrations.webhooks import services
from integrations.webhooks.deliver import send_test
from radiology.admin.model_admin import NeverDeleted, SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.errors import RadiologyError
from radiology.models import JobState
from radiology.services import audit

MOST_AGAIN = 10_000
MOST_ROTATED = 10
COLOURS = {
    JobState.DONE: "success",
    JobState.RUNNING: "info",
    JobState.DEAD: "danger",
    JobState.PENDING: "warning",
}


class WebhookForm(forms.ModelForm):
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[(each.value, f"{each.label} ({each.value})") for each in WebhookEvent],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,  # the model says what is missing
    )


@admin.register(WebhookNetwork)
class WebhookNetworkAdmin(SmallTable):
    site_path = "site"
    list_display = ["network", "plain_http", "description", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    search_fields = ["network", "description"]
    ordering = ["network", "id"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "Webhooks reach addresses on the internet by https, and nothing else: whoever may enter a webhook "
                    "could otherwise make this server call machines that only it can reach. A hospital system inside "
                    "is reached when its network stands here."
                ),
                "fields": ("network", "plain_http", "description", "site"),
            },
        ),
    )


@admin.register(Webhook)
class WebhookAdmin(NeverDeleted, SmallTable):
    form = WebhookForm
    site_path = "site"
    list_display = ["name", "url", "told_of", "state", "client", "last_success_at", "last_failure_at"]
    list_filter = ["is_active", "site"]
    list_select_related = ["site", "client"]
    search_fields = ["name", "url", "client__name"]
    search_help_text = _("Name, address or client")
    ordering = ["name", "id"]
    actions = ["rotate_selected", "end_selected"]
    actions_detail = ["test_this", "resume_this"]
    readonly_fields = [
        "public_id",
        "state_in_words",
        "waiting",
        "failures",
        "down_until",
        "last_success_at",
        "last_failure_at",
        "last_error",
        "old_secret_until",
        "created_at",
    ]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A system that is told when something happens: a POST request for each event, signed as Standard "
                    "Webhooks defines it. Events hold numbers, states and links, no names. The secret with which the "
                    "receiver checks the signature is shown once, after saving. What it does not take is tried "
                    "again for two days, and then waits under Webhook deliveries for somebody to send it again."
                ),
                "fields": ("name", "url", "events", "base_url", "is_active"),
            },
        ),
        (_("Whose it is"), {"fields": ("site", "client")}),
        (
            _("How it goes"),
            {
                "fields": (
                    "state_in_words",
                    "waiting",
                    "last_success_at",
                    "last_failure_at",
                    "last_error",
                    "failures",
                    "down_until",
                    "old_secret_until",
                    "created_at",
                    "public_id",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(ended_at=None)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a new one there is nothing to tell yet."""
        found = super().get_fieldsets(request, obj)
        return found if obj is not None else found[:-1]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Links begin as whoever enters it reaches this server."""
        here = request.build_absolute_uri("/").rstrip("/")
        return {"base_url": here, **super().get_changeform_initial_data(request)}

    @admin.display(description=_("events"))
    def told_of(self, webhook: Webhook) -> str:
        return ", ".join(webhook.events)

    @display(
        description=_("state"),
        label={"works": "success", "down": "danger", "refuses": "danger", "paused": "warning", "new": "info"},
    )
    def state(self, webhook: Webhook) -> tuple[str, Any]:
        if not webhook.is_at_work:
            return "paused", _("Not active")
        if webhook.failures:
            return "down", _("Does not answer")
        success, failure = webhook.last_success_at, webhook.last_failure_at
        if failure is not None and (success is None or success < failure):
            return "refuses", _("Refuses")
        return ("works", _("Works")) if success else ("new", _("Nothing sent yet"))

    @admin.display(description=_("state"))
    def state_in_words(self, webhook: Webhook) -> Any:
        return self.state(webhook)[1]

    @admin.display(description=_("deliveries"))
    def waiting(self, webhook: Webhook) -> SafeString:
        """The way to them, and how many wait, counted up to a thousand."""
        found = WebhookDelivery.objects.filter(webhook=webhook.pk, job__state=JobState.PENDING)[:1000].count()
        told = ngettext("%(count)d waits", "%(count)d wait", found) % {"count": found}
        address = reverse("admin:integrations_webhookdelivery_changelist") + f"?webhook={webhook.pk}"
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, told)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        was_paused = change and "is_active" in form.changed_data
        super().save_model(request, obj, form, change)
        if not obj.secret_encrypted:
            secret = services.rotate_secret(webhook=obj, who=request.user, address=audit.address_of(request))
            self._show_secret(request, obj, secret)
        if was_paused and obj.is_active:
            services.resume(webhook=obj)

    def has_work_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("integrations.change_webhook")

    @action(description=_("Send a test"), url_path="test", icon="send", permissions=["work"])
    def test_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One event that means nothing, now; what came of it."""
        webhook = self._webhook(request, object_id)
        try:
            answer = send_test(webhook)
        except RadiologyError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            told = _("It answered %(status)d in %(milliseconds)d ms: %(excerpt)s")
            if answer.is_success:
                told = _("It took the test: %(status)d in %(milliseconds)d ms.")
            values = {
                "status": answer.status,
                "milliseconds": answer.milliseconds,
                "excerpt": answer.excerpt[:200] or "–",
            }
            self.message_user(request, told % values, messages.SUCCESS if answer.is_success else messages.ERROR)
        return redirect("admin:integrations_webhook_change", object_id)

    @action(description=_("Try now"), url_path="resume", icon="play_arrow", permissions=["work"])
    def resume_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What waits because the target was down goes now."""
        services.resume(webhook=self._webhook(request, object_id))
        self.message_user(request, _("What waits is sent within seconds."), messages.SUCCESS)
        return redirect("admin:integrations_webhook_change", object_id)

    @admin.action(description=_("New secret: for a day the old one is valid too"), permissions=["work"])
    def rotate_selected(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset[:MOST_ROTATED]:
            secret = services.rotate_secret(webhook=webhook, who=request.user, address=audit.address_of(request))
            self._show_secret(request, webhook, secret)

    @admin.action(description=_("End: nothing more is sent, what waits is called off"), permissions=["work"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        rows = list(queryset)
        for webhook in rows:
            services.end(webhook=webhook, who=request.user, address=audit.address_of(request))
        told = ngettext("%(count)d webhook was ended.", "%(count)d webhooks were ended.", len(rows))
        self.message_user(request, told % {"count": len(rows)}, messages.SUCCESS)

    def _show_secret(self, request: HttpRequest, webhook: Webhook, secret: str) -> None:
        told = _("%(name)s: copy this secret into the receiver now, it is not shown again: %(secret)s")
        messages.warning(request, told % {"name": webhook, "secret": secret}, extra_tags="token")

    def _webhook(self, request: HttpRequest, object_id: str) -> Webhook:
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return found


class StateFilter(admin.SimpleListFilter):
    """How far deliveries are; those that failed are what somebody must look at."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state.value, state.label) for state in JobState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> QuerySet[WebhookDelivery]:
        if self.value() == JobState.DONE:
            return queryset.exclude(delivered_at=None)
        if self.value() not in JobState.values:
            return queryset
        return queryset.filter(delivered_at=None, job__state=self.value())


class HappenedFilter(admin.SimpleListFilter):
    """When it happened, in the spans that somebody looks for after an outage."""

    title = _("happened")
    parameter_name = "happened"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("Last hour")), ("24", _("Last day")), ("168", _("Last week"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> QuerySet[WebhookDelivery]:
        if self.value() not in {"1", "24", "168"}:
            return queryset
        return queryset.filter(created_at__gte=timezone.now() - timedelta(hours=int(self.value() or 0)))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "created_at",
        "webhook",
        "event",
        "subject",
        "shown_state",
        "attempts",
        "status_code",
        "short_error",
        "next_attempt",
    ]
    list_filter = [StateFilter, HappenedFilter, ("webhook", AutocompleteSelectFilter)]
    list_select_related = ["webhook", "job"]
    search_fields = ["=public_id", "=subject"]
    search_help_text = _("Event id, an order's public id or a Study Instance UID, in full")
    actions = ["again", "range_again"]
    fields = [
        "webhook",
        "event",
        "subject",
        "public_id",
        "created_at",
        "state_in_words",
        "error",
        "attempts",
        "last_attempt_at",
        "next_attempt",
        "status_code",
        "milliseconds",
        "response_excerpt",
        "delivered_at",
        "shown_body",
        "job",
    ]
    readonly_fields = ["state_in_words", "error", "next_attempt", "shown_body"]

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("integrations.change_webhookdelivery")

    @display(description=_("state"), label=COLOURS)
    def shown_state(self, row: WebhookDelivery) -> tuple[str, str]:
        return row.job.state, row.job.get_state_display()

    @admin.display(description=_("state"))
    def state_in_words(self, row: WebhookDelivery) -> str:
        return row.job.get_state_display()

    @admin.display(description=_("next attempt"))
    def next_attempt(self, row: WebhookDelivery) -> Any:
        return row.job.next_attempt_at if row.job.state == JobState.PENDING else None

    @admin.display(description=_("error"))
    def error(self, row: WebhookDelivery) -> str:
        return row.job.error or "–"

    @admin.display(description=_("error"))
    def short_error(self, row: WebhookDelivery) -> str:
        return row.job.error[:80]

    @admin.display(description=_("body"))
    def shown_body(self, row: WebhookDelivery) -> SafeString:
        """Indented for people; what is sent has no white space."""
        text = json.dumps(json.loads(row.body), ensure_ascii=False, indent=2)
        return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)

    @admin.action(description=_("Send again: those chosen, under the same ids"), permissions=["again"])
    def again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        self._send_again(request, queryset)

    @admin.action(
        description=_("Send again: all from the oldest to the newest chosen, of the same webhooks"),
        permissions=["again"],
    )
    def range_again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        """Whole spans, those that got through included: after a receiver was restored from its backup."""
        ends = queryset.aggregate(first=Min("pk"), last=Max("pk"))
        span = self.get_queryset(request).filter(pk__gte=ends["first"], pk__lte=ends["last"])
        self._send_again(request, span.filter(webhook__in=queryset.order_by().values("webhook")))

    def _send_again(self, request: HttpRequest, rows: QuerySet[WebhookDelivery]) -> None:
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_AGAIN + 1])
        if len(keys) > MOST_AGAIN:
            too_many = _("These are more than %(most)d: choose a shorter span.") % {"most": MOST_AGAIN}
            self.message_user(request, too_many, messages.ERROR)
            return
        count = services.send_again(
            deliveries=WebhookDelivery.objects.filter(pk__in=keys), who=request.user, address=audit.address_of(request)
        )
        told = ngettext("%(count)d delivery will be sent again.", "%(count)d deliveries will be sent again.", count)
        self.message_user(request, told % {"count": count}, messages.SUCCESS if count else messages.WARNING)
