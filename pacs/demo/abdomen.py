"""The upper abdomen below the diaphragm: liver, spleen, stomach, kidneys."""

import numpy as np

from pacs.demo.fields import Ellipsoid, Field, Plane, Tube, Window, blend, smooth_max
from pacs.demo.frame import spine_y
from pacs.demo.mediastinum import FAT, MUSCLE
from pacs.demo.trees import Branches, grow

LIVER, SPLEEN = 104.0, 122.0
FLUID_LEVEL = -22.0


class Abdomen:
    def __init__(self, seed: int) -> None:
        self.spleen = Ellipsoid((98, 46, -160), (28, 44, 50), (0.8, 0.5, 0.3))
        self.stomach = Ellipsoid((64, -14, -160), (42, 50, 46), (0.8, -0.3, -0.5))
        self.colon = Ellipsoid((92, -38, -214), (26, 28, 34))
        self.kidneys = [Ellipsoid((s * 58, 52, -238 - (0 if s > 0 else 12)), (27, 25, 52)) for s in (-1.0, 1.0)]
        self.tubes = [
            (
                150.0,
                Tube((9, 8, -176, 4), (12, -6, -182, 4), (30, 2, -178, 3.4), (48, 22, -170, 3.2), (66, 34, -168, 3)),
            ),
            (128.0, Tube((6, -14, -214, 6), (24, 0, -196, 5), (50, 26, -186, 4), (72, 38, -178, 3.6))),
            (140.0, Tube((6, -14, -214, 6), (-12, -16, -204, 6.2), (-34, -14, -196, 6.4), (-46, -14, -188, 6))),
            (175.0, Tube((8, 8, -196, 4), (8, -6, -206, 3.8), (6, -8, -290, 3.4))),
        ]
        self.pancreas = Tube((-20, -24, -224, 9), (6, -27, -213, 8.5), (36, -14, -203, 8.5), (70, 18, -190, 7))
        self.jejunum = Tube(
            (24, -34, -226, 11), (56, -34, -236, 11.5), (80, -6, -228, 11), (66, 26, -238, 10), (34, 10, -246, 11)
        )
        self.transverse_colon = Tube(
            (-64, -66, -240, 16), (-16, -76, -236, 15), (40, -70, -231, 15), (78, -52, -222, 15)
        )
        rng = np.random.default_rng(seed)
        spots = rng.uniform((-128, -78, -220), (38, 66, -112), (620, 3))
        inside = ((spots[:, 0] + 62) / 76) ** 2 + ((spots[:, 1] + 6) / 76) ** 2 + ((spots[:, 2] + 172) / 62) ** 2 < 1
        spots = spots[inside]
        portal, _ = grow(spots[::2], (-46, -14, -188), radius=5.8, seed=seed + 1, smallest=0.9)
        hepatic, _ = grow(spots[1::2], (-26, 0, -122), radius=5.6, seed=seed + 2, smallest=0.9)
        self.portal, self.hepatic = Branches(portal), Branches(hepatic)

    def paint(self, image: Field, plane: Plane, z: float, cavity: Field, grain: Field, coarse: Field) -> None:
        """`cavity` is the distance to the inside of the abdominal wall and diaphragm together."""
        x, y = plane.x, plane.y
        blend(image, plane.coverage(cavity), FAT - 6.0 + 5.0 * coarse)
        middle = spine_y(z)
        for side in (-1.0, 1.0):
            for muscle in (
                Ellipsoid((side * 30, middle + 6, -290), (18, 15, 84)),
                Ellipsoid((side * 12, middle - 18, -196), (7, 12, 60)),
            ):
                if (window := muscle.window(plane, z)) is not None:
                    blend(image[window], plane.coverage(muscle.distance(*plane.axes(window), z)), MUSCLE)
        for kidney in self.kidneys:
            if (window := kidney.window(plane, z)) is not None:
                distance = kidney.distance(*plane.axes(window), z)
                blend(image[window], plane.coverage(distance), 172.0)
                blend(image[window], plane.coverage(distance + 7.0 + 2.0 * coarse[window], 3.0), 118.0)
                sinus = Ellipsoid((kidney.centre[0] * 0.86, kidney.centre[1] - 3, kidney.centre[2]), (14, 9, 34))
                hilum = sinus.distance(*plane.axes(window), z) + 1.5 * grain[window]
                blend(image[window], plane.coverage(hilum, 1.5), FAT)
        self._paint_bowel(image, plane, z, cavity, grain)
        spleen = self._within(self.spleen, plane, z, cavity)
        if spleen is not None:
            blend(image[spleen[0]], plane.coverage(spleen[1]), SPLEEN + 2.0 * grain[spleen[0]])
        for value, tube in self.tubes:
            if (found := tube.distance(plane, z, 2.0)) is not None:
                blend(image[found[0]], plane.coverage(found[1]), value)
        wobble = 2.5 * coarse
        left_end = 50.0 + 0.75 * (z + 125.0) - 0.0075 * np.maximum(y + 70.0, 0.0) ** 2 + wobble
        under = (-250.0 + 0.32 * (x + 130.0)) - z
        liver = smooth_max(smooth_max(cavity, (x - left_end) * 0.7, 14.0), under * 0.8 + wobble, 12.0)
        for hollow, room in ((self.kidneys[0], 5.0), (Ellipsoid((6, middle - 6, z), (36, 34, 40)), 0.0)):
            liver = smooth_max(liver, room - hollow.distance(x, y, z), 9.0)
        cover = plane.coverage(liver)
        blend(image, cover, LIVER + 2.5 * coarse)
        for tree, value in ((self.portal, 140.0), (self.hepatic, 132.0)):
            blend(image, tree.coverage(plane, z) * cover, value)

    def _within(self, shape: Ellipsoid, plane: Plane, z: float, cavity: Field) -> tuple[Window, Field] | None:
        if (window := shape.window(plane, z)) is None:
            return None
        return window, smooth_max(shape.distance(*plane.axes(window), z), cavity[window] + 1.0, 6.0)

    def _paint_bowel(self, image: Field, plane: Plane, z: float, cavity: Field, grain: Field) -> None:
        for tube, wall, inside in (
            (self.pancreas, 88.0, 92.0),
            (self.jejunum, 84.0, 30.0),
            (self.transverse_colon, 62.0, -830.0),
        ):
            if (found := tube.distance(plane, z, 3.0)) is not None:
                window, distance = found
                distance = np.maximum(distance + 1.2 * grain[window], cavity[window] + 2.0)
                blend(image[window], plane.coverage(distance), wall)
                filling = np.where(grain[window] > 0.3, -30.0, inside) if inside < 0 else inside + 12.0 * grain[window]
                blend(image[window], plane.coverage(distance + 2.4), filling)
        if (found := self._within(self.colon, plane, z, cavity)) is not None:
            window, distance = found
            blend(image[window], plane.coverage(distance), 60.0)
            blend(
                image[window],
                plane.coverage(distance + 2.0),
                np.where(grain[window] > -0.2, -20.0 - 90.0 * grain[window], -820.0),
            )
        if (found := self._within(self.stomach, plane, z, cavity)) is not None:
            window, distance = found
            _, y = plane.axes(window)
            blend(image[window], plane.coverage(distance), 78.0)
            air = plane.coverage(y - FLUID_LEVEL)
            content = (24.0 + 9.0 * grain[window]) * (1 - air) - 1000.0 * air
            blend(image[window], plane.coverage(distance + 3.4 + 0.8 * grain[window]), content)
