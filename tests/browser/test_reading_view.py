"""Reading in a real browser: written, measured, signed; and no word lost, whatever ends in mid-sentence."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import APIResponse, BrowserContext, Page, Route, expect

from pacs.models import Study
from radiology.models import Report, ReportMacro, ReportTemplate, Role, User
from radiology.services.reports import discard_draft
from radiology.services.usual_templates import add_usual_templates
from tests.browser.conftest import PASSWORD, sign_in
from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume
from tests.daemons import wait_until
from tests.factories import (
    default_site,
    make_order,
    make_patient,
    make_procedure,
    make_report_template,
    make_study,
)
from worklist.services.reading_rows import refresh_studies


@pytest.fixture
def radiologist(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    return person


def examination_of(study: Study) -> str:
    """The address of the reading view of a study that has come."""
    order = make_order(study.patient_ref, procedures=1, reason_for_the_requested_procedure="Batuk lama")
    procedure = order.requested_procedures.get()
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    refresh_studies([study.pk])
    return f"/reading/{procedure.public_id}"


@pytest.fixture
def reading(radiologist: User) -> str:
    study = make_study()
    make_study(study.patient_ref, series=1, study_date="20200101", study_description="CT Thorax lama")
    return examination_of(study)


def findings(page: Page) -> str:
    return page.locator('[data-section="findings"] .ProseMirror').inner_text()


def stored(section: str = "findings") -> str:
    report = Report.objects.first()
    return (report.draft or {}).get(section, "") if report else ""


def test_a_report_is_written_and_signed_by_the_keyboard_alone(
    signed_in: Page, reading: str, complaints: list[str], tmp_path: Path
) -> None:
    signed_in.goto(reading)
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_be_focused()
    expect(signed_in.get_by_text("Batuk lama")).to_be_visible()
    expect(signed_in.get_by_text("CT Thorax lama")).to_be_visible()
    signed_in.keyboard.type("Nodul di lobus atas.")
    signed_in.keyboard.press("Enter")
    signed_in.keyboard.type("Tidak tampak efusi.")
    signed_in.keyboard.press("Alt+ArrowDown")
    signed_in.keyboard.press("Control+b")
    signed_in.keyboard.type("Nodul paru")
    expect(signed_in.locator("[data-saved].done")).to_be_visible()
    wait_until(lambda: stored("impression") == "Nodul paru", what="the text kept")
    assert stored() == "Nodul di lobus atas.\nTidak tampak efusi."
    signed_in.screenshot(path=tmp_path / "reading.png")
    signed_in.keyboard.press("Control+Enter")
    expect(signed_in.get_by_label("Your password")).to_be_focused()
    signed_in.keyboard.type("wrong")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_text("The password is wrong.")).to_be_visible()
    signed_in.keyboard.type(PASSWORD)
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url("**/reports/*")
    expect(signed_in.locator(".impression strong")).to_have_text("Nodul paru")
    assert complaints == []


def test_blanks_are_filled_one_after_the_other(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("Nodul [mm] di [kanan|kiri].")
    signed_in.keyboard.press("Home")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.type("12 mm")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.type("kanan")
    signed_in.keyboard.press("Tab")
    expect(signed_in.locator('[data-section="impression"] .ProseMirror')).to_be_focused()
    assert findings(signed_in) == "Nodul 12 mm di kanan."
    wait_until(lambda: stored() == "Nodul 12 mm di kanan.", what="the text kept")


def test_a_template_is_chosen_filled_and_made_normal_by_the_keyboard(
    signed_in: Page, reading: str, complaints: list[str], tmp_path: Path
) -> None:
    add_usual_templates(default_site())
    signed_in.goto(reading)
    signed_in.keyboard.press("Alt+t")
    dialog = signed_in.locator("#template-dialog")
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    expect(dialog.locator("button").first).to_be_visible()
    signed_in.screenshot(path=tmp_path / "templates.png")
    signed_in.keyboard.type("thorax")
    name = dialog.locator(".choices button").first
    expect(name).to_contain_text(re.compile("thorax", re.IGNORECASE))
    signed_in.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_contain_text("[")
    assert signed_in.evaluate("getSelection().toString()").startswith("[")
    signed_in.screenshot(path=tmp_path / "template.png")
    signed_in.keyboard.press("Alt+n")
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).not_to_contain_text("[")
    expect(signed_in.locator('[data-section="impression"] .ProseMirror')).not_to_be_empty()
    wait_until(lambda: stored("impression") != "", what="the text kept")
    assert complaints == []


def test_what_is_normal_is_only_said_by_a_template_that_is_meant_or_chosen(signed_in: Page, reading: str) -> None:
    add_usual_templates(default_site())
    signed_in.goto(reading)
    signed_in.keyboard.press("Alt+n")
    dialog = signed_in.locator("#template-dialog")
    expect(dialog).to_be_visible()
    assert stored() == ""
    signed_in.keyboard.type("head without")
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator('[data-section="impression"] .ProseMirror')).not_to_be_empty()
    assert "[" not in findings(signed_in)
    wait_until(lambda: stored("impression") != "", what="the text kept")
    signed_in.keyboard.press("Alt+t")
    signed_in.keyboard.press("Escape")
    report = Report.objects.get()
    procedure = report.requested_procedure_ref
    discard_draft(report=report, version=report.version)
    bound = ReportTemplate.objects.get(code="CT-HEAD", language="en")
    procedure.procedure_ref = make_procedure("X1")
    procedure.save()
    bound.procedures.add(procedure.procedure_ref)
    signed_in.goto(reading)
    signed_in.keyboard.press("Alt+n")
    wait_until(lambda: stored("impression") != "", what="the text kept")
    expect(dialog).to_be_hidden()


def test_an_abbreviation_becomes_its_text(signed_in: Page, reading: str) -> None:
    text = "Lungs are clear.\nNo effusion."
    ReportMacro.objects.create(site=default_site(), abbreviation="paru", language="en", text=text)
    signed_in.goto(reading)
    signed_in.keyboard.type("Chest: .paru Heart. 3.paru .nothing ")
    wait_until(lambda: stored().endswith(".nothing"), what="the text kept")
    assert stored() == "Chest: Lungs are clear.\nNo effusion. Heart. 3.paru .nothing"


def test_a_measurement_goes_into_the_text_and_leads_back_to_its_image(
    signed_in: Page, radiologist: User, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    uid = ct_volume(tmp_path, slices=20)
    send(tmp_path)
    signed_in.goto(examination_of(Study.objects.get(study_instance_uid=uid)))
    images = signed_in.frame_locator("iframe[name=images]")
    expect(images.locator(".cornerstone-canvas").first).to_be_visible(timeout=90_000)
    frame = next(each for each in signed_in.frames if each.name == "images")
    wait_for_images(frame, canvases=1)
    images.locator('[data-cy="Length"]').click()
    box = images.locator(".cornerstone-canvas").first.bounding_box()
    assert box
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    signed_in.mouse.move(across - 40, down)
    signed_in.mouse.down()
    signed_in.mouse.move(across + 40, down + 5, steps=8)
    signed_in.mouse.up()
    expect(signed_in.locator("[data-count]")).to_have_text("1")
    signed_in.locator('[data-section="findings"] .ProseMirror').click()
    signed_in.keyboard.type("Nodul ")
    signed_in.keyboard.press("Alt+m")
    signed_in.keyboard.type("di kanan.")
    link = signed_in.locator('[data-section="findings"] a')
    expect(link).to_have_text(re.compile(r"^[\d.]+ (mm|px)$"))
    address = link.get_attribute("href") or ""
    assert f"StudyInstanceUIDs={uid}" in address and "initialSOPInstanceUID=" in address
    wait_until(lambda: stored().endswith("di kanan."), what="the text kept")
    assert re.fullmatch(r"Nodul [\d.]+ (mm|px) di kanan\.", stored())
    link.click()
    expect(images.locator(".cornerstone-canvas").first).to_be_visible(timeout=90_000)
    assert complaints == []


def test_text_typed_without_a_connection_is_sent_when_there_is_one_again(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("Before. ")
    wait_until(lambda: stored() == "Before.", what="the text kept")
    signed_in.context.set_offline(True)
    signed_in.keyboard.type("During. ")
    expect(signed_in.locator("[data-saved].urgent")).to_be_visible()
    signed_in.keyboard.type("And after.")
    signed_in.context.set_offline(False)
    wait_until(lambda: stored() == "Before. During. And after.", what="the text kept")
    expect(signed_in.locator("[data-saved].done")).to_be_visible()


def test_text_typed_without_a_connection_survives_the_page(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("Before. ")
    wait_until(lambda: stored() == "Before.", what="the text kept")
    signed_in.route("**/draft", lambda route: route.abort())
    signed_in.keyboard.type("During.")
    expect(signed_in.locator("[data-saved].urgent")).to_be_visible()
    tab = signed_in.context.new_page()
    signed_in.close(run_before_unload=False)
    tab.goto(reading)
    wait_until(lambda: stored() == "Before. During.", what="the text kept")
    assert findings(tab) == "Before. During."


def test_after_the_session_s_end_one_signs_in_again_and_nothing_is_lost(
    signed_in: Page, reading: str, browser_context: BrowserContext
) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("Before. ")
    wait_until(lambda: stored() == "Before.", what="the text kept")
    browser_context.clear_cookies()
    signed_in.keyboard.type("During.")
    again = signed_in.locator("[data-saved] a")
    expect(again).to_be_visible()
    with browser_context.expect_page() as opened:
        again.click()
    sign_in(opened.value)
    wait_until(lambda: stored() == "Before. During.", what="the text kept")


def test_a_second_window_takes_the_text_over(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("In the first window, not yet sent")
    second = signed_in.context.new_page()
    second.goto(reading)
    expect(second.locator('[data-section="findings"]')).to_contain_text("In the first window, not yet sent")
    expect(signed_in.locator("[data-saved] a")).to_have_text("Go on here")
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_have_attribute("contenteditable", "false")
    second.locator('[data-section="findings"] .ProseMirror').click()
    second.keyboard.press("Control+End")
    second.keyboard.type(", and in the second.")
    wait_until(lambda: stored() == "In the first window, not yet sent, and in the second.", what="the text kept")


def test_what_two_people_wrote_is_shown_side_by_side(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    signed_in.keyboard.type("Mine. ")
    wait_until(lambda: stored() == "Mine.", what="the text kept")
    report = Report.objects.get()
    report.draft, report.draft_markup = {"findings": "Theirs."}, None
    report.version += 1
    report.save()
    signed_in.keyboard.type("More.")
    dialog = signed_in.locator("#differs-dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("[data-mine]")).to_contain_text("Mine. More.")
    expect(dialog.locator("[data-theirs]")).to_contain_text("Theirs.")
    dialog.get_by_role("button", name="Keep what I typed").click()
    wait_until(lambda: stored() == "Mine. More.", what="the text kept")


def test_the_images_go_to_a_second_screen_and_come_back(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    with signed_in.context.expect_page() as opened:
        signed_in.keyboard.press("Alt+w")
    screen = opened.value
    expect(screen.locator("iframe")).to_have_attribute("src", re.compile(r"^/viewer\?StudyInstanceUIDs="))
    expect(signed_in.locator(".reading .images")).to_be_hidden()
    signed_in.reload()
    expect(signed_in.locator(".reading .images")).to_be_hidden()
    screen.close(run_before_unload=True)
    expect(signed_in.locator(".reading .images")).to_be_visible()


def test_pages_fit_every_screen(signed_in: Page, reading: str, radiologist: User, tmp_path: Path) -> None:
    for width in (390, 1280, 2560):
        for theme, language in (("dark", "en"), ("light", "id")):
            User.objects.filter(pk=radiologist.pk).update(theme=theme, language=language)
            signed_in.set_viewport_size({"width": width, "height": 900})
            signed_in.goto(reading)
            expect(signed_in.locator(".ProseMirror").first).to_be_visible()
            wide = signed_in.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 1, (width, theme, wide)
            signed_in.screenshot(path=tmp_path / f"reading-{width}-{theme}.png")


def test_a_study_opened_in_the_second_window_is_opened_in_the_first(signed_in: Page, reading: str) -> None:
    """The way back: what the viewer of the second window shows is what is reported in the first."""
    other = make_study(make_patient("other", "WIBOWO^BUDI"), series=1)
    its = examination_of(other)
    signed_in.goto(reading)
    signed_in.locator('[data-section="findings"] .ProseMirror').click()
    signed_in.keyboard.type("Kept.")
    with signed_in.context.expect_page() as opened:
        signed_in.keyboard.press("Alt+w")
    screen = opened.value
    expect(screen.locator("iframe")).to_have_attribute("src", re.compile(r"^/viewer\?StudyInstanceUIDs="))
    screen.locator("iframe").evaluate(
        "(frame, uid) => frame.contentWindow.location.assign(`/viewer?StudyInstanceUIDs=${uid}`)",
        other.study_instance_uid,
    )
    signed_in.wait_for_url(f"**{its}")
    assert stored() == "Kept."
    expect(signed_in.get_by_label("Patient", exact=True)).to_contain_text("BUDI WIBOWO")
    expect(signed_in.locator(".reading .images")).to_be_hidden()


def test_a_report_is_kept_as_a_template_and_used_again(
    signed_in: Page, reading: str, radiologist: User, complaints: list[str], tmp_path: Path
) -> None:
    signed_in.goto(reading)
    signed_in.locator('[data-section="findings"] .ProseMirror').click()
    signed_in.keyboard.type("Nodul [kanan|kiri].")
    signed_in.keyboard.press("Alt+t")
    dialog = signed_in.locator("#template-dialog")
    dialog.get_by_text("Keep this report as a template of mine").click()
    dialog.get_by_label("Name").fill("Nodul paru")
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_text("Kept among my templates: Nodul paru")).to_be_visible()
    second = examination_of(make_study(make_patient("9", "LESTARI^DEWI"), series=1))
    signed_in.goto(second)
    signed_in.keyboard.press("Alt+t")
    signed_in.keyboard.type("nodul")
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_contain_text("Nodul [kanan|kiri].")
    signed_in.keyboard.press("Alt+t")
    dialog.get_by_role("link", name="My texts").click()
    signed_in.get_by_placeholder("paru").first.fill("bersih")
    signed_in.get_by_placeholder("What stands there instead").first.fill("Paru bersih.")
    signed_in.get_by_role("button", name="Add").click()
    expect(signed_in.get_by_text("Kept: .bersih")).to_be_visible()
    for width, theme in ((390, "light"), (1280, "dark")):
        User.objects.filter(pk=radiologist.pk).update(theme=theme)
        signed_in.set_viewport_size({"width": width, "height": 900})
        signed_in.reload()
        wide = signed_in.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 1, (width, wide)
        signed_in.screenshot(path=tmp_path / f"texts-{width}.png")
    signed_in.get_by_role("link", name="Nodul paru").click()
    expect(signed_in.get_by_label("Findings")).to_have_value("Nodul [kanan|kiri].")
    signed_in.screenshot(path=tmp_path / "template-1280.png")
    assert complaints == []


def test_what_is_typed_for_a_template_that_has_not_come_yet_is_not_written_into_the_report(
    signed_in: Page, reading: str, complaints: list[str]
) -> None:
    make_report_template(name="Nodul paru")
    held: list[Route] = []
    asked = re.compile(r"/report-templates\?")
    signed_in.route(asked, lambda route: held.append(route))
    signed_in.goto(reading)
    with signed_in.expect_request(asked):
        signed_in.keyboard.press("Alt+t")
    expect(signed_in.get_by_text("The templates are on their way.")).to_be_visible()
    signed_in.keyboard.type("nodul")
    signed_in.keyboard.press("Enter")
    held[0].continue_()
    expect(signed_in.locator('[data-section="findings"] .ProseMirror')).to_contain_text("Lungs")
    assert "nodul" not in findings(signed_in)
    assert complaints == []


def test_a_second_window_whose_page_was_made_before_the_last_answer_asks_nothing(signed_in: Page, reading: str) -> None:
    signed_in.goto(reading)
    second = signed_in.context.new_page()
    second.goto("/reading")
    held: list[tuple[Route, APIResponse]] = []
    second.route(f"**{reading}", lambda route: held.append((route, route.fetch())))
    with second.expect_request(f"**{reading}"):
        second.evaluate("address => { setTimeout(() => { location.href = address; }); }", reading)
    signed_in.keyboard.type("In the first window, ")
    expect(signed_in.locator("[data-saved].done")).to_be_visible()
    signed_in.route("**/draft", lambda route: route.abort())
    signed_in.keyboard.type("not yet sent")
    expect(signed_in.locator("[data-saved].urgent")).to_be_visible()
    for route, response in held:
        route.fulfill(response=response)
    expect(second.locator('[data-section="findings"]')).to_contain_text("In the first window, not yet sent")
    expect(second.locator("[data-saved].done")).to_be_visible()
    expect(second.locator("#differs-dialog")).to_be_hidden()
    assert "not yet sent" in stored()
