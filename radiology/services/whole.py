"""A transaction of many services that is done whole or not at all, and what it may therefore leave out.

Services are atomic by themselves: within somebody else's transaction each sets a savepoint, so that the caller may
catch its error and go on. Who lets every error end the whole has no use for that, and it is a fifth of the statements
of an order that comes over a wire.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from django.db import connection, models, transaction

_MARKS = "coalesce(string_agg(xmin::text || ctid::text, '' ORDER BY id), '')"
T = TypeVar("T")


class _State(threading.local):
    held: "dict[Standing[Any], Any] | None" = None


_state = _State()


@contextmanager
def whole() -> Iterator[None]:
    """Around everything that one message asks for. An error that leaves a service within it must leave it too.

    What staff configure (`Standing`) is within it as it was when it was first looked at.
    """
    before = _state.held
    with transaction.atomic():
        _state.held = {}
        try:
            yield
        finally:
            _state.held = before


@contextmanager
def atomic() -> Iterator[None]:
    """As `transaction.atomic`, around a block or a service, and without a savepoint within `whole`."""
    with transaction.atomic(savepoint=_state.held is None):
        yield


class Standing(Generic[T]):
    """What staff configure, kept by each process and read again only when a row of `tables` has changed.

    Calling it gives the value of `read` that is true now: one small question tells whether a row came, went or was
    written (`xmin` and `ctid`), whoever did so and however. The value is shared by threads: nobody writes into it. The
    tables are small, each with an `id`.
    """

    def __init__(self, tables: Sequence[type[models.Model]], read: Callable[[], T]) -> None:
        self._read = read
        self._kept: tuple[str, T] | None = None
        marks = (f'(SELECT {_MARKS} FROM "{each._meta.db_table}")' for each in tables)
        self._question = "SELECT " + " || '/' || ".join(marks)

    def __call__(self) -> T:
        held = _state.held
        if held is not None and self in held:
            value: T = held[self]
            return value
        with connection.cursor() as cursor:
            cursor.execute(self._question)
            marks = cursor.fetchone()[0]
        kept = self._kept
        if kept is None or kept[0] != marks:
            self._kept = kept = marks, self._read()
        if held is not None:
            held[self] = kept[1]
        return kept[1]
