"""What puts examinations on the reading list and takes them off: images, orders, reports, agreed times."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from pacs.models import Study
from pacs.signals import studies_changed, studies_stored
from radiology.models import Order, Report, RequestedProcedure
from radiology.signals import order_changed
from worklist.models import Turnaround
from worklist.services.reading_rows import refresh_order, refresh_readings, refresh_studies, sweep_soon
from worklist.signals import study_completed, study_linked


@receiver(study_linked)
def list_what_was_linked(
    procedures: Sequence[RequestedProcedure], before: Sequence[RequestedProcedure], **_: Any
) -> None:
    refresh_readings(each.pk for each in [*procedures, *before])


@receiver(studies_stored)
def list_what_came_back(returned: Iterable[int] = (), **_: Any) -> None:
    """Images of a study that was hidden until now; one that was never here has no order yet."""
    refresh_studies(returned)


@receiver(studies_changed)
def list_what_changed(studies: Iterable[int], **_: Any) -> None:
    """Deleted, restored, hidden, merged, another patient's."""
    refresh_studies(studies)


@receiver(study_completed)
def let_the_time_run(study: Study, **_: Any) -> None:
    refresh_studies([study.pk])


@receiver(order_changed)
def list_as_the_order_says(order: Order, **_: Any) -> None:
    refresh_order(order.pk)


@receiver(post_save, sender=Report)
@receiver(post_delete, sender=Report)
def list_as_the_report_says(instance: Report, update_fields: Collection[str] | None = None, **_: Any) -> None:
    """Drafted, published, signed, withdrawn, discarded; of a draft that goes on the list says the same as before."""
    if update_fields is None or not {"status", "draft_by"}.isdisjoint(update_fields):
        refresh_readings([instance.requested_procedure_ref_id])


@receiver(post_save, sender=Turnaround)
@receiver(post_delete, sender=Turnaround)
def count_the_time_anew(**_: Any) -> None:
    sweep_soon()
