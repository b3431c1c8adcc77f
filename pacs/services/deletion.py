"""What happens when a study that somebody deleted is sent again: the site decides."""

from django.utils import timezone

from pacs.models import Removal, RemovalCode, Study
from pacs.services.availability import notify_availability
from pacs.services.coercion import show_anew
from radiology.models import AuditAction, ResentDeleted, Site
from radiology.services import audit

REFUSED = "This study was deleted here, and deleted studies are not taken again."


def may_return(study: Study) -> bool:
    """Whether objects of a hidden study are taken; one that a person deleted is then restored."""
    deleted = Removal.objects.filter(study_ref=study, code=RemovalCode.DELETED, restored_at=None)
    if not deleted.exists():
        return True
    if Site.objects.values_list("resent_deleted", flat=True).get(pk=study.site_id) == ResentDeleted.REFUSE:
        return False
    deleted.update(restored_at=timezone.now())
    Study.objects.filter(pk=study.pk, merged_into=None).update(deleted_at=None, deletion_reason="")
    show_anew(study.pk)
    notify_availability(study=study)
    audit.record(
        event="study.restored",
        action=AuditAction.UPDATE,
        who="sent again",
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
    )
    return True
