"""Small things that were made and can be made again, kept in files: pictures.

Any number of processes share the folder. A file is written beside its place and renamed; it begins with a checksum of
its name and content, so what a crash or a bad disk leaves of it counts as missing. No file is synced: it costs nothing
to lose one. Each of `FOLDERS` folders has its share of the limit and is looked at by itself, so making room is never
more work than one folder is large.
"""

import contextlib
import hashlib
import os
import random
import secrets
import threading
import time
from collections.abc import Collection
from pathlib import Path

from pacs.storage.eviction import remove_least_recent

FOLDERS = 64
CHECKSUM = 32
# The time of last use is noted this often, in seconds.
NOTED_EVERY = 60


class PictureCache:
    """Files under `folder`, together about `limit` bytes. Names are hexadecimal digits in two parts, `mark-digest`.

    Each method raises OSError where the disk does not do.
    """

    def __init__(self, folder: Path, *, limit: int) -> None:
        self.folder = folder
        self.share = limit // FOLDERS
        self._written: dict[Path, int] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        """What was kept under `name`; None where that is nothing, or damaged."""
        try:
            with self._path(name).open("rb") as file:
                content = file.read()
                if time.time() - os.fstat(file.fileno()).st_mtime > NOTED_EVERY:
                    with contextlib.suppress(OSError):
                        os.utime(file.fileno())
        except FileNotFoundError:
            return None
        found = content[CHECKSUM:]
        return found if content[:CHECKSUM] == _checksum(name, found) else None

    def put(self, name: str, content: bytes, *, reserve: int) -> bool:
        """Keep `content` under `name`, if it is no larger than a folder's share and leaves `reserve` bytes of the disk.

        Whether it was kept.
        """
        size = CHECKSUM + len(content)
        if size > self.share:
            return False
        path = self._path(name)
        folder = path.parent
        try:
            state = os.statvfs(folder)
        except FileNotFoundError:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            state = os.statvfs(folder)
        if state.f_bavail * state.f_frsize < reserve + size:
            return False
        part = f"{folder}/{secrets.token_hex(16)}.part"
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb") as file:
                file.write(_checksum(name, content) + content)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
        if self._is_full(folder, size):
            remove_least_recent([folder], limit=self.share - self.share // 8)
        return True

    def forget(self, marks: Collection[str]) -> int:
        """Remove everything under names of these marks; how many files that were. Reads all names there are."""
        wanted, removed = frozenset(marks), 0
        for folder in self.folder.glob("??"):
            for entry in os.scandir(folder):
                if entry.name.partition("-")[0] in wanted:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)
                        removed += 1
        return removed

    def _path(self, name: str) -> Path:
        return self.folder / f"{int(name[-2:], 16) % FOLDERS:02x}" / name

    def _is_full(self, folder: Path, size: int) -> bool:
        """Whether it is time to look: a thirty-second of the share was written there.

        A process does not know what others wrote before it, so it begins anywhere between: however short each of them
        lives, a look comes as often for what all of them write.
        """
        enough = self.share // 32
        with self._lock:
            if folder not in self._written:
                self._written[folder] = random.randint(0, enough)  # noqa: S311 - no secret
            self._written[folder] += size
            if self._written[folder] <= enough:
                return False
            self._written[folder] = 0
            return True


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()
