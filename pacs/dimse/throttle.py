"""How fast bytes pass between us and a node: what its registration allows, whatever number of connections there is.

The processes share one moment in the node's row: until when its rate is spent. Each buys the next
quarter of a second of it with one UPDATE and lets its own threads use that up; so the rate holds for all
processes and machines together, costs four statements a second, and a process that dies leaves nothing
behind. Bytes are counted once they have passed, and paid for before the next ones may: nothing is
buffered, and a peer that is read more slowly sends more slowly.
"""

import threading
import time
from enum import StrEnum

import structlog
from django.db import DatabaseError, close_old_connections, connection

from pacs.models import ApplicationEntity
from pacs.models.application_entity import SLOWEST_RATE

log = structlog.get_logger(__name__)

MEGABYTE = 1_000_000
# Of a node's rate, what one purchase is worth.
PURCHASE_SECONDS = 0.25
SMALLEST_PURCHASE = 4096
# Clocks of machines differ, and are set: nobody pays for longer ahead than this.
MOST_AHEAD_SECONDS = 120


class Direction(StrEnum):
    """The column that holds until when the rate of that way is spent."""

    RECEIVE = "received_until"
    SEND = "sent_until"


class Meter:
    """One node's rate in one direction, for the threads of this process."""

    def __init__(self, node: int, way: Direction) -> None:
        self._node = node
        self._way = way
        self._lock = threading.Lock()
        self._left = 0
        self._usable_from = 0.0

    def spend(self, size: int, rate: float) -> float:
        """Count `size` bytes at `rate` bytes a second; the moment of the monotonic clock when more may pass."""
        with self._lock:
            while size > self._left:
                size -= self._left
                self._left = purchase(rate)
                self._usable_from = self._buy(self._left, rate)
            self._left -= size
            return self._usable_from

    def _buy(self, size: int, rate: float) -> float:
        now = time.monotonic()
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE pacs_applicationentity SET {self._way} = LEAST("
                    f" GREATEST(COALESCE({self._way}, clock_timestamp()), clock_timestamp()),"
                    " clock_timestamp() + make_interval(secs => %s)) + make_interval(secs => %s)"
                    f" WHERE id = %s RETURNING EXTRACT(EPOCH FROM {self._way} - clock_timestamp())::float8",
                    [MOST_AHEAD_SECONDS, size / rate, self._node],
                )
                row = cursor.fetchone()
        except DatabaseError as error:
            log.error("rate_not_shared", node=self._node, exc_info=error)
            row = None
        finally:
            close_old_connections()
        if row is None:  # this process keeps to the rate by itself
            return max(now, self._usable_from + size / rate)
        return now + max(0.0, row[0] - size / rate)


def purchase(rate: float) -> int:
    """How many bytes are bought at once, and pass at once, at `rate` bytes a second."""
    return max(SMALLEST_PURCHASE, int(rate * PURCHASE_SECONDS))


class Throttle:
    """A connection's share in the meter of its node. Not for two threads at once."""

    def __init__(self, meter: Meter, rate: float) -> None:
        self._meter = meter
        self._rate = rate
        self._ready_at = 0.0
        self.most_at_once = purchase(rate)

    def count(self, size: int) -> None:
        """So many bytes have passed."""
        self._ready_at = max(self._ready_at, self._meter.spend(size, self._rate))

    def seconds(self) -> float:
        """For how long nothing may pass. A thread that waits holds no database connection."""
        left = self._ready_at - time.monotonic()
        if left > 0:
            close_old_connections()
        return left


_meters: dict[tuple[int, Direction], Meter] = {}
_lock = threading.Lock()


def throttle_of(node: ApplicationEntity, way: Direction) -> Throttle | None:
    """What a connection with `node` must keep to; None without a limit."""
    rate = node.receive_rate if way is Direction.RECEIVE else node.send_rate
    if node.pk is None or not rate:
        return None
    with _lock:
        meter = _meters.setdefault((node.pk, way), Meter(node.pk, way))
    return Throttle(meter, max(rate, SLOWEST_RATE) * MEGABYTE)
