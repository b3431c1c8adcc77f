"""What a merge of patients does to images: studies move, and leave with the survivor's identity.

The bytes stay; the survivor's name and number are laid over on every way out, as a correction would. What
still arrives under the merged number joins the survivor's studies (pacs.services.index). An undo gives each
study back with what was laid over it before, and with it whatever came under the merged number since.
"""

from collections.abc import Iterable
from typing import Any

from pacs.models import Study
from pacs.services.coercion import lock_studies, of_person, show_anew, with_attributes
from pacs.services.index import patient_as_received
from radiology.models import Patient, PatientMerge
from radiology.services.identity import Identity, means
from radiology.services.patient_moves import Mover, moves, stays

stays("pacs.studytoken.patient_ref")  # whose study it was when its token was handed out


@moves("pacs.study.patient_ref")
class Studies(Mover):
    """Deleted studies move too, so that one that is restored is the survivor's."""

    def describe(self, row: Any) -> str:
        modalities = "/".join(row.modalities_in_study)
        return " · ".join(part for part in (row.study_date, modalities, str(row)) if part)

    def move(self, merged: Patient, survivor: Patient) -> dict[int, dict[str, Any]]:
        keys = self._hold(self.rows(merged))
        attributes = of_person(survivor)
        before = {}
        for study in Study.objects.filter(pk__in=keys).order_by("pk"):
            laid = study.overlay.get("attributes", {})
            before[study.pk] = {"overlay": {tag: laid[tag] for tag in attributes if tag in laid}}
            study.patient_ref = survivor
            study.overlay = with_attributes(study.overlay, attributes)
            study.save(update_fields=["patient_ref", "overlay"])
        show_anew(*keys)
        return before

    def give_back(self, before: dict[int, dict[str, Any]], survivor: Patient, merged: Patient) -> list[int]:
        keys = self._hold(self.rows(survivor).filter(pk__in=list(before)))
        tags = of_person(merged)
        for study in Study.objects.filter(pk__in=keys).order_by("pk"):
            kept = {tag: each for tag, each in study.overlay.get("attributes", {}).items() if tag not in tags}
            kept |= before[study.pk].get("overlay", {})
            study.patient_ref = merged
            study.overlay = with_attributes({}, kept) if kept else {}
            study.save(update_fields=["patient_ref", "overlay"])
        show_anew(*keys)
        return keys

    def late(self, merge: PatientMerge, survivor: Patient, merged: Patient) -> Iterable[int]:
        """Studies that came since and name the merged patient's number."""
        since = self.rows(survivor).filter(created_at__gte=merge.created_at).order_by("pk")
        return [study.pk for study in since if _named(study, merged)]

    def _hold(self, rows: Any) -> list[int]:
        keys = list(rows.values_list("pk", flat=True))
        lock_studies(keys)
        return sorted(keys)


def _named(study: Study, merged: Patient) -> bool:
    received = patient_as_received(study)
    identity = Identity(
        patient_id=received.patient_id,
        issuer_of_patient_id=received.issuer_of_patient_id,
        patient_name=received.patient_name,
        patient_birth_date=received.patient_birth_date,
    )
    return bool(received.patient_id) and means(merged, identity)
