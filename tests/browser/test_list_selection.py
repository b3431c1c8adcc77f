"""Marked studies, columns and the undo bar in a real browser, with the mouse and with the keyboard alone."""

import re

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import Page, expect

from pacs.models import Study
from pacs.study_list import COLUMNS
from radiology.models import User
from tests.daemons import wait_until
from tests.factories import make_patient, make_study


def fill(count: int) -> list[Study]:
    """Studies of January 2024, the newest first."""
    patient = make_patient("77", "SARI^SITI")
    return [
        make_study(patient, series=1, study_description=f"Study {number:02}", study_date=f"202401{28 - number:02}")
        for number in range(count)
    ]


def marks(page: Page) -> list[bool]:
    return [box.is_checked() for box in page.locator("[data-pick]").all()]


def test_marks_survive_live_updates_paging_and_coming_back(signed_in: Page, complaints: list[str]) -> None:
    studies = fill(4)
    signed_in.goto("/worklist")
    signed_in.locator("[data-pick]").nth(0).check()
    signed_in.locator("[data-pick]").nth(2).click(modifiers=["Shift"])
    bar = signed_in.get_by_role("form", name="Marked studies")
    expect(bar).to_contain_text("3 marked")
    make_study(studies[0].patient_ref, series=1, study_description="Arrived now", study_date="20240131")
    expect(signed_in.get_by_text("Arrived now")).to_be_visible(timeout=30000)
    assert marks(signed_in) == [False, True, True, True, False]
    signed_in.locator("#q").fill("nobody")
    expect(signed_in.get_by_text("No study matches.")).to_be_visible()
    expect(bar).to_contain_text("3 marked (3 not on this page)")
    signed_in.locator("#q").fill("siti")
    expect(signed_in.locator("[data-pick]:checked")).to_have_count(3)
    signed_in.get_by_role("link", name="Study 01").click()
    signed_in.wait_for_url("**/studies/*")
    signed_in.go_back()
    expect(signed_in.locator("[data-pick]:checked")).to_have_count(3)
    expect(signed_in.get_by_role("link", name="Study 01")).to_be_focused()
    signed_in.get_by_label("Mark all on this page").check()
    expect(bar).to_contain_text("5 marked")
    signed_in.get_by_role("button", name="Unmark all").click()
    expect(bar).to_be_hidden()
    assert complaints == []


def test_two_are_marked_and_compared_with_keys_alone(signed_in: Page) -> None:
    one, two, _ = fill(3)
    signed_in.goto("/worklist")
    compare = signed_in.get_by_role("button", name="Compare")
    for key in ("j", "x", "j"):
        signed_in.keyboard.press(key)
    expect(compare).to_be_disabled()
    signed_in.keyboard.press("x")
    expect(compare).to_be_enabled()
    compare.focus()
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(re.compile("/ohif/viewer"))
    for part in (one.study_instance_uid, two.study_instance_uid, "hangingprotocolid=%40ohif%2FhpCompare"):
        assert part in signed_in.url


def test_what_was_deleted_comes_back_with_one_key(signed_in: Page, person: User, complaints: list[str]) -> None:
    person.user_permissions.add(Permission.objects.get(codename="delete_study"))
    fill(2)
    signed_in.goto("/worklist")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("x")
    signed_in.get_by_role("button", name="Delete").click()
    dialog = signed_in.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 1 study?")
    expect(dialog.get_by_label("Why?")).to_be_focused()
    signed_in.keyboard.type("Wrong patient")
    signed_in.keyboard.press("Enter")
    notice = signed_in.locator("[data-notice]")
    expect(notice).to_contain_text("1 study deleted.")
    expect(signed_in.get_by_role("link", name="Study 00")).to_have_count(0)
    expect(signed_in.get_by_role("form", name="Marked studies")).to_be_hidden()
    signed_in.keyboard.press("u")
    expect(notice).to_contain_text("1 study restored.")
    expect(signed_in.get_by_role("link", name="Study 00")).to_be_visible()
    assert complaints == []


def test_the_undo_bar_goes_by_itself_but_waits_while_it_has_the_focus(signed_in: Page, person: User) -> None:
    person.user_permissions.add(Permission.objects.get(codename="delete_study"))
    fill(2)
    signed_in.clock.install()
    signed_in.goto("/worklist")
    signed_in.locator("[data-pick]").first.check()
    signed_in.get_by_role("button", name="Delete").click()
    signed_in.get_by_label("Why?").fill("Wrong patient")
    signed_in.get_by_role("dialog").get_by_role("button", name="Delete").click()
    notice = signed_in.locator("[data-notice]")
    undo = signed_in.get_by_role("button", name="Undo")
    undo.focus()
    signed_in.clock.run_for(40_000)
    expect(notice).to_be_visible()
    undo.blur()
    signed_in.mouse.move(5, 5)
    signed_in.clock.run_for(31_000)
    expect(notice).to_have_count(0)


def test_columns_change_at_once_and_stay(signed_in: Page, complaints: list[str]) -> None:
    fill(2)
    signed_in.goto("/worklist")
    signed_in.get_by_text("Columns", exact=True).click()
    signed_in.get_by_label("Referring physician").check()
    expect(signed_in.get_by_role("columnheader", name="Referring physician")).to_be_visible()
    signed_in.get_by_label("Accession", exact=True).uncheck()
    expect(signed_in.get_by_role("columnheader", name="Accession")).to_have_count(0)
    wait_until(lambda: "accession" not in (User.objects.get(username="dewi").study_columns or ["accession"]))
    signed_in.reload()
    expect(signed_in.get_by_role("columnheader", name="Referring physician")).to_be_visible()
    assert complaints == []


def test_a_search_is_saved_as_it_stands_in_the_box_now(signed_in: Page, person: User, complaints: list[str]) -> None:
    fill(2)
    signed_in.goto("/worklist")
    signed_in.locator("#q").fill("siti jan 2024")
    expect(signed_in.locator("#understood")).to_contain_text("1 Jan 2024 – 31 Jan 2024")
    signed_in.get_by_text("Saved", exact=True).click()
    signed_in.get_by_label("Save this search as").fill("Siti")
    signed_in.get_by_label("Open the list with it").check()
    signed_in.get_by_role("button", name="Save", exact=True).click()
    expect(signed_in.locator("[data-notice]")).to_contain_text("Saved as “Siti”.")
    assert person.saved_filters.get().query == "q=siti+jan+2024"
    signed_in.goto("/worklist")
    expect(signed_in.locator("#q")).to_have_value("siti jan 2024")
    signed_in.get_by_role("link", name="Search without Days").click()
    expect(signed_in.locator("#q")).to_have_value("siti")
    assert complaints == []


@pytest.mark.parametrize("width", [390, 768, 1280, 2560])
def test_all_columns_fit_or_scroll_within_the_table(signed_in: Page, person: User, width: int) -> None:
    person.study_columns = [column.name for column in COLUMNS]
    person.save()
    make_study(make_patient("M" * 64, "A" * 64), series=1, study_description="X" * 64, accession_number="9" * 64)
    signed_in.set_viewport_size({"width": width, "height": 800})
    signed_in.goto("/worklist")
    assert signed_in.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_menu_leads_everywhere_and_marks_work(signed_in: Page) -> None:
    fill(3)
    signed_in.set_viewport_size({"width": 390, "height": 800})
    signed_in.locator("summary", has_text="Menu").click()
    signed_in.get_by_role("link", name="Studies", exact=True).click()
    signed_in.wait_for_url("**/worklist")
    signed_in.locator("[data-pick]").first.check()
    expect(signed_in.get_by_role("button", name="Download")).to_be_in_viewport()
    assert signed_in.evaluate("document.documentElement.scrollWidth") <= 390
