"""Statements that never change, by libpq's own calls: what a cursor does around such a one costs more than it does.

Values go as text, and the server tells their types from the statement: where one does not follow from a column, it must
be written (`%s::bigint`).
"""

import itertools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.types.json import Json, Jsonb

Write = Callable[[Any], bytes]

_numbers = itertools.count(1)
_IN_TRANSACTION = pq.TransactionStatus.INTRANS
_DONE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


def texts_of(values: Iterable[Any]) -> list[bytes | None] | None:
    """Values as the server reads them; None if there is one of another kind than these. Raises DataError for NUL."""
    texts: list[bytes | None] = []
    for value in values:
        kind: Any = type(value)
        write = None if value is None else _writer(kind)
        if write is None and value is not None:
            return None
        texts.append(None if write is None else write(value))
    return texts


def may_ask(connection: psycopg.Connection[Any]) -> bool:
    """Whether no transaction must begin before the statement."""
    return connection.autocommit or connection.pgconn.transaction_status == _IN_TRANSACTION


def ask(connection: psycopg.Connection[Any], question: str, texts: Sequence[bytes | None]) -> list[tuple[Any, ...]]:
    """The rows of `question`, in which values stand as %s; it is prepared once. Raises psycopg.Error.

    Its name is kept where psycopg keeps its own, who forgets them when the server does, and of both together no more
    than psycopg would keep: what was asked longest ago goes.
    """
    key = _numbered(question), ()
    names: OrderedDict[Any, bytes] = connection._prepared._names
    name = names.get(key)
    if name is None:
        while len(names) >= connection._prepared.prepared_max:
            _, oldest = names.popitem(last=False)
            _require_done(connection, connection.pgconn.exec_(b"DEALLOCATE " + oldest))
        name = b"sinar_%d" % next(_numbers)
        _require_done(connection, connection.pgconn.prepare(name, key[0]))
        names[key] = name
    else:
        names.move_to_end(key)
    result = connection.pgconn.exec_prepared(name, cast(Any, texts))
    _require_done(connection, result)
    transformer = Transformer(connection)
    transformer.set_pgresult(result)
    rows: list[tuple[Any, ...]] = transformer.load_rows(0, result.ntuples, tuple)
    return rows


def _require_done(connection: psycopg.Connection[Any], result: Any) -> None:
    if result.status in _DONE:
        return
    if connection.pgconn.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace").strip())
    raise psycopg.errors.error_from_result(result, encoding="utf-8")


@lru_cache(512)
def _numbered(question: str) -> bytes:
    first, *others = question.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))).encode()


@cache
def _writer(kind: Any) -> Write | None:
    return next((write for known, write in _WRITERS.items() if issubclass(kind, known)), None)


def _plain(value: Any) -> bytes:
    return str(value).encode()


def _text(value: str) -> bytes:
    if "\0" in value:
        raise psycopg.DataError("a text for the database cannot hold NUL (0x00)")
    return str.encode(value)


def _json(value: Json) -> bytes:
    written = (value.dumps or json.dumps)(value.obj)
    return written if isinstance(written, bytes) else written.encode()


def _list(value: Sequence[Any]) -> bytes:
    texts = texts_of(value)
    if texts is None:
        raise TypeError("a list for the database holds what it cannot")
    return b"{" + b",".join(b"NULL" if each is None else _quoted(each) for each in texts) + b"}"


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


_WRITERS: dict[type, Write] = {
    str: _text,
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: int.__repr__(value).encode(),
    datetime: lambda value: value.isoformat().encode(),
    date: lambda value: value.isoformat().encode(),
    bytes: lambda value: b"\\x" + value.hex().encode(),
    memoryview: lambda value: b"\\x" + value.hex().encode(),
    Jsonb: _json,
    Json: _json,
    IPv4Address: _plain,
    IPv6Address: _plain,
    list: _list,
}
