"""Whose number it is that another system names, where nobody can be asked: one patient, or none."""

from typing import Any

from radiology.models import Patient
from radiology.services.survivors import survivor_of


def patient_of_number(*, who: Any, patient_id: str, issuer: str = "") -> Patient | None:
    """The one patient that `who` may see and this number means; None when there is none, or more than one.

    With an issuer: its own number, or one without issuer, never that of another. Without: any issuer's. The number of
    somebody who was merged is the survivor's; a patient whose identity is not trusted is nobody's.
    """
    wanted = patient_id.strip()
    if not wanted or "\x00" in wanted:
        return None
    named = Patient.objects.visible_to(who).filter(patient_id=wanted, provisional_for="").select_related("merged_into")
    rows = list(named.order_by("pk")[:20])
    if issuer:
        own = [row for row in rows if row.issuer_of_patient_id == issuer]
        rows = own or [row for row in rows if not row.issuer_of_patient_id]
    survivors = {each.pk: each for each in map(survivor_of, rows)}
    return next(iter(survivors.values())) if len(survivors) == 1 else None
