"""The schedule's pages: what they show to whom, what they do, how it is taken back, and what they cost."""

import json
import re
from datetime import datetime, time, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from radiology.models import Priority
from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
    make_user,
)
from tests.radiology.admin_client import signed_in
from worklist.models import OpeningHours, ScheduledProcedureStep, StepStatus

pytestmark = pytest.mark.django_db
JAKARTA = ZoneInfo("Asia/Jakarta")
DAY = timezone.now().astimezone(JAKARTA).date() + timedelta(days=2)


def at(clock: str) -> datetime:
    return datetime.combine(DAY, time.fromisoformat(clock), JAKARTA)


@pytest.fixture
def desk() -> Client:
    return signed_in(make_user("desk", role="desk"))


def booked(name: str = "WIBOWO^BUDI", **fields: Any) -> ScheduledProcedureStep:
    order = make_order(make_patient(patient_name=name), priority=fields.pop("priority", Priority.ROUTINE))
    return make_step(make_requested_procedure(order), **fields)


def shown(client: Client, **query: str) -> str:
    response = client.get("/schedule", {"day": str(DAY), **query})
    assert response.status_code == 200
    return response.content.decode()


def drawn(page: str) -> dict[str, Any]:
    """What the calendar is given."""
    found = re.search(r'data-bookings="([^"]*)"', page)
    assert found
    data: dict[str, Any] = json.loads(unescape(found[1]))
    return data


def undo_of(client: Client, page: Any) -> str:
    content = page.content.decode()
    found = re.findall(r'action="(/schedule/steps/[^"]+/undo/[^"]+)"', content)
    assert found, content[-3000:]
    return unescape(found[-1])


def test_the_day_shows_rooms_bookings_and_who_waits(desk: Client) -> None:
    device = make_device("CT1", room=make_room(name="CT 1"))
    OpeningHours.objects.create(room=device.room, weekday=DAY.weekday(), opens=time(8), closes=time(16))
    booked(device=device, scheduled_start=at("09:00"), priority=Priority.STAT)
    booked("SARI^SITI", scheduled_start=None)
    booked("LESTARI^DEWI", device=device, scheduled_start=at("09:00") + timedelta(days=1))
    page = shown(desk)
    assert "BUDI WIBOWO" in page and "SITI SARI" in page and "DEWI LESTARI" not in page
    assert "09:00–09:15" in page and "Stat" in page and "^" not in page.split("data-bookings")[0]
    data = drawn(page)
    assert [(each["title"], len(each["modalities"])) for each in data["rooms"]] == [("CT 1", 1)]
    assert [(each["start"][11:], each["end"][11:]) for each in data["shaded"]] == [
        ("00:00", "08:00"),
        ("16:00", "00:00"),
    ]
    (step,) = data["steps"]
    assert (step["start"], step["movable"], step["urgent"]) == (f"{DAY}T09:00", True, "Stat")
    assert "DEWI LESTARI" in shown(desk, view="week") or DAY.weekday() == 6
    assert shown(desk, day="nonsense", view="nonsense", modality="x" * 99)


def test_an_empty_department_is_told_what_to_do(desk: Client) -> None:
    assert "a column for each room" in shown(desk)
    make_room()
    page = shown(desk, view="list")
    assert "Nobody is booked here." in page and "Every examination has its time." in page


def test_a_part_that_knows_the_version_gets_304_with_few_queries(
    desk: Client, django_assert_max_num_queries: Any
) -> None:
    device = make_device()
    for number in range(30):
        booked(device=device, scheduled_start=at("08:00") + timedelta(minutes=15 * number))
        booked(scheduled_start=None)
    with django_assert_max_num_queries(14):
        page = desk.get("/schedule", {"day": str(DAY)}, headers={"HX-Request": "true"})
    version = re.search(r'data-live="([^"]+)"', page.content.decode())
    assert version and b"<html" not in page.content
    asked = {"HX-Request": "true", "If-None-Match": unescape(version[1])}
    with django_assert_max_num_queries(6):
        same = desk.get("/schedule", {"day": str(DAY)}, headers=asked)
    if same.status_code != 304:  # the minute passed meanwhile
        version = re.search(r'data-live="([^"]+)"', same.content.decode())
        assert version
        asked["If-None-Match"] = unescape(version[1])
        assert desk.get("/schedule", {"day": str(DAY)}, headers=asked).status_code == 304
    ScheduledProcedureStep.objects.update(updated_at=timezone.now())
    assert desk.get("/schedule", {"day": str(DAY)}, headers=asked).status_code == 200


def test_the_form_puts_an_examination_somewhere_and_it_is_taken_back(desk: Client) -> None:
    room = make_device("CT1", room=make_room(name="CT 1")).room
    step = booked(scheduled_start=None)
    address = f"/schedule/steps/{step.public_id}"
    form = desk.get(address).content.decode()
    assert "Next free times" in form and "BUDI WIBOWO" in form and "Put there" in form
    given = {"room": room.pk, "start": f"{DAY}T09:30", "duration": "25", "version": "1", "next": f"/schedule?day={DAY}"}
    page = desk.post(address, given, follow=True)
    step.refresh_from_db()
    assert (step.scheduled_start, step.scheduled_end) == (at("09:30"), at("09:55"))
    undo = undo_of(desk, page)
    assert desk.post(undo, follow=True).status_code == 200
    step.refresh_from_db()
    assert (step.room, step.scheduled_start) == (None, None)
    again = desk.post(undo, follow=True).content.decode()
    assert "nothing was taken back" in again
    assert "This cannot be taken back." in desk.post(f"{address}/undo/forged", follow=True).content.decode()


def test_errors_stand_by_their_field_and_what_was_typed_stays(desk: Client) -> None:
    device = make_device("CT1", room=make_room(name="CT 1"))
    booked("SARI^SITI", device=device, scheduled_start=at("09:00"))
    step = booked(scheduled_start=None)
    address = f"/schedule/steps/{step.public_id}"
    given = {"room": device.room.pk, "start": f"{DAY}T09:05", "duration": "20", "reason": "asked by phone"}
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({}, 409, "CT 1 is taken from 09:00 to 09:15"),
        ({"start": "soon"}, 400, "Give the day and the time."),
        ({"start": "2020-01-01T09:00"}, 400, "This time has passed."),
        ({"room": "9" * 30}, 400, "Choose a room."),
        ({"device": device.pk + 1}, 400, "There is no such device."),
        ({"duration": "long"}, 400, "The duration is a number of minutes."),
        ({"version": "9"}, 412, "Somebody else changed this examination meanwhile"),
    ]
    for change, status, words in cases:
        response = desk.post(address, {**given, **change})
        page = unescape(response.content.decode())
        assert response.status_code == status and words in page, (change, response.status_code)
        assert "asked by phone" in page
    told = desk.post(address, given, headers={"HX-Request": "true"})
    assert told.status_code == 200 and b"is taken from" in told.content and b"hx-swap-oob" in told.content
    step.refresh_from_db()
    assert step.version == 1


def test_one_click_for_arrived_and_did_not_come(desk: Client) -> None:
    step = booked(device=make_device(), scheduled_start=at("09:00"))
    address = f"/schedule/steps/{step.public_id}"
    for to in (StepStatus.ARRIVED, StepStatus.NO_SHOW):
        step.refresh_from_db()
        page = desk.post(f"{address}/move", {"to": to, "version": step.version, "next": "/schedule"}, follow=True)
        step.refresh_from_db()
        assert step.status == to
        desk.post(undo_of(desk, page))
        step.refresh_from_db()
        assert step.status == StepStatus.SCHEDULED
    refused = desk.post(f"{address}/move", {"to": "COMPLETED"}, follow=True)
    assert "Say whether the patient has arrived" in refused.content.decode()
    stale = desk.post(f"{address}/move", {"to": "ARRIVED", "version": "1"}, headers={"HX-Request": "true"})
    assert b"meanwhile" in stale.content


def test_walking_in_and_taking_off_are_taken_back_whole(desk: Client) -> None:
    make_device("CT1", room=make_room(name="CT 1"))
    step = booked(scheduled_start=None)
    address = f"/schedule/steps/{step.public_id}"
    page = desk.post(f"{address}/now", {"version": "1", "next": "/schedule"}, follow=True)
    step.refresh_from_db()
    assert step.status == StepStatus.ARRIVED and step.room is not None
    other = booked("SARI^SITI", scheduled_start=None)
    full = desk.post(f"/schedule/steps/{other.public_id}/now", follow=True).content.decode()
    assert "CT 1 is taken" in full
    desk.post(undo_of(desk, page))
    step.refresh_from_db()
    assert (step.status, step.room_id, step.scheduled_start) == (StepStatus.SCHEDULED, None, None)
    desk.post(address, {"room": make_device("CT9").room.pk, "start": f"{DAY}T09:30"})
    page = desk.post(f"{address}/off", follow=True)
    desk.post(undo_of(desk, page))
    step.refresh_from_db()
    assert step.scheduled_start == at("09:30")


def test_who_may_not_sees_no_buttons_and_is_refused() -> None:
    step = booked(device=make_device(), scheduled_start=at("09:00"))
    doctor = signed_in(make_user("doctor", role="doctor"))
    page = shown(doctor)
    assert "BUDI WIBOWO" in page and "Did not come" not in page and "/move" not in page
    address = f"/schedule/steps/{step.public_id}"
    assert "your role does not move examinations" in doctor.get(address).content.decode()
    room = make_device("CT2").room
    assert doctor.post(address, {"room": room.pk, "start": f"{DAY}T10:00"}).status_code == 403
    for what in ("move", "off", "now"):
        doctor.post(f"{address}/{what}", {"to": "ARRIVED"})
    step.refresh_from_db()
    assert (step.version, step.status) == (1, StepStatus.SCHEDULED)
    stranger = signed_in(make_user("far", site=make_site(), role="radiographer"))
    assert "BUDI" not in shown(stranger)
    for path in (address, f"{address}/off", f"{address}/now", f"{address}/move"):
        assert stranger.post(path).status_code == 404
    assert Client().get("/schedule").status_code == 302


def test_free_times_are_found_on_the_page(desk: Client, django_assert_max_num_queries: Any) -> None:
    make_device("CT1", room=make_room(name="CT 1"))
    with django_assert_max_num_queries(22):
        page = shown(desk, free="CT", minutes="30")
    assert "Free times" in page and page.count("CT 1") > 5
    assert "Nothing is free within a month" in shown(desk, free="XA", minutes="many")
