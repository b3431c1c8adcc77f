"""Many objects as one ZIP file that is made while it is read, the same bytes each time.

    README.TXT
    DICOMDIR                                  what is in it (PS3.3 Annex F)
    DICOM/PA000000/ST000000/SE000000/IM000000

Nothing is compressed, and each entry's size and checksum stand before it (APPNOTE 4.3.7), so that every
reader opens it and a download that broke off goes on at any byte. In memory are some forty bytes an
object and one object's block.
"""

import hashlib
import re
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import structlog
from django.db.models import QuerySet

from pacs.models import Location
from pacs.services.encoding import BLOCK
from pacs.services.file_set import UNKNOWN, FileSet, locations_of
from pacs.services.outgoing import part10_blocks, part10_size
from pacs.services.zip_checksums import Checksums
from pacs.services.zip_layout import Ending, local, local_size
from pacs.storage import open_object
from radiology.errors import CannotUnderstand, OutOfResources

log = structlog.get_logger(__name__)

WHOLE = 8 * 1024 * 1024
BATCH = 100


class ZipStream:
    """The ZIP of some objects. `size` is None when some are rewritten on the way (corrected ones).

    `blocks` may be asked for more than once, each time for reading through; `close` when it is not.
    """

    def __init__(self, contents: FileSet, *, filename: str) -> None:
        self._contents = contents
        self.filename = filename
        self.etag = contents.etag
        self.size = _total_size(contents)

    @property
    def count(self) -> int:
        """How many objects are in it."""
        return len(self._contents.keys)

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on, in blocks.

        Raises OutOfResources, CannotUnderstand, NotFound for an object that is missing, damaged or gone since:
        for the first one before anything is given; for a later one in the middle, so that the body
        must not be ended as if it were complete.
        """
        return _Writing(self._contents, start).blocks()

    def close(self) -> None:
        self._contents.directory.close()


def zip_of(*, locations: QuerySet[Location] | Iterable[int], name: str) -> ZipStream:
    """The ZIP of what is at `locations` (or their keys), each instance once; `name` becomes the file's name.

    Only what the caller may see belongs in `locations`. Raises NotFound when there is nothing,
    OutOfResources or CannotUnderstand when a document whose header the directory needs is missing or
    damaged.
    """
    found = locations if isinstance(locations, QuerySet) else Location.objects.filter(pk__in=list(locations))
    contents = FileSet(directory=cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=WHOLE)))  # noqa: SIM115
    try:
        contents.fill(found)
    except BaseException:
        contents.directory.close()
        raise
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")[:100]
    return ZipStream(contents, filename=f"{word or 'dicom'}.zip")


def _total_size(contents: FileSet) -> int | None:
    """Bytes of the whole ZIP, None where an object's size is not known."""
    if UNKNOWN in contents.sizes:
        return None
    ending = Ending(contents.moment)
    ending.add(b"README.TXT", len(contents.readme), 0)
    ending.add(b"DICOMDIR", contents.directory_size, 0)
    for number, size in enumerate(contents.sizes):
        ending.add(contents.name(number), size, 0)
    return ending.position + ending.size()


class _Writing:
    """One time through the bytes, from `start` on."""

    def __init__(self, contents: FileSet, start: int) -> None:
        self.contents = contents
        self.start = start
        self.ending = Ending(contents.moment)
        self.position = 0
        self.checksums = Checksums(contents.etag)
        self.sizes = contents.sizes[:]

    def blocks(self) -> Iterator[bytes]:
        with self.checksums:
            for block in self._all():
                self.position += len(block)
                surplus = self.position - self.start
                if surplus >= len(block):
                    yield block
                elif surplus > 0:
                    yield block[-surplus:]

    def _all(self) -> Iterator[bytes]:
        contents = self.contents
        if not self.start:
            self._require_first()
        yield from self._entry(b"README.TXT", len(contents.readme), zlib.crc32(contents.readme), [contents.readme])
        crc = 0
        for block in self._directory():
            crc = zlib.crc32(block, crc)
        yield from self._entry(b"DICOMDIR", contents.directory_size, crc, self._directory())
        for first in range(0, len(contents.keys), BATCH):
            yield from self._objects(range(first, min(first + BATCH, len(contents.keys))))
        yield from self._central(crc)
        yield self.ending.tail()

    def _entry(self, name: bytes, size: int, crc: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
        self.ending.add(name, size, crc)
        yield local(name, size, crc, self.contents.moment)
        yield from blocks

    def _directory(self) -> Iterator[bytes]:
        position = 0
        while position < self.contents.directory_size:
            self.contents.directory.seek(position)
            block = self.contents.directory.read(BLOCK)
            position += len(block)
            yield block

    def _require_first(self) -> None:
        """What is wrong with the first object can still be said by a status."""
        (key,) = self.contents.keys[:1]
        with _Content(locations_of([key])[key], None):
            pass

    def _objects(self, numbers: range) -> Iterator[bytes]:
        """Some objects; those before `start` are stepped over where their size is known."""
        wanted: list[int] = []
        for number in numbers:
            size = self.sizes[number]
            name = self.contents.name(number)
            if not wanted and size != UNKNOWN and self.position + local_size(name, size) + size <= self.start:
                self.ending.add(name, size, 0)
                self.position += local_size(name, size) + size
            else:
                wanted.append(number)
        rows = locations_of([self.contents.keys[number] for number in wanted])
        for number in wanted:
            with _Content(rows[self.contents.keys[number]], self.checksums.get(number)) as content:
                self.sizes[number] = content.size
                self.checksums.put(number, content.crc)
                yield from self._entry(self.contents.name(number), content.size, content.crc, content.blocks())

    def _central(self, directory_crc: int) -> Iterator[bytes]:
        contents = self.contents
        ending = Ending(contents.moment)
        out = bytearray()
        out += ending.add(b"README.TXT", len(contents.readme), zlib.crc32(contents.readme))
        out += ending.add(b"DICOMDIR", contents.directory_size, directory_crc)
        for number, size in enumerate(self.sizes):
            crc = self.checksums.get(number)
            if crc is None:  # it was stepped over
                with _Content(locations_of([contents.keys[number]])[contents.keys[number]], None) as content:
                    crc = content.crc
                self.checksums.put(number, crc)
            out += ending.add(contents.name(number), size, crc)
            if len(out) >= BLOCK:
                yield bytes(out)
                out.clear()
        yield bytes(out)


class _Content:
    """One object's Part 10 file with its size and checksum, known before its first byte is given.

    A small one is held in memory, a large one read twice (once where the checksum is known), a
    rewritten one spooled. What is on the volume is compared with the SHA-256 that it came with.
    """

    def __init__(self, location: Location, crc: int | None) -> None:
        known = part10_size(location=location)
        self._whole = b""
        self._file: BinaryIO | None = None
        if known is None:
            self._spool(location)
            return
        self.size = known
        try:
            self._file = open_object(location=location)
        except FileNotFoundError as error:
            raise OutOfResources("The object's file is missing from the archive.") from error
        try:
            self._read(location, crc)
        except BaseException:
            self._file.close()
            raise

    def _read(self, location: Location, crc: int | None) -> None:
        assert self._file is not None
        if self.size <= WHOLE:
            self._whole = self._file.read()
            sound = hashlib.sha256(memoryview(self._whole)[location.data_set_offset :]).digest()
            _require(len(self._whole) == self.size and sound == bytes(location.sha256), location)
            self.crc = zlib.crc32(self._whole)
            return
        if crc is not None:
            self.crc = crc
            return
        head = self._file.read(location.data_set_offset)
        checksum, digest, size = zlib.crc32(head), hashlib.sha256(), len(head)
        while block := self._file.read(BLOCK):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
            digest.update(block)
        _require(size == self.size and digest.digest() == bytes(location.sha256), location)
        self._file.seek(0)
        self.crc = checksum

    def _spool(self, location: Location) -> None:
        self._file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=WHOLE))  # noqa: SIM115
        self.crc = self.size = 0
        try:
            for block in part10_blocks(location=location):
                self._file.write(block)
                self.crc = zlib.crc32(block, self.crc)
                self.size += len(block)
            self._file.seek(0)
        except EOFError as error:
            self._file.close()
            raise CannotUnderstand("The object's file in the archive is shorter than it was.") from error
        except BaseException:
            self._file.close()
            raise

    def blocks(self) -> Iterator[bytes]:
        if self._whole:
            yield self._whole
            return
        assert self._file is not None
        left = self.size
        while left:
            block = self._file.read(min(BLOCK, left))
            if not block:
                raise CannotUnderstand("The object's file in the archive is shorter than it was.")
            left -= len(block)
            yield block

    def __enter__(self) -> "_Content":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _require(sound: bool, location: Location) -> None:
    if not sound:
        log.error("object damaged", sop_instance_uid=location.instance_ref.sop_instance_uid, location=location.pk)
        raise CannotUnderstand("An object's file in the archive is not what was received: run verifyarchive.")
