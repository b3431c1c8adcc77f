"""The entries of a ZIP (PKWARE APPNOTE), read in blocks and never larger than what was allowed."""

import os
import stat
import struct
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from django.utils.translation import gettext as _

from pacs.services.media_directory import DICOMDIR, LARGEST_DICOMDIR, plain, refused_references
from pacs.services.media_names import LONGEST_NAME, Candidate, Changed, Refusal, printable
from radiology.errors import CannotUnderstand, RadiologyError, TooLarge

BLOCK = 1 << 20
ENCRYPTED = 0x1
END_OF_DIRECTORY = b"PK\x05\x06"
END_OF_DIRECTORY_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"
ENTRY = b"PK\x01\x02"


@dataclass(frozen=True)
class Limits:
    """How much one ZIP may be. What it inflates to is bounded by its own size; images of nothing shrink well."""

    entries: int = 500_000
    directory: int = 128 * 1024 * 1024
    ratio: int = 200
    allowance: int = 256 * 1024 * 1024


LIMITS = Limits()


class OpenZip:
    """A ZIP that stays open as long as a candidate of it may be read; several threads may read.

    An `owned` file is closed with it. Raises CannotUnderstand for what is no ZIP, TooLarge.
    """

    def __init__(self, file: BinaryIO, *, limits: Limits = LIMITS, owned: bool = False) -> None:
        self._file = file
        try:
            self._size = file.seek(0, os.SEEK_END)
            _require_directory(file, self._size, limits)
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError, UnicodeError) as error:
            if owned:
                file.close()
            raise CannotUnderstand(
                _("This is no ZIP, or it is damaged: its list of contents cannot be read.")
            ) from error
        except OSError as error:
            if owned:
                file.close()
            raise CannotUnderstand(_("The ZIP cannot be read.")) from error
        except BaseException:
            if owned:
                file.close()
            raise
        if owned:
            weakref.finalize(self, file.close)
        self._mark = self._state()
        self._left = limits.allowance + limits.ratio * self._size
        self._lock = threading.Lock()

    def candidates(self, name: str = "") -> Iterator[Candidate | Refusal]:
        """Every entry that is a file; `name` is the ZIP's own and goes in front of theirs."""
        entries = self._zip.infolist()
        held: set[tuple[str, ...]] = set()
        if any(_is_dicomdir(entry) for entry in entries):
            held = {tuple(plain(part) for part in _parts(entry)) for entry in entries}
        mark = self._mark[1] if self._mark else 0
        for entry in entries:
            shown = printable(f"{name}!/{entry.orig_filename}" if name else entry.orig_filename)
            reason = _refusal(entry)
            if reason:
                yield Refusal(shown[:LONGEST_NAME], reason)
            elif entry.is_dir():
                continue
            elif _is_dicomdir(entry):
                yield from self._directory(entry, shown, held)
            else:
                yield Candidate(shown, entry.file_size, mark, partial(self._blocks, entry))

    def _directory(self, entry: zipfile.ZipInfo, shown: str, held: set[tuple[str, ...]]) -> Iterator[Refusal]:
        above = tuple(plain(part) for part in _parts(entry)[:-1])
        try:
            if entry.file_size > LARGEST_DICOMDIR:
                raise TooLarge(_("This file is larger than %(limit)d bytes.") % {"limit": LARGEST_DICOMDIR})
            content = b"".join(self._blocks(entry))
            for reference, reason in refused_references(
                content, lambda parts: (*above, *(plain(part) for part in parts)) in held
            ):
                yield Refusal(f"{shown}: {reference}" if reference else shown, reason)
        except RadiologyError as error:
            yield Refusal(shown, error.message)

    def _blocks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        if self._state() != self._mark:
            raise Changed(_("The ZIP was changed while it was read: the next run takes it."))
        size = 0
        try:
            with self._zip.open(entry) as content:
                while block := content.read(BLOCK):
                    size += len(block)
                    self._spend(len(block))
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, RuntimeError) as error:
            raise CannotUnderstand(_("This entry of the ZIP is damaged.")) from error
        except (OSError, ValueError) as error:
            raise CannotUnderstand(_("This entry of the ZIP cannot be read.")) from error
        if size != entry.file_size:
            raise CannotUnderstand(_("This entry of the ZIP is damaged: it is shorter than it says."))
        if self._state() != self._mark:
            raise Changed(_("The ZIP was changed while it was read: the next run takes it."))

    def _spend(self, size: int) -> None:
        with self._lock:
            self._left -= size
            if self._left < 0:
                raise TooLarge(_("The ZIP grows beyond reason when it is unpacked: nothing more of it is taken."))

    def _state(self) -> tuple[int, int] | None:
        """Size and time of the ZIP's own file; None when it has none."""
        try:
            state = os.fstat(self._file.fileno())
        except (OSError, AttributeError):
            return None
        return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


def _is_dicomdir(entry: zipfile.ZipInfo) -> bool:
    return plain(_parts(entry)[-1]) == DICOMDIR


def _parts(entry: zipfile.ZipInfo) -> list[str]:
    return entry.filename.replace("\\", "/").split("/")


def _refusal(entry: zipfile.ZipInfo) -> str:
    name = entry.orig_filename
    if len(name) > LONGEST_NAME:
        return _("The name of this entry is too long.")
    parts = name.replace("\\", "/").split("/")
    if "\0" in name or ".." in parts or name[:1] in {"/", "\\"} or name[1:2] == ":":
        return _("The name of this entry leads outside of the ZIP.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        return _("This entry is a link: links are not followed.")
    if entry.flag_bits & ENCRYPTED:
        return _("This entry is encrypted: unpack the ZIP with its password first.")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return _("This entry is packed in a way that is not taken: pack it as a plain ZIP (deflate).")
    return ""


def _require_directory(file: BinaryIO, size: int, limits: Limits) -> None:
    """Look how long the ZIP's list of contents is before it is taken into memory (APPNOTE 4.3.16, 4.3.14)."""
    tail_size = min(size, 65536 + 22 + 20)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    place = tail.rfind(END_OF_DIRECTORY)
    if place < 0 or len(tail) < place + 22:
        raise zipfile.BadZipFile("no end of central directory")
    length = struct.unpack_from("<I", tail, place + 12)[0]
    end = size - tail_size + place
    if place >= 20 and tail[place - 20 : place - 16] == LOCATOR_64:
        # Where zipfile looks for it: right before its locator.
        file.seek(max(0, end - 20 - 56))
        record = file.read(56)
        if record[:4] == END_OF_DIRECTORY_64:
            end -= 20 + 56
            length = struct.unpack_from("<Q", record, 40)[0]
    if length > end:
        raise zipfile.BadZipFile("the list of contents is longer than the file")
    if length > limits.directory:
        raise TooLarge(_("The ZIP's list of contents is longer than %(limit)d bytes.") % {"limit": limits.directory})
    file.seek(end - length)
    count, left, kept = 0, length, b""
    while left > 0 and (block := file.read(min(left, BLOCK))):
        left -= len(block)
        count += (kept + block).count(ENTRY)
        kept = (kept + block)[-3:]
    if count > limits.entries:
        raise TooLarge(_("The ZIP has more than %(limit)d entries.") % {"limit": limits.entries})
