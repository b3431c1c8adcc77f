"""Measurements are saved from the viewer and opened again, by whoever may see the study, with who measured in them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import BrowserContext, Frame, Page, expect
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from pacs.models import Study
from radiology.models import Report, Role, User
from tests.browser.conftest import PASSWORD, sign_in
from tests.browser.test_reading_view import examination_of
from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume
from tests.daemons import wait_until
from tests.factories import make_user
from tests.pacs.reported import objects_of, work

MEASURED = """() => window.services.measurementService.getMeasurements().map((each) => [
  each.toolName, ...each.displayText.primary])"""
HYDRATED = "() => window.services.measurementService.getMeasurements().length > 0"


@pytest.fixture
def radiologist(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    return person


@pytest.fixture
def study(send: Callable[[Path], None], tmp_path: Path) -> Study:
    uid = ct_volume(tmp_path, slices=6)
    send(tmp_path)
    return Study.objects.get(study_instance_uid=uid)


def open_images(page: Page, study: Study) -> None:
    page.goto(f"/viewer?StudyInstanceUIDs={study.study_instance_uid}")
    wait_for_images(page, canvases=1)


def measure_length(viewer: Page | Frame, *, down: int = 0) -> str:
    """Draws a line; what the viewer says of it."""
    page = viewer.page if isinstance(viewer, Frame) else viewer
    viewer.locator('[data-cy="Length"]').click()
    box = viewer.locator(".cornerstone-canvas").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + down
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 5, steps=8)
    page.mouse.up()
    viewer.wait_for_function(HYDRATED)
    said: list[str] = []

    def stands() -> bool:
        """The viewer works its value out some time after the line was moved."""
        said.append(str(viewer.evaluate(MEASURED)[-1][1]))
        viewer.wait_for_timeout(300)
        return len(said) > 2 and len(set(said[-3:])) == 1

    wait_until(stands, what="the length stands")
    return said[-1]


def begin_to_save(page: Page) -> None:
    create = page.get_by_role("button", name="Create SR")
    if not create.is_visible():
        page.locator("[data-cy=trackedMeasurements-btn]").click()
    create.click()


def save(page: Page) -> None:
    begin_to_save(page)
    page.get_by_role("button", name="Save", exact=True).click()


def reopen(page: Page, length: str, *, named: str = "") -> None:
    """What was saved is measured again: the viewer works its value out some time after the line is there."""
    page.locator('[data-cy="study-browser-thumbnail-no-image"]', has_text=named).first.dblclick()
    page.wait_for_function(HYDRATED)
    page.wait_for_function(f"(length) => String(({MEASURED})()) === `Length,${{length}}`", arg=length)


def test_measurements_are_saved_opened_again_and_changed_by_a_colleague(
    signed_in: Page, study: Study, radiologist: User, complaints: list[str], browser_context: BrowserContext
) -> None:
    open_images(signed_in, study)
    length = measure_length(signed_in)
    assert re.fullmatch(r"[\d.]+ mm", length)
    begin_to_save(signed_in)
    signed_in.get_by_placeholder("Report name").fill("Nodul paru")
    signed_in.get_by_role("button", name="Save", exact=True).dblclick()
    expect(signed_in.get_by_text("Measurements saved successfully").first).to_be_visible()
    [saved] = objects_of(study, "SR")
    assert saved.SeriesDescription == "Nodul paru"
    signed_in.reload()
    wait_for_images(signed_in, canvases=1)
    reopen(signed_in, length)
    assert complaints == []

    make_user("wayan", role=Role.RADIOGRAPHER, language="en", password="rahasia-sekali-1")
    browser_context.clear_cookies()
    signed_in.goto("/accounts/login/")
    sign_in(signed_in, "wayan")
    open_images(signed_in, study)
    reopen(signed_in, length)
    measure_length(signed_in, down=60)
    save(signed_in)
    expect(signed_in.get_by_text("Measurements saved successfully").first).to_be_visible()
    first, second = objects_of(study, "SR")
    names = [
        next(str(each.PersonName) for each in document.ContentSequence if each.ValueType == "PNAME")
        for document in (first, second)
    ]
    assert names == ["^Dewi", "wayan"]
    assert first.SOPInstanceUID == saved.SOPInstanceUID != second.SOPInstanceUID
    assert len(second.ContentSequence[-1].ContentSequence) == 2


def test_what_is_not_saved_is_said_and_stays(
    signed_in: Page, study: Study, radiologist: User, browser_context: BrowserContext
) -> None:
    open_images(signed_in, study)
    signed_in.locator("[data-cy=trackedMeasurements-btn]").click()
    expect(signed_in.get_by_role("button", name="Create SR")).to_have_count(0)  # nothing is measured
    length = measure_length(signed_in)
    browser_context.set_offline(True)
    save(signed_in)
    expect(signed_in.get_by_text("Not saved: the server cannot be reached.").first).to_be_visible()
    expect(signed_in.locator('[data-cy="study-browser-thumbnail-no-image"]')).to_have_count(0)
    browser_context.set_offline(False)
    radiologist.groups.clear()
    save(signed_in)
    expect(signed_in.get_by_text("Not saved. You may not save measurements").first).to_be_visible()
    session: Any = [each for each in browser_context.cookies() if each["name"] == "sessionid"]
    browser_context.clear_cookies(name="sessionid")
    save(signed_in)
    expect(signed_in.get_by_text("Not saved: you are signed out.").first).to_be_visible()
    browser_context.add_cookies(session)  # signed in on another tab
    radiologist.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    assert objects_of(study, "SR") == []
    assert signed_in.evaluate(MEASURED) == [["Length", length]]
    save(signed_in)
    expect(signed_in.get_by_text("Measurements saved successfully").first).to_be_visible()
    assert len(objects_of(study, "SR")) == 1


def test_what_a_signed_report_measured_opens_in_the_viewer_again(
    signed_in: Page, study: Study, radiologist: User, complaints: list[str]
) -> None:
    signed_in.goto(examination_of(study))
    images = signed_in.frame_locator("iframe[name=images]")
    expect(images.locator(".cornerstone-canvas").first).to_be_visible(timeout=90_000)
    frame = next(each for each in signed_in.frames if each.name == "images")
    wait_for_images(frame, canvases=1)
    length = measure_length(frame)
    expect(signed_in.locator("[data-count]")).to_have_text("1")
    signed_in.locator('[data-section="findings"] .ProseMirror').click()
    signed_in.keyboard.type("Nodul ")
    signed_in.keyboard.press("Alt+m")
    expect(signed_in.locator('[data-section="findings"] a')).to_have_text(length)
    signed_in.keyboard.press("Control+Enter")
    signed_in.get_by_label("Your password").fill(PASSWORD)
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url("**/reading")  # signed, and on to the next one: there is none
    work()
    document = next(each for each in objects_of(study, "SR") if each.SOPClassUID == ComprehensiveSRStorage)
    [group] = document.ContentSequence[-1].ContentSequence
    number = next(each for each in group.ContentSequence if each.ValueType == "NUM")
    assert f"{float(number.MeasuredValueSequence[0].NumericValue):.1f} mm" == length
    assert number.ContentSequence[0].GraphicType == "POLYLINE"

    signed_in.goto(f"/reports/{Report.objects.get().public_id}")
    signed_in.locator('a[href^="/viewer?"][href*="tool=Length"]').first.click()
    wait_for_images(signed_in, canvases=1)
    reopen(signed_in, length, named="Measurements of the report")
    assert complaints == []


def test_without_calibration_nothing_is_saved_in_millimetres(
    signed_in: Page, radiologist: User, send: Callable[[Path], None], tmp_path: Path
) -> None:
    uid = ct_volume(tmp_path, slices=1, SOPClassUID=SecondaryCaptureImageStorage, PixelSpacing=None, Modality="OT")
    send(tmp_path)
    study = Study.objects.get(study_instance_uid=uid)
    open_images(signed_in, study)
    assert measure_length(signed_in).endswith(" px")
    save(signed_in)
    expect(signed_in.get_by_text("Measurements saved successfully").first).to_be_visible()
    [document] = objects_of(study, "SR")
    units = [each.MeasurementUnitsCodeSequence[0].CodeValue for each in numbers_of(document)]
    assert units == ["1"]


def numbers_of(document: Dataset) -> list[Dataset]:
    """The measured values of a document."""
    return [item for each in document.iterall() if each.keyword == "MeasuredValueSequence" for item in each.value]
