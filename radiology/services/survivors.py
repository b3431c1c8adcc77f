"""Who a patient is now: the one that it was merged into, through however many merges.

Whatever names a merged patient (a message, an image, an order, an address) acts on the survivor. Who writes
a row that belongs to a patient asks `hold_survivor` in the same transaction: a merge then waits until the
row is there and moves it, or is already done and the row goes to the survivor at once.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connection, models

from radiology.models import Patient, PatientMerge, PatientMergeItem, Site

MOST_MERGES = 100


def survivor_of(patient: Patient) -> Patient:
    """`patient`, or whom it was merged into."""
    for _ in range(MOST_MERGES):
        if patient.merged_into is None:
            break
        patient = patient.merged_into
    return patient


def hold_survivor(patient: Patient) -> Patient:
    """The survivor, kept from being merged away until the caller's transaction ends.

    Readers, edits and others who hold it do not wait (`FOR KEY SHARE`); a merge does.
    """
    for _ in range(MOST_MERGES):
        with connection.cursor() as cursor:
            cursor.execute("SELECT merged_into_id FROM radiology_patient WHERE id = %s FOR KEY SHARE", [patient.pk])
            row = cursor.fetchone()
        if row is None or row[0] is None:
            break
        patient = Patient.objects.get(pk=row[0])
    return patient


def survivors_of_numbers(numbers: Iterable[str], *, issuer: str = "", sites: Iterable[int] | None = None) -> list[int]:
    """The survivors of patients who had one of these numbers when they were merged away."""
    within: Any = Site.objects.values("pk") if sites is None else list(sites)
    found = Patient.objects.exclude(merged_into=None).filter(site__in=within, patient_id__in=list(numbers))
    if issuer:
        found = found.filter(issuer_of_patient_id=issuer)
    # Each search by PatientID asks, and hardly ever is there one: all their columns only then.
    merged = list(found.values_list("pk", flat=True)[:100])
    if not merged:
        return []
    rows = Patient.objects.filter(pk__in=merged).select_related("merged_into")
    return sorted({survivor_of(each).pk for each in rows})


def former_numbers(patient: Patient) -> list[Patient]:
    """The patients that were merged into this one, directly or by another, the latest first; at most fifty."""
    found: dict[int, Patient] = {}
    level = [patient.pk]
    while level and len(found) < 50:
        rows = list(Patient.objects.filter(merged_into__in=level).order_by("-merged_at")[:50])
        level = [row.pk for row in rows if row.pk not in found]
        found.update({row.pk: row for row in rows})
    return list(found.values())[:50]


def note_late_arrival(*, named: Patient, row: models.Model, field: str = "patient_ref") -> None:
    """Remember that `row`, which is the survivor's, came under the name of a merged patient.

    Should the merges between the two be undone, it goes back with the rest. Nothing is noted for a patient who was
    not merged.
    """
    kind = kind_of(type(row), field)
    between = []
    for _ in range(MOST_MERGES):
        merge = PatientMerge.objects.filter(merged=named, undone_at=None).select_related("survivor").first()
        if merge is None:
            break
        between.append(merge)
        named = merge.survivor
    PatientMergeItem.objects.bulk_create(
        [PatientMergeItem(merge=merge, kind=kind, row_id=row.pk, is_late=True) for merge in between],
        ignore_conflicts=True,
    )


def kind_of(model: type[models.Model], field: str) -> str:
    """How a relation to patients is named in what merges move."""
    return f"{model._meta.label_lower}.{field}"
