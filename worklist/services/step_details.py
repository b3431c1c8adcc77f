"""What another system says of a scheduled step beside its time and room: its id, its protocol, who performs it."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue
from radiology.services.whole import atomic
from worklist.models import OPEN, ScheduledProcedureStep
from worklist.services.steps import lock_step
from worklist.signals import step_scheduled

# What may be said, with the most characters each may have.
LONGEST = {
    "scheduled_procedure_step_id": 16,
    "scheduled_procedure_step_description": 64,
    "scheduled_performing_physician_name": 324,
    "scheduled_station_name": 16,
}
FIELDS = {*LONGEST, "scheduled_protocol_codes", "scheduled_station_ae_titles"}


@atomic()
def detail_step(*, step: ScheduledProcedureStep, details: Mapping[str, Any], who: Any = None) -> ScheduledProcedureStep:
    """The step with these values of `FIELDS`; what is empty says nothing, and what is the same changes nothing.

    Raises InvalidValue, naming the field, for what is too long; Conflict for an id that another step has, and for
    a step that has ended.
    """
    step = lock_step(step)
    told = {name: value for name, value in details.items() if value and getattr(step, name) != value}
    if not told:
        return step
    if step.status not in OPEN:
        raise Conflict(_("This examination has ended: nothing is said of it any more."), field="status")
    for name, value in told.items():
        values = [part for code in value for part in code[:1]] if name == "scheduled_protocol_codes" else value
        _require_fit(name, values)
    own = told.get("scheduled_procedure_step_id")
    if own and ScheduledProcedureStep.objects.filter(site=step.site_id, scheduled_procedure_step_id=own).exists():
        raise Conflict(
            _("Another examination has the step ID %(id)s.") % {"id": own}, field="scheduled_procedure_step_id"
        )
    for name, value in told.items():
        setattr(step, name, value)
    step.version += 1
    step.updated_at = timezone.now()
    step.save()
    step_scheduled.send(sender=ScheduledProcedureStep, step=step, who=who)
    return step


def _require_fit(name: str, value: Any) -> None:
    most = LONGEST.get(name, 16)  # SH and AE have 16 characters
    for text in [value] if isinstance(value, str) else value:
        if len(text) > most:
            raise InvalidValue(
                _("%(name)s may have %(most)d characters; this one has %(count)d.")
                % {"name": name, "most": most, "count": len(text)},
                field=name,
            )
        if "\\" in text or not text.isprintable():
            raise InvalidValue(_("%(name)s is malformed.") % {"name": name}, field=name)
