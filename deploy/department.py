"""`make run`: set up what is missing, start the processes under supervisor, wait until they answer, say where.

Ctrl-C (or SIGTERM, or a closed terminal) reaches this process only: supervisor has a session of its own
and is told to stop its processes in order. Should this process be killed, supervisor and from it every
process is told to end by the kernel (`setpriv --pdeathsig`).
"""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy import processes, project
from deploy.configuration import Configuration
from deploy.postgres import Postgres
from deploy.screen import Screen, SetUpFailed, explain, run_command

ROOT = project.ROOT
READY_SECONDS = 90
STOP_SECONDS = 300.0
SETTINGS = "radiology.settings.development"


class Department:
    """One installation on this machine."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.configuration = Configuration()
        self.data = self.configuration.data
        self.postgres = None if self.configuration.external_database else Postgres(self.data)
        if self.postgres:
            self.postgres.check_path()
        self.password = ""
        self.environment: dict[str, str] = {}
        self.supervisor: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Everything, until somebody stops it."""
        self.screen.say(f"Sinar, in {ROOT}, with its data in {self.data}")
        with self.screen.step("Looking at this machine"):
            self.check()
        project.install(self.screen, "requirements.txt")
        project.bring_in_pango(self.screen)
        project.bring_in_front_end(self.screen, self.data)
        project.compile_translations(self.screen)
        self.prepare_database()
        with self.stopping():
            self.start()
            self.send_demo()
            self.announce()
            self.watch()

    def check(self) -> None:
        """What can be known before anything is installed."""
        if not project.is_installed("requirements.txt"):
            project.check_space(ROOT, self.data)
        elif self.postgres and not self.postgres.exists:
            project.check_space(self.data)
        self.configuration.make_folders()
        if left := processes.end_left_overs(self.data):
            self.screen.say(f"    ended {len(left)} processes of an earlier start")
        for port, setting in self.configuration.ports:
            project.check_port(self.configuration.bind, port, setting=setting)

    # Set-up

    def prepare_database(self) -> None:
        """The embedded server when no other is given, the tables, static files and the administrator."""
        url = self.make_postgres() if self.postgres else self.configuration.external_database
        self.environment = {
            **project.environment(),
            **self.configuration.write(database_url=url),
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE") or SETTINGS,
            "SINAR_DATA": str(self.data),
        }
        with self.screen.step("Database and static files"):
            if self.postgres:
                self.postgres.start(log=self.data / "log" / "postgres.log")
            try:
                self.manage("deploy/prepare.py", what="Preparing the database", each_line=self._note)
            finally:
                if self.postgres:
                    self.postgres.stop()
        self.environment.pop("SINAR_ADMIN_PASSWORD", None)

    def make_postgres(self) -> str:
        """The embedded server's `DATABASE_URL`; its cluster is made if there is none."""
        assert self.postgres is not None
        if not self.postgres.exists:
            with self.screen.step("PostgreSQL: a new database"):
                return self.postgres.url(self.postgres.make())
        self.postgres.check_version()
        kept = re.match(r"postgres://sinar:([\w-]+)@/sinar\?", self.configuration.kept().get("DATABASE_URL", ""))
        return self.postgres.url(kept[1] if kept else self.postgres.renew_password())

    def manage(self, *arguments: str, what: str, each_line: Any = None) -> None:
        run_command(
            [str(project.PYTHON), *arguments],
            what=what,
            cwd=ROOT,
            environment=self.environment,
            each_line=each_line,
            umask=0o077,
        )

    def _note(self, line: str) -> None:
        if line.startswith("administrator: "):
            self.password = line.removeprefix("administrator: ")
        else:
            self.screen.say(f"    {line}")

    # Running

    def start(self) -> None:
        """Supervisor with all processes; returns when they answer."""
        with self.screen.step("Starting web, dimse, hl7, worker and beat"):
            self.start_supervisor()
            self.wait_until_ready()

    def start_supervisor(self) -> None:
        environment = {**self.environment, processes.MARK: str(self.data), "SINAR_SUPERVISED_DATABASE": ""}
        if self.postgres:
            self.postgres.forget_dead_postmaster()
            environment["SINAR_SUPERVISED_DATABASE"] = "supervisord.postgres.conf"
            environment["SINAR_POSTGRES_COMMAND"] = shlex.join(self.postgres.command())
        setpriv = shutil.which("setpriv") or "setpriv"
        configuration = str(ROOT / "deploy" / "supervisord.conf")
        with (self.data / "log" / "supervisord.out").open("wb") as output:
            self.supervisor = subprocess.Popen(
                [setpriv, "--pdeathsig", "TERM", project.PYTHON, "-m", "supervisor.supervisord", "-c", configuration],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        settings = self.configuration
        ports = [
            settings.http_port,
            ",".join(settings.dicom_ports),
            ",".join(settings.hl7_ports),
            settings.orthanc_port,
        ]
        arguments = [settings.reachable_at, *ports, settings.ae_title, str(self.data / "log")]
        self.manage("deploy/ready.py", *arguments, str(READY_SECONDS), what="Starting")

    def send_demo(self) -> None:
        """The demo patients and images, through the product's own doors; resumed when it was interrupted."""
        done = self.data / "demo.done"
        if not self.configuration.demo or done.exists():
            return
        try:
            with self.screen.step("Demo patients and images"):
                self.manage("manage.py", "demo", what="Sending the demo", each_line=self._note)
                done.touch()
        except SetUpFailed as error:
            self.screen.say(f"  {error} The next start tries again; everything else works.")

    def announce(self) -> None:
        self.screen.say(f"\nSinar is ready.\n{self.configuration.addresses}")
        (self.data / "run" / "addresses").write_text(self.configuration.addresses + "\n", encoding="utf-8")
        if self.password:
            self.screen.say(f"  Sign in  admin, password {self.password}   (shown this once)")
            self.password = ""
        self.screen.say("  Ctrl-C   stops everything\n")

    def watch(self) -> None:
        """Stay until somebody stops us. Supervisor itself is started again like anything else."""
        while True:
            assert self.supervisor is not None
            code = self.supervisor.wait()
            self.screen.say(f"supervisord ended ({code}); starting it again")
            processes.end_left_overs(self.data)
            self.start_supervisor()
            time.sleep(1)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """Whatever ends the block, end all processes in order and wait for them."""
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # asking twice does not make it faster
            (self.data / "run" / "addresses").unlink(missing_ok=True)
            if self.password:
                self.screen.say(f"  Sign in  admin, password {self.password}   (shown this once)")
            with self.screen.step("Stopping"):
                if self.supervisor and self.supervisor.poll() is None:
                    self.supervisor.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.supervisor.wait(STOP_SECONDS)
                processes.end_left_overs(self.data)


@contextlib.contextmanager
def only_one(data: Path) -> Iterator[bool]:
    """Whether this is the only `make run` of the data folder."""
    with (data / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """The exit code: 0 when it ran and was stopped, or runs already; 1 with one sentence on standard error."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        department = Department()
        department.configuration.make_data_folder()
        with only_one(department.data) as only:
            if not only:
                return already_running(department.data)
            department.run()
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
        return 0
    except SetUpFailed as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(explain(str(error), what="Starting Sinar"), file=sys.stderr)
    return 1


def already_running(data: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        print(f"Sinar is running already, with its data in {data}:\n{(data / 'run' / 'addresses').read_text()}", end="")
        return 0
    print(f"Another `make run` is setting up {data}: wait until it is ready.", file=sys.stderr)
    return 1
