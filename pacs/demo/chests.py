"""Chest radiographs of people who were not scanned: one computed thorax, seen in bodies of several shapes."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from pacs.demo.images import (
    FRONTAL,
    CTProtocol,
    Projections,
    computed_radiograph,
    digital_radiograph,
    projected,
    radiograph,
)
from pacs.demo.labels import Examination
from pacs.demo.parts import Part, part, single
from pacs.demo.phantom import BOTTOM, TOP, Thorax
from pacs.demo.texture import blurred

GROUP = "chests"


@lru_cache(1)
def _seen(size: int, spacing: float) -> Projections:
    thorax = Thorax(seed=77, nodule=None, noise=0.0, table=False)
    return projected(CTProtocol(thorax, round((TOP - BOTTOM) / spacing), spacing, size))


class ChestSeries:
    """Radiographs of `size` pixels across, computed from slices `spacing` mm apart."""

    def __init__(self, size: int, spacing: float) -> None:
        self.size, self.spacing = size, spacing

    def image(self, *, seed: int, wide: float = 1.0, tall: float = 1.0, blur: int = 0) -> NDArray[np.uint16]:
        """A frontal view; `wide` and `tall` stretch the body, `blur` is a patient who moved."""
        seen = _seen(self.size, self.spacing)
        image = radiograph(seen.frontal, spacing=seen.spacing * tall, pixel=seen.pixel * wide, seed=seed)
        return blurred(image.astype(np.float32), blur).astype(np.uint16) if blur else image

    def digital(self, *, seed: int, wide: float = 1.0, tall: float = 1.0, spoiled: bool = False) -> Part:
        """A DX image; `spoiled` sends a blurred exposure before it, which is to be rejected."""

        def objects(examination: Examination) -> Iterator[Dataset]:
            for number, blur in enumerate((19, 0) if spoiled else (0,), 1):
                image = self.image(seed=seed, wide=wide, tall=tall, blur=blur)
                yield digital_radiograph(examination, number, FRONTAL, image)

        return part(2 if spoiled else 1, DigitalXRayImageStorageForPresentation, objects)

    def computed(self, *, seed: int, wide: float = 1.0, tall: float = 1.0) -> Part:
        """A CR image."""

        def make(examination: Examination) -> Dataset:
            return computed_radiograph(examination, 1, FRONTAL, self.image(seed=seed, wide=wide, tall=tall))

        return single(ComputedRadiographyImageStorage, make)
