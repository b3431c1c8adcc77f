"""What follows for reports when a version of them is published, or patients are parted again."""

from typing import Any

from django.dispatch import receiver

from radiology.models import HoldOutcome, LateOutcome, Patient, PatientMerge, Report, ReportStatus, ReportVersion
from radiology.services import co_signatures, late_images, report_holds
from radiology.signals import patient_unmerged, report_published


@receiver(report_published)
def end_what_waited(report: Report, version: ReportVersion, who: Any = None, **_: Any) -> None:
    """A withdrawn report waits for nothing; any version answers images that came before it."""
    if version.status == ReportStatus.ENTERED_IN_ERROR:
        co_signatures.end_with_report(report, who)
        report_holds.end(report, HoldOutcome.WITHDRAWN, who=who, reason=version.reason)
        late_images.end_with_version(report, LateOutcome.WITHDRAWN, who)
    else:
        late_images.end_with_version(report, LateOutcome.AMENDED, who)


@receiver(patient_unmerged)
def hold_what_was_written(merge: PatientMerge, merged: Patient, who: Any, **_: Any) -> None:
    report_holds.hold_unmerged(merge=merge, merged=merged, who=who)
