"""What makes results of doctors: orders, reports, critical results, and what people are called in messages.

Of two who change different things at the same time neither sees what the other does: so each looks once more when
both may be committed. They stand here, behind those of the reading list, so that whoever publishes locks the rows of
both in one order.
"""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from radiology.models import CriticalResult, Order, PractitionerTie, Report
from radiology.services.personal_results import match_soon, refresh_critical, refresh_order, refresh_results
from radiology.signals import critical_result_changed, order_changed, order_placed, report_published


@receiver(order_placed)
@receiver(order_changed)
def await_what_is_ordered(order: Order, **_: Any) -> None:
    """That something is awaited may be told a moment later; a report that comes first tells it itself."""
    transaction.on_commit(partial(refresh_order, order.pk), robust=True)


@receiver(report_published)
def tell_what_was_published(report: Report, **_: Any) -> None:
    _now_and_once_more(report.requested_procedure_ref_id)


@receiver(critical_result_changed)
def tell_what_is_critical(result: CriticalResult, **_: Any) -> None:
    refresh_critical(result.requested_procedure_ref_id)
    transaction.on_commit(partial(refresh_results, [result.requested_procedure_ref_id]), robust=True)


@receiver(post_save, sender=PractitionerTie)
@receiver(post_delete, sender=PractitionerTie)
def find_what_is_theirs(instance: PractitionerTie, **_: Any) -> None:
    match_soon(instance.user_id)


def _now_and_once_more(procedure: int) -> None:
    refresh_results([procedure])
    transaction.on_commit(partial(refresh_results, [procedure]), robust=True)
