"""The message desk: every message in and out, what became of it, and doing it again."""

import uuid
import zoneinfo
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR, SUCCESS, WARNING
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from integrations.hl7 import desk as service
from integrations.hl7 import dispatch, replay
from integrations.message_view import MessageView
from integrations.models import Direction, Hl7Message, Hl7Peer, MessageState
from pacs.pages import etag, next_address, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import NotFound, RadiologyError
from radiology.models import AuditAction, Job, JobState
from radiology.notices import say
from radiology.services import audit

REPLAYS = 3
# What a search says, in addresses.
SEARCH = ("text", "state", "direction", "peer", "code", "since", "until")
KEYS = [
    ("j", gettext_lazy("Next message")),
    ("k", gettext_lazy("Previous message")),
    ("Enter", gettext_lazy("Open the message")),
    ("/", gettext_lazy("Search")),
]


@require_safe
@never_cache
@signed_in
def desk(request: PageRequest) -> HttpResponse:
    """GET /interfaces: how the peers are doing, and the newest messages; live."""
    if not request.user.may("interfaces.read"):
        return _not_yours(request)
    criteria = _criteria(request, request.GET)
    page = service.search(who=request.user, criteria=criteria, before=_number(request.GET.get("before", "")))
    peers = service.figures(who=request.user)
    replays = list(Job.objects.filter(kind=replay.KIND, state__in=[JobState.PENDING, JobState.RUNNING])[:REPLAYS])
    version = etag(request, *_versions(page, peers, replays))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    asked = {name: value for name, value in request.GET.items() if value and name in SEARCH}
    context: dict[str, Any] = {
        "page": page,
        "peers": peers,
        "replays": replays,
        "criteria": criteria,
        "asked": asked,
        "etag": version,
        "address": request.get_full_path(),
        "older": urlencode({**asked, "before": page.older}) if page.older else "",
        "newest": urlencode(asked),
        "has_newer": "before" in request.GET,
        "states": [(service.OPEN, _("Needs a person")), *MessageState.choices],
        "directions": Direction.choices,
        "codes": sorted({code for code, _event in dispatch.HANDLERS}),
        "may_replay": request.user.may("interfaces.replay"),
        "keys": KEYS,
    }
    return render(request, "integrations/_desk.html" if request.htmx else "integrations/desk.html", context)


@require_safe
@never_cache
@signed_in
def count(request: PageRequest) -> HttpResponse:
    """GET /interfaces/count: how many messages and alarms wait for a person, for the navigation."""
    if not request.user.may("interfaces.read"):
        return HttpResponse(status=204)
    waits = service.waiting_for_person(who=request.user)
    version = etag(request, str(waits))
    if request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    response = render(request, "worklist/_reconciliation_count.html", {"count": waits})
    response["ETag"] = version
    return response


@require_safe
@never_cache
@signed_in
def message(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /interfaces/messages/<public id>: as it came and decoded, what was answered, what it changed."""
    try:
        row = _row(request, public_id)
    except NotFound as error:
        return refusal(request, 404, error.message)
    audit.record(
        event="hl7.opened",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=row.site_id,
        patient_id=row.patient_ref_id,
        detail={"message": str(row.public_id)},
    )
    may_replay = request.user.may("interfaces.replay") and row.peer is not None
    context = {"message": row, "view": MessageView(row), "may_replay": may_replay}
    return render(request, "integrations/message.html", context)


@require_safe
@never_cache
@signed_in
def edit(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /interfaces/messages/<public id>/edit: the message in an editor."""
    try:
        row = _row(request, public_id)
    except NotFound as error:
        return refusal(request, 404, error.message)
    if not request.user.may("interfaces.replay"):
        return _not_yours(request)
    if row.size > replay.LARGEST_EDITED:
        return refusal(request, 404, _("This message is too long to be edited here."))
    return render(request, "integrations/message_edit.html", {"message": row, "text": replay.text_of(row)})


@require_POST
@never_cache
@signed_in
def replay_one(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: do the message again, as it came or as it stands in the editor."""
    text = request.POST.get("text")
    try:
        row = _row(request, public_id)
    except NotFound as error:
        return refusal(request, 404, error.message)
    try:
        done = replay.replay(who=request.user, row=row, text=text, address=audit.address_of(request))
    except RadiologyError as error:
        if text is None:
            say(request, error.message, level=ERROR)
            return redirect("interface-message", public_id)
        context = {"message": row, "text": text, "error": error.message}
        return render(request, "integrations/message_edit.html", context, status=400)
    done.refresh_from_db()
    _tell(request, done)
    return redirect("interface-message", done.public_id)


@require_POST
@never_cache
@signed_in
def close(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: the message needs nobody any more; with `again`, it does after all."""
    try:
        row = _row(request, public_id)
        again = bool(request.POST.get("again"))
        replay.close(who=request.user, row=row, again=again, address=audit.address_of(request))
    except NotFound as error:
        return refusal(request, 404, error.message)
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    return redirect(next_address(request, reverse("interface-message", args=[public_id])))


@require_http_methods(["GET", "POST"])
@never_cache
@signed_in
def replay_all(request: PageRequest) -> HttpResponse:
    """GET /interfaces/replays: how many messages a search finds, and whether to do them again. POST: yes."""
    if not request.user.may("interfaces.replay"):
        return _not_yours(request)
    given = request.POST if request.method == "POST" else request.GET
    criteria = _criteria(request, given)
    asked = {name: value for name, value in given.items() if value and name in SEARCH}
    if request.method == "GET":
        found = service.count(who=request.user, criteria=criteria)
        context = {"asked": asked, "count": found, "counted": service.COUNTED, "address": urlencode(asked)}
        return render(request, "integrations/replay_all.html", context)
    key = given.get("key", "")[:64]
    replay.replay_all(who=request.user, criteria=criteria, key=key, address=audit.address_of(request))
    say(request, _("The messages are being done again; this page shows how far it is."))
    return redirect(f"{reverse('interfaces')}?{urlencode(asked)}")


def _criteria(request: PageRequest, given: Mapping[str, str]) -> service.Criteria:
    """What a form asks for; what is malformed asks for nothing."""
    state, direction = given.get("state", ""), given.get("direction", "")
    number = _number(given.get("peer", ""))
    peer = Hl7Peer.objects.filter(pk=number).first() if number else None
    return service.Criteria(
        peer=peer.pk if peer else None,
        direction=direction if direction in Direction.values else "",
        state=state if state in {service.OPEN, *MessageState.values} else "",
        code=given.get("code", "").strip()[:32],
        text=given.get("text", "").strip()[:100],
        since=_moment(request, given.get("since", "")),
        until=_moment(request, given.get("until", "")),
    )


def _moment(request: PageRequest, text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    if found is not None and found.tzinfo is None:
        found = found.replace(tzinfo=zoneinfo.ZoneInfo(request.user.site.time_zone))
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _versions(page: service.Page, peers: list[service.PeerFigures], replays: list[Job]) -> list[str]:
    return [
        ",".join(f"{row.pk}.{row.state}.{row.attempts}.{row.closed_at is not None}" for row in page.rows),
        ",".join(each.version for each in peers),
        ",".join(f"{job.pk}.{job.state}.{job.progress}" for job in replays),
    ]


def _row(request: PageRequest, public_id: uuid.UUID) -> Hl7Message:
    visible = Hl7Message.objects.visible_to(request.user)
    row = visible.select_related("peer__site", "site", "patient_ref", "order_ref", "replay_of", "duplicate_of")
    found = row.filter(public_id=public_id).first()
    if found is None:
        raise NotFound(_("There is no such message, or it is not for you to see."))
    return found


def _tell(request: PageRequest, done: Hl7Message) -> None:
    if done.direction == Direction.OUT:
        say(request, _("It is being sent again."))
    elif done.state == MessageState.PROCESSED:
        say(request, _("Done again: it was accepted."), level=SUCCESS)
    else:
        say(request, _("Done again, and it failed: %(why)s") % {"why": done.error}, level=WARNING)


def _not_yours(request: PageRequest) -> HttpResponse:
    return refusal(request, 403, _("Administrators look after the interfaces."))
