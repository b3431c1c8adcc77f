"""Branching vessels and airways that fill the region they supply."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import Field, Plane, capsule

Branch = tuple[list[float], list[float], float, float]


def grow(
    points: NDArray[np.float64],
    root: Sequence[float],
    *,
    radius: float,
    seed: int,
    smallest: float = 0.55,
    companion: Sequence[float] | None = None,
    companion_radius: float = 0.0,
) -> tuple[list[Branch], list[Branch]]:
    """Branches from `root` to every one of `points`, and those of a companion that follows them.

    Each branch heads for the middle of the points it supplies and splits them in two; its radius
    falls with the cube root of their number (Murray's law). The companion (a bronchus beside its
    artery) makes the same turns next to the branch and ends where it becomes invisible.
    """
    rng = np.random.default_rng(seed)
    unit = radius / len(points) ** (1 / 3)
    ratio = companion_radius / radius
    branches: list[Branch] = []
    beside: list[Branch] = []
    start = np.asarray(root, dtype=float)
    pending = [
        (np.arange(len(points)), start, None if companion is None else np.asarray(companion, dtype=float), radius)
    ]
    while pending:
        members, origin, origin_beside, before = pending.pop()
        here = points[members]
        target = here.mean(axis=0)
        size = max(smallest, unit * len(members) ** (1 / 3))
        share = 1.0 if len(members) == 1 else rng.uniform(0.38, 0.55)
        end = origin + share * (target - origin)
        bow = np.cross(end - origin, rng.standard_normal(3))
        middle = 0.5 * (origin + end) + bow / (np.linalg.norm(bow) + 1e-6) * 0.05 * np.linalg.norm(end - origin)
        middle_size = 0.5 * (min(before, size * 1.5) + size)
        branches.append((origin.tolist(), middle.tolist(), min(before, size * 1.5), middle_size))
        branches.append((middle.tolist(), end.tolist(), middle_size, size))
        end_beside = None
        if origin_beside is not None and size * ratio > 1.15:
            across = np.cross(end - origin, (0.3, 1.0, 0.2))
            across /= np.linalg.norm(across) + 1e-6
            end_beside = end + across * (size * (1 + ratio) + 1.0)
            beside.append((origin_beside.tolist(), end_beside.tolist(), before * ratio, size * ratio))
        if len(members) == 1:
            continue
        centred = here - target
        heading = end - origin
        heading /= np.linalg.norm(heading) + 1e-6
        flat = centred - np.outer(centred @ heading, heading) * 0.6
        axis = np.linalg.svd(flat, full_matrices=False)[2][0]
        order = np.argsort(centred @ axis)
        cut = min(len(members) - 1, max(1, round(len(members) * rng.uniform(0.32, 0.68))))
        pending.append((members[order[:cut]], end, end_beside, size))
        pending.append((members[order[cut:]], end, end_beside, size))
    return branches, beside


class Branches:
    """Branches sorted by height, so that a slice touches only those that cross it."""

    BIN = 4.0

    def __init__(self, branches: Iterable[Branch]) -> None:
        self.bins: dict[int, list[Branch]] = defaultdict(list)
        for branch in branches:
            a, b, ra, rb = branch
            reach = max(ra, rb) + 1.5
            for number in range(
                int((min(a[2], b[2]) - reach) // self.BIN), int((max(a[2], b[2]) + reach) // self.BIN) + 1
            ):
                self.bins[number].append(branch)

    def coverage(self, plane: Plane, z: float, grow: float = 0.0) -> Field:
        """How much of each pixel lies in a branch, or within `grow` mm of one."""
        covered = np.zeros((plane.size, plane.size), np.float32)
        sharp = 1.0 / max(plane.pixel * 1.1, 0.8)
        for a, b, ra, rb in self.bins.get(int(z // self.BIN), ()):
            reach = max(ra, rb) + grow + 1.0
            if not min(a[2], b[2]) - reach < z < max(a[2], b[2]) + reach:
                continue
            # only the stretch of the branch that comes near this plane
            rise = b[2] - a[2]
            lo, hi = 0.0, 1.0
            if abs(rise) > 1e-3:
                lo, hi = sorted(((z - reach - a[2]) / rise, (z + reach - a[2]) / rise))
                lo, hi = max(lo, 0.0), min(hi, 1.0)
            xs = (a[0] + lo * (b[0] - a[0]), a[0] + hi * (b[0] - a[0]))
            ys = (a[1] + lo * (b[1] - a[1]), a[1] + hi * (b[1] - a[1]))
            window = plane.window(min(xs) - reach, max(xs) + reach, min(ys) - reach, max(ys) + reach)
            x, y = plane.axes(window)
            if x.size and y.size:
                distance = capsule(x, y, z, a, b, ra + grow, rb + grow)
                part = covered[window]
                np.maximum(part, np.clip(0.5 - distance * sharp, 0.0, 1.0), out=part)
        return covered
