"""What is done on the schedule: put, moved, taken off, arrived, did not come. Each can be taken back."""

import uuid
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from django.contrib.messages import ERROR
from django.core import signing
from django.db import transaction
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from pacs.pages import next_address, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, PreconditionFailed, RadiologyError, outcome_of
from radiology.notices import say
from worklist.models import Device, Room, ScheduledProcedureStep, StepStatus
from worklist.schedule_data import examination_address, wall
from worklist.services.scheduling import WAITING, require, schedule_step, unschedule_step, walk_in
from worklist.services.slots import free_slots
from worklist.services.steps import move_step

SALT = "schedule-undo"
OFFERED = 8
MOVES = {
    StepStatus.ARRIVED: gettext_lazy("%(patient)s has arrived."),
    StepStatus.NO_SHOW: gettext_lazy("%(patient)s did not come."),
    StepStatus.SCHEDULED: gettext_lazy("%(patient)s is expected."),
}


@method_decorator([never_cache, signed_in], name="dispatch")
class Place(View):
    """`/schedule/steps/<id>`: the form that puts an examination somewhere, with the next free times."""

    def get(self, request: PageRequest, step: uuid.UUID) -> HttpResponseBase:
        found = _step_of(request, step)
        if found is None:
            return _gone(request)
        return self._form(request, found)

    def post(self, request: PageRequest, step: uuid.UUID) -> HttpResponseBase:
        found = _step_of(request, step)
        if found is None:
            return _gone(request)
        try:
            back = _back(found)
            placed = schedule_step(step=found, who=request.user, **_placing(request, found))
        except RadiologyError as error:
            if request.htmx:
                return _told(request, error.message, level=ERROR)
            return self._form(request, found, error)
        text = _("%(patient)s: %(when)s, %(room)s.") % {
            "patient": _patient(placed),
            "when": _when(placed),
            "room": placed.room,
        }
        return _done(request, placed, text, back)

    def _form(
        self, request: PageRequest, step: ScheduledProcedureStep, error: RadiologyError | None = None
    ) -> HttpResponseBase:
        zone = ZoneInfo(step.site.time_zone)
        start = step.scheduled_start
        length = step.scheduled_end - start if start and step.scheduled_end else None
        minutes = int(length.total_seconds()) // 60 if length else step.requested_procedure_ref.duration
        typed = {
            "room": str(step.room_id or ""),
            "device": str(step.device_id or ""),
            "start": wall(start, zone) if start else "",
            "duration": str(minutes),
            "reason": "",
            "anyway": "",
        }
        given = request.POST if error is not None else request.GET
        typed |= {name: given[name][:200] for name in typed if name in given}
        rooms = list(
            Room.objects.visible_to(request.user).active().filter(site=step.site_id).prefetch_related("devices")
        )
        context: dict[str, Any] = {
            "step": step,
            "order": step.requested_procedure_ref.order_ref,
            "patient": step.requested_procedure_ref.order_ref.patient_ref,
            "open": examination_address(step),
            "typed": typed,
            "error": error,
            "rooms": [room for room in rooms if _takes(room, step)],
            "devices": [each for room in rooms for each in room.devices.all() if _fits(each, step)],
            "offered": self._offer(step, minutes),
            "may_move": request.user.may("schedule.write") and step.status in WAITING,
            "may_anyway": request.user.may("schedule.anyway"),
            "next": next_address(request, request.GET.get("next", "") or reverse("schedule")),
        }
        status = outcome_of(error).http if error is not None else 200
        return render(request, "worklist/schedule_step.html", context, status=status)

    def _offer(self, step: ScheduledProcedureStep, minutes: int) -> list[dict[str, Any]]:
        zone = ZoneInfo(step.site.time_zone)
        found = free_slots(
            site=step.site, modality=step.modality, duration=minutes, start=timezone.now(), days=31, limit=OFFERED
        )
        return [{"slot": each, "start": wall(each.start, zone)} for each in found]


@require_POST
@never_cache
@signed_in
def take_off(request: PageRequest, step: uuid.UUID) -> HttpResponseBase:
    """POST /schedule/steps/<id>/off: back to those who wait for a time."""

    def act(found: ScheduledProcedureStep) -> tuple[ScheduledProcedureStep, str]:
        off = unschedule_step(step=found, who=request.user, version=_version(request), reason=_reason(request))
        return off, _("%(patient)s waits for another time.") % {"patient": _patient(off)}

    return _acted(request, step, act)


@require_POST
@never_cache
@signed_in
def now(request: PageRequest, step: uuid.UUID) -> HttpResponseBase:
    """POST /schedule/steps/<id>/now: the patient is here, and gets the first room that is free."""

    def act(found: ScheduledProcedureStep) -> tuple[ScheduledProcedureStep, str]:
        placed = walk_in(step=found, who=request.user, version=_version(request))
        return placed, _("%(patient)s: now, %(room)s.") % {"patient": _patient(placed), "room": placed.room}

    return _acted(request, step, act)


@require_POST
@never_cache
@signed_in
def move(request: PageRequest, step: uuid.UUID) -> HttpResponseBase:
    """POST /schedule/steps/<id>/move: `to` is where: arrived, did not come, expected again."""

    def act(found: ScheduledProcedureStep) -> tuple[ScheduledProcedureStep, str]:
        require(request.user, "steps.write")
        to = request.POST.get("to", "")
        if to not in MOVES:
            raise InvalidValue(_("Say whether the patient has arrived or did not come."), field="to")
        moved = move_step(step=found, to=StepStatus(to), who=request.user, version=_version(request))
        return moved, str(MOVES[StepStatus(to)]) % {"patient": _patient(moved)}

    return _acted(request, step, act)


@require_POST
@never_cache
@signed_in
def undo(request: PageRequest, step: uuid.UUID, back: str) -> HttpResponseBase:
    """POST /schedule/steps/<id>/undo/<back>: as it stood in `back`, which was signed here."""
    found = _step_of(request, step)
    if found is None:
        return _gone(request)
    try:
        _take_back(request, found, back)
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        say(request, _("Taken back."))
    return redirect(next_address(request, reverse("schedule")))


def _take_back(request: PageRequest, step: ScheduledProcedureStep, back: str) -> None:
    try:
        before = signing.loads(back, salt=SALT)
    except signing.BadSignature as error:
        raise InvalidValue(_("This cannot be taken back.")) from error
    if before["step"] != step.pk:
        raise InvalidValue(_("This cannot be taken back."))
    if before["after"] != step.version:
        raise PreconditionFailed(_("Somebody changed this examination again meanwhile: nothing was taken back."))
    with transaction.atomic():
        if before["status"] != step.status:
            require(request.user, "steps.write")
            step = move_step(step=step, to=StepStatus(before["status"]), who=request.user)
        place = (before["room"], before["device"], before["start"], before["end"])
        if place == _place(step):
            return
        if before["room"] is None or before["start"] is None:
            unschedule_step(step=step, who=request.user, version=step.version)
            return
        start, end = (datetime.fromisoformat(before[name]) for name in ("start", "end"))
        schedule_step(
            step=step,
            room=Room.objects.get(pk=before["room"]),
            device=Device.objects.filter(pk=before["device"]).first(),
            start=start,
            duration=int((end - start).total_seconds()) // 60,
            who=request.user,
            back=True,
            reason=_("taken back"),
        )


def _acted(request: PageRequest, public_id: uuid.UUID, act: Any) -> HttpResponseBase:
    """Do it with the step, say what was done, and go back; or say why not."""
    found = _step_of(request, public_id)
    if found is None:
        return _gone(request)
    try:
        back = _back(found)
        step, text = act(found)
    except RadiologyError as error:
        if request.htmx:
            return _told(request, error.message, level=ERROR)
        say(request, error.message, level=ERROR)
        return redirect(next_address(request, reverse("schedule")))
    return _done(request, step, text, back)


def _done(request: PageRequest, step: ScheduledProcedureStep, text: str, back: dict[str, Any]) -> HttpResponseBase:
    token = signing.dumps({**back, "after": step.version}, salt=SALT, compress=True)
    say(request, text, undo=reverse("schedule-undo", args=[step.public_id, token]))
    if request.htmx:
        return render(request, "radiology/_notices.html", {"oob": True})
    return redirect(next_address(request, reverse("schedule")))


def _told(request: PageRequest, text: str, *, level: int) -> HttpResponseBase:
    say(request, text, level=level)
    return render(request, "radiology/_notices.html", {"oob": True})


def _back(step: ScheduledProcedureStep) -> dict[str, Any]:
    """What is needed to bring the step back to where it is."""
    room, device, start, end = _place(step)
    return {
        "step": step.pk, "status": step.status, "room": room, "device": device, "start": start, "end": end,
    }  # fmt: skip


def _place(step: ScheduledProcedureStep) -> tuple[Any, ...]:
    start, end = step.scheduled_start, step.scheduled_end
    return step.room_id, step.device_id, start and start.isoformat(), end and end.isoformat()


def _placing(request: PageRequest, step: ScheduledProcedureStep) -> dict[str, Any]:
    """What the form says. Raises InvalidValue that names the field."""
    given = request.POST
    rooms = Room.objects.visible_to(request.user).filter(site=step.site_id)
    room = rooms.filter(pk=_whole(given.get("room", ""))).first()
    if room is None:
        raise InvalidValue(_("Choose a room."), field="room")
    device = None
    if given.get("device"):
        device = Device.objects.visible_to(request.user).filter(pk=_whole(given["device"])).first()
        if device is None:
            raise InvalidValue(_("There is no such device."), field="device")
    duration = given.get("duration", "")
    if duration and not _whole(duration):
        raise InvalidValue(_("The duration is a number of minutes."), field="duration")
    return {
        "room": room,
        "device": device,
        "start": _start(given.get("start", ""), step),
        "duration": _whole(duration) or None,
        "anyway": given.get("anyway") == "1",
        "reason": _reason(request),
        "version": _version(request),
    }


def _start(text: str, step: ScheduledProcedureStep) -> datetime:
    """A wall-clock time of the site. Raises InvalidValue."""
    try:
        found = datetime.fromisoformat(text.strip()[:25])
    except ValueError as error:
        raise InvalidValue(_("Give the day and the time."), field="start") from error
    if not 1970 < found.year < 2200:
        raise InvalidValue(_("Give the day and the time."), field="start")
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(step.site.time_zone))


def _step_of(request: PageRequest, public_id: uuid.UUID) -> ScheduledProcedureStep | None:
    found = ScheduledProcedureStep.objects.visible_to(request.user).with_patient().select_related("site")
    return found.filter(public_id=public_id).first()


def _gone(request: PageRequest) -> HttpResponseBase:
    text = _("This examination is not here, or not for you to see.")
    return _told(request, text, level=ERROR) if request.htmx else refusal(request, 404, text)


def _takes(room: Room, step: ScheduledProcedureStep) -> bool:
    modalities = {each.modality for each in room.devices.all() if each.is_active}
    return not modalities or step.modality in modalities


def _fits(device: Device, step: ScheduledProcedureStep) -> bool:
    return device.is_active and device.modality == step.modality


def _patient(step: ScheduledProcedureStep) -> str:
    return step.requested_procedure_ref.order_ref.patient_ref.display_name


def _when(step: ScheduledProcedureStep) -> str:
    start = cast(datetime, step.scheduled_start)
    return f"{timezone.localtime(start, ZoneInfo(step.site.time_zone)):%d.%m. %H:%M}"


def _reason(request: PageRequest) -> str:
    return request.POST.get("reason", "").strip()[:200]


def _version(request: PageRequest) -> int | None:
    return _whole(request.POST.get("version", "")) or None


def _whole(text: str) -> int:
    """A number of a form; 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
