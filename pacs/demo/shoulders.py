"""Clavicles, scapulae and the heads of the humeri, arms raised."""

import numpy as np

from pacs.demo.fields import Ellipsoid, Field, Plane, Tube, blend, smooth_max
from pacs.demo.skeleton import CORTEX, MARROW


class Shoulders:
    """Clavicles, scapulae and the heads of the humeri, arms raised."""

    def __init__(self) -> None:
        self.tubes: list[tuple[Tube, float]] = []
        self.blades: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []
        self.heads: list[Ellipsoid] = []
        for s in (-1.0, 1.0):
            self.tubes += [
                (Tube((s * 22, -53, 50, 9), (s * 36, -54, 57, 6.8), (s * 62, -47, 70, 5.6), (s * 90, -26, 83, 5.2),
                      (s * 112, -8, 91, 5.6), (s * 130, 8, 97, 6.4), (s * 139, 21, 99, 6.4)), 1.6),
                (Tube((s * 72, 84, 34, 2.2), (s * 92, 85, 48, 3.0), (s * 112, 80, 66, 3.6), (s * 130, 70, 86, 4.8),
                      (s * 144, 52, 100, 7.5), (s * 146, 34, 103, 7.0)), 1.3),
                (Tube((s * 86, 82, 44, 1.8), (s * 104, 77, 58, 2.0), (s * 120, 68, 72, 2.4),
                      (s * 128, 56, 80, 2.6)), 1.0),
                (Tube((s * 116, 34, 82, 5.5), (s * 112, 14, 92, 4.8), (s * 120, -2, 86, 4.6)), 1.2),
                (Tube((s * 144, 30, 78, 15), (s * 156, 24, 100, 12.5), (s * 168, 16, 130, 11.5),
                      (s * 176, 12, 160, 11)), 3.0),
            ]  # fmt: skip
            corners = [np.array(p) for p in ((s * 62, 80, 64), (s * 104, 88, -78), (s * 121, 43, 70))]
            self.blades.append(_blade(corners))
            self.heads += [Ellipsoid((s * 144, 31, 77), (22.0, 22.0, 22.0))]
            self.heads += [Ellipsoid((s * 119, 43, 70), (8.0, 11.0, 17.0), (0.85 * s, -0.5, 0.1))]

    def paint(self, image: Field, plane: Plane, z: float, grain: Field) -> None:
        for tube, shell in self.tubes:
            if (found := tube.distance(plane, z, 2.0)) is not None:
                window, distance = found
                blend(image[window], plane.coverage(distance), CORTEX)
                blend(image[window], plane.coverage(distance + shell), MARROW - 40.0 + 25.0 * grain[window])
        for ball in self.heads:
            if (near := ball.window(plane, z)) is not None:
                distance = ball.distance(*plane.axes(near), z)
                blend(image[near], plane.coverage(distance), CORTEX - 200.0)
                blend(image[near], plane.coverage(distance + 1.0), MARROW + 20.0 + 30.0 * grain[near])
        for corner, basis, edges in self.blades:
            if -78 < z < 80:
                self._paint_blade(image, plane, z, corner, basis, edges)

    def _paint_blade(
        self, image: Field, plane: Plane, z: float, corner: np.ndarray, basis: np.ndarray, edges: list[np.ndarray]
    ) -> None:
        side = 1.0 if corner[0] > 0 else -1.0
        x0, x1 = sorted((side * 60, side * 136))
        window = plane.window(x0, x1, 34, 104)
        x, y = plane.axes(window)
        u, v, w = (
            (x - corner[0]) * float(e[0]) + (y - corner[1]) * float(e[1]) + float((z - corner[2]) * e[2]) for e in basis
        )
        first, second, third = (u * float(nx) + v * float(ny) + float(offset) for nx, ny, offset in edges)
        inside = smooth_max(smooth_max(first, second, 5.0), third, 5.0)
        bulge = 5.0 * np.clip(-inside / 25.0, 0, 1) ** 0.8
        thick = 1.1 + 2.6 * np.clip(1.0 + inside / 7.0, 0, 1)
        plate = smooth_max(np.abs(w - bulge) - thick, inside, 1.5)
        blend(image[window], plane.coverage(plate), CORTEX - 120.0)
        blend(image[window], plane.coverage(plate + 1.2), MARROW)


def _blade(corners: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """A triangle's own axes (two in its plane, the normal towards the back) and its edges in them."""
    first = corners[1] - corners[0]
    first /= np.linalg.norm(first)
    normal = np.cross(first, corners[2] - corners[0])
    normal *= np.sign(normal[1]) / np.linalg.norm(normal)
    basis = np.stack([first, np.cross(normal, first), normal])
    flat = [np.array([(c - corners[0]) @ basis[0], (c - corners[0]) @ basis[1]]) for c in corners]
    middle = np.mean(flat, axis=0)
    edges = []
    for a, b in zip(flat, flat[1:] + flat[:1], strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        out = np.array([along[1], -along[0]])
        out *= np.sign((a - middle) @ out)
        edges.append(np.array([out[0], out[1], -float(a @ out)]))
    return corners[0], basis, edges
