"""What the viewer's page asks for while the viewer's scripts are read, and the scripts that it leaves out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume

THUMBNAIL = "[data-cy=study-browser-thumbnail] img"


@pytest.fixture
def study(send: Callable[[Path], None], tmp_path: Path) -> str:
    uid = ct_volume(tmp_path, slices=4)
    send(tmp_path)
    return uid


@pytest.fixture
def asked(signed_in: Page) -> list[Request]:
    """What the tab asks the archive for, frames apart."""
    requests: list[Request] = []

    def remember(request: Request) -> None:
        if "/dicom-web/" in request.url and "/frames/" not in request.url:
            requests.append(request)

    signed_in.on("request", remember)
    return requests


def _level(request: Request) -> str:
    """`study`, `series` or `metadata`; `patient` for the studies of one."""
    if request.url.endswith("/metadata"):
        return "metadata"
    return "series" if "/series?" in request.url else "study" if "StudyInstanceUID=" in request.url else "patient"


def _open(page: Page, study: str) -> None:
    page.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(page, canvases=1)
    expect(page.locator(THUMBNAIL).first).to_be_visible()


def test_each_is_asked_for_once_and_by_the_page(
    signed_in: Page, study: str, asked: list[Request], complaints: list[str]
) -> None:
    _open(signed_in, study)
    early = [_level(request) for request in asked if request.resource_type == "fetch"]
    late = [_level(request) for request in asked if request.resource_type != "fetch"]
    assert sorted(early) == ["metadata", "series", "study"]
    assert late == ["patient"]
    assert complaints == []


def test_every_series_of_every_study_is_asked_for_once(
    signed_in: Page, send: Callable[[Path], None], study: str, tmp_path: Path, asked: list[Request]
) -> None:
    (tmp_path / "series").mkdir()
    ct_volume(tmp_path / "series", slices=2, study=study, SeriesNumber=2)
    (tmp_path / "study").mkdir()
    other = ct_volume(tmp_path / "study", slices=2)
    send(tmp_path / "series")
    send(tmp_path / "study")
    _open(signed_in, f"{study},{other}")
    assert sorted(_level(request) for request in asked if request.resource_type == "fetch") == [
        *["metadata"] * 3, *["series"] * 2, *["study"] * 2,
    ]  # fmt: skip
    assert {_level(request) for request in asked if request.resource_type != "fetch"} == {"patient"}


@pytest.mark.parametrize("refuse", [lambda route: route.abort(), lambda route: route.fulfill(status=503)])
def test_what_the_page_was_refused_the_viewer_asks_for(
    signed_in: Page, study: str, asked: list[Request], complaints: list[str], refuse: Callable[[Route], None]
) -> None:
    def answer(route: Route) -> None:
        is_early = route.request.resource_type == "fetch" and "/frames/" not in route.request.url
        refuse(route) if is_early else route.continue_()

    signed_in.route("**/dicom-web/**", answer)
    _open(signed_in, study)
    late = {_level(request) for request in asked if request.resource_type != "fetch"}
    assert late == {"study", "series", "metadata", "patient"}
    assert complaints == []


def test_an_answer_is_used_for_one_opening_and_not_again(signed_in: Page, study: str, asked: list[Request]) -> None:
    _open(signed_in, study)
    early = [request.url for request in asked if request.resource_type == "fetch"]
    assert len(early) == 3
    for url in early:
        path = "/" + url.split("/", 3)[3]
        assert signed_in.evaluate("path => sinarEarly(path, () => 'asked anew')", path) == "asked anew"


def test_a_link_to_one_series_asks_for_this_one(
    signed_in: Page, send: Callable[[Path], None], study: str, tmp_path: Path, asked: list[Request]
) -> None:
    (tmp_path / "series").mkdir()
    ct_volume(tmp_path / "series", slices=2, study=study, SeriesNumber=2)
    send(tmp_path / "series")
    _open(signed_in, study)
    series = next(request.url for request in asked if _level(request) == "metadata").split("/series/")[1].split("/")[0]
    asked.clear()
    _open(signed_in, f"{study}&SeriesInstanceUIDs={series}")
    assert [request for request in asked if request.resource_type == "fetch"] == []
    assert [request.url.split("/series/")[1].split("/")[0] for request in asked if _level(request) == "metadata"] == [
        series
    ]


def test_the_viewers_own_mode_comes_alone(signed_in: Page, study: str) -> None:
    _open(signed_in, study)
    assert signed_in.evaluate("window.modes") == ["@ohif/mode-longitudinal"]


@pytest.mark.parametrize("mode", ["basic", "segmentation"])
def test_the_other_modes_have_their_addresses(signed_in: Page, study: str, mode: str, complaints: list[str]) -> None:
    signed_in.goto(f"/ohif/{mode}?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    assert len(signed_in.evaluate("window.modes")) == 7
    assert complaints == []


def test_the_viewers_keys_work(signed_in: Page, study: str) -> None:
    _open(signed_in, study)
    expect(signed_in.get_by_text("(1/4)")).to_be_visible()
    signed_in.keyboard.press("ArrowDown")
    expect(signed_in.get_by_text("(2/4)")).to_be_visible()
