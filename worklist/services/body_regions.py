"""Which of the regions that radiologists share among themselves an examination is about."""

from worklist.models import Region
from worklist.services import resemblance

# The parts of the body that values and descriptions name (worklist.services.resemblance), by region.
_REGION_OF: dict[str, Region] = {
    "HEAD": Region.HEAD,
    "TEETH": Region.HEAD,
    "NECK": Region.NECK,
    "CHEST": Region.CHEST,
    "BREAST": Region.BREAST,
    "ABDOMEN": Region.ABDOMEN,
    "PELVIS": Region.ABDOMEN,
    "CSPINE": Region.SPINE,
    "TSPINE": Region.SPINE,
    "LSPINE": Region.SPINE,
    "SHOULDER": Region.LIMBS,
    "ARM": Region.LIMBS,
    "HAND": Region.LIMBS,
    "THIGH": Region.LIMBS,
    "KNEE": Region.LIMBS,
    "LEG": Region.LIMBS,
    "FOOT": Region.LIMBS,
}


def body_regions(*texts: str) -> list[str]:
    """The regions that body parts (0018,0015) and descriptions name, sorted; none where nothing is said."""
    return sorted({_REGION_OF[part].value for part in resemblance.regions(*texts)})
