"""Where the thorax's vessels and airways run: points (x, y, z, radius) in millimetres."""

import numpy as np

from pacs.demo.frame import spine_y

Path = tuple[tuple[float, float, float, float], ...]

AORTIC, PULMONARY, VENOUS = 236.0, 262.0, 205.0  # Hounsfield units of contrast medium, venous phase beginning


def mirrored(path: Path) -> Path:
    return tuple((-x, y, z, radius) for x, y, z, radius in path)


def before_spine(z: float, gap: float) -> float:
    """y of a point `gap` mm in front of the vertebral bodies."""
    return spine_y(z) - float(np.interp(-z, [-100, 0, 100, 260], [12.5, 14.5, 16.5, 18.5])) - gap


# fmt: off
AORTA: Path = (
    (6, -12, -64, 12), (0, -20, -48, 15.5), (-12, -28, -20, 15.5), (-13, -24, 8, 15), (-3, -18, 31, 14),
    (12, -6, 42, 13.2), (24, 11, 40, 12.6), (29, 29, 27, 12.2), (28, 42, 6, 11.8), (26, 44, -25, 11.5),
    (24, 42, -80, 11), (19, 34, -115, 10.6), (14, 25, -148, 10.3), (9, 14, -200, 9.8), (6, 6, -260, 9.4),
    (6, 4, -290, 9.4),
)
BRACHIOCEPHALIC_TO_RIGHT_CAROTID: Path = (
    (-3, -18, 34, 7.5), (-9, -17, 58, 6.4), (-21, -6, 80, 5.6), (-23, 2, 100, 4.2), (-24, 6, 150, 3.6),
)
LEFT_CAROTID: Path = ((11, -6, 44, 4.8), (18, -2, 80, 4), (22, 4, 110, 3.8), (24, 6, 150, 3.6))
LEFT_SUBCLAVIAN: Path = (
    (23, 10, 46, 5.6), (28, 12, 70, 5.2), (40, 8, 88, 4.8), (66, 6, 92, 4.6), (98, 12, 80, 4.4), (126, 22, 50, 4),
    (134, 26, 20, 3),
)
RIGHT_SUBCLAVIAN: Path = (
    (-20, -5, 82, 5), (-40, 6, 90, 4.8), (-66, 6, 92, 4.6), (-98, 12, 80, 4.4), (-126, 22, 50, 4), (-134, 26, 20, 3),
)
INTERNAL_THORACIC: Path = ((24, -56, 46, 1.5), (21, -68, 10, 1.5), (21, -82, -60, 1.4), (22, -86, -110, 1.1))

LEFT_BRACHIOCEPHALIC_VEIN: Path = ((36, -24, 70, 6.5), (16, -37, 53, 6.4), (-10, -41, 44, 6.8), (-30, -26, 32, 8))
SUPERIOR_VENA_CAVA: Path = (
    (-36, -22, 72, 7), (-32, -22, 48, 8), (-34, -18, 20, 9), (-35, -15, -20, 9.4), (-33, -17, -50, 11),
    (-31, -20, -64, 14),
)
INFERIOR_VENA_CAVA: Path = ((-26, -4, -114, 12), (-25, 2, -126, 12), (-23, 6, -180, 12), (-20, 8, -290, 11))
CAVA_AT_ATRIUM: Path = ((-30, -18, -90, 11), (-28, -10, -104, 12.5), (-26, -3, -115, 12))
SUBCLAVIAN_VEIN: Path = ((36, -22, 72, 6.5), (64, -20, 84, 6), (98, 4, 72, 5.4), (124, 12, 42, 5), (132, 16, 15, 3.5))
JUGULAR_VEIN: Path = ((36, -20, 74, 7), (33, -8, 98, 7.4), (31, 2, 150, 7.4))
AZYGOS: Path = (
    *((-6.0, before_spine(z, 4.0), float(z), 3.2) for z in range(-200, 1, 25)),
    (-14, 28, 10, 3.6), (-28, 12, 13, 4), (-33, -8, 10, 4.4),
)

PULMONARY_TRUNK: Path = ((20, -52, -72, 14), (21, -48, -48, 13.5), (18, -38, -27, 13.4), (13, -14, -13, 12))
LEFT_PULMONARY: Path = ((14, -18, -13, 11), (30, -1, -6, 10.2), (46, 17, -11, 9), (52, 31, -34, 7.2))
LEFT_UPPER_PULMONARY: Path = ((44, 14, -9, 6), (54, 4, -9, 5.4))
RIGHT_PULMONARY: Path = (
    (12, -10, -14, 10), (-9, 3, -20, 9.8), (-32, 7, -26, 8.8), (-44, 13, -39, 7.6), (-47, 24, -58, 6.2),
)
RIGHT_UPPER_PULMONARY: Path = ((-28, 6, -24, 6), (-46, 8, -13, 5))
MIDDLE_LOBE_PULMONARY: Path = ((-44, 14, -42, 4.4), (-51, 7, -53, 3.6))
PULMONARY_VEINS: tuple[Path, ...] = (
    ((-18, 8, -55, 7), (-34, 2, -47, 6), (-46, -4, -40, 5.2)),
    ((-18, 15, -66, 7), (-36, 26, -71, 6), (-49, 34, -75, 5.2)),
    ((28, 8, -53, 7), (42, 0, -43, 6), (51, -5, -37, 5.2)),
    ((30, 15, -65, 7), (44, 28, -68, 6), (55, 38, -71, 5.2)),
)

VESSELS: tuple[tuple[float, Path], ...] = (
    (AORTIC, AORTA), (AORTIC, BRACHIOCEPHALIC_TO_RIGHT_CAROTID), (AORTIC, LEFT_CAROTID),
    (AORTIC, LEFT_SUBCLAVIAN), (AORTIC, RIGHT_SUBCLAVIAN),
    (AORTIC - 60, INTERNAL_THORACIC), (AORTIC - 60, mirrored(INTERNAL_THORACIC)),
    (VENOUS, LEFT_BRACHIOCEPHALIC_VEIN), (VENOUS, SUPERIOR_VENA_CAVA),
    (VENOUS - 65, INFERIOR_VENA_CAVA), (VENOUS + 5, CAVA_AT_ATRIUM),
    (VENOUS - 30, SUBCLAVIAN_VEIN), (VENOUS - 30, mirrored(SUBCLAVIAN_VEIN)),
    (VENOUS - 30, JUGULAR_VEIN), (VENOUS - 30, mirrored(JUGULAR_VEIN)), (VENOUS - 40, AZYGOS),
    (PULMONARY, PULMONARY_TRUNK), (PULMONARY, LEFT_PULMONARY), (PULMONARY, LEFT_UPPER_PULMONARY),
    (PULMONARY, RIGHT_PULMONARY), (PULMONARY, RIGHT_UPPER_PULMONARY), (PULMONARY, MIDDLE_LOBE_PULMONARY),
    *((AORTIC, vein) for vein in PULMONARY_VEINS),
)

CORONARIES: tuple[Path, ...] = (
    ((10, -34, -50, 2.0), (24, -52, -60, 2.0), (46, -66, -82, 1.7), (68, -66, -106, 1.2)),
    ((-8, -34, -52, 1.9), (-22, -48, -66, 1.9), (-24, -50, -90, 1.7), (-12, -40, -113, 1.4)),
    ((12, -28, -52, 1.8), (40, -10, -58, 1.6), (52, 8, -72, 1.4)),
)

AIRWAYS: tuple[Path, ...] = (
    # trachea; right main bronchus down to the lower lobe; right upper; middle; left main to the lower; left upper
    ((0, -12, 160, 8.5), (-1, -8, 118, 8.8), (-3, 0, 80, 8.8), (-5, 8, 40, 9), (-3, 15, 4, 9.2), (-2, 16, 0, 8)),
    ((-4, 15, 3, 7), (-14, 18, -9, 7.2), (-25, 22, -20, 6.8), (-31, 24, -40, 6), (-38, 27, -54, 5.4),
     (-44, 32, -68, 4.6)),
    ((-22, 21, -17, 5), (-34, 20, -12, 5), (-46, 20, -10, 4.6)),
    ((-34, 25, -46, 4), (-46, 10, -55, 3.6), (-52, 2, -60, 3.2)),
    ((0, 15, 3, 6.5), (14, 20, -11, 6.4), (32, 25, -23, 6.2), (42, 27, -34, 5.6), (50, 38, -56, 4.6)),
    ((40, 26, -29, 5), (48, 16, -27, 5), (54, 10, -26, 4.6)),
)
OESOPHAGUS: Path = (
    (3, 14, 150, 5), (4, before_spine(90, 7), 90, 5.4), (5, before_spine(40, 6), 40, 5.6),
    (6, before_spine(0, 6), 0, 5.6), (4, before_spine(-60, 5), -60, 5.8), (12, 20, -105, 6), (26, 8, -128, 7),
    (44, 0, -138, 8),
)
THYROID: Path = ((17, -6, 92, 4), (18, -8, 108, 8), (17, -8, 125, 8.5), (17, -6, 150, 7))
ARM: Path = ((136, 34, 66, 30), (152, 26, 92, 38), (168, 16, 130, 42), (176, 12, 160, 42))
ARMPIT: Path = ((112, 4, 66, 12), (132, 16, 30, 15), (138, 18, -8, 12), (141, 16, -30, 5))
# fmt: on
