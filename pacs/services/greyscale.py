"""Grey samples to bytes that can be shown: modality LUT, window, inversion (PS3.3 C.11, PS3.4 N.2).

Drawn through one table over all values that the samples can have, so the cost of a window function does not grow with
the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

TABLE_BITS = 16
# Samples that are looked up at once: numpy makes eight bytes of each on the way.
AT_ONCE = 64 * 1024
Values = Callable[[np.ndarray], np.ndarray]
Window = tuple[float, float, str]


@dataclass(frozen=True)
class LookupTable:
    """A lookup table (PS3.3 C.11.1.1): the value of its first entry, the entries, their highest possible one."""

    first: int
    entries: np.ndarray
    highest: float

    def look_up(self, values: np.ndarray) -> np.ndarray:
        positions = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[positions.astype(np.intp)]


@dataclass(frozen=True)
class Look:
    """How the grey of an object, or of one of its frames, is to look.

    `padding` are the least and the greatest stored value that count as no part of the image (PS3.3 C.7.5.1.1.2).
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_table: LookupTable | None = None
    window: Window | None = None
    window_table: LookupTable | None = None
    padding: tuple[int, int] | None = None


def shown_grey(pixels: np.ndarray, look: Look, *, inverted: bool) -> np.ndarray:
    """0…255 for each sample: by the look's window, else by its table, else by the range that the samples have."""
    values = _modality_values(look)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize * 8 <= TABLE_BITS:
        pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        lowest, highest = int(pixels.min()), int(pixels.max())
        # Through a table a value between the ends may be the darkest; else it is one of the ends.
        ends = np.array([lowest, highest], dtype=pixels.dtype)
        shown = values(ends if look.modality_table is None else pixels)
        every = np.arange(lowest, highest + 1).astype(pixels.dtype)
        table = _windowed(values(every), look, _range(pixels, values, look, shown))
        # Looked up by the samples' bits, whatever their sign: nothing has to be computed for each pixel.
        bits = np.dtype(f"u{pixels.dtype.itemsize}")
        drawn = np.zeros(1 << 8 * bits.itemsize, np.uint8)
        drawn[every.view(bits)] = 255 - table if inverted else table
        return _looked_up(drawn, pixels.view(bits))
    modality = values(pixels)
    grey = _windowed(modality, look, (float(modality.min()), float(modality.max())))
    return 255 - grey if inverted else grey


def shown_by_window(pixels: np.ndarray, stored: int, look: Look, *, inverted: bool) -> np.ndarray:
    """The same for a look with a window and no tables, of whose samples only the lowest `stored` bits count.

    What a value looks like follows from the look alone, so the table is made once for all images that look alike.
    """
    table = _window_table(pixels.dtype.str, stored, look, inverted)
    return _looked_up(table, pixels.view(f"u{pixels.dtype.itemsize}"))


@lru_cache(maxsize=16)
def _window_table(kind: str, stored: int, look: Look, inverted: bool) -> np.ndarray:
    unused = 8 * np.dtype(kind).itemsize - stored
    every = np.arange(1 << stored).astype(kind) << unused >> unused  # the sign comes from the highest that is stored
    table = _windowed(_modality_values(look)(every), look, (0.0, 0.0))
    return np.tile(255 - table if inverted else table, 1 << unused)


def _looked_up(table: np.ndarray, positions: np.ndarray) -> np.ndarray:
    found = np.empty(positions.shape, np.uint8)
    source, target = positions.reshape(-1), found.reshape(-1)
    for start in range(0, source.size, AT_ONCE):
        # No position lies outside of the table; that mode writes straight into `out`.
        table.take(source[start : start + AT_ONCE], out=target[start : start + AT_ONCE], mode="wrap")
    return found


def _modality_values(look: Look) -> Values:
    """Stored values to modality values (PS3.3 C.11.1)."""
    table = look.modality_table
    if table is not None:
        return lambda stored: table.look_up(stored).astype(np.float32)
    slope, intercept = look.slope or 1.0, look.intercept
    return lambda stored: stored.astype("f4" if stored.dtype.itemsize <= 2 else "f8") * slope + intercept


def _range(pixels: np.ndarray, values: Values, look: Look, shown: np.ndarray) -> tuple[float, float]:
    """Darkest and brightest modality value, of those in `shown` or, with padding, of what is none."""
    if look.padding is not None and look.window is None and look.window_table is None:
        kept = pixels[(pixels < look.padding[0]) | (pixels > look.padding[1])]
        if kept.size:
            shown = values(np.array([kept.min(), kept.max()], dtype=pixels.dtype))
    return float(shown.min()), float(shown.max())


def _windowed(values: np.ndarray, look: Look, full: tuple[float, float]) -> np.ndarray:
    """Modality values to 0…255 (PS3.3 C.11.2)."""
    if look.window is not None:
        return _by_function(values, *look.window)
    table = look.window_table
    if table is not None:
        return (table.look_up(values).astype(np.float64) * (255.0 / table.highest)).clip(0, 255).astype(np.uint8)
    low, high = full
    if high <= low:
        return (
            np.where(values > 0, 255, 0).astype(np.uint8) if high == low and low else np.zeros(values.shape, np.uint8)
        )
    above: Any = values - low
    return (above * (255.0 / (high - low))).clip(0, 255).astype(np.uint8)


def _by_function(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """The functions of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    values = values.astype(np.float64)
    function = function.upper().replace("-", "_")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            shown = 255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    elif function == "LINEAR_EXACT":
        shown = ((values - centre) / width + 0.5) * 255.0
    elif width <= 1:
        shown = np.where(values <= centre - 0.5, 0.0, 255.0)
    else:
        shown = ((values - (centre - 0.5)) / (width - 1.0) + 0.5) * 255.0
    return shown.clip(0, 255).astype(np.uint8)
