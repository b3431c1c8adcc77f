"""What this app adds to the configuration file: the systems that send HL7."""

from integrations.models import Hl7Peer
from radiology.services.configuration import Section, register

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
        "may_request_tokens",
        "is_active",
    ),
)

register(PEERS)
