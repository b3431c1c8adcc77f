"""What this app adds to the configuration file: systems that speak HL7, that are told of events, or take images."""

from integrations.models import Hl7FieldMapping, Hl7Peer, OrthancPeer, Webhook, WebhookNetwork
from radiology.services.configuration import Section, register

DESTINATION = (
    "destination_host",
    "destination_port",
    "destination_tls",
    "sends_orders",
    "sends_order_status",
    "sends_patients",
    "sends_reports",
    "sends_echoes",
    "sent_version",
    "order_message",
    "filler_order",
    "patient_events",
    "report_text",
    "report_pdf",
    "link_base",
    "sent_application",
    "sent_facility",
    "receiving_application",
    "receiving_facility",
    "sent_character_set",
    "expected_answer",
)
PEERS = Section(
    "hl7_peers",
    Hl7Peer,
    ("name",),
    (
        "site",
        "sending_application",
        "sending_facility",
        "addresses",
        "character_set",
        "assigning_authority",
        "unknown_patient",
        "unknown_procedure",
        "reply_type",
        "acknowledgment_mode",
        "silent_after_minutes",
        "queue_alarm",
        "may_request_tokens",
        "is_active",
        *DESTINATION,
    ),
)
MAPPINGS = Section(
    "hl7_field_mappings",
    Hl7FieldMapping,
    ("peer", "position", "target"),
    ("message_code", "source", "constant", "values"),
    references={"peer": ("name",)},
)
WEBHOOK_NETWORKS = Section("webhook_networks", WebhookNetwork, ("site", "network"), ("plain_http", "description"))
# A webhook sends only once somebody has given its receiver a secret.
WEBHOOKS = Section(
    "webhooks",
    Webhook,
    ("site", "name"),
    ("client", "url", "events", "base_url", "is_active"),
    when_new={"is_active": False},
    references={"client": ("name",)},
    only={"ended_at": None},
)
# A peer is called only once somebody has entered its password.
ORTHANC_PEERS = Section(
    "orthanc_peers", OrthancPeer, ("site", "name"), ("url", "username", "is_active"), when_new={"is_active": False}
)

register(PEERS, MAPPINGS, WEBHOOK_NETWORKS, WEBHOOKS, ORTHANC_PEERS)
