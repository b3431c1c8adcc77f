"""Which stored instances a C-MOVE, C-GET or WADO-RS request asks for."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet

from pacs.models import Instance, Location
from radiology.errors import InvalidValue
from radiology.services.survivors import survivors_of_numbers


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
