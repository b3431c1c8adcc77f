"""MLLP framing (HL7 v2 Transport Specification, MLLP release 1), kept apart from parsing.

A frame is 0B, the message, 1C 0D. Its end is the 1C: neither that byte nor 0B may stand in a message, and
some senders leave the 0D out or send it late. A first byte of 10 begins a question for a study token, which ends
with 0D; both kinds may come on one connection.
"""

from dataclasses import dataclass

START = 0x0B
END = 0x1C
TOKEN = 0x10
KEY_END = 0x0D
LONGEST_KEY = 64  # characters
LARGEST_KEY = 4 * LONGEST_KEY  # bytes
_BETWEEN = b"\r\n \t\x00\x1c"  # what may stand between frames and means nothing


class BadFrame(Exception):
    """The connection cannot go on: what came is no frame, or is too long. `answer`: the peer should be told."""

    def __init__(self, why: str, *, answer: bool = False) -> None:
        super().__init__(why)
        self.answer = answer


class TokenRequest(str):
    """A question for the tokens of a study or patient: the key that was asked for."""

    __slots__ = ()


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

    def next_message(self) -> bytes | TokenRequest | None:
        """The next complete message or question; None until more is fed. Raises BadFrame."""
        if not self._looked:
            self._skip_between()
            if not self._data:
                return None
            if self._data[0] == TOKEN:
                return self._next_key()
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

    def _next_key(self) -> TokenRequest | None:
        end = self._data.find(KEY_END, 1)
        raw = bytes(self._data[1 : end if end >= 0 else LARGEST_KEY + 2])
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            key = raw.decode("latin-1")
        if len(raw) > LARGEST_KEY or (end >= 0 and len(key) > LONGEST_KEY):
            raise BadFrame(f"a question for a token has more than {LONGEST_KEY} characters")
        if end < 0:
            return None
        del self._data[: end + 1]
        self._skip_between()
        return TokenRequest(key)

    def _skip_between(self) -> None:
        kept = self._data.lstrip(_BETWEEN)
        if len(kept) < len(self._data):
            self._data = kept
