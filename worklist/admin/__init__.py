"""Django's admin over rooms and devices, what is scheduled and performed, what devices ask, and how studies find
their orders."""

from worklist.admin import quality, queries, reconciliation, rooms, steps

__all__ = ["quality", "queries", "reconciliation", "rooms", "steps"]
