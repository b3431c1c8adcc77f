"""One worker process of the daemon: it accepts, and gives each association a thread.

One thread, the first, holds the listening sockets and every connection that has not yet sent a whole
association request. Such a connection costs a few bytes, gets ten seconds (the ARTIM timer of PS3.8
9.1.5), and is the first to go when there are too many: so no number of silent or dripping ones takes
a place from a caller that speaks.
"""

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import FrameType

import structlog
from django.conf import settings
from django.db import connections

from pacs.dimse import pdu
from pacs.dimse.acceptor import Acceptor
from pacs.dimse.connection import Connection
from pacs.dimse.pdu import AbortReason, PduType
from pacs.dimse.services import Service
from pacs.models import NodePriority

log = structlog.get_logger(__name__)

REQUEST_SECONDS = 10.0
MOST_PENDING = 1000
MOST_PENDING_OF_ADDRESS = 200
MOST_PENDING_BYTES = 32 * 1024 * 1024
# Complete requests that are looked at side by side, and how long the others wait for their turn.
MOST_ADMITTED = 64
MOST_LEAVING = 512
TURN_SECONDS = 1.5
# Of ten places one is left for nodes that are not bulk, and one more for devices.
RESERVED = 10
STOP_SECONDS = 20.0
DATABASE_CONNECTIONS = 40


class Pending:
    """A connection whose association request is not complete."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address
        self.since = time.monotonic()
        self.data = bytearray()
        self.length = pdu.HEADER.size

    def read(self) -> bool:
        """Take in what has come. Whether the request is complete; ConnectionError when it will never be."""
        while True:
            try:
                received = self.sock.recv(self.length - len(self.data))
            except (BlockingIOError, InterruptedError):
                return False
            if not received:
                raise ConnectionError("closed")
            self.data += received
            if len(self.data) < self.length:
                continue
            if self.length > pdu.HEADER.size:
                return True
            kind, length = pdu.HEADER.unpack(self.data)
            if kind != PduType.ASSOCIATE_RQ:
                known = kind in PduType._value2member_map_
                self._refuse(AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNIZED_PDU, "no association")
            if not 68 <= length <= pdu.LARGEST_ASSOCIATE:
                self._refuse(AbortReason.INVALID_PARAMETER, "length of the request")
            self.length += length

    def _refuse(self, reason: AbortReason, what: str) -> None:
        with contextlib.suppress(OSError):
            self.sock.send(pdu.abort(reason))
        raise ConnectionError(what)


class Worker:
    """Serves until SIGTERM or SIGINT. Made in the process that serves: the arguments alone are inherited."""

    def __init__(self, listeners: Sequence[socket.socket], services: Sequence[Service]) -> None:
        self._listeners = listeners
        self._services = services
        self._selector = selectors.DefaultSelector()
        self._pending: dict[socket.socket, Pending] = {}
        self._complete: list[Pending] = []
        self._admitted: set[Acceptor] = set()  # those whose caller is being looked at
        self._acceptors: set[Acceptor] = set()  # those that have a place
        self._lock = threading.Lock()
        self._stop_reader, self._stop_writer = os.pipe()
        self._is_stopping = False

    def run(self) -> None:
        """Serve, then finish what is in hand within STOP_SECONDS."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        _pool_database_connections()
        for listener in self._listeners:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._stop_reader, selectors.EVENT_READ)
        log.info("dimse_worker_ready", ports=[listener.getsockname()[1] for listener in self._listeners])
        while not self._is_stopping:
            events = self._selector.select(0.1 if self._complete else 1.0)
            for key, _ in events:
                if isinstance(key.data, Pending):
                    if key.data.sock in self._pending:  # not dropped a moment ago
                        self._read(key.data)
                elif isinstance(key.fileobj, socket.socket):
                    self._accept(key.fileobj)
            self._begin_complete()
            self._drop_overdue()
        self._finish()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            os.close(self._stop_writer)  # the other end is readable from now on, for every thread that polls it

    # Connections without an association

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Out of descriptors, most likely: make room and leave the rest to the backlog.
                log.error("accept_failed", error_number=error.errno)
                self._drop_oldest(self._pending.values())
                return
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pending = Pending(sock, str(peer[0]).removeprefix("::ffff:"))
            self._pending[sock] = pending
            self._selector.register(sock, selectors.EVENT_READ, pending)
            self._read(pending)
            self._keep_within_limits(pending.address)

    def _read(self, pending: Pending) -> None:
        try:
            if not pending.read():
                return
        except OSError as error:
            if pending.data:  # a connection that said nothing is somebody looking whether we listen
                log.warning("association_request_refused", address=pending.address, why=str(error))
            self._drop(pending)
            return
        self._selector.unregister(pending.sock)
        del self._pending[pending.sock]
        self._complete.append(pending)

    def _keep_within_limits(self, address: str) -> None:
        same = [pending for pending in self._pending.values() if pending.address == address]
        if len(same) > MOST_PENDING_OF_ADDRESS:
            self._drop_oldest(same)
        if len(self._pending) > MOST_PENDING:
            self._drop_oldest(self._pending.values())

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for pending in list(self._pending.values()):
            if now - pending.since < REQUEST_SECONDS:
                break  # they stand in the order of their arrival
            self._drop(pending)
        held = sum(len(pending.data) for pending in self._pending.values())
        while held > MOST_PENDING_BYTES:
            largest = max(self._pending.values(), key=lambda pending: len(pending.data))
            held -= len(largest.data)
            self._drop(largest)

    def _drop_oldest(self, pending: Iterable[Pending]) -> None:
        oldest = next(iter(pending), None)
        if oldest is not None:
            self._drop(oldest)

    def _drop(self, pending: Pending) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(pending.sock)
        self._pending.pop(pending.sock, None)
        pending.sock.close()

    # Associations

    def _begin_complete(self) -> None:
        now = time.monotonic()
        waiting = []
        for pending in self._complete:
            if self._can_admit():
                self._start(pending)
            elif now - pending.since < TURN_SECONDS:
                waiting.append(pending)
            else:
                log.warning("association_limit_reached", address=pending.address)
                with contextlib.suppress(OSError):
                    pending.sock.send(pdu.LOCAL_LIMIT_EXCEEDED.encode())
                pending.sock.close()
        self._complete = waiting

    def _can_admit(self) -> bool:
        with self._lock:
            undecided = sum(not acceptor.is_decided for acceptor in self._admitted)
            return undecided < MOST_ADMITTED and len(self._admitted) < MOST_LEAVING

    def _enter(self, acceptor: Acceptor) -> bool:
        """Give the acceptor, whose caller is known by now, a place. Called in its own thread."""
        with self._lock:
            victim = None
            if len(self._acceptors) >= room(acceptor.priority, settings.DIMSE["MAX_ASSOCIATIONS"]):
                victim = self._victim(acceptor)
                if victim is None:
                    return False
                self._acceptors.discard(victim)
            self._admitted.discard(acceptor)
            self._acceptors.add(acceptor)
        if victim is not None:
            log.warning("association_cut_for_place", address=victim.address)
            victim.cut()
        return True

    def _victim(self, newcomer: Acceptor) -> Acceptor | None:
        """One that holds its place without using it, and goes before nobody who may not be kept waiting."""
        now, order = time.monotonic(), list(NodePriority)
        stale = [
            acceptor
            for acceptor in self._acceptors
            if order.index(acceptor.priority) >= order.index(newcomer.priority) and acceptor.is_stale(now)
        ]
        if not stale:
            return None
        of_address = Counter(acceptor.address for acceptor in self._acceptors)
        return max(stale, key=lambda acceptor: (not acceptor.is_known, of_address[acceptor.address]))

    def _start(self, pending: Pending) -> None:
        pdu_seconds = settings.DIMSE["PDU_SECONDS"]
        acceptor = Acceptor(
            Connection(pending.sock, pdu_seconds=pdu_seconds),
            address=pending.address,
            services=self._services,
            stop=self._stop_reader,
            idle_seconds=settings.DIMSE["IDLE_SECONDS"],
            enter=self._enter,
        )
        with self._lock:
            self._admitted.add(acceptor)
        body = bytes(pending.data[pdu.HEADER.size :])
        threading.Thread(target=self._serve, args=(acceptor, body), daemon=True).start()

    def _serve(self, acceptor: Acceptor, body: bytes) -> None:
        try:
            acceptor.serve(body)
        finally:
            with self._lock:
                self._admitted.discard(acceptor)
                self._acceptors.discard(acceptor)

    def _finish(self) -> None:
        for listener in self._listeners:
            listener.close()
        for pending in [*self._pending.values(), *self._complete]:
            pending.sock.close()
        until = time.monotonic() + STOP_SECONDS
        while (self._admitted or self._acceptors) and time.monotonic() < until:
            time.sleep(0.02)
        log.info("dimse_worker_ends", cut=len(self._acceptors))


def room(priority: NodePriority, most: int) -> int:
    """Of `most` places, how many may be taken when a caller of that priority gets one."""
    reserved = max(1, most // RESERVED) if most > 2 else 0
    return most - reserved * list(NodePriority).index(priority)


def _pool_database_connections() -> None:
    """Let the threads of this process share connections: an idle association then holds none."""
    options = dict(connections.settings["default"].get("OPTIONS") or {})
    # A short reconnect_timeout: the pool's pauses double, and a database that is back should be seen at once.
    options["pool"] = {"min_size": 0, "max_size": DATABASE_CONNECTIONS, "timeout": 10, "reconnect_timeout": 5}
    connections.settings["default"]["OPTIONS"] = options
