"""Finding a patient by hand (radiology.services.patient_search), with how many studies each has."""

from typing import Any

from django.db.models import Count, Q

from pacs.models import Study
from radiology.models import Patient
from radiology.services import patient_search

MOST = patient_search.MOST


def find_patients(*, who: Any, site: int, text: str) -> list[Patient]:
    """The patients of a site that `who` sees and `text` may mean, with `visible_count` studies each."""
    found = patient_search.find_patients(who=who, text=text, sites=[site])
    counted = Count("studies", filter=Q(studies__in=Study.objects.visible_to(who)))
    rows = Patient.objects.filter(pk__in=[each.patient.pk for each in found]).annotate(visible_count=counted).in_bulk()
    return [rows[each.patient.pk] for each in found if each.patient.pk in rows]
