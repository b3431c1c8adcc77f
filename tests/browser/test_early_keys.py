"""Keys that are pressed while a page's scripts are still on their way, as on a slow machine or line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, Route, expect

from radiology.models import Role, User
from tests.browser.volume import ct_volume
from tests.factories import make_patient, make_study

SCRIPT = re.compile(r"/radiology/sinar[^/]*\.js")


@contextmanager
def without_scripts(page: Page, address: str) -> Iterator[None]:
    """The page of that address as it stands before its scripts have come; they come in the end."""
    held: list[Route] = []
    page.route(SCRIPT, lambda route: held.append(route))
    with page.expect_request(SCRIPT):
        page.goto(address, wait_until="commit")
    expect(page.locator("#keys")).to_be_attached()
    yield
    for route in held:
        route.continue_()
    page.wait_for_load_state()


def test_a_search_that_is_typed_before_the_scripts_have_come_is_made(signed_in: Page, complaints: list[str]) -> None:
    make_study(make_patient("1", "SARI^SITI"), series=1)
    make_study(make_patient("2", "WIBOWO^BUDI"), series=1)
    with without_scripts(signed_in, "/worklist"):
        expect(signed_in.get_by_text("SITI SARI")).not_to_have_count(0)
        signed_in.keyboard.press("/")
        signed_in.keyboard.type("budi w")
    signed_in.keyboard.type("ibo")
    expect(signed_in.locator("#q")).to_have_value("budi wibo")
    expect(signed_in.get_by_text("SITI SARI")).to_have_count(0)
    assert complaints == []


def test_no_letter_of_an_early_search_is_taken_for_a_key(
    signed_in: Page, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    study = ct_volume(tmp_path, slices=2)
    send(tmp_path)
    with without_scripts(signed_in, f"/studies/{study}/headers"):
        signed_in.keyboard.press("/")
    signed_in.keyboard.type("0008 accession")
    expect(signed_in.locator("#q")).to_have_value("0008 accession")
    expect(signed_in.locator("#header tbody tr:visible")).to_have_count(1)
    assert complaints == []


def test_early_keys_move_in_the_rows_and_open_one(signed_in: Page, complaints: list[str]) -> None:
    patient = make_patient("1", "SARI^SITI")
    for number in (1, 2, 3):
        make_study(patient, series=1, study_description=f"Study {number}", study_date=f"2024010{9 - number}")
    with without_scripts(signed_in, "/worklist"):
        signed_in.keyboard.press("j")
        signed_in.keyboard.press("j")
    expect(signed_in.get_by_role("link", name="Study 2")).to_be_focused()
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_role("heading", name="Study 2")).to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("has_focus", [True, False], ids=["in the field", "before it has the focus"])
def test_what_is_typed_for_the_first_field_stands_in_it_and_is_searched(
    signed_in: Page, person: User, complaints: list[str], has_focus: bool
) -> None:
    person.groups.add(Group.objects.get(name=Role.DESK))
    make_patient("001234", "LESTARI^AYU")
    with without_scripts(signed_in, "/orders/new"):
        expect(signed_in.locator("#q")).to_be_focused()
        if not has_focus:
            signed_in.evaluate("document.activeElement.blur()")
        signed_in.keyboard.type("les")
    expect(signed_in.locator("#q")).to_have_value("les")
    expect(signed_in.get_by_text("AYU LESTARI")).to_be_visible()
    signed_in.keyboard.type(" ay")
    expect(signed_in.locator("#q")).to_have_value("les ay")
    assert complaints == []
