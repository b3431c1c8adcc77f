"""Every HL7 message, in and out: what it said, what was answered, what it changed; and doing again what failed."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from integrations.hl7 import dispatch, inbox
from integrations.hl7.outgoing import queue
from integrations.message_view import DID, lines_of
from integrations.models import Direction, Hl7Message, MessageState
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.tasks import ring

SHOWN = 20_000
MOST_AGAIN = 100


class TypeFilter(admin.SimpleListFilter):
    """The types that are understood, without asking the table for its values."""

    title = _("type")
    parameter_name = "message_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted({code for code, _event in dispatch.HANDLERS})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Hl7Message]) -> QuerySet[Hl7Message]:
        return queryset.filter(message_code=self.value()) if self.value() else queryset


@admin.register(Hl7Message)
class Hl7MessageAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "received_at",
        "shown_direction",
        "shown_state",
        "kind",
        "peer",
        "acknowledgment_code",
        "short_error",
        "message_control_id",
        "address",
    ]
    list_filter = ["state", TypeFilter, "direction", ("peer", AutocompleteSelectFilter)]
    list_select_related = ["peer"]
    search_fields = ["=message_control_id", "=public_id"]
    search_help_text = _("Control ID (MSH-10), in full")
    actions = ["process_again", "send_again", "give_up"]
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "received_at",
                    "state",
                    "error",
                    "note",
                    "shown_changes",
                    "patient_ref",
                    "order_ref",
                    "duplicate_of",
                    "reuses_control_id",
                )
            },
        ),
        (_("Message"), {"fields": ("shown_raw", "size")}),
        (
            _("Answer"),
            {"fields": ("acknowledgment_code", "shown_acknowledgment", "processed_at", "attempts", "due_at")},
        ),
        (
            _("Header"),
            {
                "fields": (
                    "peer",
                    "site",
                    "address",
                    "direction",
                    "sending_application",
                    "sending_facility",
                    "message_code",
                    "trigger_event",
                    "version_id",
                    "message_control_id",
                    "public_id",
                )
            },
        ),
    )
    readonly_fields = ["shown_raw", "shown_acknowledgment", "shown_changes"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the bytes, which may be megabytes each."""
        return super().get_queryset(request).defer("raw", "acknowledgment", "changed")

    def has_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("integrations.change_hl7message")

    @display(
        description=_("state"),
        label={
            MessageState.PROCESSED: "success",
            MessageState.RECEIVED: "info",
            MessageState.DUPLICATE: "info",
            MessageState.FAILED: "danger",
            MessageState.REJECTED: "warning",
            MessageState.WAITING: "info",
            MessageState.DEAD: "danger",
        },
    )
    def shown_state(self, row: Hl7Message) -> tuple[str, str]:
        is_sent = row.direction == Direction.OUT and row.state == MessageState.PROCESSED
        return row.state, str(_("Sent")) if is_sent else row.get_state_display()

    @admin.display(description=_("direction"))
    def shown_direction(self, row: Hl7Message) -> str:
        return "→" if row.direction == Direction.OUT else "←"

    @admin.display(description=_("type"))
    def kind(self, row: Hl7Message) -> str:
        return row.kind

    @admin.display(description=_("error"))
    def short_error(self, row: Hl7Message) -> str:
        return row.error[:100]

    @admin.display(description=_("message"))
    def shown_raw(self, row: Hl7Message) -> SafeString:
        return _as_segments(bytes(row.raw), row.character_set)

    @admin.display(description=_("answer in full"))
    def shown_acknowledgment(self, row: Hl7Message) -> SafeString:
        return _as_segments(bytes(row.acknowledgment), "")

    @admin.display(description=_("changed"))
    def shown_changes(self, row: Hl7Message) -> SafeString | str:
        return format_html_join("", "<div>{}</div>", ([_change(entry)] for entry in row.changed)) or "–"

    @admin.action(description=_("Process again: messages that failed"), permissions=["again"])
    def process_again(self, request: HttpRequest, queryset: QuerySet[Hl7Message]) -> None:
        """In the order in which they came; each by itself."""
        open_ones = queryset.filter(direction=Direction.IN, state__in=inbox.OPEN).exclude(peer=None).order_by("id")
        rows = list(open_ones.only("pk", "site", "peer")[:MOST_AGAIN])
        for row in rows:
            inbox.process(row.pk)
            self.log_change(request, row, [{"changed": {"fields": ["state"]}}])
        failed = Hl7Message.objects.filter(pk__in=[row.pk for row in rows], state=MessageState.FAILED).count()
        done = len(rows) - failed
        self.message_user(
            request,
            ngettext("%(count)d message was processed.", "%(count)d messages were processed.", done) % {"count": done},
            messages.SUCCESS if done else messages.WARNING,
        )
        if failed:
            told = ngettext("%(count)d message failed again.", "%(count)d messages failed again.", failed)
            self.message_user(request, told % {"count": failed}, messages.ERROR)

    @admin.action(
        description=_("Send again: messages that were given up, or wait for another try"), permissions=["again"]
    )
    def send_again(self, request: HttpRequest, queryset: QuerySet[Hl7Message]) -> None:
        count = self._act_on_sent(request, queryset, queue.send_again)
        ring()
        told = ngettext("%(count)d message is being sent.", "%(count)d messages are being sent.", count)
        self.message_user(request, told % {"count": count}, messages.SUCCESS if count else messages.WARNING)

    @admin.action(description=_("Give up: messages that wait to be sent"), permissions=["again"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[Hl7Message]) -> None:
        count = self._act_on_sent(request, queryset, queue.give_up)
        told = ngettext("%(count)d message will not be sent.", "%(count)d messages will not be sent.", count)
        self.message_user(request, told % {"count": count}, messages.SUCCESS if count else messages.WARNING)

    def _act_on_sent(
        self, request: HttpRequest, queryset: QuerySet[Hl7Message], act: Callable[[list[Hl7Message]], int]
    ) -> int:
        rows = list(queryset.filter(direction=Direction.OUT).order_by("id").only("pk", "site", "peer")[:MOST_AGAIN])
        for row in rows:
            self.log_change(request, row, [{"changed": {"fields": ["state"]}}])
        return act(rows)


def _as_segments(raw: bytes, character_set: str) -> SafeString:
    """The text, a segment a line, cut where it is longer than anybody reads."""
    shown = "\n".join(lines_of(raw, character_set, most=SHOWN))
    return format_html('<pre class="whitespace-pre-wrap break-all font-mono">{}</pre>', shown)


def _change(entry: dict[str, Any]) -> SafeString | str:
    """What happened to a row, with the way to it."""
    label, key, did = str(entry.get("model", "")), entry.get("id"), str(entry.get("did", ""))
    did = str(DID.get(did, did))
    try:
        address = reverse(f"admin:{label.lower().replace('.', '_')}_change", args=[key])
    except NoReverseMatch:
        return f"{label} {key}: {did}"
    return format_html('<a href="{}">{} {}</a>: {}', address, label.partition(".")[2], key, did)
