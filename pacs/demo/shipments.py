"""A study on its way: from which device, through which door."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from pydicom.dataset import Dataset

from pacs.demo.labels import Examination
from pacs.demo.parts import Part

CT, CT2, DX, DX2, US, US2, MR, MG, XA = (
    "DEMO_CT", "DEMO_CT2", "DEMO_DX", "DEMO_DX2", "DEMO_US", "DEMO_US2", "DEMO_MR", "DEMO_MG", "DEMO_XA",
)  # fmt: skip
NODES = {
    CT: "CT", CT2: "CT", DX: "DX, CR", DX2: "DX, CR", US: "US", US2: "US", MR: "MR, NM", MG: "MG", XA: "XA",
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How large the synthetic images are. The default is the demonstration; tests ask for less."""

    size: int = 512
    spacing: float = 2.5
    prior_spacing: float = 6.0

    def pixels(self, full: int) -> int:
        """What `full` pixels, in a demonstration of 512, come to here."""
        return max(32, full * self.size // 512)

    def apart(self, millimetres: float) -> float:
        """The distance of slices that are `millimetres` apart at best."""
        return max(millimetres, self.spacing)

    def frames(self, full: int) -> int:
        return max(3, full * self.size // 512)

    def coarser(self, full: float) -> float:
        """The size of a pixel that is `full` mm at best."""
        return full * 512 / min(512, self.size)


@dataclass(frozen=True)
class Shipment:
    """One study and the door it goes through: C-STORE as `calling_ae_title`, or STOW-RS when that is empty.

    Shipments of one `group` go one after the other, from one process: the later ones use what was
    computed for the earlier. `held` is the SOP Instance UID of the one object that contradicts the
    study it says it is of, and comes after it.
    """

    examination: Examination
    calling_ae_title: str
    parts: tuple[Part, ...]
    group: str = ""
    held: str = ""

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """The pairs of SOP class and transfer syntax of the objects."""
        return tuple(sorted({context for part in self.parts for context in part.contexts}))

    def objects(self) -> Iterator[Dataset]:
        return chain.from_iterable(part.objects(self.examination) for part in self.parts)
