"""A synthetic coronary angiogram: a vessel tree that beats while contrast medium runs through it."""

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import Field, curve
from pacs.demo.texture import blurred, smooth_noise

SIZE = 512
FRAMES_A_BEAT = 12
# x, y, radius (pixels of 512); each branch is reached when its parent's part `from` is
TREE: tuple[tuple[float, tuple[tuple[float, float, float], ...]], ...] = (
    (0.0, ((150, 118, 9), (186, 132, 8.5), (212, 148, 8))),
    (0.25, ((212, 148, 6.5), (262, 158, 6), (300, 196, 5.2), (322, 256, 4.4), (330, 322, 3.4), (312, 386, 2.2))),
    (0.25, ((212, 148, 6), (222, 186, 5.6), (214, 240, 5), (232, 300, 4.2), (262, 352, 3), (270, 396, 1.8))),
    (0.45, ((274, 166, 3.6), (330, 176, 3.2), (374, 214, 2.6), (398, 268, 1.8))),
    (0.5, ((304, 204, 3.2), (350, 246, 2.8), (376, 306, 2.2), (384, 356, 1.4))),
    (0.55, ((216, 226, 3.2), (178, 262, 2.8), (160, 316, 2.2), (166, 366, 1.4))),
    (0.65, ((234, 304, 2.8), (204, 344, 2.2), (198, 392, 1.4))),
    (0.6, ((324, 262, 2.4), (292, 300, 2.0), (286, 344, 1.3))),
)
CATHETER = ((60, -10, 3.2), (70, 60, 3.2), (104, 104, 3.2), (152, 119, 3.2))
STENOSIS = (228.0, 262.0)  # rows of the second branch where it narrows


def angiogram(frames: int, *, size: int = SIZE, seed: int = 3, turned: bool = False) -> NDArray[np.uint8]:
    """`frames` of a run at 15 a second, bright background, dark vessels; `turned` is the other projection."""
    rng = np.random.default_rng(seed)
    unit = size / SIZE
    ramp = np.arange(size, dtype=np.float32) / np.float32(unit)
    x, y = ramp[None, :], ramp[:, None]
    back = 165 - 60 * np.exp(-(((x - 120) / 70) ** 2)) + 0.06 * y + 9 * smooth_noise(rng, (size, size), 60 * unit)
    heart = np.hypot((x - 290) / 190, (y - 270) / 210)
    back -= 26 * np.clip(1.15 - heart, 0, 0.5)
    for k in range(6):
        rib = np.abs(y - 60 - 85 * k - 0.00085 * (x - 250) ** 2 + 0.12 * x)
        back -= 9 * np.exp(-((rib - 9) ** 2) / 10)
    back = blurred(back.astype(np.float32), 3)
    branches = [(begin, curve([(px, py, r) for px, py, r in points], 3.0)) for begin, points in TREE]
    catheter = curve(CATHETER, 3.0)
    result = np.empty((frames, size, size), np.uint8)
    for number in range(frames):
        beat = 0.5 - 0.5 * np.cos(2 * np.pi * number / FRAMES_A_BEAT)
        dark = np.zeros((size, size), np.float32)
        _draw(dark, catheter, unit, 1.0, turned, 0.0, 0.55)
        seconds = number / 15.0
        for begin, nodes in branches:
            arrived = np.clip(((seconds - 0.2) * 1.5 - begin) * (6.0 if begin == 0 else 1.3), 0.0, 1.0)
            washed = np.clip((seconds - 2.0) * 0.9, 0.0, 0.85)
            if arrived > 0:
                _draw(dark, nodes[: max(2, int(len(nodes) * arrived))], unit, 1.0 - washed, turned, float(beat), 0.8)
        image = back * np.exp(-0.85 * blurred(dark, 3)) + rng.standard_normal((size, size), np.float32) * 3.2
        result[number] = np.clip(image, 0, 255)
    return result


def _draw(
    dark: Field, nodes: NDArray[np.float64], unit: float, strength: float, turned: bool, beat: float, most: float
) -> None:
    """Lay a tube's shadow into `dark`, moved by the heartbeat towards the heart's middle."""
    for px, py, radius in nodes:
        if turned:
            px, py = 300 - 0.62 * (px - 300) + 0.25 * (py - 250), py + 0.18 * (px - 250)
        pull = 0.10 * beat * min(1.0, max(0.0, (py - 110) / 120))
        px, py = (px + (285 - px) * pull) * unit, (py + (250 - py) * pull) * unit
        if STENOSIS[0] < py / unit < STENOSIS[1] and radius > 3.5 and px / unit > 290:
            radius *= 0.55
        radius *= unit
        reach = int(radius + 2)
        left, top = int(px) - reach, int(py) - reach
        if left < 0 or top < 0:
            continue
        part = dark[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
        yy = np.arange(top, top + part.shape[0], dtype=np.float32)[:, None]
        xx = np.arange(left, left + part.shape[1], dtype=np.float32)[None, :]
        inside = np.sqrt(np.clip(1.0 - ((xx - px) ** 2 + (yy - py) ** 2) / (radius + 0.4) ** 2, 0.0, 1.0))
        weight = min(1.0, radius / (5.0 * unit) + 0.35)
        np.maximum(part, strength * most * weight * inside, out=part)
