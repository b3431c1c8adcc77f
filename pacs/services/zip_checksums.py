"""CRC-32 of the entries of a ZIP, kept for a while: a download that goes on needs those of what it steps over.

A file a ZIP under SINAR_DATA/cache, eight bytes an entry; what is there can be removed at any time.
"""

import os
import struct
import time
from pathlib import Path
from typing import Self

from django.conf import settings

RECORD = struct.Struct("<II")
KNOWN = 1
KEPT_FOR = 7 * 24 * 3600


class Checksums:
    """`get(number)` gives what `put(number, …)` of any process kept. Without a disk to write on it keeps nothing."""

    def __init__(self, etag: str) -> None:
        self.path = Path(settings.SINAR_DATA, "cache", "zip", etag.strip('"') + ".crc")
        self._file: int | None = None
        self._seen: dict[int, int] = {}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self._remove_old()
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
            os.utime(self.path)
        except OSError:
            self._file = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def get(self, number: int) -> int | None:
        if self._file is None:
            return self._seen.get(number)
        try:
            record = os.pread(self._file, RECORD.size, number * RECORD.size)
        except OSError:
            return self._seen.get(number)
        if len(record) < RECORD.size:
            return self._seen.get(number)
        crc, state = RECORD.unpack(record)
        return crc if state == KNOWN else self._seen.get(number)

    def put(self, number: int, crc: int) -> None:
        if self._file is not None:
            try:
                os.pwrite(self._file, RECORD.pack(crc, KNOWN), number * RECORD.size)
                return
            except OSError:
                pass
        self._seen[number] = crc

    def _remove_old(self) -> None:
        oldest = time.time() - KEPT_FOR
        for other in self.path.parent.glob("*.crc"):
            try:
                if other.stat().st_mtime < oldest:
                    other.unlink()
            except FileNotFoundError:
                continue
