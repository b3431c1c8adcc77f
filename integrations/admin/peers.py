"""The systems that send HL7 v2, receive it, or both."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import display

from integrations.hl7.outgoing import queue
from integrations.models import Hl7Alarm, Hl7FieldMapping, Hl7Message, Hl7OrderState, Hl7Peer
from radiology.admin.model_admin import NeverDeleted, ScopedTabularInline, SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.tasks import ring

# So far the messages of a queue are counted.
COUNTED = 10_000


class Hl7FieldMappingInline(ScopedTabularInline):
    """Tried on a message that is pasted: /interfaces/peers/<id>/mapping."""

    model = Hl7FieldMapping
    extra = 0
    fields = ("position", "message_code", "source", "constant", "values", "target")


@admin.register(Hl7Peer)
class Hl7PeerAdmin(NeverDeleted, SmallTable):
    site_path = "site"
    list_display = [
        "name",
        "addresses",
        "is_active",
        "last_message_at",
        "destination",
        "queued",
        "last_sent_at",
        "last_failure_at",
        "sending_application",
        "sending_facility",
        "site",
    ]
    list_filter = ["is_active", "site"]
    list_select_related = ["site"]
    search_fields = ["name", "sending_application", "sending_facility", "destination_host"]
    search_help_text = _("Name, application, facility or host")
    ordering = ["name", "id"]
    readonly_fields = [
        "last_message_at",
        "last_failure_at",
        "queue_length",
        "last_sent_at",
        "unreachable_since",
        "next_try_at",
        "destination_error",
    ]
    actions = ["try_now"]
    inlines = [Hl7FieldMappingInline]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A system that sends HL7 v2 messages over MLLP, receives them, or both. To send, it connects to "
                    "the HL7 port of this server; only systems that are entered here, from the addresses that are "
                    "entered here, are let in."
                ),
                "fields": ("name", "site", "addresses", "is_active"),
            },
        ),
        (
            _("How it is known"),
            {"fields": ("sending_application", "sending_facility", "assigning_authority", "character_set")},
        ),
        (
            _("What is done"),
            {
                "fields": (
                    "unknown_patient",
                    "unknown_procedure",
                    "reply_type",
                    "acknowledgment_mode",
                    "may_request_tokens",
                )
            },
        ),
        (_("Alarms"), {"fields": ("silent_after_minutes", "queue_alarm")}),
        (_("Last heard"), {"fields": ("last_message_at", "last_failure_at")}),
        (
            _("What is sent to it"),
            {
                "fields": (
                    ("destination_host", "destination_port"),
                    "destination_tls",
                    "sends_orders",
                    "sends_order_status",
                    "sends_patients",
                    "sends_reports",
                    "sends_echoes",
                )
            },
        ),
        (
            _("How it is written"),
            {
                "fields": (
                    ("sent_version", "sent_character_set"),
                    "order_message",
                    "filler_order",
                    "patient_events",
                    ("report_text", "report_pdf"),
                    "link_base",
                    "expected_answer",
                    ("sent_application", "sent_facility"),
                    ("receiving_application", "receiving_facility"),
                )
            },
        ),
        (
            _("What waits"),
            {"fields": ("queue_length", "last_sent_at", "unreachable_since", "next_try_at", "destination_error")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the length of each queue, counted by its own index and no further than anybody cares."""
        mine = Hl7Message.objects.queued().filter(peer=OuterRef(OuterRef("pk"))).order_by()
        first = Hl7Message.objects.filter(pk__in=mine.values("pk")[:COUNTED]).order_by().values("peer")
        count = first.annotate(count=Count("pk")).values("count")
        return super().get_queryset(request).annotate(queue=Coalesce(Subquery(count, IntegerField()), 0))

    def save_model(self, request: HttpRequest, obj: Hl7Peer, form: Any, change: bool) -> None:
        """What waits goes to where it is now."""
        super().save_model(request, obj, form, change)
        if change and obj.receives:
            queue.try_now(obj)
            ring()

    @admin.display(description=_("sends to"))
    def destination(self, peer: Hl7Peer) -> str:
        return f"{peer.destination_host}:{peer.destination_port}" if peer.receives else "–"

    @display(description=_("waiting to be sent"), label={"none": "success", "some": "info", "stuck": "danger"})
    def queued(self, peer: Any) -> tuple[str, str] | None:
        if not peer.pk or not (peer.receives or peer.queue):
            return None
        stuck = peer.unreachable_since is not None
        return "stuck" if stuck else "some" if peer.queue else "none", self.queue_length(peer)

    @admin.display(description=_("waiting to be sent"))
    def queue_length(self, peer: Any) -> str:
        queue = getattr(peer, "queue", 0)
        return f"{COUNTED}+" if queue >= COUNTED else str(queue)

    @admin.action(description=_("Send now what waits, also to those that could not be reached"), permissions=["change"])
    def try_now(self, request: HttpRequest, queryset: QuerySet[Hl7Peer]) -> None:
        peers = list(queryset.filter(is_active=True).exclude(destination_host="")[:100])
        for peer in peers:
            queue.try_now(peer)
            self.log_change(request, peer, [{"changed": {"fields": ["next_try_at"]}}])
        ring()
        told = ngettext(
            "The messages of %(count)d system are being sent.",
            "The messages of %(count)d systems are being sent.",
            len(peers),
        )
        self.message_user(request, told % {"count": len(peers)}, messages.SUCCESS if peers else messages.WARNING)


@admin.register(Hl7FieldMapping)
class Hl7FieldMappingAdmin(SmallTable):
    """The same rows as at each peer, all in one list."""

    site_path = "peer__site"
    list_display = ["peer", "position", "message_code", "source", "constant", "target"]
    list_select_related = ["peer"]
    search_fields = ["peer__name", "source", "target"]
    search_help_text = _("Peer or field")


@admin.register(Hl7Alarm)
class Hl7AlarmAdmin(ViewOnly, SinarModelAdmin):
    """Raised and ended by themselves; shown on the message desk while they ring."""

    site_path = "peer__site"
    list_display = ["peer", "kind", "since", "ended_at"]
    list_filter = ["kind"]
    list_select_related = ["peer"]
    search_fields = ["=peer__name"]
    search_help_text = _("Name of the peer, in full")


@admin.register(Hl7OrderState)
class Hl7OrderStateAdmin(ViewOnly, SinarModelAdmin):
    """What was told of orders, for whoever looks why something was, or was not."""

    site_path = "peer__site"
    list_display = ["order_ref", "peer", "is_announced", "told"]
    list_select_related = ["peer", "order_ref"]
    search_fields = ["=order_ref__accession_number"]
    search_help_text = _("Accession number, in full")
