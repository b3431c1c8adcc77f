"""The schedule: rooms as columns, a day or a week, live; on a phone and without script, a list of the day."""

import json
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import Max
from django.http import HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs.pages import etag
from radiology.accounts import PageRequest, signed_in
from radiology.models import Priority, Site
from worklist.models import Device, ScheduledProcedureStep, StepStatus
from worklist.schedule_data import calendar_data, examination_address, is_late
from worklist.services.bookings import Bookings, bookings
from worklist.services.opening import midnight
from worklist.services.scheduling import WAITING
from worklist.services.slots import Slot, free_slots

VIEWS = {"day": (_("Day"), 1), "week": (_("Week"), 7), "list": (_("List"), 1)}
MOST_OFFERED = 12
KEYS = [
    ("j", _("Next examination")),
    ("k", _("Previous examination")),
    ("Enter", _("Open the examination")),
    ("m", _("Put the examination somewhere else")),
    ("n", _("Next day or week")),
    ("b", _("Previous day or week")),
    ("t", _("Today")),
]


@require_safe
@never_cache
@signed_in
def schedule(request: PageRequest) -> HttpResponseBase:
    """GET /schedule: `?day=`, `?view=`, `?modality=`. A part that shows this version already gets 304 unrendered."""
    site = request.user.site
    view = request.GET.get("view", "day") if request.GET.get("view") in VIEWS else "day"
    modality = request.GET.get("modality", "")[:16]
    today = timezone.now().astimezone(ZoneInfo(site.time_zone)).date()
    day = _day(request.GET.get("day", ""), today)
    first = day - timedelta(days=day.weekday()) if view == "week" else day
    version = etag(request, _version(site, today))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    found = bookings(who=request.user, site=site, day=first, days=VIEWS[view][1], modality=modality)
    may_move = request.user.may("schedule.write")
    context: dict[str, Any] = {
        "etag": version,
        "address": request.get_full_path(),
        "view": view,
        "data": json.dumps(calendar_data(found, may_move=may_move), ensure_ascii=False),
        "groups": _groups(found),
        "waiting": [_row(each) for each in found.waiting],
        "more_waiting": found.more_waiting,
        "may_move": may_move,
        "may_arrive": request.user.may("steps.write"),
    }
    if request.htmx:
        return render(request, "worklist/_schedule.html", context)
    context |= _head(site, view=view, day=day, first=first, today=today, modality=modality)
    context |= {"keys": KEYS, "rooms": found.rooms, **_offer(request, site, modality, first)}
    return render(request, "worklist/schedule.html", context)


def _day(text: str, today: date) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return today
    return found if 1970 < found.year < 2200 else today


def _version(site: Site, today: date) -> str:
    """Changes with every step of the site, and each minute for what depends on the clock and on rooms."""
    latest = ScheduledProcedureStep.objects.filter(site=site).aggregate(latest=Max("updated_at"))["latest"]
    return f"{latest} {today} {timezone.now():%H%M}"


def _head(site: Site, *, view: str, day: date, first: date, today: date, modality: str) -> dict[str, Any]:
    """What the toolbar shows and where it leads."""

    def address(**changes: Any) -> str:
        asked = {"day": day.isoformat(), "view": view, "modality": modality, **changes}
        return f"{reverse('schedule')}?{urlencode({name: value for name, value in asked.items() if value})}"

    step = timedelta(days=7 if view == "week" else 1)
    devices = Device.objects.active().filter(site=site)
    return {
        "day": day,
        "first": first,
        "last": first + timedelta(days=VIEWS[view][1] - 1),
        "today": today,
        "modality": modality,
        "modalities": sorted(set(devices.values_list("modality", flat=True)[:500])),
        "views": [(name, label) for name, (label, _days) in VIEWS.items()],
        "previous_address": address(day=(day - step).isoformat()),
        "next_address": address(day=(day + step).isoformat()),
        "today_address": address(day=""),
    }


def _offer(request: PageRequest, site: Site, modality: str, first: date) -> dict[str, Any]:
    """Free times, when somebody looks for them."""
    wanted, minutes = request.GET.get("free", "")[:16], request.GET.get("minutes", "")
    duration = int(minutes) if minutes.isascii() and minutes.isdigit() and 0 < int(minutes[:4]) <= 1440 else 0
    found: list[Slot] = []
    if wanted:
        zone = ZoneInfo(site.time_zone)
        start = midnight(day=first, zone=zone)
        found = free_slots(
            site=site, modality=wanted, duration=duration or None, start=start, days=31, limit=MOST_OFFERED
        )
    return {"free": wanted, "minutes": duration or "", "offered": found}


def _groups(found: Bookings) -> list[dict[str, Any]]:
    """The list: each room with its examinations, in the order of the columns."""
    by_room: dict[int | None, list[dict[str, Any]]] = {}
    for step in found.steps:
        by_room.setdefault(step.room_id, []).append(_row(step))
    return [{"room": room, "rows": by_room.get(room.pk, [])} for room in found.rooms]


def _row(step: ScheduledProcedureStep) -> dict[str, Any]:
    order = step.requested_procedure_ref.order_ref
    return {
        "step": step,
        "order": order,
        "patient": order.patient_ref,
        "open": examination_address(step),
        "is_late": is_late(step),
        "is_urgent": order.priority in {Priority.STAT, Priority.HIGH},
        "is_waiting": step.status in WAITING,
        "may_arrive": step.status == StepStatus.SCHEDULED,
        "kind": _KINDS.get(step.status, ""),
    }


_KINDS: dict[str, str] = {
    StepStatus.ARRIVED: "waiting",
    StepStatus.READY: "waiting",
    StepStatus.STARTED: "going",
    StepStatus.COMPLETED: "done",
}
