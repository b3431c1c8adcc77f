"""What a person sees while things are set up: named steps with their time, and one sentence when one fails."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deploy.node import SetUpFailed

__all__ = ["Screen", "SetUpFailed", "explain", "run_command"]

PACKAGE_OF_LIBRARY = {"libz.so.1": "zlib1g", "libstdc++.so.6": "libstdc++6", "libatomic.so.1": "libatomic1"}
NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Name or service not known|NewConnectionError|Max retries exceeded"
    r"|\bENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|Network is unreachable"
    r"|[Cc]onnection (?:refused|reset|timed out)|ConnectTimeoutError|ProxyError",
)


class Screen:
    """Steps on standard output. On a terminal the running step counts its seconds."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._ticking = False
        self._lock = threading.Lock()

    def say(self, text: str = "") -> None:
        """One line, above the step that is counting."""
        with self._lock:
            if self._ticking:
                sys.stdout.write("\r\033[K")
            print(text, flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what happens, count its seconds, and say how long it took."""
        started = time.monotonic()
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(name, started, ended), daemon=True)
        if self.terminal:
            self._ticking = True
            ticker.start()
        else:
            self.say(f"  {name} ...")
        outcome = "stopped"
        try:
            yield
            outcome = "done"
        finally:
            ended.set()
            if self.terminal:
                ticker.join()
                self._ticking = False
                sys.stdout.write("\r\033[K")
            if outcome == "done":
                self.say(f"  {name}: {time.monotonic() - started:.1f} s")
            else:
                self.say(f"  {name}: stopped after {time.monotonic() - started:.1f} s")

    def _tick(self, name: str, started: float, ended: threading.Event) -> None:
        while not ended.wait(0.5):
            with self._lock:
                sys.stdout.write(f"\r\033[K  {name} ... {time.monotonic() - started:.0f} s")
                sys.stdout.flush()


def explain(text: str, *, what: str, fetches: bool = False) -> str:
    """One sentence for what a program printed before it failed: the cause, and what to do.

    `fetches` says that it needed the network.
    """
    library = re.search(
        r"error while loading shared libraries: (\S+):|(\S+\.so[.\d]*): cannot open shared object", text
    )
    if library:
        name = library[1] or library[2]
        package = PACKAGE_OF_LIBRARY.get(name)
        how = f"on Debian type apt-get install {package}" if package else "install the package that holds it"
        return f"{what} needs the system library {name}, which is missing: {how}, then type this again."
    if "No space left on device" in text or "ENOSPC" in text or "Disk quota exceeded" in text:
        return f"{what} found no space left on the disk: free at least 2 GB, then type this again."
    if fetches and NO_NETWORK.search(text):
        return f"{what} could not reach the package registry: check this machine's network, then type this again."
    if "ensurepip is not available" in text or "No module named ensurepip" in text or "No module named venv" in text:
        return f"{what} needs Python's venv module: on Debian type apt-get install python3-venv, then type this again."
    denied = re.search(r"Permission denied:? ?'?([^'\n]*)", text)
    if denied:
        place = f" to write {denied[1]}" if denied[1].startswith("/") else ""
        return f"{what} is not permitted{place}: use a folder that belongs to you, then type this again."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"(?:FATAL|PANIC|ERROR|Error|error):", line)]
    said = (telling or lines or ["it said nothing"])[-1]
    return f"{what} failed: {said.rstrip('.')}."


def run_command(
    command: list[str],
    *,
    what: str,
    cwd: Path,
    environment: Mapping[str, str],
    each_line: Callable[[str], None] | None = None,
    umask: int = -1,
    fetches: bool = False,
) -> str:
    """Run a program to its end and return its standard output; `SetUpFailed` with one sentence if it fails.

    The program has a session of its own, so that Ctrl-C reaches it only through us.
    """
    lines: list[str] = []
    errors: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=umask,
        )
    except OSError as error:
        raise SetUpFailed(explain(str(error), what=what)) from error
    assert process.stdout is not None and process.stderr is not None
    stderr = process.stderr
    reader = threading.Thread(target=lambda: errors.extend(stderr), daemon=True)
    reader.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if each_line:
                each_line(line.rstrip("\n"))
        process.wait()
        reader.join()
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        raise SetUpFailed(explain("".join(lines) + "".join(errors), what=what, fetches=fetches))
    return "".join(lines)


def _end(process: "subprocess.Popen[str]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
