"""Fixtures for the whole suite.

A test that uses a daemon shares the database with it through real commits: it asks for
`committed_db` and not for `django_db(transaction=True)`, whose flush would also remove the rows that
migrations make.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.utils import translation
from pytest_django import DjangoDbBlocker

from tests import daemons
from tests.daemons import Daemon
from tests.databases import MigrationRows, drop_database, make_database
from tests.pynetdicom_pause import stand_still

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

DAEMON_FIXTURES = {"dimse_server", "hl7_server", "web_server", "job_worker", "start", "browser", "orthanc_server"}
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]


def pytest_configure() -> None:
    if not os.environ.get("DATABASE_URL"):
        raise pytest.UsageError("Set DATABASE_URL to a PostgreSQL where you may create databases, or type `make test`.")
    stand_still()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known: set[str] = set()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        marker = item.get_closest_marker("django_db")
        if (marker and (marker.kwargs.get("transaction") or marker.args)) or "transactional_db" in fixtures:
            raise pytest.UsageError(f"{item.nodeid}: use the fixture committed_db instead of transaction=True.")
        is_about_rights = item.get_closest_marker("rights") is not None
        if (marker or fixtures & {"db", "committed_db"}) and not fixtures & DAEMON_FIXTURES and not is_about_rights:
            function = item.nodeid.split("[")[0]
            if function not in known:  # other parameters say the same to the database
                item.add_marker("database")
            known.add(function)
        if item.path.name.startswith("test_jobs"):
            item.add_marker("jobs")


def pytest_runtest_setup() -> None:
    daemons.STARTED[:] = [daemon for daemon in daemons.STARTED if not daemon.ended]
    translation.deactivate()  # a request leaves its language with the thread


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure in the company of daemons show what they had to say."""
    report = yield
    if report.failed and set(getattr(item, "fixturenames", ())) & DAEMON_FIXTURES:
        report.sections += [(f"log of {daemon.name}", daemon.account) for daemon in daemons.STARTED]
    return report


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A database of this pytest worker's own, copied from a migrated template."""
    base = settings.DATABASES["default"]["NAME"]
    name = f"test_{base}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with django_db_blocker.unblock():
        make_database(template=f"test_{base}_template", name=name)
    yield
    with django_db_blocker.unblock():
        drop_database(name)


@pytest.fixture(scope="session")
def _migration_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> MigrationRows:
    with django_db_blocker.unblock():
        return MigrationRows()


@pytest.fixture
def committed_db(_migration_rows: MigrationRows, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database with real commits, as daemons and other connections see it.

    Afterwards it holds the rows that migrations made (the default site, the default volume) and nothing else.
    """
    with django_db_blocker.unblock():
        _migration_rows.restore()
        yield
        _leave_nothing_to_file()
        _migration_rows.restore()


def _leave_nothing_to_file() -> None:
    """What was acknowledged is filed by its daemon before the rows go, and does not come into the next test."""
    from pacs.models import Volume
    from pacs.services.filing import wait_until_filed
    from pacs.storage import Disk, backend

    if wait_until_filed(seconds=5):
        return
    for volume in Volume.objects.filter(kind="disk"):
        disk = backend(volume)
        assert isinstance(disk, Disk)
        for path in disk.waiting():
            Path(path).unlink(missing_ok=True)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`free_port()` gives a TCP port that nothing listens on."""
    return daemons.free_port


@pytest.fixture
def tool() -> Callable[[str], str]:
    """`tool("storescu")` gives the path of a program, or fails with what to install."""
    return require_tool


def require_tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"The program {name} is missing: type deploy/debian-packages.", pytrace=False)
    return path


@pytest.fixture(scope="session")
def dimse_server(django_db_setup: None) -> Iterator[Daemon]:
    """The DICOM daemon on a free port, on this worker's database and SINAR_DATA."""
    daemon = daemons.dimse_daemon().start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def hl7_server(django_db_setup: None) -> Iterator[Daemon]:
    """The HL7 daemon on a free port, on this worker's database."""
    daemon = daemons.hl7_daemon().start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def web_server(django_db_setup: None) -> Iterator[Daemon]:
    """Gunicorn on a free port, on this worker's database and SINAR_DATA; `.url` is its address."""
    daemon = daemons.web_daemon().start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def _shared_worker(django_db_setup: None) -> Iterator[Daemon]:
    daemon = daemons.worker_daemon().start()
    yield daemon
    daemon.go_on()
    daemon.stop()


@pytest.fixture
def job_worker(committed_db: None, _shared_worker: Daemon) -> Iterator[Daemon]:
    """Celery worker with its clock, on this worker's database and SINAR_DATA.

    It stands still between the tests that ask for it: what is due in another test is that test's to run.
    """
    _shared_worker.go_on()
    yield _shared_worker
    _shared_worker.stand_still()


@pytest.fixture
def start() -> Iterator[Callable[[Daemon], Daemon]]:
    """`start(dimse_daemon(...))`: a daemon of one test, which may kill it; ended after the test."""
    started: list[Daemon] = []

    def start_daemon(daemon: Daemon) -> Daemon:
        started.append(daemon)
        return daemon.start()

    yield start_daemon
    for daemon in started:
        daemon.kill()


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Debian's Chromium with software WebGL."""
    from playwright.sync_api import sync_playwright

    executable = require_tool("chromium")
    # Playwright's synchronous API runs an event loop in this thread, which Django's ORM would refuse.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def browser_context(browser: "Browser", web_server: Daemon) -> "Iterator[BrowserContext]":
    """A fresh browser profile whose relative addresses go to `web_server`."""
    context = browser.new_context(base_url=web_server.url, viewport={"width": 1280, "height": 800}, locale="en-GB")
    yield context
    context.close()


@pytest.fixture
def page(browser_context: "BrowserContext") -> "Page":
    """An empty tab of a fresh profile."""
    return browser_context.new_page()
