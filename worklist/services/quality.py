"""The radiographer's check of images, and what repeat analysis makes of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import WRITTEN, Instance, RemovalCode, Series, Study
from pacs.services import removal
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, User
from radiology.services import audit
from worklist.models import QualityCheck, QualityOutcome, RejectReason, ScheduledProcedureStep


@transaction.atomic
def accept_images(
    *, who: Any, study: Study, step: ScheduledProcedureStep | None = None, address: str | None = None
) -> QualityCheck:
    """Say that a study's images are good. Saying it again, with nothing new in it, returns the first check.

    Raises Conflict for a study without images, NotAllowed, NotFound.
    """
    found = _study(who, study)
    images = found.number_of_study_related_instances
    if not images:
        raise Conflict(_("There are no images yet."))
    last = QualityCheck.objects.standing().filter(study_ref=found).order_by("-pk").first()
    if last is not None and (last.outcome, last.images) == (QualityOutcome.ACCEPTED, images):
        return last
    return _record(who, found, step, QualityOutcome.ACCEPTED, images=images, address=address, modality=_modality(found))


@transaction.atomic
def reject_images(
    *,
    who: Any,
    study: Study,
    reason: str,
    series: Sequence[Series] = (),
    instances: Sequence[Instance] = (),
    step: ScheduledProcedureStep | None = None,
    comment: str = "",
    address: str | None = None,
) -> QualityCheck:
    """Reject images for quality: hidden from every door by a rejection note (113001), counted for repeat analysis.

    Raises InvalidValue without a known reason or without images, NotAllowed, NotFound.
    """
    found = _study(who, study)
    if reason not in RejectReason.values:
        raise InvalidValue(_("Choose why the images are rejected."), field="reason")
    if not series and not instances:
        raise InvalidValue(_("Choose which images are rejected."), field="images")
    named = [each.series_ref for each in instances] + list(series)
    source = next((each.source_ae_title for each in named if each.source_ae_title), "")
    modality = next((each.modality for each in named if each.modality), _modality(found))
    words = RejectReason(reason).label
    made = removal.reject(
        who=who,
        study=found,
        code=RemovalCode.QUALITY,
        series=series,
        instances=instances,
        reason=f"{words}: {comment}" if comment else str(words),
        address=address,
    )
    return _record(
        who,
        found,
        step,
        QualityOutcome.REJECTED,
        images=made.instances.exclude(sop_instance_uid=made.note_sop_instance_uid).count(),
        address=address,
        modality=modality,
        source_ae_title=source,
        reason=reason,
        comment=comment[:200],
        removal=made,
    )


@transaction.atomic
def take_back(*, who: Any, check: QualityCheck, address: str | None = None) -> None:
    """Undo a check; rejected images are shown again. Doing it twice is harmless."""
    found = QualityCheck.objects.visible_to(who).select_for_update(of=("self",)).filter(pk=check.pk).first()
    if found is None:
        raise NotFound(_("There is no such quality check."))
    _require(who)
    if found.undone_at is not None:
        return
    if found.removal is not None:
        removal.restore(who=who, removal=found.removal, address=address)
    QualityCheck.objects.filter(pk=found.pk).update(undone_at=timezone.now())
    audit.record(
        event="quality.undone",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=found.site_id,
        patient_id=found.study_ref.patient_ref_id,
        study_instance_uid=found.study_ref.study_instance_uid,
    )


@dataclass
class RepeatAnalysis:
    """How many images were rejected, by modality, device and reason; rates in per cent of all that were checked."""

    accepted: int = 0
    rejected: int = 0
    by_reason: list[tuple[str, int]] = field(default_factory=list)
    by_modality: list[dict[str, Any]] = field(default_factory=list)
    by_device: list[tuple[str, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return _rate(self.accepted, self.rejected)


def repeat_analysis(*, who: Any, start: datetime, end: datetime) -> RepeatAnalysis:
    """The checks of a period at one's own site, in two queries.

    A study counts with the images that it has now as soon as somebody accepted it, however often that was.
    """
    checks = QualityCheck.objects.visible_to(who).standing().filter(site_id=who.site_id, at__gte=start, at__lt=end)
    reasons: Counter[str] = Counter()
    modalities: dict[str, Counter[str]] = {}
    devices: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    rejected = checks.filter(outcome=QualityOutcome.REJECTED).values_list("reason", "modality", "source_ae_title")
    for reason, modality, device, images in rejected.annotate(rejected=Sum("images")):
        total[QualityOutcome.REJECTED] += images
        reasons[reason] += images
        modalities.setdefault(modality, Counter())[QualityOutcome.REJECTED] += images
        devices.setdefault(device, Counter())[QualityOutcome.REJECTED] += images
    accepted = checks.filter(outcome=QualityOutcome.ACCEPTED, study_ref__deleted_at=None)
    studies = accepted.values_list("study_ref", "modality", "study_ref__number_of_study_related_instances").distinct()
    for _study_key, modality, images in studies.iterator():
        total[QualityOutcome.ACCEPTED] += images
        modalities.setdefault(modality, Counter())[QualityOutcome.ACCEPTED] += images
    return RepeatAnalysis(
        accepted=total[QualityOutcome.ACCEPTED],
        rejected=total[QualityOutcome.REJECTED],
        by_reason=[(str(RejectReason(reason).label), count) for reason, count in reasons.most_common()],
        by_modality=[_line(name, counted) for name, counted in sorted(modalities.items())],
        by_device=[(name, counted[QualityOutcome.REJECTED]) for name, counted in sorted(devices.items())],
    )


def _line(name: str, counted: Counter[str]) -> dict[str, Any]:
    accepted, rejected = counted[QualityOutcome.ACCEPTED], counted[QualityOutcome.REJECTED]
    return {"name": name, "accepted": accepted, "rejected": rejected, "rate": _rate(accepted, rejected)}


def _rate(accepted: int, rejected: int) -> float:
    return 100 * rejected / (accepted + rejected) if accepted + rejected else 0.0


def _require(who: Any) -> None:
    if not who.may("steps.write"):
        raise NotAllowed(_("You may not check images."))


def _study(who: Any, study: Study) -> Study:
    _require(who)
    found = Study.objects.visible_to(who).select_for_update(of=("self",)).filter(pk=study.pk).first()
    if found is None:
        raise NotFound(_("There is no such study."))
    return found


def _modality(study: Study) -> str:
    return next((each for each in study.modalities_in_study if each not in WRITTEN), "")


def _record(
    who: Any,
    study: Study,
    step: ScheduledProcedureStep | None,
    outcome: QualityOutcome,
    *,
    images: int,
    address: str | None,
    **fields: Any,
) -> QualityCheck:
    check = QualityCheck.objects.create(
        site_id=study.site_id,
        study_ref=study,
        step=step,
        outcome=outcome,
        images=images,
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
        **fields,
    )
    audit.record(
        event=f"quality.{outcome.value}",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={"images": images, "reason": fields.get("reason", "")},
    )
    return check
