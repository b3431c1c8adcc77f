"""Django's admin over rooms and devices, what is scheduled and performed, what devices ask, and how studies find
their orders, and what is read."""

from worklist.admin import peer_review, quality, queries, reading, reconciliation, rooms, steps

__all__ = ["peer_review", "quality", "queries", "reading", "reconciliation", "rooms", "steps"]
