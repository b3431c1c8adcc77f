"""A synthetic knee in sagittal slices, for MR. Lengths in mm: u to the back, v to the feet, s to the side."""

from collections.abc import Iterator

import numpy as np

from pacs.demo.fields import Field, Grain, Plane, blend, smooth_min

FOV = 160.0
CONTRASTS: dict[str, dict[str, float]] = {
    "T1": {
        "air": 8,
        "fat": 880,
        "muscle": 340,
        "bone": 60,
        "marrow": 820,
        "fluid": 230,
        "cartilage": 430,
        "tendon": 40,
    },
    "PD FS": {
        "air": 10,
        "fat": 120,
        "muscle": 360,
        "bone": 35,
        "marrow": 130,
        "fluid": 960,
        "cartilage": 610,
        "tendon": 45,
    },
}


def slices(offsets: list[float], size: int, contrast: str, seed: int = 9) -> Iterator[Field]:
    """The ideal slices at `offsets` from the middle of the joint."""
    plane, grain = Plane(size, FOV), Grain(seed, 5.0)
    for s in offsets:
        yield _slice(plane, s, CONTRASTS[contrast], grain.at(plane, s))


def _oval(u: Field, v: Field, centre: tuple[float, float], radii: tuple[float, float]) -> Field:
    near = np.hypot((u - centre[0]) / radii[0], (v - centre[1]) / radii[1])
    return (near - 1.0) * min(radii)


def _rod(u: Field, v: Field, a: tuple[float, float], b: tuple[float, float], radius: float) -> Field:
    du, dv = b[0] - a[0], b[1] - a[1]
    t = np.clip(((u - a[0]) * du + (v - a[1]) * dv) / (du * du + dv * dv), 0.0, 1.0)
    return np.hypot(u - a[0] - t * du, v - a[1] - t * dv) - radius


def _slice(plane: Plane, s: float, value: dict[str, float], grain: Field) -> Field:
    u, v = plane.x, plane.y - float(plane.y[plane.size // 2, 0])
    side = abs(s) / 45.0
    middle = float(np.exp(-((s / 9.0) ** 2)))  # between the condyles
    thin = float(np.sqrt(max(0.05, 1.0 - (s / 58.0) ** 2)))
    image = np.full((plane.size, plane.size), value["air"], np.float32)
    leg = np.maximum(np.abs(u - 6.0 - 0.05 * v) - 62.0 * thin + 0.0012 * (v + 4) ** 2, -90.0)
    blend(image, plane.coverage(leg), value["muscle"])
    blend(image, plane.coverage(leg + 1.5), value["fat"] * (1 + 0.03 * grain))
    muscle = _rod(u, v, (38, -82), (36, -22), 17 * thin)
    muscle = np.minimum(muscle, _rod(u, v, (34, 14), (38, 88), 19 * thin))
    muscle = np.minimum(muscle, _rod(u, v, (-24, -90), (-26, -52), 9 * thin))
    blend(image, plane.coverage(np.maximum(muscle + 1.5 * grain, leg + 7)), value["muscle"] * (1 + 0.05 * grain))
    shaft = _rod(u, v, (4, -95), (2, -30), 14.0 - 5 * side)
    condyle = _oval(u, v, (4 + 4 * (1 - middle), -21 + 6 * middle), (31 - 9 * middle, 25 - 7 * middle))
    femur = smooth_min(shaft, condyle + 14 * side**3, 10.0)
    top = 6.0 + 0.0016 * u**2 - 3.0 * middle
    tibia = np.maximum(top - v, np.abs(u - 3) - 32 + 13 * side**2)
    tibia = np.maximum(tibia, np.abs(u - 2 + 0.06 * v) - (30 - np.clip((v - 8) * 0.55, 0, 14)))
    patella = _oval(u, v, (-41, -26), (9.5, 19)) + 9 * (abs(s) / 22) ** 2
    effusion = np.maximum(_oval(u, v, (-23, -48), (5, 24)), abs(s) - 24.0)
    blend(image, plane.coverage(effusion + 0.6 * grain), value["fluid"])
    for bone, facing in ((femur, v > -46), (tibia, v < 16), (patella, u > -40)):
        cartilage = np.where(facing, bone - 2.6, bone)
        blend(image, plane.coverage(cartilage), value["cartilage"])
        blend(image, plane.coverage(bone), value["bone"])
        blend(image, plane.coverage(bone + 1.4), value["marrow"] * (1 + 0.06 * grain))
    space = np.maximum(np.maximum(2.6 - femur, v - (top - 2.0)), np.abs(u - 3) - 27.0)
    space = np.maximum(space, -2.0 - v)
    blend(image, plane.coverage(space), value["fluid"] * 0.8)
    if side > 0.12:  # the menisci: dark wedges at the front and at the back
        for direction in (-1.0, 1.0):
            reach = direction * (u - 3) - 13.0
            wedge = np.maximum(np.maximum(2.2 - femur, v - (top - 1.8)), np.maximum(-reach * 0.6, -8.0 - v))
            blend(image, plane.coverage(np.maximum(wedge, reach - 15.0)), value["tendon"])
            if s > 0 and direction > 0:  # a tear in the posterior horn
                tear = np.abs(v - 0.45 * (u - 26) - 1.2) - 0.5
                blend(image, plane.coverage(np.maximum(np.maximum(tear, wedge + 0.2), reach - 14.0)), value["fluid"])
    if middle > 0.3:
        for a, b, radius in (((12, -26), (-14, 3), 3.6), ((-6, -24), (24, 10), 4.2)):
            blend(image, plane.coverage(_rod(u, v, a, b, radius * middle) + 0.5 * grain), value["tendon"] * 1.8)
    if abs(s) < 17:
        tendons = np.minimum(_rod(u, v, (-37, -88), (-44, -44), 3.2), _rod(u, v, (-44, -8), (-34, 27), 2.8))
        blend(image, plane.coverage(tendons), value["tendon"])
    return image
