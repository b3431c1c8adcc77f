"""The thorax's frame: the surfaces that everything else lies between. z = 0 is the carina."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import ANGLES, POLAR_Y, Field, Plane, angles, curve

TOP, BOTTOM = 150.0, -280.0


def spine_y(z: float) -> float:
    """The middle of the vertebral bodies: thoracic kyphosis."""
    return 52.0 - 6.0 * ((z + 70.0) / 100.0) ** 2


def spine_slope(z: float) -> float:
    return -0.0012 * (z + 70.0)


class Surface:
    """A closed surface around the z axis: radius from the pole as a function of angle and height."""

    STEP = 2.0

    def __init__(self, levels: Sequence[float], radii: Sequence[Field]) -> None:
        self.heights = np.arange(BOTTOM, TOP + self.STEP, self.STEP)
        order = np.argsort(levels)
        sorted_levels = np.asarray(levels, dtype=float)[order]
        rows = np.stack([radii[i] for i in order])
        table = np.empty((len(self.heights), ANGLES))
        for column in range(ANGLES):
            table[:, column] = np.interp(self.heights, sorted_levels, rows[:, column])
        kernel = np.exp(-0.5 * (np.arange(-8, 9) / 4.0) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(table, ((8, 8), (0, 0)), mode="edge")
        self.table = sum(w * padded[i : i + len(self.heights)] for i, w in enumerate(kernel)).astype(np.float32)
        rise = np.gradient(self.table, self.STEP, axis=0)
        turn = np.gradient(self.table, 2 * np.pi / ANGLES, axis=1) / self.table
        self.stretch = np.sqrt(1.0 + rise**2 + turn**2).astype(np.float32)
        self.rise = np.sqrt(1.0 + rise**2).astype(np.float32)

    def _at(self, table: Field, z: float) -> Field:
        position = float(np.clip((z - BOTTOM) / self.STEP, 0, len(self.heights) - 1.001))
        row, part = int(position), position % 1.0
        return table[row] * np.float32(1 - part) + table[row + 1] * np.float32(part)

    def radius(self, z: float) -> Field:
        return self._at(self.table, z)

    def rise_at(self, z: float) -> Field:
        return self._at(self.rise, z)

    def distance(self, plane: Plane, z: float, grow: Field | float = 0.0) -> Field:
        """Distance to the surface moved outwards by `grow` mm (a number, or one for each angle)."""
        radius = self.radius(z) + grow
        over = 1.0 / self._at(self.stretch, z)
        return (plane.radius - radius[plane.angle_index]) * over[plane.angle_index]


def _polar(x: NDArray[np.float64], y: NDArray[np.float64]) -> Field:
    """A half outline from back to front, mirrored, as radius at each of the polar map's angles."""
    angle = np.arctan2(x, y - POLAR_Y)
    return np.interp(np.abs(angles()), angle, np.hypot(x, y - POLAR_Y)).astype(np.float32)


# z, half width, y of the back (rib angles), y of the front (sternum)
CAGE = (
    (110, 26, 44, -12), (95, 32, 52, -18), (80, 46, 61, -28), (60, 72, 71, -48), (40, 95, 77, -60), (20, 110, 81, -68),
    (0, 120, 84, -76), (-40, 130, 87, -87), (-80, 136, 89, -95), (-120, 138, 89, -98), (-160, 137, 87, -98),
    (-200, 132, 83, -95), (-240, 126, 79, -92), (-280, 122, 76, -90),
)  # fmt: skip
# z, half width, depth behind the pole, depth before it, squareness
SKIN = (
    (-280, 146, 94, 108, 2.4), (-240, 150, 99, 113, 2.4), (-160, 157, 106, 121, 2.4), (-80, 159, 109, 119, 2.35),
    (-20, 161, 108, 105, 2.3), (20, 165, 107, 92, 2.3), (50, 168, 106, 83, 2.3), (75, 166, 100, 73, 2.2),
    (95, 140, 86, 64, 2.1), (112, 100, 74, 58, 2.0), (150, 68, 66, 62, 2.0),
)  # fmt: skip


def cage_surface() -> Surface:
    """The middle of the ribs' thickness, notched at the back where the vertebral bodies stand in."""
    radii = []
    for z, width, back, front in CAGE:
        notch, middle = spine_y(z) + 6.0, 0.5 * (back + front) + 8.0
        outline = [
            (0, notch), (0.11 * width, notch + 2), (0.22 * width, notch + 0.6 * (back - notch)),
            (0.38 * width, back - 1), (0.58 * width, back - 2), (0.80 * width, back - 0.30 * (back - middle)),
            (0.95 * width, back - 0.62 * (back - middle)), (width, middle),
            (0.96 * width, middle - 0.38 * (middle - front)), (0.82 * width, middle - 0.70 * (middle - front)),
            (0.60 * width, middle - 0.89 * (middle - front)), (0.35 * width, middle - 0.975 * (middle - front)),
            (0.12 * width, front), (0, front),
        ]  # fmt: skip
        nodes = curve(outline, 2.0)
        radii.append(_polar(nodes[:, 0], nodes[:, 1]))
    return Surface([row[0] for row in CAGE], radii)


def skin_surface() -> Surface:
    radii = []
    for _, width, back, front, power in SKIN:
        angle = angles()
        toward_back = 0.5 * (1 + np.cos(angle))
        smooth = toward_back**2 * (3 - 2 * toward_back)
        depth = front + (back - front) * smooth
        radius = (np.abs(np.sin(angle) / width) ** power + np.abs(np.cos(angle) / depth) ** power) ** (-1 / power)
        radius -= 4.0 * np.exp(-((angle / 0.10) ** 2))  # the furrow over the spine
        from_front = np.pi - np.abs(angle)
        radius -= 3.0 * np.exp(-((from_front / 0.09) ** 2))  # and over the sternum
        radii.append(radius.astype(np.float32))
    return Surface([row[0] for row in SKIN], radii)


class HeightMap:
    """A sheet z = f(x, y): a fissure, a dome. Distance is positive above it."""

    def __init__(self, plane: Plane, heights: Field) -> None:
        self.heights = heights.astype(np.float32)
        down, across = np.gradient(self.heights, plane.pixel)
        self.over = (1.0 / np.sqrt(1.0 + down**2 + across**2)).astype(np.float32)

    def above(self, z: float) -> Field:
        return (z - self.heights) * self.over


def diaphragm(plane: Plane) -> HeightMap:
    """Two domes, the right one higher, deep at the sides and deepest at the back, joined below the heart."""
    x, y = plane.x, plane.y

    def dome(cx: float, cy: float, top: float, width: float) -> Field:
        side = np.where((x - cx) * np.sign(cx) > 0, width, width * 1.15)
        depth = np.where(y > cy, 80.0, 100.0)
        q = np.sqrt(((x - cx) / side) ** 2 + ((y - cy) / depth) ** 2)
        return top - 72.0 * q**3.0

    right, left = dome(-66.0, -6.0, -104.0, 66.0), dome(66.0, -2.0, -117.0, 66.0)
    back = 0.011 * np.maximum(y - 26.0, 0.0) ** 2
    floor = np.maximum(
        -121.0 - back - 0.10 * np.maximum(-40.0 - y, 0.0) - 0.006 * np.maximum(np.abs(x) - 34.0, 0.0) ** 2, -230.0
    )
    k = 8.0
    joined = k * np.logaddexp(np.logaddexp(right / k, left / k), floor / k - 1.5)
    return HeightMap(plane, np.maximum(joined, -225.0))


def lung_tops(plane: Plane) -> HeightMap:
    """The two apices above the first ribs."""
    x, y = plane.x, plane.y

    def apex(cx: float, top: float) -> Field:
        return top - 26.0 * ((np.abs(x - cx) / 46.0) ** 2.4 + (np.abs(y - 26.0 + 0.1 * np.abs(x)) / 54.0) ** 2.4)

    return HeightMap(plane, np.where(x < 0, apex(-42.0, 86.0), apex(42.0, 88.0)))


def fissures(plane: Plane) -> tuple[HeightMap, HeightMap]:
    """The oblique fissures of both lungs as one sheet, and the right lung's horizontal one."""
    x, y = plane.x, plane.y
    lateral = np.abs(x) / 130.0
    oblique = -42.0 + 0.95 * (y - 8.0) - 22.0 * lateral**2 + 5.0 * np.sin(y / 34.0) + np.where(x > 0, 9.0, 0.0)
    horizontal = -38.0 + 0.10 * (y + 40.0) + 7.0 * np.cos(x / 46.0) - 0.05 * (x + 80.0)
    return HeightMap(plane, oblique), HeightMap(plane, horizontal + 0.0 * oblique)
