"""The reading list in a real browser: by keyboard alone, live, at every width."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import Page, expect

from radiology.models import Role, User
from radiology.services.reports import write_draft
from tests.factories import make_patient, make_reading, make_user
from worklist.models import Reading
from worklist.services.reading import claim

OTHERS = [(20 - number, f"NO{number}") for number in range(10)]
LONG = "A" * 64 + "^" + "B" * 60


@pytest.fixture(autouse=True)
def waiting(person: User) -> list[Reading]:
    """An urgent one, a late one of a patient with a very long name, one that a colleague has, and ten others."""
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    sri = make_user("sri", role=Role.RADIOLOGIST, first_name="Sri", last_name="Wahyuni")
    people = [
        ("LESTARI^AYU", "STAT", 48, "CT", "CT Head", "HEAD"),
        ("SANTOSO^BUDI", "HIGH", 250, "MR", "MR Lumbar spine", "LSPINE"),
        (LONG, "ROUTINE", 60 * 26, "DX", "Chest X-ray PA " + "X" * 40, "CHEST"),
        *((f"PASIEN^{name}", "ROUTINE", 60 * hours, "CT", "CT Thorax", "CHEST") for hours, name in OTHERS),
    ]  # fmt: skip
    made = []
    for number, (name, priority, minutes, modality, what, part) in enumerate(people):
        made.append(
            make_reading(
                make_patient(f"RM-{number:06d}", name, patient_sex="FM"[number % 2]),
                priority=priority,
                ago=timedelta(minutes=minutes),
                images=number + 1,
                modality=modality,
                requested_procedure_description=what,
                body_part_examined=part,
            )
        )
    claim(who=sri, procedure=made[1].requested_procedure_ref)
    write_draft(procedure=made[5].requested_procedure_ref, sections={"findings": "x"}, who=sri)
    return made


def test_a_list_is_worked_through_by_keyboard_alone(
    signed_in: Page, waiting: list[Reading], person: User, complaints: list[str]
) -> None:
    # Of the reading view only where it leads is looked at; one does not wait there for the viewer's scripts.
    signed_in.route("**/viewer?*", lambda route: route.fulfill(body=""))
    signed_in.goto("/reading")
    first, second = signed_in.locator(".readings tbody tr").nth(0), signed_in.locator(".readings tbody tr").nth(1)
    expect(first).to_contain_text("AYU LESTARI")
    expect(first).to_contain_text(re.compile("1[012] min left"))
    expect(second).to_contain_text("Sri Wahyuni")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("c")
    expect(first).to_contain_text("You")
    expect(first.locator("[data-row]")).to_be_focused()
    signed_in.keyboard.press("u")
    expect(first).not_to_contain_text("You")
    expect(first.locator("[data-row]")).to_be_focused()
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("a")
    expect(signed_in.get_by_role("dialog")).to_contain_text("Sri Wahyuni has been reading this since")
    signed_in.keyboard.press("Escape")
    expect(second.locator("[data-row]")).to_be_focused()
    signed_in.keyboard.press("k")
    signed_in.keyboard.press("a")
    expect(signed_in.get_by_label("Colleague")).to_be_focused()
    signed_in.keyboard.press("S")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Enter")
    expect(first).to_contain_text("for Sri Wahyuni")
    third = waiting[2].requested_procedure_ref.public_id
    signed_in.keyboard.press("n")
    signed_in.wait_for_url(re.compile(f"/reading/{third}"))
    waiting[2].refresh_from_db()
    assert waiting[2].claimed_by == person
    signed_in.go_back()
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(re.compile(r"/reading/[0-9a-f-]{36}"))
    assert complaints == []


def test_the_list_follows_and_the_time_goes_on_without_asking(
    signed_in: Page, waiting: list[Reading], complaints: list[str]
) -> None:
    signed_in.clock.install()
    signed_in.goto("/reading")
    first = signed_in.locator(".readings tbody tr").nth(0)
    expect(first.locator("time")).to_have_class("waiting")
    signed_in.clock.fast_forward("05:00")
    expect(first).to_contain_text(re.compile("[67] min left"))
    signed_in.clock.fast_forward("10:00")
    expect(first).to_contain_text(re.compile("late by [23] min"))
    expect(first.locator("time")).to_have_class("urgent")
    signed_in.get_by_label("Modality").select_option("MR")
    expect(signed_in.locator(".readings tbody tr")).to_have_count(1)
    assert signed_in.url.endswith("/reading?modality=MR")
    Reading.objects.filter(pk=waiting[1].pk).update(state="done", updated_at=timezone.now())
    signed_in.clock.resume()
    expect(signed_in.get_by_text("Nothing here with this modality and priority.")).to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_screen(signed_in: Page, person: User, width: int, tmp_path: Path) -> None:
    signed_in.set_viewport_size({"width": width, "height": 900})
    for theme, language in (("dark", "en"), ("light", "id")):
        User.objects.filter(pk=person.pk).update(theme=theme, language=language)
        for address in ("/reading", "/reading?view=mine", "/"):
            signed_in.goto(address)
            signed_in.screenshot(path=tmp_path / f"{width}-{theme}-{len(address)}.png")
            assert signed_in.evaluate("document.documentElement.scrollWidth") <= width, address
