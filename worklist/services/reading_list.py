"""A page of the reading list, as pages and programs show it: in three queries, however long the list is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from pacs.services import keyset
from radiology.models import Order, Patient, RequestedProcedure, User
from worklist.models import Reading
from worklist.services.reading import ORDER, VIEWS, ReadingFilter, holder_of, readings, silent_since

# The tabs count no further.
COUNTED = 99
_RELATED = (
    "requested_procedure_ref__order_ref__patient_ref",
    "study_ref",
    "assigned_to",
    "claimed_by",
    "draft_by",
    "resident",
)


@dataclass(frozen=True)
class Line:
    """One examination to be read. `holder` has it now; `since` is when that one claimed it, of a draft alone None."""

    reading: Reading
    holder: User | None
    is_mine: bool

    @property
    def procedure(self) -> RequestedProcedure:
        return self.reading.requested_procedure_ref

    @property
    def order(self) -> Order:
        return self.procedure.order_ref

    @property
    def patient(self) -> Patient:
        return self.order.patient_ref

    @property
    def since(self) -> datetime | None:
        held = self.holder is not None and self.reading.claimed_by_id == self.holder.pk
        return self.reading.claimed_at if held else None

    @property
    def images(self) -> int:
        study = self.reading.study_ref
        return study.number_of_study_related_instances if study is not None else 0

    @property
    def version(self) -> tuple[Any, ...]:
        """Is another when what is shown of it is."""
        study = self.reading.study_ref
        return (
            self.reading.pk,
            self.reading.updated_at,
            self.holder and self.holder.pk,
            self.order.updated_at,
            self.patient.updated_at,
            study and study.version,
            self.images,
        )


@dataclass(frozen=True)
class ReadingPage:
    """Lines in the order in which they want attention, how many each view has, and the places behind and before."""

    lines: Sequence[Line]
    counts: dict[str, int]
    page: keyset.Page

    @property
    def version(self) -> str:
        """Changes when anything that the page shows does; what time alone brings about, the browser sees."""
        return f"{[line.version for line in self.lines]}|{sorted(self.counts.items())}|{self.page.next}"


def reading_page(
    *,
    who: Any,
    wanted: ReadingFilter,
    size: int,
    place: keyset.Place | None = None,
    views: Sequence[str] = VIEWS,
    now: datetime | None = None,
) -> ReadingPage:
    """What `who` is to read, as far as the filter leaves it. Without the right to write reports: nothing.

    `views` are those that are counted.
    """
    silent = silent_since(who=who, now=now or timezone.now())
    found = readings(who=who, wanted=wanted).select_related(*_RELATED)
    page = keyset.page(found=found, size=size, order=ORDER, place=place)
    lines = [_line(each, who, silent) for each in page.rows]
    return ReadingPage(lines, counts_of(who=who, views=views), page)


def line_of(*, who: Any, reading: Reading) -> Line:
    """One examination as the list shows it."""
    found = Reading.objects.select_related(*_RELATED).get(pk=reading.pk)
    return _line(found, who, silent_since(who=who))


def counts_of(*, who: Any, views: Sequence[str] = VIEWS) -> dict[str, int]:
    """How much each view has, counted to one more than `COUNTED`; one query."""
    if not views or not who.may("reports.write"):
        return dict.fromkeys(views, 0)
    parts: list[str] = []
    values: list[Any] = []
    for view in views:
        rows = readings(who=who, wanted=ReadingFilter(view)).order_by().values("pk")[: COUNTED + 1]
        sql, params = _compiled(rows)
        parts.append(f"(SELECT count(*) FROM ({sql}) AS found)")
        values += params
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return dict(zip(views, cursor.fetchone(), strict=True))


def _compiled(rows: Any) -> tuple[str, Sequence[Any]]:
    """The statement of a queryset, and its values; of one that can find nothing, one that finds nothing."""
    if rows.query.is_empty():
        return "SELECT 1 WHERE false", []
    return rows.query.sql_with_params()


def _line(reading: Reading, who: Any, silent: datetime) -> Line:
    holder = holder_of(reading, silent)
    people = {each.pk: each for each in (reading.claimed_by, reading.draft_by) if each is not None}
    return Line(reading, people.get(holder or 0), is_mine=isinstance(who, User) and holder == who.pk)
