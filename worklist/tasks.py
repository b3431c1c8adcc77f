"""Registers this app's job handlers with the worker, and what its clock calls."""

from celery import shared_task

from worklist.services import figures_rows, inference, peer_review_draw, query_log, reading_rows, reconciliation_jobs

__all__ = ["figures_rows", "inference", "peer_review_draw", "query_log", "reading_rows", "reconciliation_jobs"]


@shared_task(name="worklist.count_figures")
def count_figures() -> int:
    """Count the examinations anew that something happened to."""
    return figures_rows.count_changes(waits=False)
