"""C-STORE of many objects to one node, over as many associations side by side as its registration names.

The associations take objects from one line, so the order of arrival is nobody's business; with one
association it is the order given. An association that cannot be had is done without as long as another
one works; one that breaks is made anew, and costs at most the object in hand.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import close_old_connections, connections

from pacs.dimse.connection import BEAT_SECONDS, Connection
from pacs.dimse.requestor import PLACE_SECONDS, associate
from pacs.dimse.scu import Sender
from pacs.dimse.suboperations import Target
from pacs.dimse.upcoming import Upcoming
from pacs.models import ApplicationEntity, Location
from pacs.models.storage import LocationQuerySet
from radiology.errors import CannotUnderstand, NotAcceptable, OutOfResources, Unreachable

CHUNK = 200
# What becomes known within so short a time is told together: to wake for each object would hold up the next.
TOGETHER_SECONDS = 0.02
GONE = "The object was removed from the archive meanwhile."
# A node where so many objects in a row break the association is given up.
BROKEN_IN_A_ROW = 5


@dataclass(frozen=True)
class Sent:
    """What became of one object. `status` is that of its response; None when it never came to one."""

    target: Target
    status: int | None = None
    error: str = ""
    size: int = 0


class _Stopped(Exception):
    """Nobody waits for the results any more."""


class Sending:
    """The objects of one negotiation on their way to `node`.

    `places` finds a target's Location by key. An object with which the association ends `attempts` times
    is given up. `gives_up`: five such in a row mean that the node is. `patience` seconds are waited for a
    first place among the associations that the node may have. `originator` becomes part of each
    C-STORE command. Not to be used twice.
    """

    def __init__(
        self,
        node: ApplicationEntity,
        contexts: Sequence[tuple[str, str]],
        targets: Iterable[Target],
        *,
        places: Callable[[], LocationQuerySet],
        attempts: int,
        gives_up: bool,
        patience: float = PLACE_SECONDS,
        originator: dict[str, Any] | None = None,
    ) -> None:
        self._node = node
        self._contexts = contexts
        self._waiting = deque(targets)
        self._number = max(1, min(node.associations_per_transfer, len(self._waiting)))
        self._places = places
        self._attempts = attempts
        self._gives_up = gives_up
        self._patience = patience
        self._originator = originator or {}
        self._lock = threading.Lock()
        self._locations: dict[int, Location] = {}
        self._looked_for: set[int] = set()
        self._breaks: dict[int, int] = {}
        self._broken_in_a_row = 0
        self._settled: queue.SimpleQueue[Sent | None] = queue.SimpleQueue()
        self._open: set[Connection] = set()
        self._moved = 0
        self._first = threading.Event()  # the first association is there, or will never be
        self._has_ended = threading.Event()  # an association has nothing left to do
        self._no_more = threading.Event()
        self._over = threading.Event()
        self._failure: Exception | None = None

    def transferred(self) -> int:
        """Bytes that went over its connections, both ways."""
        with self._lock:
            return self._moved + sum(connection.transferred for connection in self._open)

    def stop(self) -> None:
        """Begin no other object. The results of those in hand still come."""
        self._no_more.set()

    def results(self) -> Generator[Sent | None, None, None]:
        """What became of each object, in the order in which that was known; None where nothing came for a moment.

        Closed early, it breaks off. Raises Unreachable when the node cannot be had, or is given up, with objects
        left over: those it has said nothing of.
        """
        number = self._number
        threads = [
            threading.Thread(target=self._work, args=(place == 0,), name=f"send-{place}", daemon=True)
            for place in range(number)
        ]
        for thread in threads:
            thread.start()
        try:
            while number:
                try:
                    sent = self._settled.get(timeout=BEAT_SECONDS)
                except queue.Empty:
                    yield None
                    continue
                if sent is None:
                    number -= 1
                else:
                    yield sent
                    if self._settled.empty():
                        self._has_ended.wait(TOGETHER_SECONDS)
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self._failure is not None and (self._waiting or not isinstance(self._failure, Unreachable)):
            raise self._failure

    # One association after the other, in a thread of its own

    def _work(self, is_first: bool) -> None:
        try:
            while not is_first and not self._first.wait(BEAT_SECONDS):
                self._beat()
            while self._waiting and not self._is_stopped():
                self._associate(is_first)
        except _Stopped:
            pass
        except Exception as error:
            if self._failure is None or is_first or not isinstance(error, Unreachable):
                self._failure = error
            if not self._first.is_set() or not isinstance(error, Unreachable):
                self._no_more.set()  # where the first cannot be had, the others need not try
        finally:
            self._first.set()
            connections.close_all()
            self._settled.put(None)
            self._has_ended.set()

    def _associate(self, is_first: bool) -> None:
        held: Target | None = None
        associated = False
        connection: Connection | None = None
        try:
            # The first one waits for a place, the others are done without.
            patience = self._patience if is_first else 0.0
            with associate(self._node, self._contexts, beat=self._beat, patience=patience) as association:
                associated, connection = True, association.connection
                self._first.set()
                with self._lock:
                    self._open.add(connection)
                upcoming = Upcoming(iter(self._next, None))
                sender = Sender(association, association.contexts.values(), **self._originator)
                try:
                    for held, location in upcoming:
                        sent = self._send(sender, held, location, upcoming)
                        with self._lock:
                            self._broken_in_a_row = 0
                        held = None
                        self._settled.put(sent)
                        if self._is_stopped():
                            break
                finally:
                    sender.close()
                    if (unsent := upcoming.give_back()) is not None:
                        self._put_back(unsent)
        except Unreachable as error:
            if not associated:
                raise
            if held is not None:
                self._broken(held, error)
        except BaseException:
            if held is not None:
                self._put_back(held)
            raise
        finally:
            if connection is not None:
                with self._lock:
                    self._open.discard(connection)
                    self._moved += connection.transferred

    def _is_stopped(self) -> bool:
        return self._no_more.is_set() or self._over.is_set()

    def _beat(self) -> None:
        if self._over.is_set():
            raise _Stopped

    def _next(self) -> tuple[Target, Location | None] | None:
        """The next object, and where it is by now. No database connection is held afterwards."""
        with self._lock:
            if not self._waiting or self._is_stopped():
                return None
            target = self._waiting[0]
            if target.location_id not in self._looked_for:
                wanted = [each.location_id for each in islice(self._waiting, CHUNK)]
                found = self._places().filter(pk__in=wanted)
                self._locations = found.with_shared_parents().in_bulk()
                self._looked_for = set(wanted)
                close_old_connections()
            return self._waiting.popleft(), self._locations.get(target.location_id)

    def _put_back(self, target: Target) -> None:
        with self._lock:
            self._waiting.appendleft(target)

    def _broken(self, target: Target, error: Unreachable) -> None:
        """The association ended with the object in hand: tried again, then given up, in the end the node too."""
        with self._lock:
            self._breaks[target.location_id] = self._breaks.get(target.location_id, 0) + 1
            if self._breaks[target.location_id] < self._attempts:
                self._waiting.appendleft(target)
                return
            self._broken_in_a_row += 1
            if self._gives_up and self._broken_in_a_row >= BROKEN_IN_A_ROW:
                self._waiting.appendleft(target)
                self._no_more.set()
                raise error
        self._settled.put(Sent(target, error=error.message))

    def _send(self, sender: Sender, target: Target, location: Location | None, upcoming: Upcoming) -> Sent:
        if location is None:
            return Sent(target, error=GONE)
        # The last objects are left to whichever association is free first.
        following = upcoming.location if len(self._waiting) >= self._number else None
        try:
            status = sender.send(location, following=following)
        except (NotAcceptable, OutOfResources, CannotUnderstand) as error:
            return Sent(target, error=error.message)
        return Sent(target, status, size=location.size)
