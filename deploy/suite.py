"""The way of `make test`."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from deploy import project
from deploy.postgres import Postgres
from deploy.screen import Screen, SetUpFailed, explain

ROOT = project.ROOT
# Nothing here outlives the run, so nothing needs to reach the disk.
THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def debian_packages(screen: Screen, purpose: str = "tests") -> None:
    """Install them where we may. Otherwise what lacks one says so."""
    with screen.step("Debian packages"):
        if shutil.which("dpkg-query"):
            subprocess.run([ROOT / "deploy" / "debian-packages", purpose], check=False, stdin=subprocess.DEVNULL)


def set_up(screen: Screen, data: Path) -> None:
    """Everything but the database."""
    data.mkdir(parents=True, exist_ok=True)
    if not project.is_installed("requirements-dev.txt"):
        project.check_space(ROOT, data)
    project.install(screen, "requirements-dev.txt")
    debian_packages(screen)
    project.bring_in_front_end(screen, data)
    project.compile_translations(screen)


def run_tests(arguments: list[str], environment: dict[str, str]) -> int:
    """pytest in the foreground; its exit code."""
    command = [str(project.PYTHON), "-m", "pytest", "-n", "2", "--dist", "loadgroup", *arguments]
    if os.environ.get("CI"):
        command.append("--durations=60")
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, _stop)
    data = Path(os.environ.get("SINAR_DATA") or ROOT / "var" / "test").expanduser().resolve()
    try:
        set_up(Screen(), data)
        environment = {**project.environment(), "SINAR_DATA": str(data)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        if os.environ.get("DATABASE_URL"):
            return run_tests(arguments, environment)
        # Not below `data`, whose path may be too long for a socket.
        with tempfile.TemporaryDirectory(prefix="sinar-") as folder:
            os.chmod(folder, 0o711)  # noqa: S103 - the server's own user passes through
            server = Postgres(Path(folder), options=THROW_AWAY)
            password = server.make()
            server.start(log=Path(folder) / "postgres.log")
            try:
                return run_tests(arguments, {**environment, "DATABASE_URL": server.url(password)})
            finally:
                server.stop()
    except KeyboardInterrupt:
        return 130
    except SetUpFailed as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(explain(str(error), what="Setting up the tests"), file=sys.stderr)
    return 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
