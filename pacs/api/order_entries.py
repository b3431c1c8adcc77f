"""Orders and procedures as the API gives them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.urls import reverse

from radiology.models import Order, OrderAttachment, OrderVersion, Procedure, RequestedProcedure
from radiology.services.order_fields import FIELDS


def order_entry(order: Order, origin: str) -> dict[str, Any]:
    """An order, its patient and procedures loaded with it."""
    key = [order.public_id]
    return {
        "public_id": str(order.public_id),
        "accession_number": order.accession_number,
        "issuer_of_accession_number": order.issuer_of_accession_number,
        "placer_order_number": order.placer_order_number,
        "filler_order_number": order.filler_order_number,
        "status": order.status,
        "status_reason": order.status_reason,
        "origin": order.origin,
        "client_key": order.client_key,
        **{name: _plain(getattr(order, name)) for name in FIELDS},
        "version": order.version,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
        "patient": patient_of_entry(order.patient_ref),
        "procedures": [
            requested_entry(each) for each in sorted(order.requested_procedures.all(), key=lambda each: each.pk)
        ],
        "links": {
            "self": origin + reverse("api-order", args=key),
            "history": origin + reverse("api-order-history", args=key),
            "attachments": origin + reverse("api-order-attachments", args=key),
            "page": origin + reverse("order", args=key),
            "slip": origin + reverse("order-slip", args=key),
        },
    }


def requested_entry(row: RequestedProcedure) -> dict[str, Any]:
    return {
        "public_id": str(row.public_id),
        "requested_procedure_id": row.requested_procedure_id,
        "code": row.procedure_code_value,
        "coding_scheme": row.procedure_coding_scheme,
        "description": row.requested_procedure_description,
        "modality": row.modality,
        "body_part_examined": row.body_part_examined,
        "laterality": row.laterality,
        "duration": row.duration,
        "status": row.status,
        "comments": row.requested_procedure_comments,
        "study_instance_uid": row.study_instance_uid,
    }


def procedure_entry(entry: Procedure) -> dict[str, Any]:
    names = (
        "code", "name", "modality", "body_part_examined", "asks_laterality", "duration", "contrast", "is_ionising",
        "preparation", "price_code",
    )  # fmt: skip
    return {
        "public_id": str(entry.public_id),
        **{name: getattr(entry, name) for name in names},
        "codes": [
            {
                "coding_scheme_designator": each.coding_scheme_designator,
                "code_value": each.code_value,
                "code_meaning": each.code_meaning,
            }
            for each in entry.codes.all()
        ],
    }


def version_entry(version: OrderVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "at": version.at.isoformat(),
        "by": version.agent,
        "reason": version.reason,
        "changes": version.changes,
    }


def attachment_entry(order: Order, attachment: OrderAttachment, origin: str) -> dict[str, Any]:
    return {
        "public_id": str(attachment.public_id),
        "name": attachment.name,
        "content_type": attachment.content_type,
        "bytes": attachment.size,
        "sha256": bytes(attachment.sha256).hex(),
        "added_at": attachment.created_at.isoformat(),
        "links": {"self": origin + reverse("api-order-attachment", args=[order.public_id, attachment.public_id])},
    }


def patient_of_entry(patient: Any) -> dict[str, Any]:
    names = ("patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex")
    return {"public_id": str(patient.public_id), **{name: getattr(patient, name) for name in names}}


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
