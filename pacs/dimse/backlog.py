"""What this process has acknowledged and the filer has not filed yet: bounded in number and in age."""

import contextlib
import math
import os
import threading
import time
from collections import deque

import structlog

log = structlog.get_logger(__name__)

MOST = 512
# Findable within a second is promised: nobody is acknowledged first while one has waited for half of that.
OLDEST_SECONDS = 0.5
# What has waited for so long is the filer's own affair: one object that cannot be filed does not slow all others.
FORGOTTEN_SECONDS = 10.0
ROOM_SECONDS = 2.0
LOOK_SECONDS = 0.002
# After a call the filer looks within a moment by itself: to wake it for each object would cost both of them more than
# the object's way to the disk.
CALL_SECONDS = 0.05
# What the filer is told: that there is one more, and that somebody waits for all of them.
MORE, NOW = b"m", b"n"


class Backlog:
    """Of one process. `filer` is the descriptor that wakes the filer; without one nothing may be acknowledged first."""

    def __init__(self) -> None:
        self.filer = -1
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, float]] = deque()
        self._is_patient = True  # not while nobody files
        self._called = -math.inf

    def has_room(self) -> bool:
        """Whether one more may be acknowledged now. Waits for a moment if need be, but not again and again."""
        if self.filer < 0:
            return False
        until = time.monotonic() + (ROOM_SECONDS if self._is_patient else 0.0)
        while not self._has_room():
            if time.monotonic() >= until:
                self._is_patient = False
                return False
            time.sleep(LOOK_SECONDS)
        self._is_patient = True
        return True

    def add(self, path: str) -> None:
        """One more waits."""
        now = time.monotonic()
        with self._lock:
            self._waiting.append((path, now))
        if now - self._called > CALL_SECONDS:
            self._called = now
            self._call(MORE)

    def hurry(self) -> None:
        """Somebody waits for those that wait."""
        self._called = -math.inf
        self._call(NOW)

    def _call(self, word: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # full: then the filer has not even heard the last call
            os.write(self.filer, word)

    def _has_room(self) -> bool:
        with self._lock:
            now = time.monotonic()
            while self._waiting:
                path, since = self._waiting[0]
                if len(self._waiting) < MOST and now - since < OLDEST_SECONDS:
                    return True  # whether or not it is filed by now
                if now - since < FORGOTTEN_SECONDS and os.path.exists(path):
                    return False
                self._waiting.popleft()
            return True


class Unfiled:
    """Those that one association has brought, in their order."""

    def __init__(self) -> None:
        self._paths: deque[str] = deque()

    def add(self, path: str) -> None:
        """One more."""
        if len(self._paths) >= MOST:
            while self._paths and not os.path.exists(self._paths[0]):
                self._paths.popleft()
        self._paths.append(path)

    def is_empty(self) -> bool:
        """Whether all are filed."""
        while self._paths and not os.path.exists(self._paths[-1]):
            self._paths.pop()
        return not self._paths

    def wait(self, *, seconds: float) -> None:
        """Until all are filed; `seconds` at most."""
        until = time.monotonic() + seconds
        while not self.is_empty():
            if time.monotonic() > until:
                log.warning("acknowledged_objects_wait", count=len(self._paths))
                return
            time.sleep(LOOK_SECONDS)


BACKLOG = Backlog()
