"""Registers this app's job handlers with the worker."""

from pacs.dimse import commitment_report, instance_availability, transfer_fetch, transfer_send
from pacs.services import (
    collect,
    commitment_check,
    compression,
    imports,
    imports_upload,
    rejection_forwarding,
    relocation,
    removal,
    report_objects,
    verification,
)

__all__ = [
    "collect",
    "commitment_check",
    "commitment_report",
    "compression",
    "imports",
    "imports_upload",
    "instance_availability",
    "rejection_forwarding",
    "relocation",
    "removal",
    "report_objects",
    "transfer_fetch",
    "transfer_send",
    "verification",
]
