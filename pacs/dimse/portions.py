"""Messages on their way out: whole P-DATA PDUs (PS3.8 9.3.5), data sets read to where they are sent from."""

import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from pacs.dimse.pdu import PduType

# PDU type, its length; of the one value in it the length, the context, the control (PS3.8 9.3.5.1, E.2).
HEADER = struct.Struct(">BxIIBB")
COMMAND, LAST = 1, 2
# What may go out before the first portion, in one piece with it.
LEAD = 1024
# Of one portion: what a system call reads into at once.
MOST_PDUS = 512

Reader = Callable[[Sequence[memoryview]], int]
# What reads the rest, and how much was read into either portion.
_Beginning = tuple[Reader, int, int]


def append(out: bytearray, data: bytes, *, context_id: int, control: int, room: int) -> None:
    """A command set (`control` says so) or a data set that is short, as PDUs of `room` bytes of it each."""
    for position in range(0, max(len(data), 1), room):
        part = data[position : position + room]
        last = LAST if position + room >= len(data) else 0
        out += HEADER.pack(PduType.P_DATA, len(part) + 6, len(part) + 2, context_id, control | last)
        out += part


class Portions:
    """Room for `count` PDUs of `room` bytes of the data set each, and for as many that are read ahead.

    A fragment must say whether it is the last, so the next portion is read before one is sent. While nothing is
    sent, the beginning of what comes next may be read into both.
    """

    def __init__(self, *, room: int, count: int) -> None:
        self._room = room
        self._pair = _Portion(room, count), _Portion(room, count)
        self._ahead: tuple[BinaryIO, _Beginning] | None = None

    def read_ahead(self, stream: BinaryIO) -> None:
        """Read the beginning of a file now that is asked for next. Of another stream, which is read once, nothing."""
        self._ahead = None
        if _is_file(stream):
            self._ahead = stream, self._begin(stream)

    def of(self, stream: BinaryIO, *, context_id: int, lead: bytes | bytearray) -> Iterator[memoryview]:
        """The bytes to send in turn, `lead` before the first; each is valid until the next is asked for.

        Raises whatever the stream does, with nothing of that portion sent.
        """
        ahead, self._ahead = self._ahead, None
        is_begun = ahead is not None and ahead[0] is stream
        read, length, following = ahead[1] if ahead is not None and is_begun else self._begin(stream)
        here, there = self._pair
        while True:
            yield here.whole(length, context_id, is_last=not following, lead=lead)
            if not following:
                return
            lead = b""
            here, there, length = there, here, following
            following = read(there.parts) if length == here.size else 0

    def _begin(self, stream: BinaryIO) -> "_Beginning":
        read = _reader(stream)
        here, there = self._pair
        length = read(here.parts)
        return read, length, read(there.parts) if length == here.size else 0


class _Portion:
    def __init__(self, room: int, count: int) -> None:
        self._room, step = room, room + HEADER.size
        self._view = memoryview(bytearray(LEAD + count * step))
        starts = range(LEAD + HEADER.size, len(self._view), step)
        self.parts = [self._view[start : start + room] for start in starts]
        self.size = room * count

    def whole(self, length: int, context_id: int, *, is_last: bool, lead: bytes | bytearray) -> memoryview:
        """The first `length` bytes of its parts, with their headers."""
        step = self._room + HEADER.size
        full, rest = divmod(length, self._room)
        header = HEADER.pack(PduType.P_DATA, self._room + 6, self._room + 2, context_id, 0)
        for start in range(LEAD, LEAD + full * step, step):
            self._view[start : start + HEADER.size] = header
        end = LEAD + full * step
        if rest or not full:
            HEADER.pack_into(self._view, end, PduType.P_DATA, rest + 6, rest + 2, context_id, 0)
            end += HEADER.size + rest
        if is_last:
            self._view[end - (rest if rest or not full else self._room) - 1] = LAST
        start = LEAD - len(lead)
        self._view[start:LEAD] = lead
        return self._view[start:end]


def _reader(stream: BinaryIO) -> Reader:
    """Fills buffers one after the other, and says how many bytes that were: fewer only where the stream ends."""
    if _is_file(stream):
        return _of_file(stream.fileno(), stream.tell())
    return lambda parts: _filled(stream, parts)


def _is_file(stream: BinaryIO) -> bool:
    return isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO)


def _of_file(descriptor: int, position: int) -> Reader:
    end = os.fstat(descriptor).st_size

    def read(parts: Sequence[memoryview]) -> int:
        nonlocal position
        wanted = min(sum(map(len, parts)), end - position)
        if wanted <= 0:
            return 0
        total = count = os.preadv(descriptor, parts, position)
        while count and total < wanted:  # as a file over the network may give it
            count = os.preadv(descriptor, _behind(parts, total), position + total)
            total += count
        position += total
        return total

    return read


def _behind(parts: Sequence[memoryview], length: int) -> list[memoryview]:
    left = []
    for part in parts:
        if length < len(part):
            left.append(part[length:])
        length = max(0, length - len(part))
    return left


def _filled(stream: BinaryIO, parts: Sequence[memoryview]) -> int:
    total = 0
    for part in parts:
        filled = 0
        while filled < len(part):
            block = stream.read(len(part) - filled)
            if not block:
                return total + filled
            part[filled : filled + len(block)] = block
            filled += len(block)
        total += filled
    return total
