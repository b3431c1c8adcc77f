"""Bodies of requests about orders, read: whose they are, which procedures, under which key."""

import uuid
from collections.abc import Mapping
from typing import Any

from radiology.api.idempotency import HEADER
from radiology.api.operations import text_of
from radiology.dicom import clean, parse_da
from radiology.errors import InvalidValue, NotFound
from radiology.models import Patient, Site
from radiology.services import audit
from radiology.services.identity import Identity
from radiology.services.order_patients import patient_for_order
from radiology.services.order_procedures import MOST, ProcedureRequest

LONGEST_KEY = 128
# Of a request for a procedure, by the names of the API.
REQUEST = (
    "code", "scheme", "description", "modality", "body_part_examined", "laterality", "comments",
    "requested_procedure_id", "study_instance_uid",
)  # fmt: skip
PATIENT = (
    "public_id", "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex",
)  # fmt: skip


def client_key_of(request: Any, given: Mapping[str, Any]) -> str:
    header = clean(request.headers.get(HEADER, ""))
    if len(header) > 1 and header[0] == header[-1] == '"':
        header = header[1:-1]
    named = text_of(given, "client_key", most=LONGEST_KEY)
    if header and named and header != named:
        raise InvalidValue(f"{HEADER} and client_key name different keys: give one.", field="client_key")
    if len(header) > LONGEST_KEY:
        raise InvalidValue(f"{HEADER} may have {LONGEST_KEY} characters.", field=HEADER)
    return header or named


def patient_of_order(request: Any, site: Site, given: Mapping[str, Any]) -> Patient:
    """The patient that a new order is for. Raises InvalidValue, NotFound, Conflict, NotAllowed."""
    whose = given.get("patient")
    if not isinstance(whose, dict):
        raise InvalidValue("patient must be an object: name the patient by public_id or patient_id.", field="patient")
    require_known(whose, (*PATIENT, "despite_duplicates", "reason"), "patient.")
    texts = {name: clean(_text(whose, name, f"patient.{name}", most=324)) for name in (*PATIENT, "reason")}
    if texts["public_id"]:
        try:
            wanted = uuid.UUID(texts["public_id"])
        except ValueError as error:
            raise InvalidValue("public_id is a UUID.", field="patient.public_id") from error
        found = Patient.objects.visible_to(request.user).filter(public_id=wanted, site=site).first()
        if found is None:
            raise NotFound("There is no such patient, or none that you may see.", field="patient.public_id")
        return found
    for name, most in (("patient_id", 64), ("issuer_of_patient_id", 64), ("patient_birth_date", 8), ("patient_sex", 1)):
        if len(texts[name]) > most:
            raise InvalidValue(f"{name} may have {most} characters.", field=f"patient.{name}")
    if texts["patient_birth_date"] and parse_da(texts["patient_birth_date"]) is None:
        raise InvalidValue("patient_birth_date must be a date (YYYYMMDD).", field="patient.patient_birth_date")
    said: dict[str, Any] = {name: texts[name] for name in PATIENT if name != "public_id"}
    identity = Identity(**said)
    return patient_for_order(
        who=request.user,
        site=site,
        identity=identity,
        despite_duplicates=flag(whose, "despite_duplicates", where="patient."),
        reason=texts["reason"],
        address=audit.address_of(request),
    )


def procedures_of(given: Mapping[str, Any]) -> list[ProcedureRequest]:
    wanted = given.get("procedures")
    if not isinstance(wanted, list) or not wanted:
        raise InvalidValue("procedures must be a list of one object at least.", field="procedures")
    if len(wanted) > MOST:
        raise InvalidValue(f"One order may have {MOST} procedures.", field="procedures")
    requests = []
    for number, each in enumerate(wanted):
        where = f"procedures.{number}"
        if not isinstance(each, dict):
            raise InvalidValue("A procedure is an object with a code.", field=where)
        require_known(each, REQUEST, f"{where}.")
        said: dict[str, Any] = {name: clean(_text(each, name, f"{where}.{name}", most=10_000)) for name in REQUEST}
        requests.append(ProcedureRequest(**said))
    return requests


def _text(found: Mapping[str, Any], name: str, field: str, *, most: int) -> str:
    try:
        return text_of(found, name, most=most)
    except InvalidValue as error:
        raise InvalidValue(error.message, field=field) from error


def flag(given: Mapping[str, Any], name: str, *, where: str = "") -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} must be true or false.", field=f"{where}{name}")
    return value


def require_known(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """A name that means nothing here may be one that was mistyped. Raises InvalidValue."""
    unknown = [name for name in given if name not in known]
    if unknown:
        name = clean(unknown[0])[:64]
        raise InvalidValue(f"There is no {name} here; there are: {', '.join(known)}.", field=f"{where}{name}")
