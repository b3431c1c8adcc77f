"""What a modality is told of a patient's state: from the order, the patient, and what images said of them."""

import re
import textwrap
from datetime import date, datetime
from typing import Any

from radiology.dicom import LONGEST, parse_da
from radiology.models import Order, PregnancyStatus

# Fields of the patient by DICOM keyword, and the tag under which images may have said the same.
FIELDS = {
    "Allergies": ("allergies", "00102110"),
    "MedicalAlerts": ("medical_alerts", "00102000"),
    "PatientComments": ("patient_comments", "00104000"),
    "PatientAddress": ("patient_address", "00101040"),
    "PatientTelephoneNumbers": ("patient_telephone_numbers", "00102154"),
    "PatientMotherBirthName": ("patient_mother_birth_name", "00101060"),
    "ConfidentialityConstraintOnPatientDataDescription": ("", "00403001"),
}
LOW_EGFR = 60


def known(patient: Any, keyword: str) -> str:
    """What is known of the patient under that keyword; several values on lines of their own."""
    name, tag = FIELDS[keyword]
    if value := getattr(patient, name, "") if name else "":
        return str(value)
    values = (patient.attributes.get(tag) or {}).get("Value") or []
    texts = [value.get("Alphabetic", "") if isinstance(value, dict) else str(value) for value in values]
    return "\n".join(text for text in texts if text)


def pieces(text: str) -> list[str]:
    """A text of any length as values of LO: a line or clause each, wrapped at words."""
    parts = [part.strip() for part in re.split(r"[\n\\;]+", text)]
    return [piece for part in parts if part for piece in textwrap.wrap(part, LONGEST["LO"])]


def allergies(patient: Any, order: Order) -> list[str]:
    return list(dict.fromkeys([*pieces(known(patient, "Allergies")), *pieces(order.contrast_allergies)]))


def medical_alerts(patient: Any, order: Order) -> list[str]:
    """The patient's alerts, and what matters for contrast: a low eGFR, metformin."""
    found = pieces(known(patient, "MedicalAlerts"))
    if order.egfr is not None and order.egfr < LOW_EGFR:
        measured = f" ({order.egfr_date:%Y-%m-%d})" if order.egfr_date else ""
        found.append(f"eGFR {order.egfr}{measured}")
    if order.takes_metformin:
        found.append("Metformin")
    return found


def pregnancy_status(patient: Any, order: Order) -> int | None:
    return None if order.pregnancy_status == PregnancyStatus.NOT_ASKED else int(order.pregnancy_status)


def last_menstrual_date(patient: Any, order: Order) -> str | None:
    return f"{order.last_menstrual_date:%Y%m%d}" if order.last_menstrual_date else None


def confidentiality(patient: Any, order: Order) -> str:
    return known(patient, "ConfidentialityConstraintOnPatientDataDescription")


def comments(patient: Any, order: Order) -> str:
    return known(patient, "PatientComments")


def address(patient: Any, order: Order) -> str:
    return known(patient, "PatientAddress")


def telephone(patient: Any, order: Order) -> list[str]:
    return [part.strip() for part in re.split(r"[\n\\;,/]+", known(patient, "PatientTelephoneNumbers")) if part.strip()]


def mother_birth_name(patient: Any, order: Order) -> str:
    return known(patient, "PatientMotherBirthName")


def age(patient: Any, on: datetime | None) -> str:
    """Age as AS on that day: years, below two months, below two weeks of days. Empty when nobody knows."""
    born = parse_da(patient.patient_birth_date)
    if born is None or on is None or born > on.date():
        return ""
    day: date = on.date()
    months = (day.year - born.year) * 12 + day.month - born.month - (day.day < born.day)
    if months >= 24:
        return f"{min(months // 12, 999):03d}Y"
    return f"{months:03d}M" if months >= 1 else f"{(day - born).days:03d}D"
