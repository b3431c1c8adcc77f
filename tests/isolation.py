"""A pytest plugin (`-p tests.isolation`) that runs before the settings are read.

Every pytest process gets a `SINAR_DATA` of its own, so that xdist workers and their daemons never
meet. What is slow to make and never changes (the prepared viewer) is shared by links.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SINAR_TEST_SHARED_DATA") or os.environ.get("SINAR_DATA") or ROOT / "var" / "test")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DATA = SHARED.resolve() / "workers" / f"{WORKER}-{os.getpid()}"


def _running(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()


def _remove_left_overs() -> None:
    if not DATA.parent.is_dir():
        return
    for folder in DATA.parent.iterdir():
        if not _running(folder.name.rpartition("-")[2]):
            shutil.rmtree(folder, ignore_errors=True)


def _use_own_folder() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "broker").mkdir(exist_ok=True)
    (DATA / "static").mkdir()
    for name in ("www", "ohif"):
        shared = SHARED.resolve() / name
        shared.mkdir(exist_ok=True)
        (DATA / name).symlink_to(shared)
    # An activated virtual environment hides dcmtk's programs behind pynetdicom's of the same names.
    programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(folder for folder in programs if Path(folder) != Path(sys.executable).parent)
    for name in [name for name in os.environ if name.startswith("SINAR_")]:
        del os.environ[name]
    os.environ["SINAR_TEST_SHARED_DATA"] = str(SHARED.resolve())
    os.environ["SINAR_DATA"] = str(DATA)


_remove_left_overs()
_use_own_folder()
