"""What went wrong, as an ERR segment says it: from the errors that services raise."""

import re

from django.utils.translation import gettext as _

from integrations.hl7.acknowledgment import Fault
from radiology.errors import Conflict, InvalidValue, NotFound, RadiologyError, outcome_of

# Where in a message the fields of our own stand.
PLACES = {
    "patient_id": "PID-3",
    "issuer_of_patient_id": "PID-3",
    "identifiers": "PID-3",
    "patient_name": "PID-5",
    "patient_mother_birth_name": "PID-6",
    "patient_birth_date": "PID-7",
    "patient_sex": "PID-8",
    "patient_address": "PID-11",
    "patient_telephone_numbers": "PID-13",
    "merged": "MRG-1",
    "survivor": "PID-3",
    "accession_number": "OBR-18",
    "requested_procedure_id": "OBR-19",
    "scheduled_procedure_step_id": "OBR-20",
    "modality": "OBR-24",
    "study_instance_uid": "ZDS-1",
    "code": "OBR-4",
    "scheme": "OBR-4",
    "description": "OBR-4",
    "laterality": "OBR-46",
    "comments": "NTE-3",
    "placer_order_number": "ORC-2",
    "filler_order_number": "ORC-3",
    "client_key": "ORC-2",
    "status": "ORC-1",
    "priority": "TQ1-9",
    "requested_start": "TQ1-7",
    "referring_physician_name": "PV1-8",
    "referring_physician_identifier": "PV1-8",
    "current_patient_location": "PV1-3",
    "admission_id": "PV1-19",
    "pregnancy_status": "PV1-15",
    "requesting_physician": "OBR-16",
    "requesting_physician_identifier": "OBR-16",
    "requesting_service": "ORC-17",
    "patient_state": "OBR-12",
    "clinical_history": "OBR-13",
    "medical_alerts": "OBR-13",
    "patient_transport_arrangements": "OBR-30",
    "reason_for_the_requested_procedure": "OBR-31",
    "scheduled_performing_physician_name": "OBR-34",
    "scheduled_protocol_codes": "OBR-4",
    "scheduled_station_name": "IPC-7",
    "scheduled_station_ae_titles": "IPC-9",
    "sections": "OBX-5",
    "pdf": "OBX-5",
    "author_name": "OBR-32",
    "external_id": "OBR-3",
    "report": "OBR-3",
    "procedure": "OBR-4",
    "room": "AIL-3",
    "device": "AIG-3",
    "start": "SCH-11",
    "duration": "AIS-7",
}
INTERNAL = "207"


def fault_of(error: RadiologyError) -> Fault:
    """The refusal as the sender is told it: with the field at its beginning, where one is to blame."""
    place, location = _place(error.field)
    text = f"{place}: {error.message}" if place else error.message
    rejects = outcome_of(error).ack == "AR"
    return Fault(_code(error, place), text, location, is_rejection=rejects)


def unexpected() -> Fault:
    """For what nobody foresaw. The log says more, and the message is kept."""
    return Fault(INTERNAL, _("The message could not be processed here; it is kept, and can be processed again."))


def unknown_sender(application: str, facility: str) -> Fault:
    text = _("MSH-3: no system called %(name)s is known at the address from which this came.")
    return Fault("204", text % {"name": f"{application}^{facility}"}, "MSH^1^3", is_rejection=True)


def too_large(most: int) -> Fault:
    return Fault(INTERNAL, _("The message has more than %(most)d bytes.") % {"most": most}, is_rejection=True)


def _code(error: RadiologyError, place: str) -> str:
    if isinstance(error, NotFound):
        return "204"
    if isinstance(error, Conflict):
        return "205"
    if isinstance(error, InvalidValue):
        return "102" if "-" in place or not place else "100"
    return INTERNAL


def _place(name: str) -> tuple[str, str]:
    """A field of ours, or of HL7 (`PID-3`, `PID`), as people write it and as ERL: PID^1^3."""
    found = re.fullmatch(r"procedures\.(\d+)\.(\w+)", name)
    number, name = (int(found[1]) + 1, found[2]) if found else (1, name)
    place = PLACES.get(name, name)
    parts = re.fullmatch(r"([A-Z][A-Z0-9]{2})(?:-(\d+))?", place)
    if parts is None:
        return "", ""
    segment, field = parts.groups()
    return place, f"{segment}^{number}^{field}" if field else f"{segment}^{number}"
