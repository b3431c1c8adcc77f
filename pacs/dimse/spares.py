"""Files that are begun before their objects come: the file system's time for it, and for their names, is nobody's."""

import contextlib
import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from pacs.models import Volume
from pacs.services.incoming import begin_ahead
from pacs.storage import Draft
from radiology.errors import OutOfResources

MOST = 8
SECONDS = 10.0

_beginners = ThreadPoolExecutor(max_workers=2, thread_name_prefix="begin")


def _forget_threads() -> None:
    """In a forked process there are none of them."""
    global _beginners
    _beginners = ThreadPoolExecutor(max_workers=2, thread_name_prefix="begin")


os.register_at_fork(after_in_child=_forget_threads)


class Spares:
    """Those of one association: the more, the more it sends. Another thread begins them."""

    def __init__(self) -> None:
        self._volume: Volume | None = None
        self._drafts: deque[Draft] = deque()
        self._coming: Future[list[Draft]] | None = None
        self._begun = self._until = 0.0
        self._count = 0

    def take(self, volume: Volume) -> Draft | None:
        """One, unless they are of another volume by now, or old: their names tell the time."""
        if volume != self._volume:
            self.discard()
        if not self._drafts:
            self._collect()
        if time.monotonic() > self._until:
            self.discard()
        while self._drafts:
            draft = self._drafts.popleft()
            if draft.exists():
                return draft
            draft.discard()
        return None

    def prepare(self, volume: Volume) -> None:
        """Have some begun if few are left."""
        if volume != self._volume:
            self.discard()
        if self._coming is not None or 2 * len(self._drafts) > self._count:
            return
        self._count = min(2 * self._count or 1, MOST)
        self._volume, self._begun = volume, time.monotonic()
        self._coming = _beginners.submit(begin_ahead, volume, count=self._count)

    def _collect(self) -> None:
        coming, self._coming = self._coming, None
        self._until = self._begun + SECONDS
        if coming is not None:
            with contextlib.suppress(OutOfResources):  # the next object will say so
                self._drafts.extend(coming.result())

    def discard(self) -> None:
        """Remove them."""
        self._collect()
        self._count = 0
        while self._drafts:
            self._drafts.pop().discard()
