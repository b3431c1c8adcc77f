"""Synthetic mammograms: four views of a pair of breasts."""

import numpy as np
from numpy.typing import NDArray

from pacs.demo.texture import blurred, smooth_noise

PIXEL = 0.3
HEIGHT, WIDTH = 234.0, 168.0


def mammogram(
    *, view: str, left: bool, seed: int, mass: bool = False, dense: float = 1.0, pixel: float = PIXEL
) -> NDArray[np.uint16]:
    """12 bits, bright is dense. `view` is CC or MLO; the chest wall is at the image's left for the left breast."""
    shape = (round(HEIGHT / pixel), round(WIDTH / pixel))
    rng = np.random.default_rng([seed, left, view == "MLO"])
    y = ((np.arange(shape[0], dtype=np.float32) * np.float32(pixel)) - HEIGHT / 2)[:, None]
    x = (np.arange(shape[1], dtype=np.float32) * np.float32(pixel))[None, :]
    oblique = view == "MLO"
    middle, half, depth = (18.0, 98.0, 112.0) if oblique else (0.0, 84.0, 106.0)
    droop = np.where(y > middle, 0.80, 1.0)
    near = np.hypot(x / depth, (y - middle) * (1.0 / half) / droop)
    edge = (near - 1.0) * 70.0  # mm to the skin, negative inside
    if oblique:
        edge = np.minimum(edge, np.maximum(x - 52.0 - 0.35 * (y + 117), y - 10.0))
    thickness = np.clip(-edge / 22.0, 0.0, 1.0) ** 0.55
    coarse, medium, fine = (smooth_noise(rng, shape, mm / pixel) for mm in (17.0, 6.0, 1.7))
    strands = np.exp(-((medium * 2.4) ** 2)) + 0.6 * np.exp(-((fine * 2.2) ** 2))
    gland = np.hypot((x - 52) / 50.0, (y - middle) / (52.0 if oblique else 58.0))
    gland = np.clip((1.25 - gland + 0.33 * coarse + 0.10 * medium) * 1.5, 0.0, 1.0) * np.clip(x / 22.0 - 0.15, 0.0, 1.0)
    signal = thickness * (0.30 + 0.05 * strands + dense * gland * (0.22 + 0.16 * strands + 0.05 * coarse))
    signal += 0.16 * np.exp(-(((edge + 1.0) / 1.1) ** 2))
    if oblique:
        muscle = (62.0 - 0.62 * (y + 117)) - x
        signal += 0.34 * np.clip(muscle / 4.0, 0.0, 1.0) * thickness * (1 + 0.06 * medium)
    nipple = np.hypot(x - depth + 2.0, y - middle) - 5.0
    signal = np.where(nipple < 0, np.maximum(signal, 0.34), signal)
    if mass:
        cx, cy = (64.0, -20.0) if not oblique else (60.0, -12.0)
        angle = np.arctan2(y - cy, x - cx)
        away = np.hypot(x - cx, y - cy) - 7.0 - 1.5 * np.cos(9 * angle + 1) - 1.2 * np.cos(14 * angle)
        signal += 0.24 * np.clip(-away / 3.0, 0.0, 1.0)
        for px, py in rng.normal((cx + 3, cy + 8), 4.0, (14, 2)):
            signal += 0.30 * np.exp(-((np.hypot(x - float(px), y - float(py)) / 0.35) ** 2))
    signal = blurred(signal.astype(np.float32), 3)
    signal += 0.008 * rng.standard_normal(shape, np.float32)
    image = np.clip(np.where(edge < 3, 120 + 4300 * signal, 60 + 400 * np.abs(signal)), 0, 4095).astype(np.uint16)
    return image if left else image[:, ::-1].copy()
