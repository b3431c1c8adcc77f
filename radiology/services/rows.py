"""Rows that are asked for with every message: statements that never change, written once.

To put a query together costs Django several times what it costs to ask it. Where that is most of the work, a condition
in SQL stands instead, and everything else still follows from the model.
"""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from django.db import connection, models

M = TypeVar("M", bound=models.Model)


class Sought(Generic[M]):
    """Calling it with values gives the rows of `model` for which `condition` is true of them, in its order.

    `fields` are those that are read, by default all; the others are read when somebody looks at them.
    """

    def __init__(self, model: type[M], condition: str, *, fields: Iterable[str] = ()) -> None:
        meta = model._meta
        wanted = {meta.pk.name, *fields} if fields else {each.name for each in meta.concrete_fields}
        read = [each for each in meta.concrete_fields if each.name in wanted]
        columns = ", ".join(f'"{each.column}"' for each in read)
        self._model = model
        self._names = [each.attname for each in read]
        self._converted = [(place, each) for place, each in enumerate(read) if hasattr(each, "from_db_value")]
        self._question = f'SELECT {columns} FROM "{meta.db_table}" WHERE {condition}'

    def __call__(self, *values: Any) -> list[M]:
        with connection.cursor() as cursor:
            cursor.execute(self._question, values)
            rows = cursor.fetchall()
        return [self._model.from_db(connection.alias, self._names, self._values(row)) for row in rows]

    def _values(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for place, field in self._converted:
            for convert in field.get_db_converters(connection):
                values[place] = convert(values[place], None, connection)
        return values


class Rewritten(Generic[M]):
    """Calling it with a row writes these fields of it, as they stand in it."""

    def __init__(self, model: type[M], fields: Iterable[str]) -> None:
        meta = model._meta
        self._fields: list[Any] = [meta.get_field(name) for name in fields]
        written = ", ".join(f'"{each.column}" = %s' for each in self._fields)
        self._order = f'UPDATE "{meta.db_table}" SET {written} WHERE "{meta.pk.column}" = %s'

    def __call__(self, row: M) -> None:
        values = [each.get_db_prep_save(getattr(row, each.attname), connection) for each in self._fields]
        with connection.cursor() as cursor:
            cursor.execute(self._order, [*values, row.pk])
