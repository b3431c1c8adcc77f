"""Django's admin over rooms and devices, what is scheduled and performed, what devices ask, and how studies find
their orders, and what is read."""

from worklist.admin import figures, peer_review, quality, queries, reading, reconciliation, rooms, steps

__all__ = ["figures", "peer_review", "quality", "queries", "reading", "reconciliation", "rooms", "steps"]
