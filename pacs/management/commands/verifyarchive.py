"""`manage.py verifyarchive`: compares the index with the bytes, both ways."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from pacs.models import Verification, VerificationFinding, Volume
from pacs.services.verification import Options, Pace, begin, unfinished, verify
from radiology.errors import RadiologyError

MEGABYTE = 1024 * 1024
SHOWN_EVERY = 0.5
PAUSE = 0.01


class Command(BaseCommand):
    help = (
        "Compare the index with the files, both ways: every file that the database names is there and holds the bytes "
        "that were stored (size and SHA-256); every file on every volume is named; the counters of studies and series "
        "agree. Exit code 0: all is well, or everything was repaired; 1: something is wrong; 130: stopped, go on with "
        "--resume."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--volume", metavar="NAME", help="only this volume")
        parser.add_argument("--rate", type=float, default=0, metavar="MB", help="read at most so many MB a second")
        parser.add_argument(
            "--pause", type=float, default=PAUSE, metavar="S", help="rest so long after each batch (0.01)"
        )
        parser.add_argument("--since", metavar="DATE", help="only what was stored since, as 2026-11-23 or with a time")
        parser.add_argument("--resume", action="store_true", help="go on where the last run was ended or killed")
        parser.add_argument("--repair", action="store_true", help="put right what can be; never deletes a last copy")
        parser.add_argument(
            "--orphan-age", type=float, default=60, metavar="MIN", help="files younger than this are no orphans (60)"
        )
        parser.add_argument(
            "--json", nargs="?", const="-", metavar="FILE", help="a report for machines, to FILE or standard output"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rate"] < 0 or options["pause"] < 0 or options["orphan_age"] < 0:
            raise CommandError(_("--rate, --pause and --orphan-age are not negative."))
        run = self._run(options)
        if getattr(self, "_called_from_command_line", False):  # a process of its own, and not somebody who calls it
            os.nice(10)
        if self.stderr.isatty():  # lines of the log would tear the progress
            logging.getLogger("pacs").setLevel(logging.ERROR)
        pace = Pace(options["rate"] * MEGABYTE)
        with self._report(options["json"]) as report:
            display = _Display(self.stderr, run, pace)
            pace.tick = display.tick

            def found(finding: VerificationFinding) -> None:
                display.clear()
                if report is not None:
                    report.add(_as_json(finding))
                if options["json"] != "-":
                    self.stdout.write(_line(finding))

            chosen = Options(
                pace=pace,
                young=timedelta(minutes=options["orphan_age"]),
                pause=options["pause"],
                alive=lambda _run: display.tick(),
                found=found,
            )
            try:
                verify(run=run, options=chosen)
            except KeyboardInterrupt:
                display.clear()
                self.stderr.write(_("Stopped; --resume goes on from here."))
                sys.exit(130)
            except RadiologyError as error:
                raise CommandError(error.message) from error
            finally:
                display.clear()
                if report is not None:
                    report.end(_summary(run))
        if options["json"] != "-":
            self.stdout.write(
                _("%(objects)d objects (%(size)s) and %(files)d files: %(problems)d problems, %(repaired)d repaired.")
                % {
                    "objects": run.objects_read,
                    "size": filesizeformat(run.bytes_read),
                    "files": run.files_seen,
                    "problems": run.problems,
                    "repaired": run.repaired,
                }
            )
        if run.problems > run.repaired:
            sys.exit(1)

    def _run(self, options: dict[str, Any]) -> Verification:
        volume = None
        if options["volume"]:
            volume = Volume.objects.filter(name=options["volume"]).first()
            if volume is None:
                names = ", ".join(Volume.objects.values_list("name", flat=True))
                raise CommandError(_("There is no such volume. There are: %(names)s.") % {"names": names})
        if options["resume"]:
            found = unfinished(volume=volume)
            if found is not None:
                if found.repairs != options["repair"]:
                    found.repairs = options["repair"]
                self.stderr.write(_("Going on with the run of %(when)s.") % {"when": found})
                return found
            self.stderr.write(_("Nothing is unfinished: a new run begins."))
        return begin(volume=volume, repairs=options["repair"], since=_moment(options["since"]))

    @contextmanager
    def _report(self, where: str | None) -> "Iterator[_Report | None]":
        if where is None:
            yield None
        elif where == "-":
            yield _Report(sys.stdout)
        else:
            try:
                file = open(where, "w", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                reason = {"file": where, "reason": os.strerror(error.errno or 0)}
                raise CommandError(_("%(file)s cannot be written: %(reason)s.") % reason) from error
            with file:
                yield _Report(file)


class _Report:
    """One JSON document, written as it comes: findings are not gathered."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._first = True
        file.write('{"findings": [')

    def add(self, finding: dict[str, str]) -> None:
        self._file.write(("\n" if self._first else ",\n") + json.dumps(finding))
        self._first = False

    def end(self, summary: dict[str, Any]) -> None:
        self._file.write(f"\n], {json.dumps(summary)[1:]}\n")
        self._file.flush()


class _Display:
    """A line on a terminal: how far, how fast, how long still."""

    def __init__(self, stream: Any, run: Verification, pace: Pace) -> None:
        self._stream, self._run, self._pace = stream, run, pace
        self._on = stream.isatty()
        self._begun, self._shown = time.monotonic(), 0.0
        self._bytes = run.bytes_read

    def tick(self) -> None:
        if not self._on or time.monotonic() - self._shown < SHOWN_EVERY:
            return
        self._shown = time.monotonic()
        run = self._run
        rate = self._pace.total / max(0.001, self._shown - self._begun)
        figures = {
            "objects": run.objects_read,
            "total": run.objects_total,
            "rate": filesizeformat(rate),
            "problems": run.problems,
            "left": _time(max(0, run.bytes_total - self._bytes - self._pace.total) / rate) if rate else "–",
        }
        line = _("%(objects)d of %(total)d objects, %(rate)s/s, %(left)s left, %(problems)d problems") % figures
        self._stream.write(f"\r\x1b[K{line}", style_func=str, ending="")

    def clear(self) -> None:
        if self._on:
            self._stream.write("\r\x1b[K", style_func=str, ending="")
            self._shown = 0.0


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _moment(text: str | None) -> Any:
    if not text:
        return None
    try:
        moment = parse_datetime(text)
        day = None if moment else parse_date(text)
    except ValueError:
        moment = day = None
    if moment is None and day is not None:
        moment = datetime.combine(day, datetime.min.time())
    if moment is None:
        raise CommandError(_("--since is a date as 2026-11-23, or with a time: 2026-11-23T15:00."))
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _as_json(finding: VerificationFinding) -> dict[str, str]:
    return {
        "kind": finding.kind,
        "volume": finding.volume.name if finding.volume else "",
        "path": finding.path,
        "study_instance_uid": finding.study_instance_uid,
        "sop_instance_uid": finding.sop_instance_uid,
        "detail": finding.detail,
        "repair": finding.repair,
    }


def _line(finding: VerificationFinding) -> str:
    parts = [finding.kind.upper()]
    if finding.volume is not None:
        parts.append(f"{finding.volume.name}: {finding.path}")
    if finding.study_instance_uid:
        parts.append(_("study %(uid)s") % {"uid": finding.study_instance_uid})
    if finding.sop_instance_uid:
        parts.append(_("instance %(uid)s") % {"uid": finding.sop_instance_uid})
    parts.append(finding.detail)
    if finding.repair:
        parts.append(_("Repaired: %(what)s") % {"what": finding.repair})
    return "  ".join(parts)


def _summary(run: Verification) -> dict[str, Any]:
    return {
        "run": run.pk,
        "finished": run.finished_at is not None,
        "objects": run.objects_read,
        "bytes": run.bytes_read,
        "files": run.files_seen,
        "problems": run.problems,
        "repaired": run.repaired,
    }
