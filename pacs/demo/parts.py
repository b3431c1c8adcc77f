"""A piece of a study: its objects, each made when it is asked for, and what is to be negotiated for them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pacs.demo.labels import Examination


@dataclass(frozen=True)
class Part:
    """`count` objects of the SOP classes and transfer syntaxes `contexts`."""

    count: int
    contexts: tuple[tuple[str, str], ...]
    objects: Callable[[Examination], Iterator[Dataset]]


def part(
    count: int,
    sop_class_uid: str,
    objects: Callable[[Examination], Iterator[Dataset]],
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
) -> Part:
    """A part whose objects are all of one kind."""
    return Part(count, ((str(sop_class_uid), str(transfer_syntax_uid)),), objects)


def single(sop_class_uid: str, make: Callable[[Examination], Dataset]) -> Part:
    """One uncompressed object."""
    return part(1, sop_class_uid, lambda examination: iter([make(examination)]))
