"""Key images in a real browser: marked in the viewer with a key, captioned, put in order, opened again, signed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Frame, Page, expect

from pacs.models import Study
from radiology.models import Report, User
from tests.browser.conftest import PASSWORD
from tests.browser.test_reading_view import examination_of, radiologist  # noqa: F401  (a fixture)
from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume
from tests.daemons import wait_until

VIEWPORT = """() => {
  const { viewportGridService, cornerstoneViewportService } = window.services;
  return cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getState().activeViewportId);
}"""


def chosen() -> list[dict[str, Any]]:
    report = Report.objects.first()
    return (report.draft_key_images or []) if report else []


def at(frame: Frame, index: int | None = None) -> int:
    """Which image of the stack is shown; with `index` that one is, from then on."""
    if index is not None:
        frame.evaluate(f"async (index) => {{ await ({VIEWPORT})().setImageIdIndex(index) }}", index)
    return int(frame.evaluate(f"() => ({VIEWPORT})().getCurrentImageIdIndex()"))


@pytest.fixture
def images(
    signed_in: Page,
    radiologist: User,  # noqa: F811
    send: Callable[[Path], None],
    tmp_path: Path,
) -> Frame:
    uid = ct_volume(tmp_path, slices=10)
    send(tmp_path)
    signed_in.goto(examination_of(Study.objects.get(study_instance_uid=uid)))
    expect(signed_in.frame_locator("iframe[name=images]").locator(".cornerstone-canvas").first).to_be_visible(
        timeout=90_000
    )
    frame = next(each for each in signed_in.frames if each.name == "images")
    wait_for_images(frame, canvases=1)
    return frame


def test_they_are_chosen_captioned_ordered_opened_and_signed(
    signed_in: Page, images: Frame, complaints: list[str], tmp_path: Path
) -> None:
    page = signed_in
    strip = page.locator("[data-key-images]")
    expect(strip).to_be_hidden()
    at(images, 3)
    images.evaluate(
        f"() => {{ const v = ({VIEWPORT})(); v.setProperties({{voiRange: {{lower: -160, upper: 239}}}}); }}"
    )
    page.locator('[data-section="findings"] .ProseMirror').click()
    page.keyboard.type("Nodul ")
    page.keyboard.press("Alt+k")
    page.keyboard.type("di kanan.")
    wait_until(lambda: len(chosen()) == 1, what="the image kept")
    first = chosen()[0]
    assert first["instance_number"] == 7  # the viewer begins at the head
    assert first["window"] == {"center": 40, "width": 400, "function": "linear"} and not first["inverted"]
    expect(strip.locator("img")).to_have_attribute("src", re.compile(first["id"]))
    assert strip.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
    page.keyboard.press("Alt+k")
    expect(strip.get_by_role("status")).to_contain_text("key image 1 already")
    at(images, 7)
    images.locator(".cornerstone-canvas").first.click()
    page.keyboard.press("Alt+k")  # in the viewer itself
    wait_until(lambda: len(chosen()) == 2, what="the second image kept")
    page.get_by_label("Caption of key image 2").fill("Efusi")
    wait_until(lambda: chosen()[1]["caption"] == "Efusi", what="the caption kept")
    page.screenshot(path=tmp_path / "strip.png")
    assert page.evaluate("document.documentElement.scrollHeight - document.documentElement.clientHeight") <= 1
    page.get_by_role("button", name="Key image 2 CT").focus()
    page.keyboard.press("Shift+ArrowLeft")
    wait_until(lambda: [each["caption"] for each in chosen()] == ["Efusi", ""], what="the order kept")
    expect(page.get_by_role("button", name="Key image 1 CT")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    wait_until(lambda: len(chosen()) == 1, what="one taken out")
    page.get_by_role("button", name="Undo").click()
    wait_until(lambda: [each["instance_number"] for each in chosen()] == [3, 7], what="it is there again")
    assert chosen()[1]["window"] == first["window"]
    at(images, 0)
    page.get_by_role("button", name="Key image 2 CT").click()
    wait_until(lambda: at(images) == 3, what="the image shown again")
    assert images.evaluate(f"() => ({VIEWPORT})().getProperties().voiRange") == {"lower": -160, "upper": 239}
    page.reload()
    expect(strip.locator("li")).to_have_count(2)
    expect(page.get_by_label("Caption of key image 1")).to_have_value("Efusi")
    expect(page.locator('[data-section="findings"] .ProseMirror')).to_contain_text("Nodul di kanan.")
    page.keyboard.press("Control+Enter")
    page.keyboard.type(PASSWORD)
    page.locator("[data-sign-stay]").click()
    page.wait_for_url("**/reports/*")
    expect(page.locator(".key-images img")).to_have_count(2)
    for each in page.locator(".key-images img").all():
        assert each.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert complaints == []


def test_without_a_connection_it_is_kept_as_soon_as_there_is_one(signed_in: Page, images: Frame) -> None:
    at(images, 2)
    signed_in.route("**/key-images", lambda route: route.abort())
    signed_in.keyboard.press("Alt+k")
    expect(signed_in.locator("[data-key-images]")).to_contain_text("Not saved yet")
    signed_in.keyboard.type("Meanwhile.")
    signed_in.unroute("**/key-images")
    wait_until(lambda: len(chosen()) == 1, what="the image kept")
    wait_until(lambda: (Report.objects.get().draft or {}).get("findings") == "Meanwhile.", what="the text kept")


def test_what_was_deleted_meanwhile_says_so_and_can_be_taken_out(signed_in: Page, images: Frame) -> None:
    signed_in.keyboard.press("Alt+k")
    wait_until(lambda: len(chosen()) == 1, what="the image kept")
    study = Study.objects.get(study_instance_uid=chosen()[0]["study"])
    study.series.get().instances.filter(sop_instance_uid=chosen()[0]["instance"]).update(removed_at=study.created_at)
    signed_in.reload()
    expect(signed_in.locator("[data-key-images] li")).to_contain_text("No longer in the archive")
    signed_in.get_by_role("button", name="Take out: Key image 1").click()
    wait_until(lambda: chosen() == [], what="it is taken out")


def test_the_window_of_the_images_alone_is_asked(signed_in: Page, images: Frame, complaints: list[str]) -> None:
    with signed_in.context.expect_page() as opened:
        signed_in.keyboard.press("Alt+w")
    screen = opened.value
    expect(signed_in.locator(".reading .images")).to_be_hidden()
    expect(screen.frame_locator("iframe").locator(".cornerstone-canvas").first).to_be_visible(timeout=90_000)
    inside = next(each for each in screen.frames if each.name == "images")
    wait_for_images(inside, canvases=1)
    at(inside, 4)
    signed_in.keyboard.press("Alt+k")
    wait_until(lambda: [each["instance_number"] for each in chosen()] == [6], what="the image kept")
    at(inside, 0)
    signed_in.get_by_role("button", name="Key image 1 CT").click()
    wait_until(lambda: at(inside) == 4, what="the image shown again")
    at(inside, 1)
    screen.keyboard.press("Alt+k")
    wait_until(lambda: [each["instance_number"] for each in chosen()] == [6, 9], what="the second image kept")
    at(inside, 2)
    inside.locator(".cornerstone-canvas").first.click()
    screen.keyboard.press("Alt+k")
    wait_until(lambda: [each["instance_number"] for each in chosen()] == [6, 9, 8], what="the third image kept")
    assert complaints == []
