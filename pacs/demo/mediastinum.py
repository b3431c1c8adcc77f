"""Heart, great vessels, central airways, oesophagus: what lies between the lungs."""

import numpy as np

from pacs.demo.fields import Ellipsoid, Field, Plane, Tube, Window, blend, smooth_max
from pacs.demo.frame import spine_y
from pacs.demo.skeleton import Spine
from pacs.demo.vessels import AIRWAYS, AORTA, AORTIC, CORONARIES, OESOPHAGUS, THYROID, VENOUS, VESSELS, mirrored

MUSCLE, FAT, MYOCARDIUM = 58.0, -98.0, 112.0


class Mediastinum:
    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.left_ventricle = Ellipsoid((40, -22, -84), (49, 30, 30), (0.72, -0.52, -0.46))
        self.left_cavity = Ellipsoid((36, -19, -81.5), (40, 19.5, 20), (0.72, -0.52, -0.46))
        self.right_ventricle = Ellipsoid((12, -48, -85), (45, 25, 31), (0.86, -0.16, -0.40))
        self.right_atrium = Ellipsoid((-30, -22, -80), (24, 27, 33))
        self.left_atrium = Ellipsoid((6, 12, -62), (33, 17, 24))
        self.padding = [
            Ellipsoid((0, -6, 66), (33, 40, 70)), Ellipsoid((0, -62, -12), (13, 30, 62)),
            Ellipsoid((-2, 20, -20), (22, 14, 60)), Ellipsoid((-34, -52, -118), (20, 18, 13)),
            Ellipsoid((62, -56, -116), (22, 14, 11)), Ellipsoid((8, -22, -120), (50, 58, 19)),
            Ellipsoid((2, 4, -108), (22, 26, 22)), Ellipsoid((0, -70, -120), (44, 26, 26)),
        ]  # fmt: skip
        self.airways = [Tube(*path) for path in AIRWAYS]
        self.aorta = Tube(*AORTA)
        self.vessels = [(value, Tube(*path)) for value, path in VESSELS]
        self.coronaries = [Tube(*path) for path in CORONARIES]
        self.oesophagus = Tube(*OESOPHAGUS)
        self.thyroid = (Tube(*THYROID), Tube(*mirrored(THYROID)))
        self.nodes = [
            Ellipsoid((-14, 4, 16), (4, 3, 6)),
            Ellipsoid((8, 12, -22), (5, 4, 6)),
            Ellipsoid((-20, -30, 26), (3, 2.4, 4)),
        ]

    def distance(self, plane: Plane, z: float) -> Field:
        """Distance to everything here together, with the fat that rounds it off: where no lung can be."""
        k = 4.0
        total = np.full((plane.size, plane.size), 1e-9, np.float32)

        def add(window: Window, distance: Field, padding: float) -> None:
            total[window] += np.exp(np.clip((padding - distance) * (1.0 / k), -30.0, 30.0))

        def add_ball(ball: Ellipsoid, padding: float) -> None:
            if (window := ball.window(plane, z, 22.0)) is not None:
                add(window, ball.distance(*plane.axes(window), z), padding)

        for chamber in (self.left_ventricle, self.right_ventricle, self.right_atrium, self.left_atrium):
            add_ball(chamber, 3.0)
        for ball in self.padding:
            add_ball(ball, 0.0)
        padded = [(t, 1.5) for _, t in self.vessels] + [(t, 1.2) for t in self.airways] + [(self.oesophagus, 2.0)]
        for tube, padding in padded:
            if (found := tube.distance(plane, z, 18.0)) is not None:
                add(*found, padding)
        middle = spine_y(z)
        window = plane.window(-50, 50, middle - 40, middle + 60)
        add(window, self.spine.body(*plane.axes(window), z), 3.5)
        return -k * np.log(total)

    def paint(self, image: Field, plane: Plane, z: float, grain: Field) -> None:
        found_vessels = [(value, f) for value, t in self.vessels if (f := t.distance(plane, z, 2.5)) is not None]
        for _, (window, distance) in found_vessels:
            blend(image[window], plane.coverage(distance - 0.9), 62.0)
        self._paint_heart(image, plane, z, grain)
        if (found := self.oesophagus.distance(plane, z, 2.0)) is not None:
            window, distance = found
            blend(image[window], plane.coverage(distance), 48.0)
            if -90 < z < 60 and int(z // 14) % 3 == 0:
                blend(image[window], plane.coverage(distance + 4.2, 1.6), -500.0)
        for lobe in self.thyroid:
            if (found := lobe.distance(plane, z, 2.0)) is not None:
                blend(image[found[0]], plane.coverage(found[1]), 165.0)
        for value, (window, distance) in found_vessels:
            blend(image[window], plane.coverage(distance), value + 4.0 * grain[window])
        self._paint_plaques(image, plane, z, grain)
        for node in self.nodes:
            if (near := node.window(plane, z)) is not None:
                blend(image[near], plane.coverage(node.distance(*plane.axes(near), z)), 62.0)
        for tube in self.airways:
            if (found := tube.distance(plane, z, 3.0)) is not None:
                window, distance = found
                blend(image[window], plane.coverage(distance - 1.3), 30.0)
        for tube in self.airways:
            if (found := tube.distance(plane, z, 3.0)) is not None:
                blend(image[found[0]], plane.coverage(found[1]), -1004.0)

    def _paint_heart(self, image: Field, plane: Plane, z: float, grain: Field) -> None:
        if not -125 < z < -25:
            return
        window = plane.window(-70, 100, -95, 45)
        x, y = plane.axes(window)
        part, texture = image[window], grain[window]
        wall = self.left_ventricle.distance(x, y, z)
        left = self.left_cavity.distance(x, y, z) + 1.3 * texture  # trabeculae and papillary muscles
        right = self.right_ventricle.distance(x, y, z)
        right_atrium = self.right_atrium.distance(x, y, z)
        left_atrium = self.left_atrium.distance(x, y, z)
        blend(part, plane.coverage(right), MYOCARDIUM - 10.0)
        blend(part, plane.coverage(smooth_max(right + 3.6 + 1.2 * texture, 2.0 - wall, 4.0)), VENOUS + 40.0)
        blend(part, plane.coverage(np.minimum(right_atrium, left_atrium) - 0.6), MYOCARDIUM - 30.0)
        blend(part, plane.coverage(np.maximum(right_atrium + 1.6, 2.0 - wall), 2.0), VENOUS + 25.0 + 8.0 * texture)
        blend(part, plane.coverage(np.maximum(left_atrium + 1.6, 2.0 - wall)), AORTIC - 4.0)
        blend(part, plane.coverage(wall), MYOCARDIUM + 5.0 * texture)
        blend(part, plane.coverage(left, 1.6), AORTIC)
        # mitral and tricuspid openings
        for opening, value in (
            (Ellipsoid((14, 2, -68), (14, 11, 12)), AORTIC - 2.0),
            (Ellipsoid((-11, -36, -84), (12, 12, 15)), VENOUS + 32.0),
        ):
            blend(part, plane.coverage(opening.distance(x, y, z), 2.5), value)
        for tube in self.coronaries:
            if (found := tube.distance(plane, z, 4.0)) is not None:
                blend(image[found[0]], plane.coverage(found[1] - 2.2), FAT + 10.0)
                blend(image[found[0]], plane.coverage(found[1]), AORTIC)

    def _paint_plaques(self, image: Field, plane: Plane, z: float, grain: Field) -> None:
        """Flecks of calcium in the wall of the aortic arch and of the descending aorta."""
        if (found := self.aorta.distance(plane, z, 2.0)) is None or not (26 < z < 56 or -150 < z < -60):
            return
        window, distance = found
        fleck = np.maximum(np.abs(distance) - 0.9, 2.1 - grain[window])
        blend(image[window], plane.coverage(fleck), 620.0)
