"""Rejection notes of our own: made, stored with the study whose objects they reject, and in effect by that."""

from collections.abc import Sequence
from typing import Any

import structlog

from pacs.models import Instance, Removal, RemovalCode, Study
from pacs.services.incoming import Source, receive_part10
from pacs.services.rejection_note import rejection_note
from pacs.services.store import StoreOutcome, store_instances
from radiology.dicom import clean
from radiology.models import User
from radiology.services import audit

log = structlog.get_logger(__name__)


def file_note(
    *, who: Any, study: Study, instances: Sequence[Instance], code: RemovalCode, reason: str = ""
) -> Removal | None:
    """Reject `instances`, which come in the order of their series, with a note; None when that cannot be filed.

    Their archives are told (pacs.services.rejection_forwarding). Stored by this thread alone and not along with
    others': the caller may hold the study's row.
    """
    reason = clean(reason)[:200]
    note = rejection_note(study=study, instances=instances, code=code, reason=reason)
    with receive_part10(source=Source.of_ourselves(study.site)) as incoming:
        incoming.write(note)
        received = incoming.finish()
    [stored] = store_instances(received=[received])
    if stored.outcome is not StoreOutcome.STORED:
        log.error("rejection note not filed", study=study.pk, outcome=stored.outcome, reason=stored.reason)
        return None
    removal = Removal.objects.get(site=study.site, note_sop_instance_uid=stored.sop_instance_uid)
    removal.reason = reason
    removal.user = who if isinstance(who, User) else None
    removal.agent = audit.agent_of(who)
    removal.save(update_fields=["reason", "user", "agent"])
    return removal
