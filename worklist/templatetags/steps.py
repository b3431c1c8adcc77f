"""Where the procedures of an order stand on the schedule, on a page of another app."""

from django import template

from radiology.models import Order
from worklist.models import ScheduledProcedureStep

register = template.Library()


@register.simple_tag
def scheduled_steps(order: Order) -> list[ScheduledProcedureStep]:
    """The scheduled steps of all procedures of an order, by time; one query."""
    steps = ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order)
    return list(steps.select_related("room").order_by("scheduled_start", "pk"))
