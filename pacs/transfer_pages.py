"""Pages of transfers: all of one's site, one with its objects, and the dialog that sends."""

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.db import transaction
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.dimse.status_words import words
from pacs.models import Transfer, TransferResult, TransferState
from pacs.pages import etag, next_address, refusal
from pacs.services import transfers
from pacs.services.keyset import Page, Place
from pacs.services.selections import marked_studies
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, RadiologyError, outcome_of
from radiology.notices import say
from radiology.services import audit
from radiology.tasks import ring

KEYS = [
    ("j", gettext_lazy("Next transfer")),
    ("k", gettext_lazy("Previous transfer")),
    ("Enter", gettext_lazy("Open the transfer")),
]


@require_safe
@never_cache
@signed_in
def index(request: PageRequest) -> HttpResponse:
    """GET /transfers: newest first, live. A part that asks with the version it shows gets 304 when nothing moved."""
    state = request.GET.get("state", "")
    node = _whole(request.GET.get("node", ""))
    found = transfers.list_transfers(who=request.user, state=state, node=node, place=_place(request, 1))
    version = etag(request, _version(found.rows))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    filters = {name: value for name, value in (("state", state), ("node", str(node or ""))) if value}
    context: dict[str, Any] = {
        "page": found,
        "etag": version,
        "address": request.get_full_path(),
        "state": state,
        "node": node,
        "states": TransferState.choices,
        "is_filtered": bool(filters),
        **_pager(found, reverse("transfers"), filters),
    }
    if request.htmx:
        return render(request, "pacs/_transfers.html", context)
    context |= {"nodes": transfers.archives_for(who=request.user)[:500], "keys": KEYS}
    return render(request, "pacs/transfers.html", context)


@require_safe
@never_cache
@signed_in
def transfer(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /transfers/<public id>: its facts, its objects with failures first."""
    try:
        found = transfers.transfer_of(who=request.user, public_id=public_id)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    version = etag(request, _version([found]))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    page = transfers.results_of(transfer=found, place=_place(request, 2))
    context: dict[str, Any] = {
        "transfer": found,
        "results": [_result(row) for row in page.rows],
        "etag": version,
        "address": request.get_full_path(),
        "keys": [("j", _("Next object")), ("k", _("Previous object"))],
        **_pager(page, reverse("transfer", args=[found.public_id]), {}),
    }
    return render(request, "pacs/_transfer.html" if request.htmx else "pacs/transfer.html", context)


@require_POST
@never_cache
@signed_in
def cancel(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /transfers/<public id>/cancel."""
    return _controlled(request, public_id, transfers.cancel, _("Cancelled. What came across stays there."))


@require_POST
@never_cache
@signed_in
def pause(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /transfers/<public id>/pause."""
    return _controlled(request, public_id, transfers.pause)


@require_POST
@never_cache
@signed_in
def resume(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /transfers/<public id>/resume."""
    return _controlled(request, public_id, transfers.resume)


@require_POST
@never_cache
@signed_in
def retry(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /transfers/<public id>/retry."""
    return _controlled(request, public_id, transfers.retry)


def _controlled(request: PageRequest, public_id: uuid.UUID, act: Callable[..., None], said: str = "") -> HttpResponse:
    """What a button does to a transfer, and back to where one came from."""
    try:
        found = transfers.transfer_of(who=request.user, public_id=public_id)
        act(who=request.user, transfer=found, address=audit.address_of(request))
    except RadiologyError as error:
        return _back_with(request, error)
    ring()
    if said:
        say(request, said)
    return redirect(next_address(request, reverse("transfers")))


@require_POST
@never_cache
@signed_in
def send(request: PageRequest) -> HttpResponse:
    """POST /transfers/send: asks where to, for the studies that were named; with a node, begins."""
    try:
        studies = marked_studies(
            who=request.user, uids=request.POST.getlist("StudyInstanceUIDs"), most=transfers.MOST_STUDIES
        )
        series, instances = request.POST.getlist("SeriesInstanceUIDs"), request.POST.getlist("SOPInstanceUIDs")
        if (series or instances) and len(studies) > 1:
            raise InvalidValue(_("Series and images are sent from one study at a time."), field="SeriesInstanceUIDs")
    except RadiologyError as error:
        return _back_with(request, error)
    nodes = transfers.nodes_for(who=request.user).filter(site__in={study.site_id for study in studies})
    context: dict[str, Any] = {
        "studies": studies,
        "series": series,
        "instances": instances,
        "images": sum(study.number_of_study_related_instances for study in studies),
        "nodes": nodes[:500],
        "next": next_address(request, reverse("transfers")),
    }
    if "node" not in request.POST:
        return render(request, "pacs/_send_dialog.html" if request.htmx else "pacs/send.html", context)
    node = nodes.filter(pk=_whole(request.POST["node"]) or 0).first()
    try:
        if node is None:
            raise InvalidValue(_("Choose a node."), field="node")
        with transaction.atomic():
            begun = [
                transfers.send(
                    who=request.user,
                    node=node,
                    study=study,
                    series=series,
                    instances=instances,
                    address=audit.address_of(request),
                )
                for study in studies
            ]
    except InvalidValue as error:
        return render(request, "pacs/send.html", {**context, "error": error.message}, status=outcome_of(error).http)
    except RadiologyError as error:
        return _back_with(request, error)
    ring()
    if len(begun) == 1:
        return redirect("transfer", begun[0].public_id)
    said = ngettext("%(count)d study is being sent.", "%(count)d studies are being sent.", len(begun))
    say(request, said % {"count": len(begun)})
    return redirect("transfers")


def _back_with(request: PageRequest, error: RadiologyError) -> HttpResponse:
    """Where one came from, with what went wrong; a part of a page says it in its notices."""
    if request.htmx:
        say(request, error.message, level=ERROR)
        return render(request, "radiology/_notices.html", {"oob": True})
    if address := next_address(request, ""):
        say(request, error.message, level=ERROR)
        return redirect(address)
    return refusal(request, outcome_of(error).http, error.message)


def _result(row: TransferResult) -> dict[str, Any]:
    said = row.error
    if row.status is not None and (row.status or not said):
        said = " · ".join(filter(None, [f"{row.status:04X} {words(row.status)}", row.error]))
    return {"row": row, "words": said or row.get_outcome_display()}


def _version(rows: list[Transfer]) -> str:
    """Of what is shown: a transfer changes with its row or with its job."""
    return ",".join(
        f"{row.pk}.{row.updated_at.timestamp()}.{row.job and (row.job.state, row.job.attempts, row.job.error)}"
        for row in rows
    )


def _place(request: PageRequest, columns: int) -> Place | None:
    """`?after=` or `?before=`: the numbers of a row's place, joined by dots."""
    for name, backwards in (("after", False), ("before", True)):
        values = [_whole(part) for part in request.GET.get(name, "").split(".")]
        if len(values) == columns and None not in values:
            return Place(values, backwards)
    return None


def _pager(page: Page, address: str, filters: dict[str, str]) -> dict[str, str]:
    def link(name: str, place: Place | None) -> str:
        if place is None:
            return ""
        return f"{address}?{urlencode({**filters, name: '.'.join(str(value) for value in place.values)})}"

    first = f"{address}?{urlencode(filters)}" if filters else address
    return {"next_page": link("after", page.next), "previous_page": link("before", page.previous), "first_page": first}


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
