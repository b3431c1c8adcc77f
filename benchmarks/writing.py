"""How much of what somebody types is lost when the browser or the web server is killed in mid-sentence.

    make writing ARGS="--kills 20 --seed 1"

Somebody types a report in the reading view, in Chromium, on the product as `make run` starts it. At random moments the
browser with all its processes, or the web server with all its workers, gets SIGKILL. Then the report is opened again,
and what stands in it is compared with the keys that were pressed. The rule: at most the last second is lost.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import psutil
from playwright.sync_api import BrowserContext, Error, Page, Playwright, sync_playwright
from pydicom import dcmread
from pydicom.uid import generate_uid

from benchmarks import machine
from benchmarks.command_line import main_of
from benchmarks.http_client import HttpClient, Response
from benchmarks.soak.images import Images
from benchmarks.soak.product import Product
from benchmarks.soak.run import prepared
from deploy.project import ROOT
from deploy.screen import Screen, SetUpFailed

ALLOWED_SECONDS = 1.0
BROWSER, WEB = "browser", "web server"
# Between two keys: as fast as a practised typist, and slower.
KEY_SECONDS = (0.05, 0.2)
UNTIL_KILL = (2.0, 10.0)
AFTER_KILL = (3.0, 8.0)
TEXT = (
    "nodul soliter di lobus superior paru kanan dengan tepi spikulata suspek keganasan tidak tampak efusi pleura "
    "jantung tidak membesar kedua diafragma licin tulang intak dibandingkan foto sebelumnya ukuran bertambah"
)
WORDS = TEXT.split()
EDITOR = '[data-section="findings"] .ProseMirror'
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"]
STILL_SECONDS, OPEN_SECONDS = 1.5, 60.0


@dataclass(frozen=True)
class Loss:
    """One kill: keys pressed since the last, how many are not in the report (blanks not counted), and how long before
    the kill the first of them was pressed, in seconds."""

    victim: str
    typed: int
    lost: int
    seconds: float


class Typist:
    """Types words at a person's pace, and knows when each letter was typed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.letters: list[tuple[str, float]] = []

    def type(self, page: Page, until: Callable[[], bool]) -> None:
        """Until told; raises Error when the browser is gone."""
        while not until():
            for letter in f"{self._chance.choice(WORDS)} ":
                page.keyboard.type(letter)
                if letter != " ":
                    self.letters.append((letter, time.monotonic()))
                time.sleep(self._chance.uniform(*KEY_SECONDS))


class Reading:
    """The product with one examination to read, and the browser in which it is read."""

    def __init__(self, product: Product, playwright: Playwright, profile: Path) -> None:
        self.product = product
        self._playwright, self._profile = playwright, profile
        self._base = f"http://127.0.0.1:{product.http_port}"
        self._study = self._examination()

    def open(self) -> tuple[BrowserContext, Page]:
        """A browser with the profile of the last one, signed in, at the end of the text."""
        context = self._playwright.chromium.launch_persistent_context(
            str(self._profile), executable_path=shutil.which("chromium"), args=FLAGS, base_url=self._base
        )
        page = context.pages[0]
        self.show(page)
        return context, page

    def show(self, page: Page) -> None:
        page.goto(f"/reading/of?study={self._study}", timeout=OPEN_SECONDS * 1000)
        if page.locator('input[name="login"]').count():
            page.locator('input[name="login"]').fill("admin")
            page.locator('input[name="password"]').fill(self.product.password)
            page.keyboard.press("Enter")
        page.locator(EDITOR).wait_for(timeout=OPEN_SECONDS * 1000)
        page.locator(EDITOR).click()
        page.keyboard.press("Control+End")

    def written(self, page: Page) -> str:
        """The letters of the text, once nothing changes any more."""
        before, since = "", time.monotonic()
        while time.monotonic() < since + STILL_SECONDS:
            now = "".join(page.locator(EDITOR).inner_text().split())
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.1)
        return before

    def kill(self, victim: str) -> None:
        """All its processes at once."""
        if victim == BROWSER:
            found = [each.pid for each in psutil.process_iter(["cmdline"]) if self._is_ours(each.info["cmdline"] or [])]
        else:
            kinds = self.product.by_kind()
            found = kinds.get("web", []) + kinds.get("web worker", [])
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _is_ours(self, command: Sequence[str]) -> bool:
        return any(str(self._profile) in argument for argument in command)

    def _examination(self) -> str:
        """An order, and an image of it that has come."""
        image = dcmread(BytesIO(Images(1, 1).next().file))
        image.PatientID = f"W-{secrets.randbelow(10**9)}"
        who = {
            "patient_id": image.PatientID,
            "patient_name": str(image.PatientName),
            "patient_birth_date": image.PatientBirthDate,
            "patient_sex": image.PatientSex,
        }
        procedure = {"code": "CTTHX", "description": "CT thorax", "modality": "CT"}
        wanted = json.dumps({"patient": who, "procedures": [procedure], "accept_warnings": True})
        scopes = [f"--scope={scope}" for scope in ("studies.write", "orders.write", "patients.write")]
        token = self.product.manage("apitoken", "writing", *scopes).stdout.strip()
        http = HttpClient(self.product.http_port, {"Authorization": f"Bearer {token}"})
        order = posted(http, "/api/v1/orders", wanted.encode(), "application/json").json()
        study = str(order["procedures"][0]["study_instance_uid"])
        image.StudyInstanceUID, image.AccessionNumber = study, order["accession_number"]
        image.StudyDate = image.SeriesDate = time.strftime("%Y%m%d")
        image.SOPInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        file = BytesIO()
        image.save_as(file)
        posted(http, "/dicom-web/studies", file.getvalue(), "application/dicom")
        session, until = self.product.session(), time.monotonic() + OPEN_SECONDS
        while session.get(f"/reading/of?study={study}").status != 302:
            if time.monotonic() > until:
                raise SetUpFailed("The study did not come to the reading list.")
            time.sleep(0.2)
        return study


def posted(http: HttpClient, path: str, body: bytes, content_type: str) -> Response:
    """The answer. Raises SetUpFailed when it is a refusal."""
    answer = http.request("POST", path, body=body, headers={"Content-Type": content_type})
    if answer.status not in (200, 201):
        raise SetUpFailed(f"{path}: {answer.status} {answer.body.decode(errors='replace')[:500]}")
    return answer


def one(reading: Reading, victim: str, chance: random.Random, before: str, page: Page) -> tuple[Loss, str, Page]:
    """Types, kills, opens again; what was lost, what stands there now, and where to go on."""
    typist = Typist(chance)
    killed: list[float] = []

    def kill() -> None:
        killed.append(time.monotonic())
        reading.kill(victim)

    timer = threading.Timer(chance.uniform(*UNTIL_KILL), kill)
    on = chance.uniform(*AFTER_KILL)
    timer.start()
    with contextlib.suppress(Error):
        typist.type(page, lambda: bool(killed) and (victim == BROWSER or time.monotonic() > killed[0] + on))
        if victim == BROWSER:
            page.keyboard.type(" ")  # it may be gone between two words
    timer.join()
    if victim == BROWSER:
        with contextlib.suppress(Error):
            page.context.close()
        _, page = reading.open()
    else:
        page.locator("[data-saved].done").wait_for(timeout=OPEN_SECONDS * 1000)
        reading.show(page)
    letters = [each for each in typist.letters if victim != BROWSER or each[1] <= killed[0]]
    now = reading.written(page)
    expected = before + "".join(letter for letter, _ in letters)
    pairs = enumerate(zip(now, expected, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(now), len(expected)))
    lost = letters[max(0, same - len(before)) :]
    seconds = max(0.0, (killed[0] if victim == BROWSER else time.monotonic()) - lost[0][1]) if lost else 0.0
    return Loss(victim, len(letters), len(lost), seconds), now, page


def told(losses: Sequence[Loss], screen: Screen) -> int:
    """The summary; 1 when more was lost than may be."""
    screen.say(f"\n{'killed':12}{'times':>6}{'typed':>8}{'kept':>8}{'lost':>6}{'most at once':>14}{'longest':>10}")
    for victim in (BROWSER, WEB):
        of = [each for each in losses if each.victim == victim]
        if of:
            typed, lost = sum(each.typed for each in of), sum(each.lost for each in of)
            longest = max(each.seconds for each in of)
            screen.say(
                f"{victim:12}{len(of):>6}{typed:>8}{typed - lost:>8}{lost:>6}{max(each.lost for each in of):>14}"
                f"{longest:>8.2f} s"
            )
    middle = statistics.median(each.seconds for each in losses)
    screen.say(f"\nLetters, blanks not counted. Half of the kills cost {middle:.2f} s of text or less.")
    wrong = [each for each in losses if each.seconds > ALLOWED_SECONDS]
    for each in wrong:
        screen.say(f"WRONG: {each}")
    if not wrong:
        screen.say(f"No kill cost more than {ALLOWED_SECONDS:g} s of text.")
    return 1 if wrong else 0


def write(chosen: argparse.Namespace) -> int:
    screen = Screen()
    folder: Path = chosen.data.resolve()
    product = prepared(folder, "profile")
    for line in machine.describe(folder):
        screen.say(line)
    with screen.step("Starting"):
        product.start()
    chance = random.Random(chosen.seed)  # noqa: S311 - moments
    losses: list[Loss] = []
    try:
        screen.say(f"{product.version()}; {chosen.kills} kills, seed {chosen.seed}")
        with sync_playwright() as playwright:
            reading = Reading(product, playwright, folder / "profile")
            context, page = reading.open()
            before = reading.written(page)
            for number in range(chosen.kills):
                victim = (BROWSER, WEB)[number % 2]
                loss, before, page = one(reading, victim, chance, before, page)
                losses.append(loss)
                screen.say(f"{number + 1:>3} {victim:12}{loss.typed:>5} typed{loss.lost:>4} lost{loss.seconds:>6.2f} s")
            page.context.close()
            with contextlib.suppress(Error):
                context.close()
    finally:
        with screen.step("Stopping"):
            product.stop()
    return told(losses, screen)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make writing", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="the browser and the web server in turn (20)")
    parser.add_argument("--seed", type=int, default=1, help="of when they are killed and what is typed (1)")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "writing", help="where everything lies")
    return parser.parse_args(arguments)


def main() -> int:
    return main_of(write, options)
