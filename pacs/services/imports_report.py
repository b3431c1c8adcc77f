"""What an import says at its end."""

import csv
from collections.abc import Iterator
from typing import Any

from pacs.models import ImportRefusal, ImportRun
from pacs.services.imports_journal import MOST_REFUSALS

COLUMNS = ("outcome", "file", "reason", "study_instance_uid")
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file that keeps what was written to it last."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def report_lines(*, run: ImportRun) -> Iterator[str]:
    """The refused and held files of a run as CSV (RFC 4180), line by line."""
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(COLUMNS)
    yield line.text
    rows = ImportRefusal.objects.filter(run=run).order_by("outcome", "id")
    for row in rows.iterator(2000):
        writer.writerow([row.outcome, _plain(row.name), _plain(row.reason), row.study_instance_uid])
        yield line.text
    missing = run.refused + run.held - MOST_REFUSALS
    if missing > 0:
        writer.writerow(["", "", f"{missing} more are not listed", ""])
        yield line.text


def summary(*, run: ImportRun) -> dict[str, Any]:
    """The figures of a run, by their names in the interface."""
    return {
        "id": str(run.public_id),
        "state": run.state,
        "error": run.error,
        "found": run.found,
        "stored": run.stored,
        "unchanged": run.unchanged,
        "held": run.held,
        "skipped": run.skipped,
        "refused": run.refused,
        "done_before": run.done_before,
        "bytes_read": run.bytes_read,
        "studies": run.studies.count(),
    }


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
