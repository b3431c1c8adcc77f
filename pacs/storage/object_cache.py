"""Whole objects of object stores, kept in local files for as long as there is room.

What is there can be removed at any time. Any number of processes share the folder: who fetches an
object holds a lock on its .part file, and the others wait for it and then find it. The least
recently used go first; whoever has one open goes on reading it.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pacs.storage.disk import out_of_resources
from pacs.storage.eviction import remove_least_recent
from radiology.errors import OutOfResources

# The time of last use is noted this often, in seconds.
NOTED_EVERY = 60


class ObjectCache:
    """Local copies under `folder`, together about `limit` bytes; `reserve` bytes of its disk stay free."""

    def __init__(self, folder: Path, *, limit: int, reserve: int) -> None:
        self.folder = folder
        self.limit = limit
        self.reserve = reserve
        self._fetched = limit
        self._lock = threading.Lock()

    def open(self, name: str, *, size: int | None, fetch: Callable[[BinaryIO], None]) -> BinaryIO:
        """The local copy of `name`, which has `size` bytes where that is known; made by `fetch` when there is none.

        `fetch` writes and verifies; what it raises, this raises. Raises OutOfResources when the disk is full.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()
        path = self.folder / digest[:2] / digest
        found = self._found(path, size)
        if found is not None:
            return found
        try:
            return self._made(path, size, fetch)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise out_of_resources(error) from error

    def _found(self, path: Path, size: int | None) -> BinaryIO | None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        state = os.fstat(file.fileno())
        if size is not None and state.st_size != size:
            file.close()
            return None
        if time.time() - state.st_mtime > NOTED_EVERY:
            with contextlib.suppress(OSError):
                os.utime(file.fileno())
        return file

    def _made(self, path: Path, size: int | None, fetch: Callable[[BinaryIO], None]) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        file = self._locked(part)
        try:
            # Another process may have fetched it while we waited for the lock.
            found = self._found(path, size)
            if found is not None:
                part.unlink(missing_ok=True)
                return found
            file.truncate(0)
            self._make_room(size or 0)
            fetch(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
            made = path.open("rb")
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        finally:
            file.close()
        with self._lock:
            self._fetched += os.fstat(made.fileno()).st_size
            due = self._fetched > self.limit // 20
            if due:
                self._fetched = 0
        if due:
            self.evict(self.limit)
        return made

    @staticmethod
    def _locked(part: Path) -> BinaryIO:
        """The .part file, locked, which still is the one of that name."""
        while True:
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640), "r+b")
            fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                    return file
            file.close()

    def _make_room(self, size: int) -> None:
        state = os.statvfs(self.folder)
        missing = self.reserve + size - state.f_bavail * state.f_frsize
        if missing > 0 and self.evict(0, enough=missing) < missing:
            raise OutOfResources("There is no room for a local copy of an object: free some space on SINAR_DATA.")

    def evict(self, limit: int, *, enough: int | None = None) -> int:
        """Remove the least recently used until `limit` bytes are left, or `enough` are removed; how many were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.folder / ".evicting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640), "r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if enough is None else 0))
            except BlockingIOError:
                return 0  # somebody is at it
            return self._evict(limit, enough)

    def _evict(self, limit: int, enough: int | None) -> int:
        folders = [each.path for each in os.scandir(self.folder) if each.is_dir(follow_symlinks=False)]
        return remove_least_recent(folders, limit=limit, enough=enough)
