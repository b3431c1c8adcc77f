"""A result on one page: the report as on paper, the images beside it, what there was before."""

import uuid
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs.models import Series, Study
from pacs.pages import refusal
from radiology.accounts import PageRequest, signed_in
from radiology.models import PersonalResult, Report, ReportStatus, RequestedProcedure
from radiology.report_pages import critical_beside, shown_of
from radiology.services.result_list import neighbours_of
from worklist.result_pages import address_of, query_of, wanted_of
from worklist.services.priors import priors_of
from worklist.services.procedure_images import studies_of
from worklist.services.result_standing import standings_of

SERIES = 8


@require_safe
@never_cache
@signed_in
def result(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /results/<requested procedure>: whoever opens what is published has seen it."""
    procedure = _procedure(request, public_id)
    report = _report(request, procedure) if procedure is not None else None
    row = _row(request, procedure)
    if procedure is None or (report is None and row is None):
        return refusal(request, 404, _("This result is not here, or not for you to see."))
    order = procedure.order_ref
    shown = shown_of(request, report) if report is not None else {"report": None, "version": None}
    study = _study(request, procedure)
    wanted, period = wanted_of(request, request.GET), request.GET.get("period", "")
    # One that was opened is not new any more: its neighbours are.
    newer, older = neighbours_of(row=row, who=request.user, wanted=wanted) if row is not None else (None, None)
    query = query_of(wanted, period)
    context = {
        **shown,
        **critical_beside(request, procedure),
        "procedure": procedure,
        "order": order,
        "patient": order.patient_ref,
        "row": row,
        "standing": standings_of(who=request.user, rows=[row]).get(row.pk) if row is not None else None,
        "study": study,
        "series": _series(request, study),
        "viewer": _viewer(study),
        "priors": [(each, _viewer(each.study)) for each in priors_of(who=request.user, procedure=procedure)],
        "newer": _address(newer, query),
        "older": _address(older, query),
        "back": address_of(wanted, period),
        "keys": [
            ("j", _("Next (older) result")),
            ("k", _("Previous (newer) result")),
            ("v", _("View the images")),
            ("p", _("The letter (PDF)")),
            ("o", _("The order")),
        ],
    }
    return render(request, "worklist/result.html", context)


def _procedure(request: PageRequest, public_id: uuid.UUID) -> RequestedProcedure | None:
    found = RequestedProcedure.objects.select_related("order_ref__patient_ref", "order_ref__site", "procedure_ref")
    if not request.user.sees_every_site:
        found = found.filter(order_ref__site=request.user.site_id)
    return found.filter(public_id=public_id).first() if request.user.may("studies.read") else None


def _report(request: PageRequest, procedure: RequestedProcedure) -> Report | None:
    """What is published of it: the living report, else one that was entered in error."""
    found = Report.objects.visible_to(request.user).exclude(number=0).filter(requested_procedure_ref=procedure)
    rows = list(found.order_by("-pk")[:10])
    living = [each for each in rows if each.status != ReportStatus.ENTERED_IN_ERROR]
    report = next(iter([*living, *rows]), None)
    if report is not None:
        report.requested_procedure_ref = procedure
    return report


def _row(request: PageRequest, procedure: RequestedProcedure | None) -> PersonalResult | None:
    if procedure is None:
        return None
    found = PersonalResult.objects.visible_to(request.user).select_related("requested_procedure_ref__order_ref")
    return found.filter(requested_procedure_ref=procedure).first()


def _study(request: PageRequest, procedure: RequestedProcedure) -> Study | None:
    found = studies_of(procedure, request.user).filter(number_of_study_related_instances__gt=0)
    return found.select_related("site").first()


def _series(request: PageRequest, study: Study | None) -> list[Series]:
    if study is None:
        return []
    rows = Series.objects.visible_to(request.user).filter(study_ref=study).images().defer("attributes")
    return list(rows.order_by("series_number", "pk")[:SERIES])


def _viewer(study: Study | None) -> str:
    if study is None:
        return ""
    return f"{reverse('viewer')}?{urlencode({'StudyInstanceUIDs': study.study_instance_uid})}"


def _address(public_id: uuid.UUID | None, query: str) -> str:
    if public_id is None:
        return ""
    address = reverse("result", args=[public_id])
    return f"{address}?{query}" if query else address
