"""Taking studies and objects out of sight: deleted by a person, or rejected with a note (IHE IOCM).

Nothing is lost at once: `restore` brings it back. What was deleted, and what retention expired for, is
purged for good after the days that its site keeps it.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import HeldObject, Instance, Location, Removal, RemovalCode, Series, Study, Volume
from pacs.services import rejection
from pacs.services.availability import notify_availability
from pacs.services.coercion import lock_studies, show_anew
from pacs.services.kept_pictures import forget_pictures
from pacs.services.rejection_filing import file_note
from pacs.storage import backend
from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Job, Site, User
from radiology.services import audit
from radiology.services.jobs import enqueue, handles

log = structlog.get_logger(__name__)

PURGED = (RemovalCode.DELETED, RemovalCode.IMAGES, RemovalCode.EXPIRED)
FILES_A_JOB = 5000


@transaction.atomic
def delete_study(*, who: Any, study: Study, reason: str, address: str | None = None) -> Removal:
    """Hide a study until it is restored or purged. Raises InvalidValue without a reason, NotAllowed, NotFound."""
    _require(who, "studies.delete", _("You may not delete studies."))
    reason = _reason(reason)
    found = Study.objects.visible_to(who).select_for_update(of=("self",)).filter(pk=study.pk).first()
    if found is None:
        raise NotFound(_("There is no such study."))
    removal = _removal(who, found, RemovalCode.DELETED, reason)
    Study.objects.filter(pk=found.pk).update(deleted_at=removal.created_at, deletion_reason=reason)
    show_anew(found.pk)
    notify_availability(study=found)
    _audit(who, "study.deleted", AuditAction.DELETE, removal, found, address)
    return removal


@transaction.atomic
def delete_images(
    *,
    who: Any,
    study: Study,
    series_instance_uids: Collection[str] = (),
    sop_instance_uids: Collection[str] = (),
    reason: str,
    address: str | None = None,
) -> Removal:
    """Hide series and objects of a study until they are restored or purged; where they are all of it, the study.

    Raises InvalidValue without a reason, NotAllowed, NotFound.
    """
    _require(who, "studies.delete", _("You may not delete images."))
    reason = _reason(reason)
    lock_studies([study.pk])
    shown = Instance.objects.visible_to(who).filter(series_ref__study_ref=study.pk, series_ref__removed_at=None)
    named = Q(series_ref__series_instance_uid__in=series_instance_uids) | Q(sop_instance_uid__in=sop_instance_uids)
    uids = list(shown.filter(named).order_by("pk").values_list("sop_instance_uid", flat=True))
    if not uids:
        raise NotFound(_("There is nothing of this to delete."))
    if len(uids) == shown.count():
        return delete_study(who=who, study=study, reason=reason, address=address)
    found = Study.objects.select_related("site").get(pk=study.pk)
    removal = _removal(who, found, RemovalCode.IMAGES, reason)
    rejection.hide_by(removal=removal, sop_instance_uids=uids)
    _audit(who, "study.images.deleted", AuditAction.DELETE, removal, found, address)
    return removal


def reject(
    *,
    who: Any,
    study: Study,
    code: RemovalCode,
    series: Sequence[Series] = (),
    instances: Sequence[Instance] = (),
    reason: str = "",
    address: str | None = None,
) -> Removal:
    """Reject objects of a study, all of them when none is named: a rejection note is made, stored, and takes effect.

    Raises InvalidValue for a code that is no title of such a note, NotAllowed, NotFound.
    """
    _require(who, "studies.correct", _("You may not reject images."))
    if code not in rejection.TITLES:
        raise InvalidValue(_("Choose why: quality, patient safety, wrong worklist entry or expired."), field="code")
    found = Study.objects.visible_to(who).select_related("site", "patient_ref").filter(pk=study.pk).first()
    if found is None:
        raise NotFound(_("There is no such study."))
    wanted = Instance.objects.visible_to(who).filter(series_ref__study_ref=found, series_ref__removed_at=None)
    if series:
        wanted = wanted.filter(series_ref__in=[each.pk for each in series])
    if instances:
        wanted = wanted.filter(pk__in=[each.pk for each in instances])
    rows = list(wanted.select_related("series_ref").order_by("series_ref_id", "instance_number", "pk"))
    if not rows:
        raise NotFound(_("There is nothing of this to reject."))
    if len(rows) > rejection.MOST_REFERENCES:
        raise InvalidValue(_("These are more objects than one note can name: reject them series by series."))
    removal = file_note(who=who, study=found, instances=rows, code=code, reason=reason)
    if removal is None:
        raise Conflict(_("The rejection note could not be filed with the study."))
    _audit(who, "study.rejection.made", AuditAction.DELETE, removal, found, address)
    return removal


@transaction.atomic
def restore(*, who: Any, removal: Removal, address: str | None = None) -> None:
    """Bring back what a removal hid, unless another one hides it too. Restoring twice is harmless."""
    _require(who, "studies.delete" if removal.is_deletion else "studies.correct", _("You may not restore this."))
    found = Removal.objects.select_for_update(of=("self",)).filter(public_id=removal.public_id).first()
    if found is None or (not who.sees_every_site and found.site_id != who.site_id):
        raise NotFound(_("There is nothing of this kind to restore."))
    if found.restored_at is not None:
        return
    if found.study_ref is None:
        raise Conflict(_("The files were removed for good: this cannot be restored any more."))
    found.restored_at = timezone.now()
    found.save(update_fields=["restored_at"])
    if found.code == RemovalCode.DELETED:
        Study.objects.filter(pk=found.study_ref.pk, merged_into=None).update(deleted_at=None, deletion_reason="")
        show_anew(found.study_ref.pk)
        notify_availability(study=found.study_ref)
    else:
        uids = found.instances.exclude(sop_instance_uid=found.note_sop_instance_uid)
        rejection.show(site=found.site_id, sop_instance_uids=list(uids.values_list("sop_instance_uid", flat=True)))
    _audit(who, "study.restored", AuditAction.UPDATE, found, found.study_ref, address)


@handles("pacs.purge_removed", daily=True)
def run_purge(job: Job) -> None:
    """The daily job."""
    for site in Site.objects.order_by("id"):
        purge(site=site)


def purge(*, site: Site) -> int:
    """Remove for good what was deleted, or expired, longer ago than `site` keeps it; how many studies' removals."""
    before = timezone.now() - timedelta(days=site.keeps_deleted_for)
    due = Removal.objects.filter(site=site, code__in=PURGED, restored_at=None, created_at__lt=before)
    done = 0
    for pk in list(due.exclude(study_ref=None).values_list("pk", flat=True)):
        with transaction.atomic():
            done += _purge(Removal.objects.select_for_update(of=("self",)).get(pk=pk))
    if done:
        log.info("removed studies purged", site=site.pk, count=done)
    return done


def _purge(removal: Removal) -> bool:
    """The rows go now, those of conflicts about the same objects too; the files by a job of the same transaction."""
    study = removal.study_ref
    if removal.restored_at is not None or study is None:
        return False
    if removal.code == RemovalCode.DELETED:
        instances = Instance.objects.filter(series_ref__study_ref=study)
    else:
        uids = removal.instances.values("sop_instance_uid")
        instances = Instance.objects.filter(site=removal.site_id, sop_instance_uid__in=uids).exclude(removed_at=None)
    files = list(Location.objects.filter(instance_ref__in=instances).values_list("volume_id", "path"))
    objects = set(instances.values_list("sop_instance_uid", flat=True))
    held = Q(sop_instance_uid__in=list(objects))
    if removal.code == RemovalCode.DELETED:
        held |= Q(study_instance_uid=study.study_instance_uid)
    conflicts = HeldObject.objects.filter(held, site=study.site_id)
    files += list(conflicts.values_list("volume_id", "path"))
    pictured = sorted(objects.union(conflicts.values_list("sop_instance_uid", flat=True)))
    conflicts.delete()
    audit.record(
        event="study.purged",
        action=AuditAction.DELETE,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={"removal": str(removal.public_id), "objects": len(files)},
    )
    if removal.code == RemovalCode.DELETED:
        study.delete()
    else:
        instances.delete()
        Removal.objects.filter(pk=removal.pk).update(study_ref=None)
    for start in range(0, len(files), FILES_A_JOB):
        enqueue(kind="pacs.remove_files", arguments={"files": files[start : start + FILES_A_JOB]}, site=removal.site)
    for start in range(0, len(pictured), FILES_A_JOB):
        some = {"sop_instance_uids": pictured[start : start + FILES_A_JOB]}
        enqueue(kind="pacs.forget_pictures", arguments=some, site=removal.site)
    return True


@handles("pacs.remove_files")
def remove_files(job: Job) -> None:
    """Remove files whose rows are gone; one that a row names after all stays."""
    volumes = Volume.objects.in_bulk()
    for volume_id, path in job.arguments["files"]:
        named = Location.objects.filter(volume=volume_id, path=path) or HeldObject.objects.filter(
            volume=volume_id, path=path
        )
        if volume_id in volumes and not named.exists():
            backend(volumes[volume_id]).remove(path)


@handles("pacs.forget_pictures")
def run_forget_pictures(job: Job) -> None:
    """Pictures of objects whose rows are gone."""
    forget_pictures(sop_instance_uids=job.arguments["sop_instance_uids"])


def _require(who: Any, scope: str, message: str) -> None:
    if not who.may(scope):
        raise NotAllowed(message)


def _removal(who: Any, study: Study, code: RemovalCode, reason: str) -> Removal:
    return Removal.objects.create(
        site=study.site,
        study_ref=study,
        study_instance_uid=study.study_instance_uid,
        code=code,
        reason=reason,
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
    )


def _reason(text: str) -> str:
    reason = clean(text)[:200]
    if not reason:
        raise InvalidValue(_("Say why the study is deleted."), field="reason")
    return reason


def _audit(who: Any, event: str, action: AuditAction, removal: Removal, study: Study, address: str | None) -> None:
    audit.record(
        event=event,
        action=action,
        who=who,
        address=address,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={"removal": str(removal.public_id), "code": removal.code},
    )
