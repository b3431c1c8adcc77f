"""The results of one's patients: what is new, what is critical, what is still awaited."""

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import INFO
from django.http import HttpResponse, HttpResponseNotModified, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import replace_url

from pacs.forms import MODALITY_NAMES
from pacs.pages import etag, next_address, page_address, place_in, refusal
from pacs.services import keyset
from radiology.accounts import PageRequest, signed_in
from radiology.models import AuditAction, Patient, PersonalResult, ReportSection
from radiology.notices import say
from radiology.services import audit, result_list
from radiology.services.result_list import COUNTED, ORDER, VIEWS, WHOSE, ResultFilter
from worklist.services.result_standing import Standing, standings_of

VIEW_NAMES = {
    "reported": gettext_lazy("All results"),
    "new": gettext_lazy("New"),
    "critical": gettext_lazy("Critical"),
    "awaited": gettext_lazy("Awaited"),
}
WHOSE_NAMES = {
    "": gettext_lazy("Mine and my ward's"),
    "ordered": gettext_lazy("Ordered by me"),
    "place": gettext_lazy("Of my ward or clinic"),
}
# Days back from today, today included.
PERIODS = {"today": 1, "week": 7, "month": 30, "year": 365}
PERIOD_NAMES = {
    "": gettext_lazy("Any time"),
    "today": gettext_lazy("Today"),
    "week": gettext_lazy("Last 7 days"),
    "month": gettext_lazy("Last 30 days"),
    "year": gettext_lazy("Last 365 days"),
}
KEYS = [
    ("j", gettext_lazy("Next result")),
    ("k", gettext_lazy("Previous result")),
    ("Enter", gettext_lazy("Open it")),
    ("v", gettext_lazy("View its images")),
    ("p", gettext_lazy("Open the patient")),
]
PAGE = 50
HEAD = 5
LONGEST_LINE = 240


@require_safe
@never_cache
@signed_in
def results(request: PageRequest) -> HttpResponseBase:
    """GET /results. A part that asks again with the version it shows gets 304 when nothing happened."""
    now = timezone.now()
    wanted = wanted_of(request, request.GET)
    place = place_in(request, ORDER)
    found = result_list.shown_results(result_list.results_for(who=request.user, wanted=wanted))
    page = keyset.page(found=found, size=PAGE, order=ORDER, place=place)
    counts = result_list.counts_of(who=request.user)
    standings = standings_of(who=request.user, rows=page.rows)
    version = etag(request, f"{[_version(row, standings) for row in page.rows]}|{counts}|{page.next}")
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    here = address_of(wanted, request.GET.get("period", ""))
    context: dict[str, Any] = {
        "lines": [line_of(row, standings, query_of(wanted, request.GET.get("period", ""))) for row in page.rows],
        "wanted": wanted,
        "period": request.GET.get("period", "") if request.GET.get("period", "") in PERIODS else "",
        "patient": _patient(request, wanted),
        "tabs": [
            (name, label, counts.get(name), address_of(replace(wanted, view=name), request.GET.get("period", "")))
            for name, label in VIEW_NAMES.items()
        ],
        "modalities": MODALITY_NAMES.items(),
        "whose": WHOSE_NAMES.items(),
        "periods": PERIOD_NAMES.items(),
        "counted": COUNTED,
        "new": counts["new"],
        "until": now.isoformat(),
        "shown_new": [row.requested_procedure_ref.public_id for row in page.rows if row.is_new],
        "etag": version,
        "address": request.get_full_path(),
        "here": here,
        "everything": address_of(ResultFilter(wanted.view)),
        "is_filtered": wanted.is_narrowed,
        "is_tied": bool(page.rows) or request.user.ties.exists(),
        "older": page_address(here, ORDER, page.next),
        "newer": page_address(here, ORDER, page.previous),
        "keys": KEYS,
    }
    if request.htmx and request.htmx.trigger == "results-filter":
        return replace_url(render(request, "worklist/_results.html", {**context, "address": here}), here)
    return render(request, "worklist/_results.html" if request.htmx else "worklist/results.html", context)


@require_safe
@never_cache
@signed_in
def head(request: PageRequest) -> HttpResponseBase:
    """GET /results/head: the first of the list, for the home page, which shows it."""
    card = head_of_results(request)
    if request.headers.get("If-None-Match") == card["etag"]:
        return HttpResponseNotModified()
    response = render(request, "worklist/_results_head.html", {"results": card})
    response["ETag"] = card["etag"]
    return response


@require_safe
@never_cache
@signed_in
def count(request: PageRequest) -> HttpResponse:
    """GET /results/count: how many are new, for the navigation."""
    new = result_list.counts_of(who=request.user, views=("new",))["new"]
    return render(request, "worklist/_results_count.html", {"count": new, "counted": COUNTED})


def head_of_results(request: PageRequest) -> dict[str, Any]:
    """What the home page shows: what is critical first, then the newest."""
    mine = result_list.shown_results(PersonalResult.objects.visible_to(request.user))
    critical = list(mine.filter(is_critical=True).order_by("-at", "-pk")[:HEAD])
    newest = mine.filter(result_list.REPORTED).order_by("-at", "-pk")[:HEAD]
    rows = list({row.pk: row for row in [*critical, *newest]}.values())[:HEAD]
    counts = result_list.counts_of(who=request.user, views=("new", "awaited"))
    standings = standings_of(who=request.user, rows=rows)
    version = f"{[_version(row, standings) for row in rows]}|{counts}"
    return {
        "lines": [line_of(row, standings, "") for row in rows],
        "counts": counts,
        "counted": COUNTED,
        "etag": etag(request, version),
    }


@require_POST
@never_cache
@signed_in
def mark_seen(request: PageRequest) -> HttpResponseBase:
    """POST /results/seen: all that the list shows as new, as it stood at `until`; offers to take it back."""
    until = _moment(request.POST.get("until", ""))
    if until is None:
        return refusal(request, 400, _("The page is out of date: open it again."))
    wanted = wanted_of(request, request.POST)
    shown = [key for text in request.POST.getlist("shown")[:PAGE] if (key := _uuid(text)) is not None]
    mark, marked = result_list.mark_seen(who=request.user, until=until, wanted=wanted, results=shown)
    if marked:
        audit.record(
            event="results.seen",
            action=AuditAction.UPDATE,
            who=request.user,
            address=audit.address_of(request),
            detail={"mark": str(mark), "results": marked},
        )
        words = ngettext("%(count)d result is marked as seen.", "%(count)d results are marked as seen.", marked)
        say(request, words % {"count": marked}, undo=reverse("results-unseen", args=[mark]))
    else:
        say(request, _("Nothing here could be marked: what is critical stays new until somebody knows it."), level=INFO)
    return redirect(next_address(request, reverse("results")))


@require_POST
@never_cache
@signed_in
def unmark_seen(request: PageRequest, mark: uuid.UUID) -> HttpResponseBase:
    """POST …/undo: new again, but for what was opened since."""
    back = result_list.unmark_seen(who=request.user, mark=mark)
    if back:
        audit.record(
            event="results.seen",
            action=AuditAction.UPDATE,
            who=request.user,
            address=audit.address_of(request),
            detail={"mark": str(mark), "undone": back},
        )
    words = ngettext("%(count)d result is new again.", "%(count)d results are new again.", back)
    say(request, words % {"count": back}, level=INFO)
    return redirect(next_address(request, reverse("results")))


def is_held(row: PersonalResult) -> bool:
    """Whether nobody knows yet whose the report is: what it says is not shown."""
    return row.version_ref is not None and row.version_ref.report_ref.held_at is not None


def line_of(row: PersonalResult, standings: dict[int, Standing], query: str) -> dict[str, Any]:
    """A row as the templates show it."""
    sections = row.version_ref.sections if row.version_ref is not None and not is_held(row) else {}
    said = sections.get(ReportSection.IMPRESSION.value) or sections.get(ReportSection.FINDINGS.value) or ""
    address = reverse("result", args=[row.requested_procedure_ref.public_id])
    return {
        "row": row,
        "procedure": row.requested_procedure_ref,
        "order": row.requested_procedure_ref.order_ref,
        "patient": row.requested_procedure_ref.order_ref.patient_ref,
        "said": " ".join(said.split())[:LONGEST_LINE],
        "standing": standings.get(row.pk),
        "is_held": is_held(row),
        "is_changed": row.is_new and row.seen_version is not None,
        "address": f"{address}?{query}" if query else address,
    }


def wanted_of(request: PageRequest, values: QueryDict) -> ResultFilter:
    """The filter that an address or a form says; what it does not know counts as not said."""
    view, whose, period = values.get("view", ""), values.get("whose", ""), values.get("period", "")
    start = None
    if period in PERIODS:
        start = timezone.localdate() - timedelta(days=PERIODS[period] - 1)
    return ResultFilter(
        view=view if view in VIEWS else "reported",
        whose=whose if whose in WHOSE else "",
        modality=values.get("modality", "").strip().upper()[:16].replace("\x00", ""),
        patient=_uuid(values.get("patient", "")),
        text=values.get("q", "").replace("\x00", "").strip()[:200],
        start=start,
    )


def query_of(wanted: ResultFilter, period: str = "") -> str:
    """The same as an address says it."""
    given = {
        "view": wanted.view if wanted.view != "reported" else "",
        "whose": wanted.whose,
        "modality": wanted.modality,
        "patient": str(wanted.patient or ""),
        "period": period if period in PERIODS else "",
        "q": wanted.text,
    }
    return urlencode({name: value for name, value in given.items() if value})


def address_of(wanted: ResultFilter, period: str = "") -> str:
    query = query_of(wanted, period)
    return f"{reverse('results')}?{query}" if query else reverse("results")


def _version(row: PersonalResult, standings: dict[int, Standing]) -> tuple[Any, ...]:
    """Is another when what is shown of it is."""
    order = row.requested_procedure_ref.order_ref
    shown = row.pk, row.updated_at, order.updated_at, order.patient_ref.updated_at, standings.get(row.pk)
    return *shown, is_held(row)


def _patient(request: PageRequest, wanted: ResultFilter) -> Patient | None:
    if wanted.patient is None:
        return None
    return Patient.objects.visible_to(request.user).filter(public_id=wanted.patient).first()


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text[:64])
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
