"""Orthanc's index (SQLite, its database of version 6): which file of the storage is a DICOM object, and its checksum.

It is opened as something that nobody changes: nothing is written, no lock is taken, and no file is made beside it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from radiology.errors import CannotUnderstand

FILE_TYPE_DICOM = 1
ROWS = 1000


@dataclass(frozen=True)
class Attached:
    """A row of AttachedFiles: the file's name, CompressionType (1 none, 2 zlib), MD5 of what is in it."""

    uuid: str
    compression: int
    md5: str


class Index:
    """The index at `path`. Each use opens it anew, in whatever thread. Raises CannotUnderstand."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def require_readable(self) -> None:
        """Raise CannotUnderstand when it is no index of Orthanc, or damaged."""
        with self._opened() as database:
            database.execute("SELECT id, fileType, uuid, compressedSize, compressionType FROM AttachedFiles LIMIT 1")

    def counted(self) -> tuple[int, int]:
        """How many DICOM files there are, and how many bytes they are on the disk."""
        with self._opened() as database:
            count, size = database.execute(
                "SELECT COUNT(*), TOTAL(compressedSize) FROM AttachedFiles WHERE fileType = ?", [FILE_TYPE_DICOM]
            ).fetchone()
        return int(count), int(size)

    def dicom_files(self) -> Iterator[Attached]:
        """The DICOM files, in the order in which they came in."""
        with self._opened() as database:
            yield from _dicom_files(database, "main.AttachedFiles", "id")

    @contextmanager
    def copied(self) -> Iterator[tuple[Iterator[Attached], Callable[[str], bool]]]:
        """The DICOM files, and whether a file of a name is known, both as they are at this moment.

        For while somebody may write to the index: what a half-written page hides is unknown then, and no file is lost.
        """
        columns = "uuid, fileType, compressionType, uncompressedMD5"
        with self._opened() as database:
            database.execute(f"CREATE TEMP TABLE copy AS SELECT {columns} FROM main.AttachedFiles ORDER BY id")
            database.execute("CREATE INDEX temp.copy_by_name ON copy (uuid)")

            def is_known(name: str) -> bool:
                return database.execute("SELECT 1 FROM copy WHERE uuid = ?", [name]).fetchone() is not None

            yield _dicom_files(database, "temp.copy", "rowid"), is_known

    def settled(self) -> tuple[int, int] | None:
        """What shows later whether it was written meanwhile.

        None while Orthanc runs, or where it was killed: the latest entries are in its write-ahead log, which is left
        alone.
        """
        with suppress(OSError):
            if self.path.with_name(f"{self.path.name}-wal").stat().st_size > 0:
                return None
        with suppress(OSError):
            state = self.path.stat()
            return state.st_size, state.st_mtime_ns
        return None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            address = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(address, uri=True)) as database:
                yield database
        except sqlite3.Error as error:
            raise CannotUnderstand(
                _(
                    "Orthanc’s index %(path)s cannot be read (%(error)s). Stop Orthanc and start again, import over "
                    "its address, or leave the index aside with --without-index."
                )
                % {"path": self.path, "error": error}
            ) from error


def _dicom_files(database: sqlite3.Connection, table: str, order: str) -> Iterator[Attached]:
    rows = database.execute(
        f"SELECT uuid, compressionType, uncompressedMD5 FROM {table} WHERE fileType = ? ORDER BY {order}",
        [FILE_TYPE_DICOM],
    )
    rows.arraysize = ROWS
    while chunk := rows.fetchmany():
        for uuid, compression, md5 in chunk:
            yield Attached(str(uuid), compression, str(md5 or ""))
