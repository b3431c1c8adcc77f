"""A critical result from the reading view to the doctor who says that they know, in a real browser."""

from pathlib import Path

from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import BrowserContext, Page, expect

from pacs.models import Study
from radiology.models import CriticalResult, Role, User
from tests.browser.test_reading_view import PASSWORD
from tests.factories import make_order, make_patient, make_study, make_user
from worklist.services.reading_rows import refresh_studies


def fits(page: Page) -> bool:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")) <= 1


def test_marked_while_reading_known_by_the_doctor_and_seen_by_the_radiologist(
    signed_in: Page, person: User, complaints: list[str], tmp_path: Path, browser_context: BrowserContext
) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    doctor = make_user("sari", role=Role.DOCTOR, first_name="Sari", last_name="Utami", language="en")
    order = make_order(make_patient("1", "LESTARI^AYU"), procedures=1, ordering_physician=doctor)
    procedure = order.requested_procedures.get()
    study = make_study(
        order.patient_ref, study_instance_uid=procedure.study_instance_uid, requested_procedure_ref=procedure
    )
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    refresh_studies([study.pk])

    signed_in.goto(f"/reading/{procedure.public_id}")
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_be_focused()
    signed_in.keyboard.press("Alt+ArrowDown")
    signed_in.keyboard.type("Pneumotoraks kanan")
    signed_in.keyboard.press("Alt+c")
    dialog = signed_in.locator("#critical-dialog")
    expect(dialog.get_by_label("What was found")).to_have_value("Pneumotoraks kanan")
    expect(dialog.get_by_label("Who must know")).to_have_value("Sari Utami")
    dialog.get_by_role("button", name="Tell them now").click()
    expect(dialog.locator(".critical-states li")).to_contain_text("nobody has said yet that they know")
    signed_in.screenshot(path=tmp_path / "critical-dialog-1280.png")
    signed_in.set_viewport_size({"width": 390, "height": 844})
    signed_in.screenshot(path=tmp_path / "critical-dialog-390.png")
    signed_in.set_viewport_size({"width": 1280, "height": 800})
    dialog.get_by_role("button", name="Close").click()
    expect(signed_in.locator('[data-do="critical"]')).to_contain_text("1")
    signed_in.goto("/")
    expect(signed_in.locator("#critical-mine")).to_contain_text("nobody has acknowledged it yet")

    # The doctor, on another computer.
    client = Client()
    client.login(username="sari", password=PASSWORD)
    session = browser_context.browser
    assert session is not None
    base = signed_in.url
    theirs = session.new_context(base_url=base, viewport={"width": 390, "height": 844}, locale="en-GB")
    theirs.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": base}])
    page = theirs.new_page()
    page.goto("/")
    row = page.locator("#critical-mine li")
    expect(row).to_contain_text("Pneumotoraks kanan")
    assert fits(page)
    page.screenshot(path=tmp_path / "critical-home-390.png")
    row.get_by_role("link").click()
    expect(page.locator(".critical .finding")).to_have_text("Pneumotoraks kanan")
    assert fits(page)
    page.screenshot(path=tmp_path / "critical-page-390.png")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.screenshot(path=tmp_path / "critical-page-1280.png")
    page.get_by_role("button", name="I know").click()
    expect(page.locator(".critical")).to_contain_text("Sari Utami knows, read here")
    page.screenshot(path=tmp_path / "critical-known-1280.png")
    page.goto("/")
    expect(page.locator("#critical-mine li")).to_have_count(0)
    theirs.close()

    signed_in.goto(f"/reading/{procedure.public_id}")
    signed_in.locator('[data-do="critical"]').click()
    expect(signed_in.locator(".critical-states li")).to_contain_text("Sari Utami knows, read here, since")
    assert CriticalResult.objects.get().acknowledged_by == doctor
    signed_in.goto("/critical")
    expect(signed_in.locator(".critical-rows")).to_contain_text("Sari Utami")
    signed_in.screenshot(path=tmp_path / "critical-list-1280.png")
    assert complaints == []
