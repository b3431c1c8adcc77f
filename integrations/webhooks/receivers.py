"""What happens to the left of us, told to webhooks in the transaction in which it happens."""

from collections.abc import Sequence
from typing import Any

from django.dispatch import receiver

from integrations.models import WebhookEvent
from integrations.webhooks.events import (
    of_critical_result,
    of_held_report,
    of_late_images,
    of_order,
    of_report,
    of_studies,
    of_study,
    tell,
)
from pacs.models import Study
from pacs.signals import studies_stored
from radiology.models import CriticalResult, LateImages, Order, Report, ReportHold, ReportStatus
from radiology.signals import (
    critical_result_changed,
    late_images_changed,
    order_changed,
    order_placed,
    report_hold_changed,
    report_published,
)
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.signals import step_moved, study_completed

# Of these a procedure's own state says nothing; with the others the procedure moves, and its order tells.
BEFORE = {StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY, StepStatus.NO_SHOW}


@receiver(order_placed)
def tell_of_new_order(order: Order, **_: Any) -> None:
    tell(event=WebhookEvent.ORDER_PLACED, site_id=order.site_id, about=lambda: [of_order(order)])


@receiver(order_changed)
def tell_of_moved_order(order: Order, changes: dict[str, Any] | None = None, **_: Any) -> None:
    """Other changes of an order are no states."""
    if any(name == "status" or name.startswith("procedure ") for name in changes or {}):
        tell(event=WebhookEvent.ORDER_STATUS, site_id=order.site_id, about=lambda: [of_order(order)])


@receiver(step_moved)
def tell_of_arrival(step: ScheduledProcedureStep, before: str, **_: Any) -> None:
    if step.status in BEFORE and before in BEFORE:
        order = Order.objects.filter(requested_procedures__scheduled_procedure_steps=step.pk)
        tell(event=WebhookEvent.ORDER_STATUS, site_id=step.site_id, about=lambda: [of_order(each) for each in order])


@receiver(studies_stored)
def tell_of_new_studies(new: Sequence[int] = (), **_: Any) -> None:
    """Where images of a known study arrive, this costs nothing at all."""
    if new:
        tell(event=WebhookEvent.STUDY_RECEIVED, about=lambda: of_studies(new))


@receiver(study_completed)
def tell_of_complete_study(study: Study, **_: Any) -> None:
    tell(event=WebhookEvent.STUDY_COMPLETE, site_id=study.site_id, about=lambda: [of_study(study)])


@receiver(report_published)
def tell_of_report(report: Report, **_: Any) -> None:
    """A preliminary one may yet change: nobody is told."""
    if report.is_signed:
        tell(event=WebhookEvent.REPORT_FINAL, site_id=report.site_id, about=lambda: [of_report(report)])
    elif report.status == ReportStatus.ENTERED_IN_ERROR:
        tell(event=WebhookEvent.REPORT_WITHDRAWN, site_id=report.site_id, about=lambda: [of_report(report)])


@receiver(report_hold_changed)
def tell_of_held_report(report: Report, hold: ReportHold, **_: Any) -> None:
    """Only of what somebody may have: a draft that is held concerns nobody outside."""
    if report.number:
        tell(event=WebhookEvent.REPORT_HELD, site_id=report.site_id, about=lambda: [of_held_report(report, hold)])


@receiver(late_images_changed)
def tell_of_late_images(report: Report, late: LateImages, **_: Any) -> None:
    tell(event=WebhookEvent.REPORT_LATE_IMAGES, site_id=report.site_id, about=lambda: [of_late_images(report, late)])


@receiver(critical_result_changed)
def tell_of_critical_result(result: CriticalResult, change: str, **_: Any) -> None:
    """Also that somebody knows: until then, whoever listens may have to call."""
    tell(
        event=WebhookEvent.REPORT_CRITICAL,
        site_id=result.site_id,
        about=lambda: [of_critical_result(result, str(change))],
    )
