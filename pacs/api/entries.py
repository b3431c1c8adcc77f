"""Rows as the API gives them. At `GET /studies` the names are those that hospital systems were promised
(camelCase); everywhere else they are DICOM keywords in snake_case."""

from datetime import datetime
from typing import Any

from django.urls import reverse

from pacs.dicomweb.selection import WITHOUT_PICTURES
from pacs.models import Instance, Series, Study
from radiology.dicom import parse_da
from radiology.models import Patient, PatientIdentifier

DICOMWEB = "/dicom-web"


def found_study(study: Study, origin: str) -> dict[str, Any]:
    """A study in the list that `GET /studies` answers."""
    modalities = study.modalities_in_study
    entry = {
        "studyInstanceUid": study.study_instance_uid,
        "accessionNumber": study.accession_number,
        "patientId": study.patient_ref.patient_id,
        "patientName": study.patient_ref.patient_name,
        "studyDate": _date(study.study_date),
        "modality": main_modality(modalities),
        "description": study.study_description,
        "viewerUrl": viewer_url(study, origin),
    }
    return {**entry, "modalities": modalities} if len(modalities) > 1 else entry


def main_modality(modalities: list[str]) -> str:
    """The first that came with pictures; of a study without pictures the first of all."""
    return next((each for each in modalities if each not in WITHOUT_PICTURES), next(iter(modalities), ""))


def viewer_url(study: Study, origin: str) -> str:
    return f"{origin}{reverse('viewer')}?StudyInstanceUIDs={study.study_instance_uid}"


def patient_entry(patient: Patient, origin: str) -> dict[str, Any]:
    key = patient.public_id
    return {
        "public_id": str(key),
        "patient_id": patient.patient_id,
        "issuer_of_patient_id": patient.issuer_of_patient_id,
        "patient_name": patient.patient_name,
        "patient_birth_date": _date(patient.patient_birth_date),
        "patient_sex": patient.patient_sex,
        "provisional": patient.is_provisional,
        "links": {
            "self": origin + reverse("api-patient", args=[key]),
            "studies": origin + reverse("api-patient-studies", args=[key]),
            "archive": origin + reverse("api-patient-archive", args=[key]),
            "page": origin + reverse("patient", args=[key]),
        },
    }


def identifier_entry(identifier: PatientIdentifier) -> dict[str, str]:
    return {"kind": identifier.kind, "value": identifier.value, "issuer": identifier.issuer}


def study_entry(study: Study, origin: str) -> dict[str, Any]:
    """A study without its series."""
    uid = study.study_instance_uid
    return {
        "study_instance_uid": uid,
        "study_date": _date(study.study_date),
        "study_time": study.study_time,
        "study_datetime": _moment(study.study_datetime),
        "accession_number": study.accession_number,
        "issuer_of_accession_number": study.issuer_of_accession_number,
        "study_id": study.study_id,
        "study_description": study.study_description,
        "referring_physician_name": study.referring_physician_name,
        "modalities_in_study": study.modalities_in_study,
        "number_of_study_related_series": study.number_of_study_related_series,
        "number_of_study_related_instances": study.number_of_study_related_instances,
        "bytes": study.size,
        "received_at": _moment(study.created_at),
        "updated_at": _moment(study.updated_at),
        "version": study.version,
        "patient": patient_entry(study.patient_ref, origin),
        "links": {
            "self": origin + reverse("api-study", args=[uid]),
            "series": origin + reverse("api-study-series", args=[uid]),
            "archive": origin + reverse("api-study-archive", args=[uid]),
            "history": origin + reverse("api-study-history", args=[uid]),
            "viewer": viewer_url(study, origin),
            "dicomweb": f"{origin}{DICOMWEB}/studies/{uid}",
            "thumbnail": f"{origin}{DICOMWEB}/studies/{uid}/thumbnail",
        },
    }


def series_entry(series: Series, origin: str) -> dict[str, Any]:
    study, uid = series.study_ref.study_instance_uid, series.series_instance_uid
    web = f"{origin}{DICOMWEB}/studies/{study}/series/{uid}"
    return {
        "series_instance_uid": uid,
        "study_instance_uid": study,
        "modality": series.modality,
        "series_number": series.series_number,
        "series_description": series.series_description,
        "series_date": _date(series.series_date),
        "series_time": series.series_time,
        "body_part_examined": series.body_part_examined,
        "laterality": series.laterality,
        "protocol_name": series.protocol_name,
        "station_name": series.station_name,
        "source_ae_title": series.source_ae_title,
        "number_of_series_related_instances": series.number_of_series_related_instances,
        "bytes": series.size,
        "received_at": _moment(series.created_at),
        "updated_at": _moment(series.updated_at),
        "links": {
            "self": origin + reverse("api-series", args=[uid]),
            "study": origin + reverse("api-study", args=[study]),
            "instances": origin + reverse("api-series-instances", args=[uid]),
            "archive": origin + reverse("api-series-archive", args=[uid]),
            "dicomweb": web,
            "thumbnail": f"{web}/thumbnail",
        },
    }


def instance_entry(instance: Instance, origin: str) -> dict[str, Any]:
    series, uid = instance.series_ref, instance.sop_instance_uid
    study = series.study_ref.study_instance_uid
    web = f"{origin}{DICOMWEB}/studies/{study}/series/{series.series_instance_uid}/instances/{uid}"
    return {
        "sop_instance_uid": uid,
        "sop_class_uid": instance.sop_class_uid,
        "series_instance_uid": series.series_instance_uid,
        "study_instance_uid": study,
        "instance_number": instance.instance_number,
        "rows": instance.rows,
        "columns": instance.columns,
        "number_of_frames": instance.number_of_frames,
        "content_date": _date(instance.content_date),
        "content_time": instance.content_time,
        "received_at": _moment(instance.created_at),
        "links": {
            "self": origin + reverse("api-instance", args=[uid]),
            "series": origin + reverse("api-series", args=[series.series_instance_uid]),
            "file": origin + reverse("api-instance-file", args=[uid]),
            "preview": origin + reverse("api-instance-preview", args=[uid]),
            "tags": origin + reverse("api-instance-tags", args=[uid]),
            "dicomweb": web,
            "thumbnail": f"{web}/thumbnail",
        },
    }


def _date(stored: str) -> str:
    """YYYYMMDD, also where the retired form with dots is stored; what is no date stays as it is."""
    day = parse_da(stored)
    return f"{day:%Y%m%d}" if day else stored


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
