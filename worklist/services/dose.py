"""Dose and exposure of an examination, as the device reported them (PS3.3 C.4.16, Radiation Dose)."""

from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from worklist.models import PerformedProcedureStep
from worklist.services.dicom_json import Attributes, code, items, number, text

MOST_EXPOSURES = 500


@dataclass(frozen=True)
class Exposure:
    """An item of Exposure Dose Sequence (0040,030E): KVP in kV, current in mA, time in ms, exposure in mAs."""

    radiation_mode: str = ""
    kvp: float | None = None
    x_ray_tube_current: float | None = None
    exposure_time: float | None = None
    exposure: float | None = None
    filter_type: str = ""
    filter_material: str = ""
    comments: str = ""


@dataclass(frozen=True)
class Dose:
    """What the device said; None for what it did not say.

    Fluoroscopy in seconds, distances in mm, entrance dose in dGy (and in mGy), the dose area product in dGy·cm²,
    exposed area in mm (one: diameter or side; two: rows and columns).
    """

    anatomic_structure: str = ""
    total_number_of_exposures: int | None = None
    total_time_of_fluoroscopy: float | None = None
    image_and_fluoroscopy_area_dose_product: float | None = None
    entrance_dose: float | None = None
    entrance_dose_in_mgy: float | None = None
    exposed_area: tuple[float, ...] = ()
    distance_source_to_detector: float | None = None
    distance_source_to_entrance: float | None = None
    comments_on_radiation_dose: str = ""
    exposures: tuple[Exposure, ...] = field(default_factory=tuple)

    def __bool__(self) -> bool:
        return self != Dose()

    def as_json(self) -> dict[str, Any]:
        """Its values by keyword in snake_case."""
        found = asdict(self)
        return {**found, "exposed_area": list(self.exposed_area), "exposures": list(found["exposures"])}


def dose_of(*, performed: PerformedProcedureStep) -> Dose:
    """Dose and exposure that a performed step reports; false when it reports none."""
    said = performed.attributes
    anatomy = code(said, "AnatomicStructureSpaceOrRegionSequence")
    return Dose(
        anatomic_structure=(anatomy[2] or anatomy[0]) if anatomy else "",
        total_number_of_exposures=_whole(said, "TotalNumberOfExposures"),
        total_time_of_fluoroscopy=_positive(said, "TotalTimeOfFluoroscopy"),
        image_and_fluoroscopy_area_dose_product=_positive(said, "ImageAndFluoroscopyAreaDoseProduct"),
        entrance_dose=_positive(said, "EntranceDose"),
        entrance_dose_in_mgy=_positive(said, "EntranceDoseInmGy"),
        exposed_area=_exposed_area(said),
        distance_source_to_detector=_positive(said, "DistanceSourceToDetector"),
        distance_source_to_entrance=_positive(said, "DistanceSourceToEntrance"),
        comments_on_radiation_dose=text(said, "CommentsOnRadiationDose", most=1000),
        exposures=tuple(_exposure(item) for item in items(said, "ExposureDoseSequence")[:MOST_EXPOSURES]),
    )


def _exposure(item: Attributes) -> Exposure:
    current = _positive(item, "XRayTubeCurrentInuA")
    milliamperes = current / 1000 if current is not None else _positive(item, "XRayTubeCurrent")
    time = _positive(item, "ExposureTime")
    return Exposure(
        radiation_mode=text(item, "RadiationMode", most=16),
        kvp=_positive(item, "KVP"),
        x_ray_tube_current=milliamperes,
        exposure_time=time,
        exposure=round(milliamperes * time / 1000, 3) if milliamperes is not None and time is not None else None,
        filter_type=text(item, "FilterType", most=16),
        filter_material=text(item, "FilterMaterial", most=16),
        comments=text(item, "CommentsOnRadiationDose", most=1000),
    )


def _positive(said: Attributes, keyword: str) -> float | None:
    found = number(said, keyword)
    return found if found is not None and 0 <= found < 1e12 else None


def _whole(said: Attributes, keyword: str) -> int | None:
    found = _positive(said, keyword)
    return int(found) if found is not None else None


def _exposed_area(said: Attributes) -> tuple[float, ...]:
    values = said.get("00400303", {}).get("Value", [])
    try:
        return tuple(float(Decimal(str(value))) for value in values[:2] if not isinstance(value, dict))
    except InvalidOperation:
        return ()
