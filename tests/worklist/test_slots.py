"""Free times: opening hours across midnight, blocks, bookings, time zones; and the calendar's day."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from radiology.models import Site, TimeZone
from tests.factories import make_device, make_procedure, make_room, make_site, make_step, make_user
from worklist.models import OpeningHours, Room, RoomBlock, StepStatus
from worklist.services import bookings, slots
from worklist.services.opening import closed_intervals, open_intervals
from worklist.services.slots import free_slots

pytestmark = pytest.mark.django_db
MONDAY = date(2031, 3, 3)
JAKARTA = ZoneInfo("Asia/Jakarta")


def at(clock: str, day: int = 0, zone: ZoneInfo = JAKARTA) -> datetime:
    """A time of that Monday, or so many days later."""
    return datetime.combine(MONDAY + timedelta(days=day), time.fromisoformat(clock), zone)


def open_room(*hours: tuple[int, str, str], zone: str = "", **fields: Any) -> Room:
    site = make_site(zone[-8:].lower().replace("/", ""), time_zone=zone) if zone else None
    room = make_device(room=make_room(site=site, **fields)).room
    OpeningHours.objects.bulk_create(
        OpeningHours(room=room, weekday=day, opens=time.fromisoformat(opens), closes=time.fromisoformat(closes))
        for day, opens, closes in hours
    )
    return room


def starts(room: Room, **asked: Any) -> list[str]:
    """The free times that are found, as the site's clock shows them."""
    zone = ZoneInfo(room.site.time_zone)
    asked = {"start": at("00:00"), "days": 1, "modality": "CT", "limit": 100, "duration": 20, **asked}
    return [f"{slot.start.astimezone(zone):%a %H:%M}" for slot in free_slots(site=room.site, **asked)]


def test_slots_lie_on_the_grid_within_the_hours() -> None:
    room = open_room((0, "08:00", "09:30"), (0, "13:00", "13:40"), slot_minutes=20)
    assert starts(room) == ["Mon 08:00", "Mon 08:20", "Mon 08:40", "Mon 09:00", "Mon 13:00", "Mon 13:20"]
    assert starts(room, duration=40) == ["Mon 08:00", "Mon 08:20", "Mon 08:40", "Mon 13:00"]
    assert starts(room, start=at("08:25")) == ["Mon 08:40", "Mon 09:00", "Mon 13:00", "Mon 13:20"]
    assert starts(room, duration=100) == []
    assert starts(room, days=8, limit=7)[-1] == "Mon 08:00"


def test_what_is_booked_or_blocked_is_left_out() -> None:
    room = open_room((0, "08:00", "12:00"), slot_minutes=30)
    device = room.devices.get()
    make_step(device=device, scheduled_start=at("08:40"))
    done = make_step(device=device, scheduled_start=at("11:30"))
    RoomBlock.objects.create(room=room, starts=at("10:00"), ends=at("11:00"), reason="cleaning")
    assert starts(room, duration=30) == ["Mon 08:00", "Mon 09:00", "Mon 09:30", "Mon 11:00"]
    type(done).objects.filter(pk=done.pk).update(status=StepStatus.CANCELLED)
    assert starts(room, duration=30)[-1] == "Mon 11:30"


@pytest.mark.parametrize(
    "hours", [[(0, "22:00", "06:00")], [(0, "22:00", "00:00"), (1, "00:00", "06:00")]], ids=["one", "two"]
)
def test_hours_may_pass_midnight(hours: list[tuple[int, str, str]]) -> None:
    room = open_room(*hours, slot_minutes=60)
    found = starts(room, days=2, duration=120)
    assert found == ["Mon 22:00", "Mon 23:00", "Tue 00:00", "Tue 01:00", "Tue 02:00", "Tue 03:00", "Tue 04:00"]
    assert starts(room, start=at("01:30", 1), duration=120)[0] == "Tue 02:00"


def test_a_day_ends_at_midnight_and_a_room_without_hours_is_always_open() -> None:
    assert starts(open_room((0, "23:00", "00:00"), slot_minutes=30), duration=30) == ["Mon 23:00", "Mon 23:30"]
    Room.objects.update(is_active=False)
    always = make_device("CT2", room=make_room(slot_minutes=240)).room
    assert starts(always, duration=240) == [f"Mon {hour:02}:00" for hour in range(0, 24, 4)]


@pytest.mark.parametrize("zone", [TimeZone.WIT.value, TimeZone.WITA.value, TimeZone.UTC.value])
def test_hours_are_those_of_the_sites_clock(zone: str) -> None:
    room = open_room((0, "08:00", "09:00"), zone=zone, slot_minutes=30)
    (first, second) = free_slots(
        site=room.site, modality="CT", duration=30, start=at("00:00", zone=ZoneInfo(zone)), days=1
    )
    assert first.start == at("08:00", zone=ZoneInfo(zone)) and second.end == at("09:00", zone=ZoneInfo(zone))


def test_the_clock_may_change_within_the_hours() -> None:
    """No site of ours does it; the arithmetic holds all the same."""
    berlin, day = ZoneInfo("Europe/Berlin"), date(2031, 3, 30)
    hours = [OpeningHours(weekday=6, opens=time(1), closes=time(5))]
    start, end = datetime(2031, 3, 30, tzinfo=berlin), datetime(2031, 3, 31, tzinfo=berlin)
    ((opens, closes),) = open_intervals(hours=hours, zone=berlin, start=start, end=end)
    assert closes - opens == timedelta(hours=3)
    assert day == opens.astimezone(berlin).date()
    assert len(closed_intervals(hours=hours, zone=berlin, start=start, end=end)) == 2


@pytest.fixture
def site() -> Site:
    return Site.objects.default()


def test_procedure_room_and_modality_narrow_the_rooms(site: Site) -> None:
    room = open_room((0, "08:00", "09:00"), slot_minutes=30, position=2)
    first = make_device("CT2", room=make_room(position=1, slot_minutes=30)).room
    make_device("MR1", modality="MR"), make_device("CT3", is_active=False)
    entry = make_procedure(duration=60)
    found = free_slots(site=site, procedure=entry, start=at("08:00"), days=1, limit=3)
    assert [(slot.room, slot.end - slot.start) for slot in found[:2]] == [
        (first, timedelta(hours=1)),
        (room, timedelta(hours=1)),
    ]
    assert {slot.room for slot in free_slots(site=site, modality="CT", room=room, start=at("00:00"), days=1)} == {room}
    assert free_slots(site=site, modality="XA", start=at("00:00")) == []


def test_times_that_have_passed_are_not_offered(site: Site) -> None:
    make_device()
    now = datetime.now(UTC)
    (slot,) = free_slots(site=site, modality="CT", start=now - timedelta(days=3), limit=1)
    assert now <= slot.start <= now + timedelta(minutes=15)


def test_queries_do_not_grow_with_rooms_days_and_bookings(site: Site, django_assert_max_num_queries: Any) -> None:
    who = make_user()
    for number in range(12):
        device = make_device(f"CT{number}")
        OpeningHours.objects.create(room=device.room, weekday=0, opens=time(8), closes=time(16))
        RoomBlock.objects.create(room=device.room, starts=at("12:00"), ends=at("13:00"), reason="lunch")
        make_step(device=device, scheduled_start=at("09:00"))
        make_step(scheduled_start=None)
    with django_assert_max_num_queries(slots.QUERIES):
        assert len(free_slots(site=site, modality="CT", start=at("00:00"), days=60, limit=400)) == 400
    with django_assert_max_num_queries(bookings.QUERIES):
        found = bookings.bookings(who=who, site=site, day=MONDAY, days=7)
        told = [(str(step.requested_procedure_ref.order_ref.patient_ref), str(step.room)) for step in found.steps]
    assert (len(found.rooms), len(told), len(found.blocks), len(found.waiting)) == (12, 12, 12, 12)
    assert len(found.closed[found.rooms[0].pk]) == 2
