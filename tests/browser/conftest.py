"""A signed-in browser on the product's own processes, that tells of every script and policy that went wrong."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection
from playwright.sync_api import BrowserContext, Dialog, Page, expect

from deploy import ohif
from radiology.models import User
from tests.daemons import Daemon, wait_until
from tests.factories import make_user

PASSWORD = "rahasia-sekali-1"
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`POLICY ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


# How long a test waits for what must come, where how soon is not what it is about.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session", autouse=True)
def viewer_files() -> None:
    """The prepared viewer, shared by every test process; made when a first run has not."""
    shared = Path(os.environ["SINAR_TEST_SHARED_DATA"])
    with (shared / "viewer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ohif.main(["--data", str(shared)]) == 0


@pytest.fixture
def browser_context(committed_db: None, browser_context: BrowserContext) -> Iterator[BrowserContext]:
    """The suite's profile, closed and its last requests answered before the database is emptied."""
    yield browser_context
    browser_context.close()
    wait_until(_server_is_idle, what="the browser's last requests answered")


def _server_is_idle() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend')"
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture
def person(committed_db: None) -> User:
    return make_user("dewi", first_name="Dewi", language="en")


@pytest.fixture
def complaints(browser_context: BrowserContext) -> Iterator[list[str]]:
    """What the browser complained about: policies violated, errors of scripts, dialogs that opened."""
    said: list[str] = []
    browser_context.add_init_script(TELL_VIOLATIONS)

    def dismiss(dialog: Dialog) -> None:
        said.append(f"DIALOG {dialog.message}")
        dialog.dismiss()

    browser_context.on(
        "console", lambda message: said.append(message.text) if message.text.startswith("POLICY") else None
    )
    browser_context.on("weberror", lambda error: said.append(f"ERROR {error.error}"))
    browser_context.on("dialog", dismiss)
    yield said


@pytest.fixture
def signed_in(page: Page, person: User, complaints: list[str]) -> Page:
    """A tab of Dewi, on her home page."""
    page.goto("/")
    sign_in(page)
    page.wait_for_url(lambda url: urlsplit(url).path == "/")  # the page to sign in ends in "?next=/"
    return page


def sign_in(page: Page, name: str = "dewi") -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def send(dimse_server: Daemon, tool: Callable[[str], str]) -> Callable[[Path], None]:
    """`send(folder)`: dcmtk's storescu sends every file of a folder."""
    storescu = tool("storescu")

    def run(folder: Path) -> None:
        command = [storescu, "-aec", "MINIPACS", "+sd", "127.0.0.1", str(dimse_server.port), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    return run
