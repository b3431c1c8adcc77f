"""Performed procedure steps as devices report them (MPPS; PS3.4 F.7, F.8): made, changed, ended, given back.

The whole data set is kept in the DICOM JSON model, so that nothing a device says is lost; the columns are
what is searched and what has effects. When a call returns, the row is committed, and the scheduled
steps, procedures and orders behind it have followed.
"""

import zoneinfo
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from pacs.models import ApplicationEntity, Study
from pacs.services.json_encoding import VRS
from pacs.services.metadata import Attributes
from radiology.dicom import instant, is_uid, new_uid, parse_offset
from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import Site
from radiology.services.rows import insert_missing
from worklist.models import PerformedProcedureStep, PerformedStatus, PerformedWarning
from worklist.services.dicom_json import code, text
from worklist.services.inference import look_now
from worklist.services.performed_effects import answer_scheduled_steps, let_steps_follow
from worklist.services.performed_rules import FIXED, StepEnded, check_ended, check_made, check_size, check_values
from worklist.signals import performed_step_changed, performed_step_wrong_entry

MPPS = "1.2.840.10008.3.1.2.3.3"
# DCM "Incorrect worklist entry selected" (PS3.16 CID 9300).
WRONG_ENTRY = ("110514", "DCM")
CLOCK_MAY_DIFFER = timedelta(hours=12)
SPECIFIC_CHARACTER_SET = "00080005"


@transaction.atomic
def create_performed(
    *, node: ApplicationEntity, sop_instance_uid: str, attributes: Attributes
) -> PerformedProcedureStep:
    """N-CREATE (F.7.2.1): a step that a device has begun. Without a UID it is given one.

    Raises WrongAttribute and its kinds for attributes that cannot be, InvalidValue for what is no UID,
    Conflict when there is such a step already, TooLarge.
    """
    if sop_instance_uid and not is_uid(sop_instance_uid):
        raise InvalidValue("The SOP Instance UID is no UID.", field="SOPInstanceUID")
    check_size(attributes)
    check_made(attributes)
    now = timezone.now()
    row = PerformedProcedureStep(
        site=node.site,
        node=node if node.pk else None,
        sop_instance_uid=sop_instance_uid or new_uid(),
        attributes=_kept(attributes),
        created_at=now,
        updated_at=now,
        **_columns(attributes, site=node.site, node=node),
    )
    if _is_far(row.started_at, now):
        row.warnings = [PerformedWarning.CLOCK]
    if not insert_missing([row], returning="sop_instance_uid"):
        raise Conflict("There is a performed step of that UID already.", field="SOPInstanceUID")
    row = _locked(node.site, row.sop_instance_uid)
    answer_scheduled_steps(performed=row, who=node)
    row.save(update_fields=["patient_ref", "is_unscheduled", "warnings"])
    _follow(row, node, before="")
    return row


@transaction.atomic
def set_performed(*, node: ApplicationEntity, sop_instance_uid: str, attributes: Attributes) -> PerformedProcedureStep:
    """N-SET (F.7.2.2): attribute by attribute; what the table does not allow to change stays as it was made.

    Raises NotFound for an unknown step, StepEnded for one that has ended, and as `create_performed`.
    """
    check_size(attributes)
    row = _locked(node.site, sop_instance_uid)
    if row.has_ended:
        raise StepEnded("The performed procedure step has ended and may no longer be updated.")
    changes = {name: element for name, element in _kept(attributes).items() if name not in FIXED}
    check_values(changes)
    merged = {**row.attributes, **changes}
    check_size(merged)
    if text(merged, "PerformedProcedureStepStatus") != PerformedStatus.IN_PROGRESS:
        check_ended(merged)
    before = row.performed_procedure_step_status
    row.attributes = dict(sorted(merged.items()))
    for column, value in _columns(merged, site=row.site, node=row.node).items():
        setattr(row, column, value)
    row.version += 1
    row.updated_at = timezone.now()
    row.warnings = [each for each in row.warnings if each != PerformedWarning.ABANDONED]
    if row.has_ended:
        row.closed_at = row.updated_at
        row.is_wrong_entry = tuple(row.discontinuation_reason[:2]) == WRONG_ENTRY
        if row.is_wrong_entry:
            row.warnings = [*row.warnings, PerformedWarning.WRONG_ENTRY]
    row.save()
    _follow(row, node, before=before)
    return row


def attributes_of_performed(
    *, who: Any, sop_instance_uid: str, wanted: Collection[int] = ()
) -> tuple[Attributes, list[int]]:
    """N-GET (F.8.2.1): the attributes, or those `wanted` of them by tag; and which of these it does not have.

    Raises NotFound for an unknown step, or one that `who` may not see.
    """
    row = PerformedProcedureStep.objects.visible_to(who).filter(sop_instance_uid=sop_instance_uid).first()
    if row is None:
        raise NotFound("There is no such performed step.")
    if not wanted:
        return row.attributes, []
    names = {f"{tag:08X}": tag for tag in wanted}
    found = {name: row.attributes[name] for name in names if name in row.attributes}
    return found, [tag for name, tag in names.items() if name not in found]


def studies_of(performed: PerformedProcedureStep) -> list[str]:
    """The Study Instance UIDs that a performed step names."""
    named = performed.references.order_by("id").values_list("study_instance_uid", flat=True)
    return list(dict.fromkeys(uid for uid in [performed.study_instance_uid, *named] if uid))


def _follow(row: PerformedProcedureStep, node: ApplicationEntity, *, before: str) -> None:
    """What else changes along with a performed step, in the same transaction."""
    let_steps_follow(performed=row, who=node)
    studies = studies_of(row)
    if row.is_wrong_entry:
        performed_step_wrong_entry.send(sender=PerformedProcedureStep, performed=row, studies=studies)
    performed_step_changed.send(sender=PerformedProcedureStep, performed=row, before=before)
    look_now(studies=Study.objects.filter(site=row.site, study_instance_uid__in=studies).values_list("pk", flat=True))


def _locked(site: Site, sop_instance_uid: str) -> PerformedProcedureStep:
    found = PerformedProcedureStep.objects.select_for_update(of=("self",)).select_related("site", "node")
    row = found.filter(site=site, sop_instance_uid=sop_instance_uid).first()
    if row is None:
        raise NotFound("There is no performed step of that UID.")
    return row


def _kept(attributes: Attributes) -> Attributes:
    """What is kept: all but elements whose value representation no edition of the Standard has."""
    return {
        name: {**element, "Value": [_kept(item) for item in element.get("Value", [])]}
        if element["vr"] == "SQ"
        else element
        for name, element in attributes.items()
        if element["vr"] in VRS
    }


def _columns(attributes: Mapping[str, Any], *, site: Site, node: ApplicationEntity | None) -> dict[str, Any]:
    offset = parse_offset(text(attributes, "TimezoneOffsetFromUTC"))
    zone = offset or zoneinfo.ZoneInfo((node.time_zone if node else "") or site.time_zone)
    steps = attributes.get("00400270", {}).get("Value", [{}])
    reason = code(attributes, "PerformedProcedureStepDiscontinuationReasonCodeSequence")

    def moment(which: str) -> datetime | None:
        date, time = (text(attributes, f"PerformedProcedureStep{which}{part}") for part in ("Date", "Time"))
        return instant(date, time, zone)

    return {
        "performed_procedure_step_id": text(attributes, "PerformedProcedureStepID"),
        "performed_procedure_step_status": text(attributes, "PerformedProcedureStepStatus"),
        "performed_procedure_step_description": text(attributes, "PerformedProcedureStepDescription"),
        "modality": text(attributes, "Modality", most=16),
        "performed_station_ae_title": text(attributes, "PerformedStationAETitle", most=16),
        "performed_station_name": text(attributes, "PerformedStationName"),
        "study_instance_uid": text(steps[0], "StudyInstanceUID") if steps else "",
        "started_at": moment("Start"),
        "ended_at": moment("End"),
        "discontinuation_reason": reason,
    }


def _is_far(told: datetime | None, now: datetime) -> bool:
    return told is not None and abs(told - now) > CLOCK_MAY_DIFFER
