"""Putting examinations on the calendar, moving them, and what is refused."""

from datetime import datetime, time, timedelta
from functools import partial
from threading import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed
from radiology.models import AuditEvent
from tests.factories import make_device, make_requested_procedure, make_room, make_site, make_step, make_user
from tests.threads import run_all
from worklist.models import OpeningHours, RoomBlock, ScheduledProcedureStep, StepStatus
from worklist.services.scheduling import schedule_step, swap_room, unschedule_step, walk_in
from worklist.services.steps import move_step

JAKARTA = ZoneInfo("Asia/Jakarta")


def tomorrow(hour: int, minute: int = 0) -> datetime:
    """A time of tomorrow, in the site's zone."""
    day = timezone.now().astimezone(JAKARTA).date() + timedelta(days=1)
    return datetime.combine(day, time(hour, minute), JAKARTA)


def waiting(**fields: Any) -> ScheduledProcedureStep:
    return make_step(scheduled_start=None, **fields)


@pytest.mark.django_db
def test_a_step_is_put_moved_and_taken_off_with_its_history() -> None:
    who, device = make_user(role="desk"), make_device("CT1")
    other = make_device("CT2", room=device.room)
    step = waiting()
    placed = schedule_step(step=step, room=device.room, start=tomorrow(9), who=who, version=1)
    assert (placed.scheduled_start, placed.scheduled_end) == (tomorrow(9), tomorrow(9, 15))
    assert (placed.scheduled_station_ae_titles, placed.scheduled_station_name) == (["CT1", "CT2"], "")
    moved = schedule_step(
        step=placed, room=device.room, start=tomorrow(10), device=other, duration=30, who=who, reason="patient asked"
    )
    assert moved.scheduled_end == tomorrow(10, 30)
    assert (moved.scheduled_station_ae_titles, moved.scheduled_station_name) == (["CT2"], "CT2")
    order = step.requested_procedure_ref.order_ref
    order.refresh_from_db()
    latest = order.versions.first()
    assert (latest.reason, latest.user, latest.version) == ("patient asked", who, order.version)
    assert AuditEvent.objects.filter(event="step.scheduled", patient_ref=order.patient_ref).count() == 2
    assert schedule_step(step=step, room=device.room, start=tomorrow(11), who=who).scheduled_end == tomorrow(11, 30)
    off = unschedule_step(step=moved, who=who)
    assert (off.room, off.device, off.scheduled_start, off.status) == (None, None, None, StepStatus.SCHEDULED)
    assert off.scheduled_station_ae_titles == ["CT1", "CT2"]


@pytest.mark.django_db
def test_the_stations_are_those_of_the_site_where_the_room_has_none() -> None:
    make_device("CT1")
    placed = schedule_step(step=waiting(), room=make_room(), start=tomorrow(9))
    assert (placed.scheduled_station_ae_titles, placed.scheduled_station_name) == (["CT1"], "CT1")


@pytest.mark.django_db
def test_a_taken_time_is_refused_with_who_takes_it() -> None:
    device = make_device(room=make_room(name="CT 1"))
    there = make_step(device=device, scheduled_start=tomorrow(9), scheduled_procedure_step_description="CT Abdomen")
    step = waiting()
    with pytest.raises(Conflict, match=r"CT 1 is taken from 09:00 to 09:15: CT Abdomen\.") as refused:
        schedule_step(step=step, room=device.room, start=tomorrow(8, 50))
    assert refused.value.facts["step"] == there
    schedule_step(step=step, room=device.room, start=tomorrow(9, 15))
    step.refresh_from_db()
    with pytest.raises(Conflict, match="09:00 to 09:15"):
        schedule_step(step=step, room=device.room, start=tomorrow(9, 5))
    # Its own time is not in its way.
    assert schedule_step(step=step, room=device.room, start=tomorrow(9, 20)).scheduled_start == tomorrow(9, 20)


@pytest.mark.django_db
def test_closed_and_blocked_rooms_take_nobody_but_for_a_reason() -> None:
    device = make_device(room=make_room(name="CT 1"))
    start = tomorrow(21)
    OpeningHours.objects.create(room=device.room, weekday=start.weekday(), opens=time(8), closes=time(16))
    RoomBlock.objects.create(room=device.room, starts=tomorrow(12), ends=tomorrow(13), reason="service")
    desk, radiographer = make_user(role="desk"), make_user("rita", role="radiographer")
    step = waiting()
    with pytest.raises(Conflict, match=r"CT 1 is closed at that time\."):
        schedule_step(step=step, room=device.room, start=start, who=desk)
    with pytest.raises(Conflict, match=r"CT 1 is blocked until .* 13:00: service\."):
        schedule_step(step=step, room=device.room, start=tomorrow(12, 50), who=desk)
    with pytest.raises(Conflict, match="closed"):
        schedule_step(step=step, room=device.room, start=tomorrow(15, 50), who=desk)
    with pytest.raises(NotAllowed):
        schedule_step(step=step, room=device.room, start=start, who=desk, anyway=True, reason="emergency")
    with pytest.raises(InvalidValue) as refused:
        schedule_step(step=step, room=device.room, start=start, who=radiographer, anyway=True, reason=" ")
    assert refused.value.field == "reason"
    placed = schedule_step(step=step, room=device.room, start=start, who=radiographer, anyway=True, reason="emergency")
    assert placed.scheduled_start == start
    assert schedule_step(step=step, room=device.room, start=tomorrow(15, 45), who=desk).room == device.room


@pytest.mark.django_db
def test_what_makes_no_sense_is_refused_and_named() -> None:
    device, mr = make_device("CT1"), make_device("MR1", modality="MR")
    step = waiting()

    def refused(field: str, **given: Any) -> None:
        with pytest.raises(InvalidValue) as error:
            schedule_step(**{"step": step, "room": device.room, "start": tomorrow(9), **given})
        assert error.value.field == field, error.value

    refused("start", start=timezone.now() - timedelta(hours=1))
    refused("start", start=timezone.now() + timedelta(days=9999))
    refused("start", start=tomorrow(9).replace(tzinfo=None))
    refused("device", device=mr)
    refused("device", room=mr.room, device=mr)
    refused("room", room=mr.room)
    refused("room", room=make_room(site=make_site()))
    refused("room", room=make_room(is_active=False))
    refused("duration", duration=0)
    refused("duration", duration=24 * 60 + 1)
    assert ScheduledProcedureStep.objects.get() == step and step.version == 1


@pytest.mark.django_db
def test_what_has_begun_or_ended_stays_where_it_is() -> None:
    device = make_device()
    for status in (StepStatus.STARTED, StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.NO_SHOW):
        step = waiting()
        move_step(step=step, to=status)
        with pytest.raises(Conflict, match="cannot be moved on the calendar"):
            schedule_step(step=step, room=device.room, start=tomorrow(9))
    late = make_step(device=device, scheduled_start=timezone.now() - timedelta(minutes=40))
    assert late.scheduled_start
    longer = schedule_step(step=late, room=device.room, start=late.scheduled_start, duration=90)
    assert longer.scheduled_end == late.scheduled_start + timedelta(minutes=90)
    earlier = late.scheduled_start
    schedule_step(step=late, room=device.room, start=tomorrow(9))
    with pytest.raises(InvalidValue, match="passed"):
        schedule_step(step=late, room=device.room, start=earlier)
    assert schedule_step(step=late, room=device.room, start=earlier, back=True).scheduled_start == earlier


@pytest.mark.django_db
def test_old_versions_are_refused_and_a_double_submit_is_not() -> None:
    device, step = make_device(), waiting()
    schedule_step(step=step, room=device.room, start=tomorrow(9), version=1)
    again = schedule_step(step=step, room=device.room, start=tomorrow(9), version=1)
    assert (again.version, again.requested_procedure_ref.order_ref.versions.count()) == (2, 1)
    with pytest.raises(PreconditionFailed):
        schedule_step(step=step, room=device.room, start=tomorrow(10), version=1)
    with pytest.raises(PreconditionFailed):
        unschedule_step(step=step, version=1)
    step.requested_procedure_ref.delete()
    with pytest.raises(NotFound):
        schedule_step(step=step, room=device.room, start=tomorrow(10), version=2)


@pytest.mark.django_db
def test_only_those_may_who_may() -> None:
    device = make_device()
    for who in (make_user("doc", role="doctor"), make_user("rad", role="radiologist")):
        with pytest.raises(NotAllowed):
            schedule_step(step=waiting(), room=device.room, start=tomorrow(9), who=who)
        with pytest.raises(NotAllowed):
            walk_in(step=waiting(), who=who)


@pytest.mark.django_db
def test_a_walk_in_gets_the_first_room_that_is_free_now() -> None:
    first = make_device("CT1", room=make_room("A", position=1))
    second = make_device("CT2", room=make_room("B", position=2))
    make_device("MR1", modality="MR", room=make_room("C", position=0))
    now = timezone.now()
    one, two, three = waiting(), waiting(), waiting()
    assert walk_in(step=one).room == first.room
    placed = walk_in(step=two)
    assert (placed.room, placed.status) == (second.room, StepStatus.ARRIVED)
    assert placed.scheduled_start and abs(placed.scheduled_start - now) < timedelta(minutes=2)
    with pytest.raises(Conflict, match="No room for CT is free now"):
        walk_in(step=three)
    move_step(step=one, to=StepStatus.COMPLETED)
    assert walk_in(step=three).room == first.room


@pytest.mark.django_db
def test_rooms_are_swapped_at_the_same_time() -> None:
    first, second = make_device("CT1"), make_device("CT2")
    step = make_step(device=first, scheduled_start=tomorrow(9))
    swapped = swap_room(step=step, room=second.room)
    assert (swapped.room, swapped.device, swapped.scheduled_start) == (second.room, None, tomorrow(9))
    assert swapped.scheduled_station_ae_titles == ["CT2"]
    with pytest.raises(Conflict):
        swap_room(step=waiting(), room=first.room)


@pytest.mark.django_db
def test_a_state_taken_back_takes_its_room_again_only_when_it_is_free() -> None:
    device = make_device()
    step = make_step(device=device, scheduled_start=tomorrow(9))
    move_step(step=step, to=StepStatus.NO_SHOW)
    make_step(device=device, scheduled_start=tomorrow(9))
    with pytest.raises(Conflict, match="is taken from 09:00"):
        move_step(step=step, to=StepStatus.SCHEDULED)
    begun = move_step(step=step, to=StepStatus.STARTED)
    assert (begun.status, begun.room, begun.device) == (StepStatus.STARTED, None, device)


def test_of_many_who_take_one_slot_at_once_one_gets_it(committed_db: None) -> None:
    device = make_device()
    steps = [waiting() for _ in range(8)]
    together = Barrier(len(steps))

    def take(step: ScheduledProcedureStep) -> ScheduledProcedureStep:
        together.wait(30)
        return schedule_step(step=step, room=device.room, start=tomorrow(9))

    results = run_all([partial(take, step) for step in steps])
    assert sum(isinstance(each, ScheduledProcedureStep) for each in results) == 1
    assert sum(isinstance(each, Conflict) for each in results) == 7, results
    assert ScheduledProcedureStep.objects.filter(room=device.room).count() == 1


def test_moving_and_arriving_at_once_neither_fails_nor_is_lost(committed_db: None) -> None:
    device, procedure = make_device(), make_requested_procedure()
    steps = [make_step(procedure, scheduled_start=None) for _ in range(4)]
    together = Barrier(8)

    def move(step: ScheduledProcedureStep, hour: int) -> None:
        together.wait(30)
        schedule_step(step=step, room=device.room, start=tomorrow(hour))

    def arrive(step: ScheduledProcedureStep) -> None:
        together.wait(30)
        move_step(step=step, to=StepStatus.ARRIVED)

    things: list[Any] = [partial(move, step, hour) for hour, step in enumerate(steps, 8)]
    things += [partial(arrive, step) for step in steps]
    assert run_all(things) == [None] * 8
    found = ScheduledProcedureStep.objects.filter(room=device.room, status=StepStatus.ARRIVED, version=3)
    assert found.count() == 4
