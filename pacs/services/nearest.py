"""Rows that are found soon, or hardly at all: among the next ones of a list, before anything else is tried.

A common name and a modality are often met on the first rows of a list. Where they are not, reading on may lead to the
end of the archive; so no more than `NEAR` rows are read for them, and then another way is taken.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.db.models.sql.datastructures import BaseTable

from pacs.services.keyset import expressions

NEAR = 5_000


class Window(BaseTable):
    """The rows of a query instead of their table, which the planner can then enter by no other index."""

    def __init__(self, rows: QuerySet[Any], alias: str) -> None:
        super().__init__(rows.model._meta.db_table, alias)
        self.rows = rows

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, params = self.rows.query.get_compiler(connection=connection).as_sql()
        return f"({sql}) {compiler.quote_name_unless_alias(self.table_alias)}", params


def nearest(found: QuerySet[Any], *, every: QuerySet[Any], order: Sequence[str], size: int) -> list[Any] | None:
    """The first `size` of `found`, where they are among the next rows of the list that `every` is; else None."""
    ordered = expressions(order)
    near = found.order_by(*ordered)[:size]
    alias = near.query.get_initial_alias()
    near.query.alias_map[alias] = Window(every.order_by(*ordered)[:NEAR], alias)
    rows = list(near)
    return rows if len(rows) == size else None
