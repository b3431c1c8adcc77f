"""What was examined before: the former studies of a patient that help to read this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F
from django.utils import timezone

from pacs.models import Series, Study
from radiology.models import Report, ReportSection, ReportStatus, ReportVersion, RequestedProcedure
from radiology.services.survivors import former_numbers, survivor_of
from worklist.models import Reading
from worklist.services.body_regions import body_regions
from worklist.services.procedure_images import of_procedure
from worklist.services.resemblance import image_modalities, modality_fits

# Among so many of the latest studies of a patient those are sought that resemble this one.
MOST_LOOKED_AT = 200


@dataclass(frozen=True)
class Prior:
    """A former study. `report` is the published one, `impression` what it says of it, empty where it says nothing."""

    study: Study
    regions: Sequence[str]
    same_region: bool
    same_modality: bool
    report: Report | None = None
    impression: str = ""


def priors_of(*, who: Any, procedure: RequestedProcedure, most: int = 8) -> list[Prior]:
    """The former studies of the procedure's patient: of the same region first, then the same modality, then newest.

    Studies of patients who were merged are included; what was made later is not. Seven queries at most, however many
    studies there are, and one for each merge in a row.
    """
    patient = survivor_of(procedure.order_ref.patient_ref)
    patients = [patient.pk, *(each.pk for each in former_numbers(patient))]
    own = dict(Study.objects.filter(of_procedure(procedure)).values_list("pk", "sort_at"))
    before = min(own.values(), default=timezone.now())
    found = _former(who, patients, own, before)
    parts = _parts_of(found)
    reading = Reading.objects.filter(requested_procedure_ref=procedure).first()
    wanted = set(
        reading.regions
        if reading is not None
        else body_regions(procedure.body_part_examined, procedure.requested_procedure_description)
    )
    modality = procedure.modality or (reading.modality if reading is not None else "")
    ranked = []
    for study in found:
        about = body_regions(*parts.get(study.pk, ())) or body_regions(_described(study))
        ranked.append(
            Prior(
                study,
                about,
                same_region=bool(wanted & set(about)),
                same_modality=bool(modality_fits(modality, study.modalities_in_study)),
            )
        )
    ranked.sort(key=lambda each: (not each.same_region, not each.same_modality))  # stable: newest first within
    return _with_reports(who, ranked[:most])


def _former(who: Any, patients: Sequence[int], own: dict[int, datetime], before: datetime) -> list[Study]:
    """Former studies with images, the newest first."""
    visible = Study.objects.visible_to(who).filter(patient_ref__in=patients, sort_at__lt=before)
    rows = visible.exclude(pk__in=list(own)).select_related("site", "requested_procedure_ref")
    latest = rows.order_by("-sort_at", "-pk")[:MOST_LOOKED_AT]
    return [study for study in latest if image_modalities(study.modalities_in_study)]


def _described(study: Study) -> str:
    ordered = study.requested_procedure_ref
    return f"{study.study_description} {ordered.requested_procedure_description if ordered else ''}"


def _parts_of(studies: Sequence[Study]) -> dict[int, list[str]]:
    """Body Part Examined of the series of each study, and of what was ordered."""
    found: dict[int, list[str]] = {}
    for study in studies:
        if study.requested_procedure_ref is not None:
            found.setdefault(study.pk, []).append(study.requested_procedure_ref.body_part_examined)
    shown = Series.objects.filter(study_ref__in=[each.pk for each in studies], removed_at=None)
    for key, part in shown.exclude(body_part_examined="").values_list("study_ref_id", "body_part_examined").distinct():
        found.setdefault(key, []).append(part)
    return found


def _with_reports(who: Any, priors: Sequence[Prior]) -> list[Prior]:
    keys = {each.study.requested_procedure_ref_id for each in priors} - {None}
    published = Report.objects.visible_to(who).exclude(number=0).exclude(status=ReportStatus.ENTERED_IN_ERROR)
    published = published.filter(held_at=None)
    reports = {each.requested_procedure_ref_id: each for each in published.filter(requested_procedure_ref__in=keys)}
    newest = ReportVersion.objects.filter(
        report_ref__in=[each.pk for each in reports.values()], number=F("report_ref__number")
    )
    said = dict(newest.values_list("report_ref_id", "sections"))
    return [_with_report(each, reports, said) for each in priors]


def _with_report(prior: Prior, reports: dict[int, Report], said: dict[int, Any]) -> Prior:
    report = reports.get(prior.study.requested_procedure_ref_id or 0)
    if report is None:
        return prior
    impression = said.get(report.pk, {}).get(ReportSection.IMPRESSION.value, "")
    return Prior(prior.study, prior.regions, prior.same_region, prior.same_modality, report, impression)
