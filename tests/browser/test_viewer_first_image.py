"""What the viewer does before its first image is there, and what it leaves for afterwards."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from pacs.models import Instance
from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume

SLICES = 8
COUNT_CONTEXTS = """
window.contexts = new Set();
const { getContext } = HTMLCanvasElement.prototype;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  const context = getContext.call(this, kind, ...rest);
  if (context && String(kind).startsWith("webgl")) window.contexts.add(context);
  return context;
};
"""
CONTEXTS_ALIVE = "() => [...window.contexts].filter((context) => !context.isContextLost()).length"
THUMBNAIL = "[data-cy=study-browser-thumbnail] img"


@pytest.fixture
def study(send: Callable[[Path], None], tmp_path: Path) -> str:
    uid = ct_volume(tmp_path, slices=SLICES)
    send(tmp_path)
    return uid


def _number(request: Request) -> int:
    uid = request.url.split("/instances/")[1].split("/")[0]
    return int(Instance.objects.get(sop_instance_uid=uid).instance_number or 0)


def test_the_image_is_asked_for_before_the_thumbnail(signed_in: Page, study: str, complaints: list[str]) -> None:
    asked: list[Request] = []
    signed_in.on("request", lambda request: asked.append(request) if "/frames/" in request.url else None)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.locator(THUMBNAIL).first).to_be_visible()
    assert _number(asked[0]) == SLICES  # the one on top; the thumbnail is of the one in the middle
    assert complaints == []


def test_thumbnails_come_though_the_first_image_does_not(signed_in: Page, study: str) -> None:
    def answer(route: Route) -> None:
        route.abort() if _number(route.request) == SLICES else route.continue_()

    signed_in.route("**/frames/*", answer)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    expect(signed_in.locator(THUMBNAIL).first).to_be_visible()


def test_a_viewport_has_a_context_when_it_needs_one(signed_in: Page, study: str) -> None:
    signed_in.add_init_script(COUNT_CONTEXTS)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.locator(THUMBNAIL).first).to_be_visible()
    viewport, thumbnails, what_the_browser_can_do = 1, 1, 2
    assert signed_in.evaluate(CONTEXTS_ALIVE) <= viewport + thumbnails + what_the_browser_can_do


def test_each_of_four_stacks_is_drawn(
    signed_in: Page, send: Callable[[Path], None], study: str, tmp_path: Path
) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        ct_volume(folder, slices=2, study=study, SeriesNumber=number + 2)
        send(folder)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}&hangingprotocolid=@ohif/mnGrid")
    wait_for_images(signed_in, canvases=4)


def test_every_script_of_the_viewer_carries_the_version_of_its_import(signed_in: Page, study: str) -> None:
    scripts: list[str] = []
    signed_in.on("request", lambda request: scripts.append(request.url) if ".bundle." in request.url else None)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    versions = {url.partition(".js?v=")[2] for url in scripts if url.partition("?")[0].endswith(".js")}
    assert len(versions) == 1 and "" not in versions
