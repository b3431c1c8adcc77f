"""Orthanc's folders: files named by UUIDs, two levels deep, with the index or without it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from django.utils.translation import gettext as _

from integrations.orthanc_import.checksums import Checksums, unpacked, unpacked_if_packed
from integrations.orthanc_import.index import Attached, Index
from pacs.services.header import Header
from pacs.services.media import Candidate, NoDicom, Refusal, candidates
from radiology.errors import NotFound, RadiologyError

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PLAIN, ZLIB = 1, 2
ROWS = 0x00280010


class OrthancStorage:
    """What lies in `folder`, Orthanc's StorageDirectory. Nothing there is written, moved or locked.

    With the `index`: its DICOM files in the order in which they came, each compared with its MD5. Where Orthanc
    runs, was started meanwhile or was killed, what the index does not name yet comes after them. Without: whatever is
    DICOM.
    """

    def __init__(self, folder: Path, *, index: Index | None = None) -> None:
        self.folder = folder.resolve()
        self.index = index
        self.checksums = Checksums()

    def candidates(self) -> Iterator[Candidate | Refusal]:
        """Its DICOM files, and what the index names and is not there."""
        if self.index is None:
            yield from self._unnamed(lambda name: False)
            return
        settled = self.index.settled()
        if settled is not None:
            for attached in self.index.dicom_files():
                yield from self._named(attached)
            if self.index.settled() == settled:
                return
        with self.index.copied() as (files, is_known):
            for attached in files:
                yield from self._named(attached)
            yield from self._unnamed(is_known)

    def _named(self, attached: Attached) -> Iterator[Candidate | Refusal]:
        name = attached.uuid
        if not UUID.fullmatch(name):
            yield Refusal(f"{self.folder}/{name!r}", _("The index names a file as Orthanc names none."))
            return
        path = self.folder / name[:2] / name[2:4] / name
        if attached.compression not in {PLAIN, ZLIB}:
            yield Refusal(str(path), _("It is packed in a way that is not known here: import it over its address."))
            return
        try:
            for each in candidates(path, within=self.folder):
                if isinstance(each, Candidate):
                    read = each.blocks
                    blocks = partial(_unpacked, read) if attached.compression == ZLIB else read
                    yield replace(each, blocks=partial(self.checksums.checked, blocks, attached.md5))
                else:
                    yield each
        except NotFound:
            yield Refusal(str(path), _("Orthanc’s index names this file, and it is not there."))
        except RadiologyError as error:
            yield Refusal(str(path), error.message)

    def _unnamed(self, is_known: Callable[[str], bool]) -> Iterator[Candidate | Refusal]:
        for each in candidates(self.folder):
            if isinstance(each, Refusal):
                yield each
                continue
            name = each.name.rpartition("/")[2]
            if UUID.fullmatch(name) and not is_known(name):
                yield replace(each, blocks=partial(_unpacked_if_packed, each.blocks), check=self._check)

    def _check(self, header: Header) -> None:
        """Beside packed objects Orthanc keeps data sets that end before their pixels."""
        if header.integer(ROWS) and not header.has_pixels:
            raise NoDicom(_("This is only the header that Orthanc keeps beside an object."))
        self.checksums.note_missing()


def _unpacked(blocks: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    return unpacked(blocks())


def _unpacked_if_packed(blocks: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    return unpacked_if_packed(blocks())
