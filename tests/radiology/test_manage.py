"""`manage.py` finds the project's own Python, whichever starts it."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_python_with_a_django_of_its_own_is_not_mistaken_for_the_projects(tmp_path: Path) -> None:
    venv.create(tmp_path / "other", with_pip=False)
    (packages,) = (tmp_path / "other/lib").glob("python3*/site-packages")
    (packages / "django").mkdir()
    (packages / "django/__init__.py").write_text("raise SystemExit('another Django')")
    project = tmp_path / "project"
    project.mkdir()
    (project / "manage.py").write_bytes((ROOT / "manage.py").read_bytes())
    (project / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        [tmp_path / "other/bin/python", project / "manage.py", "version"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.stdout.strip(), done.stderr) == (django.__version__, "")
