"""A hospital system, over a raw socket, and the messages that it may send."""

import itertools
import socket
import time
from types import TracebackType
from typing import Any

from integrations.hl7 import inbox
from integrations.models import Hl7Message, Hl7Peer
from radiology.models import Site

START, END = b"\x0b", b"\x1c\r"
_numbers = itertools.count(1)


def make_peer(name: str = "SIMRS", **fields: Any) -> Hl7Peer:
    site = fields.pop("site", None) or Site.objects.default()
    return Hl7Peer.objects.create(name=name, site=site, **{"addresses": ["127.0.0.1"], **fields})


def framed(message: bytes) -> bytes:
    return START + message + END


class MllpClient:
    """One connection. `send` sends bytes as they are, `receive` gives the next answer, `ask` does both."""

    def __init__(self, port: int, *, timeout: float = 30.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._received = b""

    def __enter__(self) -> "MllpClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> "Answer":
        """The next answer. Raises ConnectionError when the server closes instead."""
        while END not in self._received:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError(f"closed, after {self._received!r}")
            self._received += more
        message, _, self._received = self._received.partition(END)
        assert message[:1] == START
        return Answer(message[1:])

    def ask(self, message: bytes | str) -> "Answer":
        self.send(framed(message.encode() if isinstance(message, str) else message))
        return self.receive()

    def ask_to_the_end(self, message: bytes | str) -> "Answer":
        """What became of it: the last answer, also where the message asks to be told first that it is kept."""
        answer = self.ask(message)
        return self.receive() if answer.code == "CA" and answer.wants_more(message) else answer

    def is_closed(self, *, within: float = 10.0) -> bool:
        """Whether the server closes, having said nothing more, within so many seconds."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(65536) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


class Answer:
    """An acknowledgment: raw, and its segments as lists of fields."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.text = raw.decode()
        self.segments = [line.split("|") for line in self.text.split("\r") if line]

    def segment(self, name: str) -> list[str]:
        return next(fields for fields in self.segments if fields[0] == name)

    @property
    def code(self) -> str:
        return self.segment("MSA")[1]

    @staticmethod
    def wants_more(message: bytes | str) -> bool:
        """Whether MSH-16 of the message asks to be told what becomes of it, whatever that is."""
        text = message if isinstance(message, str) else message.decode("iso8859-1")
        return text.replace("\n", "\r").split("\r")[0].split("|")[15:16] == ["AL"]

    @property
    def control_id(self) -> str:
        return self.segment("MSA")[2]

    @property
    def error(self) -> str:
        """ERR-8, what people read."""
        return self.segment("ERR")[8]

    @property
    def location(self) -> str:
        return self.segment("ERR")[2]


def control_id() -> str:
    return f"T{time.time_ns()}{next(_numbers)}"[:20]


def message(kind: str, *segments: str, own_id: str = "", version: str = "2.5", **header: str) -> str:
    """A message of type `kind` (ADT^A08) with these segments, as a hospital system writes it."""
    application, facility = header.get("application", "SIMRS"), header.get("facility", "RSUD")
    first = (
        f"MSH|^~\\&|{application}|{facility}|SINAR|RAD|20260125083000||{kind}|{own_id or control_id()}"
        f"|{header.get('processing', 'P')}|{version}"
    )
    if "character_set" in header:
        first += "||||||" + header["character_set"]
    return "\r".join([first, *segments]) + "\r"


def pid(number: str = "001234", name: str = "WIBOWO^BUDI", **fields: str) -> str:
    """A PID segment; `number` may be a whole PID-3."""
    told = {3: number, 5: name, 7: fields.get("born", "19700131"), 8: fields.get("sex", "M")}
    told |= {int(key.removeprefix("f")): value for key, value in fields.items() if key.startswith("f")}
    return "|".join(["PID", *(told.get(number, "") for number in range(1, max(told) + 1))])


def hand_in(raw: bytes, address: str = "127.0.0.1") -> bytes | None:
    """Keep a message and process it, as the listener would; what is answered, or None for an unknown address."""
    (kept,) = inbox.keep([inbox.Arrival(raw, address)])
    if kept is None:
        return None
    if kept.wanted.is_behind and kept.first is not None:
        return inbox.process(kept.first.pk)[1]
    return inbox.finish(kept)[1]


def last_message() -> Hl7Message:
    return Hl7Message.objects.order_by("-pk")[0]
