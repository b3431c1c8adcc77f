"""What happens to images when the department to the left of us changes something."""

from collections.abc import Sequence
from typing import Any

from django.dispatch import receiver

from pacs.models import Study
from pacs.services import (
    patient_merges,  # noqa: F401  (registers what moves)
    report_objects,
)
from pacs.services.coercion import lay_patient_over
from pacs.signals import studies_stored
from radiology.models import Patient, Report, ReportVersion, Site
from radiology.services.rows import Sought
from radiology.signals import accession_number_chosen, patient_saved, report_hold_changed, report_published

_STUDIES = Sought(Study, "site_id = %s AND accession_number = %s LIMIT 1", fields=["id"])


@receiver(patient_saved)
def send_new_name_with_objects(patient: Patient, is_new: bool, **_: Any) -> None:
    """What was acquired under the old name leaves under the new one, and open lists show it."""
    if not is_new:
        lay_patient_over(patient)


@receiver(accession_number_chosen)
def has_a_study(site: Site, accession_number: str, **_: Any) -> bool:
    """Images that came with a number would otherwise join the order that gets it."""
    return bool(_STUDIES(site.pk, accession_number))


@receiver(report_published)
def store_with_images(version: ReportVersion, **_: Any) -> None:
    """In the transaction that publishes it: there is no version of which nobody takes care."""
    report_objects.watch_version(version=version)


@receiver(report_hold_changed)
def follow_hold(report: Report, **_: Any) -> None:
    """What is held is taken out of the archive; what is released comes back."""
    if report.number:
        report_objects.watch_procedures(procedures=[report.requested_procedure_ref_id])


@receiver(studies_stored)
def store_what_waited(returned: Sequence[int] = (), **_: Any) -> None:
    """A study that was hidden is seen again; its report may have been published meanwhile."""
    if returned:
        linked = Study.objects.filter(pk__in=returned).exclude(requested_procedure_ref=None)
        report_objects.watch_procedures(procedures=linked.values_list("requested_procedure_ref", flat=True))
