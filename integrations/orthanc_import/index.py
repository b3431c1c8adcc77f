"""Orthanc's index (SQLite, its database of version 6): which file of the storage is a DICOM object, and its checksum.

It is opened as something that nobody changes: nothing is written, no lock is taken, and no file is made beside it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
            rows = database.execute(
                "SELECT uuid, compressionType, uncompressedMD5 FROM AttachedFiles WHERE fileType = ? ORDER BY id",
                [FILE_TYPE_DICOM],
            )
            rows.arraysize = ROWS
            while chunk := rows.fetchmany():
                for uuid, compression, md5 in chunk:
                    yield Attached(str(uuid), compression, str(md5 or ""))

    @contextmanager
    def names(self) -> Iterator[Callable[[str], bool]]:
        """A function that says whether the index knows a file of that name, of whatever type."""
        with self._opened() as database:
            database.execute("CREATE TEMP TABLE names (uuid TEXT PRIMARY KEY) WITHOUT ROWID")
            database.execute("INSERT OR IGNORE INTO names SELECT uuid FROM AttachedFiles WHERE uuid IS NOT NULL")

            def is_known(name: str) -> bool:
                return database.execute("SELECT 1 FROM names WHERE uuid = ?", [name]).fetchone() is not None

            yield is_known

    def lags_behind(self) -> bool:
        """Whether Orthanc runs, or was killed: the latest entries are in its write-ahead log, which is left alone."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size > 0
        except OSError:
            return False

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
