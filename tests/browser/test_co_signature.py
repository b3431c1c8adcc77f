"""A resident writes, a supervisor changes and co-signs, the resident sees what was changed: in a real browser."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Browser, Page, expect

from pacs.models import Study
from radiology.models import CoSignature, HoldKind, LateImages, Report, Resident, Role, User
from radiology.services import report_holds
from tests.browser.conftest import PASSWORD
from tests.daemons import wait_until
from tests.factories import make_patient, make_reading, make_series, make_user

VIEWPORT = {"width": 1280, "height": 900}


@pytest.fixture
def resident(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    Resident.objects.create(user=person).supervisors.add(make_supervisor())
    return person


def make_supervisor() -> User:
    return make_user("sari", first_name="Sari", last_name="Wulan", role=Role.RADIOLOGIST, language="en")


@pytest.fixture
def examination(resident: User) -> str:
    reading = make_reading(make_patient("77", "LESTARI^AYU"))
    return f"/reading/{reading.requested_procedure_ref.public_id}"


def as_supervisor(browser: Browser, page: Page) -> Page:
    """Another browser, of another person, at the same server."""
    other = browser.new_context(base_url=page.url.partition("/reading")[0].partition("/reports")[0], viewport=VIEWPORT)
    found = other.new_page()
    found.goto("/")
    found.get_by_label("User name").fill("sari")
    found.get_by_label("Password").fill(PASSWORD)
    found.get_by_role("button", name="Sign in").click()
    return found


FINDINGS = '[data-section="findings"] .ProseMirror'


def test_from_the_resident_to_the_supervisor_to_the_difference(
    signed_in: Page,
    examination: str,
    complaints: list[str],
    browser: Browser,
    tmp_path: Path,
) -> None:
    signed_in.goto(examination)
    expect(signed_in.locator(FINDINGS)).to_be_focused()
    signed_in.keyboard.type("Nodul di lobus kanan atas.")
    wait_until(lambda: Report.objects.filter(draft__findings="Nodul di lobus kanan atas.").exists(), what="the text")
    signed_in.keyboard.press("Control+Enter")
    dialog = signed_in.locator("#sign-dialog")
    expect(dialog).to_contain_text("for a supervisor to co-sign")
    expect(dialog.get_by_label("Final")).to_have_count(0)
    dialog.get_by_label("Supervisor").select_option(label="Sari Wulan")
    signed_in.screenshot(path=tmp_path / "resident.png")
    signed_in.get_by_label("Your password").fill(PASSWORD)
    dialog.get_by_role("button", name="Sign", exact=True).click()
    signed_in.wait_for_url("**/reports/*")
    expect(signed_in.get_by_text("a supervisor signs it too")).to_be_visible()

    supervisor = as_supervisor(browser, signed_in)
    supervisor.goto("/reading?view=cosign")
    expect(supervisor.get_by_text("To co-sign: Dewi")).to_be_visible()
    supervisor.screenshot(path=tmp_path / "list.png")
    supervisor.keyboard.press("n")
    supervisor.wait_for_url(f"**{examination}")
    editor = supervisor.locator(FINDINGS)
    expect(editor).to_contain_text("kanan")
    editor.click()
    supervisor.keyboard.press("Control+a")
    supervisor.keyboard.type("Nodul di lobus kiri atas.")
    expect(supervisor.locator("[data-saved].done")).to_be_visible()
    supervisor.keyboard.press("Control+Enter")
    difference = supervisor.locator("#sign-dialog .difference")
    expect(difference.locator("del")).to_have_text("kanan")
    expect(difference.locator("ins")).to_have_text("kiri")
    supervisor.screenshot(path=tmp_path / "cosign.png")
    supervisor.get_by_label("Your password").fill(PASSWORD)
    supervisor.locator("#sign-dialog").get_by_role("button", name="Sign", exact=True).click()
    supervisor.wait_for_url("**/reports/*")
    expect(supervisor.get_by_text("Written by Dewi")).to_be_visible()

    signed_in.goto("/")
    signed_in.get_by_role("link", name="1 report of yours was changed").click()
    signed_in.keyboard.press("j")
    signed_in.screenshot(path=tmp_path / "changed.png")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url("**/differences*")
    expect(signed_in.locator(".difference del")).to_have_text("kanan")
    for width in (390, 1280):
        signed_in.set_viewport_size({"width": width, "height": 900})
        assert signed_in.evaluate("document.documentElement.scrollWidth <= innerWidth")
        signed_in.screenshot(path=tmp_path / f"difference-{width}.png", full_page=True)
    assert complaints == []


def test_it_is_sent_back_by_the_keyboard(
    signed_in: Page,
    examination: str,
    complaints: list[str],
    browser: Browser,
    tmp_path: Path,
) -> None:
    signed_in.goto(examination)
    signed_in.keyboard.type("Nodul.")
    signed_in.keyboard.press("Control+Enter")
    signed_in.get_by_label("Your password").fill(PASSWORD)
    signed_in.locator("#sign-dialog").get_by_role("button", name="Sign", exact=True).click()
    signed_in.wait_for_url("**/reports/*")
    supervisor = as_supervisor(browser, signed_in)
    supervisor.goto(examination)
    expect(supervisor.locator(FINDINGS)).to_be_visible()
    supervisor.keyboard.press("Alt+b")
    expect(supervisor.get_by_label("What should be changed?")).to_be_focused()
    supervisor.keyboard.type("Ukur nodulnya.")
    supervisor.screenshot(path=tmp_path / "return.png")
    supervisor.keyboard.press("Tab")
    supervisor.keyboard.press("Enter")
    supervisor.wait_for_url("**/reading")
    assert CoSignature.objects.get().comment == "Ukur nodulnya."
    signed_in.goto(examination)
    expect(signed_in.get_by_text("Ukur nodulnya.")).to_be_visible()
    signed_in.screenshot(path=tmp_path / "returned.png")
    assert complaints == []


def test_images_that_come_and_go_while_one_reads_are_told(
    signed_in: Page, examination: str, complaints: list[str], tmp_path: Path
) -> None:
    signed_in.goto(examination)
    signed_in.keyboard.type("Nodul.")
    expect(signed_in.locator("[data-saved].done")).to_be_visible()
    make_series(Study.objects.get(), instances=3)
    signed_in.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    line = signed_in.locator("[data-news-line]")
    expect(line).to_contain_text("3 new images arrived.")
    signed_in.screenshot(path=tmp_path / "news.png")
    line.get_by_role("button", name="Show them").click()
    expect(line).to_be_hidden()
    report = Report.objects.get()
    report_holds.hold(procedures={report.requested_procedure_ref_id}, kind=HoldKind.PATIENT)
    LateImages.objects.create(
        report_ref=report, number_of_images=2, first_at=report.created_at, last_at=report.created_at
    )
    signed_in.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(line).to_contain_text("this report is held")
    signed_in.goto("/reports/held")
    expect(signed_in.get_by_text("moved to another patient")).to_be_visible()
    signed_in.screenshot(path=tmp_path / "held.png")
    signed_in.goto(examination)
    expect(signed_in.locator(".watch.urgent")).to_be_visible()
    signed_in.set_viewport_size({"width": 390, "height": 900})
    assert signed_in.evaluate("document.documentElement.scrollWidth <= innerWidth")
    signed_in.screenshot(path=tmp_path / "held-view.png")
    assert complaints == []
