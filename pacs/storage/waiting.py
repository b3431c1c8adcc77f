"""An object that was acknowledged and not yet filed, opened again."""

import contextlib
import fcntl
import mmap
import os
import uuid
from collections.abc import Iterator, Sequence

from pacs.storage.disk import MARK, MARKED, Disk, Draft, out_of_resources, path_of, sync_folder

# So much is read at once: all of most objects that are no images.
BEGINNING = 64 * 1024


class WaitingDraft(Draft):
    """Its file stays until `settle`, whatever happens to its row.

    Raises FileNotFoundError when it is settled, BlockingIOError while somebody else is about it.
    """

    may_be_acknowledged = False

    def __init__(self, disk: Disk, path: str, *, head_size: int) -> None:
        self.disk = disk
        self._name = self.waits_at = path
        self.head_size = head_size
        key, self.note, self._digest, _suffix = os.path.basename(path).split(".")
        self.key = uuid.UUID(hex=key)
        self._linked = False
        self._held = bytearray()
        self._file = os.open(self._name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.stat(self._name)  # whoever had the lock until now may have settled it
            self._beginning = os.pread(self._file, head_size + BEGINNING + 1, 0)
            whole = len(self._beginning)
            self.size = (whole if self._is_whole else os.fstat(self._file).st_size) - head_size
            self._written = self.size
        except BaseException:
            self.abandon()
            raise

    @property
    def _is_whole(self) -> bool:
        return len(self._beginning) <= self.head_size + BEGINNING

    @property
    def head(self) -> bytes:
        """What stands before its sender's bytes."""
        return self._beginning[: self.head_size]

    @property
    def is_marked(self) -> bool:
        """Whether its head says what its name says."""
        return self.head.startswith(MARKED, self.head_size - MARK.size)

    def unmark(self) -> None:
        """Leave it to the name, which must survive a power cut by now: the head is what readers get."""
        nothing = bytes(MARK.size)
        os.pwrite(self._file, nothing, self.head_size - MARK.size)
        self._beginning = self.head[: -MARK.size] + nothing + self._beginning[self.head_size :]

    @contextlib.contextmanager
    def contents(self) -> Iterator[tuple[bytes | mmap.mmap, int]]:
        if self._is_whole:
            yield self._beginning, self.head_size
            return
        with super().contents() as found:
            yield found

    def sha256(self) -> bytes:
        """As its sender's bytes were hashed when they came."""
        return bytes.fromhex(self._digest)

    def retract(self) -> None:
        """Take the lasting link back, if it is this draft's: that of one who died may have a row by now."""
        if self._linked:
            super().retract()

    def discard(self) -> None:
        """Close. The file stays: somebody was told that it is safe."""
        self.abandon()

    def settle(self, *, published: bool) -> None:
        """Remove the file in incoming/, for a committed row has these bytes; the lasting link too if it has none."""
        if not published:
            self.disk.remove(path_of(self.key))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name)
        self.abandon()


def unmark(drafts: Sequence[WaitingDraft]) -> None:
    """Take from their heads what is for nobody but `Disk.recover`. Raises OutOfResources."""
    marked = [draft for draft in drafts if draft.is_marked]
    try:
        for folder in {draft.disk.incoming for draft in marked}:
            sync_folder(folder)
        for draft in marked:
            draft.unmark()
    except OSError as error:
        raise out_of_resources(error) from error
