"""The schedule in a real browser: dragged, resized, refused before the drop, seen by the other one, without a mouse."""

import re
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from radiology.models import Role, User
from tests.browser.conftest import sign_in
from tests.daemons import wait_until
from tests.factories import make_device, make_order, make_patient, make_requested_procedure, make_room, make_step
from worklist.models import OpeningHours, Room, RoomBlock, ScheduledProcedureStep, StepStatus

JAKARTA = ZoneInfo("Asia/Jakarta")
DAY = timezone.now().astimezone(JAKARTA).date() + timedelta(days=1)


def at(clock: str) -> datetime:
    return datetime.combine(DAY, time.fromisoformat(clock), JAKARTA)


@pytest.fixture
def desk(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return person


@pytest.fixture
def rooms(committed_db: None) -> list[Room]:
    """Two rooms for CT and one for MR, open from 8 to 16, one of them blocked at noon."""
    made = []
    for number, (code, modality) in enumerate([("CT 1", "CT"), ("CT 2", "CT"), ("MR", "MR")]):
        room = make_room(code.replace(" ", ""), name=code, position=number)
        make_device(code.replace(" ", "X"), room=room, modality=modality)
        OpeningHours.objects.create(room=room, weekday=DAY.weekday(), opens=time(8), closes=time(16))
        made.append(room)
    RoomBlock.objects.create(room=made[0], starts=at("12:00"), ends=at("13:00"), reason="Service")
    return made


def booked(name: str, clock: str, room: Room | None, **fields: Any) -> ScheduledProcedureStep:
    procedure = make_requested_procedure(make_order(make_patient(patient_name=name)), duration=30)
    if room is None:
        return make_step(procedure, scheduled_start=None, **fields)
    return make_step(procedure, room=room, scheduled_start=at(clock), **fields)


def event(page: Page, text: str) -> Locator:
    return page.locator("#calendar .ec-event").filter(has_text=text)


def spot(page: Page, room: Room, clock: str) -> tuple[float, float]:
    """Where a time of a room is on the screen."""
    found = page.evaluate(
        """([number, hours]) => {
          const days = document.querySelectorAll("#calendar .ec-day[role=cell], #calendar .ec-main .ec-day");
          const columns = [...new Set([...days])].filter((each) => each.offsetHeight > 200);
          const box = columns[number].getBoundingClientRect();
          return [box.left + box.width / 2, box.top + (box.height * (hours - 8)) / 8];
        }""",
        [room.position, int(clock[:2]) + int(clock[3:]) / 60],
    )
    return found[0], found[1]


def drag(page: Page, source: Locator, to: tuple[float, float], *, grip: float = 4) -> None:
    box = source.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + grip)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 8, box["y"] + grip + 8, steps=3)
    page.mouse.move(to[0], to[1] + grip, steps=12)


def place_of(step: ScheduledProcedureStep) -> tuple[str, str]:
    step.refresh_from_db()
    start = step.scheduled_start
    return (step.room.code if step.room else "", f"{start.astimezone(JAKARTA):%H:%M}" if start else "")


def test_an_examination_is_dragged_and_taken_back_and_the_other_browser_sees_it(
    desk: User, rooms: list[Room], signed_in: Page, browser: Browser, web_server: Any, complaints: list[str]
) -> None:
    step = booked("WIBOWO^BUDI", "09:00", rooms[0])
    signed_in.set_viewport_size({"width": 1400, "height": 900})
    signed_in.goto(f"/schedule?day={DAY}")
    expect(event(signed_in, "BUDI WIBOWO")).to_be_visible()
    other_context = browser.new_context(base_url=web_server.url, locale="en", viewport={"width": 1400, "height": 900})
    other = other_context.new_page()
    other.goto(f"/schedule?day={DAY}")
    sign_in(other)
    expect(event(other, "BUDI WIBOWO")).to_contain_text("09:00–09:30")
    drag(signed_in, event(signed_in, "BUDI WIBOWO"), spot(signed_in, rooms[1], "10:30"))
    signed_in.mouse.up()
    wait_until(lambda: place_of(step) == ("CT2", "10:30"), what="the examination moved")
    expect(event(other, "BUDI WIBOWO")).to_contain_text("10:30–11:00", timeout=10_000)
    expect(signed_in.locator(".notice")).to_contain_text("BUDI WIBOWO")
    signed_in.get_by_role("button", name="Undo").click()
    wait_until(lambda: place_of(step) == ("CT1", "09:00"), what="the move taken back")
    expect(event(other, "BUDI WIBOWO")).to_contain_text("09:00–09:30", timeout=10_000)
    other_context.close()
    assert complaints == []


def test_what_is_in_the_way_is_said_before_the_drop_and_refused(
    desk: User, rooms: list[Room], signed_in: Page, complaints: list[str]
) -> None:
    step = booked("WIBOWO^BUDI", "09:00", rooms[0])
    booked("SARI^SITI", "10:00", rooms[1])
    signed_in.set_viewport_size({"width": 1400, "height": 900})
    signed_in.goto(f"/schedule?day={DAY}")
    hint = signed_in.locator("#schedule-hint")
    for room, clock, words in [
        (rooms[1], "10:00", "Taken: 10:00–10:30 CT Thorax"),
        (rooms[0], "12:15", "Closed: Service"),
        (rooms[2], "11:00", "No device for CT in this room"),
    ]:
        expect(event(signed_in, "BUDI WIBOWO")).to_have_count(1)
        drag(signed_in, event(signed_in, "BUDI WIBOWO"), spot(signed_in, room, clock))
        expect(hint).to_have_text(words)
        signed_in.mouse.up()
        expect(hint).to_be_hidden()
        expect(event(signed_in, "BUDI WIBOWO")).to_contain_text("09:00–09:30")
    assert place_of(step) == ("CT1", "09:00") and step.version == 1
    assert complaints == []


def test_who_waits_is_dragged_from_the_side_and_made_longer(
    desk: User, rooms: list[Room], signed_in: Page, complaints: list[str]
) -> None:
    step = booked("LESTARI^DEWI", "", None)
    signed_in.set_viewport_size({"width": 1400, "height": 900})
    signed_in.goto(f"/schedule?day={DAY}")
    row = signed_in.locator("[data-drag]").filter(has_text="DEWI LESTARI")
    drag(signed_in, row, spot(signed_in, rooms[1], "11:00"), grip=6)
    expect(signed_in.locator(".is-carried")).to_be_visible()
    signed_in.mouse.up()
    wait_until(lambda: place_of(step)[0] == "CT2", what="the examination on the calendar")
    expect(row).to_have_count(0)
    card = event(signed_in, "DEWI LESTARI")
    expect(card).to_be_visible()
    box = card.bounding_box()
    assert box is not None
    signed_in.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
    signed_in.mouse.down()
    signed_in.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] + 44, steps=8)
    signed_in.mouse.up()

    def longer() -> bool:
        step.refresh_from_db()
        assert step.scheduled_start and step.scheduled_end
        return step.scheduled_end - step.scheduled_start > timedelta(minutes=30)

    wait_until(longer, what="the examination longer")
    assert complaints == []


def test_everything_is_done_by_keys(desk: User, rooms: list[Room], signed_in: Page, complaints: list[str]) -> None:
    step = booked("WIBOWO^BUDI", "09:00", rooms[0])
    signed_in.set_viewport_size({"width": 1400, "height": 900})
    signed_in.goto(f"/schedule?day={DAY}")
    signed_in.locator("#calendar a.step-link").focus()
    signed_in.keyboard.press("m")
    signed_in.wait_for_url(f"**/schedule/steps/{step.public_id}")
    signed_in.get_by_label("Day and time").fill(f"{DAY}T13:30")
    signed_in.get_by_label("Room", exact=True).select_option("CT 2")
    signed_in.keyboard.press("Enter")
    wait_until(lambda: place_of(step) == ("CT2", "13:30"), what="the examination moved")
    signed_in.wait_for_url(re.compile("/schedule$"))
    signed_in.goto(f"/schedule?day={DAY}&view=list")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("n")
    signed_in.wait_for_url(re.compile(str(DAY + timedelta(days=1))))
    assert complaints == []


def test_on_a_phone_the_day_is_a_list_with_one_tap_for_arrived(
    desk: User, rooms: list[Room], signed_in: Page, complaints: list[str]
) -> None:
    step = booked("A" * 60 + "^BUDI", "09:00", rooms[0])
    booked("SARI^SITI", "", None)
    signed_in.set_viewport_size({"width": 390, "height": 800})
    signed_in.goto(f"/schedule?day={DAY}")
    assert signed_in.evaluate("document.documentElement.scrollWidth") <= 390
    signed_in.locator(".schedule-list").get_by_role("button", name="Arrived").click()
    expect(signed_in.locator(".schedule-list")).to_contain_text("Arrived")
    wait_until(lambda: ScheduledProcedureStep.objects.get(pk=step.pk).status == StepStatus.ARRIVED)
    expect(signed_in.locator(".notice")).to_be_visible()
    signed_in.keyboard.press("u")
    wait_until(lambda: ScheduledProcedureStep.objects.get(pk=step.pk).status == StepStatus.SCHEDULED)
    assert complaints == []


def test_the_week_and_live_changes_leave_the_focus_alone(
    desk: User, rooms: list[Room], signed_in: Page, browser_context: BrowserContext, complaints: list[str]
) -> None:
    booked("WIBOWO^BUDI", "09:00", rooms[0])
    signed_in.set_viewport_size({"width": 1400, "height": 900})
    signed_in.goto(f"/schedule?day={DAY}&view=week")
    link = signed_in.locator("#calendar a.step-link").filter(has_text="BUDI WIBOWO")
    link.focus()
    booked("SARI^SITI", "10:00", rooms[0])
    expect(event(signed_in, "SITI SARI")).to_be_attached(timeout=10_000)
    expect(link).to_be_focused()
    assert complaints == []
