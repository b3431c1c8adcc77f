"""Critical results on their page, on the home page and on their report: what, since when, who knows; and "I know"."""

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import (
    AcknowledgedHow,
    AuditAction,
    CriticalResult,
    CriticalState,
    Patient,
    Report,
    RequestedProcedure,
)
from radiology.notices import say
from radiology.pages import next_address, refusal
from radiology.services import audit
from radiology.services import critical_results as services
from radiology.services.critical_log import record
from radiology.services.result_list import open_critical_of

ON_HOME = 20
PAGE = 50


@require_safe
@never_cache
@signed_in
def critical_result(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /critical/<public id>: there before the report is signed, which its readers cannot see yet."""
    try:
        found = _result(request, public_id)
    except NotFound as error:
        return refusal(request, 404, error.message)
    procedure = found.requested_procedure_ref
    services.note_read(result=found, who=request.user)
    record(found, AuditAction.READ, request.user, audit.address_of(request))
    report = Report.objects.visible_to(request.user).exclude(number=0).filter(requested_procedure_ref=procedure)
    context = {
        "critical": [found],
        "procedure": procedure,
        "order": procedure.order_ref,
        "patient": procedure.order_ref.patient_ref,
        "report": report.order_by("-pk").first(),
        "viewer": f"{reverse('viewer')}?StudyInstanceUIDs={procedure.study_instance_uid}",
        "keys": [("v", _("View the images"))],
    }
    return render(request, "radiology/critical.html", context)


@require_POST
@never_cache
@signed_in
def acknowledge(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST …/acknowledge: "I know"; or, with `told`, who was told by telephone, and `read_back`."""
    address = audit.address_of(request)
    told = request.POST.get("told")
    try:
        found = _result(request, public_id)
        services.acknowledge(
            result=found,
            how=AcknowledgedHow.READ if told is None else AcknowledgedHow.TELEPHONE,
            told=told or "",
            read_back=bool(request.POST.get("read_back")),
            who=request.user,
            address=address,
        )
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("Noted: it is known, and nobody is called further."))
    return redirect(next_address(request, reverse("critical-result", args=[public_id])))


@require_POST
@never_cache
@signed_in
def withdraw(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST …/withdraw with a `reason`."""
    try:
        found = _result(request, public_id)
        services.withdraw(
            result=found,
            reason=request.POST.get("reason", ""),
            who=request.user,
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("The critical result is withdrawn; the recipient is told."))
    return redirect(next_address(request, reverse("critical-result", args=[public_id])))


@require_safe
@never_cache
@signed_in
def mine(request: PageRequest) -> HttpResponse:
    """GET /critical/mine: the part of the home page again; 304 while it shows what is so."""
    context = of_person(request)
    return _unless_shown(request, "radiology/_critical_mine.html", context, context["critical_etag"])


@require_safe
@never_cache
@signed_in
def of_patient(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /critical/patient/<public id>: the part of the pages about a patient that tells the open ones, again.

    304 while it shows what is so.
    """
    patient = Patient.objects.visible_to(request.user).filter(public_id=public_id).first()
    if patient is None:
        return refusal(request, 404, _("This patient is not here, or not for you to see."))
    context = beside_of(request, patient)
    return _unless_shown(
        request, "radiology/_critical_beside.html", {"patient": patient, **context}, context["beside_etag"]
    )


@require_safe
@never_cache
@signed_in
def results(request: PageRequest) -> HttpResponse:
    """GET /critical: those of the site, the open ones first, for who writes reports or administrates."""
    if not (request.user.may(services.RIGHT) or request.user.has_perm("radiology.view_criticalresult")):
        return refusal(request, 403, _("This list is for radiologists and administrators."))
    try:
        before = int(request.GET["before"]) if "before" in request.GET else None
        if before is not None and not 0 < before < 2**63:
            raise InvalidValue(_("The address is incomplete."), field="before")
    except (ValueError, InvalidValue):
        return refusal(request, 400, _("This page does not exist."))
    found = CriticalResult.objects.visible_to(request.user).select_related(*services.RELATED)
    open_ones = list(found.open().order_by("-pk")[: 4 * PAGE]) if before is None else []
    others = found.exclude(state=CriticalState.OPEN).order_by("-pk")
    rows = list((others if before is None else others.filter(pk__lt=before))[: PAGE + 1])
    context = {
        "open": open_ones,
        "others": rows[:PAGE],
        "next": rows[PAGE - 1].pk if len(rows) > PAGE else None,
        "is_first": before is None,
        "now": timezone.now(),
    }
    return render(request, "radiology/critical_results.html", context)


def of_person(request: PageRequest) -> dict[str, Any]:
    """What the home page shows of them, for its template."""
    found = list(services.open_results_for(request.user)[: ON_HOME + 1])
    more = len(found) > ON_HOME
    tag = _etag(request, found)
    return {"critical": found[:ON_HOME], "critical_more": more, "critical_etag": tag, "now": timezone.now()}


def beside_of(request: PageRequest, patient: Patient) -> dict[str, Any]:
    """What the pages about a patient show of the open ones, for their template; the part is fetched again with this."""
    found = open_critical_of(who=request.user, patient=patient)
    return {"beside": found, "beside_etag": _etag(request, found)}


def of_report(request: PageRequest, procedure: RequestedProcedure) -> list[CriticalResult]:
    """Those of a report that is being shown; who looks at it has read them."""
    found = services.results_of(procedure)
    for each in found:
        if each.is_open:
            services.note_read(result=each, who=request.user)
    return found


def _etag(request: PageRequest, rows: Sequence[CriticalResult]) -> str:
    """Of rows as somebody sees them in their language; their age is told by the minute."""
    version = "|".join(f"{each.pk} {each.updated_at} {each.level}" for each in rows)
    minute = f"{timezone.now():%Y%m%d%H%M}" if rows else ""
    parts = f"{version}|{request.user.pk}|{translation.get_language()}|{minute}"
    return f'"{hashlib.sha256(parts.encode()).hexdigest()[:32]}"'


def _unless_shown(request: PageRequest, template: str, context: dict[str, Any], etag: str) -> HttpResponse:
    """A part of a page; 304 to whoever shows it already."""
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified()
    response = render(request, template, context)
    response["ETag"] = etag
    return response


def _result(request: PageRequest, public_id: uuid.UUID) -> CriticalResult:
    found = CriticalResult.objects.visible_to(request.user).select_related(*services.RELATED)
    result = found.filter(public_id=public_id).first()
    if result is None:
        raise NotFound(_("This critical result is not here, or not for you to see."))
    return result
