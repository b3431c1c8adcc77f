"""What was acknowledged, as a file outside the product: a line is synced before its sender goes on."""

import json
import os
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from benchmarks.soak.images import Image

REMEMBERED = 100
# What is acknowledged is findable within a second: that is promised.
FINDABLE_SECONDS = 1.0


class Ledger:
    """Of images: UIDs and the SHA-256 of the data set. Of HL7 messages: control ID, patient, placer's order number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, Image]] = deque(maxlen=REMEMBERED)
        self.images = self.messages = 0

    def image(self, image: Image, door: str) -> None:
        self._write(
            kind="image",
            door=door,
            study=image.study_instance_uid,
            uid=image.sop_instance_uid,
            sha256=image.sha256,
        )
        self.images += 1
        self._recent.append((time.monotonic(), image))

    def message(self, control_id: str, *, patient: str, placer: str) -> None:
        self._write(kind="message", control_id=control_id, patient=patient, placer=placer)
        self.messages += 1

    def _write(self, **entry: str) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with self._lock:
            os.write(self._file.fileno(), line)
            os.fsync(self._file.fileno())

    def any_image(self) -> Image | None:
        """One of those that were acknowledged of late and must be findable by now, for who reads."""
        before = time.monotonic() - FINDABLE_SECONDS
        recent = [image for since, image in list(self._recent) if since <= before]
        return random.choice(recent) if recent else None  # noqa: S311

    def entries(self, kind: str) -> Iterator[dict[str, str]]:
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                if entry["kind"] == kind:
                    yield entry
