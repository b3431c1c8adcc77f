#!/usr/bin/env python3
"""Django's command line. Runs in the project's own virtual environment whichever Python starts it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PYTHON = ROOT / ".venv" / "bin" / "python"


def main() -> None:
    # Also where another Python has a Django of its own, as Debian's may: the other packages are missing there.
    if PYTHON.exists() and Path(sys.prefix).resolve() != PYTHON.parent.parent.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.development")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here. Type `make run` once: it sets everything up.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
