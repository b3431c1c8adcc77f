"""Pages of the radiographers' day: the board, its big screen, and what one does with an examination."""

import uuid
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.http import HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import replace_url

from pacs import views as pacs_views
from pacs.guest_studies import lists_for_guests
from pacs.links import opens_links
from pacs.pages import etag, next_address, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import NotAllowed, NotFound, RadiologyError, outcome_of
from radiology.notices import say
from worklist.board_cards import CardWriter
from worklist.models import BoardPreference, Room, ScheduledProcedureStep, StepStatus
from worklist.services import board as boards
from worklist.services.scheduling import swap_room, walk_in
from worklist.services.steps import move_step

VIEWS = {"room": gettext_lazy("By room"), "status": gettext_lazy("By status"), "list": gettext_lazy("List")}
GROUP_LABELS = {
    "scheduled": gettext_lazy("Scheduled"),
    "arrived": gettext_lazy("Arrived"),
    "started": gettext_lazy("In progress"),
    "done": gettext_lazy("Done"),
    "problem": gettext_lazy("Not done"),
}
FILTERS = ("by", "day", "room", "modality", "status")
KEYS = [
    ("j", gettext_lazy("Next examination")),
    ("k", gettext_lazy("Previous examination")),
    ("Enter", gettext_lazy("Open the examination")),
    ("a", gettext_lazy("Arrived")),
    ("s", gettext_lazy("Start")),
    ("d", gettext_lazy("Done")),
    ("v", gettext_lazy("View its images")),
    ("p", gettext_lazy("Open the patient")),
    ("u", gettext_lazy("Take the last step back")),
]
SAID = {
    StepStatus.SCHEDULED: gettext_lazy("%(who)s is scheduled again."),
    StepStatus.ARRIVED: gettext_lazy("%(who)s has arrived."),
    StepStatus.READY: gettext_lazy("%(who)s is ready."),
    StepStatus.STARTED: gettext_lazy("The examination of %(who)s is in progress."),
    StepStatus.COMPLETED: gettext_lazy("The examination of %(who)s is done."),
    StepStatus.DISCONTINUED: gettext_lazy("The examination of %(who)s was discontinued."),
    StepStatus.CANCELLED: gettext_lazy("The examination of %(who)s is cancelled."),
    StepStatus.NO_SHOW: gettext_lazy("%(who)s did not come."),
}


@require_safe
@never_cache
@opens_links
@lists_for_guests
@signed_in
def worklist(request: PageRequest) -> HttpResponseBase:
    """GET /worklist: the board for whoever moves examinations, unless the list of studies is asked for."""
    if request.GET.get("view") == "board" or (not request.GET and request.user.may("steps.write")):
        return _board(request)
    return pacs_views.studies(request)


def _board(request: PageRequest) -> HttpResponseBase:
    query = _remembered(request)
    if query is not None:
        return redirect(f"{reverse('studies')}?{query}")
    wanted = _wanted(request)
    by = request.GET.get("by", "")
    by = by if by in VIEWS else "room"
    version = etag(request, boards.board_version(who=request.user, wanted=wanted))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    found = boards.board(who=request.user, wanted=wanted)
    today = boards.day_of(request.user.site)
    filters = {name: request.GET[name] for name in FILTERS if request.GET.get(name)}
    if wanted.day == today:
        filters.pop("day", None)
    address = f"{reverse('studies')}?{urlencode({'view': 'board', **filters})}"
    may_move, may_schedule = request.user.may("steps.write"), request.user.may("schedule.write")
    writer = CardWriter(
        by=by,
        address=address,
        token=get_token(request),
        rooms=found.rooms,
        may_move=may_move,
        may_schedule=may_schedule,
    )
    columns = [{**column, "html": writer.write(column["cards"])} for column in _columns(found, by)]
    context: dict[str, Any] = {
        "board": found,
        "columns": columns,
        "by": by,
        "wanted": wanted,
        "today": today,
        "is_today": wanted.day == today,
        "day_before": wanted.day - timedelta(days=1),
        "day_after": wanted.day + timedelta(days=1),
        "groups": [(name, label, found.counts[name]) for name, label in GROUP_LABELS.items()],
        "views": VIEWS.items(),
        "etag": version,
        "address": address,
        "keys": KEYS,
    }
    if request.htmx:
        response = render(request, "worklist/_board.html", context)
        if request.htmx.trigger != "board":
            _remember(request, urlencode({"view": "board", **filters}))
            replace_url(response, context["address"])
        return response
    return render(request, "worklist/board.html", context)


@require_safe
@never_cache
@signed_in
def corridor(request: PageRequest) -> HttpResponseBase:
    """GET /worklist/corridor: today by room for a big screen that everybody can read: no names, no numbers."""
    wanted = boards.BoardFilter(day=boards.day_of(request.user.site))
    version = etag(request, boards.board_version(who=request.user, wanted=wanted))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    found = boards.board(who=request.user, wanted=wanted)
    waiting = [card for card in found.cards if card.group in {"arrived", "started"}]
    rooms = [
        (room, [card for card in waiting if card.step.room_id == room.pk and card.group == "started"],
         [card for card in waiting if card.step.room_id == room.pk and card.group == "arrived"])
        for room in found.rooms
    ]  # fmt: skip
    context = {"rooms": rooms, "etag": version, "address": request.get_full_path(), "site": request.user.site}
    return render(request, "worklist/_corridor.html" if request.htmx else "worklist/corridor.html", context)


@require_POST
@never_cache
@signed_in
def move(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /examinations/<uuid>/move: `to` another state, from the `version` that one saw; undone by its notice."""
    values = {**request.GET.dict(), **request.POST.dict()}
    try:
        step = step_of(request, public_id)
        if not request.user.may("steps.write"):
            raise NotAllowed(_("You may not move examinations."))
        to = values.get("to", "")
        if to not in StepStatus.values:
            raise NotFound(_("There is no such state."), field="to")
        before = step.status
        version = values.get("version", "")
        moved = move_step(
            step=step,
            to=StepStatus(to),
            who=request.user,
            reason=values.get("reason", ""),
            version=int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else None,
        )
    except RadiologyError as error:
        return back_with(request, error, reverse("studies"))
    if before != to:
        name = moved.requested_procedure_ref.order_ref.patient_ref.display_name
        undo = reverse("examination-move", args=[public_id]) + "?" + urlencode({"to": before, "version": moved.version})
        say(request, SAID[StepStatus(to)] % {"who": name}, undo=undo)
    return redirect(next_address(request, reverse("studies")))


@require_POST
@never_cache
@signed_in
def swap(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /examinations/<uuid>/room: the same time in another `room`; without a time yet, as soon as that is free."""
    values = {**request.GET.dict(), **request.POST.dict()}
    try:
        step = step_of(request, public_id)
        room = _room(request, values.get("room", ""))
        before, version = step.room, values.get("version", "")
        seen = int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else None
        if step.scheduled_start is None:
            moved = walk_in(step=step, rooms=[room], who=request.user, version=seen)
        else:
            moved = swap_room(step=step, room=room, who=request.user, version=seen)
    except RadiologyError as error:
        return back_with(request, error, reverse("studies"))
    undo = ""
    if before is not None:
        place = urlencode({"room": str(before.public_id), "version": moved.version})
        undo = f"{reverse('examination-room', args=[public_id])}?{place}"
    name = step.requested_procedure_ref.order_ref.patient_ref.display_name
    say(request, _("%(who)s goes to %(room)s.") % {"who": name, "room": room.name}, undo=undo)
    return redirect(next_address(request, reverse("studies")))


def _room(request: PageRequest, text: str) -> Room:
    try:
        found = Room.objects.visible_to(request.user).active().filter(public_id=uuid.UUID(text)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such room."), field="room")
    return found


def step_of(request: PageRequest, public_id: uuid.UUID) -> ScheduledProcedureStep:
    """The step that may be seen. Raises NotFound."""
    step = ScheduledProcedureStep.objects.visible_to(request.user).with_patient().filter(public_id=public_id).first()
    if step is None:
        raise NotFound(_("This examination is not here, or not for you to see."))
    return step


def back_with(request: PageRequest, error: RadiologyError, otherwise: str) -> HttpResponseBase:
    """Where one came from, with what went wrong."""
    if address := next_address(request, ""):
        say(request, error.message, level=ERROR)
        return redirect(address)
    return refusal(request, outcome_of(error).http, error.message, otherwise=otherwise)


def _wanted(request: PageRequest) -> boards.BoardFilter:
    room = request.GET.get("room", "")
    group = request.GET.get("status", "")
    return boards.BoardFilter(
        day=_day(request.GET.get("day", "")) or boards.day_of(request.user.site),
        room=int(room) if room.isascii() and room.isdecimal() and len(room) < 19 else None,
        modality=request.GET.get("modality", "").strip().upper()[:16],
        group=group if group in boards.GROUPS else "",
    )


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1900 < day.year < 9000 else None


def _columns(found: boards.Board, by: str) -> list[dict[str, Any]]:
    """The columns of the board, each with its cards; a room without any stays, so that one sees it is free."""
    if by == "list":
        return [{"title": "", "key": "", "cards": found.cards}]
    if by == "status":
        return [{"title": label, "key": name, "cards": found.of_group(name)} for name, label in GROUP_LABELS.items()]
    without = found.of_room(None)
    columns: list[dict[str, Any]] = [
        {"title": room.name, "key": str(room.public_id), "room": room, "cards": found.of_room(room)}
        for room in found.rooms
    ]
    known = {room.pk for room in found.rooms}
    others = [card for card in found.cards if card.step.room_id is not None and card.step.room_id not in known]
    if without or others or not columns:
        columns.append({"title": _("No room yet"), "key": "", "cards": [*without, *others]})
    return columns


def _remembered(request: PageRequest) -> str | None:
    """What this person last looked at, when the board is opened without saying anything."""
    if request.htmx or request.GET:
        return None
    kept = BoardPreference.objects.filter(user=request.user).first()
    return kept.query if kept and kept.query else None


def _remember(request: PageRequest, query: str) -> None:
    """The day is never kept: tomorrow's board opens with tomorrow."""
    kept = "&".join(part for part in query.split("&") if not part.startswith("day="))
    BoardPreference.objects.update_or_create(user=request.user, defaults={"query": kept[:500]})
