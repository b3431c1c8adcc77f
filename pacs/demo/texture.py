"""Smooth random images and small filters for the projected modalities."""

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import Field


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Field:
    """Unit noise whose features are about `cell` pixels wide: a coarse grid, interpolated."""
    rows, columns = shape
    grid = rng.standard_normal((int(rows / cell) + 4, int(columns / cell) + 4)).astype(np.float32)
    down, across = np.arange(rows) / cell + 1.0, np.arange(columns) / cell + 1.0
    return 1.7 * cubic(cubic(grid, down).T, across).T


def cubic(table: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of `table` at fractional positions (cubic B-spline weights: smooth, a little soft)."""
    base = np.floor(positions).astype(int)
    t = (positions - base)[:, None].astype(np.float32)
    weights = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    last = len(table) - 1
    result = np.zeros((len(positions), table.shape[1]), np.float32)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        result += weight * table[np.clip(base + offset, 0, last)]
    return result


def box(image: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """A running mean along the rows' direction, edges repeated."""
    half = width // 2
    padded = np.pad(image, ((half + 1, half), (0, 0)), mode="edge").cumsum(axis=0, dtype=np.float64)
    return ((padded[width:] - padded[:-width]) / width).astype(np.float32)


def blurred(image: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """About a Gaussian: three running means each way."""
    for _ in range(3):
        image = box(box(image, width).T, width).T
    return image


def rods(
    shape: tuple[int, int], pixel: float, pieces: list[tuple[float, float, float, float, float, float]]
) -> tuple[Field, Field]:
    """Round rods in the plane (x0, y0, x1, y1, radius at each end; mm): paths through them and through their rims.

    What an X-ray passes of a long bone: the whole, and the shell that its cortex makes.
    """
    whole, hollow = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for x0, y0, x1, y1, r0, r1 in pieces:
        reach = max(r0, r1) + 1.0
        left, right = max(0, int((min(x0, x1) - reach) / pixel)), int((max(x0, x1) + reach) / pixel) + 2
        top, bottom = max(0, int((min(y0, y1) - reach) / pixel)), int((max(y0, y1) + reach) / pixel) + 2
        part = whole[top:bottom, left:right]
        if not part.size:
            continue
        y = (np.arange(top, top + part.shape[0], dtype=np.float32) * np.float32(pixel))[:, None]
        x = (np.arange(left, left + part.shape[1], dtype=np.float32) * np.float32(pixel))[None, :]
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6), 0.0, 1.0)
        radius = r0 + t * (r1 - r0)
        square = (x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2
        path = 2.0 * np.sqrt(np.maximum(radius**2 - square, 0.0))
        np.maximum(part, path, out=part)
        within = 2.0 * np.sqrt(np.maximum((0.74 * radius) ** 2 - square, 0.0))
        np.maximum(hollow[top:bottom, left:right], within, out=hollow[top:bottom, left:right])
    return whole, whole - hollow
