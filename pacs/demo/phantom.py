"""A synthetic CT of the thorax: numbers alone, no person's images. Deterministic for a numpy release.

Each slice is computed on its own from shapes in patient coordinates, so that any spacing and matrix
size is cheap to ask for and memory stays that of a few slices.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pacs.demo.abdomen import Abdomen
from pacs.demo.fields import Field, Grain, Plane, Point, Tube, blend, smooth_max, smooth_min
from pacs.demo.frame import HeightMap, cage_surface, diaphragm, fissures, lung_tops, skin_surface
from pacs.demo.mediastinum import FAT, MUSCLE, Mediastinum
from pacs.demo.shoulders import Shoulders
from pacs.demo.skeleton import Ribs, Spine, Sternum
from pacs.demo.trees import Branch, Branches, grow
from pacs.demo.vessels import ARM, ARMPIT, mirrored

FOV = 358.4
TOP, BOTTOM = 104.0, -242.0

# lobe: roots of artery, vein and bronchus, their radii, how many twigs
LOBES: dict[str, tuple[Point, Point, Point, tuple[float, float, float], int]] = {
    "RUL": ((-46, 8, -13), (-46, -4, -40), (-46, 20, -10), (4.8, 4.6, 4.4), 620),
    "RML": ((-51, 7, -53), (-46, -4, -40), (-52, 2, -60), (3.6, 3.4, 3.1), 330),
    "RLL": ((-47, 24, -58), (-49, 34, -75), (-44, 32, -68), (6.0, 5.2, 4.5), 800),
    "LUL": ((54, 4, -9), (51, -5, -37), (54, 10, -26), (5.2, 5.0, 4.5), 720),
    "LLL": ((52, 31, -34), (55, 38, -71), (50, 38, -56), (6.0, 5.2, 4.5), 720),
}


@dataclass(frozen=True)
class Nodule:
    centre: Point
    radius: float


# A nodule for the reader to find, in the posterior segment of the right upper lobe; no vessel ends within its room,
# whatever its size, so that the same lung can be seen at several times.
NODULE = Nodule((-84.0, 34.0, 14.0), 4.6)
NODULE_ROOM = 11.6


@dataclass
class _Sheets:
    """What depends on the sampling plane but not on height."""

    diaphragm: HeightMap
    tops: HeightMap
    oblique: HeightMap
    horizontal: HeightMap


@dataclass
class Thorax:
    """One synthetic patient: `seed` decides the vessels and textures, `nodule` what there is to find."""

    seed: int = 20
    nodule: Nodule | None = NODULE
    noise: float = 11.0
    table: bool = True
    _sheets: dict[int, _Sheets] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.cage, self.skin = cage_surface(), skin_surface()
        self.spine, self.sternum, self.shoulders = Spine(), Sternum(), Shoulders()
        self.ribs = Ribs(self.cage)
        self.mediastinum, self.abdomen = Mediastinum(self.spine), Abdomen(self.seed)
        self.fine, self.middling, self.coarse = (
            Grain(self.seed + n, scale) for n, scale in ((1, 2.2), (2, 6.0), (3, 19.0))
        )
        self.arms = [Tube(*ARM), Tube(*mirrored(ARM))]
        self.armpits = [Tube(*ARMPIT), Tube(*mirrored(ARMPIT))]
        arteries, veins, bronchi = self._grow_lungs()
        self.arteries, self.veins, self.bronchi = Branches(arteries), Branches(veins), Branches(bronchi)

    def slices(self, heights: Iterable[float], size: int = 512) -> Iterator[NDArray[np.int16]]:
        """Hounsfield units at each of `heights` (mm, to the head), `size` by `size` over `FOV` mm."""
        plane = Plane(size, FOV)
        for z in heights:
            yield self._acquire(self.slice(plane, float(z)), plane, float(z))

    def slice(self, plane: Plane, z: float) -> Field:
        """The ideal slice: no noise, no blur."""
        fine, middling, coarse = (g.at(plane, z) for g in (self.fine, self.middling, self.coarse))
        image = np.full((plane.size, plane.size), -1000.0, np.float32)
        if self.table:
            self._paint_table(image, plane)
        cage = self.cage.distance(plane, z)
        self._paint_wall(image, plane, z, cage, fine, middling, coarse)
        sheets = self._sheets_for(plane)
        above = sheets.diaphragm.above(z)
        inner = cage + 5.6
        mediastinum = self.mediastinum.distance(plane, z)
        if z < 92:
            tissue = plane.coverage(smooth_max(inner, mediastinum - 6.0, 2.0)) * min(1.0, (92.0 - z) / 16.0)
            blend(image, tissue, FAT + 6.0 * middling)
        if z < -90:
            blend(image, plane.coverage(np.maximum(inner, above)), MUSCLE)
            cavity = smooth_max(inner + 1.0, above + 3.0, 3.0)
            self.abdomen.paint(image, plane, z, cavity, middling, coarse)
        self._paint_lungs(image, plane, z, self._lung(inner, mediastinum, above, sheets, z), sheets, fine, middling)
        self.mediastinum.paint(image, plane, z, middling)
        self.spine.paint(image, plane, z, fine)
        self.ribs.paint(image, plane, z, cage, middling)
        self.sternum.paint(image, plane, z, cage, fine)
        self.shoulders.paint(image, plane, z, fine)
        return image

    def _sheets_for(self, plane: Plane) -> _Sheets:
        if plane.size not in self._sheets:
            self._sheets[plane.size] = _Sheets(diaphragm(plane), lung_tops(plane), *fissures(plane))
        return self._sheets[plane.size]

    @staticmethod
    def _lung(inner: Field, mediastinum: Field, above: Field, sheets: _Sheets, z: float) -> Field:
        """Distance to both lungs."""
        lung = smooth_max(inner, -mediastinum, 5.0)
        if z < -90:
            lung = smooth_max(lung, -above, 3.0)
        if z > -50:
            lung = smooth_max(lung, sheets.tops.above(z), 8.0)
        return lung

    def _grow_lungs(self) -> tuple[list[Branch], list[Branch], list[Branch]]:
        """Vessels and bronchi of each lobe, grown towards points spread through it."""
        plane = Plane(90, FOV)
        sheets = self._sheets_for(plane)
        rng = np.random.default_rng(self.seed)
        spots: dict[str, list[NDArray[np.float64]]] = {lobe: [] for lobe in LOBES}
        x, y = np.broadcast_arrays(plane.x, plane.y)
        for z in np.arange(BOTTOM, 96.0, 4.0):
            z = float(z)
            lung = self._lung(
                self.cage.distance(plane, z) + 5.6,
                self.mediastinum.distance(plane, z),
                sheets.diaphragm.above(z),
                sheets,
                z,
            )
            over, up = sheets.oblique.above(z), sheets.horizontal.above(z)
            right = x < 0
            masks = {
                "RUL": right & (over > 3) & (up > 3),
                "RML": right & (over > 3) & (up < -3),
                "RLL": right & (over < -3),
                "LUL": ~right & (over > 3),
                "LLL": ~right & (over < -3),
            }
            for lobe, mask in masks.items():
                chosen = mask & (lung < -4.0)
                spots[lobe].append(np.column_stack([x[chosen], y[chosen], np.full(int(chosen.sum()), z)]))
        arteries, veins, bronchi = [], [], []
        for number, (lobe, (artery, vein, bronchus, radii, twigs)) in enumerate(LOBES.items()):
            cloud = np.concatenate(spots[lobe])
            cloud = cloud[np.linalg.norm(cloud - np.array(NODULE.centre), axis=1) > NODULE_ROOM]
            picked = cloud[rng.choice(len(cloud), size=2 * twigs, replace=False)] + rng.uniform(-2, 2, (2 * twigs, 3))
            seed = self.seed + 10 * number
            grown, beside = grow(
                picked[:twigs], artery, radius=radii[0], seed=seed, companion=bronchus, companion_radius=radii[2]
            )
            arteries += grown
            bronchi += beside
            veins += grow(picked[twigs:], vein, radius=radii[1], seed=seed + 1)[0]
        return arteries, veins, bronchi

    def _paint_lungs(
        self, image: Field, plane: Plane, z: float, lung: Field, sheets: _Sheets, fine: Field, middling: Field
    ) -> None:
        inside = plane.coverage(lung)
        if not inside.any():
            return
        tissue = -868.0 + 0.24 * plane.y + 13.0 * middling + 14.0 * fine
        oblique, horizontal = sheets.oblique.above(z), sheets.horizontal.above(z)
        line = np.exp(-((oblique * (1 / 0.75)) ** 2)) * (np.abs(plane.x) > 30)
        upper = np.exp(-((horizontal * (1 / 0.9)) ** 2)) * ((plane.x < -30) & (oblique > 0))
        tissue += 190.0 * np.maximum(line, upper)
        if self.nodule is not None and abs(z - self.nodule.centre[2]) < self.nodule.radius + 3:
            cx, cy, cz = self.nodule.centre
            away = np.sqrt((plane.x - cx) ** 2 + (plane.y - cy) ** 2 + (z - cz) ** 2)
            spicules = 0.9 * middling + 0.5 * fine
            blend(tissue, plane.coverage(away - self.nodule.radius - spicules, 1.2), 34.0)
        for tree, value in ((self.arteries, 150.0), (self.veins, 130.0)):
            blend(tissue, tree.coverage(plane, z), value)
        wall = self.bronchi.coverage(plane, z, 0.75)
        blend(tissue, wall, -190.0)
        blend(tissue, self.bronchi.coverage(plane, z), -985.0)
        blend(image, inside, tissue)

    def _paint_wall(
        self, image: Field, plane: Plane, z: float, cage: Field, fine: Field, middling: Field, coarse: Field
    ) -> None:
        """Skin, fat and muscle around the cage, and what fills the neck and shoulders."""
        skin = self.skin.distance(plane, z)
        over = [(arm, 0.0, 22.0) for arm in self.arms] + [(bone, 7.0, 12.0) for bone, _ in self.shoulders.tubes]
        for tube, cover, rounding in over:
            if (found := tube.distance(plane, z, 40.0)) is not None:
                window, distance = found
                skin[window] = smooth_min(skin[window], distance - cover, rounding)
        low = float(np.clip((40.0 - z) / 80.0, 0.0, 1.0))
        fat = 9.0 + 6.0 * low + 2.0 * coarse + 4.0 * low * np.clip(1 - np.abs(plane.y - 10) / 60, 0, 1)
        fat = fat - 2.5 * np.exp(-((plane.x / 22.0) ** 2)) * (plane.y > 40)
        muscle = skin + np.maximum(fat, 3.0)
        blend(image, plane.coverage(skin), -8.0)
        septa = np.maximum(np.abs(middling) * -30.0 + 5.0, 0.0)
        blend(image, plane.coverage(skin + 1.7), FAT - 8.0 + septa * 2.0)
        blend(image, plane.coverage(muscle), MUSCLE + 5.0 * middling)
        # fat between the layers of muscle, and marbling within them
        for depth, thickness in ((9.5, 0.8), (19.0, 1.0), (31.0, 1.1)):
            if z < 84:
                layer = np.abs(cage - depth - 2.2 * coarse) - thickness * (0.6 + 0.5 * middling)
                blend(
                    image, plane.coverage(np.maximum(layer, muscle + 1.5)) * (0.75 * min(1.0, (84.0 - z) / 20.0)), FAT
                )
        marbling = np.maximum(np.abs(coarse + 0.6 * middling) * 5.0 - 0.55, np.maximum(muscle + 2.0, 6.0 - cage))
        blend(image, plane.coverage(marbling, 1.6) * 0.6, FAT)
        for side in (-1.0, 1.0):
            erector = (
                np.hypot((plane.x - side * 23.0) * (1 / 20.0), (plane.y - 92.0 + 0.05 * abs(z + 70)) * (1 / 15.0)) - 1.0
            )
            rim = np.maximum(np.abs(erector * 15.0) - 0.7, np.maximum(muscle + 1.0, 5.0 - cage))
            blend(image, plane.coverage(rim) * 0.7, FAT)
        if z < 85:  # between the ribs, and down to the rectus
            blend(image, plane.coverage(np.abs(cage) - 4.2), MUSCLE + 5.0 * middling)
        for armpit in self.armpits:
            if (found := armpit.distance(plane, z, 4.0)) is not None:
                window, distance = found
                hollow = np.maximum(distance - 3.0 * middling[window], 6.5 - cage[window])
                blend(image[window], plane.coverage(hollow, 2.5), FAT)

    @staticmethod
    def _paint_table(image: Field, plane: Plane) -> None:
        """A carbon shell on foam, curved up at the sides, and the mattress on it."""
        surface = plane.y - (131.0 - plane.x**2 * (1 / 1500.0))
        blend(image, plane.coverage(np.abs(surface + 4.0) - 4.0), -930.0)
        blend(image, plane.coverage(np.abs(surface - 17.0) - 17.0), -965.0)
        shell = np.minimum(np.abs(surface), np.abs(surface - 34.0)) - 0.9
        blend(image, plane.coverage(shell), -260.0)

    def _acquire(self, image: Field, plane: Plane, z: float) -> NDArray[np.int16]:
        """Point spread, noise with a scanner's texture (stronger and streaky between the shoulders), 12 bits."""
        blurred = _three_taps(image, 0.13)
        if self.noise:
            rng = np.random.default_rng([self.seed, round((z + 1000.0) * 100)])
            grain = rng.standard_normal((plane.size, plane.size), np.float32)
            grain = _three_taps(grain, 0.22)
            blurred += grain * (self.noise * 1.55)
            streaks = max(0.0, (z - 50.0) / 60.0)
            if streaks:
                rows = rng.standard_normal((plane.size, plane.size // 32), np.float32)
                wide = np.repeat(rows, 32, axis=1)[:, : plane.size]
                blurred += _three_taps(wide, 0.25) * (streaks * self.noise * 0.8)
        return np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)


def _three_taps(image: Field, side: float) -> Field:
    """A small separable blur: `side` of each neighbour's weight."""
    padded = np.pad(image, 1, mode="edge")
    rows = (1 - 2 * side) * padded[1:-1] + side * (padded[:-2] + padded[2:])
    return (1 - 2 * side) * rows[:, 1:-1] + side * (rows[:, :-2] + rows[:, 2:])
