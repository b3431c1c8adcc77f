"""One person, two patients: merging them, and taking that back (IHE PIX/PAM, HL7 ADT A40).

The merged row stays and points at the survivor; everything that refers to it moves, in one transaction, and
what moved is kept, so that an undo gives back exactly that. Bytes in the archive stay; images leave with
the survivor's identity because the movers of the pacs lay it over (pacs.services.patient_merges).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import (
    AuditAction,
    Patient,
    PatientDuplicate,
    PatientMerge,
    PatientMergeItem,
    User,
)
from radiology.services import audit
from radiology.services.jobs import gave_way
from radiology.services.patient_moves import LISTED, movers
from radiology.services.patient_values import LONGEST
from radiology.services.patients import record_version
from radiology.services.survivors import survivor_of
from radiology.signals import patient_merged, patient_unmerged

Result = TypeVar("Result")
# A merge gives way before PostgreSQL looks for deadlocks (after 1 s): who stores images never pays for one.
PATIENCE = "600ms"
ATTEMPTS = 12
COMPARED = (
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "patient_id",
    "issuer_of_patient_id",
    "patient_address",
    "patient_telephone_numbers",
    "patient_mother_birth_name",
    "allergies",
    "medical_alerts",
    "patient_comments",
)
CARRIED = (
    "patient_address",
    "patient_telephone_numbers",
    "patient_mother_birth_name",
    "allergies",
    "medical_alerts",
    "patient_comments",
)
# Of these both sides' words are kept.
ADDED = {"allergies", "medical_alerts"}
CARRIED_KIND = "radiology.patient"


@dataclass(frozen=True)
class Moving:
    """What of one kind a merge would move."""

    kind: str
    label: str
    count: int
    rows: list[str]


@dataclass(frozen=True)
class Preview:
    """What a merge would do, before anybody decides."""

    survivor: Patient
    merged: Patient
    moving: list[Moving]
    differing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(each.count for each in self.moving)


def preview_merge(*, who: Any, survivor: Patient, merged: Patient) -> Preview:
    """What merging `merged` into `survivor` would move. Raises NotAllowed, NotFound, InvalidValue, Conflict."""
    survivor, merged = _checked(who, survivor, merged)
    moving = []
    for mover in movers():
        rows = mover.rows(merged)
        count = rows.count()
        if count and mover.is_shown:
            described = [mover.describe(row) for row in mover.shown(merged, who).order_by("-pk")[:LISTED]]
            moving.append(Moving(mover.kind, mover.label, count, described))
    differing = [name for name in COMPARED if getattr(survivor, name) != getattr(merged, name)]
    return Preview(survivor, merged, moving, differing, _warnings(survivor, merged))


def merge_patients(
    *, who: Any, survivor: Patient, merged: Patient, reason: str = "", address: str | None = None
) -> PatientMerge:
    """Merge `merged` into `survivor`.

    Raises NotAllowed, NotFound, InvalidValue; Conflict, with `merge` when one of them was merged before.
    """
    return _giving_way(lambda: _merge(who, survivor, merged, reason, address))


def undo_merge(*, who: Any, merge: PatientMerge, address: str | None = None) -> PatientMerge:
    """Take a merge back: the merged patient is one again, with what it had, and what came under its name since.

    What came for the survivor since stays there, as does what somebody meanwhile gave to another patient.
    Undoing twice is harmless. Raises NotAllowed, NotFound; Conflict while a later merge stands on this one.
    """
    return _giving_way(lambda: _undo(who, merge, address))


def _giving_way(act: Callable[[], Result]) -> Result:
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [PATIENCE])
                done = act()
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', '0', true)")
                return done
        except OperationalError as error:
            if not gave_way(error):
                raise
            if attempt == ATTEMPTS - 1:
                break
    raise Conflict(_("Images or orders of these patients are being written right now: try again in a moment."))


def _merge(who: Any, survivor: Patient, merged: Patient, reason: str, address: str | None) -> PatientMerge:
    _lock_patients(survivor, merged)
    survivor, merged = _checked(who, survivor, merged)
    merge = PatientMerge.objects.create(
        site=survivor.site,
        survivor=survivor,
        merged=merged,
        reason=clean(reason)[:200],
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
    )
    items, moved = [], {}
    merged.merged_into = survivor
    merged.merged_at = merge.created_at
    merged.version += 1
    merged.save(update_fields=["merged_into", "merged_at", "version", "updated_at"])
    carried = _carry_over(survivor, merged)
    items += [PatientMergeItem(merge=merge, kind=CARRIED_KIND, row_id=survivor.pk, before=carried)] if carried else []
    for mover in movers():
        before = mover.move(merged, survivor)
        items += [PatientMergeItem(merge=merge, kind=mover.kind, row_id=key, before=was) for key, was in before.items()]
        if before:
            moved[mover.kind] = len(before)
    PatientMergeItem.objects.bulk_create(items, batch_size=1000)
    merge.moved = moved
    merge.save(update_fields=["moved"])
    names = {str(merged.public_id): merged.patient_id}
    record_version(
        patient=merged, changes={"merged_into": [None, str(survivor.public_id)]}, who=who, reason=merge.reason
    )
    record_version(patient=survivor, changes={"merged": [None, names], **carried}, who=who, reason=merge.reason)
    PatientDuplicate.objects.filter(one__in=[survivor, merged], other__in=[survivor, merged]).delete()
    for patient, role in ((survivor, "survivor"), (merged, "merged")):
        _audit(who, "patient.merged", merge, patient, role, address)
    patient_merged.send(sender=PatientMerge, merge=merge, survivor=survivor, merged=merged, who=who)
    return merge


def _undo(who: Any, merge: PatientMerge, address: str | None) -> PatientMerge:
    if not who.may("patients.merge"):
        raise NotAllowed(_("You may not merge patients."))
    known = PatientMerge.objects.visible_to(who).filter(pk=merge.pk).first()
    if known is None:
        raise NotFound(_("There is no such merge."))
    _lock_patients(known.survivor, known.merged)
    merge = (
        PatientMerge.objects.select_for_update(of=("self",)).select_related("survivor__site", "merged").get(pk=merge.pk)
    )
    if merge.undone_at is not None:
        return merge
    survivor, merged = merge.survivor, merge.merged
    if survivor.merged_into_id is not None:
        raise Conflict(
            _("%(name)s was itself merged into another patient since: undo that merge first.")
            % {"name": survivor.display_name}
        )
    merged.merged_into = None
    merged.merged_at = None
    merged.version += 1
    merged.save(update_fields=["merged_into", "merged_at", "version", "updated_at"])
    returned = _take_back(survivor, merge)
    for mover in movers():
        rows = merge.items.filter(kind=mover.kind).values_list("row_id", "before")
        before: dict[int, dict[str, Any]] = dict(rows)
        before.update({key: {} for key in mover.late(merge, survivor, merged) if key not in before})
        if before:
            mover.give_back(before, survivor, merged)
    merge.undone_at = timezone.now()
    merge.undone_by = audit.agent_of(who)
    merge.save(update_fields=["undone_at", "undone_by"])
    record_version(patient=merged, changes={"merged_into": [str(survivor.public_id), None]}, who=who)
    names = {str(merged.public_id): merged.patient_id}
    record_version(patient=survivor, changes={"merged": [names, None], **returned}, who=who)
    for patient, role in ((survivor, "survivor"), (merged, "merged")):
        _audit(who, "patient.unmerged", merge, patient, role, address)
    patient_unmerged.send(sender=PatientMerge, merge=merge, survivor=survivor, merged=merged, who=who)
    return merge


def _carry_over(survivor: Patient, merged: Patient) -> dict[str, list[str]]:
    """What only the merged patient's row said goes on being said: no allergy is lost. Before and after, by field."""
    carried: dict[str, list[str]] = {}
    for name in CARRIED:
        was, adds = getattr(survivor, name), getattr(merged, name)
        if not adds or adds in was or (was and name not in ADDED):
            continue
        carried[name] = [was, f"{was}; {adds}"[: LONGEST[name]] if was else adds]
        setattr(survivor, name, carried[name][1])
    survivor.version += 1
    survivor.save(update_fields=["version", "updated_at", *carried])
    return carried


def _take_back(survivor: Patient, merge: PatientMerge) -> dict[str, list[str]]:
    """What the merge had added to the survivor's row, unless somebody has changed it since."""
    returned: dict[str, list[str]] = {}
    for item in merge.items.filter(kind=CARRIED_KIND):
        for name, (was, became) in item.before.items():
            if getattr(survivor, name) == became:
                returned[name] = [became, was]
                setattr(survivor, name, was)
    survivor.version += 1
    survivor.save(update_fields=["version", "updated_at", *returned])
    return returned


def _lock_patients(*patients: Patient) -> None:
    """Hold both rows, in the order of their keys, against whoever writes something for either."""
    rows = Patient.objects.select_for_update(of=("self",)).filter(pk__in=[each.pk for each in patients])
    list(rows.order_by("pk").values_list("pk", flat=True))


def _checked(who: Any, survivor: Patient, merged: Patient) -> tuple[Patient, Patient]:
    """Both as they are now. Raises when they cannot be merged."""
    if not who.may("patients.merge"):
        raise NotAllowed(_("You may not merge patients."))
    rows: Mapping[int, Patient] = (
        Patient.objects.visible_to(who).select_related("site", "merged_into").in_bulk([survivor.pk, merged.pk])
    )
    if len(rows) < len({survivor.pk, merged.pk}):
        raise NotFound(_("This patient is not here, or not for you to see."))
    survivor, merged = rows[survivor.pk], rows[merged.pk]
    if survivor.pk == merged.pk:
        raise InvalidValue(_("A patient cannot be merged with itself: choose another one."), field="merged")
    if survivor.site_id != merged.site_id:
        raise Conflict(_("Patients of two sites are never merged."), field="merged")
    for patient in (merged, survivor):
        if patient.merged_into_id is not None:
            raise Conflict(
                _("%(name)s was already merged into %(into)s.")
                % {"name": patient.display_name, "into": survivor_of(patient).display_name},
                field="merged" if patient is merged else "survivor",
                merge=PatientMerge.objects.filter(merged=patient, undone_at=None).first(),
            )
    if survivor.is_provisional:
        raise Conflict(
            _("A provisional patient cannot survive: merge it into the right one, or register it."), field="survivor"
        )
    return survivor, merged


def _warnings(survivor: Patient, merged: Patient) -> list[str]:
    found = []
    if survivor.birth_date and merged.birth_date and survivor.birth_date != merged.birth_date:
        found.append(_("The birth dates differ: make sure that this is one person."))
    if survivor.patient_sex and merged.patient_sex and survivor.patient_sex != merged.patient_sex:
        found.append(_("The sexes differ: make sure that this is one person."))
    if survivor.is_temporary and not merged.is_temporary:
        found.append(_("The one that stays is an unknown patient: perhaps you mean it the other way round."))
    return found


def _audit(who: Any, event: str, merge: PatientMerge, patient: Patient, role: str, address: str | None) -> None:
    audit.record(
        event=event,
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=merge.site_id,
        patient_id=patient.pk,
        detail={"merge": str(merge.public_id), "role": role, "moved": merge.moved},
    )
