"""Decoding and encoding of compressed pixels and drawing of pictures, in a bounded child process.

Code streams come from strangers and the libraries that read them are written in C: the child has a
memory limit and a time limit, and is killed and replaced when it passes one. Each process that needs
it keeps at most `CHILDREN` of them, started when first needed; a fork starts with none.
"""

import contextlib
import fcntl
import io
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from pacs.services.image_description import ImageDescription
from radiology.errors import NotAcceptable, OutOfResources

log = structlog.get_logger(__name__)

CHILDREN = 2
SECONDS = 30.0
ENCODING_SECONDS = 60.0
MAX_PARTS = 512
MAX_HEAD = 64 * 1024
# A frame goes through at once where it can, instead of both waiting for each other after every 64 KB.
PIPE = 1024 * 1024
KEPT_ROOM = 8 * 1024 * 1024
MAX_DECODED = 256 * 1024 * 1024
ROOT = Path(__file__).resolve().parent.parent.parent
# Encapsulated transfer syntaxes whose frames can be decoded: JPEG, JPEG-LS, JPEG 2000, HTJ2K, RLE.
DECODABLE = frozenset(
    f"1.2.840.10008.1.2.{suffix}"
    for suffix in (
        "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.202", "4.203", "5",
    )
)  # fmt: skip


class _Ended(Exception):
    """The child died or was killed for taking too long."""


class _Child:
    """One decoder process and the pipe to it. Used by one thread at a time."""

    def __init__(self) -> None:
        environment = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        # Threads of numerical libraries would reserve address space, which is what is limited.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        # Room for a frame is used again for the next one, instead of the kernel's clearing new pages each time.
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(KEPT_ROOM), "MALLOC_TRIM_THRESHOLD_": str(KEPT_ROOM)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pacs.services.decoder"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin and self.process.stdout
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()
        for pipe in (self._to, self._from):
            os.set_blocking(pipe, False)
            with contextlib.suppress(OSError):  # this user has too many large pipes already
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, request: dict[str, Any], payload: tuple[bytes, ...], seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer. Raises _Ended."""
        deadline = time.monotonic() + seconds
        head = json.dumps({**request, "seconds": seconds, "payload": sum(map(len, payload))}).encode()
        self._send([struct.pack(">I", len(head)) + head, *payload], deadline)
        (size,) = struct.unpack(">I", self._receive(4, deadline))
        if size > MAX_HEAD:
            raise _Ended("its answer is none")
        answer = json.loads(self._receive(size, deadline))
        if not 0 <= answer["payload"] <= MAX_DECODED:
            raise _Ended("its answer is too large")
        return answer, self._receive(answer["payload"], deadline)

    def end(self) -> None:
        """Kill it and close the pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue

    def _send(self, parts: list[bytes], deadline: float) -> None:
        views = [memoryview(part) for part in parts if part]
        while views:
            try:
                count = os.writev(self._to, views[:MAX_PARTS])
            except BlockingIOError:
                self._wait(self._to, select.POLLOUT, deadline)
                continue
            except BrokenPipeError as error:
                raise _Ended("it ended") from error
            while count:
                count, views[0] = max(0, count - len(views[0])), views[0][count:]
                if not views[0]:
                    del views[0]

    def _receive(self, size: int, deadline: float) -> bytes:
        received = io.BytesIO(bytes(size))
        with received.getbuffer() as view:
            done = 0
            while done < size:
                try:
                    count = os.readv(self._from, [view[done:]])
                except BlockingIOError:
                    self._wait(self._from, select.POLLIN, deadline)
                    continue
                if not count:
                    raise _Ended("it ended")
                done += count
        return received.getvalue()  # the same bytes, not a copy of them

    @staticmethod
    def _wait(descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _Ended("it took too long")


class _Pool:
    """At most CHILDREN children, the idle ones kept."""

    def __init__(self) -> None:
        self._slots = threading.Semaphore(CHILDREN)
        self._idle: list[_Child] = []
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], payload: tuple[bytes, ...], seconds: float) -> tuple[dict[str, Any], bytes]:
        """One request to one child. Raises _Ended, OutOfResources."""
        if not self._slots.acquire(timeout=seconds):
            raise OutOfResources("Too many images are being decoded at this moment: try again.")
        try:
            child = self._take()
            try:
                answer = child.ask(request, payload, seconds)
            except BaseException:
                child.end()  # what it would still say belongs to nobody
                raise
            with self._lock:
                self._idle.append(child)
            return answer
        finally:
            self._slots.release()

    def _take(self) -> _Child:
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return _Child()
            if child.alive:
                return child
            child.end()


_pool = _Pool()


def _forget() -> None:
    """A forked process must not talk through its parent's pipes."""
    global _pool
    _pool = _Pool()


os.register_at_fork(after_in_child=_forget)


def ask(
    *, operation: str, payload: tuple[bytes, ...] = (), seconds: float | None = None, **request: Any
) -> tuple[dict[str, Any], bytes]:
    """Let a child do `operation`; its facts and its bytes.

    Raises NotAcceptable when the stream cannot be decoded within the limits, OutOfResources when
    there is no child to be had.
    """
    try:
        answer, result = _pool.ask({**request, "operation": operation}, payload, seconds or SECONDS)
    except _Ended as error:
        log.warning("decoder ended", operation=operation, reason=str(error))
        raise NotAcceptable(
            "The pixels of this object cannot be decoded within the limits of time and memory."
        ) from error
    except OSError as error:
        raise OutOfResources("The decoder cannot be started: try again.") from error
    if not answer["ok"]:
        log.info("decoder refused", operation=operation)
        reason = " ".join(str(answer["error"]).split())[:200]
        raise NotAcceptable(f"The pixels of this object cannot be decoded: {reason}.")
    return answer, result


def require_reasonable(description: ImageDescription) -> None:
    """Raise NotAcceptable for a frame whose declared size is beyond what is decoded."""
    if description.decoded_size > MAX_DECODED:
        raise NotAcceptable("The frames of this image are too large to be decoded.")


def decode_frame(*, frame: bytes, transfer_syntax_uid: str, description: ImageDescription) -> tuple[bytes, str]:
    """The samples of a compressed frame and their Photometric Interpretation.

    Little endian, colour by pixel, `description.decoded_size` bytes. Raises NotAcceptable.
    """
    if transfer_syntax_uid not in DECODABLE:
        raise NotAcceptable("The pixels of this object are in a form that is not decoded here.")
    require_reasonable(description)
    answer, pixels = ask(
        operation="decode",
        payload=(frame,),
        transfer_syntax_uid=transfer_syntax_uid,
        description=asdict(description),
        decoded_size=description.decoded_size,
    )
    if len(pixels) != description.decoded_size:
        raise NotAcceptable("The decoded frame has another size than the header says.")
    return pixels, answer["photometric_interpretation"]


def encode_frame(*, frame: bytes, transfer_syntax_uid: str, description: ImageDescription) -> bytes:
    """The lossless code stream of a native frame, little endian and colour by pixel. Raises NotAcceptable."""
    require_reasonable(description)
    _, stream = ask(
        operation="encode",
        payload=(frame,),
        seconds=ENCODING_SECONDS,
        transfer_syntax_uid=transfer_syntax_uid,
        description=asdict(description),
    )
    if not stream:
        raise NotAcceptable("The pixels of this object cannot be encoded.")
    return stream
