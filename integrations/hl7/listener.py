"""A process of the HL7 daemon: thousands of connections on one event loop, the work itself in a few threads.

A connection that is idle costs a socket and a few kilobytes. Messages of one connection are done one after the
other, in order; while one is worked on nothing more is read from it. In enhanced mode, a sender that only wants to
know that its message is kept goes on at once, and its messages are done behind it, in order (see backlog.py).
"""

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections

from integrations.hl7 import faults, inbox
from integrations.hl7.acknowledgment import acknowledge
from integrations.hl7.database import keep_connections
from integrations.hl7.inbox import Kept
from integrations.hl7.keeper import Keeper
from integrations.hl7.mllp import BadFrame, Framer, TokenRequest, frame
from integrations.tokens.dialogue import TokenDesk

log = structlog.get_logger(__name__)

BLOCK = 64 * 1024
# Of all connections together: bytes of messages that are not complete.
MOST_BUFFERED = 256 * 1024**2
WRITE_SECONDS = 30.0
HANDSHAKE_SECONDS = 10.0
STOP_SECONDS = 30.0
# So long an address that was let in is let in again without asking the database.
REMEMBERED_SECONDS = 1.0


class _TurnedAway(Exception):
    """Who is not answered, and why."""


@dataclass(eq=False)
class Connection:
    """One peer's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str
    framer: Framer
    task: "asyncio.Task[None] | None" = None
    since: float = field(default_factory=time.monotonic)
    messages: int = 0
    is_working: bool = False
    # Whether messages were kept whose processing it does not wait for.
    left_behind: bool = False


class Listener:
    """`run` serves until SIGTERM or SIGINT, and then finishes what is in hand."""

    def __init__(self, listeners: Sequence[socket.socket], secured: Sequence[socket.socket] = ()) -> None:
        self._listeners = listeners
        self._secured = secured
        self._options: dict[str, Any] = settings.HL7
        self._keeper = Keeper()
        self._pool = ThreadPoolExecutor(self._options["WORKERS"], thread_name_prefix="hl7")
        # By itself, so that no flood of strangers keeps known senders waiting.
        self._gate = ThreadPoolExecutor(1, thread_name_prefix="hl7-gate")
        self._tokens = TokenDesk()
        self._connections: set[Connection] = set()
        self._admitted: dict[str, float] = {}
        self._stopping = asyncio.Event()

    def run(self) -> None:
        keep_connections()
        self._keeper.start()
        asyncio.run(self._serve())
        self._keeper.stop()
        self._pool.shutdown()
        self._tokens.close()
        self._gate.shutdown(cancel_futures=True)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        context = tls_context(self._options) if self._secured else None
        servers = [
            await asyncio.start_server(self._connected, sock=each, limit=BLOCK, **_secure(context, each, self._secured))
            for each in (*self._listeners, *self._secured)
        ]
        log.info("hl7_ready", ports=[each.getsockname()[1] for each in (*self._listeners, *self._secured)])
        await self._stopping.wait()
        for server in servers:
            server.close()
        await self._finish()

    async def _finish(self) -> None:
        """Cut those who wait; let those end whose message is in hand."""
        for connection in list(self._connections):
            if not connection.is_working and connection.task is not None:
                connection.task.cancel()
        tasks = [each.task for each in self._connections if each.task is not None]
        cut: set[Any] = set()
        if tasks:
            _done, cut = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        log.info("hl7_worker_ends", cut=len(cut))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("",)
        connection = Connection(reader, writer, str(peer[0]).removeprefix("::ffff:"), Framer(self._options["LARGEST"]))
        connection.task = asyncio.current_task()
        self._connections.add(connection)
        try:
            self._keep_within_limits()
            _tune(writer)
            if await self._is_admitted(connection.address):
                await self._converse(connection)
            else:
                log.warning("hl7_connection_refused", address=connection.address, why="no HL7 peer has this address")
        except asyncio.CancelledError:
            pass  # we end, or its place was needed
        except _TurnedAway as error:
            log.warning("hl7_connection_refused", address=connection.address, why=str(error))
        except (OSError, TimeoutError) as error:
            log.info("hl7_connection_lost", address=connection.address, why=type(error).__name__)
        except (DatabaseError, InterfaceError) as error:
            # What could not be kept is not answered: the sender will send it again.
            log.error("hl7_database_failed", address=connection.address, exc_info=error)
        except Exception as error:
            log.error("hl7_connection_failed", address=connection.address, exc_info=error)
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _converse(self, connection: Connection) -> None:
        """Read, and answer each message, until the peer closes or nothing comes any more."""
        try:
            while not self._stopping.is_set():
                message = connection.framer.next_message()
                if isinstance(message, TokenRequest):
                    await self._answer_token(connection, message)
                elif message is not None:
                    await self._answer(connection, message)
                elif not await self._read(connection):
                    return
        except BadFrame as error:
            log.warning("hl7_bad_frame", address=connection.address, why=str(error))
            if error.answer:
                fault = faults.too_large(self._options["LARGEST"])
                await self._write(connection, acknowledge(None, fault=fault)[1])

    async def _read(self, connection: Connection) -> bool:
        """More bytes; False when there will be none. A message has its time from its first byte on."""
        begins = not connection.framer.is_within
        if begins:
            connection.since = time.monotonic()
        is_idle = begins and connection.messages
        seconds = self._options["IDLE_SECONDS" if is_idle else "MESSAGE_SECONDS"]
        left = connection.since + seconds - time.monotonic()
        try:
            received = await asyncio.wait_for(connection.reader.read(BLOCK), max(left, 0.001))
        except TimeoutError:
            log.warning("hl7_connection_silent", address=connection.address, within=connection.framer.is_within)
            return False
        if not received:
            if connection.framer.is_within:
                log.warning("hl7_message_cut_off", address=connection.address, bytes=connection.framer.buffered)
            return False
        if begins:
            connection.since = time.monotonic()
        connection.framer.feed(received)
        if connection.framer.buffered > BLOCK:
            self._keep_within_memory()
        return True

    async def _answer(self, connection: Connection, message: bytes) -> None:
        connection.is_working = True
        started = time.monotonic()
        try:
            kept = await self._keeper.keep(message, connection.address)
            connection.messages += 1
            if kept is None:
                raise _TurnedAway("no HL7 peer has this address any more")
            if kept.accept:
                await self._write(connection, kept.accept)
            if kept.wanted.is_behind:
                connection.left_behind = True
            else:
                loop = asyncio.get_running_loop()
                code, answer = await loop.run_in_executor(self._pool, _finish, kept, connection.left_behind)
                connection.left_behind = False
                if answer and kept.answers(code):
                    await self._write(connection, answer)
        finally:
            connection.is_working = False
        seconds = round(time.monotonic() - started, 4)
        log.info("hl7_message", address=connection.address, bytes=len(message), seconds=seconds)

    async def _answer_token(self, connection: Connection, key: str) -> None:
        connection.is_working = True
        try:
            answer = await self._tokens.ask(key, connection.address)
            connection.messages += 1
            if answer is None:
                raise _TurnedAway("no HL7 peer of this address may ask for study tokens")
            connection.writer.write(answer)
            if connection.writer.transport.get_write_buffer_size():
                await asyncio.wait_for(connection.writer.drain(), WRITE_SECONDS)
        finally:
            connection.is_working = False

    async def _write(self, connection: Connection, answer: bytes) -> None:
        connection.writer.write(frame(answer))
        await asyncio.wait_for(connection.writer.drain(), WRITE_SECONDS)

    async def _is_admitted(self, address: str) -> bool:
        now = time.monotonic()
        if self._admitted.get(address, 0.0) > now:
            return True
        admitted = await asyncio.get_running_loop().run_in_executor(self._gate, _admits, address)
        self._admitted = {each: until for each, until in self._admitted.items() if until > now}
        if admitted:
            self._admitted[address] = time.monotonic() + REMEMBERED_SECONDS
        return admitted

    def _keep_within_limits(self) -> None:
        """Make room for a new connection: the one silent for longest goes, those that never sent a message first."""
        if len(self._connections) <= self._options["MAX_CONNECTIONS"]:
            return
        waiting = [each for each in self._connections if not each.is_working]
        victim = min(waiting, key=lambda each: (each.messages > 0, each.since), default=None)
        if victim is not None and victim.task is not None:
            log.warning("hl7_connection_cut_for_place", address=victim.address)
            self._connections.discard(victim)
            victim.task.cancel()

    def _keep_within_memory(self) -> None:
        while sum(each.framer.buffered for each in self._connections) > MOST_BUFFERED:
            waiting = [each for each in self._connections if not each.is_working]
            victim = max(waiting, key=lambda each: each.framer.buffered, default=None)
            if victim is None or victim.task is None:
                return
            log.warning("hl7_connection_cut_for_memory", address=victim.address, bytes=victim.framer.buffered)
            self._connections.discard(victim)
            victim.task.cancel()


def _finish(kept: Kept, after_others: bool) -> tuple[str, bytes]:
    close_old_connections()
    if after_others and kept.row is not None:
        inbox.finish_before(kept.row)
    return inbox.finish(kept)


def _admits(address: str) -> bool:
    close_old_connections()
    return bool(inbox.peers_at(address))


def _tune(writer: asyncio.StreamWriter) -> None:
    """Answers leave at once, and peers that are gone are found out."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """How connections on the ports with TLS are secured: our certificate, and theirs, where a CA for them is named.

    Raises OSError or ssl.SSLError for files that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options["TLS_CERTIFICATE"])
    if options["TLS_CA"]:
        context.load_verify_locations(options["TLS_CA"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _secure(context: ssl.SSLContext | None, port: socket.socket, secured: Sequence[socket.socket]) -> dict[str, Any]:
    if port not in secured:
        return {}
    return {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": HANDSHAKE_SECONDS}
