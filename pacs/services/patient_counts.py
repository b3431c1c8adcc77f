"""How much there is of patients, as NumberOfPatientRelatedStudies and the like tell it."""

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db.models import Count, Sum

from pacs.models import Study
from radiology.guest import Guest
from radiology.services.rows import Statement

# As `visible_to` has it; guests have rules of their own.
_COUNTS = Statement("""
    SELECT patient_ref_id, count(*), sum(number_of_study_related_series), sum(number_of_study_related_instances)
      FROM pacs_study
     WHERE patient_ref_id = ANY(%s::bigint[]) AND deleted_at IS NULL AND (%s::bigint IS NULL OR site_id = %s)
     GROUP BY patient_ref_id
""")


class Counts(NamedTuple):
    """What `who` may see of one patient."""

    studies: int = 0
    series: int = 0
    instances: int = 0


def patient_counts(who: Any, patients: Collection[int]) -> dict[int, Counts]:
    """Of the patients of whom there is something that `who` may see."""
    if isinstance(who, Guest):
        found: Any = (
            Study.objects.visible_to(who)
            .filter(patient_ref__in=patients)
            .values_list("patient_ref")
            .annotate(Count("pk"), Sum("number_of_study_related_series"), Sum("number_of_study_related_instances"))
        )
    elif not who.may("studies.read"):
        return {}
    else:
        site = None if who.sees_every_site else who.site_id
        found = _COUNTS(list(patients), site, site)
    return {patient: Counts(*counts) for patient, *counts in found}
