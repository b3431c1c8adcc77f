"""Django's admin over what was acquired, the nodes that we talk to, and where the bytes are."""

from pacs.admin import (
    commitments,
    compression,
    corrections,
    images,
    imports,
    nodes,
    reports,
    sharing,
    storage,
    transfers,
)

__all__ = [
    "commitments",
    "compression",
    "corrections",
    "images",
    "imports",
    "nodes",
    "reports",
    "sharing",
    "storage",
    "transfers",
]
