"""Hiding a whole study from every door at once, and what still comes for it; `removal.restore` shows it again.

For images that turned out to be of somebody else: they are never purged. A rejection note names what was there, so
that the archives that hold copies hide theirs.
"""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from pacs.models import Instance, Removal, RemovalCode, Study
from pacs.services import rejection
from pacs.services.coercion import lock_studies
from pacs.services.rejection_filing import file_note
from radiology.dicom import clean
from radiology.errors import NotAllowed, NotFound
from radiology.models import AuditAction, User
from radiology.services import audit


@transaction.atomic
def hide_study(*, who: Any, study: Study, code: RemovalCode, reason: str = "", address: str | None = None) -> Removal:
    """Hide all objects of a study, and those that still come. Raises NotAllowed, NotFound.

    They are hidden also when there is nothing that a note could name, or more than one can.
    """
    if not who.may("studies.correct"):
        raise NotAllowed(_("You may not hide images."))
    lock_studies([study.pk])
    found = Study.objects.visible_to(who).select_related("site", "patient_ref").filter(pk=study.pk).first()
    if found is None:
        raise NotFound(_("There is no such study."))
    removal = _noted(who, found, code, reason) or Removal.objects.create(
        site_id=found.site_id,
        study_ref=found,
        study_instance_uid=found.study_instance_uid,
        code=code,
        reason=clean(reason)[:200],
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
    )
    hide_what_came(removal=removal)
    audit.record(
        event="study.hidden",
        action=AuditAction.DELETE,
        who=who,
        address=address,
        site_id=found.site_id,
        patient_id=found.patient_ref_id,
        study_instance_uid=found.study_instance_uid,
        detail={"removal": str(removal.public_id), "code": code},
    )
    return removal


def _noted(who: Any, study: Study, code: RemovalCode, reason: str) -> Removal | None:
    shown = Instance.objects.filter(series_ref__study_ref=study, series_ref__removed_at=None, removed_at=None)
    rows = list(
        shown.select_related("series_ref").order_by("series_ref_id", "instance_number", "pk")[
            : rejection.MOST_REFERENCES + 1
        ]
    )
    if not rows or len(rows) > rejection.MOST_REFERENCES:
        return None
    return file_note(who=who, study=study, instances=rows, code=code, reason=reason)


def hide_what_came(*, removal: Removal) -> None:
    """Hide what its study shows now, inside the caller's transaction."""
    shown = Instance.objects.filter(series_ref__study_ref=removal.study_ref, removed_at=None)
    uids = list(shown.order_by("pk").values_list("sop_instance_uid", flat=True))
    rejection.hide_by(removal=removal, sop_instance_uids=uids)
