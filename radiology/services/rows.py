"""Rows that are asked for with every message: statements that never change, written once.

To put a query together costs Django several times what it costs to ask it. Where that is most of the work, a condition
in SQL stands instead, and everything else still follows from the model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from typing import Any, Generic, TypeVar

from django.db import connection, models, transaction
from django.db.models.base import ModelState
from psycopg import Binary
from psycopg.types.json import Json, Jsonb

# Of one statement, which holds them all in memory.
MOST_ROWS = 500
_database: Any = connection  # radiology.postgresql's
# Behind RETURNING, which is worked out before the statement's transaction ends.
_SOON = ", set_config('synchronous_commit', 'off', true)"
M = TypeVar("M", bound=models.Model)


class Sought(Generic[M]):
    """Calling it with values gives the rows of `model` for which `condition` is true of them, in its order.

    `fields` are those that are read, by default all; the others are read when somebody looks at them. `related` names,
    as `select_related` does, rows that come along, and their fields (none named: all): each behind the one that it
    belongs to. In a condition they go by the names of their tables. `aside` are expressions whose values become
    attributes of the row; what they take comes before what the condition takes.
    """

    def __init__(
        self,
        model: type[M],
        condition: str,
        *,
        fields: Iterable[str] = (),
        related: Mapping[str, Iterable[str]] | None = None,
        aside: Mapping[str, str] | None = None,
    ) -> None:
        self._parts = [_Part(model, fields)]
        self._aside = tuple(aside or ())
        joins = ""
        places = {"": 0}
        for path, read in (related or {}).items():
            above, _, name = path.rpartition("__")
            owner = self._parts[places[above]].model._meta
            link: Any = owner.get_field(name)
            part = _Part(link.related_model, read, link=link, owner=places[above], first=self._parts[-1].end)
            joins += _join(link, owner)
            places[path] = len(self._parts)
            self._parts.append(part)
        columns = [column for part in self._parts for column in part.columns]
        columns += (aside or {}).values()
        self._question = f'SELECT {", ".join(columns)} FROM "{model._meta.db_table}"{joins} WHERE {condition}'

    def __call__(self, *values: Any) -> list[M]:
        return [self._row(row) for row in _database.rows_of(self._question, values)]

    def _row(self, values: tuple[Any, ...]) -> M:
        rows: list[Any] = []
        for part in self._parts:
            row = part.row(values)
            rows.append(row)
            if part.link is not None:
                part.link.set_cached_value(rows[part.owner], row)
        found: M = rows[0]
        found.__dict__.update(zip(self._aside, values[self._parts[-1].end :], strict=True))
        return found


class _Part:
    """What of one row of a statement's answer makes a row of `model`; its `link` leads there from part `owner`."""

    def __init__(self, model: Any, fields: Iterable[str], *, link: Any = None, owner: int = 0, first: int = 0) -> None:
        meta = model._meta
        wanted = {meta.pk.name, *fields} if fields else {each.name for each in meta.concrete_fields}
        read = [each for each in meta.concrete_fields if each.name in wanted]
        self.model, self.table, self.link, self.owner = model, meta.db_table, link, owner
        self.columns = [f'"{meta.db_table}"."{each.column}"' for each in read]
        self.end = first + len(read)
        self._taken = slice(first, self.end)
        self._names = [each.attname for each in read]
        self._converted = [(place, each) for place, each in enumerate(read) if hasattr(each, "from_db_value")]

    def row(self, answer: tuple[Any, ...]) -> Any:
        values = list(answer[self._taken])
        for place, field in self._converted:
            for convert in field.get_db_converters(connection):
                values[place] = convert(values[place], None, connection)
        # What `Model.from_db` comes to, where no signal is sent for new objects.
        row = self.model.__new__(self.model)
        row.__dict__.update(zip(self._names, values, strict=True))
        row._state = state = ModelState()
        state.adding, state.db = False, connection.alias
        return row


class Statement:
    """Calling it with values gives the rows of a statement, as tuples."""

    def __init__(self, question: str) -> None:
        self._question = question

    def __call__(self, *values: Any) -> list[Any]:
        found: list[Any] = _database.rows_of(self._question, values)
        return found


class SoughtValues(Statement):
    """As `Sought`, but gives tuples of what stands in some columns.

    These are named by their paths in the ORM; rows on the way come along. JSON is left as text.
    """

    def __init__(self, model: Any, paths: Iterable[str], condition: str) -> None:
        models_at, joins = {"": model}, ""
        columns: list[str] = []
        for path in paths:
            steps = path.split("__")
            for depth in range(1, len(steps)):
                above, here = "__".join(steps[: depth - 1]), "__".join(steps[:depth])
                if here in models_at:
                    continue
                owner = models_at[above]._meta
                link: Any = owner.get_field(steps[depth - 1])
                models_at[here] = link.related_model
                joins += _join(link, owner)
            meta = models_at["__".join(steps[:-1])]._meta
            field: Any = meta.pk if steps[-1] == "pk" else meta.get_field(steps[-1])
            columns.append(f'"{meta.db_table}"."{field.column}"')
        super().__init__(f'SELECT {", ".join(columns)} FROM "{model._meta.db_table}"{joins} WHERE {condition}')


def _join(link: Any, owner: Any) -> str:
    """Along a foreign key from the table of `owner`."""
    meta = link.related_model._meta
    return f' INNER JOIN "{meta.db_table}" ON "{meta.db_table}"."{meta.pk.column}" = "{owner.db_table}"."{link.column}"'


class Added(Generic[M]):
    """Calling it with rows that are new inserts them, all or none, and gives them their keys; one statement for
    `MOST_ROWS`. As `bulk_create` does, it sends no signals.

    One row that may be written `soon` is there at once, but nobody waits for the disk: PostgreSQL's
    `synchronous_commit = off`, for this statement alone, where it is a transaction by itself. Should the database's
    server fall within the next half second or so, the row is gone.
    """

    def __init__(self, model: type[M]) -> None:
        meta = model._meta
        self._fields = _written(meta)
        places = ", ".join(map(_placeholder, self._fields))
        key = f' RETURNING "{meta.pk.column}"'
        self._one = f'INSERT INTO "{meta.db_table}" ({_columns(self._fields)}) VALUES ({places}){key}'
        self._many = _insert_records(meta, self._fields) + key

    def __call__(self, rows: Sequence[M], *, soon: bool = False) -> None:
        if soon and len(rows) == 1 and not connection.in_atomic_block:
            self._insert(rows, soon=True)
            return
        with transaction.atomic(savepoint=False) if len(rows) > MOST_ROWS else nullcontext():
            for first in range(0, len(rows), MOST_ROWS):
                self._insert(rows[first : first + MOST_ROWS])

    def _insert(self, rows: Sequence[M], *, soon: bool = False) -> None:
        if len(rows) == 1:
            values = _values(rows[0], self._fields)
            keys = _database.rows_of(self._one + _SOON if soon else self._one, values)
        else:
            keys = _database.rows_of(self._many, [_records(rows, self._fields)])
        for row, key in zip(rows, keys, strict=True):
            row.pk = key[0]
            row._state.adding, row._state.db = False, connection.alias


def insert_missing(rows: Sequence[models.Model], *, returning: str) -> dict[Any, int]:
    """Insert `rows` where no constraint stands against it; the new ids by their value of `returning`.

    `ON CONFLICT DO NOTHING` waits for a concurrent insert of the same row and then leaves it alone.
    """
    if not rows:
        return {}
    meta = rows[0]._meta
    fields = _written(meta)
    order = f'{_insert_records(meta, fields)} ON CONFLICT DO NOTHING RETURNING "{returning}", id'
    return dict(_database.rows_of(order, [_records(rows, fields)]))


class Rewritten(Generic[M]):
    """Calling it with a row writes these fields of it, as they stand in it."""

    def __init__(self, model: type[M], fields: Iterable[str]) -> None:
        meta = model._meta
        self._fields: list[Any] = [meta.get_field(name) for name in fields]
        written = ", ".join(f'"{each.column}" = %s' for each in self._fields)
        self._order = f'UPDATE "{meta.db_table}" SET {written} WHERE "{meta.pk.column}" = %s'

    def __call__(self, row: M) -> None:
        values = [each.get_db_prep_save(getattr(row, each.attname), connection) for each in self._fields]
        _database.rows_of(self._order, [*values, row.pk])


def _written(meta: Any) -> list[Any]:
    return [each for each in meta.concrete_fields if not each.primary_key]


def _columns(fields: Sequence[Any]) -> str:
    return ", ".join(f'"{each.column}"' for each in fields)


def _placeholder(field: Any) -> str:
    return str(field.get_placeholder(None, None, connection)) if hasattr(field, "get_placeholder") else "%s"


def _insert_records(meta: Any, fields: Sequence[Any]) -> str:
    """Of `_records`: the same statement for any number of rows."""
    columns = _columns(fields)
    source = f'json_populate_recordset(NULL::"{meta.db_table}", %s::json)'
    return f'INSERT INTO "{meta.db_table}" ({columns}) SELECT {columns} FROM {source}'


def _records(rows: Sequence[models.Model], fields: Sequence[Any]) -> str:
    names = [each.column for each in fields]
    return json.dumps([dict(zip(names, _values(row, fields), strict=True)) for row in rows], default=_text_of)


def _values(row: models.Model, fields: Sequence[Any]) -> list[Any]:
    return [each.get_db_prep_save(each.pre_save(row, True), connection) for each in fields]


def _text_of(value: Any) -> Any:
    """A value as PostgreSQL reads it out of JSON."""
    if isinstance(value, Json | Jsonb | Binary):
        return value.obj
    if isinstance(value, bytes | memoryview):
        return f"\\x{bytes(value).hex()}"
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
