"""A browser or a web server that is killed in mid-sentence takes no word with it that was said to be saved."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from radiology.models import Report, Role, User
from tests.browser.conftest import PASSWORD
from tests.browser.test_reading_view import examination_of
from tests.conftest import CHROMIUM_FLAGS, require_tool
from tests.daemons import Daemon, wait_until, web_daemon
from tests.factories import make_study

SENTENCE = "Nodul soliter di lobus superior paru kanan dengan tepi spikulata, suspek keganasan. "


@pytest.fixture
def reading(person: User) -> str:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    return examination_of(make_study())


def stored() -> str:
    report = Report.objects.first()
    return (report.draft or {}).get("findings", "") if report else ""


def ends_with(text: str) -> bool:
    return stored().endswith(text)


def sign_in(page: Page, reading: str) -> None:
    page.goto(reading)
    if page.get_by_label("User name").count():
        page.get_by_label("User name").fill("dewi")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
    expect(page.locator('[data-section="findings"] .ProseMirror')).to_be_visible()


def profile(browser: Browser, folder: Path, server: Daemon) -> BrowserContext:
    return browser.browser_type.launch_persistent_context(
        str(folder), executable_path=require_tool("chromium"), args=CHROMIUM_FLAGS, base_url=server.url
    )


def kill_browser(folder: Path) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in argument for argument in process.info["cmdline"] or []):
            os.kill(process.pid, signal.SIGKILL)


def test_a_browser_that_is_killed(browser: Browser, web_server: Daemon, reading: str, tmp_path: Path) -> None:
    typed = ""
    for moment in (7, 31, 58):
        context = profile(browser, tmp_path, web_server)
        page = context.pages[0]
        sign_in(page, reading)
        editor = page.locator('[data-section="findings"] .ProseMirror')
        assert stored().startswith(typed.strip())
        before = editor.inner_text().strip()
        assert before.startswith(typed.strip())
        editor.click()
        page.keyboard.press("Control+End")
        page.keyboard.type(f" {SENTENCE[:moment]}", delay=5)
        expect(page.locator("[data-saved].done")).to_be_visible()
        expected = SENTENCE[:moment].strip()
        wait_until(partial(ends_with, expected), what="the text kept")
        typed = stored()
        try:
            page.keyboard.type(SENTENCE[moment : moment + 10], delay=5)
            kill_browser(tmp_path)
            page.keyboard.type("more")
        except Error:
            pass
        context.close()
    assert stored().startswith(typed)


def test_a_web_server_that_is_killed(
    browser: Browser, start: Callable[[Daemon], Daemon], reading: str, committed_db: None
) -> None:
    server = start(web_daemon())
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    sign_in(page, reading)
    editor = page.locator('[data-section="findings"] .ProseMirror')
    editor.click()
    for moment in (11, 40, 66):
        page.keyboard.type(SENTENCE[:moment], delay=5)
        server.kill()
        page.keyboard.type(SENTENCE[moment:], delay=5)
        server = start(web_daemon(port=server.port))
        page.keyboard.type("Dan lagi. ", delay=5)
    whole = f"{SENTENCE}Dan lagi. " * 3
    wait_until(lambda: stored() == whole.strip(), what="every word")
    expect(page.locator("[data-saved].done")).to_be_visible()
    context.close()
