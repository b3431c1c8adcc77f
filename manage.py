#!/usr/bin/env python3
"""Django's command line. Runs in the project's own virtual environment whichever Python starts it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PYTHON = ROOT / ".venv" / "bin" / "python"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.development")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        if PYTHON.exists() and Path(sys.prefix) != PYTHON.parent.parent:
            os.execv(PYTHON, [str(PYTHON), *sys.argv])
        sys.exit("Django is not installed here. Type `make run` once: it sets everything up.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
