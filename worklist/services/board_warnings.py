"""What devices reported of the examinations on the board and nobody should overlook, as people read it."""

from typing import Any

from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.utils.translation import gettext as _

from worklist.models import PerformedStatus, PerformedStepReference, PerformedWarning, ScheduledProcedureStep

# The others are for those who look closer: the examination's own page has them.
_ON_BOARD = (
    PerformedWarning.OTHER_PATIENT,
    PerformedWarning.STEP_TAKEN,
    PerformedWarning.CANCELLED,
    PerformedWarning.ABANDONED,
    PerformedWarning.WRONG_ENTRY,
)


def with_reports(steps: QuerySet[ScheduledProcedureStep]) -> QuerySet[ScheduledProcedureStep]:
    """The steps, each with its latest performed step for `warnings_of`: no query more.

    Beside it the latest that was meant for it and names another patient, and therefore answers it not.
    """
    meant = Q(scheduled_procedure_step_id="") | Q(scheduled_procedure_step_id=OuterRef("scheduled_procedure_step_id"))
    of_other = PerformedStepReference.objects.filter(
        meant,
        scheduled_ref=None,
        study_instance_uid=OuterRef("requested_procedure_ref__study_instance_uid"),
        performed_ref__site_id=OuterRef("site_id"),
        performed_ref__warnings__contains=[PerformedWarning.OTHER_PATIENT],
    )
    return steps.annotate(
        reported=_latest(PerformedStepReference.objects.filter(scheduled_ref=OuterRef("pk"))),
        reported_of_other=_latest(of_other),
    )


def warnings_of(step: ScheduledProcedureStep) -> list[str]:
    """What is to be said of a step that `with_reports` has read; nothing of any other."""
    reported: dict[str, Any] | None = getattr(step, "reported", None)
    of_other: dict[str, Any] | None = getattr(step, "reported_of_other", None)
    if of_other is not None and (reported is None or of_other["performed"] > reported["performed"]):
        return [_("A device reported this examination for another patient.")]
    if reported is None:
        return []
    said = [str(each.label) for each in _ON_BOARD if each in reported["warnings"]]
    if reported["status"] == PerformedStatus.DISCONTINUED and PerformedWarning.WRONG_ENTRY not in reported["warnings"]:
        code = reported["reason"]
        reason = next((each for each in code[2:] + code[:1] if each), "")
        if reason:
            said.append(_("The device discontinued it: %(reason)s") % {"reason": reason})
        else:
            said.append(_("The device discontinued it."))
    return said


def _latest(references: QuerySet[PerformedStepReference]) -> Subquery:
    facts = JSONObject(
        performed=F("performed_ref_id"),
        status=F("performed_ref__performed_procedure_step_status"),
        reason=F("performed_ref__discontinuation_reason"),
        warnings=F("performed_ref__warnings"),
    )
    return Subquery(references.order_by("-performed_ref_id").values(facts=facts)[:1])
