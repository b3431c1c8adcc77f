"""Performed steps that no device closes: given up after hours without an image and without a report.

One that is given up is still in progress, as its device said, with a warning. Its study no longer waits for it,
and its examinations are completed, marked as inferred. The next image or the next report is a sign of life
and takes that back.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from worklist.models import Device, PerformedProcedureStep, PerformedWarning, StepStatus
from worklist.services.performed_effects import last_sign_of, let_steps_follow

ABANDONED_AFTER_HOURS = 12
_WHO = "images"
# What a person has decided about an examination meanwhile stays.
_AT_WORK = Q(status=StepStatus.STARTED)
_INFERRED = Q(status=StepStatus.COMPLETED, is_inferred=True)


def settle_abandoned(*, performed: Sequence[PerformedProcedureStep]) -> datetime | None:
    """Give up those for which it is time, and take up again those that gave a sign of life.

    When the next of those that are at work will be given up, if any is. The rows that are passed are as they stand
    then; the caller has locked a study of theirs that has images.
    """
    due: list[datetime] = []
    for each in performed:
        if each.has_ended:
            continue
        # Its device may report this very moment: either that or this comes first.
        PerformedProcedureStep.objects.select_for_update(of=("self",)).filter(pk=each.pk).first()
        each.refresh_from_db()
        if each.has_ended:
            continue
        end = last_sign_of(each) + _patience(each)
        is_over = end <= timezone.now()
        if is_over != each.is_abandoned:
            others = [warning for warning in each.warnings if warning != PerformedWarning.ABANDONED]
            each.warnings = sorted([*others, PerformedWarning.ABANDONED] if is_over else others)
            each.save(update_fields=["warnings"])
            let_steps_follow(performed=each, who=_WHO, only=_AT_WORK if is_over else _INFERRED)
        if not is_over:
            due.append(end)
    return min(due, default=None)


def _patience(performed: PerformedProcedureStep) -> timedelta:
    """What its device takes; its registration is found by the title that it reports, else by its node."""
    found = Device.objects.filter(site=performed.site_id)
    device = found.filter(station_ae_title=performed.performed_station_ae_title).first()
    if device is None and performed.node_id is not None:
        device = found.filter(node_id=performed.node_id).order_by("pk").first()
    return timedelta(hours=device.abandoned_after_hours if device is not None else ABANDONED_AFTER_HOURS)
