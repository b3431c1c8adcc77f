"""Patients, studies, series and instances as Orthanc describes them, a page of rows with a fixed number of queries."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from integrations.models import OrthancOrigin
from integrations.orthanc.access import OfOneSite
from integrations.orthanc.identifiers import (
    as_text,
    digest_of,
    identifiers_of,
    patient_identifiers,
    series_identifier,
    study_identifier,
)
from integrations.orthanc.lookup import LEVELS, TYPES
from integrations.orthanc.registrar import STABLE_AFTER
from integrations.orthanc.tags import Form, formatted, tag_of, tags_of, text_of
from pacs.models import Instance, Location, Series, Study
from pacs.services.answers import answers_for
from pacs.services.attributes import Level
from radiology.models import Patient

# The "main DICOM tags" of Orthanc 1.12 (OrthancFramework/Sources/DicomFormat/DicomMap.cpp).
MAIN_TAGS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs"),
    Level.STUDY: (
        "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "StudyInstanceUID",
        "RequestedProcedureDescription", "InstitutionName", "RequestingPhysician", "ReferringPhysicianName",
    ),
    Level.SERIES: (
        "SeriesDate", "SeriesTime", "Modality", "Manufacturer", "StationName", "SeriesDescription",
        "BodyPartExamined", "ProtocolName", "SeriesNumber", "SeriesInstanceUID", "OperatorsName",
        "PerformedProcedureStepDescription",
    ),
    Level.INSTANCE: ("InstanceNumber", "NumberOfFrames", "SOPInstanceUID"),
}  # fmt: skip
# Kept for a series or an object in its file only.
MAIN_TAGS_IN_FILES: dict[Level, tuple[str, ...]] = {
    Level.SERIES: (
        "SequenceName", "CardiacNumberOfImages", "ImagesInAcquisition", "NumberOfTemporalPositions",
        "NumberOfSlices", "NumberOfTimeSlices", "ImageOrientationPatient", "SeriesType",
        "AcquisitionDeviceProcessingDescription", "ContrastBolusAgent",
    ),
    Level.INSTANCE: (
        "InstanceCreationDate", "InstanceCreationTime", "AcquisitionNumber", "ImageIndex", "InstanceNumber",
        "NumberOfFrames", "TemporalPositionIdentifier", "SOPInstanceUID", "ImagePositionPatient", "ImageComments",
        "ImageOrientationPatient",
    ),
}  # fmt: skip
# Attributes of type 2, which objects have, if empty: given empty too, as Orthanc gives them.
ALWAYS = {
    tag_of(name)
    for name in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber",
    )
}  # fmt: skip
# Status of a series whose expected number of objects nobody knows.
UNKNOWN = "Unknown"


def described(
    here: OfOneSite, level: Level, rows: Sequence[Any], *, form: Form = Form.SIMPLE, requested: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The rows of one level, which come with the rows above them, as Orthanc answers them.

    `requested` are further attributes (`RequestedTags`), by keyword or tag.
    """
    rows = list(rows)
    if not rows:
        return []
    make: Any = {
        Level.PATIENT: _patients,
        Level.STUDY: _studies,
        Level.SERIES: _series,
        Level.INSTANCE: _instances,
    }[level]
    found: list[dict[str, Any]] = make(here, rows, form)
    origins = origins_of(level, rows)
    for row, entry in zip(rows, found, strict=True):
        entry["Type"] = TYPES[level]
        entry["Labels"] = []
        entry.update(origins.get(row.pk, {}))
    wanted = [name for name in (tag_of(each) for each in requested) if name]
    if wanted:
        for entry, tags in zip(found, _tags(here, level, rows, wanted, form, with_empty=True), strict=True):
            entry["RequestedTags"] = tags
    return found


def origins_of(level: Level, rows: Iterable[Any]) -> dict[int, dict[str, str]]:
    """Of what those of the rows were made that are copies, by key."""
    found = OrthancOrigin.objects.filter(level=LEVELS[level], row__in=[row.pk for row in rows])
    return {each.row: {"AnonymizedFrom" if each.anonymized else "ModifiedFrom": each.source} for each in found}


def stamp(moment: datetime) -> str:
    """A moment as Orthanc writes it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S")


def is_stable(moment: datetime) -> bool:
    return moment < timezone.now() - STABLE_AFTER


def _tags(
    here: OfOneSite, level: Level, rows: Sequence[Any], names: Iterable[str], form: Form, *, with_empty: bool = False
) -> list[dict[str, Any]]:
    answers = answers_for(here, level, tuple(names))
    found = []
    for answer in answers.page(answers.columns.of_models(rows)):
        kept = {tag: element for tag, element in answer.items() if with_empty or tag in ALWAYS or text_of(element)}
        found.append(formatted(kept, form))
    return found


def _main(here: OfOneSite, level: Level, rows: Sequence[Any], form: Form) -> list[dict[str, Any]]:
    return _tags(here, level, rows, MAIN_TAGS[level], form)


def _patients(here: OfOneSite, rows: list[Patient], form: Form) -> list[dict[str, Any]]:
    children: dict[int, list[str]] = defaultdict(list)
    latest: dict[int, datetime] = {}
    studies = Study.objects.visible_to(here).filter(patient_ref__in=rows).order_by("pk")
    for pk, number, uid, updated in studies.values_list(
        "patient_ref_id", "patient_ref__patient_id", "study_instance_uid", "updated_at"
    ):
        children[pk].append(as_text(digest_of(number, uid)))
        latest[pk] = max(updated, latest.get(pk, updated))
    names = identifiers_of(Level.PATIENT, rows)
    main = _main(here, Level.PATIENT, rows, form)
    return [
        {
            "ID": name,
            "IsStable": is_stable(latest.get(row.pk, row.updated_at)),
            "LastUpdate": stamp(latest.get(row.pk, row.updated_at)),
            "MainDicomTags": tags,
            "Studies": children[row.pk],
        }
        for row, name, tags in zip(rows, names, main, strict=True)
    ]


def _studies(here: OfOneSite, rows: list[Study], form: Form) -> list[dict[str, Any]]:
    children: dict[int, list[str]] = defaultdict(list)
    institutions: dict[int, str] = {}
    series = Series.objects.visible_to(here).filter(study_ref__in=rows).order_by("study_ref_id", "series_number", "pk")
    uids = {row.pk: (row.patient_ref.patient_id, row.study_instance_uid) for row in rows}
    for pk, uid, attributes in series.values_list("study_ref_id", "series_instance_uid", "attributes"):
        children[pk].append(as_text(digest_of(*uids[pk], uid)))
        if pk not in institutions and (text := text_of(attributes.get("00080080", {}))):
            institutions[pk] = text
    people = [row.patient_ref for row in rows]
    parents = patient_identifiers(people)
    main = _main(here, Level.STUDY, rows, form)
    of_patient = _main(here, Level.PATIENT, people, form)
    found = []
    for row, tags, patient in zip(rows, main, of_patient, strict=True):
        if row.pk in institutions:
            tags |= formatted({"00080080": {"vr": "LO", "Value": [institutions[row.pk]]}}, form)
        found.append(
            {
                "ID": study_identifier(row),
                "IsStable": is_stable(row.updated_at),
                "LastUpdate": stamp(row.updated_at),
                "MainDicomTags": tags,
                "ParentPatient": parents[row.patient_ref.pk],
                "PatientMainDicomTags": patient,
                "Series": children[row.pk],
            }
        )
    return found


def _series(here: OfOneSite, rows: list[Series], form: Form) -> list[dict[str, Any]]:
    children: dict[int, list[str]] = defaultdict(list)
    above = {
        row.pk: (row.study_ref.patient_ref.patient_id, row.study_ref.study_instance_uid, row.series_instance_uid)
        for row in rows
    }
    instances = Instance.objects.visible_to(here).filter(series_ref__in=rows)
    for pk, uid in instances.order_by("series_ref_id", "instance_number", "pk").values_list(
        "series_ref_id", "sop_instance_uid"
    ):
        children[pk].append(as_text(digest_of(*above[pk], uid)))
    main = _main(here, Level.SERIES, rows, form)
    return [
        {
            "ExpectedNumberOfInstances": None,
            "ID": series_identifier(row),
            "Instances": children[row.pk],
            "IsStable": is_stable(row.updated_at),
            "LastUpdate": stamp(row.updated_at),
            "MainDicomTags": tags,
            "ParentStudy": study_identifier(row.study_ref),
            "Status": UNKNOWN,
        }
        for row, tags in zip(rows, main, strict=True)
    ]


def _instances(here: OfOneSite, rows: list[Instance], form: Form) -> list[dict[str, Any]]:
    sizes = {
        pk: size + offset
        for pk, size, offset in Location.objects.current()
        .filter(instance_ref__in=rows)
        .values_list("instance_ref_id", "size", "data_set_offset")
    }
    names = identifiers_of(Level.INSTANCE, rows)
    main = _main(here, Level.INSTANCE, rows, form)
    return [
        {
            "FileSize": sizes.get(row.pk, 0),
            "FileUuid": str(row.pk),
            "ID": name,
            "IndexInSeries": row.instance_number,
            "MainDicomTags": tags,
            "ParentSeries": series_identifier(row.series_ref),
        }
        for row, name, tags in zip(rows, names, main, strict=True)
    ]


def tags_in_file(level: Level, location: Location, form: Form) -> dict[str, Any]:
    """The main tags of a level that are kept in files only, of one of its objects."""
    wanted = {tag_of(name) for name in (*MAIN_TAGS[level], *MAIN_TAGS_IN_FILES.get(level, ()))}
    found = {tag: element for tag, element in tags_of(location).items() if tag in wanted and text_of(element)}
    return formatted(found, form)
