"""What the walk over a medium hands out."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pacs.services.header import Header
from radiology.errors import CannotUnderstand, Conflict

LONGEST_NAME = 1000


class NoDicom(CannotUnderstand):
    """The file is no DICOM object: it is passed over, and nothing is wrong with it."""


class Changed(Conflict):
    """The file was written while it was read: what was read may be half of it."""


@dataclass(frozen=True)
class Candidate:
    """A file that may be a DICOM object.

    `size` (bytes) and `mark` (when it was last changed, ns) tell in a later run whether it is still the
    same. `blocks` reads it from the beginning, each time anew, and raises a RadiologyError for what
    cannot be read, is damaged or was changed meanwhile. `check` looks at what it turned out to be, and raises for
    what must not be taken.
    """

    name: str
    size: int
    mark: int
    blocks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False)
    check: Callable[[Header], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Refusal:
    """Something on the medium that is not taken in, and why."""

    name: str
    reason: str


def printable(path: Path | str) -> str:
    """A file's name as text that can be stored and shown; two different names stay different."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\0", "\\0")
