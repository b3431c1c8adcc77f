"""Messages of all connections are kept by one thread: those that come in the same moment share a transaction.

One commit costs as much for fifty messages as for one; while it lasts the next fifty gather.
"""

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from integrations.hl7 import inbox
from integrations.hl7.inbox import Arrival, Kept

MOST_MESSAGES = 100
MOST_BYTES = 32 * 1024**2


@dataclass(frozen=True)
class _Waiting:
    arrival: Arrival
    kept: "asyncio.Future[Kept | None]"


class Keeper:
    """`keep` is called on the event loop; everything else happens in the thread."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hl7-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Keep what has arrived, and end."""
        self._arrived.put(None)
        self._thread.join()

    async def keep(self, raw: bytes, address: str) -> Kept | None:
        """The message as kept: committed. None from an address that may send nothing (any longer).

        Raises OperationalError when the database cannot keep it.
        """
        kept: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
        self._arrived.put(_Waiting(Arrival(raw, address), kept))
        return await kept

    def _run(self) -> None:
        for batch in self._batches():
            close_old_connections()
            for waiting, done in zip(batch, _keep([each.arrival for each in batch]), strict=True):
                loop = waiting.kept.get_loop()
                loop.call_soon_threadsafe(_tell, waiting.kept, done)
        connection.close()

    def _batches(self) -> Iterator[list[_Waiting]]:
        held: _Waiting | None = None
        while True:
            first = held or self._arrived.get()
            if first is None:
                return
            batch, size, held = [first], len(first.arrival.raw), None
            while len(batch) < MOST_MESSAGES:
                try:
                    more = self._arrived.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._arrived.put(None)
                    break
                size += len(more.arrival.raw)
                if size > MOST_BYTES:
                    held = more
                    break
                batch.append(more)
            yield batch


Outcome = Kept | None | Exception


def _keep(arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Each message's outcome. One that the database does not take is no reason to refuse the others."""
    try:
        return list(inbox.keep(arrivals))
    except (OperationalError, InterfaceError) as error:
        return [error] * len(arrivals)
    except Exception as error:
        if len(arrivals) == 1:
            return [error]
        return [outcome for each in arrivals for outcome in _keep([each])]


def _tell(kept: "asyncio.Future[Kept | None]", outcome: Outcome) -> None:
    if kept.cancelled():
        return
    if isinstance(outcome, Exception):
        kept.set_exception(outcome)
    else:
        kept.set_result(outcome)
