"""What every kind of volume can do, whatever it is made of."""

import uuid
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pacs.storage.disk import Draft
from pacs.storage.places import Expected, Published


class Backend(Protocol):
    """One volume. Everything raises OutOfResources when the volume does not answer or is full."""

    def draft(self, *, head_size: int) -> Draft:
        """Begin a new file."""

    def open(self, path: str) -> BinaryIO:
        """A published file as a seekable stream, to be read once through. Raises FileNotFoundError."""

    def open_mapped(self, path: str, *, expected: Expected | None = None) -> BinaryIO:
        """A published file as a local one with a descriptor, to be mapped. Raises FileNotFoundError.

        Where that takes a copy, the copy is compared with `expected`.
        """

    def size(self, path: str) -> int | None:
        """How long a published file is; None when there is none."""

    def sync(self, paths: list[str]) -> None:
        """Make published `paths` survive a power cut."""

    def remove(self, path: str) -> None:
        """Delete a published file; harmless when there is none."""

    def require_space(self, size: int) -> None:
        """Raise OutOfResources when `size` more bytes cannot be taken in."""

    def walk(self, *, after: str = "") -> Iterator[Published]:
        """All published files in the order of their paths, those behind `after`."""

    def drafts(self) -> set[uuid.UUID]:
        """Keys that are being written from this machine, or were when their writer ended."""

    def abandoned(self) -> list[uuid.UUID]:
        """Those of the drafts whose writer is gone."""

    def clear(self, key: uuid.UUID, *, published: bool) -> None:
        """Remove an abandoned draft; its published file too, unless a row points there."""
