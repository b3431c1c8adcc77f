#!/usr/bin/env python3
"""Takes the pictures of docs/images of a running department that holds the demonstration.

    make run                                      # in one terminal
    SINAR_ADMIN_PASSWORD=... .venv/bin/python deploy/screenshots.py --url http://127.0.0.1:8000

Needs Chromium and the packages of requirements-dev.txt. Names on the command line (`study viewer-ct`) take
only those pictures. Studies are found by QIDO-RS, the rest by links. Imports and transfers are those that the
department has: import a folder, register a node and send it something first.
"""

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 150_000
FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
DESK, PHONE, WALL = (1280, 800), (390, 844), (1600, 900)
VIEWER_SECONDS = 90
ARCHIVE = os.environ.get("SINAR_SCREENSHOT_ARCHIVE", "MINIPACS")  # a node that answers C-FIND; ourselves will do
# QIDO-RS queries for the studies that are shown
THORAX = "PatientID=00012871&ModalitiesInStudy=SEG"
BREASTS = "PatientID=00020416&ModalitiesInStudy=MG"
ULTRASOUND = "PatientID=00103370&ModalitiesInStudy=US"
BRAIN = "PatientID=00097730&ModalitiesInStudy=SR"
CORONARIES = "PatientID=00100413&ModalitiesInStudy=XA"
REJECTED = "PatientID=00101559"
CORRECTED = "PatientID=KB-3307"


@dataclass(frozen=True)
class Picture:
    """One page: how to reach it from a signed-in tab, in what window and theme."""

    name: str
    reach: Callable[[Page], None]
    size: tuple[int, int] = DESK
    dark: bool = False


def at(address: str) -> Callable[[Page], None]:
    def reach(page: Page) -> None:
        page.goto(address)
        page.wait_for_load_state("networkidle")

    return reach


def study_uid(page: Page, query: str) -> str:
    """The newest study that a QIDO-RS query of this tab's session finds."""
    answer = page.request.get(f"/dicom-web/studies?{query}")
    found = sorted(answer.json(), key=lambda each: each.get("00080020", {}).get("Value", [""])[0])
    if not found:
        raise SystemExit(f"No study for {query}: send the demonstration first (manage.py demo).")
    return str(found[-1]["0020000D"]["Value"][0])


def study(query: str, beneath: str = "") -> Callable[[Page], None]:
    def reach(page: Page) -> None:
        at(f"/studies/{study_uid(page, query)}{beneath}")(page)

    return reach


def patient(query: str) -> Callable[[Page], None]:
    """The patient's page, through a study's."""

    def reach(page: Page) -> None:
        study(query)(page)
        page.locator("a[href^='/patients/']").first.click()
        page.wait_for_load_state("networkidle")

    return reach


def viewer(query: str, *, modality: str = "", frame: int = 1) -> Callable[[Page], None]:
    """The viewer, once it shows something: the middle of the first series of `modality`, or a frame of a cine."""

    def reach(page: Page) -> None:
        uid = study_uid(page, query)
        address = f"/viewer?StudyInstanceUIDs={uid}"
        if modality:
            address += middle(page, uid, modality)
        page.goto(address)
        page.wait_for_function(DRAWN, timeout=VIEWER_SECONDS * 1000, polling=500)
        page.mouse.move(DESK[0] * 0.6, DESK[1] * 0.5)
        for _ in range(frame - 1):
            page.mouse.wheel(0, 100)
            page.wait_for_timeout(150)
        page.wait_for_load_state("networkidle")

    return reach


def middle(page: Page, study: str, modality: str) -> str:
    """The viewer's parameters for the middle image of a study's first series of `modality`."""
    series = page.request.get(f"/dicom-web/studies/{study}/series?Modality={modality}").json()
    first = min(series, key=lambda each: each.get("00200011", {}).get("Value", [0])[0])["0020000E"]["Value"][0]
    found = page.request.get(f"/dicom-web/studies/{study}/series/{first}/instances").json()
    images = sorted(found, key=lambda each: each.get("00200013", {}).get("Value", [0])[0])
    image = images[len(images) // 2]["00080018"]["Value"][0]
    return f"&initialSeriesInstanceUID={first}&initialSOPInstanceUID={image}"


# Whether a viewport holds a picture that is not of one colour.
DRAWN = """() => {
  for (const canvas of document.querySelectorAll("canvas.cornerstone-canvas")) {
    if (!canvas.width || !canvas.height) continue;
    const small = document.createElement("canvas");
    small.width = small.height = 24;
    const context = small.getContext("2d");
    context.drawImage(canvas, 0, 0, 24, 24);
    const data = context.getImageData(0, 0, 24, 24).data;
    if (new Set(data.filter((_, place) => place % 4 === 0)).size > 8) return true;
  }
  return false;
}"""


def remote_query(page: Page) -> None:
    """What the archive ARCHIVE answers to a search; the empty form while no node is registered."""
    at("/remote")(page)
    search = page.locator("form.remote button")
    if search.count():
        titles = page.locator("form.remote select[name=node] option").all_inner_texts()
        chosen = next((title for title in titles if title.startswith(ARCHIVE)), titles[0])
        page.locator("form.remote select[name=node]").select_option(label=chosen)
        page.locator("form.remote [name=modality]").fill("MR")
        search.click()
        page.locator("#remote :is(table, .alert, .empty-page)").first.wait_for()
        page.wait_for_load_state("networkidle")


def latest(address: str) -> Callable[[Page], None]:
    """The newest run or transfer of a page that lists them; the list itself while there is none."""

    def reach(page: Page) -> None:
        at(address)(page)
        rows = page.locator(f"main a[href^='{address}/']")
        if rows.count():
            rows.first.click()
            page.wait_for_load_state("networkidle")

    return reach


def first(address: str, beneath: str) -> Callable[[Page], None]:
    """The first page whose address begins with `beneath` that a list leads to."""

    def reach(page: Page) -> None:
        at(address)(page)
        link = page.locator(f"main a[href^='{beneath}']").first.get_attribute("href")
        at(link or address)(page)

    return reach


def read(page: Page) -> None:
    """A CT of the thorax that waits to be read: its images, and a report begun from a template."""
    at("/reading?modality=CT")(page)
    link = page.locator("main a[href^='/reading/0']", has_text="Sukartono").first.get_attribute("href")
    at(link or "/reading")(page)
    frame = page.frame(name="images")
    if frame is not None:
        frame.wait_for_function(DRAWN, timeout=VIEWER_SECONDS * 1000, polling=500)
    page.keyboard.press("Alt+t")
    page.keyboard.type("chest without")
    page.keyboard.press("Enter")
    page.wait_for_timeout(2000)


def morning(page: Page) -> None:
    """The calendar of today from its first hour on."""
    at("/schedule")(page)
    page.evaluate("document.querySelector('.ec-main').scrollTop = 0")


PICTURES = (
    Picture("home", at("/")),
    Picture("board", at("/worklist?view=board&by=room")),
    Picture("board-dark", at("/worklist?view=board&by=status"), WALL, dark=True),
    Picture("board-phone", at("/worklist?view=board&by=list"), PHONE),
    Picture("examination", first("/worklist?view=board&by=list&status=done", "/examinations/")),
    Picture("schedule", morning),
    Picture("order", first("/orders?status=completed", "/orders/0")),
    Picture("reading", at("/reading")),
    Picture("reading-view", read, WALL),
    Picture("worklist-query", at("/worklist/queries/try?modality=CT&station=DEMO_CT")),
    Picture("reconciliation", at("/reconciliation")),
    Picture("patients", at("/patients?q=halim")),
    Picture("worklist", at("/worklist?view=studies")),
    Picture("worklist-dark", at("/worklist?view=studies"), WALL, dark=True),
    Picture("worklist-phone", at("/worklist?view=studies"), PHONE),
    Picture("search", at("/worklist?q=thorax+today")),
    Picture("patient", patient(THORAX)),
    Picture("patient-phone", patient(BRAIN), PHONE),
    Picture("study", study(THORAX)),
    Picture("study-dark", study(BRAIN), dark=True),
    Picture("headers", study(BREASTS, "/headers")),
    Picture("history", study(REJECTED, "/history")),
    Picture("history-correction", study(CORRECTED, "/history")),
    Picture("correct", study(CORRECTED, "/correct")),
    Picture("inbox", at("/inbox")),
    Picture("import", at("/import")),
    Picture("import-run", latest("/import")),
    Picture("transfers", at("/transfers")),
    Picture("transfer", latest("/transfers")),
    Picture("remote", remote_query),
    Picture("viewer", viewer(THORAX, modality="CT"), dark=True),
    Picture("viewer-mammography", viewer(BREASTS), dark=True),
    Picture("viewer-ultrasound", viewer(ULTRASOUND), dark=True),
    Picture("viewer-angiography", viewer(CORONARIES, frame=16), dark=True),
    Picture("viewer-mr", viewer(BRAIN, modality="MR"), dark=True),
    Picture("api", at("/api/v1/docs")),
    Picture("admin", at("/admin/")),
    Picture("admin-nodes", at("/admin/pacs/applicationentity/")),
)


def sign_in(context: BrowserContext, user: str, password: str) -> None:
    page = context.new_page()
    page.goto("/accounts/login/")
    page.locator("input[name=login]").fill(user)
    page.locator("input[name=password]").fill(password)
    page.locator("form:has(input[name=password]) button[type=submit]").first.click()
    page.wait_for_url("**/")
    page.close()


def take(browser: Browser, picture: Picture, *, url: str, user: str, password: str) -> bytes:
    """The page as PNG; a profile of its own, so that none leaves traces in the next."""
    width, height = picture.size
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.dark else "light",
        locale="en-GB",
        reduced_motion="reduce",
    )
    try:
        sign_in(context, user, password)
        page = context.new_page()
        picture.reach(page)
        return page.screenshot()
    finally:
        context.close()


def small(png: bytes) -> bytes:
    """A palette instead of true colour; a picture that is larger than LARGEST even so becomes smaller in size."""
    full = Image.open(io.BytesIO(png)).convert("RGB")
    result = b""
    for scale, colours in ((1.0, 256), (1.0, 128), (0.75, 256), (0.75, 128), (0.6, 128), (0.5, 64)):
        image = full.resize((round(full.width * scale), round(full.height * scale)), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.quantize(colours, kmeans=2, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        result = file.getvalue()
        if len(result) <= LARGEST:
            break
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these pictures")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    password = os.environ.get("SINAR_ADMIN_PASSWORD", "")
    if not password:
        parser.error("SINAR_ADMIN_PASSWORD must hold that user's password.")
    unknown = set(options.names) - {picture.name for picture in PICTURES}
    if unknown:
        parser.error(f"There is no picture {', '.join(sorted(unknown))}.")
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for picture in PICTURES:
            if options.names and picture.name not in options.names:
                continue
            try:
                png = small(take(browser, picture, url=options.url, user=options.user, password=password))
            except Exception as error:  # one page that is amiss is no reason to have no picture of the others
                failed += 1
                print(f"{picture.name}: {error}", file=sys.stderr)
                continue
            (options.out / f"{picture.name}.png").write_bytes(png)
            print(f"{picture.name}.png: {len(png) // 1000} kB", flush=True)
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
