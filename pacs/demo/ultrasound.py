"""Synthetic ultrasound: speckle in a sector, a gallbladder and vessels that move with the breath, and colour flow."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pacs.demo.fields import Field
from pacs.demo.texture import smooth_noise

ROWS, COLUMNS = 480, 640
DEPTH_MM, APEX_MM, HALF_ANGLE = 150.0, 55.0, 0.62
PIXEL_MM = 0.355
TOP = 24
RAYS, SAMPLES = 220, 420


@lru_cache(2)
def _map(scale: int) -> tuple[Field, Field, NDArray[np.bool_]]:
    """For each pixel its sample and its ray, and whether it lies in the sector."""
    rows, columns = ROWS // scale, COLUMNS // scale
    pixel = PIXEL_MM * scale
    x = (np.arange(columns) - columns / 2)[None, :] * pixel
    y = (np.arange(rows) - TOP // scale)[:, None] * pixel + APEX_MM * np.cos(HALF_ANGLE)
    radius, angle = np.hypot(x, y) - APEX_MM, np.arctan2(x, y)
    sample = radius / DEPTH_MM * SAMPLES
    ray = (angle / HALF_ANGLE + 1) * (RAYS - 1) / 2
    return sample, ray, (radius >= 0) & (radius < DEPTH_MM) & (np.abs(angle) <= HALF_ANGLE)


def sector_frames(count: int, *, seed: int, scale: int = 1) -> Iterator[NDArray[np.uint8]]:
    """A cine of the liver, gallbladder and right kidney."""
    sample, ray, inside = _map(scale)
    rows = np.clip(np.rint(sample).astype(int), 0, SAMPLES - 1)
    columns = np.clip(np.rint(ray).astype(int), 0, RAYS - 1)
    rng = np.random.default_rng(seed)
    depth = (np.arange(SAMPLES) / SAMPLES * DEPTH_MM)[:, None]
    angle = ((np.arange(RAYS) / (RAYS - 1) * 2 - 1) * HALF_ANGLE)[None, :]
    x, y = (APEX_MM + depth) * np.sin(angle), (APEX_MM + depth) * np.cos(angle) - APEX_MM
    texture = smooth_noise(rng, (SAMPLES, RAYS), 26.0)
    still = rng.rayleigh(1.0, (SAMPLES, RAYS)).astype(np.float32)
    for number in range(count):
        breath = float(np.sin(2 * np.pi * number / max(count, 2)))
        moving = np.roll(still, round(5 * breath), axis=0)
        fresh = rng.rayleigh(1.0, (SAMPLES, RAYS)).astype(np.float32)
        echo = _echo(x, y - 4.0 * breath, texture)
        speckle = 0.72 * moving + 0.28 * fresh
        speckle = (speckle + np.roll(speckle, 1, 1) + np.roll(speckle, -1, 1)) / 3.0
        level = 20 * np.log10(np.maximum(echo * speckle, 1e-3)) - 0.05 * depth
        polar = np.clip((level + 48) * 4.1, 0, 255)
        image = polar[rows, columns] * inside
        yield image.astype(np.uint8)


def _echo(x: Field, y: Field, texture: Field) -> Field:
    """How strongly the tissue at (x, y) mm scatters."""
    echo = np.where(y < 9, 0.26 + 0.10 * np.cos(y * 1.9 + 0.4 * texture), 0.16 * (1 + 0.18 * texture))
    for cx, cy, rx, ry, value in (
        (-20, 62, 13, 4, 0.004), (6, 48, 5, 5, 0.004), (-34, 40, 4, 3.4, 0.005), (34, 74, 4, 7, 0.005),
    ):  # fmt: skip
        near = np.hypot((x - cx) / rx, (y - cy) / ry)
        echo = np.where(near < 1, value, np.where(near < 1.18, 0.55, echo))
    gallbladder = np.hypot((x - 18 - 0.2 * (y - 70)) / 11, (y - 66) / 19)
    behind = (np.abs(x - 20 - 0.2 * (y - 70)) < 10) & (y > 85)
    echo = np.where(behind, echo * 2.2, echo)
    echo = np.where(gallbladder < 1, 0.0025, np.where(gallbladder < 1.1, 0.6, echo))
    stone = np.hypot(x - 19, y - 79) < 3.6
    shadow = (np.abs(x - 20.5 - 0.12 * (y - 80)) < 3.4) & (y > 81)
    echo = np.where(shadow, echo * 0.06, np.where(stone, 3.0, echo))
    kidney = np.hypot((x + 26) / 30, (y - 94 - 0.25 * (x + 26)) / 17)
    sinus = np.hypot((x + 26) / 15, (y - 94 - 0.25 * (x + 26)) / 6)
    echo = np.where(kidney < 1, 0.075, np.where(kidney < 1.06, 0.6, echo))
    echo = np.where(sinus < 1 + 0.15 * texture, 0.5, echo)
    diaphragm = np.abs(np.hypot(x - 10, y - 20) - 106)
    return np.asarray(np.where(diaphragm < 1.6, 2.2, np.where(np.hypot(x - 10, y - 20) > 107, echo * 0.35, echo)))


def colour_flow(grey: NDArray[np.uint8], *, seed: int, scale: int = 1) -> NDArray[np.uint8]:
    """The same picture in RGB with a colour box, its outline and its scale."""
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    sample, ray, inside = _map(scale)
    depth, part = sample / SAMPLES * DEPTH_MM, ray / (RAYS - 1)
    box = inside & (depth > 46) & (depth < 92) & (part > 0.22) & (part < 0.62)
    edge = box & ~(np.roll(box, 1, 0) & np.roll(box, -1, 0) & np.roll(box, 1, 1) & np.roll(box, -1, 1))
    rng = np.random.default_rng(seed)
    x = (APEX_MM + depth) * np.sin((part * 2 - 1) * HALF_ANGLE)
    y = (APEX_MM + depth) * np.cos((part * 2 - 1) * HALF_ANGLE) - APEX_MM
    for cx, cy, rx, ry, towards in ((-20, 62, 13, 4, True), (6, 48, 5, 5, False)):
        near = np.hypot((x - cx) / rx, (y - cy) / ry) + 0.1 * smooth_noise(rng, x.shape, 6.0 / scale + 1)
        speed = np.clip(1.15 - near, 0, 1)
        flow = box & (near < 1.0)
        strong = (110 + 145 * speed)[flow]
        rgb[flow] = 0
        rgb[flow, 0 if towards else 2] = strong
        rgb[flow, 1] = np.clip(strong - 150, 0, 255) * 1.1
    rgb[edge] = (90, 200, 90)
    rows = np.arange(60 // scale, 220 // scale)
    ramp = np.linspace(1, -1, len(rows))
    for column in range(8 // scale, 22 // scale):
        rgb[rows, column, 0] = np.clip(ramp, 0, 1) * 255
        rgb[rows, column, 2] = np.clip(-ramp, 0, 1) * 255
        rgb[rows, column, 1] = np.clip(np.abs(ramp) - 0.5, 0, 1) * 200
    return rgb


def with_ticks(image: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
    """Depth marks every centimetre at the right, as scanners draw them; the picture holds no words."""
    for centimetre in range(int(DEPTH_MM // 10) + 1):
        row = TOP // scale + round(centimetre * 10 / (PIXEL_MM * scale))
        length = (10 if centimetre % 5 == 0 else 5) // scale + 1
        if row < image.shape[0] - 1:
            image[row : row + 1, -20 // scale - length : -20 // scale] = 200
    return image
