"""Which conflicts wait, each as a case with its two sides face to face."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from django.db.models import Count, Max, Min
from django.utils.translation import gettext_lazy as _

from pacs.models import HeldChoice, HeldDecision, HeldObject, HeldReason, Instance, Location, Series, Study
from pacs.services import headers, held, held_filing
from pacs.services.header import Header
from pacs.services.held_admission import CaseKey
from radiology.dicom import PersonName
from radiology.errors import CannotUnderstand, OutOfResources
from radiology.models import Patient

log = structlog.get_logger(__name__)

PAGE = 10
QUARANTINE = (HeldReason.OTHER_PIXELS,)
CONFLICTS = tuple(reason for reason in HeldReason if reason not in QUARANTINE)
MOST_DIFFERENCES = 40
# Keys of the rows, in the order that they are shown: the patient first.
FACTS = {
    "name": _("Name"),
    "mrn": _("MRN"),
    "born": _("Birth date"),
    "sex": _("Sex"),
    "date": _("Study date"),
    "accession": _("Accession"),
    "study": _("Study"),
    "series": _("Series"),
    "modality": _("Modality"),
    "sender": _("Sent by"),
    "images": _("Images"),
}
# Where a whole study is contradicted, there is no one series to compare with.
OF_SERIES = {"series", "modality", "sender"}


@dataclass(frozen=True)
class Fact:
    """One row of the two sides: what is there, what came."""

    key: str
    label: Any
    there: str
    came: str

    @property
    def differs(self) -> bool:
        if self.key == "images" or (self.key in OF_SERIES and not self.there):
            return False
        return self.there.strip() != self.came.strip()


@dataclass
class Case:
    """Held objects that are decided together."""

    key: CaseKey
    count: int
    since: datetime
    sample: HeldObject
    facts: list[Fact] = field(default_factory=list)
    study: Study | None = None
    series: Series | None = None
    instance: Instance | None = None
    earlier: HeldDecision | None = None
    differences: list[headers.Difference] = field(default_factory=list)
    location: Location | None = None
    unreadable: bool = False

    @property
    def choices(self) -> tuple[HeldChoice, ...]:
        """What may be decided, the proposal first: as before, when part of this case was decided already."""
        offered = held.CHOICES[self.key.reason]
        if self.earlier is not None and self.earlier.choice in offered:
            first = HeldChoice(self.earlier.choice)
            return (first, *(choice for choice in offered if choice != first))
        if self.key.reason == HeldReason.STUDY_OF_OTHER_PATIENT and not self._is_another_person:
            return (HeldChoice.JOIN, HeldChoice.APART, HeldChoice.REJECT)
        return offered

    @property
    def newest_text(self) -> str:
        return str(self.key.newest)

    @property
    def asks_why(self) -> bool:
        """Whether one of the choices needs a reason."""
        return any((self.key.reason, choice) in held.NEEDS_REASON for choice in self.choices)

    @property
    def there_picture(self) -> str:
        """The DICOMweb address of a picture of what is there: the instance, else its series, else the study."""
        if self.study is None or self.study.deleted_at is not None:
            return ""
        address = f"/dicom-web/studies/{self.study.study_instance_uid}"
        if self.series is not None:
            address += f"/series/{self.series.series_instance_uid}"
            if self.instance is not None:
                address += f"/instances/{self.instance.sop_instance_uid}"
        return f"{address}/thumbnail"

    @property
    def _is_another_person(self) -> bool:
        """Whether a name or birth date, given on both sides, differs."""
        told = {fact.key: fact for fact in self.facts}
        names = told["name"]
        words = [set(PersonName(side).words) for side in (names.there, names.came)]
        if all(words) and not (words[0] <= words[1] or words[1] <= words[0]):
            return True
        born = told["born"]
        return bool(born.there and born.came and born.differs)


@dataclass(frozen=True)
class CasePage:
    cases: list[Case]
    older: int | None


def waiting_version(*, who: Any) -> tuple[Any, ...]:
    """Changes whenever anything in the inboxes of `who` does."""
    objects = HeldObject.objects.visible_to(who).waiting().aggregate(Max("id"), Count("id"))
    decisions = HeldDecision.objects.visible_to(who).aggregate(Max("id"), Max("undone_at"))
    return (*objects.values(), *decisions.values())


def cases(*, who: Any, reasons: Sequence[HeldReason], before: int | None = None, size: int = PAGE) -> CasePage:
    """The cases of these reasons that wait, the newest first; those older than `before` on the next page."""
    groups = (
        HeldObject.objects.visible_to(who)
        .waiting()
        .filter(reason__in=reasons)
        .values("site_id", "reason", "study_instance_uid", "source_ae_title", "patient_id")
        .annotate(newest=Max("id"), count=Count("id"), since=Min("created_at"))
        .order_by("-newest")
    )
    if before is not None:
        groups = groups.filter(newest__lt=before)
    rows = list(groups[: size + 1])
    samples = {
        each.pk: each
        for each in HeldObject.objects.select_related("volume", "site").filter(pk__in=[row["newest"] for row in rows])
    }
    found = [
        Case(_key(dict(row)), row["count"], row["since"], samples[row["newest"]])
        for row in rows[:size]
        if row["newest"] in samples
    ]
    _find_there(found)
    _find_earlier(found, who)
    for case in found:
        _compare(case)
    return CasePage(found, rows[size - 1]["newest"] if len(rows) > size else None)


def _key(row: dict[str, Any]) -> CaseKey:
    return CaseKey(
        site_id=row["site_id"],
        reason=HeldReason(row["reason"]),
        study_instance_uid=row["study_instance_uid"],
        source_ae_title=row["source_ae_title"],
        patient_id=row["patient_id"],
        newest=row["newest"],
    )


def _find_there(found: Sequence[Case]) -> None:
    """What each case contradicts: a study, a series or an instance of the same site."""
    studies = {
        (each.site_id, each.study_instance_uid): each
        for each in Study.objects.select_related("patient_ref").filter(
            study_instance_uid__in={case.key.study_instance_uid for case in found}
        )
    }
    series = {
        (each.site_id, each.series_instance_uid): each
        for each in Series.objects.select_related("study_ref__patient_ref").filter(
            series_instance_uid__in={case.sample.series_instance_uid for case in found}
        )
    }
    instances = {
        (each.site_id, each.sop_instance_uid): each
        for each in Instance.objects.select_related("series_ref__study_ref__patient_ref").filter(
            sop_instance_uid__in={case.sample.sop_instance_uid for case in found}
        )
    }
    locations = {
        each.instance_ref_id: each
        for each in Location.objects.current()
        .select_related("volume")
        .filter(instance_ref__in=[each.pk for each in instances.values()])
    }
    for case in found:
        site = case.key.site_id
        if case.key.reason == HeldReason.STUDY_OF_OTHER_PATIENT:
            case.study = studies.get((site, case.key.study_instance_uid))
        elif case.key.reason == HeldReason.SERIES_OF_OTHER_STUDY:
            case.series = series.get((site, case.sample.series_instance_uid))
        else:
            case.instance = instances.get((site, case.sample.sop_instance_uid))
            case.series = case.instance.series_ref if case.instance else None
            case.location = locations.get(case.instance.pk) if case.instance else None
        if case.series is not None:
            case.study = case.series.study_ref


def _find_earlier(found: Sequence[Case], who: Any) -> None:
    decisions = (
        HeldDecision.objects.visible_to(who)
        .filter(study_instance_uid__in={case.key.study_instance_uid for case in found}, undone_at=None)
        .order_by("-pk")[:200]
    )
    by_case: dict[tuple[Any, ...], HeldDecision] = {}
    for each in decisions:
        key = (each.site_id, each.reason, each.study_instance_uid, each.source_ae_title, each.patient_id)
        by_case.setdefault(key, each)
    for case in found:
        case.earlier = by_case.get(tuple(case.key.filter.values()))


def _compare(case: Case) -> None:
    came = _came(case)
    there = _there(case)
    case.facts = [Fact(key, label, there.get(key, ""), came.get(key, "")) for key, label in FACTS.items()]
    if case.location is not None and not case.unreadable:
        try:
            case.differences = headers.differences(one=case.location, other=case.sample)[:MOST_DIFFERENCES]
        except (CannotUnderstand, OutOfResources):
            case.unreadable = True


def _came(case: Case) -> dict[str, str]:
    sample = case.sample
    facts = {
        "name": PersonName(sample.patient_name).display,
        "mrn": sample.patient_id,
        "sender": sample.source_ae_title,
        "images": str(case.count),
    }
    try:
        header: Header = held_filing.header_of(sample)
    except (CannotUnderstand, OutOfResources) as error:
        log.warning("held object cannot be read", held=sample.pk, reason=error.message)
        case.unreadable = True
        return facts
    return facts | {
        "born": header.first(0x00100030),
        "sex": header.first(0x00100040),
        "date": header.first(0x00080020),
        "accession": header.first(0x00080050),
        "study": header.first(0x00081030),
        "series": header.first(0x0008103E),
        "modality": header.first(0x00080060),
    }


def _there(case: Case) -> dict[str, str]:
    study, series = case.study, case.series
    if study is None:
        return {}
    patient: Patient = study.patient_ref
    return {
        "name": PersonName(patient.patient_name).display,
        "mrn": patient.patient_id,
        "born": patient.patient_birth_date,
        "sex": patient.patient_sex,
        "date": study.study_date,
        "accession": study.accession_number,
        "study": study.study_description,
        "series": series.series_description if series else "",
        "modality": series.modality if series else ", ".join(study.modalities_in_study),
        "sender": series.source_ae_title if series else "",
        "images": str(series.number_of_series_related_instances if series else study.number_of_study_related_instances),
    }
