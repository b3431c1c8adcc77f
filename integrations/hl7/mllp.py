"""MLLP framing (HL7 v2 Transport Specification, MLLP release 1), kept apart from parsing.

A frame is 0B, the message, 1C 0D. Its end is the 1C: neither that byte nor 0B may stand in a message, and
some senders leave the 0D out or send it late. A first byte of 10 begins a study token request.
"""

from dataclasses import dataclass

START = 0x0B
END = 0x1C
TOKEN = 0x10
_BETWEEN = b"\r\n \t\x00\x1c"  # what may stand between frames and means nothing


class BadFrame(Exception):
    """The connection cannot go on: what came is no frame, or is too long. `answer`: the peer should be told."""

    def __init__(self, why: str, *, answer: bool = False) -> None:
        super().__init__(why)
        self.answer = answer


class TokenRequest(Exception):
    """The connection asks for a study token, not for MLLP."""


def frame(message: bytes) -> bytes:
    """A message between its marks."""
    return b"\x0b" + message + b"\x1c\r"


@dataclass
class Framer:
    """Cuts what arrives on one connection into messages of at most `largest` bytes."""

    largest: int

    def __post_init__(self) -> None:
        self._data = bytearray()
        self._looked = 0
        self.dropped = 0  # messages that were begun, and given up for a new one

    @property
    def buffered(self) -> int:
        """Bytes of messages that are not complete, or not yet taken."""
        return len(self._data)

    @property
    def is_within(self) -> bool:
        """Whether a message was begun and has not ended."""
        return bool(self._data)

    def feed(self, received: bytes) -> None:
        self._data += received

    def next_message(self) -> bytes | None:
        """The next complete message; None until more is fed. Raises BadFrame, TokenRequest."""
        if not self._looked:
            self._skip_between()
            if not self._data:
                return None
            if self._data[0] == TOKEN:
                raise TokenRequest
            if self._data[0] != START:
                raise BadFrame("what came is no MLLP: it begins with neither 0B nor 10")
            self._looked = 1
        end = self._data.find(END, self._looked)
        again = self._data.rfind(START, self._looked, end if end >= 0 else len(self._data))
        if again >= 0:  # the sender gave up and began anew
            self.dropped += 1
            del self._data[:again]
            end = end - again if end >= 0 else -1
        if (end if end >= 0 else len(self._data)) - 1 > self.largest:
            raise BadFrame(f"the message has more than {self.largest} bytes", answer=True)
        if end < 0:
            self._looked = len(self._data)
            return None
        message = bytes(self._data[1:end])
        del self._data[: end + 1]
        self._looked = 0
        self._skip_between()
        return message

    def _skip_between(self) -> None:
        kept = self._data.lstrip(_BETWEEN)
        if len(kept) < len(self._data):
            self._data = kept
