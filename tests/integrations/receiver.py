"""A hospital system that receives: python-hl7's MLLP server, in a thread, which keeps what it gets and answers."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from integrations.models import Hl7Peer
from radiology.services.jobs import run_due
from tests.daemons import free_port
from tests.integrations.mllp_client import make_peer

# What to answer to a message: texts of messages, one after the other; None closes the connection.
Answers = Callable[[hl7.Message], list[str] | None]


def ack(message: hl7.Message, code: str = "AA", *more: str, text: str = "") -> str:
    """An acknowledgment of the message; `more` are further segments."""
    first = f"MSH|^~\\&|SIMRS|RSUD|SINAR|RAD|20260125083000||ACK|A{control_id(message)}|P|2.5.1"
    return "\r".join([first, f"MSA|{code}|{control_id(message)}|{text}", *more]) + "\r"


def control_id(message: hl7.Message) -> str:
    return str(message.segment("MSH")[10])


def kind(message: hl7.Message) -> str:
    return str(message.segment("MSH")[9])


def field(message: hl7.Message, name: str, number: int) -> str:
    """A field as it stands in the message; empty where the message ends before it."""
    segment = message.segment(name)
    return str(segment[number]) if len(segment) > number else ""


class Receiver:
    """Listens as a context, once. `messages` are what came, in order; `answers` may be changed while it runs."""

    def __init__(self, answers: Answers | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port or free_port()
        self.answers: Answers = answers or (lambda message: [ack(message)])
        self.messages: list[hl7.Message] = []
        self.connections = 0
        self.closes = False  # after each answer
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Receiver":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    @property
    def texts(self) -> list[str]:
        return [str(each) for each in self.messages]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        tasks: set[asyncio.Task[Any]] = set()

        async def connected(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
            self.connections += 1
            tasks.add(task := asyncio.current_task())
            try:
                await self._converse(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        server: Awaitable[Any] = start_hl7_server(
            connected, "127.0.0.1", self.port, encoding="utf-8", encoding_errors="replace", ssl=self._tls
        )
        listening = await server
        self._ready.set()
        await self._stopping.wait()
        listening.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _converse(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        while True:
            message = await reader.readmessage()
            self.messages.append(message)
            answers = self.answers(message)
            if answers is None:
                return
            for answer in answers:
                writer.writeblock(answer.encode())
            await writer.drain()
            if self.closes:
                return


def receiving(receiver: Receiver, name: str = "SIMRS", **fields: Any) -> Hl7Peer:
    """A peer that gets everything there."""
    wants = {"sends_orders": True, "sends_order_status": True, "sends_patients": True}
    destination = {"destination_host": "127.0.0.1", "destination_port": receiver.port}
    return make_peer(name, **{"addresses": [], **wants, **destination, **fields})


def send_all() -> None:
    """Run what is due, until nothing is."""
    while run_due():
        pass
