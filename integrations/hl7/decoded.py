"""A message as people read it: what each field is called in the standard, and what stands in it."""

from dataclasses import dataclass

from integrations.hl7.message import Message, Repetition, Segment

# HL7 2.5.1, of the segments that this department reads or writes; the names are the standard's.
SEGMENTS = {
    "MSH": "Message Header", "EVN": "Event Type", "PID": "Patient Identification", "PD1": "Additional Demographic",
    "PV1": "Patient Visit", "PV2": "Patient Visit, Additional", "MRG": "Merge Patient Information",
    "NK1": "Next of Kin", "AL1": "Allergy Information", "ORC": "Common Order", "OBR": "Observation Request",
    "OBX": "Observation/Result", "TQ1": "Timing/Quantity", "NTE": "Notes and Comments", "IPC": "Imaging Procedure",
    "ZDS": "Study Instance UID", "SCH": "Scheduling Activity", "RGS": "Resource Group", "AIS": "Appointment Service",
    "AIL": "Appointment Location", "AIG": "Appointment Resource", "AIP": "Appointment Personnel",
    "MSA": "Message Acknowledgment", "ERR": "Error", "QPD": "Query Parameter Definition", "QAK": "Query Acknowledgment",
    "QRD": "Query Definition", "RCP": "Response Control Parameter", "DSC": "Continuation Pointer", "GT1": "Guarantor",
    "IN1": "Insurance", "DG1": "Diagnosis",
}  # fmt: skip
FIELDS: dict[str, dict[int, str]] = {
    "MSH": {
        1: "Field Separator", 2: "Encoding Characters", 3: "Sending Application", 4: "Sending Facility",
        5: "Receiving Application", 6: "Receiving Facility", 7: "Date/Time of Message", 8: "Security",
        9: "Message Type", 10: "Message Control ID", 11: "Processing ID", 12: "Version ID", 13: "Sequence Number",
        14: "Continuation Pointer", 15: "Accept Acknowledgment Type", 16: "Application Acknowledgment Type",
        17: "Country Code", 18: "Character Set", 19: "Principal Language", 21: "Message Profile Identifier",
    },
    "EVN": {
        1: "Event Type Code", 2: "Recorded Date/Time", 3: "Date/Time Planned Event", 4: "Event Reason Code",
        5: "Operator ID", 6: "Event Occurred", 7: "Event Facility",
    },
    "PID": {
        1: "Set ID", 2: "Patient ID", 3: "Patient Identifier List", 4: "Alternate Patient ID", 5: "Patient Name",
        6: "Mother's Maiden Name", 7: "Date/Time of Birth", 8: "Administrative Sex", 9: "Patient Alias", 10: "Race",
        11: "Patient Address", 12: "County Code", 13: "Phone Number - Home", 14: "Phone Number - Business",
        15: "Primary Language", 16: "Marital Status", 17: "Religion", 18: "Patient Account Number", 19: "SSN Number",
        29: "Patient Death Date and Time", 30: "Patient Death Indicator",
    },
    "PV1": {
        1: "Set ID", 2: "Patient Class", 3: "Assigned Patient Location", 6: "Prior Patient Location",
        7: "Attending Doctor", 8: "Referring Doctor", 9: "Consulting Doctor", 10: "Hospital Service",
        15: "Ambulatory Status", 17: "Admitting Doctor", 18: "Patient Type", 19: "Visit Number",
        44: "Admit Date/Time", 45: "Discharge Date/Time",
    },
    "MRG": {
        1: "Prior Patient Identifier List", 2: "Prior Alternate Patient ID", 3: "Prior Patient Account Number",
        4: "Prior Patient ID", 5: "Prior Visit Number", 7: "Prior Patient Name",
    },
    "ORC": {
        1: "Order Control", 2: "Placer Order Number", 3: "Filler Order Number", 4: "Placer Group Number",
        5: "Order Status", 6: "Response Flag", 7: "Quantity/Timing", 8: "Parent", 9: "Date/Time of Transaction",
        10: "Entered By", 11: "Verified By", 12: "Ordering Provider", 13: "Enterer's Location",
        14: "Call Back Phone Number", 15: "Order Effective Date/Time", 16: "Order Control Code Reason",
        17: "Entering Organization", 18: "Entering Device", 25: "Order Status Modifier",
    },
    "OBR": {
        1: "Set ID", 2: "Placer Order Number", 3: "Filler Order Number", 4: "Universal Service Identifier",
        5: "Priority", 6: "Requested Date/Time", 7: "Observation Date/Time", 8: "Observation End Date/Time",
        11: "Specimen Action Code", 12: "Danger Code", 13: "Relevant Clinical Information", 15: "Specimen Source",
        16: "Ordering Provider", 17: "Order Callback Phone Number", 18: "Placer Field 1", 19: "Placer Field 2",
        20: "Filler Field 1", 21: "Filler Field 2", 22: "Results Rpt/Status Chng", 24: "Diagnostic Serv Sect ID",
        25: "Result Status", 27: "Quantity/Timing", 30: "Transportation Mode", 31: "Reason for Study",
        32: "Principal Result Interpreter", 33: "Assistant Result Interpreter", 34: "Technician",
        36: "Scheduled Date/Time", 44: "Procedure Code", 45: "Procedure Code Modifier",
        46: "Placer Supplemental Service Information",
    },
    "OBX": {
        1: "Set ID", 2: "Value Type", 3: "Observation Identifier", 4: "Observation Sub-ID", 5: "Observation Value",
        6: "Units", 7: "References Range", 8: "Abnormal Flags", 11: "Observation Result Status",
        14: "Date/Time of the Observation", 16: "Responsible Observer",
    },
    "TQ1": {1: "Set ID", 2: "Quantity", 6: "Service Duration", 7: "Start Date/Time", 8: "End Date/Time", 9: "Priority"},
    "NTE": {1: "Set ID", 2: "Source of Comment", 3: "Comment", 4: "Comment Type"},
    "IPC": {
        1: "Accession Identifier", 2: "Requested Procedure ID", 3: "Study Instance UID",
        4: "Scheduled Procedure Step ID", 5: "Modality", 6: "Protocol Code", 7: "Scheduled Station Name",
        8: "Scheduled Procedure Step Location", 9: "Scheduled AE Title",
    },
    "ZDS": {1: "Study Instance UID"},
    "SCH": {
        1: "Placer Appointment ID", 2: "Filler Appointment ID", 5: "Schedule ID", 6: "Event Reason",
        7: "Appointment Reason", 8: "Appointment Type", 9: "Appointment Duration", 10: "Appointment Duration Units",
        11: "Appointment Timing Quantity", 12: "Placer Contact Person", 16: "Filler Contact Person",
        20: "Entered By Person", 25: "Filler Status Code", 26: "Placer Order Number", 27: "Filler Order Number",
    },
    "AIS": {
        1: "Set ID", 2: "Segment Action Code", 3: "Universal Service Identifier", 4: "Start Date/Time",
        5: "Start Date/Time Offset", 7: "Duration", 8: "Duration Units", 10: "Filler Status Code",
    },
    "AIL": {1: "Set ID", 2: "Segment Action Code", 3: "Location Resource ID", 4: "Location Type", 6: "Start Date/Time"},
    "AIG": {1: "Set ID", 2: "Segment Action Code", 3: "Resource ID", 4: "Resource Type", 8: "Start Date/Time"},
    "RGS": {1: "Set ID", 2: "Segment Action Code", 3: "Resource Group ID"},
    "MSA": {1: "Acknowledgment Code", 2: "Message Control ID", 3: "Text Message"},
    "ERR": {2: "Error Location", 3: "HL7 Error Code", 4: "Severity", 7: "Diagnostic Information", 8: "User Message"},
}  # fmt: skip
LONGEST = 500
MOST_SEGMENTS = 200


@dataclass(frozen=True)
class Field:
    """One field with a value: PID-3, what the standard calls it, what stands there, a repetition a line."""

    place: str
    name: str
    lines: list[str]


@dataclass(frozen=True)
class Decoded:
    """A segment with the fields that say something."""

    name: str
    title: str
    fields: list[Field]


def decoded(message: Message) -> list[Decoded]:
    """The message for people; of very long ones the beginning."""
    return [_segment(each) for each in message.segments[:MOST_SEGMENTS]]


def _segment(segment: Segment) -> Decoded:
    names = FIELDS.get(segment.name, {})
    fields = []
    for number in range(1, len(segment.fields)):
        lines = [text for each in segment.fields[number] if (text := _text(each))]
        if lines:
            fields.append(Field(f"{segment.name}-{number}", names.get(number, ""), lines))
    return Decoded(segment.name, SEGMENTS.get(segment.name, ""), fields)


def _text(value: Repetition) -> str:
    """The components apart from each other, subcomponents within."""
    parts = [" & ".join(part for part in component if part) for component in value.parts]
    text = " · ".join(part for part in parts if part)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
