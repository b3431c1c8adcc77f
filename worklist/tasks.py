"""Registers this app's job handlers with the worker."""

from worklist.services import inference, query_log, reading_rows, reconciliation_jobs

__all__ = ["inference", "query_log", "reading_rows", "reconciliation_jobs"]
