"""multipart/related (RFC 2387, RFC 2046 5.1) both ways, a block at a time."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from radiology.errors import InvalidValue

MAX_BOUNDARY = 70
MAX_PREAMBLE = 64 * 1024
MAX_HEADERS = 16 * 1024


class State(Enum):
    """What an event of the reader says."""

    BEGIN = "begin"
    DATA = "data"
    END = "end"


@dataclass(frozen=True)
class Event:
    """A part begins (with its headers, names in lower case), goes on (with data), or is complete."""

    state: State
    headers: dict[str, str] | None = None
    data: memoryview | None = None


class Truncated(InvalidValue):
    """The body ends before its last boundary: the parts seen complete are, the last one is not."""


def read_parts(*, read: Callable[[int], bytes], boundary: str, block: int = 1 << 20) -> Iterator[Event]:
    """The parts of a body, in constant memory. `read(n)` gives up to n bytes, none at the end.

    Raises InvalidValue for what is no multipart body, Truncated where it breaks off. A view given as
    data is good until the next event is asked for.
    """
    raw = boundary.encode("latin-1", "replace")
    if not 0 < len(raw) <= MAX_BOUNDARY:
        raise InvalidValue(
            "The boundary of the multipart body is missing or longer than 70 characters.", field="boundary"
        )
    delimiter = b"\r\n--" + raw
    # The first boundary may stand at the very beginning: as if a line end preceded it.
    buffer = bytearray(b"\r\n")
    ended = False

    def fill() -> bool:
        nonlocal ended
        chunk = b"" if ended else read(block)
        ended = not chunk
        buffer.extend(chunk)
        return not ended

    in_part = False
    skipped = 0
    while True:
        found = _delimiter(buffer, delimiter, fill)
        if found is None:  # no boundary in what is here: all but a possible beginning of one is data
            keep = len(delimiter) + 2
            if len(buffer) > keep:
                if in_part:
                    with memoryview(buffer) as view, view[:-keep] as data:
                        yield Event(State.DATA, data=data)
                else:
                    skipped += len(buffer) - keep
                    if skipped > MAX_PREAMBLE:
                        raise InvalidValue("The multipart body has no boundary where one should be.")
                del buffer[:-keep]
            if not fill():
                raise Truncated("The multipart body ends before its last boundary.")
            continue
        start, end, last = found
        if in_part:
            if start:
                with memoryview(buffer) as view, view[:start] as data:
                    yield Event(State.DATA, data=data)
            yield Event(State.END)
        del buffer[:end]
        if last:
            return
        yield Event(State.BEGIN, headers=_headers(buffer, fill))
        in_part = True
        # A part without content has its boundary right behind the empty line, whose end counts for it.
        buffer[:0] = b"\r\n"
        if not _at_delimiter(buffer, delimiter, fill):
            del buffer[:2]


def _at_delimiter(buffer: bytearray, delimiter: bytes, fill: Callable[[], bool]) -> bool:
    while len(buffer) < len(delimiter) and delimiter.startswith(bytes(buffer)):
        if not fill():
            break
    return buffer.startswith(delimiter)


def _delimiter(buffer: bytearray, delimiter: bytes, fill: Callable[[], bool]) -> tuple[int, int, bool] | None:
    """Where the next boundary line starts and ends in the buffer, and whether it is the last."""
    search = 0
    while (start := buffer.find(delimiter, search)) >= 0:
        end = start + len(delimiter)
        while True:
            line = bytes(buffer[end : end + 80])
            if line.startswith(b"--"):
                return start, end + 2, True
            padding = len(line) - len(line.lstrip(b" \t"))
            rest = line[padding:]
            if rest.startswith(b"\r\n"):
                return start, end + padding + 2, False
            if (rest in {b"", b"\r", b"-"} and padding < 70) and fill():
                continue
            break
        search = start + 1  # the characters go on: another, longer boundary, or data that looks alike
    return None


def _headers(buffer: bytearray, fill: Callable[[], bool]) -> dict[str, str]:
    """The header lines up to the empty line, taken out of the buffer."""
    while True:
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
            return {}
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEADERS)
        if end >= 0:
            break
        if len(buffer) >= MAX_HEADERS:
            raise InvalidValue("The headers of a part are longer than 16 KiB.")
        if not fill():
            raise Truncated("The multipart body ends within the headers of a part.")
    lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    del buffer[: end + 4]
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


def new_boundary() -> str:
    """A boundary that no content can hold but by guessing 128 bits."""
    return secrets.token_hex(16)


def related(media_type: str, boundary: str) -> str:
    """The Content-Type of a body that `write_parts` makes."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'


def part_head(boundary: str, content_type: str, *locations: str) -> bytes:
    """What stands before the content of a part, its boundary included."""
    lines = [f"Content-Type: {content_type}", *(f"Content-Location: {url}" for url in locations)]
    return "\r\n".join([f"--{boundary}", *lines, "", ""]).encode("latin-1")


def last_line(boundary: str) -> bytes:
    """What stands behind the line end of the last part."""
    return f"--{boundary}--\r\n".encode("latin-1")


def write_parts(
    *, boundary: str, parts: Iterable[tuple[str, Iterable[bytes]] | tuple[str, Iterable[bytes], str]]
) -> Iterator[bytes]:
    """A body of parts given as content type, blocks and (where there is one) Content-Location.

    Each part's first block is made before its header.
    """
    for content_type, blocks, *location in parts:
        head = part_head(boundary, content_type, *location)
        for block in blocks:
            if head:
                yield head + block if len(block) <= 65536 else head
                if len(block) > 65536:
                    yield block
                head = b""
            else:
                yield block
        yield head + b"\r\n"
    yield last_line(boundary)
