"""A stored object opened for reading: its data set mapped, and the file for what is large."""

import mmap
import os
from functools import cached_property
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, cast

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pacs.services.header import inflate
from pacs.storage import Placed, open_mapped_object
from radiology.errors import OutOfResources


class Stored(Placed, Protocol):
    """A Location or a HeldObject."""

    data_set_offset: int
    size: int
    transfer_syntax_uid: str


class Encoded(Protocol):
    """A data set to be read: `data[start:end]`, in `transfer_syntax_uid`, which is not the deflated one."""

    transfer_syntax_uid: str
    start: int
    end: int

    @property
    def data(self) -> Any:
        """What is read."""


class OpenDataSet:
    """`data[start:end]` is the data set in `transfer_syntax_uid`, mapped when somebody looks; `file` holds the same.

    A deflated object is opened inflated, in Explicit VR Little Endian. Close it, or use it in `with`.
    Raises OutOfResources when the file is not where it should be or is too short, CannotUnderstand when a
    deflated one cannot be inflated.
    """

    def __init__(self, location: Stored) -> None:
        self.transfer_syntax_uid = location.transfer_syntax_uid
        try:
            self.file: BinaryIO = open_mapped_object(location=location)
        except FileNotFoundError as error:
            raise OutOfResources("The object's file is missing from the archive.") from error
        self.start = location.data_set_offset
        self.end = location.data_set_offset + location.size
        if os.fstat(self.file.fileno()).st_size < self.end:
            self.file.close()
            raise OutOfResources("The object's file in the archive is shorter than it was.")
        if self.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            self._inflate()

    @cached_property
    def data(self) -> Any:
        """The file, mapped."""
        try:
            return mmap.mmap(self.file.fileno(), self.end, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise OutOfResources("The object's file in the archive is shorter than it was.") from error

    def _inflate(self) -> None:
        try:
            inflated = cast(BinaryIO, inflate(self.data, start=self.start))
        finally:
            self.close()
        self.file = inflated
        self.start = 0
        self.end = inflated.seek(0, 2)
        inflated.seek(0)
        self.transfer_syntax_uid = str(ExplicitVRLittleEndian)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer only where the file ends."""
        return os.pread(self.file.fileno(), length, offset)

    def close(self) -> None:
        if "data" in self.__dict__:
            self.__dict__.pop("data").close()
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
