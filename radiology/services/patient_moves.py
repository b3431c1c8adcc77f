"""What follows a patient when it is merged into another: every row that refers to it.

Each relation of any model to Patient has a mover. The one that is made by itself points the rows at the
survivor and back; a model that needs more (studies lay the new name over their images) registers its own
with `moves`, and what rightly stays with the old row is named with `stays`. So a model that somebody adds
later moves from its first day, and the apps to the right contribute without being imported here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import ForeignKey, Model, QuerySet

from radiology.models import IdentifierKind, Patient, PatientIdentifier
from radiology.services.survivors import kind_of

LISTED = 20


class Mover:
    """How the rows of one relation move. Rows are locked in the order of their keys, kinds in that of their names."""

    is_shown = True

    def __init__(self, field: ForeignKey) -> None:
        self.field = field
        self.model: type[Model] = field.model
        self.kind = kind_of(self.model, field.name)

    @property
    def label(self) -> str:
        """What the rows are called, many of them."""
        return str(self.model._meta.verbose_name_plural)

    def rows(self, patient: Patient) -> QuerySet[Any]:
        """All rows of a patient that would move."""
        return self.model._base_manager.filter(**{self.field.name: patient})

    def shown(self, patient: Patient, who: Any) -> QuerySet[Any]:
        """Those of them that `who` may see by themselves."""
        manager: Any = self.model._default_manager
        visible = manager.all().visible_to(who) if hasattr(manager.all(), "visible_to") else manager.all()
        return visible.filter(pk__in=self.rows(patient).values("pk"))

    def describe(self, row: Any) -> str:
        """One row in a few words, for the list of what moves."""
        return str(row)

    def move(self, merged: Patient, survivor: Patient) -> dict[int, dict[str, Any]]:
        """Move all rows; by key, what else than the relation stood there before."""
        keys = self._locked(self.rows(merged))
        self._point(keys, survivor)
        return {key: {} for key in keys}

    def give_back(self, before: dict[int, dict[str, Any]], survivor: Patient, merged: Patient) -> list[int]:
        """Move those rows back that are still the survivor's; the keys of those."""
        keys = self._locked(self.rows(survivor).filter(pk__in=list(before)))
        self._point(keys, merged)
        return keys

    def late(self, merge: Any, survivor: Patient, merged: Patient) -> Iterable[int]:
        """Rows that came under the merged patient's name since, beside those that were noted."""
        return ()

    def _locked(self, rows: QuerySet[Any]) -> list[int]:
        locked = rows.select_for_update(no_key=True, of=("self",)).order_by("pk")
        return list(locked.values_list("pk", flat=True))

    def _point(self, keys: list[int], patient: Patient) -> None:
        self.model._base_manager.filter(pk__in=keys).update(**{self.field.name: patient})


_OWN: dict[str, type[Mover]] = {}
_STAYS: set[str] = {
    "radiology.patient.merged_into",
    "radiology.auditevent.patient_ref",
    "radiology.patientnameword.patient_ref",
    "radiology.patientversion.patient_ref",
    "radiology.patientmerge.survivor",
    "radiology.patientmerge.merged",
    "radiology.patientduplicate.one",
    "radiology.patientduplicate.other",
}


def moves(kind: str) -> Callable[[type[Mover]], type[Mover]]:
    """Register a class of one's own for `app.model.field`."""

    def register(mover: type[Mover]) -> type[Mover]:
        _OWN[kind] = mover
        return mover

    return register


def stays(kind: str) -> None:
    """Say that rows of `app.model.field` tell what was, and stay with the merged patient."""
    _STAYS.add(kind)


def movers() -> list[Mover]:
    """One for each relation to patients, in the order in which they lock: by kind."""
    found = []
    for relation in Patient._meta.related_objects:
        field = relation.field
        if not isinstance(field, ForeignKey):
            continue
        kind = kind_of(field.model, field.name)
        if kind not in _STAYS:
            found.append(_OWN.get(kind, Mover)(field))
    return sorted(found, key=lambda mover: mover.kind)


@moves("radiology.patientidentifier.patient_ref")
class Identifiers(Mover):
    """The numbers that the survivor lacks, and the merged patient's MRN as one more."""

    MADE = "made"

    def rows(self, patient: Patient) -> QuerySet[Any]:
        return PatientIdentifier.objects.filter(patient_ref=patient)

    def move(self, merged: Patient, survivor: Patient) -> dict[int, dict[str, Any]]:
        known = {(each.kind, each.value, each.issuer) for each in survivor.identifiers.all()}
        lacking = [
            each for each in self.rows(merged).order_by("pk") if (each.kind, each.value, each.issuer) not in known
        ]
        self._point([each.pk for each in lacking], survivor)
        before: dict[int, dict[str, Any]] = {each.pk: {} for each in lacking}
        number = (IdentifierKind.MRN, merged.patient_id, merged.issuer_of_patient_id)
        own = (survivor.patient_id, survivor.issuer_of_patient_id)
        moved = {(each.kind, each.value, each.issuer) for each in lacking}
        if merged.patient_id and number not in known | moved and number[1:] != own and not merged.is_provisional:
            kind, value, issuer = number
            made = PatientIdentifier.objects.create(patient_ref=survivor, kind=kind, value=value, issuer=issuer)
            before[made.pk] = {self.MADE: True}
        return before

    def give_back(self, before: dict[int, dict[str, Any]], survivor: Patient, merged: Patient) -> list[int]:
        own = self.rows(survivor).filter(pk__in=list(before))
        own.filter(pk__in=[key for key, values in before.items() if values.get(self.MADE)]).delete()
        known = {(each.kind, each.value, each.issuer) for each in self.rows(merged)}
        back = [each.pk for each in own.order_by("pk") if (each.kind, each.value, each.issuer) not in known]
        self._point(back, merged)
        return back
