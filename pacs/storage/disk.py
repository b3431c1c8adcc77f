"""Objects as files under one folder, durable before anybody is told so.

    incoming/<key>.part                         begun or being written; its writer holds a lock on it
    incoming/<key>.<note>.<SHA-256>.received    complete, acknowledged; it stays until its row is committed
    2026/11/23/15/52/<key>.dcm                  published

A key is a UUIDv7, and the published path follows from the key alone. Publishing makes a second link
to the same file; the first goes once the database row is committed. So whatever a crash leaves is in
incoming/, and its key says where the other link would be.

An object is acknowledged when its file is synced, if the name that it was begun under was synced before
(`sync_names`). A power cut may then take back the name that says so; but its head says it too, with the SHA-256
of a complete object, and `Disk.recover` gives it that name again. Who files it syncs the name and takes the mark out
(`unmark`), before anybody reads the file.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import stat
import struct
import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pacs.storage.places import Expected, Published
from radiology.errors import OutOfResources
from radiology.models.keys import uuid7

if TYPE_CHECKING:
    from pacs.storage.protocol import Backend

SYNC_FILE_RANGE_WRITE = 2
# At the end of the head of what is acknowledged before its new name is synced: this word, the SHA-256, the note.
MARK = struct.Struct("<16s32s48s")
MARKED = b"acknowledged".ljust(16, b"\0")
ACKNOWLEDGED = ".received"
# So much is held in memory, and then written and given to the disk at once while the next bytes come: the sync at the
# end has little to wait for, and a large piece costs the kernel half of what small ones do. A smaller object is written
# with its head.
AT_ONCE = 256 * 1024
SPACE_CHECK_EVERY = 16 * 1024 * 1024
# Beside the published files: drafts, and what file systems and storage systems keep for themselves.
NOT_PUBLISHED = {"incoming", "lost+found"}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_libc = ctypes.CDLL(None)


def path_of(key: uuid.UUID) -> str:
    """The published path of `key`, relative to the folder: a directory a minute."""
    moment = datetime.fromtimestamp((key.int >> 80) / 1000, UTC)
    return f"{moment:%Y/%m/%d/%H/%M}/{key.hex}.dcm"


class Draft:
    """A file being written. The hash covers what `write` gets, which begins at `head_size`.

    Raises OutOfResources when the disk is full, the reserve is reached or a write fails.
    """

    may_be_acknowledged = True

    def __init__(self, disk: "Disk", *, head_size: int) -> None:
        self.key = uuid7()
        self.disk = disk
        self.size = 0
        self._hash = hashlib.sha256()
        self._checked = 0
        self._written = 0
        self.head_size = head_size
        self.is_named = False  # across a power cut
        self._is_marked = False
        self._linked = False
        self._held = bytearray()  # what is not in the file yet
        self._name = f"{disk.incoming}/{self.key.hex}.part"
        disk.require_space(0)
        try:
            self._file = os.open(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise out_of_resources(error) from error
        fcntl.flock(self._file, fcntl.LOCK_EX)

    @property
    def path(self) -> Path:
        """The file in incoming/, which has all that was written."""
        self._put_held()
        return Path(self._name)

    def exists(self) -> bool:
        """Whether nobody has taken the file away."""
        return os.path.exists(self._name)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`."""
        self._hash.update(chunk)
        if self.size - self._checked > SPACE_CHECK_EVERY:
            self.disk.require_space(len(chunk))
            self._checked = self.size
        rest = memoryview(chunk)
        while rest:
            # In the file a piece begins where a page does.
            piece = rest[: AT_ONCE - (self.head_size + self.size) % AT_ONCE]
            self._held += piece
            self.size += len(piece)
            rest = rest[len(piece) :]
            if (self.head_size + self.size) % AT_ONCE == 0:
                self._put_held()
                write_out(self._file, self.head_size + self.size - AT_ONCE, AT_ONCE)

    def fileno(self) -> int:
        """The descriptor of the file, which has all that was written."""
        self._put_held()
        return self._file

    @contextlib.contextmanager
    def contents(self) -> "Iterator[tuple[bytes | mmap.mmap, int]]":
        """What was written, to be read within the block, and how much is in front of it."""
        if not self._written:
            yield bytes(self._held), 0
            return
        with mmap.mmap(self.fileno(), self.head_size + self.size, access=mmap.ACCESS_READ) as mapped:
            yield mapped, self.head_size

    def _put_held(self) -> None:
        held, self._held = self._held, bytearray()
        if held and self._file >= 0:
            self._put(held, self.head_size + self._written)
            self._written += len(held)

    def _put_head(self, head: bytes) -> None:
        if len(head) != self.head_size:
            raise ValueError("the head has not the size that was reserved")
        if self._written:
            self._put_held()
            self._put(head, 0)
            return
        held, self._held = self._held, bytearray()
        self._put(head + held, 0)
        self._written = len(held)

    def _put(self, data: bytes | bytearray | memoryview, position: int) -> None:
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._file, view, position)
                view, position = view[count:], position + count
        except OSError as error:
            raise out_of_resources(error) from error

    def sha256(self) -> bytes:
        """Of what `write` got."""
        return self._hash.digest()

    def seal(self, head: bytes, *, note: str = "") -> None:
        """Write the head in front and sync the file: its bytes survive a power cut from here on.

        With a `note` it will be acknowledged under that.
        """
        if note and self.is_named:
            head = head[: -MARK.size] + MARK.pack(MARKED, self.sha256(), note.encode())
            self._is_marked = True
        self._put_head(head)
        try:
            os.fsync(self._file)
        except OSError as error:
            raise out_of_resources(error) from error

    def acknowledge(self, note: str) -> str:
        """Close the sealed file and keep it, across a power cut, until its WaitingDraft is settled.

        `note`, which must be without dots and slashes and the one that it was sealed with, becomes part of its name.
        """
        try:
            path = f"{self.disk.incoming}/{self.key.hex}.{note}.{self.sha256().hex()}{ACKNOWLEDGED}"
            os.rename(self._name, path)
            if not self._is_marked:
                sync_folder(self.disk.incoming)
        except OSError as error:
            raise out_of_resources(error) from error
        finally:
            self.abandon()  # whatever it is called by now: nobody could file or clear it while we hold its lock
        return path

    def copy_from(self, source: "Backend", path: str) -> bool:
        """Have the volume itself copy a whole file from another, head included, instead of write and seal.

        False when it cannot: nothing was done then.
        """
        return False

    def publish(self) -> str:
        """Link the file to its lasting path, which is returned; `Disk.sync` makes the link durable."""
        relative = path_of(self.key)
        target = f"{self.disk.root}/{relative}"
        try:
            self.disk.make_folder(os.path.dirname(target))
            os.link(self._name, target)
            self._linked = True
        except FileExistsError:
            pass
        except OSError as error:
            raise out_of_resources(error) from error
        return relative

    def retract(self) -> None:
        """Take the lasting link back: the row was not written."""
        (self.disk.root / path_of(self.key)).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the link in incoming/ and close. Safe to call twice."""
        if self._file >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)
        self.abandon()

    def abandon(self) -> None:
        """Close, and leave both links to the collector: nobody knows whether the row was committed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Disk:
    """One folder of objects on a local or shared file system."""

    def __init__(self, root: Path, *, reserve: int) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.reserve = reserve
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folder and incoming/."""
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root)
        except OSError as error:
            raise out_of_resources(error) from error

    def draft(self, *, head_size: int) -> Draft:
        """Begin a new file."""
        return Draft(self, head_size=head_size)

    def open(self, path: str) -> BinaryIO:
        """A published file for reading. Raises FileNotFoundError."""
        return open(os.path.join(self.root, path), "rb")

    def open_mapped(self, path: str, *, expected: Expected | None = None) -> BinaryIO:
        """A published file, which can be mapped as it lies there. Raises FileNotFoundError."""
        return self.open(path)

    def size(self, path: str) -> int | None:
        """How long a published file is; None when there is none."""
        try:
            found = os.stat(self.root / path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise out_of_resources(error) from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def walk(self, *, after: str = "") -> Iterator[Published]:
        """All published files in the order of their paths, those behind `after`; links are not followed."""
        if not self.root.is_dir():
            raise OutOfResources(f"The folder {self.root} is not there: is its disk mounted?")
        yield from self._walk("", after)

    def _walk(self, folder: str, after: str) -> Iterator[Published]:
        try:
            with os.scandir(self.root / folder) as listing:
                entries = sorted(((each.is_dir(follow_symlinks=False), each) for each in listing), key=_order)
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as error:
            raise out_of_resources(error) from error
        for is_folder, entry in entries:
            path = folder + entry.name
            if entry.name.startswith(".") or (not folder and entry.name in NOT_PUBLISHED):
                continue
            if is_folder:
                if f"{path}/" > after[: len(path) + 1] or after.startswith(f"{path}/"):
                    yield from self._walk(f"{path}/", after)
            elif path > after and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield Published(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def drafts(self) -> set[uuid.UUID]:
        """Keys of all drafts, whether their writer lives or not."""
        found = set()
        for part in self.incoming.glob("*.part"):
            with contextlib.suppress(ValueError):
                found.add(uuid.UUID(hex=part.stem))
        return found

    def waiting(self) -> list[str]:
        """The files of acknowledged objects, in the order in which they began to arrive."""
        try:
            with os.scandir(self.incoming) as listing:
                return sorted(each.path for each in listing if each.name.endswith(ACKNOWLEDGED))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise out_of_resources(error) from error

    def require_space(self, size: int) -> None:
        """Raise OutOfResources when `size` more bytes would touch the reserve."""
        try:
            if not self.incoming.is_dir():
                self.prepare()
            state = os.statvfs(self.root)
        except OSError as error:
            raise out_of_resources(error) from error
        if state.f_bavail * state.f_frsize < self.reserve + size or (state.f_files and not state.f_favail):
            raise OutOfResources("The archive's disk is full: free some space or lower the volume's reserve.")

    def make_folder(self, folder: str) -> None:
        """Make `folder` and those above it, each synced in its parent.

        One that exists is synced once too: whoever made it may not have come that far.
        """
        missing = []
        while folder not in self._known and folder != str(self.root):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(each)
            sync_folder(os.path.dirname(each))
        with self._lock:
            if len(self._known) > 1000:
                self._known.clear()
            self._known.update(missing)

    def sync(self, paths: list[str]) -> None:
        """Make the links of `paths` durable: each folder once."""
        try:
            for folder in {(self.root / path).parent for path in paths}:
                sync_folder(folder)
        except OSError as error:
            raise out_of_resources(error) from error

    def remove(self, path: str) -> None:
        """Delete a published file."""
        (self.root / path).unlink(missing_ok=True)

    def abandoned(self) -> list[uuid.UUID]:
        """Keys of drafts whose writer is gone: nobody holds their lock."""
        found = []
        for part in self.incoming.glob("*.part"):
            try:
                with part.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(uuid.UUID(hex=part.stem))
            except (OSError, ValueError):
                continue
        return found

    def recover(self, *, head_size: int) -> int:
        """Give what was acknowledged the name that a power cut took back; how many there were."""
        recovered = 0
        try:
            for part in self.incoming.glob("*.part"):
                with contextlib.suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    name = _acknowledged_name(file, part, head_size)
                    if name:
                        part.rename(part.with_name(name))
                        recovered += 1
            if recovered:
                sync_folder(self.incoming)
        except OSError as error:
            raise out_of_resources(error) from error
        return recovered

    def clear(self, key: uuid.UUID, *, published: bool) -> None:
        """Remove an abandoned draft; its lasting link too, unless a row points there."""
        if not published:
            self.remove(path_of(key))
        (self.incoming / f"{key.hex}.part").unlink(missing_ok=True)


def sync_names(drafts: Sequence[Draft]) -> None:
    """Make the names of new drafts of one disk durable, all at once, so that nobody must wait for theirs later."""
    try:
        for folder in {draft.disk.incoming for draft in drafts}:
            sync_folder(folder)
    except OSError as error:
        raise out_of_resources(error) from error
    for draft in drafts:
        draft.is_named = True


def _acknowledged_name(file: BufferedReader, part: Path, head_size: int) -> str:
    """What a draft is called that was acknowledged; empty if it was not, or is not complete."""
    if os.fstat(file.fileno()).st_size <= head_size:
        return ""
    word, digest, note = MARK.unpack(os.pread(file.fileno(), MARK.size, head_size - MARK.size))
    if word != MARKED:
        return ""
    file.seek(head_size)
    if hashlib.file_digest(file, "sha256").digest() != digest:
        return ""
    return f"{part.stem}.{note.rstrip(bytes(1)).decode('ascii')}.{digest.hex()}{ACKNOWLEDGED}"


def _order(entry: "tuple[bool, os.DirEntry[str]]") -> str:
    """Folders sort as their paths do, which go on with a slash."""
    return entry[1].name + ("/" if entry[0] else "")


def write_out(file: int, position: int, size: int) -> None:
    """Have the kernel begin to write this part of a file, without waiting. A hint: that it fails says nothing."""
    _libc.sync_file_range(file, ctypes.c_long(position), ctypes.c_long(size), SYNC_FILE_RANGE_WRITE)


def sync_folder(folder: str | Path) -> None:
    """fsync a directory, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def out_of_resources(error: OSError) -> OutOfResources:
    """The error to tell a peer when the disk fails."""
    if error.errno in NO_SPACE:
        return OutOfResources("The archive's disk is full: free some space.")
    return OutOfResources(f"The archive's disk cannot be written: {os.strerror(error.errno or 0)}.")
