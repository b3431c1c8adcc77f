"""`make writing`: somebody writes a report while the browser or the web server is killed again and again.

After each kill the characters are counted that were typed and are nowhere: neither on the server nor in the page that
is opened again. One second's typing may be lost, no more.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from playwright.sync_api import BrowserContext, Error, Page, Playwright, expect, sync_playwright

from benchmarks.servers import free_port
from benchmarks.servers.sinar import Sinar
from deploy.project import ROOT
from deploy.screen import Screen, SetUpFailed

ALLOWED = 1.0  # seconds of typing
PAUSE = 40  # milliseconds from key to key: a quick typist
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WORDS = [
    "nodul", "soliter", "di", "lobus", "superior", "paru", "kanan", "dengan", "tepi", "spikulata", "suspek",
]  # fmt: skip
TEXT = '[data-section="findings"] .ProseMirror'


@dataclass
class Typist:
    """Types words into the findings and knows when each character was typed."""

    random: random.Random
    typed: str = ""
    moments: list[float] = field(default_factory=list)

    def type(self, page: Page, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for character in f"{self.random.choice(WORDS)} ":
                page.keyboard.type(character)
                self.typed += character
                self.moments.append(time.monotonic())
                time.sleep(PAUSE / 1000)

    def lost(self, found: str, killed: float) -> tuple[int, float]:
        """How many characters are nowhere, and how long before the kill the first of them was typed."""
        kept = 0
        for typed, stands in zip(self.typed.strip(), found, strict=False):
            if typed != stands:
                break
            kept += 1
        missing = len(self.typed.strip()) - kept
        return missing, max(0.0, killed - self.moments[kept]) if missing else 0.0

    def goes_on_from(self, found: str) -> None:
        self.typed, self.moments = found, [0.0] * len(found)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make writing", description="Whether a kill takes words with it.")
    parser.add_argument("--kills", type=int, default=20, help="how many (20)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed when (1)")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "writing", help="where everything lies")
    return parser.parse_args(arguments)


def opened(playwright: Playwright, folder: Path, server: Sinar, address: str) -> tuple[BrowserContext, Page]:
    context = playwright.chromium.launch_persistent_context(
        str(folder),
        executable_path=shutil.which("chromium"),
        args=FLAGS,
        base_url=f"http://127.0.0.1:{server.http_port}",
    )
    page = context.pages[0]
    page.goto(address)
    if page.locator("[name=login]").count():
        page.locator("[name=login]").fill("admin")
        page.locator("[name=password]").fill(server.password)
        page.locator("[name=password]").press("Enter")
        page.wait_for_url(f"**{address}")
    expect(page.locator(TEXT)).to_be_visible()
    page.locator(TEXT).click()
    page.keyboard.press("Control+End")
    return context, page


def first_examination(playwright: Playwright, folder: Path, server: Sinar) -> str:
    """The address of one that is to be read."""
    rows = server.http.get("/api/v1/reading").json()["data"]
    if not rows:
        raise SetUpFailed("There is nothing to read among the demonstration's examinations.")
    return f"/reading/{rows[0]['procedure']}"


def text_of(page: Page) -> str:
    return page.locator(TEXT).inner_text().replace("\xa0", " ").strip()


def browsers_of(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or [])]


def web_of(server: Sinar, *, main: bool) -> list[psutil.Process]:
    """gunicorn's main process, or its workers."""
    ours = [
        each
        for each in psutil.Process(server.process.pid).children(recursive=True)
        if "gunicorn" in " ".join(each.cmdline())
    ]
    mains = [each for each in ours if each.parent() not in ours]
    return mains if main else [each for each in ours if each not in mains]


def run(chosen: argparse.Namespace) -> int:
    screen, chance = Screen(), random.Random(chosen.seed)  # noqa: S311 - nothing secret
    shutil.rmtree(chosen.data, ignore_errors=True)
    (chosen.data / "sinar").mkdir(parents=True, mode=0o711)
    server, profile = Sinar(chosen.data / "sinar", receiver_port=free_port()), chosen.data / "browser"
    typist = Typist(chance)
    worst = 0.0
    try:
        with screen.step("Starting Sinar with its demonstration"):
            server.start()
            server._manage("demo")
        with sync_playwright() as playwright:
            address = first_examination(playwright, profile, server)
            context, page = opened(playwright, profile, server, address)
            for number in range(1, chosen.kills + 1):
                typist.type(page, chance.uniform(1, 4))
                victim = chance.choice(["browser", "web", "web worker"])
                killed = time.monotonic()
                if victim == "browser":
                    for each in browsers_of(profile):
                        each.send_signal(signal.SIGKILL)
                    with contextlib.suppress(Error):
                        context.close()
                    context, page = opened(playwright, profile, server, address)
                else:
                    for each in web_of(server, main=victim == "web"):
                        each.send_signal(signal.SIGKILL)
                    typist.type(page, chance.uniform(0.5, 2))
                expect(page.locator("[data-saved].urgent")).to_have_count(0, timeout=60_000)
                page.reload()
                expect(page.locator(TEXT)).to_be_visible(timeout=60_000)
                found = text_of(page)
                characters, seconds = typist.lost(found, killed)
                worst = max(worst, seconds)
                screen.say(f"{number:3} {victim:11} {len(typist.typed):5} typed, {characters:3} lost ({seconds:.2f} s)")
                typist.goes_on_from(found)
                page.locator(TEXT).click()
                page.keyboard.press("Control+End")
                page.keyboard.type(" ")
                typist.goes_on_from(f"{found} ")
            context.close()
    finally:
        server.stop()
    screen.say(f"At most {worst:.2f} s of typing were lost; {ALLOWED} s are allowed.")
    return 0 if worst <= ALLOWED else 1


def main() -> int:
    try:
        return run(options(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    except SetUpFailed as error:
        print(error, file=sys.stderr)
        return 1
