"""The home page: today's board for whoever moves examinations, the head of the reading list for whoever reads them,
the newest results for whoever ordered, then what everybody has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.functional import Promise
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs import views as pacs_views
from pacs.pages import etag
from radiology.accounts import PageRequest, signed_in
from radiology.report_review_pages import of_person
from worklist.board_pages import GROUP_LABELS
from worklist.reading_list_pages import head_of_list
from worklist.result_pages import head_of_results
from worklist.services import board as boards


@dataclass(frozen=True)
class Today:
    """The card. `groups` are those of the board: name, label, how many."""

    groups: Sequence[tuple[str, str | Promise, int]]
    late: int
    etag: str


@require_safe
@never_cache
@signed_in
def home(request: PageRequest) -> HttpResponseBase:
    """GET /"""
    lead: dict[str, Any] = {}
    if request.user.may("steps.write"):
        lead["today"] = _today(request)
    if request.user.may("results.await"):
        card = head_of_results(request)
        if card["lines"] or not request.user.is_staff:  # administrators have the right, and mostly no patients
            lead["results"] = card
    if request.user.may("reports.write"):
        lead["reading"] = head_of_list(request)
        lead["notices"] = of_person(request)
    return pacs_views.home(request, lead={"template": "worklist/_lead.html", **lead} if lead else None)


@require_safe
@never_cache
@signed_in
def today(request: PageRequest) -> HttpResponseBase:
    """GET /worklist/today: the card again, for the page that shows it."""
    if not request.user.may("steps.write"):
        return HttpResponse(status=204)
    card = _today(request)
    if request.headers.get("If-None-Match") == card.etag:
        return HttpResponseNotModified()
    response = render(request, "worklist/_today.html", {"today": card})
    response["ETag"] = card.etag
    return response


def _today(request: PageRequest) -> Today:
    found = boards.counts_of_today(who=request.user)
    groups = [(name, label, found.groups[name]) for name, label in GROUP_LABELS.items()]
    return Today(groups, found.late, etag(request, f"{found}"))
