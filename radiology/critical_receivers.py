"""What follows for critical results when something else happens to their report."""

from typing import Any

from django.dispatch import receiver

from radiology.models import Report, ReportStatus, ReportVersion
from radiology.services.critical_results import withdraw_with_report
from radiology.signals import report_published


@receiver(report_published)
def withdraw_with_the_report(report: Report, version: ReportVersion, **_: Any) -> None:
    if report.status == ReportStatus.ENTERED_IN_ERROR:
        withdraw_with_report(procedure=report.requested_procedure_ref, reason=version.reason, who=None)
