"""Orthanc's own checksums, and how its storage packs files."""

import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from itertools import chain

from django.utils.translation import gettext as _

from radiology.errors import CannotUnderstand

BLOCK = 1 << 20
MD5 = re.compile(r"[0-9a-f]{32}")
# Before the packed bytes stands how many they are unpacked, in eight bytes, least significant first.
SIZE = 8
LARGEST = 1 << 40


class Checksums:
    """Compares what is read with the MD5 that Orthanc wrote down when it stored it, and counts where it has none.

    The archive's SHA-256 is made of the same bytes on their way to the disk, so that both speak of one file.
    """

    def __init__(self) -> None:
        self.missing = 0
        self._lock = threading.Lock()

    def note_missing(self) -> None:
        """Something was read that could be compared with nothing."""
        with self._lock:
            self.missing += 1

    def checked(self, blocks: Callable[[], Iterator[bytes]], md5: str) -> Iterator[bytes]:
        """The blocks of a file. Raises CannotUnderstand at its end when it is another than Orthanc stored.

        What does not even begin as DICOM is read to its end first: whoever takes the blocks would pass it over.
        """
        if not MD5.fullmatch(md5):
            self.note_missing()
            yield from blocks()
            return
        coming = blocks()
        first = next(coming, b"")
        if first[128:132] != b"DICM":
            _require(md5, chain([first], coming))
            coming, first = blocks(), b""
        digest = hashlib.md5(usedforsecurity=False)
        for block in chain([first], coming) if first else coming:
            digest.update(block)
            yield block
        _require_same(md5, digest.hexdigest())


def _require(md5: str, blocks: Iterator[bytes]) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    _require_same(md5, digest.hexdigest())


def _require_same(md5: str, found: str) -> None:
    if found != md5:
        raise CannotUnderstand(
            _("The file is damaged: its MD5 is %(found)s, and Orthanc stored %(md5)s.") % {"found": found, "md5": md5}
        )


def is_packed(first: bytes) -> bool:
    """Whether a file that begins like this is packed as Orthanc does it: a size, then zlib (RFC 1950)."""
    if first[128:132] == b"DICM" or len(first) < SIZE + 2:
        return False
    header = int.from_bytes(first[SIZE : SIZE + 2], "big")
    return 0 < int.from_bytes(first[:SIZE], "little") < LARGEST and header >> 8 == 0x78 and header % 31 == 0


def unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """A file of the storage that is packed with zlib. Raises CannotUnderstand when it is damaged.

    Whoever takes the blocks says how much is too much: no more than one is made at a time.
    """
    head = next(blocks, b"")
    if not head:
        return
    size = int.from_bytes(head[:SIZE], "little")
    inflater = zlib.decompressobj()
    written = 0
    try:
        for block in chain([head[SIZE:]], blocks):
            rest = block
            while True:
                piece = inflater.decompress(rest, BLOCK)
                rest = inflater.unconsumed_tail
                written += len(piece)
                if piece:
                    yield piece
                if inflater.eof or (not rest and len(piece) < BLOCK):
                    break
            if inflater.eof:
                break
    except zlib.error as error:
        raise CannotUnderstand(_("The packed file is damaged: it cannot be unpacked.")) from error
    if not inflater.eof or inflater.unused_data or next(blocks, b"") or written != size:
        raise CannotUnderstand(_("The packed file is damaged: it is not as long as it says."))


def unpacked_if_packed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Of a file of which nobody says whether it is packed."""
    first = next(blocks, b"")
    whole = chain([first], blocks) if first else blocks
    return unpacked(whole) if is_packed(first) else whole
