"""What this app adds to the configuration file."""

from pacs.models import ApplicationEntity, CompressionRule, LinkSigner, Volume
from pacs.services.compression import save_rule
from radiology.services.configuration import Section, register

NODES = Section(
    "nodes",
    ApplicationEntity,
    ("title", "host", "port"),
    (
        "description",
        "site",
        "is_active",
        "tls",
        "check_address",
        "may_store",
        "may_query",
        "may_retrieve",
        "may_ask_worklist",
        "may_report_steps",
        "may_receive",
        "may_commit",
        "specific_character_set",
        "transfer_syntaxes",
        "issuer_of_patient_id",
        "time_zone",
        "empty_values_match",
        "conflict_answer",
        "takes_rejection_notes",
        "takes_availability",
        "priority",
        "most_associations_from",
        "most_associations_to",
        "associations_per_transfer",
        "receive_rate",
        "send_rate",
    ),
)
# A volume takes new objects only once somebody has looked whether it is there, and entered its secret.
VOLUMES = Section(
    "volumes",
    Volume,
    ("name",),
    (
        "kind",
        "path",
        "endpoint_url",
        "region",
        "bucket",
        "prefix",
        "access_key_id",
        "verify_tls",
        "is_active",
        "reserve",
        "verify_days",
    ),
    when_new={"is_active": False},
)

# Compressing begins only once somebody has looked at the rule here.
COMPRESSION_RULES = Section(
    "compression_rules",
    CompressionRule,
    ("site", "name"),
    ("is_active", "modalities", "sop_class_uids", "received_in", "older_than_days", "transfer_syntax_uid"),
    when_new={"is_active": False},
    write=save_rule,
)

# Without its secret, which somebody makes anew.
LINK_SIGNERS = Section("link_signers", LinkSigner, ("client",), ("frame_ancestors",), references={"client": ("name",)})

register(NODES, VOLUMES, COMPRESSION_RULES, LINK_SIGNERS)
