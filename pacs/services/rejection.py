"""Rejection notes (IHE IOCM, RAD-66): Key Object Selection Documents that say which objects count no more.

A note takes effect in the transaction that stores it. What it names is hidden from every door, also
what arrives only later, or again; the note is hidden with it.
"""

import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO

import structlog
from django.utils import timezone
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from pacs.models import Instance, Removal, RemovalCode, RemovedInstance, Study
from pacs.services.availability import notify_of_studies
from pacs.services.coercion import recount
from pacs.services.incoming import Received
from pacs.services.part10 import HEAD_SIZE
from radiology.dicom import is_uid
from radiology.errors import CannotUnderstand
from radiology.models import AuditAction
from radiology.services import audit
from radiology.services.jobs import enqueue
from radiology.services.rows import Statement

log = structlog.get_logger(__name__)

LARGEST_NOTE = 32 * 1024 * 1024
MOST_REFERENCES = 100_000
TITLES = frozenset({RemovalCode.QUALITY, RemovalCode.PATIENT_SAFETY, RemovalCode.WORKLIST_ENTRY, RemovalCode.EXPIRED})


_REJECTED = Statement(
    """
    SELECT removed.sop_instance_uid FROM pacs_removedinstance removed
      JOIN pacs_removal removal ON removal.id = removed.removal_id
     WHERE removed.site_id = %s AND removed.sop_instance_uid = ANY(%s::varchar[])
       AND removal.restored_at IS NULL AND removal.hides
       AND NOT (removal.code = %s AND removal.study_ref_id IS NULL)
    """
)


@dataclass(frozen=True)
class Note:
    """A rejection note: why (a code of DCM, CID 7011), and which objects."""

    code: RemovalCode
    sop_instance_uids: tuple[str, ...]


def note_of(received: Received) -> Note | None:
    """What a received object rejects, if it is a rejection note. Raises CannotUnderstand for a damaged one."""
    if received.sop_class_uid != KeyObjectSelectionDocumentStorage or received.size > LARGEST_NOTE:
        return None
    with mmap.mmap(received.draft.fileno(), HEAD_SIZE + received.size, access=mmap.ACCESS_READ) as mapped:
        data = mapped[HEAD_SIZE:]
    if received.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return None
    syntax = received.transfer_syntax_uid
    try:
        data_set = read_dataset(BytesIO(data), syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        code = _title(data_set)
        return None if code is None else Note(code, tuple(_references(data_set)))
    except Exception as error:  # whatever pydicom makes of hostile bytes
        raise CannotUnderstand("The references of this key object selection document cannot be read.") from error


def apply_note(*, received: Received, note: Note, study: int) -> Removal:
    """Hide what `note` names, inside the caller's transaction. The same note again changes nothing."""
    site = received.source.site
    hides = not (note.code == RemovalCode.QUALITY and site.shows_rejected_for_quality)
    removal, made = Removal.objects.get_or_create(
        site=site,
        note_sop_instance_uid=received.sop_instance_uid,
        defaults={
            "study_ref_id": study,
            "study_instance_uid": Study.objects.values_list("study_instance_uid", flat=True).get(pk=study),
            "code": note.code,
            "agent": received.source.ae_title,
            "hides": hides,
        },
    )
    if not made:
        return removal
    uids = [*note.sop_instance_uids, received.sop_instance_uid]
    RemovedInstance.objects.bulk_create(
        [RemovedInstance(removal=removal, site=site, sop_instance_uid=uid) for uid in dict.fromkeys(uids)],
        batch_size=5000,
    )
    if hides:
        hide(site=site.pk, sop_instance_uids=uids)
    audit.record(
        event="study.rejected",
        action=AuditAction.DELETE,
        who=received.source.ae_title,
        site_id=site.pk,
        study_instance_uid=removal.study_instance_uid,
        detail={"removal": str(removal.public_id), "code": note.code, "objects": len(note.sop_instance_uids)},
    )
    enqueue(
        kind="pacs.forward_rejection",
        arguments={"removal": str(removal.public_id)},
        idempotency_key=f"forward-rejection:{removal.public_id}",
        site=site,
    )
    log.info("objects rejected", removal=removal.pk, code=note.code, objects=len(note.sop_instance_uids))
    return removal


def rejected_among(*, site: int, sop_instance_uids: Collection[str]) -> set[str]:
    """Those of the UIDs that a removal in force hides. A deletion is, until it is purged."""
    return {uid for (uid,) in _REJECTED(site, list(sop_instance_uids), RemovalCode.IMAGES)}


def hide_by(*, removal: Removal, sop_instance_uids: Sequence[str]) -> None:
    """Hide objects, which a removal names from now on."""
    RemovedInstance.objects.bulk_create(
        [RemovedInstance(removal=removal, site_id=removal.site_id, sop_instance_uid=uid) for uid in sop_instance_uids],
        batch_size=5000,
        ignore_conflicts=True,
    )
    hide(site=removal.site_id, sop_instance_uids=sop_instance_uids)


def hide(*, site: int, sop_instance_uids: Sequence[str]) -> None:
    """Take objects out of every door, and out of the counters; the nodes that ask are told."""
    found = Instance.objects.filter(site=site, sop_instance_uid__in=sop_instance_uids, removed_at=None)
    rows = list(found.order_by("pk").values_list("pk", "series_ref", "series_ref__study_ref"))
    Instance.objects.filter(pk__in=[pk for pk, _, _ in rows]).update(removed_at=timezone.now())
    studies = {study for _, _, study in rows}
    recount(series={series for _, series, _ in rows}, studies=studies)
    if studies:
        notify_of_studies(studies=studies)


def show(*, site: int, sop_instance_uids: Sequence[str]) -> None:
    """Bring objects back that no other removal hides; the nodes that ask are told."""
    hidden = rejected_among(site=site, sop_instance_uids=sop_instance_uids)
    found = Instance.objects.filter(site=site, sop_instance_uid__in=set(sop_instance_uids) - hidden)
    rows = list(found.exclude(removed_at=None).order_by("pk").values_list("pk", "series_ref", "series_ref__study_ref"))
    Instance.objects.filter(pk__in=[pk for pk, _, _ in rows]).update(removed_at=None)
    studies = {study for _, _, study in rows}
    recount(series={series for _, series, _ in rows}, studies=studies)
    if studies:
        notify_of_studies(studies=studies)


def _title(data_set: Dataset) -> RemovalCode | None:
    for item in data_set.get("ConceptNameCodeSequence") or []:
        if item.get("CodingSchemeDesignator") == "DCM" and item.get("CodeValue") in TITLES:
            return RemovalCode(item.CodeValue)
    return None


def _references(data_set: Dataset) -> list[str]:
    found: list[str] = []
    for study in data_set.get("CurrentRequestedProcedureEvidenceSequence") or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for instance in series.get("ReferencedSOPSequence") or []:
                uid = str(instance.get("ReferencedSOPInstanceUID", ""))
                if is_uid(uid):
                    found.append(uid)
    if len(found) > MOST_REFERENCES:
        raise ValueError("too many references")
    return found
