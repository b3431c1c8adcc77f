"""What the commands that move objects in have in common: how far it is, how it is stopped, what it says at its end."""

import argparse
import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from pacs.import_sources import Plan
from pacs.models import ImportRun
from pacs.models.application_entity import FASTEST_RATE, SLOWEST_RATE
from pacs.services import imports
from pacs.services.imports_report import report_lines, summary
from radiology.errors import RadiologyError
from radiology.models import Site

SOME_REFUSED, ENDED_EARLY, STOPPED = 3, 4, 130
SHOWN = 20
LINE_EVERY = 10.0
MEGABYTE = 1_000_000


class ImportCommand(BaseCommand):
    """A command says what it imports in `plan`; the rest is the same for all of them.

    Exit code 0: everything is in; 1: it could not begin; 3: done, some files were refused; 4: it ended early;
    130: stopped by Ctrl-C.
    """

    def add_import_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options that every import has."""
        parser.add_argument("--site", default="", metavar="CODE", help="the site that gets the objects")
        parser.add_argument("--jobs", type=int, default=4, metavar="N", help="files read at the same time (4)")
        parser.add_argument(
            "--bandwidth",
            type=float,
            default=0.0,
            metavar="MB",
            help="read at most so many megabytes a second; of a DICOM node its registration says it",
        )
        again = parser.add_mutually_exclusive_group()
        again.add_argument(
            "--resume",
            action="store_true",
            help="go on where the last import of these places stopped (as it does anyway)",
        )
        again.add_argument("--fresh", action="store_true", help="read everything, also what was imported before")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        parser.add_argument("--report", metavar="FILE", help="where to write the CSV of refused and held files")

    def plan(self, site: Site, options: dict[str, Any]) -> Plan:
        """What to import. Raises RadiologyError or CommandError when it cannot begin."""
        raise NotImplementedError

    def carried_out(self, options: dict[str, Any], **more: Any) -> int:
        """Import, report, and the exit code. `more` stands in the JSON report too."""
        site = site_of(options["site"])
        most = _most_jobs()
        if not 1 <= options["jobs"] <= most:
            raise CommandError(
                _("--jobs lies between 1 and %(most)d here: SINAR_DB_POOL limits the connections.") % {"most": most}
            )
        if options["bandwidth"] and not SLOWEST_RATE <= options["bandwidth"] <= FASTEST_RATE:
            raise CommandError(
                _("--bandwidth lies between %(slowest)s and %(fastest)d megabytes a second.")
                % {"slowest": SLOWEST_RATE, "fastest": FASTEST_RATE}
            )
        limits = {"rate": options["bandwidth"] * MEGABYTE} if options["bandwidth"] else {}
        try:
            plan = self.plan(site, options)
        except RadiologyError as error:
            raise CommandError(error.message) from error
        run = plan.run
        if plan.goes_on:
            self.stderr.write(_("Going on with the import of %(when)s.") % {"when": f"{run.created_at:%Y-%m-%d %H:%M}"})
        if self.stderr.isatty():  # the report says it all; lines between would tear the progress
            logging.getLogger("pacs").setLevel(logging.ERROR)
        display = _Display(self.stderr, run)
        stop = threading.Event()
        code = 0
        try:
            with _stopped_by_signals(stop, display):
                plan.work(alive=display.show, stop=stop, **limits)
        except (imports.Stopped, KeyboardInterrupt):
            code = STOPPED
        except RadiologyError as error:
            display.end()
            self.stderr.write(error.message)
            code = ENDED_EARLY
        display.end()
        run.refresh_from_db()
        self._report(plan, options, more)
        return code or (SOME_REFUSED if run.refused else 0)

    def _report(self, plan: Plan, options: dict[str, Any], more: dict[str, Any]) -> None:
        run = plan.run
        found = summary(run=run)
        remarks = plan.remarks()
        csv = self._write_csv(run, options["report"]) if run.refused or run.held or options["report"] else None
        if options["json"]:
            told = {**found, "report": str(csv) if csv else None, "remarks": remarks, **more}
            self.stdout.write(json.dumps(told))
            return
        write = self.stdout.write
        write(_("Stored: %(stored)d, in %(studies)d studies") % found)
        write(_("There already: %(unchanged)d") % found)
        if found["done_before"]:
            write(_("Done in an earlier import: %(done_before)d") % found)
        write(_("Held for a person to decide: %(held)d") % found)
        write(_("Passed over, no DICOM: %(skipped)d") % found)
        write(_("Refused: %(refused)d") % found)
        rows = list(run.refusals.order_by("-outcome", "id")[: SHOWN + 1])
        for row in rows[:SHOWN]:
            write(f"  {row.get_outcome_display()}: {row.name}: {row.reason}")
        if len(rows) > SHOWN:
            write("  …")
        for remark in remarks:
            write(remark)
        if csv:
            write(_("All of them: %(file)s") % {"file": csv})

    def _write_csv(self, run: ImportRun, path: str | None) -> Path | None:
        target = Path(path) if path else settings.SINAR_DATA / "import-reports" / f"{run.public_id}.csv"
        try:
            if not path:
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            with target.open("w", encoding="utf-8", newline="") as file:
                file.writelines(report_lines(run=run))
        except OSError as error:
            self.stderr.write(
                _("The report cannot be written to %(file)s: %(why)s") % {"file": target, "why": error.strerror}
            )
            return None
        return target


class _Display:
    """How far it is: one line that moves on a terminal, a line now and then elsewhere."""

    def __init__(self, out: Any, run: ImportRun) -> None:
        self._out = out
        self._run = run
        self._before = run.handled - run.refused - run.done_before
        self._began = time.monotonic()
        self._last = self._began
        self._on_terminal = out.isatty()
        self._open = False

    def show(self, progress: imports.Progress) -> None:
        now = time.monotonic()
        if not self._on_terminal and now - self._last < LINE_EVERY:
            return
        self._last = now
        text = self._text(progress, max(now - self._began, 0.001))
        if self._on_terminal:
            self._out.write(f"\r\x1b[K{text}", ending="")
            self._out.flush()
            self._open = True
        else:
            self._out.write(text)

    def _text(self, progress: imports.Progress, seconds: float) -> str:
        rate, speed = progress.handled / seconds, progress.bytes_read / seconds
        done = progress.handled + self._before
        facts = {"done": done, "found": progress.found, "rate": rate, "speed": filesizeformat(speed)}
        if progress.found is None:
            return _("%(done)d files · %(rate)d a second · %(speed)s/s") % facts
        facts["percent"] = min(100, 100 * done // max(1, progress.found))
        text = _("%(done)d of %(found)d files (%(percent)d %%) · %(rate)d a second · %(speed)s/s") % facts
        if rate:
            text += " · " + _("%(time)s left") % {"time": _duration((progress.found - done) / rate)}
        return text

    def say(self, text: str) -> None:
        self.end()
        self._out.write(text)

    def end(self) -> None:
        if self._open:
            self._out.write("")
            self._open = False


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def _stopped_by_signals(stop: threading.Event, display: _Display) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) stops cleanly, the second at once."""

    def asked(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        display.say(_("Stopping: what was read is stored first. Type the same command again to go on."))

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _most_jobs() -> int:
    """Each reader has a database connection; listing, counting and storing have one each."""
    pool = settings.DATABASES["default"].get("OPTIONS", {}).get("pool")
    return pool["max_size"] - 3 if pool else 32


def site_of(code: str) -> Site:
    """The site of that code, without one the first. Raises CommandError."""
    if not code:
        return Site.objects.default()
    site = Site.objects.filter(code=code).first()
    if site is None:
        known = ", ".join(Site.objects.values_list("code", flat=True))
        raise CommandError(_("There is no site %(code)s. There are: %(known)s.") % {"code": code, "known": known})
    return site
