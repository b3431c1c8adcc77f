"""Identifiers as Orthanc makes them: the SHA-1 of the DICOM identifiers from the patient down, joined by `|`.

They are made of the values with which objects leave: PatientID as corrected, the study that a series was
moved to. Within a site a study's UID is unique, and so are the identifiers from the study down. A PatientID is
not: of several patients with one number (of several issuers, or provisional ones) the first that has studies
bears the plain identifier; for the others their public id is put behind the number.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef

from pacs.models import Instance, Series, Study
from pacs.services.attributes import Level
from radiology.models import Patient

TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", re.ASCII)


def digest_of(*parts: str) -> bytes:
    return hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).digest()


def as_text(digest: bytes) -> str:
    """Five groups of eight hexadecimal digits."""
    text = digest.hex()
    return f"{text[:8]}-{text[8:16]}-{text[16:24]}-{text[24:32]}-{text[32:]}"


def as_digest(text: str) -> bytes | None:
    """None for what is no such identifier."""
    return bytes.fromhex(text.replace("-", "")) if TEXT.fullmatch(text) else None


def identifier(*parts: str) -> str:
    return as_text(digest_of(*parts))


def study_identifier(study: Study) -> str:
    return identifier(study.patient_ref.patient_id, study.study_instance_uid)


def series_identifier(series: Series) -> str:
    study = series.study_ref
    return identifier(study.patient_ref.patient_id, study.study_instance_uid, series.series_instance_uid)


def instance_identifier(instance: Instance) -> str:
    series = instance.series_ref
    study = series.study_ref
    return identifier(
        study.patient_ref.patient_id,
        study.study_instance_uid,
        series.series_instance_uid,
        instance.sop_instance_uid,
    )


def patient_identifiers(patients: Iterable[Patient]) -> dict[int, str]:
    """By key, in one query. The patients are those of one site."""
    rows = {patient.pk: patient for patient in patients}
    if not rows:
        return {}
    numbers = {patient.patient_id for patient in rows.values()}
    alike = (
        Patient.objects.filter(site_id__in={patient.site_id for patient in rows.values()}, patient_id__in=numbers)
        .filter(Exists(Study.objects.filter(patient_ref=OuterRef("pk"))), merged_into=None)
        .order_by("pk")
    )
    first: dict[tuple[int | None, str], int] = {}
    for site, number, pk in alike.values_list("site_id", "patient_id", "pk"):
        first.setdefault((site, number), pk)
    return {
        pk: identifier(patient.patient_id)
        if first.get((patient.site_id, patient.patient_id), pk) == pk
        else identifier(patient.patient_id, str(patient.public_id))
        for pk, patient in rows.items()
    }


def identifiers_of(level: Level, rows: Iterable[Any]) -> list[str]:
    """Those of rows of one level, with the rows above them, in their order."""
    rows = list(rows)
    if level is Level.PATIENT:
        found = patient_identifiers(rows)
        return [found[row.pk] for row in rows]
    make: Any = {
        Level.STUDY: study_identifier,
        Level.SERIES: series_identifier,
        Level.INSTANCE: instance_identifier,
    }[level]
    return [make(row) for row in rows]
