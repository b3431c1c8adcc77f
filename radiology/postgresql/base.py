"""The backend: a pool that asks less, and statements that stay prepared."""

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.backends.utils import CursorWrapper
from psycopg_pool import ConnectionPool

from radiology.postgresql import straight


class Operations(DatabaseOperations):
    """As Django's, which would not tell what was asked through a cursor that prepares."""

    def last_executed_query(self, cursor: Any, sql: Any, params: Any) -> Any:
        if isinstance(cursor, _Preparing):
            return self.compose_sql(sql, params)
        return super().last_executed_query(cursor, sql, params)


_Base: Any = base.DatabaseWrapper


class DatabaseWrapper(_Base):
    """As Django's, and `prepared_cursor`."""

    ops_class = Operations

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        is_new = self.alias not in self._connection_pools
        pool = cast(ConnectionPool[Any] | None, super().pool)
        if is_new and pool is not None:
            pool._check = require_usable
        return pool

    def rows_of(self, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows that `prepared_cursor` would give for a statement that never changes, without a cursor where nobody
        listens and no transaction is still to begin.
        """
        self.ensure_connection()
        with self.wrap_database_errors:
            if not self.execute_wrappers and not self.queries_logged and straight.may_ask(self.connection):
                texts = straight.texts_of(values)
                if texts is not None:
                    return straight.ask(self.connection, question, texts)
        with self.prepared_cursor() as cursor:
            cursor.execute(question, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def prepared_cursor(self) -> Iterator[CursorWrapper]:
        """A cursor whose statements this connection plans once: to plan one takes longer than to run it.

        Values are sent beside the statement: where their type does not follow from a column, it must be written
        (`%s::bigint`). A plan holds for all values alike (`plan_cache_mode` in the settings), so this is for what
        finds few rows by an index whatever is asked.
        """
        self.ensure_connection()
        with self._prepare_cursor(_Preparing(self.connection)) as cursor:
            yield cursor


class _Preparing(base.CursorMixin, psycopg.Cursor[Any]):
    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        return super().execute(query, params, prepare=True, **options)


def require_usable(connection: psycopg.Connection[Any]) -> None:
    """Raises psycopg.OperationalError when the server has ended the connection.

    A server that goes says so, or closes: only if something is to be read there, it is asked.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
