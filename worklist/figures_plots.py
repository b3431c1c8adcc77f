"""Tables as drawings: SVG made on the server, without scripts or styles of its own; colours come from the page's CSS.

Each drawing says what it shows to who cannot see it, each mark its value; the table stands beside it.
"""

import math
from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from worklist.figures_words import DAY, HOUR, MINUTE, shown
from worklist.services.figures_tables import Column, Table

WIDTH, HEIGHT = 720, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 8, 12, 30
BAR = 26
MOST_BARS = 20
NAME, NARROW = 150, 460
CELL_WIDTH, CELL_HEIGHT, WEEKDAY = 25, 24, 88


def drawing(table: Table) -> SafeString:
    """The plot of a table; nothing of one that has none, or that is empty."""
    if not table.plot or table.is_empty:
        return SafeString("")
    if table.plot == "heat":
        return _heat(table)
    if table.columns[0].name != "start":
        return _bars(table)
    drawn = [column for column in table.columns[1:] if table.plot == "bars" or column.kind == "time"]
    return (_columns if table.plot == "bars" else _lines)(table, drawn)


def _frame(table: Table, width: int, height: int, said: str, inside: SafeString) -> SafeString:
    key = f"plot-{table.name}"
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d" '
        'xmlns="http://www.w3.org/2000/svg"><title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>',
        "plot narrow" if width == NARROW else "plot",
        width,
        height,
        key,
        key,
        key,
        table.title,
        key,
        said,
        inside,
    )


def _lines(table: Table, drawn: Sequence[Column]) -> SafeString:
    places = [list(table.columns).index(each) for each in drawn]
    values = [row[place] for row in table.rows for place in places if row[place] is not None]
    ends, ticks = _scale(max(values, default=0), min(values, default=0), in_time=True)
    step = (WIDTH - LEFT - RIGHT) / max(len(table.rows), 1)
    marks: list[SafeString] = []
    for number, (column, place) in enumerate(zip(drawn, places, strict=True), 1):
        points = [
            (LEFT + (each + 0.5) * step, _height(row[place], ends), row)
            for each, row in enumerate(table.rows)
            if row[place] is not None
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _row in points)
        marks.append(format_html('<polyline class="line series-{}" points="{}"/>', number, line))
        for x, y, row in points:
            marks.append(
                format_html(
                    '<circle class="dot series-{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>',
                    number,
                    f"{x:.1f}",
                    f"{y:.1f}",
                    _told(table, row, column, place),
                )
            )
    inside = format_html(
        "{}{}{}", _grid(ticks, ends, drawn[0]), _days(table, step), format_html_join("", "{}", ((m,) for m in marks))
    )
    return _frame(table, WIDTH, HEIGHT, _said(table, drawn), inside)


def _columns(table: Table, drawn: Sequence[Column]) -> SafeString:
    places = [list(table.columns).index(each) for each in drawn]
    ends, ticks = _scale(max((row[place] or 0 for row in table.rows for place in places), default=0))
    step = (WIDTH - LEFT - RIGHT) / max(len(table.rows), 1)
    width = step * 0.8 / len(drawn)
    marks = [
        format_html(
            '<rect class="bar series-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            number + 1,
            f"{LEFT + each * step + step * 0.1 + number * width:.1f}",
            f"{_height(row[place], ends):.1f}",
            f"{width:.1f}",
            f"{HEIGHT - BOTTOM - _height(row[place], ends):.1f}",
            _told(table, row, column, place),
        )
        for each, row in enumerate(table.rows)
        for number, (column, place) in enumerate(zip(drawn, places, strict=True))
    ]
    inside = format_html(
        "{}{}{}", _grid(ticks, ends, drawn[0]), _days(table, step), format_html_join("", "{}", ((m,) for m in marks))
    )
    return _frame(table, WIDTH, HEIGHT, _said(table, drawn), inside)


def _bars(table: Table) -> SafeString:
    rows, column = table.rows[:MOST_BARS], table.columns[1]
    most = max((row[1] or 0 for row in rows), default=0) or 1
    room = NARROW - NAME - 60
    marks = [
        format_html(
            '<text class="name" x="{}" y="{}" text-anchor="end">{}</text>'
            '<rect class="bar series-1" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            '<text class="value" x="{}" y="{}">{}</text>',
            NAME - 8,
            each * BAR + 18,
            _short(str(row[0])),
            NAME,
            each * BAR + 4,
            f"{max(room * (row[1] or 0) / most, 1):.1f}",
            BAR - 8,
            _told(table, row, column, 1),
            f"{NAME + room * (row[1] or 0) / most + 6:.1f}",
            each * BAR + 18,
            shown(row[1], column),
        )
        for each, row in enumerate(rows)
    ]
    inside = format_html_join("", "{}", ((mark,) for mark in marks))
    return _frame(table, NARROW, max(len(rows), 1) * BAR + 6, _said(table, [column]), inside)


def _heat(table: Table) -> SafeString:
    most = max((value for row in table.rows for value in row[1:]), default=0) or 1
    marks: list[SafeString] = []
    for hour, column in enumerate(table.columns[1:]):
        if hour % 2 == 0:
            x = WEEKDAY + hour * CELL_WIDTH + CELL_WIDTH / 2
            marks.append(
                format_html('<text class="tick" x="{}" y="14" text-anchor="middle">{}</text>', x, column.label)
            )
    for day, row in enumerate(table.rows):
        y = 20 + day * CELL_HEIGHT
        marks.append(
            format_html('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>', WEEKDAY - 8, y + 16, row[0])
        )
        for hour, value in enumerate(row[1:]):
            marks.append(
                format_html(
                    '<rect class="cell" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}">'
                    "<title>{}</title></rect>",
                    WEEKDAY + hour * CELL_WIDTH,
                    y,
                    CELL_WIDTH - 2,
                    CELL_HEIGHT - 2,
                    f"{0.04 + 0.96 * math.sqrt(value / most) if value else 0.04:.2f}",
                    _("%(day)s, %(hour)s:00: %(count)s")
                    % {"day": row[0], "hour": table.columns[hour + 1].label, "count": value},
                )
            )
    busiest = max(
        ((value, row[0], hour) for row in table.rows for hour, value in enumerate(row[1:])), default=(0, "", 0)
    )
    said = _("Most: %(count)s, %(day)s from %(hour)s:00.") % {
        "count": busiest[0],
        "day": busiest[1],
        "hour": busiest[2],
    }
    inside = format_html_join("", "{}", ((mark,) for mark in marks))
    return _frame(table, WEEKDAY + 24 * CELL_WIDTH, 20 + 7 * CELL_HEIGHT, said, inside)


def _scale(most: float, least: float = 0, *, in_time: bool = False) -> tuple[tuple[float, float], list[float]]:
    """Both ends of the axis, 0 between them, and its ticks: some round steps."""
    most, least = max(most, 0), min(least, 0)
    size = most - least
    if not size:
        return (0, 1), [0, 1]
    unit = 1
    if in_time:
        unit = DAY if size > 2 * DAY else HOUR if size > 2 * HOUR else MINUTE
    raw = size / unit / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw)
    step = max(step, 1) if not in_time else step
    first, last = math.floor(least / unit / step), math.ceil(most / unit / step)
    return (first * step * unit, last * step * unit), [each * step * unit for each in range(first, last + 1)]


def _height(value: float | None, ends: tuple[float, float]) -> float:
    bottom, top = ends
    return HEIGHT - BOTTOM - ((value or 0) - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)


def _grid(ticks: Sequence[float], ends: tuple[float, float], column: Column) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>',
        (
            (
                LEFT,
                WIDTH - RIGHT,
                f"{_height(each, ends):.1f}",
                f"{_height(each, ends):.1f}",
                LEFT - 6,
                f"{_height(each, ends) + 4:.1f}",
                shown(each, column),
            )
            for each in ticks
        ),
    )


def _days(table: Table, step: float) -> SafeString:
    """So many of the days below the axis as have room."""
    every = max(1, math.ceil(len(table.rows) / 8))
    return format_html_join(
        "",
        '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (f"{min(LEFT + (each + 0.5) * step, WIDTH - 36):.1f}", HEIGHT - 10, shown(row[0], table.columns[0]))
            for each, row in enumerate(table.rows)
            if each % every == 0
        ),
    )


def _told(table: Table, row: Sequence[Any], column: Column, place: int) -> str:
    return f"{shown(row[0], table.columns[0])}: {column.label} {shown(row[place], column)}"


def _said(table: Table, drawn: Sequence[Column]) -> str:
    names = ", ".join(column.label for column in drawn)
    return _("%(names)s; %(count)d entries. The table below holds the same.") % {
        "names": names,
        "count": len(table.rows),
    }


def _short(name: str) -> str:
    return name if len(name) <= 21 else f"{name[:20]}…"
