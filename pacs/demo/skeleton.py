"""Bones: spine, ribs with their cartilages, sternum."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pacs.demo.fields import (
    ANGLES,
    Ellipsoid,
    Field,
    Plane,
    Point,
    angles,
    blend,
    smooth_max,
    smooth_min,
)
from pacs.demo.frame import Surface, spine_slope, spine_y

CORTEX, MARROW, CARTILAGE, DISC = 980.0, 190.0, 95.0, 85.0


@dataclass(frozen=True)
class Vertebra:
    """One level: the body between `top` and `bottom`, its half width and half depth."""

    name: str
    top: float
    bottom: float
    half_width: float
    half_depth: float

    @property
    def middle(self) -> float:
        return 0.5 * (self.top + self.bottom)


def _column() -> list[Vertebra]:
    names = [*(f"C{n}" for n in range(4, 8)), *(f"T{n}" for n in range(1, 13)), "L1", "L2", "L3"]
    tops = (145, 128, 112, 96, 79, 60, 41, 21, 0, -22, -45, -68, -92, -117, -143, -171, -201, -234, -268, -303)
    column = []
    for number, (name, (top, bottom)) in enumerate(zip(names, pairwise(tops), strict=True)):
        disc = 4.0 + 0.12 * abs(number - 6)
        column.append(
            Vertebra(name, top - disc / 2, bottom + disc / 2, 13.5 + 0.55 * max(0, number - 5), 10.5 + 0.42 * number)
        )
    return column


VERTEBRAE = _column()

# Rib: z of its head, of its costochondral junction, of its cartilage's end at the sternum; the
# junction's angle from the back in radians (the floating ribs end there).
RIBS = (
    (80, 47, 44, 2.45), (61, 10, 8, 2.62), (41, -19, -16, 2.60), (21, -47, -36, 2.55), (0, -76, -54, 2.48),
    (-22, -104, -71, 2.38), (-45, -132, -84, 2.26), (-68, -156, -100, 2.10), (-92, -178, -124, 1.96),
    (-117, -197, -150, 1.82), (-143, -208, None, 1.55), (-171, -212, None, 1.05),
)  # fmt: skip
HEAD_ANGLE = 0.27


class Ribs:
    """Twelve pairs on the cage surface, each a band around a line that falls from the spine forwards."""

    def __init__(self, cage: Surface) -> None:
        self.cage = cage
        around = np.abs(angles())
        self.lines, self.slopes, self.sizes, self.ends, self.junctions = [], [], [], [], []
        for number, (head, junction, sternal, angle) in enumerate(RIBS, 1):
            drop = head - junction
            xs = [HEAD_ANGLE, 0.55, 0.5 * (0.55 + angle), angle]
            zs = [head - 1.0, head - 0.10 * drop, head - 0.64 * drop, float(junction)]
            if sternal is not None:
                xs += [angle + 0.35 * (2.98 - angle), 2.98]
                zs += [junction - 0.06 * drop + (0.25 * (sternal - junction)), float(sternal)]
            line = np.interp(around, xs, zs)
            width = 161
            kernel = np.hanning(width + 2)[1:-1]
            line = np.convolve(np.pad(line, width // 2, mode="wrap"), kernel / kernel.sum(), mode="valid")
            line = line + np.where(angles() > 0, 0.8, -0.8)
            reach = cage.radius(float(np.mean(zs)))
            slope = np.gradient(line, 2 * np.pi / ANGLES) / reach
            self.lines.append(line)
            self.slopes.append(1.0 / np.sqrt(1.0 + slope**2))
            self.sizes.append(4.6 if number == 1 else 5.0 if number >= 11 else 6.2)
            self.ends.append(angle if sternal is None else 2.98)
            self.junctions.append(angle)

    def paint(self, image: Field, plane: Plane, z: float, distance: Field, grain: Field) -> None:
        """`distance` is the cage surface's at `z`."""
        around = np.abs(angles())
        rise = self.cage.rise_at(z)
        best = np.full(ANGLES, 99.0)
        bone = np.zeros(ANGLES, bool)
        for line, lean, size, end, junction in zip(
            self.lines, self.slopes, self.sizes, self.ends, self.junctions, strict=True
        ):
            off = np.abs(z - line) * lean * rise / size
            past = np.maximum(np.maximum(around - end, HEAD_ANGLE - around), 0.0) * 110.0 / size
            off = np.hypot(off, past)
            nearer = off < best
            best[nearer] = off[nearer]
            bone[nearer] = (around < junction)[nearer]
        if best.min() > 2.0:
            return
        reach = np.float32(8.0)
        rows, columns = np.nonzero(np.abs(distance) < reach)
        index = plane.angle_index[rows, columns]
        along = best.astype(np.float32)[index]
        near = along < 2.0
        rows, columns, index, along = rows[near], columns[near], index[near], along[near]
        half = np.where(bone, 3.3, 4.0).astype(np.float32)[index]
        across = distance[rows, columns] / half
        k = np.sqrt(across**2 + along**2)
        outside = (k - 1.0) * np.where(np.abs(across) > along, half, 5.0)
        is_bone = bone[index]
        values = image[rows, columns]
        outer = np.clip(0.5 - outside / (plane.pixel * 1.2), 0, 1)
        inner = np.clip(0.5 - (outside + 1.15) / (plane.pixel * 1.2), 0, 1)
        texture = grain[rows, columns]
        rim = np.where(is_bone, CORTEX - 60.0, CARTILAGE + 35.0 + 60.0 * np.maximum(texture - 0.9, 0.0))
        core = np.where(
            is_bone, MARROW + 60.0 + 30.0 * texture, CARTILAGE - 15.0 + 160.0 * np.maximum(texture - 1.7, 0.0)
        )
        values += outer * (rim - values)
        values += inner * (core - values)
        image[rows, columns] = values


class Spine:
    def paint(self, image: Field, plane: Plane, z: float, grain: Field) -> None:
        middle = spine_y(z)
        window = plane.window(-52, 52, middle - 24, middle + 70)
        x, y = plane.axes(window)
        part, texture = image[window], grain[window]
        canal = Ellipsoid((0.0, middle + self._depth(z) + 9.0, z), (10.5, 8.8, 20.0)).distance(x, y, z)
        disc = self._disc(x, y, z)
        bone = np.full_like(part, 50.0)
        for vertebra in VERTEBRAE:
            if abs(z - vertebra.middle) < 48:
                bone = np.minimum(bone, self._distance(vertebra, x, y, z))
        bone = np.maximum(bone, -canal)
        blend(part, plane.coverage(disc), DISC)
        blend(part, plane.coverage(canal), -55.0)
        for radius, value in ((7.0, 12.0), (4.9, 42.0)):
            sac = Ellipsoid((0.0, middle + self._depth(z) + 9.0, z), (radius * 1.15, radius * 0.95, 20.0))
            blend(part, plane.coverage(sac.distance(x, y, z)), value)
        blend(part, plane.coverage(bone), CORTEX)
        blend(part, plane.coverage(bone + 1.2, 1.4), MARROW + 26.0 * texture)

    def _depth(self, z: float) -> float:
        return float(np.interp(-z, [-v.middle for v in VERTEBRAE], [v.half_depth for v in VERTEBRAE]))

    def _outline(self, x: Field, y: Field, half_width: float, half_depth: float) -> Field:
        """A kidney shape: flat and slightly hollow at the back."""
        k = np.sqrt(np.sqrt((x / half_width) ** 4 + ((y + 0.0028 * x * x - 0.6) / half_depth) ** 4))
        return (k - 1.0) * (0.5 * (half_width + half_depth))

    def _disc(self, x: Field, y: Field, z: float) -> Field:
        width = float(np.interp(-z, [-v.middle for v in VERTEBRAE], [v.half_width for v in VERTEBRAE]))
        return self._outline(x, y - spine_y(z), width - 0.3, self._depth(z) - 0.3)

    def body(self, x: Field, y: Field, z: float) -> Field:
        """The column of bodies and discs, for what must keep clear of it."""
        return self._disc(x, y, z)

    def _distance(self, v: Vertebra, x: Field, y: Field, z: float) -> Field:
        slope = spine_slope(v.middle)
        c = 1.0 / math.sqrt(1.0 + slope**2)
        py = y - spine_y(v.middle)
        pz = z - v.middle
        y = c * (py - slope * pz)
        height = c * (pz + slope * py)
        half = 0.5 * (v.top - v.bottom)
        waist = 1.6 * (1.0 - np.clip(height / half, -1, 1) ** 2)
        hollow = 0.9 * np.exp(-(x * x + y * y) / 90.0)
        body = smooth_max(self._outline(x, y, v.half_width, v.half_depth) + waist, np.abs(height) - half + hollow, 1.6)
        side, depth, span = np.abs(x), v.half_depth, v.top - v.bottom
        lumbar = v.name.startswith("L")
        drop = 9.0 if lumbar or v.name[0] == "C" else 15.0 if v.name in ("T1", "T2", "T11", "T12") else 25.0
        tip = (0.0, depth + (44.0 if not v.name.startswith("C") else 36.0), -0.15 * span - drop)
        reach = 33.0 if v.name in ("T1", "T2") or lumbar else 30.0 if v.name not in ("T11", "T12") else 22.0
        w = 0.66 * v.half_width
        pieces = (
            ((w, depth - 4, 0.20 * span), (w + 1.5, depth + 10, 0.16 * span), 3.6, 3.6),
            ((w, depth - 4, 0.05 * span), (w + 1.5, depth + 10, 0.03 * span), 3.2, 3.2),
            ((w + 2.5, depth + 11, 0.10 * span), (0.0, depth + 21, -0.10 * span), 2.8, 3.0),
            ((w + 2.0, depth + 12, -0.15 * span), (0.0, depth + 22, -0.34 * span), 2.6, 2.8),
            ((w + 2.5, depth + 12, 0.10 * span), (reach, depth + (14.0 if lumbar else 21.0), 0.22 * span), 4.2,
             2.6 if lumbar else 3.4),
            ((w + 2.5, depth + 12, 0.58 * span), (w + 2.5, depth + 14, -0.60 * span), 3.2, 3.0),
            ((0.0, depth + 20, -0.14 * span), tip, 2.9, 3.4),
            ((0.0, depth + 20, -0.34 * span), (0.0, tip[1] - 3, tip[2] - (6.0 if not lumbar else 10.0)), 2.6, 3.0),
        )  # fmt: skip
        arch = np.full_like(body, 50.0)
        for a, b, ra, rb in pieces:
            arch = smooth_min(arch, _capsule(side, y, height, a, b, ra, rb), 2.0)
        return np.minimum(body, arch)


def _capsule(x: Field, y: Field, z: Field, a: Point, b: Point, ra: float, rb: float) -> Field:
    """`fields.capsule` with a height of its own for each pixel."""
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    px, py, pz = x - a[0], y - a[1], z - a[2]
    t = np.clip((px * bx + py * by + pz * bz) * (1.0 / (bx * bx + by * by + bz * bz)), 0.0, 1.0)
    return np.sqrt((px - t * bx) ** 2 + (py - t * by) ** 2 + (pz - t * bz) ** 2) - (ra + t * (rb - ra))


class Sternum:
    LEVELS = (-124, -112, -99, -96, -80, -40, 0, 4, 6, 30, 46, 53)
    HALF_WIDTHS = (1.5, 4.0, 6.0, 15.0, 19.0, 17.0, 13.5, 14.0, 17.0, 26.0, 31.0, 29.0)

    def paint(self, image: Field, plane: Plane, z: float, distance: Field, grain: Field) -> None:
        if not -128 < z < 58:
            return
        window = plane.window(-40, 40, -118, -30)
        x, _ = plane.axes(window)
        half = float(np.interp(z, self.LEVELS, self.HALF_WIDTHS))
        notch = 53.0 - 6.0 * np.exp(-((x / 12.0) ** 2))
        ends = np.maximum(z - notch, -124.0 - z)
        joint = 0.9 - np.abs(z - 5.0)  # between manubrium and body
        bone = smooth_max(np.abs(distance[window]) - 5.4, smooth_max(np.abs(x) - half, ends, 2.0), 3.0)
        bone = np.maximum(bone, joint)
        blend(image[window], plane.coverage(bone), CORTEX - 250.0)
        blend(image[window], plane.coverage(bone + 1.1), MARROW - 20.0 + 25.0 * grain[window])
