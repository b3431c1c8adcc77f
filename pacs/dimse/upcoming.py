"""Objects that are sent one after the other, the next one looked for while the one before is on its way."""

from collections.abc import Iterator

from pacs.dimse.suboperations import Target
from pacs.models import Location

Found = tuple[Target, Location | None]


class Upcoming:
    """What `found` gives, a step ahead if somebody asks. What goes wrong ahead is raised in its turn."""

    def __init__(self, found: Iterator[Found]) -> None:
        self._found = found
        self._next: Found | None = None
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[Found]:
        return self

    def __next__(self) -> Found:
        self.location()
        if self._next is None:
            assert self._failure is not None
            failure, self._failure = self._failure, None
            raise failure
        found, self._next = self._next, None
        return found

    def location(self) -> Location | None:
        """Where the next object is; None when there is none, or it is nowhere."""
        if self._next is None and self._failure is None:
            try:
                self._next = next(self._found)
            except Exception as error:  # StopIteration, too
                self._failure = error
        return None if self._next is None else self._next[1]

    def give_back(self) -> Target | None:
        """The object that was looked for ahead and whose turn will not come."""
        found, self._next = self._next, None
        return None if found is None else found[0]
