"""Which objects an address names: of those that the caller may see, else 404."""

from typing import Any

from django.db.models import QuerySet

from pacs.models import Location, Series
from pacs.services.pixel_index import FIRST_FRAMES
from pacs.services.retrieve import instance_of, instances_of
from radiology.dicom import is_uid
from radiology.errors import NotFound

# Series that hold no pictures: others stand for their study.
WITHOUT_PICTURES = ("SR", "KO", "PR", "DOC", "REG", "FID", "AU", "ECG", "PLAN", "RTPLAN", "RTSTRUCT", "SEG")


def _uids(*uids: str) -> None:
    """What is no UID names nothing, and never reaches the database."""
    if not all(is_uid(uid) for uid in uids):
        raise NotFound("There is no such study, series or instance.")


def locations(*, who: Any, study: str, series: str = "", instance: str = "") -> QuerySet[Location]:
    """The stored objects of a study, series or instance. Raises NotFound for what is no UID."""
    _uids(*(uid for uid in (study, series, instance) if uid), study)
    return instances_of(
        who=who,
        study_instance_uids=[study],
        series_instance_uids=[series] if series else [],
        sop_instance_uids=[instance] if instance else [],
    )


def location_of(
    *, who: Any, study: str, series: str, instance: str, bytes_only: bool = False, frames: list[int] | None = None
) -> Location:
    """Where one instance is, with its instance, series and study unless only its bytes matter, and where `frames` are.

    Raises NotFound.
    """
    _uids(study, series, instance)
    found = instance_of(
        who=who,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        bytes_only=bytes_only,
        frames=(min(frames), max(frames)) if frames else FIRST_FRAMES,
    )
    if found is None:
        raise NotFound("There is no such instance.")
    return found


def series_of(*, who: Any, study: str, series: str = "") -> list[Series]:
    """The series of a study, or the one that is named. Raises NotFound when there is none."""
    _uids(study, *([series] if series else []))
    found = Series.objects.visible_to(who).filter(study_ref__study_instance_uid=study)
    if series:
        found = found.filter(series_instance_uid=series)
    result = list(found.select_related("study_ref").order_by("study_ref_id", "series_number", "id"))
    if not result:
        raise NotFound("There is no such study or series.")
    return result


def representative_of(*, who: Any, study: str, series: str = "") -> Location:
    """The instance that stands for a series or study: the middle one of its largest series of pictures."""
    candidates = series_of(who=who, study=study, series=series)
    chosen = max(
        candidates,
        key=lambda each: (each.modality not in WITHOUT_PICTURES, each.number_of_series_related_instances),
    )
    found = locations(who=who, study=study, series=chosen.series_instance_uid)
    middle = chosen.number_of_series_related_instances // 2
    location = found[middle : middle + 1].first() if middle else found.first()
    location = location or found.first()
    if location is None:
        raise NotFound("There is no such study or series.")
    return location
