"""The page of one examination: order, step, what the modality said, images, quality check, history."""

import uuid
from datetime import date, datetime, timedelta
from typing import Any

from django.http import HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.models import Instance, Series, Study
from pacs.pages import etag, next_address, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import AuditEvent
from radiology.notices import say
from radiology.services import audit
from worklist.board_pages import back_with, step_of
from worklist.models import (
    PerformedProcedureStep,
    QualityCheck,
    RejectReason,
    ScheduledProcedureStep,
    StepStatus,
)
from worklist.services import board as boards
from worklist.services import quality
from worklist.services.steps import MOVES

MOST_SERIES = 60
MOST_EVENTS = 40
# In the order in which one needs them; what a step has behind it comes last.
BUTTONS = [
    (StepStatus.ARRIVED, gettext_lazy("Arrived")),
    (StepStatus.STARTED, gettext_lazy("Start")),
    (StepStatus.COMPLETED, gettext_lazy("Done")),
    (StepStatus.DISCONTINUED, gettext_lazy("Discontinue")),
    (StepStatus.NO_SHOW, gettext_lazy("Did not come")),
    (StepStatus.SCHEDULED, gettext_lazy("Back to scheduled")),
]


@require_safe
@never_cache
@signed_in
def examination(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """GET /examinations/<uuid>: everything about it. Follows the modality while it works."""
    try:
        step = step_of(request, public_id)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    studies = list(_studies(request, step))
    performed = list(
        PerformedProcedureStep.objects.visible_to(request.user)
        .filter(references__scheduled_ref=step)
        .distinct()
        .order_by("pk")
    )
    checks = list(
        QualityCheck.objects.visible_to(request.user)
        .filter(study_ref__in=[study.pk for study in studies])
        .order_by("-pk")[:20]
    )
    order = step.requested_procedure_ref.order_ref
    version = etag(
        request,
        f"{step.pk}.{step.version}.{order.version}",
        str([(study.pk, study.version) for study in studies]),
        str([(each.pk, each.version) for each in performed]),
        str([(each.pk, each.undone_at) for each in checks]),
        f"{timezone.now():%H%M}",
    )
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    context = {
        "card": boards.card_of(who=request.user, step=step),
        "step": step,
        "order": order,
        "procedure": step.requested_procedure_ref,
        "patient": order.patient_ref,
        "studies": [(study, _series(request, study)) for study in studies],
        "performed": performed,
        "checks": checks,
        "accepted": next((each for each in checks if each.undone_at is None and each.outcome == "accepted"), None),
        "reasons": RejectReason.choices,
        "history": _history(request, step),
        "buttons": [(to, label) for to, label in BUTTONS if to in MOVES[step.status]],
        "may_move": request.user.may("steps.write"),
        "etag": version,
        "address": request.get_full_path(),
        "keys": [("a", _("Arrived")), ("s", _("Start")), ("d", _("Done")), ("v", _("View the images"))],
    }
    return render(request, "worklist/_examination.html" if request.htmx else "worklist/examination.html", context)


@require_POST
@never_cache
@signed_in
def check(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /examinations/<uuid>/quality: `outcome` for a `study`, or its `series` or `instances`, with a `reason`."""
    here = reverse("examination", args=[public_id])
    try:
        step = step_of(request, public_id)
        study = _studies(request, step).filter(study_instance_uid=request.POST.get("study", "")[:64]).first()
        if study is None:
            raise NotFound(_("There is no such study."))
        shared: dict[str, Any] = {
            "who": request.user, "study": study, "step": step, "address": audit.address_of(request)
        }  # fmt: skip
        if request.POST.get("outcome") == "rejected":
            series, instances = _marked(request, study)
            made = quality.reject_images(
                **shared,
                series=series,
                instances=instances,
                reason=request.POST.get("reason", ""),
                comment=request.POST.get("comment", ""),
            )
            said = _("Rejected: %(images)d images are shown nowhere any more.") % {"images": made.images}
        else:
            made = quality.accept_images(**shared)
            said = _("The images are accepted.")
    except RadiologyError as error:
        return back_with(request, error, here)
    say(request, said, undo=reverse("quality-undo", args=[made.pk]))
    return redirect(next_address(request, here))


@require_POST
@never_cache
@signed_in
def undo_check(request: PageRequest, pk: int) -> HttpResponseBase:
    """POST /quality/<id>/undo."""
    try:
        found = (
            QualityCheck.objects.visible_to(request.user).select_related("study_ref", "removal").filter(pk=pk).first()
        )
        if found is None:
            raise NotFound(_("There is no such quality check."))
        quality.take_back(who=request.user, check=found, address=audit.address_of(request))
    except RadiologyError as error:
        return back_with(request, error, reverse("studies"))
    say(request, _("The quality check is taken back."))
    return redirect(next_address(request, reverse("studies")))


@require_safe
@never_cache
@signed_in
def repeats(request: PageRequest) -> HttpResponseBase:
    """GET /worklist/repeats?month=2026-11: repeat analysis, for those who check images."""
    if not request.user.may("steps.write"):
        return refusal(request, 403, _("Repeat analysis is for those who check images."))
    today = boards.day_of(request.user.site)
    first = _month(request.GET.get("month", "")) or today.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    start, end = boards.bounds(request.user.site, first)[0], boards.bounds(request.user.site, following)[0]
    context = {
        "analysis": quality.repeat_analysis(who=request.user, start=start, end=end),
        "month": first,
        "before": (first - timedelta(days=1)).replace(day=1),
        "after": following if following <= today else None,
    }
    return render(request, "worklist/repeats.html", context)


def _month(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m").date() if len(text) == 7 else None  # noqa: DTZ007 - a month has no zone
    except ValueError:
        return None


def _studies(request: PageRequest, step: ScheduledProcedureStep) -> Any:
    found = Study.objects.visible_to(request.user).filter(requested_procedure_ref=step.requested_procedure_ref_id)
    return found.select_related("patient_ref", "site").order_by("pk")


def _series(request: PageRequest, study: Study) -> list[Series]:
    return list(
        Series.objects.visible_to(request.user).filter(study_ref=study).order_by("series_number", "pk")[:MOST_SERIES]
    )


def _marked(request: PageRequest, study: Study) -> tuple[list[Series], list[Instance]]:
    """The series and images that were marked. Raises InvalidValue for one that is not of this study."""
    keys = {int(key) for key in request.POST.getlist("series") if key.isascii() and key.isdecimal() and len(key) < 19}
    series = list(Series.objects.visible_to(request.user).filter(study_ref=study, pk__in=keys))
    uids = set(request.POST.getlist("instances"))
    instances = list(
        Instance.objects.visible_to(request.user)
        .filter(series_ref__study_ref=study, sop_instance_uid__in=list(uids)[:1000])
        .select_related("series_ref")
    )
    if len(series) != len(keys) or len(instances) != len(uids):
        raise InvalidValue(_("Some of these images are not here any more: look again."), field="series")
    return series, instances


def _history(request: PageRequest, step: ScheduledProcedureStep) -> list[dict[str, Any]]:
    """Who did what with it, newest first: states of the step, changes of the order."""
    order = step.requested_procedure_ref.order_ref
    moved = AuditEvent.objects.filter(
        patient_ref=order.patient_ref, event="step.moved", detail__step=step.scheduled_procedure_step_id
    ).select_related("user")
    entries = [
        {
            "at": event.at,
            "by": event.user.get_full_name() or event.agent if event.user else event.agent,
            "what": StepStatus(event.detail["after"]).label if event.detail.get("after") in StepStatus.values else "",
            "inferred": event.detail.get("inferred", False),
        }
        for event in moved.order_by("-pk")[:MOST_EVENTS]
    ]
    entries += [
        {"at": version.at, "by": version.agent, "what": _("Order changed"), "lines": sorted(version.changes)}
        for version in order.versions.all()[:MOST_EVENTS]
        if not all(name.startswith(("procedure ", "status")) for name in version.changes)
    ]
    entries.append({"at": order.created_at, "by": str(order.entered_by or ""), "what": _("Ordered")})
    return sorted(entries, key=lambda entry: entry["at"], reverse=True)[:MOST_EVENTS]
