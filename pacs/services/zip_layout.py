"""The records of a ZIP file (APPNOTE 6.3) whose entries are stored, with ZIP64 where 32 bits do not do.

Sizes and checksums stand before the data: no data descriptors, which some readers do not take.
"""

import struct

LIMIT, COUNT_LIMIT = 0xFFFFFFFF, 0xFFFF
# Version needed to extract: folders, and ZIP64 where it is used; made by: Unix, so that modes are understood.
PLAIN, ZIP64, MADE_BY = 20, 45, 3 << 8 | 45
MODE = 0o100644 << 16
LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR_64 = struct.Struct("<4sIQI")


class Ending:
    """The central directory, of which only the size of what was added is kept, and what follows it."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.position = 0
        self.central_size = 0
        self.count = 0

    def add(self, name: bytes, size: int, crc: int) -> bytes:
        """The central header of the entry at `position`, which is moved behind it."""
        entry = self.central(name, size, crc, self.position)
        self.position += local_size(name, size) + size
        self.central_size += len(entry)
        self.count += 1
        return entry

    def central(self, name: bytes, size: int, crc: int, offset: int) -> bytes:
        large = [value for value in (size, size) if size >= LIMIT] + ([offset] if offset >= LIMIT else [])
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        shown = min(size, LIMIT)
        head = CENTRAL.pack(
            b"PK\x01\x02", MADE_BY, ZIP64 if large else PLAIN, 0, 0, self.moment & 0xFFFF, self.moment >> 16, crc,
            shown, shown, len(name), len(extra), 0, 0, 0, MODE, min(offset, LIMIT),
        )  # fmt: skip
        return head + name + extra

    @property
    def _needs_64(self) -> bool:
        return self.count >= COUNT_LIMIT or self.position >= LIMIT or self.central_size >= LIMIT

    def size(self) -> int:
        """Bytes of the central directory and what follows it."""
        return self.central_size + END.size + (END_64.size + LOCATOR_64.size if self._needs_64 else 0)

    def tail(self) -> bytes:
        """What follows the central directory, which begins at `position`."""
        begin, size, count = self.position, self.central_size, self.count
        found = b""
        if self._needs_64:
            found += END_64.pack(b"PK\x06\x06", END_64.size - 12, MADE_BY, ZIP64, 0, 0, count, count, size, begin)
            found += LOCATOR_64.pack(b"PK\x06\x07", 0, begin + size, 1)
        count, size, begin = min(count, COUNT_LIMIT), min(size, LIMIT), min(begin, LIMIT)
        return found + END.pack(b"PK\x05\x06", 0, 0, count, count, size, begin, 0)


def local_size(name: bytes, size: int) -> int:
    """Bytes of the header before an entry's data."""
    return LOCAL.size + len(name) + (20 if size >= LIMIT else 0)


def local(name: bytes, size: int, crc: int, moment: int) -> bytes:
    """The header before an entry's data."""
    extra = struct.pack("<HHQQ", 1, 16, size, size) if size >= LIMIT else b""
    shown = min(size, LIMIT)
    head = LOCAL.pack(
        b"PK\x03\x04", ZIP64 if extra else PLAIN, 0, 0, moment & 0xFFFF, moment >> 16, crc, shown, shown,
        len(name), len(extra),
    )  # fmt: skip
    return head + name + extra
