"""Values that say where bytes are, and what they must be."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pacs.models import Volume


class Placed(Protocol):
    """What says where bytes are: a Location or a HeldObject."""

    volume: Volume
    path: str


@dataclass(frozen=True)
class Expected:
    """What a file must hold: a data set of `size` bytes that begins at `offset`. No `sha256`: unknown."""

    offset: int
    size: int
    sha256: bytes = b""

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True)
class Published:
    """A file that lies on a volume, whoever put it there."""

    path: str
    size: int
    modified: datetime
