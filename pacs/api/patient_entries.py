"""Patients, merges and duplicates as the API gives them."""

from datetime import datetime
from typing import Any

from django.urls import reverse

from pacs.api.entries import identifier_entry, patient_entry
from radiology.models import Patient, PatientDuplicate, PatientMerge, PatientVersion
from radiology.services.duplicates import Candidate
from radiology.services.merges import Preview
from radiology.services.survivors import former_numbers

MOST_IDENTIFIERS = 100
CONTACT = (
    "patient_address",
    "patient_telephone_numbers",
    "patient_mother_birth_name",
    "allergies",
    "medical_alerts",
    "patient_comments",
    "is_temporary",
    "version",
)


def patient_detail(patient: Patient, origin: str, *, asked: Patient | None = None) -> dict[str, Any]:
    """A patient; `asked` is whom the address named, if that one was merged into this."""
    identifiers = patient.identifiers.order_by("kind", "value", "pk")[:MOST_IDENTIFIERS]
    return {
        **patient_entry(patient, origin),
        **{name: getattr(patient, name) for name in CONTACT},
        "identifiers": [identifier_entry(each) for each in identifiers],
        "merged_patients": [merged_entry(each) for each in former_numbers(patient)],
        "asked_for": merged_entry(asked) if asked is not None and asked.pk != patient.pk else None,
    }


def merged_entry(patient: Patient) -> dict[str, Any]:
    return {
        "public_id": str(patient.public_id),
        "patient_id": patient.patient_id,
        "patient_name": patient.patient_name,
        "merged_at": _moment(patient.merged_at),
    }


def candidate_entry(candidate: Candidate, origin: str) -> dict[str, Any]:
    return {
        "patient": patient_entry(candidate.patient, origin),
        "score": candidate.score,
        "likely": candidate.is_likely,
        "reasons": candidate.reasons,
    }


def pair_entry(pair: PatientDuplicate, origin: str) -> dict[str, Any]:
    return {
        "public_id": str(pair.public_id),
        "score": pair.score,
        "reasons": pair.reasons,
        "found_at": pair.created_at.isoformat(),
        "one": patient_entry(pair.one, origin),
        "other": patient_entry(pair.other, origin),
    }


def preview_entry(preview: Preview, origin: str) -> dict[str, Any]:
    return {
        "survivor": patient_entry(preview.survivor, origin),
        "merged": patient_entry(preview.merged, origin),
        "moving": [{"kind": each.kind, "count": each.count, "rows": each.rows} for each in preview.moving],
        "differing": preview.differing,
        "warnings": preview.warnings,
    }


def merge_entry(merge: PatientMerge, origin: str) -> dict[str, Any]:
    return {
        "public_id": str(merge.public_id),
        "survivor": patient_entry(merge.survivor, origin),
        "merged": patient_entry(merge.merged, origin),
        "moved": merge.moved,
        "reason": merge.reason,
        "by": merge.agent,
        "at": merge.created_at.isoformat(),
        "undone_at": _moment(merge.undone_at),
        "undone_by": merge.undone_by,
        "links": {"undo": origin + reverse("api-merge-undo", args=[merge.public_id])},
    }


def version_entry(version: PatientVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "changes": version.changes,
        "reason": version.reason,
        "by": version.agent,
        "at": version.created_at.isoformat(),
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
