"""What the systems that we send to are told when something changes to the left of us: in the same transaction."""

from collections.abc import Mapping
from typing import Any

from django.dispatch import receiver

from integrations.hl7.outgoing import telling
from integrations.models import Hl7Peer
from radiology.models import ApiToken, Order, Patient, Report, ReportHold, ReportVersion, User
from radiology.signals import (
    order_changed,
    order_placed,
    patient_merged,
    patient_saved,
    report_hold_changed,
    report_published,
)
from worklist.models import ScheduledProcedureStep
from worklist.signals import step_scheduled


@receiver(order_placed)
def tell_of_new_order(order: Order, who: Any = None, **_: Any) -> None:
    telling.tell_order(orders=Order.objects.filter(pk=order.pk), site_id=order.site_id, who=who, is_placed=True)


@receiver(order_changed)
def tell_of_changed_order(order: Order, who: Any = None, **_: Any) -> None:
    telling.tell_order(orders=Order.objects.filter(pk=order.pk), site_id=order.site_id, who=who)


@receiver(step_scheduled)
def tell_of_new_time(step: ScheduledProcedureStep, who: Any = None, **_: Any) -> None:
    orders = Order.objects.filter(requested_procedures=step.requested_procedure_ref_id)
    telling.tell_order(orders=orders, site_id=step.site_id, who=who, only_known=True)


@receiver(patient_saved)
def tell_of_patient(
    patient: Patient, is_new: bool = False, changes: Mapping[str, Any] | None = None, who: Any = None, **_: Any
) -> None:
    """What images say of patients is nobody's word."""
    if isinstance(who, User | ApiToken | Hl7Peer):
        telling.tell_patient(patient=patient, is_new=is_new, changes=changes or {}, who=who)


@receiver(patient_merged)
def tell_of_merge(survivor: Patient, merged: Patient, who: Any = None, **_: Any) -> None:
    telling.tell_merge(survivor=survivor, merged=merged, who=who)


@receiver(report_published)
def tell_of_report(report: Report, version: ReportVersion, who: Any = None, **_: Any) -> None:
    telling.tell_report(report=report, version=version, who=who)


@receiver(report_hold_changed)
def tell_of_released_report(report: Report, hold: ReportHold, who: Any = None, **_: Any) -> None:
    """While it is held, nothing of it leaves (integrations.hl7.outgoing.queue)."""
    if hold.ended_at is not None:
        telling.tell_released(report=report, hold=hold, who=who)
