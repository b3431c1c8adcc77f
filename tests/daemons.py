"""The product's own processes, started for tests as a user's machine would start them."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
STARTED: list["Daemon"] = []  # what a failing test's report tells about
NUMBERS = itertools.count(1)
START_SECONDS = 40.0
STOP_SECONDS = 40.0


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on the port."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0, what: str = "") -> None:
    """Return as soon as `condition` is true; AssertionError when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.02)


def database_url(name: str) -> str:
    """`DATABASE_URL` with another database name."""
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def child_pids(pid: int) -> list[int]:
    """The direct children of a process, whichever of its threads made them, oldest first."""
    children: list[str] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += listing.read_text(encoding="ascii").split()
    return sorted(int(child) for child in children)


def is_helper(pid: int) -> bool:
    """Whether a daemon's child is its helper."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip().endswith(" helper")
    return False


def is_frozen(pid: int) -> bool:
    """Whether every thread of a process has been stopped by a signal."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T" for thread in threads)


class Daemon:
    """One process of the product, running against this pytest worker's database and data folder.

    `host` and `port` say where it listens, `data` is the SINAR_DATA it shares with the test, `log`
    the file with everything it printed, `sessions` the `application_name` of all its database sessions and
    of nobody else's in this database.
    """

    host = "127.0.0.1"

    def __init__(self, name: str, arguments: list[str], *, port: int = 0, environment: Mapping[str, str] = {}) -> None:
        self.name = name
        self.arguments = arguments
        self.port = port
        self.data = Path(settings.SINAR_DATA)
        self.log = self.data / "log" / f"{name}-{port or os.getpid()}.log"
        self.sessions = f"{name} {next(NUMBERS)}"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SINAR_"))},
            "DJANGO_SETTINGS_MODULE": "radiology.settings.test",
            "DATABASE_URL": database_url(settings.DATABASES["default"]["NAME"]),
            "SINAR_DATA": str(self.data),
            "SINAR_BIND": self.host,
            "PGAPPNAME": self.sessions,
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The main process."""
        assert self.process is not None, f"{self.name} is not started"
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """The worker processes, without the main one and its helper."""
        return [pid for pid in child_pids(self.pid) if not is_helper(pid)]

    @property
    def helpers(self) -> list[int]:
        """The processes that the workers lean on."""
        return [pid for pid in child_pids(self.pid) if is_helper(pid)]

    @property
    def url(self) -> str:
        """Where the web process answers."""
        return f"http://{self.host}:{self.port}"

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def ended(self) -> bool:
        """Whether somebody ended it, or saw that it had."""
        return self.process is not None and self.process.returncode is not None

    @property
    def account(self) -> str:
        """What it has printed of late, and whether it still runs."""
        code = self.process.poll() if self.process else None
        return f"{self.output[-4000:]}\n({'it runs' if code is None else f'it has ended: {code}'})"

    def start(self) -> "Daemon":
        """Start it and return when it accepts connections (at once, when it has no port)."""
        STARTED.append(self)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.port:
            deadline = time.monotonic() + START_SECONDS
            while not accepts(self.port):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise AssertionError(f"{self.name} does not listen on port {self.port}:\n{self.output[-4000:]}")
                time.sleep(0.05)
        return self

    def stop(self) -> int:
        """Ask it to end (SIGTERM), wait, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not stop on SIGTERM:\n{self.output[-4000:]}") from None

    def stand_still(self) -> None:
        """Freeze it until `go_on`, at a moment when it is in no transaction, whose locks would stay."""
        with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"]), autocommit=True) as database:

            def stands_still() -> bool:
                os.killpg(self.pid, signal.SIGSTOP)
                if is_frozen(self.pid):
                    busy = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s "
                    if database.execute(busy + "AND state <> 'idle'", [self.sessions]).fetchone() is None:
                        return True
                    self.go_on()
                return False

            wait_until(stands_still, seconds=STOP_SECONDS, what=f"{self.name} between two transactions")

    def go_on(self) -> None:
        """Let it run again after `stand_still`."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it and all its children with SIGKILL, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def dimse_daemon(*, port: int = 0, **environment: str) -> Daemon:
    """`manage.py dimse` on a free port; keyword arguments are environment variables."""
    port = port or free_port()
    environment = {"SINAR_DICOM_PORT": str(port), **environment}
    return Daemon("dimse", ["manage.py", "dimse"], port=port, environment=environment)


def hl7_daemon(*, port: int = 0, **environment: str) -> Daemon:
    """`manage.py hl7` on a free port; keyword arguments are environment variables."""
    port = port or free_port()
    environment = {"SINAR_HL7_PORT": str(port), **environment}
    return Daemon("hl7", ["manage.py", "hl7"], port=port, environment=environment)


def web_daemon(*, port: int = 0, **environment: str) -> Daemon:
    """Gunicorn with the configuration that every deployment uses."""
    port = port or free_port()
    arguments = ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "radiology.wsgi"]
    environment = {"SINAR_HTTP_PORT": str(port), "SINAR_ORTHANC_PORT": "0", **environment}
    return Daemon("web", arguments, port=port, environment=environment)


def worker_daemon(**environment: str) -> Daemon:
    """The Celery worker with the clock that rings for due jobs built in."""
    arguments = ["-m", "celery", "-A", "radiology", "worker", "--beat", "--pool", "threads", "--loglevel", "INFO"]
    return Daemon("worker", arguments, environment=environment)
