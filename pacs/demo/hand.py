"""A synthetic radiograph of a hand: bones as rods, soft tissue around them."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import Field
from pacs.demo.texture import blurred, rods, smooth_noise

PIXEL = 0.25
WIDTH, HEIGHT = 150.0, 198.0
# base of the metacarpal, direction (degrees from straight up, to the thumb's side), lengths of the bones
RAYS = (
    ((58, 122), 44, (36, 26, 19), 5.0),
    ((66, 113), 12, (60, 36, 22, 16), 4.6),
    ((76, 111), 1, (58, 40, 25, 17), 4.7),
    ((86, 113), -9, (52, 37, 23, 17), 4.3),
    ((95, 117), -19, (47, 29, 17, 15), 3.8),
)
CARPALS = (
    (62, 127, 6.0), (69, 121, 5.2), (78, 121, 6.6), (88, 123, 6.0), (64, 135, 6.6), (76, 136, 7.2), (88, 134, 6.0),
    (92, 130, 4.2),
)  # fmt: skip


def hand_radiograph(
    *, oblique: bool = False, child: bool = False, seed: int = 4, pixel: float = PIXEL
) -> NDArray[np.uint16]:
    """A left hand from behind, or turned by 45 degrees; a child's has growth plates and fewer carpals. 12 bits."""
    shape = (round(HEIGHT / pixel), round(WIDTH / pixel))
    bones: list[tuple[float, float, float, float, float, float]] = []
    flesh: list[tuple[float, float, float, float, float, float]] = []
    squeeze = 0.74 if oblique else 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        """Fitted into the picture, and turned."""
        return 79 + 0.84 * (x - 75) * squeeze + (0.09 * (y - 120) if oblique else 0.0), 32 + 0.84 * y

    for (x, y), angle, lengths, radius in RAYS:
        dx, dy = np.sin(np.radians(-angle)) * 1.0, -np.cos(np.radians(angle))
        start_x, start_y = x, y
        for number, length in enumerate(lengths):
            gap = 3.0 if child else 1.6
            end_x, end_y = x + dx * length, y + dy * length
            waist = radius * (0.72 - 0.08 * number)
            a, b = (x + dx * gap, y + dy * gap), (end_x - dx * gap, end_y - dy * gap)
            third = [(a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part) for part in (0.0, 0.3, 0.7, 1.0)]
            for (p, q), (r0, r1) in zip(
                pairwise(third),
                ((radius * 1.12, waist), (waist, waist), (waist, radius * (1.06 - 0.06 * number))),
                strict=True,
            ):
                bones.append((*at(*p), *at(*q), r0, r1))
            if child:
                bones.append((*at(x, y), *at(x + dx * 0.2, y + dy * 0.2), radius * 0.9, radius * 0.9))
            radius *= 0.88
            x, y = end_x, end_y
        flesh.append((*at(start_x, start_y), *at(x + dx * 3, y + dy * 3), 15.0, 7.4))
    flesh += [(*at(76, 122), *at(78, 205), 29.0, 27.0), (*at(70, 96), *at(84, 96), 25.0, 23.0)]
    bones += [(*at(x, y), *at(x + 0.5, y + 0.5), r, r) for x, y, r in (CARPALS[2:4] if child else CARPALS)]
    wrist = 149.0 if child else 144.0
    for x, radii in ((66, (11.5, 7.2)), (89, (7.0, 5.6))):
        bones.append((*at(x, wrist), *at(x + 1, 168), *radii))
        bones.append((*at(x + 1, 168), *at(x + 3, 210), radii[1], radii[1] * 0.95))
    whole, rim = rods(shape, pixel, bones)
    soft, _ = rods(shape, pixel, flesh)
    rng = np.random.default_rng(seed)
    trabeculae = 1.0 + 0.16 * smooth_noise(rng, shape, 0.7 / pixel) + 0.10 * smooth_noise(rng, shape, 2.5 / pixel)
    signal: Field = 0.016 * np.minimum(soft, 34.0) + 0.062 * whole**0.72 * trabeculae + 0.05 * np.minimum(rim, 7.0)
    signal = blurred(signal, 3)
    signal += 0.010 * rng.standard_normal(shape, np.float32)
    return np.clip(180 + 1850 * signal, 0, 4095).astype(np.uint16)
