"""Why is my worklist empty? What devices ask, what each question finds, and why not the rest."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs.pages import etag, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue
from radiology.models import AuditAction
from radiology.services import audit
from worklist.models import Device, WorklistQuery
from worklist.query_form import KEYWORDS, TryForm, answers_of
from worklist.services.query_words import keys_in_words, label_of
from worklist.services.worklist_diagnosis import (
    Diagnosis,
    devices_of,
    diagnose,
    diagnose_query,
    refused_callers,
    station_of_query,
)
from worklist.services.worklist_rules import Station

SHOWN = 100
KEYS = [
    ("j", gettext_lazy("Next query")),
    ("k", gettext_lazy("Previous query")),
    ("Enter", gettext_lazy("Open the query")),
]


@require_safe
@never_cache
@signed_in
def index(request: PageRequest) -> HttpResponse:
    """GET /worklist/queries: the newest questions, live."""
    if not request.user.may("worklist.diagnose"):
        return _not_yours(request)
    title, empty = request.GET.get("title", "").strip()[:16], request.GET.get("empty", "")
    found = WorklistQuery.objects.visible_to(request.user).select_related("device", "site")
    if title:
        found = found.filter(calling_ae_title=title)
    if empty:
        found = found.filter(answered=0)
    rows = list(found.order_by("-last_at", "-pk")[:SHOWN])
    refused = refused_callers()
    version = etag(request, ",".join(f"{row.pk}.{row.times}" for row in rows), *(str(event.pk) for event in refused))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    context: dict[str, Any] = {
        "queries": [(row, keys_in_words(row.keys)) for row in rows],
        "refused": refused,
        "etag": version,
        "address": request.get_full_path(),
        "title": title,
        "empty": empty,
        "keys": KEYS,
    }
    return render(request, "worklist/_queries.html" if request.htmx else "worklist/queries.html", context)


@require_safe
@never_cache
@signed_in
def query(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /worklist/queries/<public id>: one question, as if it were asked now."""
    if not request.user.may("worklist.diagnose"):
        return _not_yours(request)
    visible = WorklistQuery.objects.visible_to(request.user).select_related("node", "device__room", "site")
    row = visible.filter(public_id=public_id).first()
    if row is None:
        return refusal(request, 404, _("There is no such query, or it is older than a month."))
    sought = request.GET.get("sought", "").strip()[:100]
    context: dict[str, Any] = {"query": row, "sought": sought, "asked": keys_in_words(row.keys)}
    try:
        found = diagnose_query(who=request.user, query=row, sought=sought)
    except InvalidValue as error:
        context |= {"station": station_of_query(row), "error": error.message, "error_label": label_of(error.field)}
    else:
        context |= _shown(found)
        _note(request, found)
    device = context["station"].device
    again = {**answers_of(row.keys), **({"device": str(device.public_id)} if device else {})}
    context["try_address"] = f"{reverse('worklist-query-try')}?{urlencode(again)}"
    return render(request, "worklist/query.html", context)


@require_safe
@never_cache
@signed_in
def try_query(request: PageRequest) -> HttpResponse:
    """GET /worklist/queries/try: ask as any device of one's site; with `ask`, the answer and why not the rest."""
    if not request.user.may("worklist.diagnose"):
        return _not_yours(request)
    devices = devices_of(request.user)
    form = TryForm(request.GET or None, devices=devices)
    context: dict[str, Any] = {"form": form, "has_devices": bool(devices)}
    status = 200
    if request.GET and form.is_valid():
        station = _station(request, devices, form.cleaned_data["device"])
        try:
            found = diagnose(who=request.user, station=station, keys=form.keys(), sought=form.cleaned_data["sought"])
        except InvalidValue as error:
            form.add_error(KEYWORDS.get(error.field), error.message)
        else:
            context |= {**_shown(found), "sought": form.cleaned_data["sought"]}
            _note(request, found)
    if form.errors:
        status = 400
    return render(request, "worklist/query_try.html", context, status=status)


def _station(request: PageRequest, devices: list[Device], public_id: str) -> Station:
    device = next((each for each in devices if str(each.public_id) == public_id), None)
    if device is None:
        return Station(site=request.user.site, title="")
    return Station(site=device.site, title=device.station_ae_title, device=device)


def _shown(found: Diagnosis) -> dict[str, Any]:
    return {
        "station": found.search.station,
        "days": found.search.station.days(found.search.now),
        "diagnosis": found,
        "unsupported": [label_of(name) for name in found.search.unsupported],
    }


def _note(request: PageRequest, found: Diagnosis) -> None:
    """That somebody looked at the patients of a worklist."""
    audit.record(
        event="worklist.diagnosed",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=found.search.station.site.pk,
        detail={"station": found.search.station.title, "matched": len(found.matched), "others": len(found.candidates)},
    )


def _not_yours(request: PageRequest) -> HttpResponse:
    return refusal(request, 403, _("Radiographers and administrators look after the worklists of devices."))
