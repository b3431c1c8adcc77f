"""How many associations there are between us and a node: its registration may limit them, each way.

A place is an advisory lock of PostgreSQL, held by a database connection of this process's own. So the
limit holds for all processes and machines together, and those that are killed give up their places as
they go.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import psycopg
import structlog
from django.db import connections

from pacs.models import ApplicationEntity

log = structlog.get_logger(__name__)

LOCK = 0x5341  # the first of the eight bytes of our locks
# A machine that vanishes is noticed within a minute.
KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

Place = tuple[int, "Way", int]


class Way(IntEnum):
    """Who asked for the association."""

    FROM = 0
    TO = 1


class Places:
    """The places that this process holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Place] = set()
        self._database: Any = None

    def take(self, node: ApplicationEntity, way: Way) -> Place | None:
        """A place at `node`, whose limit there is; None when all are taken. Raises psycopg.Error."""
        most = limit_of(node, way)
        with self._lock:
            for number in range(most):
                place = (node.pk, way, number)
                # The same connection would get its own lock again.
                if place not in self._held and self._locked(place):
                    self._held.add(place)
                    return place
        return None

    def give_back(self, place: Place) -> None:
        """Somebody else may have it."""
        with self._lock:
            self._held.discard(place)
            try:
                if self._database is not None:
                    self._database.execute("SELECT pg_advisory_unlock(%s)", [_key(place)])
            except psycopg.Error:
                self._forget()  # with the connection the lock is gone

    def _locked(self, place: Place) -> bool:
        for attempt in (1, 2):
            try:
                return bool(self._connected().execute(TRY, [_key(place)]).fetchone()[0])
            except psycopg.Error:
                self._forget()
                if attempt == 2:
                    raise
        return False

    def _connected(self) -> Any:
        if self._database is None:
            parameters = {**connections["default"].get_connection_params()}
            parameters.pop("pool", None)
            options = " ".join(filter(None, [parameters.get("options"), KEEPALIVE]))
            self._database = psycopg.connect(**{**parameters, "options": options}, autocommit=True)
            # The server was gone: what we hold is locked anew, as far as nobody was faster.
            for place in self._held:
                self._database.execute(TRY, [_key(place)])
        return self._database

    def _forget(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


TRY = "SELECT pg_try_advisory_lock(%s)"
PLACES = Places()


def limit_of(node: ApplicationEntity, way: Way) -> int:
    """How many associations there may be at once; 0: any number."""
    if node.pk is None:
        return 0
    return node.most_associations_from if way is Way.FROM else node.most_associations_to


@contextmanager
def given_back(place: Place | None) -> Iterator[None]:
    """Give the place back at the end."""
    try:
        yield
    finally:
        if place is not None:
            PLACES.give_back(place)


def _key(place: Place) -> int:
    node, way, number = place
    return LOCK << 48 | (node & 0xFFFFFFFF) << 16 | way << 15 | number
