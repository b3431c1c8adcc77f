"""The reconciliation inbox: a study and the order it may belong to, face to face; one key, and undo."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.pages import etag, next_address, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import RequestedProcedure
from radiology.notices import say
from radiology.services import audit
from worklist.models import CaseState, ReconciliationCase, ReconciliationDecision
from worklist.services import reconciliation, reconciliation_decisions
from worklist.services.reconciliation_cases import card, cards, decisions, find_orders, waiting, waiting_version

TABS = ("waiting", "decided")
COUNTED = 999


@require_safe
@never_cache
@signed_in
def inbox(request: PageRequest) -> HttpResponse:
    """GET /reconciliation: studies that wait for an order. A part that asks again gets 304 when nothing happened."""
    if not request.user.may("worklist.reconcile"):
        return _refused(request)
    version = etag(request, str(waiting_version(who=request.user)))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    template = "worklist/_reconciliation_list.html" if request.htmx else "worklist/reconciliation.html"
    return render(request, template, _context(request, version))


@require_safe
@never_cache
@signed_in
def count(request: PageRequest) -> HttpResponse:
    """GET /reconciliation/count: how many wait, for the navigation and the home page; nothing when none does."""
    if not request.user.may("worklist.reconcile"):
        return HttpResponse(status=204)
    waits = waiting(who=request.user)[: COUNTED + 1].count()
    version = etag(request, str(waits))
    if request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    response = render(request, "worklist/_reconciliation_count.html", {"count": waits})
    response["ETag"] = version
    return response


@require_safe
@never_cache
@signed_in
def case_page(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /reconciliation/<case>: one case, its history, and a search among all orders."""
    if not request.user.may("worklist.reconcile"):
        return _refused(request)
    try:
        found = _case(request, public_id)
    except NotFound as error:
        return refusal(request, 404, error.message)
    return _render_case(request, found)


@require_POST
@never_cache
@signed_in
def link(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: the study belongs to this procedure."""
    try:
        case = _case(request, public_id)
        procedure = _procedure(request)
        decision = reconciliation.link(
            who=request.user,
            case=case,
            procedure=procedure,
            version=_number(request, "version"),
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, public_id)
    words = _("Linked: %(name)s, %(procedure)s.") % {
        "name": procedure.order_ref.patient_ref.display_name,
        "procedure": str(procedure),
    }
    return _done(request, decision, words)


@require_POST
@never_cache
@signed_in
def dismiss(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: there is no order; with `order`, one is made for what was done."""
    makes_order = request.POST.get("order") == "1"
    try:
        decision = reconciliation_decisions.dismiss(
            who=request.user,
            case=_case(request, public_id),
            version=_number(request, "version"),
            makes_order=makes_order,
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, public_id)
    words = _("An order was made for these images.") if makes_order else _("These images have no order.")
    return _done(request, decision, words)


@require_POST
@never_cache
@signed_in
def wrong_patient(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: the images are of somebody else; they are hidden from everybody."""
    try:
        decision = reconciliation_decisions.mark_wrong_patient(
            who=request.user,
            case=_case(request, public_id),
            version=_number(request, "version"),
            reason=request.POST.get("reason", ""),
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, public_id)
    return _done(request, decision, _("These images are hidden. Nothing was deleted."))


@require_POST
@never_cache
@signed_in
def undo(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: take a decision back."""
    try:
        found = ReconciliationDecision.objects.visible_to(request.user).filter(public_id=public_id).first()
        if found is None:
            raise NotFound(_("There is no such decision."))
        case = reconciliation_decisions.undo(who=request.user, decision=found, address=audit.address_of(request))
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        waits = case.state == CaseState.OPEN
        say(request, _("Taken back: it waits for a decision again.") if waits else _("Taken back."))
    # The bar of a part that was posted names the part's own address, which is no page.
    here = next_address(request, "")
    is_page = here.partition("?")[0] == reverse("reconciliation")
    return redirect(here if is_page else reverse("reconciliation"))


def _context(request: PageRequest, version: str, **more: Any) -> dict[str, Any]:
    who = request.user
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else TABS[0]
    before = request.GET.get("before", "")
    place = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    context: dict[str, Any] = {
        "tab": tab,
        "waiting": waiting(who=who)[: COUNTED + 1].count(),
        "etag": version,
        "address": _address(tab, place),
        "paged": place is not None,
        "keys": _keys(),
    }
    if tab == "decided":
        page = decisions(who=who, before=place)
        context |= {"decisions": page.decisions, "older": page.older}
    else:
        found = cards(who=who, before=place)
        context |= {"cards": found.cards, "older": found.older}
    return {**context, "newest_address": _address(tab, None), "older_address": _address(tab, context["older"]), **more}


def _keys() -> list[tuple[str, str]]:
    return [
        ("j", _("Next")),
        ("k", _("Previous")),
        ("Enter", _("Link to the proposal")),
        ("1…9", _("Link to that candidate")),
        ("n", _("It has no order")),
        ("o", _("Open the study")),
        ("s", _("Search another order")),
        ("u", _("Undo")),
    ]


def _render_case(request: PageRequest, case: ReconciliationCase, status: int = 200, **more: Any) -> HttpResponse:
    text = request.GET.get("q", "") or request.POST.get("q", "")
    context = {
        "card": card(case=case),
        "decisions": decisions(who=request.user, case=case).decisions,
        "q": text[:200],
        "found": find_orders(who=request.user, case=case, text=text),
        "address": request.get_full_path() if request.method == "GET" else _case_address(case, text),
        "alone": True,
        "keys": _keys(),
        **more,
    }
    return render(request, "worklist/reconciliation_case.html", context, status=status)


def _done(request: PageRequest, decision: ReconciliationDecision, words: str) -> HttpResponse:
    """The list as it is now: as a part, or as the page."""
    say(request, words, undo=reverse("reconciliation-undo", args=[decision.public_id]))
    if not request.htmx:
        return redirect(next_address(request, reverse("reconciliation")))
    version = etag(request, str(waiting_version(who=request.user)))
    return render(request, "worklist/_reconciliation_list.html", {**_context(request, version), "notices": True})


def _failed(request: PageRequest, error: RadiologyError, public_id: uuid.UUID) -> HttpResponse:
    """The same page again, as it is now, with what was wrong beside the case."""
    if not request.user.may("worklist.reconcile"):
        return refusal(request, outcome_of(error).http, error.message)
    more: dict[str, Any] = {"error": error, "error_card": str(public_id), "notices": True}
    if request.htmx:
        version = etag(request, str(waiting_version(who=request.user)))
        context = _context(request, version, **more)
        context["error_shown"] = any(each.key == str(public_id) for each in context.get("cards", []))
        return render(request, "worklist/_reconciliation_list.html", context)
    found = ReconciliationCase.objects.visible_to(request.user).filter(public_id=public_id).first()
    status = outcome_of(error).http
    if found is None:
        return refusal(request, status, error.message)
    return _render_case(request, found, status, **more)


def _refused(request: PageRequest) -> HttpResponse:
    return refusal(request, 403, _("Your role does not decide which order a study belongs to."))


def _case(request: PageRequest, public_id: uuid.UUID) -> ReconciliationCase:
    found = ReconciliationCase.objects.visible_to(request.user).filter(public_id=public_id).first()
    if found is None:
        raise NotFound(_("This case is not here, or not for you to see."))
    return found


def _procedure(request: PageRequest) -> RequestedProcedure:
    try:
        wanted = uuid.UUID(request.POST.get("procedure", ""))
    except ValueError as error:
        raise InvalidValue(_("Choose an order."), field="procedure") from error
    known = RequestedProcedure.objects.select_related("order_ref__patient_ref").filter(public_id=wanted)
    if not request.user.sees_every_site:
        known = known.filter(order_ref__site=request.user.site_id)
    found = known.first()
    if found is None:
        raise NotFound(_("There is no such order at this site."), field="procedure")
    return found


def _number(request: PageRequest, name: str) -> int:
    text = request.POST.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidValue(_("This page is out of date: load it again."), field=name)
    return int(text)


def _address(tab: str, before: int | None) -> str:
    query = {"tab": tab} | ({"before": str(before)} if before is not None else {})
    return f"{reverse('reconciliation')}?{urlencode(query)}"


def _case_address(case: ReconciliationCase, text: str) -> str:
    address = reverse("reconciliation-case", args=[case.public_id])
    return f"{address}?{urlencode({'q': text})}" if text else address
