"""How long each step of an examination took: medians, 90th percentiles, and what was in time."""

from typing import Any

from django.utils.translation import gettext as _

from radiology.models import Priority
from worklist.services import figures_numbers as numbers
from worklist.services.figures_numbers import PRIORITIES, STEP_WORDS, Columns, Selection, Summary
from worklist.services.figures_period import starts
from worklist.services.figures_tables import (
    MOST_LINES,
    Column,
    Figures,
    Table,
    number,
    people,
    share,
    text,
    time,
    words,
)

USUAL_STEP = "to_final"


def turnaround(*, selection: Selection, step: str = USUAL_STEP, unit: str = "") -> Figures:
    """All steps beside those of the period before; one `step` over time and by what may explain it."""
    now, before = numbers.read(selection), numbers.read(selection.before, is_grouped=False)
    begins = starts(selection.period, unit or selection.period.unit)
    over_time = now.summaries(step, now.starts(begins))
    names = words()
    tables = [
        _steps(now, before),
        Table(
            "over-time",
            _("%(step)s over time") % {"step": STEP_WORDS[step]},
            [text("start", names["start"]), *_columns(step)],
            [[each.isoformat(), *_cells(over_time.get(place, Summary(0)), step)] for place, each in enumerate(begins)],
            plot="lines",
        ),
        _by("modality", _("By modality"), _("Modality"), now, step, numbers.names_of(selection, "modality")),
        _by("radiologist", _("By radiologist"), _("Radiologist"), now, step, _radiologists(now)),
        _by("priority", _("By priority"), _("Priority"), now, step, dict(enumerate(_priorities()))),
        _by(
            "requesting_service",
            _("By requesting service"),
            _("Requesting service"),
            now,
            step,
            numbers.names_of(selection, "requesting_service"),
        ),
    ]
    was, is_ = before.summary(USUAL_STEP), now.summary(USUAL_STEP)
    return Figures(
        tables,
        [
            (_("Examinations"), number("count", ""), len(now), len(before)),
            (_("Signed, median"), time("median", ""), is_.median, was.median),
            (_("Signed, 90th percentile"), time("p90", ""), is_.p90, was.p90),
            (_("Signed in time"), share("within", ""), is_.within, was.within),
        ],
    )


def _steps(now: Columns, before: Columns) -> Table:
    rows: list[list[Any]] = []
    for step, label in STEP_WORDS.items():
        is_, was = now.summary(step), before.summary(step)
        rows.append([str(label), is_.count, is_.median, is_.p90, is_.within, was.count, was.median, was.p90])
    names = words()
    columns: list[Column] = [
        text("step", _("Step")),
        number("count", names["count"]),
        time("median", names["median"]),
        time("p90", names["p90"]),
        share("within", names["within"]),
        number("count_before", _("Examinations before")),
        time("median_before", _("Median before")),
        time("p90_before", _("90th percentile before")),
    ]
    return Table("steps", _("Time by step"), columns, rows)


def _by(name: str, title: str, what: str, columns: Columns, step: str, labels: dict[int, str]) -> Table:
    found = columns.summaries(step, columns[name])
    lines = sorted(found.items(), key=lambda item: (-item[1].count, labels.get(item[0], "")))
    return Table(
        f"by-{name.replace('_', '-')}",
        title,
        [text("name", what), *_columns(step)],
        [[labels.get(key) or "—", *_cells(each, step)] for key, each in lines[:MOST_LINES]],
    )


def _columns(step: str) -> list[Column]:
    names = words()
    found = [number("count", names["count"]), time("median", names["median"]), time("p90", names["p90"])]
    return [*found, share("within", names["within"])] if step == USUAL_STEP else found


def _cells(of: Summary, step: str) -> list[Any]:
    return [of.count, of.median, of.p90, of.within] if step == USUAL_STEP else [of.count, of.median, of.p90]


def _radiologists(columns: Columns) -> dict[int, str]:
    keys = {int(key) for key in set(columns["radiologist"].tolist())}
    return {**people(sorted(keys)), -1: _("Reported elsewhere"), 0: _("Not signed yet")}


def _priorities() -> list[str]:
    return [str(Priority(each).label) for each in PRIORITIES]
