"""Files that are begun before their objects come: the file system's time for it, and for their names, is nobody's."""

import contextlib
import time
from collections import deque

from pacs.models import Volume
from pacs.services.incoming import begin_ahead
from pacs.storage import Draft
from radiology.errors import OutOfResources

MOST = 8
SECONDS = 10.0


class Spares:
    """Those of one association: the more, the more it sends."""

    def __init__(self) -> None:
        self._volume: Volume | None = None
        self._drafts: deque[Draft] = deque()
        self._until = 0.0
        self._count = 0

    def take(self, volume: Volume) -> Draft | None:
        """One, unless they are of another volume by now, or old: their names tell the time."""
        if volume != self._volume or time.monotonic() > self._until:
            self.discard()
        while self._drafts:
            draft = self._drafts.popleft()
            if draft.exists():
                return draft
            draft.discard()
        return None

    def prepare(self, volume: Volume) -> None:
        """Begin some if none is left."""
        if self._drafts:
            return
        self._count = min(2 * self._count or 1, MOST)
        with contextlib.suppress(OutOfResources):  # the next object will say so
            self._drafts.extend(begin_ahead(volume, count=self._count))
        self._volume, self._until = volume, time.monotonic() + SECONDS

    def discard(self) -> None:
        """Remove them."""
        self._count = 0
        while self._drafts:
            self._drafts.pop().discard()
