"""The systems that send HL7 v2."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from integrations.models import Hl7Peer
from radiology.admin.model_admin import NeverDeleted
from radiology.admin.people import SmallTable


@admin.register(Hl7Peer)
class Hl7PeerAdmin(NeverDeleted, SmallTable):
    site_path = "site"
    list_display = [
        "name",
        "sending_application",
        "sending_facility",
        "addresses",
        "is_active",
        "last_message_at",
        "last_failure_at",
        "site",
    ]
    list_filter = ["is_active", "site"]
    list_select_related = ["site"]
    search_fields = ["name", "sending_application", "sending_facility"]
    search_help_text = _("Name, application or facility")
    ordering = ["name", "id"]
    readonly_fields = ["last_message_at", "last_failure_at"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A system that sends HL7 v2 messages over MLLP. It connects to the HL7 port of this server; only "
                    "systems that are entered here, from the addresses that are entered here, are let in."
                ),
                "fields": ("name", "site", "addresses", "is_active"),
            },
        ),
        (
            _("How it is known"),
            {"fields": ("sending_application", "sending_facility", "assigning_authority", "character_set")},
        ),
        (_("What is done"), {"fields": ("unknown_patient", "unknown_procedure", "reply_type", "may_request_tokens")}),
        (_("Last heard"), {"fields": ("last_message_at", "last_failure_at")}),
    )
