"""The numbers of a period's examinations as columns in memory, and what is exact about them.

One COPY brings some dozen integers of each examination; medians and percentiles are of all of them, to the second, as
`percentile_cont` of PostgreSQL has them (linear between neighbours). Nothing is summarised beforehand, so no two
summaries have to be put together: a percentile of a year is that of its examinations. What it costs grows with the
examinations of the period and not with those of the archive.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from psycopg import sql

from radiology.errors import OutOfResources
from radiology.models import Priority
from worklist.services.figures_period import Period

# The steps of an examination in their order; what stands in `ExaminationFigures` under these names.
STEP_WORDS = {
    "to_appointment": gettext_lazy("Ordered → scheduled time"),
    "to_arrival": gettext_lazy("Scheduled time → arrived"),
    "to_start": gettext_lazy("Arrived → started"),
    "to_images": gettext_lazy("Started → images complete"),
    "to_draft": gettext_lazy("Images complete → draft begun"),
    "to_preliminary": gettext_lazy("Images complete → preliminary"),
    "preliminary_to_final": gettext_lazy("Preliminary → signed"),
    "to_final": gettext_lazy("Images complete → signed"),
    "order_to_final": gettext_lazy("Ordered → signed"),
    "to_acknowledgement": gettext_lazy("Critical result → acknowledged"),
}
PRIORITIES = tuple(Priority.values)
MOST = 3_000_000
UNKNOWN = -(2**31)
_EPOCH = date(2000, 1, 1)
# Whole numbers for texts, which COPY would send with lengths of their own.
_GROUPS = {
    "day": "(day - DATE '2000-01-01')",
    "priority": f"CASE priority {' '.join(f'WHEN {each!r} THEN {n}' for n, each in enumerate(PRIORITIES))} ELSE -1 END",
    "radiologist": "coalesce(radiologist_id, CASE WHEN signed_on IS NULL THEN 0 ELSE -1 END)",
    "modality": "hashtextextended(modality, 0)",
    "requesting_service": "hashtextextended(requesting_service, 0)",
}
# Wider than others: keys and hashes.
WIDE = {"radiologist", "modality", "requesting_service"}
HEADER, BLOCK = 19, 1 << 20


@dataclass(frozen=True)
class Selection:
    """Which examinations: of some sites, a period, a modality (empty for all)."""

    sites: tuple[int, ...]
    period: Period
    modality: str = ""

    @property
    def before(self) -> "Selection":
        return Selection(self.sites, self.period.before, self.modality)

    def where(self, day: str = "day") -> tuple[str, dict[str, Any]]:
        """The condition on `worklist_examinationfigures`, and its parameters."""
        text = f"site_id = ANY(%(sites)s) AND {day} BETWEEN %(first)s AND %(last)s"
        if self.modality:
            text += " AND modality = %(modality)s"
        return text, {
            "sites": list(self.sites),
            "first": self.period.first,
            "last": self.period.last,
            "modality": self.modality,
        }


@dataclass(frozen=True)
class Summary:
    """Of one step: how many, median and 90th percentile in seconds, and the share in time of what had an agreement."""

    count: int
    median: float | None = None
    p90: float | None = None
    within: float | None = None


class Columns:
    """The numbers of all examinations of a selection, one array for each column."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self["day"])

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def starts(self, begins: Sequence[date]) -> Any:
        """The place among `begins` (sorted first days) of each examination's day."""
        edges = numpy.array([(each - _EPOCH).days for each in begins])
        return numpy.searchsorted(edges, self["day"], side="right") - 1

    def summary(self, step: str) -> Summary:
        values = self[step]
        known = values != UNKNOWN
        return _summary(numpy.sort(values[known]), self._within(step, known))

    def summaries(self, step: str, groups: Any) -> dict[int, Summary]:
        """The same for each value of `groups`, an array as long as the columns."""
        known = self[step] != UNKNOWN
        keys, codes = numpy.unique(groups[known], return_inverse=True)
        times, within = self[step][known], self._within(step, known)
        by_time = numpy.argsort(times, kind="stable")
        order = by_time[numpy.argsort(codes[by_time].astype("u2" if len(keys) < 1 << 16 else "i8"), kind="stable")]
        times, within = times[order], None if within is None else within[order]
        bounds = numpy.searchsorted(codes[order], range(len(keys) + 1)).tolist()
        return {
            int(key): _summary(times[first:last], None if within is None else within[first:last])
            for key, first, last in zip(keys, bounds[:-1], bounds[1:], strict=True)
        }

    def _within(self, step: str, known: Any) -> Any:
        """1 for each in time, 0 for each late, NaN without an agreement; there is one about signed reports only."""
        if step != "to_final":
            return None
        times, agreed = self["to_final"][known], self["agreed"][known]
        return numpy.where(agreed == UNKNOWN, numpy.nan, times <= agreed)


def read(selection: Selection, *, is_grouped: bool = True) -> Columns:
    """The numbers of a selection, with those by which they are grouped or only the times.

    Raises OutOfResources for more examinations than can be looked at at once.
    """
    where, parameters = selection.where()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM worklist_examinationfigures WHERE {where}", parameters)
        if cursor.fetchone()[0] > MOST:
            raise OutOfResources(
                _("That is more than %(most)s million examinations: choose a shorter period or one site.")
                % {"most": MOST // 1_000_000}
            )
        times = {name: f"coalesce({name}, {UNKNOWN})" for name in ("agreed", *STEP_WORDS)}
        wanted = {**_GROUPS, **times} if is_grouped else {"day": _GROUPS["day"], **times}
        return Columns(_copied(cursor, wanted, where, parameters))


def names_of(selection: Selection, column: str) -> dict[int, str]:
    """The texts behind the numbers of `modality` or `requesting_service`."""
    where, parameters = selection.where()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {column}, hashtextextended({column}, 0) FROM worklist_examinationfigures "
            f"WHERE {where} GROUP BY {column}",
            parameters,
        )
        return {number: text for text, number in cursor.fetchall()}


def percentile(ordered: Any, share: float) -> float | None:
    """Of sorted values, as `percentile_cont` has it; None of none."""
    if not len(ordered):
        return None
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    first, second = float(ordered[below]), float(ordered[above])
    return first + (second - first) * (place - below)


def _summary(ordered: Any, within: Any) -> Summary:
    if not len(ordered):
        return Summary(0)
    agreed = within[~numpy.isnan(within)] if within is not None else None
    share = float(agreed.mean()) if agreed is not None and len(agreed) else None
    return Summary(len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.9), share)


def _copied(cursor: Any, wanted: dict[str, str], where: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The columns as arrays. In PostgreSQL's binary COPY each value stands behind its length."""
    columns = ", ".join(f"({text})::{'int8' if name in WIDE else 'int4'}" for name, text in wanted.items())
    query = f"COPY (SELECT {columns} FROM worklist_examinationfigures WHERE {where}) TO STDOUT (FORMAT BINARY)"
    parts: list[dict[str, Any]] = []
    # COPY takes no parameters: they become literals here.
    literals = {name: sql.Literal(value).as_string(connection.connection) for name, value in parameters.items()}
    with cursor.copy(query % literals) as copy:
        for rows in _rows(copy, _kind(wanted)):
            parts.append({name: rows[name].astype("i8" if name in WIDE else "i4") for name in wanted})
    if not parts:
        return {name: numpy.empty(0, "i8" if name in WIDE else "i4") for name in wanted}
    return {name: numpy.concatenate([part[name] for part in parts]) for name in wanted}


def _kind(wanted: Iterable[str]) -> Any:
    values = [[(f"length of {name}", ">i4"), (name, ">i8" if name in WIDE else ">i4")] for name in wanted]
    return numpy.dtype([("fields", ">i2"), *(part for pair in values for part in pair)])


def _rows(copy: Any, kind: Any) -> Iterator[Any]:
    """Whole rows out of blocks of any size; behind the last one stands a trailer of two bytes."""
    kept, skip = bytearray(), HEADER
    for block in copy:
        kept += block
        if skip and len(kept) >= skip:
            del kept[:skip]
            skip = 0
        whole = len(kept) // kind.itemsize * kind.itemsize
        if not skip and whole >= BLOCK:
            yield numpy.frombuffer(bytes(kept[:whole]), kind)
            del kept[:whole]
    whole = len(kept) // kind.itemsize * kind.itemsize
    if not skip and whole:
        yield numpy.frombuffer(bytes(kept[:whole]), kind)
