"""No room is booked twice: asked first, so that the answer names who is there, and kept by the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from radiology.errors import Conflict
from worklist.models import Room, ScheduledProcedureStep
from worklist.models.step import OPEN, TAKES_ROOM

CONSTRAINT = "step_room_never_twice"


def lock_room(room: Room) -> None:
    """Let nobody else book this room until the transaction ends, so that two bookings never wait for each other."""
    list(Room.objects.select_for_update(no_key=True).filter(pk=room.pk).values_list("pk"))


def in_the_way(
    *, room: Room, start: datetime, end: datetime, besides: ScheduledProcedureStep | None = None
) -> ScheduledProcedureStep | None:
    """The first examination that takes the room in that time."""
    taken = ScheduledProcedureStep.objects.touching(start, end).filter(TAKES_ROOM, site=room.site_id, room=room)
    if besides is not None:
        taken = taken.exclude(pk=besides.pk)
    return taken.select_related("room", "site").order_by("scheduled_start").first()


def room_taken(room: Room, by: ScheduledProcedureStep | None) -> Conflict:
    """What is said of a time that is taken; `facts` hold the examination that takes it."""
    if by is None or by.scheduled_start is None or by.scheduled_end is None:
        return Conflict(_("Somebody else took %(room)s at that time just now.") % {"room": room}, field="start")
    zone = ZoneInfo(by.site.time_zone)
    return Conflict(
        _("%(room)s is taken from %(start)s to %(end)s: %(examination)s.")
        % {
            "room": room,
            "start": f"{by.scheduled_start.astimezone(zone):%H:%M}",
            "end": f"{by.scheduled_end.astimezone(zone):%H:%M}",
            "examination": by,
        },
        field="start",
        step=by,
    )


@contextmanager
def never_twice(step: ScheduledProcedureStep) -> Iterator[None]:
    """Around what writes a step that takes its room. Raises Conflict that names who is there."""
    room, start, end = step.room, step.scheduled_start, step.scheduled_end
    if room is None or start is None or end is None or step.status not in OPEN:
        yield
        return
    lock_room(room)
    if (other := in_the_way(room=room, start=start, end=end, besides=step)) is not None:
        raise room_taken(room, other)
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if CONSTRAINT not in str(error):
            raise
        raise room_taken(room, in_the_way(room=room, start=start, end=end, besides=step)) from error
