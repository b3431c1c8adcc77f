"""Small things that were made and can be made again, kept in files: pictures.

Any number of processes share the folder. A file is written beside its place and renamed; it begins with a checksum of
its name and content, so what a crash or a bad disk leaves of it counts as missing. No file is synced: it costs nothing
to lose one. Each of `FOLDERS` folders has its share of the limit and is looked at by itself, so making room is never
more work than one folder is large.
"""

import contextlib
import hashlib
import os
import threading
import time
import uuid
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
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        state = os.statvfs(path.parent)
        if state.f_bavail * state.f_frsize < reserve + size:
            return False
        part = path.parent / f"{uuid.uuid4().hex}.part"
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb") as file:
                file.write(_checksum(name, content) + content)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        if self._is_full(path.parent, size):
            remove_least_recent([path.parent], limit=self.share - self.share // 8)
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
        """Whether it is time to look: this process wrote a thirty-second of the share there, or for the first time."""
        with self._lock:
            self._written[folder] = self._written.get(folder, self.share) + size
            if self._written[folder] <= self.share // 32:
                return False
            self._written[folder] = 0
            return True


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + content).digest()
