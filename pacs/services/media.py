"""Files on their way in: folders, single files, ZIPs and DICOMDIR media, walked without trusting them.

`candidates` names what could be DICOM objects, and what is refused unread; `receive_candidate` reads
one of them to the store. Nothing is written but what `receive` writes, nothing outside the given
place is read: links, devices and names that lead elsewhere are refused. ZIPs inside ZIPs are not
opened. Whether a file is DICOM is found out when it is read, so that listing costs no reading.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.utils.translation import gettext as _
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.models import Volume
from pacs.services.incoming import Received, Source, receive, receive_part10
from pacs.services.media_directory import DICOMDIR, LARGEST_DICOMDIR, folder_finder, refused_references
from pacs.services.media_entries import LIMITS, Limits, OpenZip
from pacs.services.media_names import Candidate, Changed, NoDicom, Refusal, printable
from radiology.errors import CannotUnderstand, InvalidValue, NotAllowed, NotFound, RadiologyError, TooLarge

__all__ = [
    "LIMITS",
    "Candidate",
    "Changed",
    "Limits",
    "NoDicom",
    "Refusal",
    "candidates",
    "candidates_of_zip",
    "receive_candidate",
    "spooled",
]

BLOCK = 1 << 20
HEAD = 2048
# Names of one folder that are held and ordered at a time.
LISTED = 10_000
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
# With what an explicit data set without file meta information can begin.
FIRST_VRS = {b"UL", b"SH", b"CS", b"UI", b"DA", b"TM", b"DT", b"OB", b"LO", b"ST", b"SQ", b"PN", b"US"}
LONGEST_FIRST_VALUE = 1024


def candidates(path: Path, *, within: Path | None = None, limits: Limits = LIMITS) -> Iterator[Candidate | Refusal]:
    """What lies under `path`: a folder, a ZIP, a DICOMDIR (its whole medium) or a single file.

    A DICOMDIR is not stored itself: each of its records is checked, everything beside it is taken
    like any other file. Raises NotFound when there is nothing at `path`, NotAllowed when it leads out
    of the folder `within`.
    """
    try:
        root = path.resolve(strict=True)
        state = root.stat()
    except (OSError, RuntimeError) as error:
        raise NotFound(f"{printable(path)}: {_reason(error)}") from error
    if within is not None and not root.is_relative_to(within):
        raise NotAllowed(_("%(path)s leads outside of the folder for imports.") % {"path": printable(path)})
    if stat.S_ISDIR(state.st_mode):
        yield from _Walk(root, printable(root), limits).candidates()
    elif root.name.upper() == DICOMDIR:
        yield from _Walk(root.parent, printable(root.parent), limits).candidates()
    else:
        yield from _of_file(root.parent, root, printable(root), state, limits)


def candidates_of_zip(file: BinaryIO, *, name: str = "", limits: Limits = LIMITS) -> Iterator[Candidate | Refusal]:
    """The entries of a ZIP that can be read from any position, such as one from `spooled`.

    `file` must stay open until the last candidate was read. Raises CannotUnderstand for what is no
    ZIP, TooLarge for one with too many entries.
    """
    yield from OpenZip(file, limits=limits).candidates(name)


def spooled(read: Callable[[int], bytes], *, limit: int) -> BinaryIO:
    """What `read` gives, in a nameless file under SINAR_DATA, at its beginning. The caller closes it.

    For a ZIP that arrives as a stream: what it holds stands at its end. Raises TooLarge.
    """
    folder = settings.SINAR_DATA / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (the caller closes it)
    size = 0
    try:
        while block := read(BLOCK):
            size += len(block)
            if size > limit:
                raise TooLarge(
                    _("A ZIP may not be larger than %(limit)d bytes here: import it from a folder.") % {"limit": limit}
                )
            file.write(block)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def receive_candidate(*, source: Source, candidate: Candidate, volume: Volume | None = None) -> Received:
    """Read one candidate to the disk of the archive; `store_instances` makes it part of it.

    Takes Part 10 files and, where they are plausible, data sets without preamble or file meta
    information. Raises NoDicom for what is neither, Changed when the file was written meanwhile,
    what `receive` raises and what the candidate's own check does.
    """
    blocks = candidate.blocks()
    first = next(blocks, b"")
    if first[:4] in ZIP_MAGIC:
        raise NoDicom(_("A ZIP inside a ZIP is not opened: unpack it and import what it holds."))
    if first[128:132] == b"DICM" and MEDIA_STORAGE_DIRECTORY in first[132:512]:
        raise NoDicom(_("This is a DICOMDIR: it lists objects and is none."))
    begin, syntax = _kind(first)
    with (
        receive(source=source, transfer_syntax_uid=syntax, volume=volume)
        if syntax
        else receive_part10(source=source, volume=volume)
    ) as incoming:
        if begin:
            incoming.write(begin)
        view = memoryview(first)
        incoming.write(view[:HEAD])  # what looks for the end of the file meta information copies what it gets
        if len(view) > HEAD:
            incoming.write(view[HEAD:])
        for block in blocks:
            incoming.write(block)
        received = incoming.finish()
    if candidate.check is not None:
        try:
            candidate.check(received.header)
        except BaseException:
            received.discard()
            raise
    return received


def _kind(first: bytes) -> tuple[bytes, str]:
    """What must stand in front of the bytes, and their transfer syntax where no file meta names it."""
    if first[128:132] == b"DICM":
        return b"", ""
    if first[:8] == b"\x02\0\0\0UL\x04\0":
        return bytes(128) + b"DICM", ""
    if len(first) >= 16 and first[:2] == b"\x08\0" and first[2] <= 0x18 and first[3] == 0:
        if first[4:6] in FIRST_VRS and int.from_bytes(first[6:8], "little") <= LONGEST_FIRST_VALUE:
            return b"", ExplicitVRLittleEndian
        if int.from_bytes(first[4:8], "little") <= LONGEST_FIRST_VALUE:
            return b"", ImplicitVRLittleEndian
    if len(first) >= 16 and first[:3] == b"\0\x08\0" and first[3] <= 0x18 and first[4:6] in FIRST_VRS:
        return b"", ExplicitVRBigEndian
    raise NoDicom(_("This is no DICOM file."))


@dataclass
class _Walk:
    """A folder being walked, depth first, without following links. `shown` is its name as text."""

    root: Path
    shown: str
    limits: Limits
    waiting: list[Path] = field(default_factory=list)

    def candidates(self) -> Iterator[Candidate | Refusal]:
        self.waiting = [self.root]
        while self.waiting:
            folder = self.waiting.pop()
            try:
                with os.scandir(folder) as listing:
                    if not _inside(os.path.realpath(folder), self.root):
                        yield Refusal(self.name(folder), _("This folder was replaced by a link: it is not followed."))
                        continue
                    while chunk := sorted(islice(listing, LISTED), key=lambda entry: entry.name):
                        for entry in chunk:
                            yield from self._entry(entry)
            except OSError as error:
                yield Refusal(
                    self.name(folder), _("This folder cannot be read: %(reason)s") % {"reason": _reason(error)}
                )

    def name(self, path: Path | str) -> str:
        relative = os.path.relpath(path, self.root)
        return self.shown if relative == "." else printable(os.path.join(self.shown, relative))

    def _entry(self, entry: "os.DirEntry[str]") -> Iterator[Candidate | Refusal]:
        name = self.name(entry.path)
        try:
            if entry.is_symlink():
                if not _inside(os.path.realpath(entry.path), self.root):
                    yield Refusal(name, _("This link leads outside or nowhere: links are not followed."))
            elif entry.is_dir(follow_symlinks=False):
                self.waiting.append(Path(entry.path))
            elif entry.name.upper() == DICOMDIR:
                yield from self._directory(Path(entry.path), name)
            else:
                yield from _of_file(self.root, Path(entry.path), name, entry.stat(follow_symlinks=False), self.limits)
        except OSError as error:
            yield Refusal(name, _("This file cannot be read: %(reason)s") % {"reason": _reason(error)})

    def _directory(self, path: Path, name: str) -> Iterator[Refusal]:
        try:
            content = b"".join(_blocks(path, self.root, path.lstat(), largest=LARGEST_DICOMDIR))
            for reference, reason in refused_references(content, folder_finder(path.parent)):
                yield Refusal(f"{name}: {reference}" if reference else name, reason)
        except RadiologyError as error:
            yield Refusal(name, error.message)


def _of_file(root: Path, path: Path, name: str, state: os.stat_result, limits: Limits) -> Iterator[Candidate | Refusal]:
    if not stat.S_ISREG(state.st_mode):
        yield Refusal(name, _("This is a device, pipe or socket, and no file."))
    elif path.suffix.lower() == ".zip":
        try:
            yield from OpenZip(_open(path, root, state), limits=limits, owned=True).candidates(name)
        except RadiologyError as error:
            yield Refusal(name, error.message)
    else:
        yield Candidate(name, state.st_size, state.st_mtime_ns, lambda: _blocks(path, root, state))


def _open(path: Path, root: Path, state: os.stat_result) -> BinaryIO:
    """The regular file that was listed; nothing that took its place meanwhile."""
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAllowed(_("This file was replaced by a link: it is not followed.")) from error
        raise InvalidValue(_("This file cannot be read: %(reason)s") % {"reason": _reason(error)}) from error
    try:
        now = os.fstat(file.fileno())
        if not stat.S_ISREG(now.st_mode) or not _inside(os.readlink(f"/proc/self/fd/{file.fileno()}"), root):
            raise NotAllowed(_("This file was replaced by something that leads outside."))
        if (now.st_size, now.st_mtime_ns) != (state.st_size, state.st_mtime_ns):
            raise Changed(_("This file was changed after it was listed: the next run takes it."))
    except BaseException:
        file.close()
        raise
    return file


def _blocks(path: Path, root: Path, state: os.stat_result, *, largest: int = 0) -> Iterator[bytes]:
    with _open(path, root, state) as file:
        if largest and state.st_size > largest:
            raise TooLarge(_("This file is larger than %(limit)d bytes.") % {"limit": largest})
        size = 0
        try:
            while block := file.read(BLOCK):
                size += len(block)
                if size > state.st_size:
                    raise Changed(_("This file grew while it was read: the next run takes it."))
                yield block
        except OSError as error:
            raise CannotUnderstand(_("This file cannot be read: %(reason)s") % {"reason": _reason(error)}) from error
        now = os.fstat(file.fileno())
        if size != state.st_size or (now.st_size, now.st_mtime_ns) != (state.st_size, state.st_mtime_ns):
            raise Changed(_("This file was changed while it was read: the next run takes it."))


def _inside(path: str, root: Path) -> bool:
    return os.path.commonpath([path, root]) == str(root) if path.startswith("/") else False


def _reason(error: BaseException) -> str:
    return os.strerror(error.errno) + "." if isinstance(error, OSError) and error.errno else _("it cannot be resolved.")
