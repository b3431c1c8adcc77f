"""Which stored instances a C-MOVE, C-GET or WADO-RS request asks for."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet

from pacs.models import Instance, Location, Series, Study
from pacs.services.pixel_index import FIRST_FRAMES, HEAD, slice_of, slices
from radiology.errors import InvalidValue
from radiology.guest import Guest
from radiology.services.rows import Sought
from radiology.services.survivors import survivors_of_numbers

# One instance of a living study, of one site or (NULL) of any: frames and pictures are asked for by the thousand. The
# fewer tables a statement joins, the less time its plan takes, which is most of it.
_NAMED = """
    {instance}.sop_instance_uid = %s AND {instance}.removed_at IS NULL
    AND {series}.series_instance_uid = %s
    AND {study}.study_instance_uid = %s AND {study}.deleted_at IS NULL
    AND (%s::bigint IS NULL OR {instance}.site_id = %s)
"""
_LOCATION = [each.name for each in Location._meta.concrete_fields if each.name != "pixels"]
_PIXELS = {
    "pixel_head": f"substr(pixels, 1, {HEAD})",
    "frame_starts": "substr(pixels, %s::int, %s::int)",
    "first_frame": "%s::int",
}
_SHORT = Sought(
    Location,
    """
    is_current AND instance_ref_id = ANY(ARRAY(
        SELECT instance.id
          FROM pacs_instance AS instance
          JOIN pacs_series AS series ON series.id = instance.series_ref_id
          JOIN pacs_study AS study ON study.id = series.study_ref_id
         WHERE """
    + _NAMED.format(instance="instance", series="series", study="study")
    + ")) LIMIT 1",
    fields=_LOCATION,
    related={"volume": ()},
    aside=_PIXELS,
)
_WHOLE = Sought(
    Location,
    _NAMED.format(instance="pacs_instance", series="pacs_series", study="pacs_study") + " AND is_current LIMIT 1",
    fields=_LOCATION,
    aside=_PIXELS,
    related={
        "volume": (),
        "instance_ref": (),
        "instance_ref__series_ref": [each.name for each in Series._meta.concrete_fields if each.name != "attributes"],
        "instance_ref__series_ref__study_ref": [
            each.name for each in Study._meta.concrete_fields if each.name != "attributes"
        ],
    },
)


def instance_of(
    *,
    who: Any,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    bytes_only: bool = False,
    frames: tuple[int, int] = FIRST_FRAMES,
) -> Location | None:
    """Where one instance is that `who` may see; with its instance, series and study unless only its bytes matter.

    The index of its pixels comes along, with the places of `frames` (first and last).
    """
    if isinstance(who, Guest):
        found = instances_of(
            who=who,
            study_instance_uids=[study_instance_uid],
            series_instance_uids=[series_instance_uid],
            sop_instance_uids=[sop_instance_uid],
        ).order_by()
        found = found.annotate(**slices(*frames))
        if bytes_only:
            found = found.select_related(None).select_related("volume")
        return next(iter(found[:1]), None)
    if not who.may("studies.read"):
        return None
    site = None if who.sees_every_site else who.site_id
    sought = _SHORT if bytes_only else _WHOLE
    place = *slice_of(*frames), frames[0]
    return next(iter(sought(*place, sop_instance_uid, series_instance_uid, study_instance_uid, site, site)), None)


def instances_of(
    *,
    who: Any,
    study_instance_uids: Sequence[str] = (),
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
    patient_id: str = "",
    issuer_of_patient_id: str = "",
) -> QuerySet[Location]:
    """Where the instances are that meet all keys given and that `who` may see: one place an instance.

    In the order of study, series number and instance number; instance, series, study and volume come
    along. A PatientID without issuer matches any issuer's;
    that of a merged patient is the survivor's. Raises InvalidValue when no key is given:
    nobody asks for the whole archive.
    """
    if not (study_instance_uids or series_instance_uids or sop_instance_uids or patient_id):
        raise InvalidValue("Name a patient, study, series or instance.", field="StudyInstanceUID")
    wanted = Instance.objects.visible_to(who)
    if sop_instance_uids:
        wanted = wanted.filter(sop_instance_uid__in=sop_instance_uids)
    if series_instance_uids:
        wanted = wanted.filter(series_ref__series_instance_uid__in=series_instance_uids)
    if study_instance_uids:
        wanted = wanted.filter(series_ref__study_ref__study_instance_uid__in=study_instance_uids)
    if patient_id:
        named = Q(series_ref__study_ref__patient_ref__patient_id=patient_id)
        if issuer_of_patient_id:
            named &= Q(series_ref__study_ref__patient_ref__issuer_of_patient_id=issuer_of_patient_id)
        merged = survivors_of_numbers([patient_id], issuer=issuer_of_patient_id)
        if merged:
            named |= Q(series_ref__study_ref__patient_ref__in=merged)
        wanted = wanted.filter(named)
    return (
        Location.objects.current()
        .filter(instance_ref__in=wanted)
        .select_related("instance_ref__series_ref__study_ref", "volume")
        .order_by(
            "instance_ref__series_ref__study_ref_id",
            "instance_ref__series_ref__series_number",
            "instance_ref__series_ref_id",
            "instance_ref__instance_number",
            "instance_ref_id",
            "id",
        )
    )
