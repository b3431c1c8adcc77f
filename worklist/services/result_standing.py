"""Where an examination stands that was ordered and is not reported yet, in the words of whoever waits for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from pacs.models import Study
from radiology.models import OrderStatus, PersonalResult
from worklist.models import Reading, ScheduledProcedureStep, StepStatus


@dataclass(frozen=True)
class Standing:
    """`code` for programs, `text` for people; `meaning` is the class of its colour."""

    code: str
    text: str
    meaning: str = ""


def standings_of(*, who: Any, rows: Sequence[PersonalResult]) -> dict[int, Standing]:
    """By row (id), of those that are awaited; two queries, none where nothing is awaited."""
    awaited = [row for row in rows if row.version_ref_id is None]
    keys = [row.requested_procedure_ref_id for row in awaited]
    if not keys:
        return {}
    steps: dict[int, ScheduledProcedureStep] = {}
    found = ScheduledProcedureStep.objects.filter(requested_procedure_ref__in=keys).exclude(status=StepStatus.CANCELLED)
    for step in found.select_related("room").order_by("-pk"):
        steps.setdefault(step.requested_procedure_ref_id, step)
    shown = Study.objects.visible_to(who).filter(number_of_study_related_instances__gt=0)
    listed = Reading.objects.filter(requested_procedure_ref__in=keys, study_ref__in=shown)
    images = set(listed.values_list("requested_procedure_ref_id", flat=True))
    return {
        row.pk: _standing(row, steps.get(row.requested_procedure_ref_id), row.requested_procedure_ref_id in images)
        for row in awaited
    }


def _standing(row: PersonalResult, step: ScheduledProcedureStep | None, has_images: bool) -> Standing:
    order = row.requested_procedure_ref.order_ref
    if order.status == OrderStatus.REVOKED or order.status == OrderStatus.ENTERED_IN_ERROR:
        return Standing("called-off", _("Called off"))
    if order.status == OrderStatus.ON_HOLD:
        return Standing("on-hold", _("On hold"), "waiting")
    status = step.status if step is not None else ""
    if status == StepStatus.STARTED:
        return Standing("in-progress", _("Being examined"), "progress")
    if has_images or status == StepStatus.COMPLETED:
        return Standing("to-be-reported", _("Examined; the report is to come"), "progress")
    if status in {StepStatus.ARRIVED, StepStatus.READY}:
        return Standing("arrived", _("The patient is there"), "progress")
    if status == StepStatus.NO_SHOW:
        return Standing("no-show", _("The patient did not come"), "waiting")
    if status == StepStatus.DISCONTINUED:
        return Standing("discontinued", _("The examination was broken off"), "waiting")
    if step is not None and step.scheduled_start is not None:
        when = date_format(timezone.localtime(step.scheduled_start), "j M Y H:i")
        if step.room is not None:
            return Standing("scheduled", _("Scheduled: %(when)s, %(room)s") % {"when": when, "room": step.room.name})
        return Standing("scheduled", _("Scheduled: %(when)s") % {"when": when})
    return Standing("ordered", _("Ordered; no time is set yet"))
