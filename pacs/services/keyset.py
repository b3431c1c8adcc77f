"""Lists in pages: an order over indexed columns, and a place in it from which to go on, either way.

Nothing is counted or skipped: the page behind a place begins where an index says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F, Q, QuerySet

from pacs.services.matching import any_of

# Columns, as paths of the ORM, that may hold NULL: it comes behind every number.
MAY_BE_NULL = {"scheduled_start", "series_number", "instance_number", "series_ref__series_number"}


@dataclass(frozen=True)
class Place:
    """Between two rows: behind the row with these values of the order's columns, or before it."""

    values: Sequence[Any]
    backwards: bool = False


@dataclass(frozen=True)
class Page:
    """Rows in their order, and the places where the pages behind and before them begin."""

    rows: list[Any] = field(default_factory=list)
    next: Place | None = None
    previous: Place | None = None


def page_of(*, found: Sequence[Any], size: int, order: Sequence[str], place: Place | None) -> Page:
    """The page that was found with the rows in the direction of `place`, one more than `size` if there are more."""
    rows, more = list(found[:size]), len(found) > size
    if not rows:
        return Page()
    if place is not None and place.backwards:
        rows.reverse()
        previous = Place(values_of(order, rows[0]), backwards=True) if more else None
        return Page(rows, Place(values_of(order, rows[-1])), previous)
    return Page(
        rows,
        Place(values_of(order, rows[-1])) if more else None,
        Place(values_of(order, rows[0]), backwards=True) if place is not None else None,
    )


def values_of(order: Sequence[str], row: Any) -> list[Any]:
    """What stands in the order's columns of a row."""
    values = []
    for name in order:
        value = row
        for step in name.removeprefix("-").split("__"):
            value = getattr(value, step)
        values.append(value)
    return values


def reverse(order: Sequence[str]) -> list[str]:
    """The same order from its end."""
    return [name[1:] if name.startswith("-") else f"-{name}" for name in order]


def expressions(order: Sequence[str]) -> list[Any]:
    """The arguments of `order_by`."""
    return [F(name[1:]).desc() if name.startswith("-") else F(name).asc() for name in order]


def behind(order: Sequence[str], values: Sequence[Any]) -> Q:
    """The rows behind the one with these values."""
    alternatives, same = [], Q()
    for name, value in zip(order, values, strict=True):
        column, down = name.removeprefix("-"), name.startswith("-")
        if value is None:
            if down:
                alternatives.append(same & Q(**{f"{column}__isnull": False}))
            same &= Q(**{f"{column}__isnull": True})
            continue
        beyond = Q(**{f"{column}__{'lt' if down else 'gt'}": value})
        if column in MAY_BE_NULL and not down:
            beyond |= Q(**{f"{column}__isnull": True})
        alternatives.append(same & beyond)
        same &= Q(**{column: value})
    return _bound(order[0], values[0]) & any_of(alternatives)


def _bound(name: str, value: Any) -> Q:
    """The same said once more of the first column alone, so that an index is entered at the right place."""
    column = name.removeprefix("-")
    if value is None or column in MAY_BE_NULL:
        return Q()
    return Q(**{f"{column}__{'lte' if name.startswith('-') else 'gte'}": value})


def page(*, found: QuerySet[Any], size: int, order: Sequence[str], place: Place | None = None) -> Page:
    """One page of the rows of a query."""
    towards = reverse(order) if place and place.backwards else order
    rows = found.order_by(*expressions(towards))
    if place is not None:
        rows = rows.filter(behind(towards, place.values))
    return page_of(found=list(rows[: size + 1]), size=size, order=order, place=place)
