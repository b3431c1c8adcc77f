"""What happens when a study, or images, that somebody deleted are sent again: the site decides."""

from django.utils import timezone

from pacs.models import Instance, Removal, RemovalCode, Study
from pacs.services import rejection
from pacs.services.availability import notify_availability
from pacs.services.coercion import show_anew
from radiology.models import AuditAction, ResentDeleted, Site
from radiology.services import audit

REFUSED = "This was deleted here, and what was deleted is not taken again."


def may_return(study: Study) -> bool:
    """Whether objects of a hidden study are taken; one that a person deleted is then restored."""
    deleted = Removal.objects.filter(study_ref=study, code=RemovalCode.DELETED, restored_at=None)
    if not deleted.exists():
        return True
    if _refuses(study):
        return False
    deleted.update(restored_at=timezone.now())
    Study.objects.filter(pk=study.pk, merged_into=None).update(deleted_at=None, deletion_reason="")
    show_anew(study.pk)
    notify_availability(study=study)
    _record(study)
    return True


def may_return_to(study: Study, instance: Instance) -> bool:
    """Whether a hidden object of a study is taken; what a person deleted along with it is then restored."""
    deleted = Removal.objects.filter(
        code=RemovalCode.IMAGES,
        restored_at=None,
        instances__sop_instance_uid=instance.sop_instance_uid,
        instances__site=instance.site_id,
    ).exclude(study_ref=None)
    keys = list(deleted.values_list("pk", flat=True))
    if not keys:
        return True
    if _refuses(study):
        return False
    removals = Removal.objects.filter(pk__in=keys)
    removals.update(restored_at=timezone.now())
    uids = removals.values_list("instances__sop_instance_uid", flat=True)
    rejection.show(site=instance.site_id, sop_instance_uids=list(uids))
    _record(study)
    return True


def _refuses(study: Study) -> bool:
    wanted = Site.objects.values_list("resent_deleted", flat=True).get(pk=study.site_id)
    return wanted == ResentDeleted.REFUSE


def _record(study: Study) -> None:
    audit.record(
        event="study.restored",
        action=AuditAction.UPDATE,
        who="sent again",
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
    )
