"""What a study says of itself: all that may tell which order it belongs to, read once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Prefetch

from pacs.models import RequestAttributes, Series, Study
from pacs.services.overlay import text_of
from radiology.models import Patient
from worklist.models import PerformedProcedureStep
from worklist.services.resemblance import image_modalities, regions, words

PATIENT_ID, ISSUER, NAME, BORN, SEX = "00100020", "00100021", "00100010", "00100030", "00100040"
# Discontinuation Reason (PS3.16 CID 9300): the operator took the wrong line of the worklist.
WRONG_ENTRY = "110514"
MOST_SERIES = 200


@dataclass(frozen=True)
class Person:
    """Whom somebody names, in the values of DICOM."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


@dataclass
class StudyFacts:
    """A study as it is matched with orders. `person` is as received, unless somebody corrected it since."""

    study: Study
    patient: Patient
    person: Person
    accession_numbers: set[str]
    study_instance_uids: set[str]
    step_ids: set[str]
    procedure_ids: set[str]
    modalities: set[str]
    regions: set[str]
    laterality: str
    words: frozenset[str]
    stations: set[str]
    moment: datetime
    wrong_entry: bool = False
    performed_for: set[int] = field(default_factory=set)

    @property
    def accession_number(self) -> str:
        return self.study.accession_number.strip()


def facts_of(study: Study) -> StudyFacts:
    """All that `study`, its series and the performed steps about it say. Four queries."""
    items = Prefetch("request_attributes", RequestAttributes.objects.order_by("pk"))
    series = list(
        Series.objects.filter(study_ref=study, removed_at=None).order_by("pk").prefetch_related(items)[:MOST_SERIES]
    )
    requests = [item for each in series for item in each.request_attributes.all()]
    performed = list(
        PerformedProcedureStep.objects.filter(study_instance_uid=study.study_instance_uid, site=study.site_id)
        .prefetch_related("references__scheduled_ref")
        .order_by("-pk")[:20]
    )
    references = [reference for each in performed for reference in each.references.all()]
    scheduled = [reference.scheduled_ref for reference in references if reference.scheduled_ref is not None]
    sides = {each.laterality for each in series} - {""}
    described = [study.study_description, *(each.series_description for each in series)]
    described += [each.protocol_name for each in series]
    return StudyFacts(
        study=study,
        patient=study.patient_ref,
        person=person_of(study),
        accession_numbers=_given(study.accession_number, *(item.accession_number for item in requests)),
        study_instance_uids=_given(study.study_instance_uid, *(item.study_instance_uid for item in requests)),
        step_ids=_given(*(item.scheduled_procedure_step_id for item in requests)),
        procedure_ids=_given(*(item.requested_procedure_id for item in requests)),
        modalities=image_modalities({*study.modalities_in_study, *(each.modality for each in series)}),
        regions=regions(*(each.body_part_examined for each in series)) or regions(*described),
        laterality=sides.pop() if len(sides) == 1 else "",
        words=words(" ".join(described)),
        stations=_given(
            *(each.source_ae_title for each in series),
            *(each.station_name for each in series),
            *(each.performed_station_ae_title for each in performed),
        ),
        moment=study.study_datetime or study.created_at,
        wrong_entry=any(_is_wrong_entry(each.discontinuation_reason) for each in performed),
        performed_for={step.requested_procedure_ref_id for step in scheduled},
    )


def person_of(study: Study) -> Person:
    """Whom the images name; the patient's row where they say nothing, or where somebody said that they are wrong."""
    patient = study.patient_ref
    if PATIENT_ID in study.overlay.get("attributes", {}) or NAME not in study.attributes:
        return Person(patient.patient_id, patient.patient_name, patient.patient_birth_date, patient.patient_sex)

    def said(tag: str) -> str:
        return text_of(study.attributes.get(tag)).strip()

    return Person(said(PATIENT_ID), said(NAME), said(BORN), said(SEX))


def _given(*values: str) -> set[str]:
    return {value.strip() for value in values} - {""}


def _is_wrong_entry(reason: Iterable[Any]) -> bool:
    """Whether a reason, as code, scheme and meaning in whatever nesting, is 110514."""
    return any(
        _is_wrong_entry(each) if isinstance(each, list) else each == WRONG_ENTRY
        for each in (list(reason.values()) if isinstance(reason, dict) else reason)
    )
