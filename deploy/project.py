"""Steps that `make run` and `make test` share: what the project needs beside its own files, each skipped when done."""

import ctypes.util
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from deploy.screen import Screen, SetUpFailed, run_command

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
SPACE_NEEDED = 2 * 1024**3


def environment() -> dict[str, str]:
    """This process's environment for the programs of .venv. Its folder of programs stays off PATH: packages put
    commands there that hide others of the same name (pynetdicom's storescu, dcmtk's).
    """
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def check_space(*folders: Path) -> None:
    """Packages, viewer, database and demo images need room."""
    for folder in folders:
        there = next(parent for parent in [folder, *folder.parents] if parent.exists())
        free = shutil.disk_usage(there).free
        if free < SPACE_NEEDED:
            raise SetUpFailed(
                f"Only {free / 1024**3:.1f} GB are free at {there}, and setting up needs 2 GB: "
                "free some, or set SINAR_DATA to a folder on a larger disk."
            )


def check_port(host: str, port: str, *, setting: str) -> None:
    """`SetUpFailed` when we could not listen there; names the setting that chooses another."""
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SetUpFailed(f"{setting} is {port!r}: set it to a port number between 1 and 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
            listener.listen(1)
        except PermissionError:
            raise SetUpFailed(f"Only root may listen on port {port}: set {setting} to one above 1023.") from None
        except socket.gaierror:
            raise SetUpFailed(f"SINAR_BIND is {host!r}, which is no address: set it to 127.0.0.1 or 0.0.0.0.") from None
        except OSError as error:
            if error.errno == 99:  # EADDRNOTAVAIL
                raise SetUpFailed(
                    f"SINAR_BIND is {host!r}, which is no address of this machine: set it to 127.0.0.1 or 0.0.0.0."
                ) from None
            raise SetUpFailed(
                f"Port {port} is in use by another program: end that program, or set {setting} to another port."
            ) from None


def fingerprint(requirements: str) -> str:
    """Changes with the pins."""
    digest = hashlib.sha256()
    for name in ("requirements.txt", requirements):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _installed() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def is_installed(requirements: str) -> bool:
    """Whether .venv works and holds exactly what the file pins."""
    if not PYTHON.exists() or _installed().get(requirements) != fingerprint(requirements):
        return False
    return subprocess.run([PYTHON, "-c", "import django"], check=False, capture_output=True).returncode == 0


def install(screen: Screen, requirements: str) -> None:
    """Make .venv and install the pinned packages into it, unless that is done."""
    if is_installed(requirements):
        return
    works = PYTHON.exists() and not subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode
    if not works:
        with screen.step("Virtual environment"):
            if importlib.util.find_spec("ensurepip") is None and shutil.which("dpkg-query"):
                subprocess.run([ROOT / "deploy" / "debian-packages", "run"], check=False, capture_output=True)
            command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
            run_command(command, what="Making .venv", cwd=ROOT, environment=os.environ)
    with screen.step(f"Python packages ({requirements})"):
        command = [
            str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
            "--retries=2", "--prefer-binary", "-r", requirements,
        ]  # fmt: skip
        run_command(command, what="Installing the Python packages", cwd=ROOT, environment=environment(), fetches=True)
    done = _installed()
    for name in {"requirements.txt", requirements}:
        done[name] = fingerprint(name)
    STAMP.write_text(json.dumps(done))


def bring_in_pango(screen: Screen) -> None:
    """What PDFs need of the system, where we may install it; without it everything else works."""
    if ctypes.util.find_library("pango-1.0") is None and shutil.which("dpkg-query"):
        with screen.step("Pango, for reports as PDF"):
            subprocess.run([ROOT / "deploy" / "debian-packages", "run"], check=False, stdin=subprocess.DEVNULL)


def bring_in_front_end(screen: Screen, data: Path) -> None:
    """static/vendor and the viewer; both scripts return at once when nothing changed."""
    for name, what, arguments in [
        ("frontend.py", "Styles and scripts of the pages", []),
        ("ohif.py", "Viewer (OHIF)", ["--data", str(data)]),
    ]:
        with screen.step(what):
            command = [str(PYTHON), f"deploy/{name}", *arguments]
            run_command(command, what=what, cwd=ROOT, environment=environment(), fetches=True)


def compile_translations(screen: Screen) -> None:
    """The .mo files, without the gettext programs."""
    with screen.step("Translations"):
        command = [str(PYTHON), "deploy/translations.py"]
        run_command(command, what="Compiling the translations", cwd=ROOT, environment=environment())
