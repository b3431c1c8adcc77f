"""When a study is complete, and that it is told.

A study is complete when the devices say so (every performed step of it has ended, one at least was completed,
and all the objects that they list are here), when a device has all its images committed to storage, or when no
image has come for its quiet period. While a performed step is in progress, and not given up
(worklist.services.abandonment), neither of these two counts. Images that arrive later reopen the study, as does a
performed step that was given up and goes on; it is completed anew.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from pacs.models import Instance, ReportObject, StorageCommitment, Study
from worklist.models import (
    CompletedBy,
    PerformedProcedureStep,
    PerformedStatus,
    PerformedStepReference,
    StudyCompletion,
)
from worklist.services.performed_series import objects_of
from worklist.signals import study_completed, study_reopened


def performed_of(study: Study) -> list[PerformedProcedureStep]:
    """The performed steps whose images are in a study; those with a wrong worklist entry are none of them."""
    uid = study.study_instance_uid
    keys = PerformedStepReference.objects.filter(study_instance_uid=uid).values("performed_ref")
    named = PerformedProcedureStep.objects.filter(Q(study_instance_uid=uid) | Q(pk__in=keys), site_id=study.site_id)
    return list(named.filter(is_wrong_entry=False).order_by("pk"))


def completion_of(study: Study) -> StudyCompletion | None:
    """The completion that stands, if the study is complete."""
    return StudyCompletion.objects.standing().filter(study_ref=study).first()


def settle_completion(
    *,
    study: Study,
    performed: Sequence[PerformedProcedureStep],
    last_at: datetime,
    is_quiet: bool,
    is_committed: bool = False,
) -> StudyCompletion | None:
    """Reopen or complete a study, whose row the caller has locked; the completion that now stands.

    `last_at` is when its last image came, `is_quiet` whether that is long enough ago, `is_committed` whether its
    device had all of them committed (`names_all`).
    """
    standing = completion_of(study)
    if standing is not None and (last_at > standing.at or _goes_on(standing, performed)):
        standing.reopened_at = timezone.now()
        standing.save(update_fields=["reopened_at"])
        study_reopened.send(sender=Study, study=study, completion=standing)
        standing = None
    if standing is not None:
        return standing
    how = _how(study, performed, is_quiet=is_quiet, is_committed=is_committed)
    if how is None:
        return None
    made = StudyCompletion.objects.create(
        study_ref=study,
        how=how,
        number_of_instances=study.number_of_study_related_instances,
        performed_step_uids=[each.sop_instance_uid for each in performed],
    )
    study_completed.send(sender=Study, study=study, performed=list(performed), completion=made)
    return made


def _goes_on(standing: StudyCompletion, performed: Sequence[PerformedProcedureStep]) -> bool:
    """Whether a performed step behind a completion was given up, and is at work after all."""
    return any(each.is_at_work and each.sop_instance_uid in standing.performed_step_uids for each in performed)


def is_under_way(performed: Sequence[PerformedProcedureStep]) -> bool:
    """Whether a device says that it is still at work, and was heard of lately."""
    return any(each.is_at_work for each in performed)


def names_all(*, commitment: StorageCommitment, study: Study) -> bool:
    """Whether a storage commitment request, all of whose objects are safe, names every object of a study.

    Only one of a device that sent images of the study: an archive that has copies knows no more than we do. What we
    made of reports no device knows of.
    """
    if commitment.number_of_failed or commitment.checked_at is None or commitment.site_id != study.site_id:
        return False
    if not study.series.filter(source_ae_title=commitment.calling_ae_title).exclude(source_ae_title="").exists():
        return False
    shown = Instance.objects.filter(series_ref__study_ref=study, series_ref__removed_at=None, removed_at=None)
    of_reports = ReportObject.objects.filter(
        study_ref__site=study.site_id, sop_instance_uid=OuterRef("sop_instance_uid")
    )
    here = shown.exclude(Exists(of_reports))
    uids = set(here.values_list("sop_instance_uid", flat=True)[: commitment.number_of_requested + 1])
    return bool(uids) and uids <= {sop_instance for _, sop_instance in commitment.requested}


def _how(
    study: Study, performed: Sequence[PerformedProcedureStep], *, is_quiet: bool, is_committed: bool
) -> CompletedBy | None:
    if is_under_way(performed):
        return None
    statuses = {each.performed_procedure_step_status for each in performed}
    # Of a study that was complete before, nobody says again that it is.
    said = PerformedStatus.COMPLETED in statuses and PerformedStatus.IN_PROGRESS not in statuses
    if said and not StudyCompletion.objects.filter(study_ref=study).exists() and _is_all_here(study, performed):
        return CompletedBy.MPPS
    if is_committed:
        return CompletedBy.COMMITMENT
    return CompletedBy.QUIET if is_quiet else None


def _is_all_here(study: Study, performed: Sequence[PerformedProcedureStep]) -> bool:
    listed = {uid for each in performed for uid in objects_of(performed=each)}
    found = Instance.objects.filter(site_id=study.site_id, sop_instance_uid__in=listed).count()
    return found == len(listed)
