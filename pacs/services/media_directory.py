"""A DICOMDIR (PS3.3 Annex F, PS3.10 8.6): where its records point, followed no further than its own medium."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from django.utils.translation import gettext as _

from pacs.services.header import scan
from pacs.services.part10 import MetaReader
from radiology.errors import CannotUnderstand

DICOMDIR = "DICOMDIR"
LARGEST_DICOMDIR = 32 * 1024 * 1024
DIRECTORY_RECORDS = 0x00041220
REFERENCED_FILE_ID = 0x00041500
# A record that names no file within the medium is reported; after so many, only that there are more.
MOST_REPORTED = 1000

Finder = Callable[[list[str]], bool]


def refused_references(content: bytes, find: Finder) -> Iterator[tuple[str, str]]:
    """The records that lead outside the medium or to nothing: the file's name there, and the reason.

    `find` says whether the medium holds a file, by the parts of its path. Raises CannotUnderstand when
    this is no DICOMDIR.
    """
    meta = MetaReader()
    data_set = meta.feed(content)
    if data_set is None:
        raise CannotUnderstand(_("The DICOMDIR is truncated."))
    header = scan(data_set, transfer_syntax_uid=meta.transfer_syntax_uid, wanted=frozenset({DIRECTORY_RECORDS}))
    reported = 0
    for record in header.items(DIRECTORY_RECORDS):
        element = record.elements.get(REFERENCED_FILE_ID)
        if element is None or not element.value.strip(b"\0 "):
            continue
        file_id = element.value.decode("ascii", "backslashreplace").rstrip("\0 ")
        parts = [part.strip() for part in file_id.split("\\")]
        reason = _refusal(parts, find)
        if reason and reported < MOST_REPORTED:
            reported += 1
            yield file_id, reason
        elif reason:
            yield (
                "",
                _("More than %(most)d records lead outside or to files that are missing.") % {"most": MOST_REPORTED},
            )
            return


def _refusal(parts: list[str], find: Finder) -> str:
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part or ":" in part for part in parts):
        return _("The DICOMDIR points outside of its medium: not followed.")
    return "" if find(parts) else _("The DICOMDIR names this file, but it is missing.")


def folder_finder(folder: Path) -> Finder:
    """Whether `folder` holds a file, links not followed. A mounted CD may show its names in small letters,
    with a version number or a final dot (ISO 9660).
    """
    listings: dict[Path, dict[str, str]] = {}

    def listing(place: Path) -> dict[str, str]:
        if place not in listings:
            try:
                with os.scandir(place) as entries:
                    names = [entry.name for entry in entries if not entry.is_symlink()]
            except OSError:
                names = []
            listings[place] = {plain(name): name for name in names}
        return listings[place]

    def find(parts: list[str]) -> bool:
        place = folder
        for part in parts:
            name = listing(place).get(plain(part))
            if name is None:
                return False
            place /= name
        return place.is_file()

    return find


def plain(name: str) -> str:
    """A file name without what ISO 9660 adds."""
    return name.split(";")[0].rstrip(".").upper()
