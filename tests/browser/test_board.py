"""The board in a real browser: by keyboard, live in two windows, on a phone and on a wall."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import Page, expect

from radiology.models import Priority, Role, User
from tests.factories import (
    let_it_be_noon,
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_step,
)
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.steps import move_step

LONG = "A" * 64 + "^" + "B" * 60


@pytest.fixture(autouse=True)
def day(person: User) -> list[ScheduledProcedureStep]:
    """Three rooms and a morning's examinations, one urgent, one late, one of a patient with a very long name."""
    let_it_be_noon()
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    now = timezone.now().replace(second=0, microsecond=0)
    devices = [make_device(f"CT{number}", room=make_room(f"R{number}", name=f"CT {number}")) for number in (1, 2)]
    make_room("R3", name="Röntgen 3")
    people = [("SANTOSO^BUDI", 60, Priority.ROUTINE), ("LESTARI^DEWI", 5, Priority.STAT), (LONG, -30, Priority.ROUTINE)]
    steps = []
    for number, (name, minutes, priority) in enumerate(people):
        procedure = make_requested_procedure(make_order(make_patient(f"RM-{number}", name), priority=priority))
        start = now + timedelta(minutes=minutes)
        steps.append(make_step(procedure, device=devices[number % 2], scheduled_start=start))
    return steps


def test_an_examination_goes_through_the_day_by_keyboard_and_another_window_follows(
    signed_in: Page, day: list[ScheduledProcedureStep], complaints: list[str]
) -> None:
    signed_in.goto("/worklist")
    other = signed_in.context.new_page()
    other.goto("/worklist")
    expect(other.locator(".exam").filter(has_text="BUDI SANTOSO")).to_contain_text("Scheduled")
    signed_in.bring_to_front()
    signed_in.get_by_role("link", name="BUDI SANTOSO").focus()
    signed_in.keyboard.press("a")
    expect(signed_in.get_by_text("BUDI SANTOSO has arrived.")).to_be_visible()
    signed_in.get_by_role("link", name="BUDI SANTOSO").focus()
    signed_in.keyboard.press("s")
    expect(signed_in.locator(".exam").filter(has_text="BUDI SANTOSO")).to_contain_text("In progress")
    signed_in.keyboard.press("u")
    expect(signed_in.locator(".exam").filter(has_text="BUDI SANTOSO")).to_contain_text("Arrived")
    other.bring_to_front()
    expect(other.locator(".exam").filter(has_text="BUDI SANTOSO")).to_contain_text("Arrived")
    assert complaints == []


def test_a_card_goes_to_another_room_by_dragging_and_back_with_a_key(
    signed_in: Page, day: list[ScheduledProcedureStep], complaints: list[str]
) -> None:
    signed_in.goto("/worklist")
    rooms = signed_in.locator("[data-room]")
    signed_in.locator(".exam").filter(has_text="BUDI SANTOSO").drag_to(rooms.nth(1))
    expect(signed_in.get_by_text("BUDI SANTOSO goes to CT 2.")).to_be_visible()
    expect(rooms.nth(1)).to_contain_text("BUDI SANTOSO")
    signed_in.keyboard.press("u")
    expect(rooms.nth(0)).to_contain_text("BUDI SANTOSO")
    assert complaints == []


def test_what_is_urgent_or_late_says_so_in_words(signed_in: Page) -> None:
    signed_in.goto("/worklist?view=board&by=list")
    expect(signed_in.locator(".exam").first).to_contain_text("Stat")
    expect(signed_in.locator(".exam").filter(has_text="AAAA")).to_contain_text("late")


def test_the_page_of_an_examination_follows_what_happens(
    signed_in: Page, day: list[ScheduledProcedureStep], complaints: list[str]
) -> None:
    signed_in.goto("/worklist")
    signed_in.get_by_role("link", name="DEWI LESTARI").click()
    expect(signed_in.locator(".exam-badge")).to_have_text("Scheduled")
    move_step(step=day[1], to=StepStatus.STARTED)
    expect(signed_in.locator(".exam-badge")).to_have_text("In progress")
    signed_in.get_by_label("Reason", exact=True).fill("contrast reaction")
    signed_in.get_by_role("button", name="Discontinue").click()
    expect(signed_in.locator(".exam-badge")).to_have_text("Discontinued")
    expect(signed_in.locator("#examination")).to_contain_text("contrast reaction")
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_no_page_of_the_day_is_wider_than_the_screen(
    signed_in: Page, day: list[ScheduledProcedureStep], width: int
) -> None:
    signed_in.set_viewport_size({"width": width, "height": 900})
    boards = [f"/worklist?view=board&by={by}" for by in ("room", "status", "list")]
    for address in (*boards, "/worklist/corridor", "/worklist/repeats", f"/examinations/{day[2].public_id}"):
        signed_in.goto(address)
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= width, address
