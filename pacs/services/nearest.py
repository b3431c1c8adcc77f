"""Rows that are found soon, or hardly at all: among the next ones of a list, before anything else is tried.

A common name and a modality are often met on the first rows of a list. Where they are not, reading on may lead to the
end of the archive; so no more than `NEAR` rows are read for them, and then another way is taken.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from pacs.services.conditions import IsOneOf
from pacs.services.keyset import expressions

NEAR = 5_000


def nearest(found: QuerySet[Any], *, every: QuerySet[Any], order: Sequence[str], size: int) -> list[Any] | None:
    """The first `size` of `found`, where they are among the next rows of the list that `every` is; else None."""
    ordered = expressions(order)
    among = IsOneOf("pk", every.order_by(*ordered).values("pk")[:NEAR])
    rows = list(found.filter(among).order_by(*ordered)[:size])
    return rows if len(rows) == size else None
