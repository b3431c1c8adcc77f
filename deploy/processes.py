"""Which processes belong to one SINAR_DATA: everything started for it carries its path in its environment."""

import os
import signal
import time
from pathlib import Path

MARK = "SINAR_SUPERVISED"


def of(data: Path) -> list[int]:
    """The ids of the running processes that were started for this data folder, without the caller."""
    wanted = f"{MARK}={data}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and name(int(folder.name)):
            found.append(int(folder.name))
    return sorted(found)


def name(pid: int) -> str:
    """The program's short name, empty when it is gone. A zombie is gone: nobody may ever collect it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    program, state = status.partition("(")[2].rpartition(")")[::2]
    return "" if state.split()[0] in "ZX" else program


def end_left_overs(data: Path, *, seconds: float = 60.0) -> list[int]:
    """End what an earlier start left behind, clients before the database. Returns what it found.

    Postmasters get SIGINT (a shutdown that needs no recovery), and SIGKILL never: a database that takes
    longer is still writing.
    """
    found = of(data)
    left = found
    for order in ("clients", "database"):
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while left := of(data):
            database = [pid for pid in left if name(pid) == "postgres"]
            chosen = database if order == "database" else [pid for pid in left if pid not in database]
            if not chosen or time.monotonic() > deadline:
                break
            for pid in chosen:
                late = time.monotonic() > deadline - seconds / 2 and order == "clients"
                if pid not in asked or late:
                    asked.add(pid)
                    _signal(pid, signal.SIGKILL if late else (signal.SIGINT if database == chosen else signal.SIGTERM))
            time.sleep(0.1)
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
