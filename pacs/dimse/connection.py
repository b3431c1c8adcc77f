"""One TCP connection after its association request: PDUs in and out, every wait bounded.

Reading is by fragment and never by PDU: whatever length a peer declares, this holds one block of
memory, and a data set goes through it piece by piece.
"""

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pacs.dimse import message, pdu
from pacs.dimse.message import Command
from pacs.dimse.pdu import AbortReason, PduType
from pacs.dimse.portions import COMMAND, LEAD, MOST_PDUS, Portions, append
from pacs.dimse.throttle import Throttle

BLOCK = 256 * 1024
# Of one P-DATA PDU. A peer that sends longer ones than it was told is cut off.
MAXIMUM_LENGTH = 1024 * 1024
# Of the PDUs that we send to a peer that sets no limit, or a larger one.
LARGEST_SENT = 256 * 1024
SMALLEST_MAXIMUM_LENGTH = 128
# Small messages that may wait for the next go out with it, once they are so many bytes or so old.
MOST_HELD, HELD_SECONDS = 32 * 1024, 0.05
LINGER_SECONDS = 1.0
BEAT_SECONDS = 0.5


class Closed(Exception):
    """The association is over: the peer released or aborted it, or the connection is gone."""

    released = False


class Released(Closed):
    """The peer asks to end the association."""

    released = True


class TooSlow(Closed):
    """The peer did not send or take a PDU in time."""


class ProtocolError(Exception):
    """The peer broke the protocol; `reason` goes into the A-ABORT."""

    def __init__(self, reason: AbortReason, what: str) -> None:
        super().__init__(what)
        self.reason = reason
        self.what = what


@dataclass(frozen=True)
class Fragment:
    """The header of a presentation data value (PS3.8 9.3.5.1, E.2)."""

    context_id: int
    is_command: bool
    is_last: bool


class Connection:
    """PDUs over a connected socket. Not for two threads at once, `cut` excepted.

    `transferred` counts bytes both ways, `is_waiting` says whether it waits for the peer at this moment.
    `pdu_seconds` is for the first byte of a PDU, and once more for the rest of it.
    `until` is the moment of the monotonic clock when all waiting ends in TooSlow, whatever the peer does.
    `beat` is called between blocks and at least every half second of waiting; what it raises is raised.
    `incoming` and `outgoing` keep it to a rate; waiting for those moves the deadlines along.
    """

    def __init__(self, sock: socket.socket, *, pdu_seconds: float, send_length: int = 0) -> None:
        self._sock = sock
        self.pdu_seconds = pdu_seconds
        self._buffer = memoryview(bytearray(BLOCK))
        self._start = self._end = 0
        self._pdu_left = self._fragment_left = 0
        self._deadline = 0.0
        self._send_length = 0
        self._portions: Portions | None = None
        self._held = bytearray()
        self._held_since = 0.0
        self.transferred = 0
        self.is_waiting = False
        self.until = math.inf
        self.beat: Callable[[], object] | None = None
        self.incoming: Throttle | None = None
        self.outgoing: Throttle | None = None
        self.respect(send_length)

    def respect(self, maximum_length: int) -> None:
        """Send no P-DATA PDU longer than the peer said (0: no limit)."""
        self._send_length = min(maximum_length or LARGEST_SENT, LARGEST_SENT)
        if self.outgoing is not None:
            self._send_length = min(self._send_length, self.outgoing.most_at_once)
        self._portions = None

    def _keep_to(self, throttle: Throttle) -> None:
        """Wait until bytes may pass. The peer's time does not run meanwhile: it is we who wait."""
        began = time.monotonic()
        while (left := throttle.seconds()) > 0:
            if self.beat is not None:
                self.beat()
            time.sleep(min(left, BEAT_SECONDS))
        waited = time.monotonic() - began
        self._deadline += waited
        self.until += waited

    # Waiting and reading

    def wait(self, *, seconds: float, stop: int) -> bool | None:
        """Whether the peer begins to send within `seconds`; None when the descriptor `stop` becomes readable."""
        self._send_held()
        if self._start < self._end or self._pdu_left:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(stop, select.POLLIN)
        self.is_waiting = True
        ready = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
        self.is_waiting = False
        return None if stop in ready else bool(ready)

    def has_input(self) -> bool:
        """Whether something of the peer's waits to be read. Messages that have waited long enough go out."""
        if self._held and time.monotonic() - self._held_since >= HELD_SECONDS:
            self._send_held()
        if self._start < self._end or self._pdu_left:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def receive_pdu(self, *, largest: int) -> tuple[int, bytes]:
        """A whole PDU that is not P-DATA: its type and body."""
        kind, length = self._begin_pdu()
        if length > largest:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "PDU too long")
        return kind, self._take(length)

    def receive_command(self) -> tuple[int, Command]:
        """The command set of the next message, and its context. Released when the peer releases instead."""
        data = bytearray()
        first: Fragment | None = None
        while True:
            fragment = self._next_fragment(may_release=first is None)
            first = first or fragment
            if not fragment.is_command or fragment.context_id != first.context_id:
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "no command where one belongs")
            if len(data) + self._fragment_left > message.LARGEST_COMMAND:
                raise ProtocolError(AbortReason.INVALID_PARAMETER, "command set too long")
            for block in self._body():
                data += block
            if fragment.is_last:
                break
        try:
            return first.context_id, message.decode(data)
        except message.MalformedCommand:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "no command set") from None

    def data_set(self, context_id: int) -> Iterator[memoryview]:
        """The data set that follows a command, in pieces. Each is valid until the next is asked for."""
        is_last = False
        while not is_last:
            fragment = self._next_fragment(may_release=False)
            if fragment.is_command or fragment.context_id != context_id:
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "no data set where one belongs")
            yield from self._body()
            is_last = fragment.is_last

    def _next_fragment(self, *, may_release: bool) -> Fragment:
        while not self._pdu_left:
            kind, length = self._begin_pdu()
            if kind == PduType.P_DATA:
                if not 6 <= length <= MAXIMUM_LENGTH:
                    raise ProtocolError(AbortReason.INVALID_PARAMETER, "P-DATA length")
                self._pdu_left = length
            elif kind == PduType.ABORT:
                raise Closed("the peer aborted")
            elif kind == PduType.RELEASE_RQ and may_release:
                if length != 4:
                    raise ProtocolError(AbortReason.INVALID_PARAMETER, "A-RELEASE-RQ length")
                self._take(length)
                raise Released("the peer releases")
            elif kind in PduType._value2member_map_:
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, f"PDU type {kind}")
            else:
                raise ProtocolError(AbortReason.UNRECOGNIZED_PDU, f"PDU type {kind}")
        if self._pdu_left < 6:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "PDV header")
        length, context_id, control = pdu.PDV_HEADER.unpack(self._take(6))
        if not 2 <= length <= self._pdu_left - 4:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "PDV length")
        self._pdu_left -= 4 + length
        self._fragment_left = length - 2
        return Fragment(context_id, bool(control & 1), bool(control & 2))

    def _body(self) -> Iterator[memoryview]:
        while self._fragment_left:
            if self._start == self._end:
                self._fill()
            end = min(self._end, self._start + self._fragment_left)
            block = self._buffer[self._start : end]
            self._start = end
            self._fragment_left -= len(block)
            yield block

    def _begin_pdu(self) -> tuple[int, int]:
        self._deadline = time.monotonic() + self.pdu_seconds
        if self._start == self._end:
            self._fill()
            self._deadline = time.monotonic() + self.pdu_seconds
        return pdu.HEADER.unpack(self._take(6))

    def _take(self, length: int) -> bytes:
        if length <= BLOCK:
            while self._end - self._start < length:
                self._fill()
            taken = bytes(self._buffer[self._start : self._start + length])
            self._start += length
            return taken
        parts = bytearray()
        while len(parts) < length:
            if self._start == self._end:
                self._fill()
            end = min(self._end, self._start + length - len(parts))
            parts += self._buffer[self._start : end]
            self._start = end
        return bytes(parts)

    def _fill(self) -> None:
        self._send_held()
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == BLOCK:
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        if self.incoming is not None:
            self._keep_to(self.incoming)
        count = None
        while count is None:
            count = self._received()
        if not count:
            raise Closed("the peer closed the connection")
        self._end += count
        self.transferred += count
        if self.incoming is not None:
            self.incoming.count(count)

    def _received(self) -> int | None:
        """Bytes that came into the buffer; None when it is time for another look."""
        if self.beat is not None:
            self.beat()
        remaining = min(self._deadline, self.until) - time.monotonic()
        if remaining <= 0:
            raise TooSlow("the peer sends too slowly")
        try:
            self.is_waiting = True
            self._sock.settimeout(remaining if self.beat is None else min(remaining, BEAT_SECONDS))
            # Peers that write a message in portions wait for our ACK in between (dcmtk does): 40 ms each time,
            # unless it goes out at once. The kernel forgets this setting, hence again and again.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            most = BLOCK if self.incoming is None else self.incoming.most_at_once
            return self._sock.recv_into(self._buffer[self._end : self._end + most])
        except TimeoutError:
            return None
        except (OSError, ValueError) as error:
            raise Closed("the connection is gone") from error
        finally:
            self.is_waiting = False

    # Writing

    def send_pdu(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes that are whole PDUs."""
        if self.outgoing is not None:
            self._keep_to(self.outgoing)
        deadline = min(time.monotonic() + self.pdu_seconds, self.until)
        try:
            self.is_waiting = True
            if self.beat is None:
                self._sock.settimeout(max(0.001, deadline - time.monotonic()))
                self._sock.sendall(data)
            else:
                self._send_beating(data, deadline, self.beat)
        except TimeoutError:
            raise TooSlow("the peer reads too slowly") from None
        except (OSError, ValueError) as error:
            raise Closed("the connection is gone") from error
        finally:
            self.is_waiting = False
        self.transferred += len(data)
        if self.outgoing is not None:
            self.outgoing.count(len(data))

    def _send_beating(self, data: bytes | bytearray | memoryview, deadline: float, beat: Callable[[], object]) -> None:
        with memoryview(data) as whole:
            sent = 0
            while sent < len(whole):
                beat()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                self._sock.settimeout(min(remaining, BEAT_SECONDS))
                with contextlib.suppress(TimeoutError):
                    sent += self._sock.send(whole[sent:])

    def send_message(
        self,
        context_id: int,
        command: bytes,
        data_set: bytes | BinaryIO | None = None,
        *,
        may_wait: bool = False,
    ) -> None:
        """Send a command set and the data set that belongs to it, the latter from a stream if need be.

        `may_wait`: another message follows at once, and this one may go out with it.
        """
        room = self._send_length - 6
        out, self._held = self._held, bytearray()
        if not out:
            self._held_since = time.monotonic()
        append(out, command, context_id=context_id, control=COMMAND, room=room)
        if data_set is not None and not isinstance(data_set, bytes):
            self._send_stream(out, context_id, data_set)
            return
        if data_set is not None:
            append(out, data_set, context_id=context_id, control=0, room=room)
        is_young = len(out) < MOST_HELD and time.monotonic() - self._held_since < HELD_SECONDS
        if may_wait and is_young and self.outgoing is None:
            self._held = out
        else:
            self.send_pdu(out)

    def _send_held(self) -> None:
        if self._held:
            out, self._held = self._held, bytearray()
            self.send_pdu(out)

    def read_ahead(self, stream: BinaryIO) -> None:
        """Read the beginning of the data set that will be sent next, as far as there is room, where it is a file."""
        self._room_for_portions().read_ahead(stream)

    def _send_stream(self, out: bytearray, context_id: int, stream: BinaryIO) -> None:
        if len(out) > LEAD:
            self.send_pdu(out)
            out = bytearray()
        portions = self._room_for_portions().of(stream, context_id=context_id, lead=out)
        while (portion := _next(portions)) is not None:
            self.send_pdu(portion)

    def _room_for_portions(self) -> Portions:
        # As many PDUs at once as fit, unless a rate is kept to.
        if self._portions is None:
            room = self._send_length - 6
            count = 1 if self.outgoing is not None else min(max(1, LARGEST_SENT // room), MOST_PDUS)
            self._portions = Portions(room=room, count=count)
        return self._portions

    # Ending

    def cut(self) -> None:
        """End the connection from another thread: whoever reads or writes on it gets Closed."""
        try:
            self._sock.send(pdu.abort(), socket.MSG_DONTWAIT)
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self, last: bytes = b"") -> None:
        """Send `last`, wait a moment for the peer to close (PS3.8 9.2, Sta13), and close.

        Closing at once would make the kernel answer what the peer is still sending with a reset, and a
        reset takes back what we said last.
        """
        try:
            if last:
                self._sock.settimeout(LINGER_SECONDS)
                self._sock.sendall(last)
                until = time.monotonic() + LINGER_SECONDS
                while (remaining := until - time.monotonic()) > 0:
                    self._sock.settimeout(remaining)
                    if not self._sock.recv_into(self._buffer):
                        break
        except (OSError, ValueError):
            pass
        finally:
            self._sock.close()


def _next(portions: Iterator[memoryview]) -> memoryview | None:
    try:
        return next(portions, None)
    except Exception as error:  # whatever the stream is made of: half a message cannot be taken back
        raise Closed("the object cannot be read") from error
