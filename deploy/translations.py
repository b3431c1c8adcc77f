#!/usr/bin/env python3
"""Compiles locale/*/LC_MESSAGES/*.po where the .mo is missing or older. Needs no gettext programs.

`--check` compiles nothing: it fails unless every text of the code and templates has its translation, and
every translation keeps its text's placeholders. That needs the Debian package gettext.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polib

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["radiology", "pacs", "worklist", "integrations", "templates", "locale"]


def compile_all() -> None:
    """Compile what changed."""
    for source in sorted(ROOT.glob("locale/*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        unfinished = target.with_suffix(f".mo.{os.getpid()}")
        polib.pofile(str(source), encoding="utf-8").save_as_mofile(str(unfinished))
        unfinished.replace(target)


def problems(language: str) -> list[str]:
    """What is not translated, or wrongly, as lines to read."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        (copy / "locale").mkdir()
        for source in SOURCES:
            shutil.copytree(
                ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__", "*.mo"), dirs_exist_ok=True
            )
        environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        command = [sys.executable, "-m", "django", "makemessages", "--locale", language, "--no-obsolete", "--no-wrap"]
        made = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            return [made.stderr.strip()]
        file = copy / "locale" / language / "LC_MESSAGES" / "django.po"
        found = []
        for entry in polib.pofile(str(file), encoding="utf-8"):
            where = ", ".join(f"{path}:{line}" for path, line in entry.occurrences[:2])
            if not entry.translated():
                found.append(f"{where}: {entry.msgid!r} {'is only guessed (fuzzy)' if entry.fuzzy else 'is missing'}")
        formats = subprocess.run(
            ["msgfmt", "--check", "--output-file=/dev/null", str(file)], capture_output=True, text=True, check=False
        )
        if formats.returncode:
            found.append(formats.stderr.strip())
        return found


def main() -> int:
    if "--check" not in sys.argv:
        compile_all()
        return 0
    found = [line for language in ["id"] for line in problems(language)]
    print("\n".join([*found, f"{len(found)} texts lack a correct Indonesian translation"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
