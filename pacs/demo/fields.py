"""Sampling planes, shapes as signed distances, and smooth random texture.

Lengths are millimetres in the patient's coordinate system (PS3.3 C.7.6.2.1.1): x to the left, y to
the back, z to the head. A distance is negative inside a shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32 throughout, for speed; scalars that meet it are Python's own floats
Point = tuple[float, float, float]
Window = tuple[slice, slice]

ANGLES = 2048
POLAR_Y = 8.0
CENTRE_Y = 12.0


class Plane:
    """A square axial sampling grid of `size` pixels over `fov` millimetres, and its polar map.

    The polar map has its pole at (0, POLAR_Y) and its angle 0 at the back, growing to the left.
    """

    def __init__(self, size: int, fov: float) -> None:
        self.size = size
        self.pixel = fov / size
        ramp = ((np.arange(size) - (size - 1) / 2) * self.pixel).astype(np.float32)
        self.x: Field = ramp[None, :]
        self.y: Field = ramp[:, None] + np.float32(CENTRE_Y)
        self.radius: Field = np.hypot(self.x, self.y - POLAR_Y)
        angle = np.arctan2(self.x, self.y - POLAR_Y)
        self.angle_index = np.rint((angle + np.pi) * (ANGLES / (2 * np.pi))).astype(np.int32) % ANGLES

    def window(self, x0: float, x1: float, y0: float, y1: float) -> Window:
        """The rows and columns that cover a rectangle, cut at the edge of the grid."""
        left, top = float(self.x[0, 0]), float(self.y[0, 0])
        columns = slice(
            max(0, int((x0 - left) / self.pixel)), max(0, min(self.size, int((x1 - left) / self.pixel) + 2))
        )
        rows = slice(max(0, int((y0 - top) / self.pixel)), max(0, min(self.size, int((y1 - top) / self.pixel) + 2)))
        return rows, columns

    def axes(self, window: Window) -> tuple[Field, Field]:
        return self.x[:, window[1]], self.y[window[0], :]

    def coverage(self, distance: Field, width: float = 0.0) -> Field:
        """How much of each pixel lies inside: 1, 0, and a ramp of `width` mm (default a pixel) between."""
        return np.clip(0.5 - distance * (1.0 / (width or self.pixel * 1.1)), 0.0, 1.0)


def angles() -> Field:
    """The polar map's angles, -pi to pi; 0 is the back, positive the patient's left."""
    return ((np.arange(ANGLES) / ANGLES) * (2 * np.pi) - np.pi).astype(np.float32)


def blend(image: Field, coverage: Field, value: Field | float) -> None:
    """Lay `value` over `image`, in place, as far as `coverage` says."""
    image += coverage * (value - image)


def smooth_max(a: Field, b: Field, k: float) -> Field:
    """The larger of two distances with the corner rounded over `k` mm: a rounded intersection."""
    h = np.clip(0.5 - 0.5 * (b - a) * (1.0 / k), 0.0, 1.0)
    return b + (a - b) * h + k * h * (1.0 - h)


def smooth_min(a: Field, b: Field, k: float) -> Field:
    """The smaller of two distances with the corner filled over `k` mm: a rounded union."""
    return -smooth_max(-a, -b, k)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid whose first axis points along `axis`, whose third lies near the z axis."""

    centre: Point
    radii: Point
    axis: Point = (1.0, 0.0, 0.0)

    def window(self, plane: Plane, z: float, margin: float = 3.0) -> Window | None:
        reach = max(self.radii) + margin
        if abs(z - self.centre[2]) > reach:
            return None
        cx, cy, _ = self.centre
        return plane.window(cx - reach, cx + reach, cy - reach, cy + reach)

    def distance(self, x: Field, y: Field, z: float) -> Field:
        first = np.array(self.axis) / np.linalg.norm(self.axis)
        third = np.array([0.0, 0.0, 1.0]) - first[2] * first
        third /= np.linalg.norm(third)
        second = np.cross(third, first)
        px, py, pz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        near: Field | float = 0.0
        far: Field | float = 0.0
        for (ax, ay, az), radius in zip((first, second, third), self.radii, strict=True):
            along = px * float(ax) + py * float(ay) + float(az * pz)
            near = near + (along * (1.0 / radius)) ** 2
            far = far + (along * (1.0 / radius**2)) ** 2
        k0 = np.sqrt(near)
        return k0 * (k0 - 1.0) / np.maximum(np.sqrt(far), 1e-4)


def capsule(x: Field, y: Field, z: float, a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Field:
    """Distance to a segment from `a` to `b` whose radius goes from `ra` to `rb`."""
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    length = bx * bx + by * by + bz * bz + 1e-6
    px, py, pz = x - a[0], y - a[1], z - a[2]
    t = np.clip((px * bx + py * by + pz * bz) * (1.0 / length), 0.0, 1.0)
    return np.sqrt((px - t * bx) ** 2 + (py - t * by) ** 2 + (pz - t * bz) ** 2) - (ra + t * (rb - ra))


def curve(points: Sequence[Sequence[float]], step: float) -> NDArray[np.float64]:
    """A Catmull-Rom curve through `points` (any number of columns), about `step` mm between samples."""
    knots = np.asarray(points, dtype=float)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        count = max(2, int(np.ceil(np.linalg.norm((p2 - p1)[:3]) / step)))
        t = (np.arange(count) / count)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        )
    return np.vstack([*pieces, knots[-1:]])


class Tube:
    """A curved tube through points (x, y, z, radius)."""

    def __init__(self, *points: tuple[float, float, float, float], step: float = 6.0) -> None:
        nodes = curve(points, step)
        self.segments = [(a[:3].tolist(), b[:3].tolist(), float(a[3]), float(b[3])) for a, b in pairwise(nodes)]

    def distance(self, plane: Plane, z: float, margin: float) -> tuple[Window, Field] | None:
        """The window and distance of what comes within `margin` of the plane at `z`, if anything does."""
        near = [
            s
            for s in self.segments
            if min(s[0][2], s[1][2]) - max(s[2:]) - margin < z < max(s[0][2], s[1][2]) + max(s[2:]) + margin
        ]
        if not near:
            return None
        reach = max(max(s[2:]) for s in near) + margin
        xs = [p[0] for s in near for p in s[:2]]
        ys = [p[1] for s in near for p in s[:2]]
        window = plane.window(min(xs) - reach, max(xs) + reach, min(ys) - reach, max(ys) + reach)
        x, y = plane.axes(window)
        if not x.size or not y.size:
            return None
        distance = capsule(x, y, z, *near[0])
        for segment in near[1:]:
            np.minimum(distance, capsule(x, y, z, *segment), out=distance)
        return window, distance


class Grain:
    """Smooth random texture in three dimensions: about unit variance, features of `scale` mm."""

    CELLS = 24

    def __init__(self, seed: int, scale: float) -> None:
        self.scale = scale
        self.lattice = np.random.default_rng(seed).standard_normal((self.CELLS,) * 3).astype(np.float32)
        self._weights: dict[int, tuple[Field, Field]] = {}

    def _matrix(self, positions: NDArray[np.floating]) -> Field:
        """Quadratic B-spline weights of the (repeating) lattice at `positions` in cells."""
        nearest = np.rint(positions).astype(int)
        t = positions - nearest
        matrix = np.zeros((len(positions), self.CELLS), np.float32)
        rows = np.arange(len(positions))
        for offset, weight in ((-1, 0.5 * (0.5 - t) ** 2), (0, 0.75 - t**2), (1, 0.5 * (0.5 + t) ** 2)):
            np.add.at(matrix, (rows, (nearest + offset) % self.CELLS), weight)
        return matrix

    def at(self, plane: Plane, z: float) -> Field:
        if plane.size not in self._weights:
            across = self._matrix(plane.x[0].astype(float) / self.scale)
            self._weights[plane.size] = (self._matrix(plane.y[:, 0].astype(float) / self.scale), across)
        down, across = self._weights[plane.size]
        depth = self._matrix(np.array([z / self.scale]))[0]
        layer = np.tensordot(depth, self.lattice, axes=(0, 0))
        return (down @ layer @ across.T) * np.float32(2.5)
