"""Images that came after their study was reported: told to who wrote and signed it, once for all that came together."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict
from radiology.models import AuditAction, LateImages, LateOutcome, Report, User
from radiology.services.report_versions import claim_report, newest_version, record, require_right
from radiology.signals import late_images_changed


@transaction.atomic
def note_late(
    *, report: Report, study_instance_uid: str, number: int, first_at: datetime, last_at: datetime
) -> LateImages | None:
    """Write down that so many images came after a published report. Said again, or before it was published: nothing."""
    report = claim_report(report, None)
    version = newest_version(report)
    if version is None or report.published_at is None or last_at <= since(report):
        return None
    open_one = open_of(report)
    if open_one is None:
        found = LateImages(site_id=report.site_id, report_ref=report, number_of_images=0, first_at=first_at)
    else:
        found = open_one
    found.study_instance_uid, found.last_at = study_instance_uid, last_at
    found.number_of_images += number
    found.author, found.writer = version.author, version.writer
    found.save()
    _tell(report, found, None, None, {"images_after_reading": found.number_of_images})
    return found


def since(report: Report) -> datetime:
    """From when on images are new to a report: since it was published, or since the last that were told of."""
    assert report.published_at is not None
    last = report.late_images.order_by("-last_at").values_list("last_at", flat=True).first()
    return max(report.published_at, last or report.published_at)


@transaction.atomic
def acknowledge(*, report: Report, who: User, address: str | None = None) -> LateImages:
    """Say that one has seen the late images, and that they change nothing. Raises NotAllowed, Conflict."""
    require_right(who, "reports.sign")
    report = claim_report(report, None)
    found = open_of(report)
    if found is None:
        raise Conflict(_("Nothing is new in this study, or somebody has answered meanwhile."), field="report")
    _end(report, found, LateOutcome.SEEN, who, address)
    return found


def end_with_version(report: Report, outcome: LateOutcome, who: Any) -> None:
    """A version that was published, or a withdrawal, answers too."""
    found = open_of(report)
    if found is not None:
        _end(report, found, outcome, who, None)


def open_of(report: Report) -> LateImages | None:
    return report.late_images.open().first()


def open_for(who: User) -> QuerySet[LateImages]:
    """What came for the reports that somebody wrote or signed."""
    return LateImages.objects.visible_to(who).open().filter(Q(author=who.pk) | Q(writer=who.pk))


def _end(report: Report, found: LateImages, outcome: LateOutcome, who: Any, address: str | None) -> None:
    found.ended_at, found.outcome = timezone.now(), outcome
    found.ended_by = who if isinstance(who, User) else None
    found.save()
    _tell(report, found, who, address, {"images_after_reading": outcome})


def _tell(report: Report, found: LateImages, who: Any, address: str | None, detail: dict[str, Any]) -> None:
    record(report, who, address, AuditAction.UPDATE, detail)
    late_images_changed.send(sender=LateImages, report=report, late=found, who=who)
