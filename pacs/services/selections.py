"""What is done with several studies at once: the ones somebody marked in a list."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from pacs.models import Instance, Location, Removal, Study
from pacs.services import removal
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotFound
from radiology.models import AuditAction
from radiology.services import audit

MOST_DELETED = 50
MOST_DOWNLOADED = 200


def marked_studies(*, who: Any, uids: Sequence[str], most: int) -> list[Study]:
    """The studies with these UIDs that `who` may see, in that order, each once.

    Raises InvalidValue when none or more than `most` are named, NotFound when one of them is not there.
    """
    wanted = list(dict.fromkeys(uid for uid in uids if is_uid(uid)))
    if not wanted:
        raise InvalidValue(_("Mark at least one study first."), field="StudyInstanceUIDs")
    if len(wanted) > most:
        message = _("At most %(most)d studies at once: mark fewer.") % {"most": most}
        raise InvalidValue(message, field="StudyInstanceUIDs")
    found = Study.objects.visible_to(who).filter(study_instance_uid__in=wanted).select_related("patient_ref", "site")
    studies = sorted(found, key=lambda study: wanted.index(study.study_instance_uid))
    if {study.study_instance_uid for study in studies} != set(wanted):
        raise NotFound(_("A study is not here any more, or not for you to see: mark them again."))
    return studies


def locations_to_download(*, who: Any, studies: Sequence[Study], address: str | None = None) -> QuerySet[Location]:
    """Where the objects of `studies` lie. Each study leaves an audit event."""
    for study in studies:
        audit.record(
            event="study.downloaded",
            action=AuditAction.READ,
            who=who,
            address=address,
            site_id=study.site_id,
            patient_id=study.patient_ref_id,
            study_instance_uid=study.study_instance_uid,
        )
    wanted = Instance.objects.visible_to(who).filter(series_ref__study_ref__in=[study.pk for study in studies])
    return Location.objects.current().filter(instance_ref__in=wanted)


@transaction.atomic
def delete_studies(*, who: Any, studies: Sequence[Study], reason: str, address: str | None = None) -> list[Removal]:
    """Hide all of `studies` or, when one cannot be, none. Raises what `delete_study` raises."""
    return [removal.delete_study(who=who, study=study, reason=reason, address=address) for study in studies]


@transaction.atomic
def restore_removals(*, who: Any, public_ids: Sequence[uuid.UUID], address: str | None = None) -> int:
    """Bring back what these removals hid; how many there were. Raises what `restore` raises."""
    found = list(Removal.objects.filter(public_id__in=public_ids).order_by("pk")[:MOST_DELETED])
    for each in found:
        removal.restore(who=who, removal=each, address=address)
    if not found:
        raise NotFound(_("There is nothing of this kind to restore."))
    return len(found)
