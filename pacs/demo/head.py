"""A synthetic head: one anatomy, seen as CT and as MR of several contrasts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pacs.demo.fields import CENTRE_Y, Ellipsoid, Field, Grain, Plane, blend, smooth_min

FOV = 215.0
# What each tissue gives: HU in CT, arbitrary units in MR.
CONTRASTS: dict[str, dict[str, float]] = {
    "CT": {
        "air": -1000, "fat": -90, "muscle": 55, "bone": 1100, "marrow": 520, "csf": 6,
        "grey": 38, "white": 29, "eye": 14, "lens": 75, "lesion": 20, "blood": 68,
    },
    "T1": {
        "air": 8, "fat": 920, "muscle": 390, "bone": 45, "marrow": 560, "csf": 120,
        "grey": 430, "white": 610, "eye": 110, "lens": 300, "lesion": 330, "blood": 520,
    },
    "T2": {
        "air": 8, "fat": 640, "muscle": 190, "bone": 40, "marrow": 330, "csf": 980,
        "grey": 470, "white": 320, "eye": 990, "lens": 180, "lesion": 790, "blood": 260,
    },
    "FLAIR": {
        "air": 8, "fat": 540, "muscle": 240, "bone": 40, "marrow": 290, "csf": 85,
        "grey": 440, "white": 340, "eye": 90, "lens": 170, "lesion": 900, "blood": 560,
    },
    "DWI": {
        "air": 4, "fat": 50, "muscle": 70, "bone": 12, "marrow": 40, "csf": 70,
        "grey": 390, "white": 330, "eye": 80, "lens": 50, "lesion": 560, "blood": 240,
    },
}  # fmt: skip


@dataclass
class Head:
    """`age` widens ventricles and sulci (1 is young); `lesions` are spots in white matter, `bleeding` is epidural."""

    seed: int = 5
    age: float = 1.0
    lesions: tuple[tuple[float, float, float, float], ...] = ()
    bleeding: bool = False
    _grain: dict[str, Grain] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._grain = {"gyri": Grain(self.seed, 8.5), "fine": Grain(self.seed + 1, 3.0)}

    def slices(self, heights: list[float], size: int, contrast: str) -> Iterator[Field]:
        """The ideal slices, without noise, at heights (mm above the line through eyes and ears)."""
        plane = Plane(size, FOV)
        for z in heights:
            yield self._slice(plane, z, CONTRASTS[contrast])

    def _slice(self, plane: Plane, z: float, value: dict[str, float]) -> Field:
        x, y = plane.x, plane.y - CENTRE_Y
        gyri, fine = self._grain["gyri"].at(plane, z), self._grain["fine"].at(plane, z)
        image = np.full((plane.size, plane.size), value["air"], np.float32)

        def shape(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
            return Ellipsoid(centre, radii).distance(x, y, z)

        skin = shape((0, 2, 12), (78, 97, 92))
        if z < 20:
            skin = smooth_min(skin, Ellipsoid((0, -26, -46), (64, 74, 62)).distance(x, y, z), 14.0)
        blend(image, plane.coverage(skin), value["muscle"])
        blend(image, plane.coverage(skin + 1.8), value["fat"])
        if z < 10:
            blend(image, plane.coverage(np.maximum(skin + 6, fine * 4 - 1)), value["muscle"])
        outer = shape((0, 2, 12), (72, 91, 85))
        blend(image, plane.coverage(outer), value["bone"])
        blend(image, plane.coverage(np.abs(outer + 3.4) - 1.0), value["marrow"])
        inner = outer + 6.8
        self._paint_face(image, plane, x, y, z, value)
        brain_room = np.maximum(inner, (-58.0 if z > -58 else 0.0) - z)
        blend(image, plane.coverage(brain_room), value["csf"])
        brain = brain_room + 1.2 + 1.1 * self.age
        # sulci run where the texture passes zero, and grey matter lies along them and along the surface
        sulcus = np.abs(gyri) * 6.0 - (0.05 + 0.5 * self.age)
        deep = np.clip((-brain - 17.0 - 3.0 * self.age) * 0.8, 0.0, 30.0)
        sulcus = sulcus + deep
        if z > -8:
            fissure = (
                np.abs(x + 0.6 * fine) - (0.5 + 0.5 * self.age) + (np.clip(40 - z, 0, 30) * 0.2) * (np.abs(y) < 45)
            )
            sulcus = np.minimum(sulcus, fissure)
        tissue = np.maximum(brain, -sulcus)
        blend(image, plane.coverage(tissue), value["grey"])
        blend(
            image,
            plane.coverage(np.maximum(brain + 4.2, 3.9 - sulcus), 1.6),
            value["white"] + 0.02 * value["white"] * fine,
        )
        self._paint_deep(image, plane, x, y, z, value, fine, inner)
        for cx, cy, cz, radius in self.lesions:
            away = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (1.4 * (z - cz)) ** 2) - radius - 0.9 * fine
            blend(image, plane.coverage(away, 2.5), value["lesion"])
        if self.bleeding:
            lens = np.maximum(inner + 0.6, shape((74, 8, 34), (22, 40, 26)))
            blend(image, plane.coverage(lens, 1.4), value["blood"])
        return image

    def _paint_deep(
        self,
        image: Field,
        plane: Plane,
        x: Field,
        y: Field,
        z: float,
        value: dict[str, float],
        fine: Field,
        inner: Field,
    ) -> None:
        wide = 0.75 + 0.32 * self.age
        for side in (-1.0, 1.0):
            for centre, radii, axis in (
                ((side * 16, -6.0, 14.0), (7.0, 13.0, 12.0), (1.0, side * 0.3, 0.0)),  # putamen and pallidum
                ((side * 10, 14, 15), (8, 14, 9), (1.0, side * 0.5, 0.0)),  # thalamus
                ((side * 13, -22, 22), (5, 8, 9), (1.0, 0.0, 0.0)),  # caudate
            ):
                distance = Ellipsoid(centre, radii, axis).distance(x, y, z) + 0.5 * fine
                blend(image, plane.coverage(distance, 1.6), value["grey"])
            for centre, radii, axis in (
                ((side * 9, -22, 28), (5 * wide, 20, 9 * wide), (1.0, side * -0.25, 0.0)),
                ((side * 13, 12, 34), (6 * wide, 26, 8 * wide), (1.0, side * 0.25, 0.0)),
                ((side * 23, 34, 20), (6 * wide, 15, 11 * wide), (1.0, side * 0.35, 0.0)),
                ((side * 33, 4, -10), (3.4 * wide, 16, 5 * wide), (1.0, side * 0.2, 0.0)),
            ):
                blend(image, plane.coverage(Ellipsoid(centre, radii, axis).distance(x, y, z)), value["csf"])
        blend(image, plane.coverage(Ellipsoid((0, 6, 12), (2.4 * wide, 15, 12)).distance(x, y, z)), value["csf"])
        if z < 14:
            folds = np.abs(np.sin((np.hypot(x * 0.9, y - 8) + 0.8 * z) * 1.05)) * 5.0 - 1.1
            cerebellum = np.maximum(Ellipsoid((0, 52, -26), (50, 30, 30)).distance(x, y, z), inner + 3.5)
            blend(image, plane.coverage(np.maximum(cerebellum - 3.0, inner)), value["csf"])
            blend(image, plane.coverage(cerebellum), value["grey"])
            blend(image, plane.coverage(np.maximum(cerebellum + 5.0, 1.0 - folds), 2.0), value["white"])
            stem = Ellipsoid((0, 20, -30), (16, 14, 44)).distance(x, y, z)
            blend(image, plane.coverage(np.maximum(stem - 4.0, inner)), value["csf"])
            blend(image, plane.coverage(stem), 0.7 * value["white"] + 0.3 * value["grey"])
            blend(image, plane.coverage(Ellipsoid((0, 37, -26), (8, 5, 14)).distance(x, y, z)), value["csf"])

    @staticmethod
    def _paint_face(image: Field, plane: Plane, x: Field, y: Field, z: float, value: dict[str, float]) -> None:
        """Orbits, eyes, sinuses and the petrous bones: what lies below the brain's front."""
        if z > 14:
            return
        for side in (-1.0, 1.0):
            orbit = Ellipsoid((side * 32, -60, -14), (19, 24, 18), (1.0, side * 0.35, 0.0)).distance(x, y, z)
            blend(image, plane.coverage(orbit), value["fat"])
            blend(image, plane.coverage(Ellipsoid((side * 32, -69, -14), (12, 12, 12)).distance(x, y, z)), value["eye"])
            blend(image, plane.coverage(Ellipsoid((side * 32, -78.5, -14), (4, 2, 4)).distance(x, y, z)), value["lens"])
            nerve = np.abs(x - side * (32 + (y + 60) * 0.35)) - 1.8
            nerve = np.maximum(np.maximum(nerve, np.abs(y + 47) - 11), abs(z + 14.0) - 3.0)
            blend(image, plane.coverage(nerve), value["white"])
            petrous = Ellipsoid((side * 40, 18, -26), (26, 7, 9), (1.0, side * -0.5, 0.0)).distance(x, y, z)
            blend(image, plane.coverage(petrous), value["bone"])
            cells = Ellipsoid((side * 58, 26, -28), (9, 12, 15)).distance(x, y, z)
            blend(image, plane.coverage(np.maximum(cells, np.sin(x * 1.3) * np.sin(y * 1.1) * 5.0)), value["air"])
        ethmoid = Ellipsoid((0, -62, -18), (12, 24, 20)).distance(x, y, z)
        blend(image, plane.coverage(ethmoid), value["air"])
        blend(image, plane.coverage(np.maximum(ethmoid, np.abs(np.sin(x * 0.5 + 1.5)) * 7.0 - 1.0)), value["muscle"])
