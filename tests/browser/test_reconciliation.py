"""Reconciliation in a real browser: cases decided by keys, taken back by the bar, live."""

from pathlib import Path
from typing import Any, Literal

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, expect

from pacs.models import Study
from radiology.models import Role, User
from tests.daemons import wait_until
from tests.factories import make_case, make_order, make_patient, make_requested_procedure, make_step, make_study
from worklist.models import CaseState, ReconciliationCase

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture
def radiographer(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return person


def waiting(number: int, name: str = "", **fields: Any) -> ReconciliationCase:
    """A study with a mistyped number, and two orders that it may be for."""
    patient = make_patient(f"RM-{number}", name or f"NUMBER{number}^TEST")
    orders = [make_order(patient), make_order(make_patient(None, "LESTARI^DEWI"))]
    procedures = [make_requested_procedure(order) for order in orders]
    for procedure in procedures:
        make_step(procedure)
    study = make_study(patient, series=2, instances=1, accession_number=f"TYPO{number}", **fields)
    return make_case(study, *procedures)


def test_cases_are_decided_by_keys_alone_and_taken_back(
    signed_in: Page, radiographer: User, complaints: list[str]
) -> None:
    cases = [waiting(number) for number in range(4)]
    signed_in.goto("/reconciliation")
    cards = signed_in.locator(".case")
    expect(cards).to_have_count(4)
    expect(cards.first.locator("tr.differs").first).to_contain_text("TYPO3")
    expect(signed_in.locator(".nav-wide .nav-count")).to_have_text("4")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("Enter")
    expect(cards).to_have_count(3)
    expect(signed_in.locator(".case:focus-within")).to_have_count(1)
    signed_in.keyboard.press("2")
    expect(cards).to_have_count(2)
    expect(signed_in.locator(".case:focus-within")).to_have_count(1)
    signed_in.keyboard.press("n")
    expect(cards).to_have_count(1)
    states = [ReconciliationCase.objects.get(pk=case.pk) for case in reversed(cases)]
    assert [each.state for each in states] == [CaseState.LINKED, CaseState.LINKED, CaseState.DISMISSED, CaseState.OPEN]
    links = [each.study_ref.requested_procedure_ref_id for each in states]
    assert links[:2] == [states[0].candidates[0]["procedure"], states[1].candidates[1]["procedure"]]
    signed_in.keyboard.press("u")
    expect(cards).to_have_count(2, timeout=30000)
    wait_until(lambda: ReconciliationCase.objects.filter(state=CaseState.OPEN).count() == 2)
    assert complaints == []


def test_a_case_that_comes_appears_by_itself(signed_in: Page, radiographer: User) -> None:
    signed_in.goto("/reconciliation")
    expect(signed_in.get_by_text("Every study has its order.")).to_be_visible()
    waiting(1)
    expect(signed_in.locator(".case")).to_have_count(1, timeout=30000)


def test_another_order_is_found_by_hand_and_wrong_images_are_hidden(
    signed_in: Page, radiographer: User, complaints: list[str]
) -> None:
    waiting(1, SCRIPT)
    make_requested_procedure(make_order(make_patient("RM-9", "SITOMPUL^EKO"), accession_number="Z9"))
    signed_in.goto("/reconciliation")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("s")
    signed_in.get_by_label("Accession number, MRN or name").fill("sitompul")
    signed_in.keyboard.press("Enter")
    signed_in.get_by_role("button", name="EKO SITOMPUL").click()
    expect(signed_in.get_by_text("Every study has its order.")).to_be_visible(timeout=30000)
    assert Study.objects.get().accession_number == "Z9"
    signed_in.get_by_role("button", name="Undo").click()
    expect(signed_in.locator(".case")).to_have_count(1, timeout=30000)
    signed_in.get_by_text("More", exact=True).click()
    signed_in.get_by_label("Why (may stay empty)").fill("two newborns")
    signed_in.get_by_role("button", name="Wrong patient: hide 2 images").click()
    expect(signed_in.get_by_text("Every study has its order.")).to_be_visible(timeout=30000)
    assert Study.objects.get().deleted_at is not None
    signed_in.goto("/reconciliation?tab=decided")
    signed_in.get_by_role("button", name="Take back").first.click()
    wait_until(lambda: Study.objects.get().deleted_at is None, seconds=30)
    assert complaints == []


def pictures(page: Page, folder: Path) -> None:
    """The page at the sizes that people have, light and dark."""
    for width in (390, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 1000})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.reload()
            page.screenshot(path=folder / f"{width}-{theme}.png", full_page=True)


def test_nothing_is_cut_off_at_any_width(signed_in: Page, radiographer: User, tmp_path: Path) -> None:
    waiting(1, "W" * 60 + "^" + "G" * 60, study_description="D" * 64)
    waiting(2)
    signed_in.goto("/reconciliation")
    expect(signed_in.locator(".case")).to_have_count(2)
    pictures(signed_in, tmp_path)
    for width in (390, 1280, 2560):
        signed_in.set_viewport_size({"width": width, "height": 900})
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= width
