"""The Modality Worklist information model (PS3.4 Table K.6-1): each attribute, and where its value comes from.

A value is read from a scheduled step with everything above it, as people entered it, and made valid for
its VR at once: what is matched is what is answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cached_property
from typing import Any, NamedTuple

from django.utils import timezone
from pydicom.datadict import dictionary_VR, tag_for_keyword

from pacs.services.answer_text import element
from pacs.services.overlay import Element
from radiology.dicom import fit
from radiology.models import PatientIdentifier
from worklist.models import ScheduledProcedureStep
from worklist.services import patient_facts

# Detached Study Management (retired): what Referenced Study Sequence has always named.
STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
OUR_CODES = "99SINAR"
LONGEST_CODE = 16
PATIENT = "requested_procedure_ref__order_ref__patient_ref"
ORDER = "requested_procedure_ref__order_ref"
# Of the relations that attributes need, those with several rows.
MANY = frozenset({f"{PATIENT}__identifiers"})


@dataclass(frozen=True)
class Context:
    """Whom values are read for: in which zone, and the AE title that calls."""

    zone: tzinfo
    title: str = ""


Read = Callable[[Any, Context], Any]


@dataclass(frozen=True)
class WorklistAttribute:
    """One attribute. `read` gives text, a number, None or a list of them, of a sequence the rows that its `items`
    are read from. `column` is a path of the ORM that may narrow rows, `needs` relations to fetch beforehand. What is
    `conditional` (types 1C and 2C) is answered only with a value."""

    keyword: str
    read: Read
    column: str = ""
    needs: tuple[str, ...] = ()
    conditional: bool = False
    items: "Mapping[str, WorklistAttribute]" = field(default_factory=dict)

    @cached_property
    def tag(self) -> str:
        return f"{tag_for_keyword(self.keyword):08X}"

    @cached_property
    def vr(self) -> str:
        return dictionary_VR(self.keyword)

    def values(self, row: Any, context: Context) -> list[Any]:
        """The values that there are, valid for the VR; of a sequence its rows."""
        found = self.read(row, context)
        values = found if isinstance(found, list) else [found]
        if self.vr == "SQ":
            return values
        return [fitted for value in values if (fitted := _fitted(self.vr, value)) not in ("", None)]

    def texts(self, row: Any, context: Context) -> list[str]:
        """The values as they are matched."""
        return [str(value) for value in self.values(row, context)]

    def element(self, row: Any, context: Context, wanted: Mapping[str, Any] | None = None) -> Element:
        """The attribute in the DICOM JSON model; of items what is `wanted` (by tag), everything when that is empty."""
        values = self.values(row, context)
        if self.vr == "SQ":
            values = [answer_of(self.items, item, context, wanted) for item in values]
        return element(self.vr, values)


def answer_of(
    attributes: Mapping[str, WorklistAttribute], row: Any, context: Context, wanted: Mapping[str, Any] | None
) -> dict[str, Element]:
    """What is `wanted` of a row, by tag; all of it when nothing is named."""
    answer = {}
    for tag in wanted or attributes:
        each, below = attributes[tag], wanted[tag] if wanted else None
        found = each.element(row, context, below)
        if "Value" in found or not each.conditional:
            answer[tag] = found
    return answer


def _fitted(vr: str, value: Any) -> Any:
    return fit(vr, str(value)) if value is not None and vr != "US" else value


class Code(NamedTuple):
    """A triplet of the Code Sequence Macro (PS3.3 Table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


class Reference(NamedTuple):
    """A SOP Instance Reference (PS3.3 Table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


def _attributes(*attributes: WorklistAttribute) -> dict[str, WorklistAttribute]:
    return {each.tag: each for each in sorted(attributes, key=lambda each: each.tag)}


def _of(name: str, prefix: str = "") -> Read:
    """The value at a path from the row."""
    names = [*prefix.split("__"), name] if prefix else [name]

    def read(row: Any, context: Context) -> Any:
        for each in names:
            row = getattr(row, each)
        return row

    return read


def _step(keyword: str, name: str, *, narrows: bool = False) -> WorklistAttribute:
    return WorklistAttribute(keyword, _of(name), name if narrows else "")


def _procedure(keyword: str, name: str, *, narrows: bool = False) -> WorklistAttribute:
    column = f"requested_procedure_ref__{name}" if narrows else ""
    return WorklistAttribute(keyword, _of(name, "requested_procedure_ref"), column)


def _order(keyword: str, name: str, *, narrows: bool = False) -> WorklistAttribute:
    return WorklistAttribute(keyword, _of(name, ORDER), f"{ORDER}__{name}" if narrows else "")


def _patient(keyword: str, name: str, *, narrows: str = "") -> WorklistAttribute:
    return WorklistAttribute(keyword, _of(name, PATIENT), f"{PATIENT}__{narrows}" if narrows else "")


def _fact(keyword: str, read: Callable[[Any, Any], Any]) -> WorklistAttribute:
    """Of the patient as the order knows them."""
    return WorklistAttribute(keyword, lambda step, _: read(patient_of(step), step.requested_procedure_ref.order_ref))


def _sequence(
    keyword: str, read: Read, *items: WorklistAttribute, needs: tuple[str, ...] = (), conditional: bool = False
) -> WorklistAttribute:
    return WorklistAttribute(keyword, read, needs=needs, conditional=conditional, items=_attributes(*items))


def patient_of(step: ScheduledProcedureStep) -> Any:
    return step.requested_procedure_ref.order_ref.patient_ref


def _date(name: str, prefix: str = "") -> Read:
    moment = _of(name, prefix)

    def read(row: Any, context: Context) -> str | None:
        at: datetime | None = moment(row, context)
        return f"{at.astimezone(context.zone):%Y%m%d}" if at else None

    return read


def _time(name: str, prefix: str = "") -> Read:
    moment = _of(name, prefix)

    def read(row: Any, context: Context) -> str | None:
        at: datetime | None = moment(row, context)
        return f"{at.astimezone(context.zone):%H%M%S}" if at else None

    return read


def _titles(step: ScheduledProcedureStep, context: Context) -> list[str]:
    """Type 1: a step that waits for no device in particular is for whoever asks. One's own title comes first."""
    return sorted(step.scheduled_station_ae_titles, key=lambda title: title != context.title) or [context.title]


def _location(step: ScheduledProcedureStep, context: Context) -> str:
    return step.room.name if step.room else ""


def _protocols(step: ScheduledProcedureStep, context: Context) -> list[Code]:
    return [Code(*(str(part) for part in [*each, "", "", ""][:3])) for each in step.scheduled_protocol_codes]


def _procedure_codes(step: ScheduledProcedureStep, context: Context) -> list[Code]:
    """At most one item (PS3.3 Table C.4-11)."""
    procedure = step.requested_procedure_ref
    if not procedure.procedure_code_value:
        return []
    meaning = procedure.requested_procedure_description or procedure.procedure_code_value
    return [Code(procedure.procedure_code_value, procedure.procedure_coding_scheme, meaning)]


def _step_description(step: ScheduledProcedureStep, context: Context) -> str:
    """Type 1 where there are no protocol codes: whatever says best what is to be done."""
    return step.scheduled_procedure_step_description or _procedure_description(step, context)


def _procedure_description(step: ScheduledProcedureStep, context: Context) -> str:
    """Type 1 where there is no procedure code."""
    procedure = step.requested_procedure_ref
    named = procedure.requested_procedure_description or step.scheduled_procedure_step_description
    return named or procedure.procedure_code_value or step.modality


def _requested_procedure_id(step: ScheduledProcedureStep, context: Context) -> str:
    """Type 1: a procedure that was given no ID has that of its step."""
    return step.requested_procedure_ref.requested_procedure_id or step.scheduled_procedure_step_id


def _studies(step: ScheduledProcedureStep, context: Context) -> list[Reference]:
    return [Reference(STUDY_MANAGEMENT, step.requested_procedure_ref.study_instance_uid)]


def _issuers(step: ScheduledProcedureStep, context: Context) -> list[str]:
    issuer = step.requested_procedure_ref.order_ref.issuer_of_accession_number
    return [issuer] if issuer else []


def _entered_by(step: ScheduledProcedureStep, context: Context) -> str:
    user = step.requested_procedure_ref.order_ref.entered_by
    return f"{user.last_name}^{user.first_name}" if user and (user.last_name or user.first_name) else ""


def _others(step: ScheduledProcedureStep, context: Context) -> list[PatientIdentifier]:
    return list(patient_of(step).identifiers.all())


def _age(step: ScheduledProcedureStep, context: Context) -> str:
    start = step.scheduled_start
    return patient_facts.age(patient_of(step), start and start.astimezone(context.zone))


def _offset(step: ScheduledProcedureStep, context: Context) -> str:
    moment = step.scheduled_start or timezone.now()
    return f"{moment.astimezone(context.zone):%z}"


CODE = (
    WorklistAttribute(
        "CodeValue", lambda code, _: code.value if len(code.value) <= LONGEST_CODE else "", conditional=True
    ),
    WorklistAttribute(
        "LongCodeValue", lambda code, _: code.value if len(code.value) > LONGEST_CODE else "", conditional=True
    ),
    WorklistAttribute("CodingSchemeDesignator", lambda code, _: code.scheme or OUR_CODES),
    WorklistAttribute("CodeMeaning", lambda code, _: code.meaning or code.value),
)

STEP = _sequence(
    "ScheduledProcedureStepSequence",
    lambda step, _: [step],
    WorklistAttribute("ScheduledStationAETitle", _titles),
    WorklistAttribute("ScheduledProcedureStepStartDate", _date("scheduled_start")),
    WorklistAttribute("ScheduledProcedureStepStartTime", _time("scheduled_start")),
    WorklistAttribute("ScheduledProcedureStepEndDate", _date("scheduled_end")),
    WorklistAttribute("ScheduledProcedureStepEndTime", _time("scheduled_end")),
    _step("Modality", "modality", narrows=True),
    _step("ScheduledPerformingPhysicianName", "scheduled_performing_physician_name"),
    WorklistAttribute("ScheduledProcedureStepDescription", _step_description),
    _step("ScheduledStationName", "scheduled_station_name", narrows=True),
    WorklistAttribute("ScheduledProcedureStepLocation", _location, needs=("room",)),
    _sequence("ScheduledProtocolCodeSequence", _protocols, *CODE, conditional=True),
    _step("PreMedication", "pre_medication"),
    _step("ScheduledProcedureStepID", "scheduled_procedure_step_id", narrows=True),
    _step("RequestedContrastAgent", "requested_contrast_agent"),
    _step("ScheduledProcedureStepStatus", "status", narrows=True),
    _step("CommentsOnTheScheduledProcedureStep", "comments_on_the_scheduled_procedure_step"),
)

ATTRIBUTES = _attributes(
    STEP,
    # Requested Procedure
    WorklistAttribute("RequestedProcedureID", _requested_procedure_id),
    WorklistAttribute("RequestedProcedureDescription", _procedure_description),
    _sequence("RequestedProcedureCodeSequence", _procedure_codes, *CODE, conditional=True),
    _procedure("StudyInstanceUID", "study_instance_uid", narrows=True),
    _sequence(
        "ReferencedStudySequence",
        _studies,
        WorklistAttribute("ReferencedSOPClassUID", _of("sop_class_uid")),
        WorklistAttribute("ReferencedSOPInstanceUID", _of("sop_instance_uid")),
    ),
    _order("RequestedProcedurePriority", "priority", narrows=True),
    _order("PatientTransportArrangements", "patient_transport_arrangements"),
    _order("ReasonForTheRequestedProcedure", "reason_for_the_requested_procedure"),
    _procedure("RequestedProcedureComments", "requested_procedure_comments"),
    WorklistAttribute("RequestedProcedureLocation", _location, needs=("room",)),
    _order("NamesOfIntendedRecipientsOfResults", "referring_physician_name"),
    # Imaging Service Request
    _order("AccessionNumber", "accession_number", narrows=True),
    _sequence(
        "IssuerOfAccessionNumberSequence",
        _issuers,
        WorklistAttribute("LocalNamespaceEntityID", lambda issuer, _: issuer),
    ),
    _order("RequestingPhysician", "requesting_physician"),
    _order("ReferringPhysicianName", "referring_physician_name"),
    _order("RequestingService", "requesting_service"),
    _order("PlacerOrderNumberImagingServiceRequest", "placer_order_number", narrows=True),
    _order("FillerOrderNumberImagingServiceRequest", "filler_order_number", narrows=True),
    WorklistAttribute("IssueDateOfImagingServiceRequest", _date("created_at", ORDER)),
    WorklistAttribute("IssueTimeOfImagingServiceRequest", _time("created_at", ORDER)),
    WorklistAttribute("OrderEnteredBy", _entered_by, needs=(f"{ORDER}__entered_by",)),
    # Visit
    _order("AdmissionID", "admission_id", narrows=True),
    _order("CurrentPatientLocation", "current_patient_location"),
    WorklistAttribute("InstitutionName", _of("name", "site"), needs=("site",)),
    WorklistAttribute("ReferencedPatientSequence", lambda step, _: []),
    # Patient
    _patient("PatientName", "patient_name", narrows="patient_name_search"),
    _patient("PatientID", "patient_id", narrows="patient_id"),
    _patient("IssuerOfPatientID", "issuer_of_patient_id", narrows="issuer_of_patient_id"),
    _sequence(
        "OtherPatientIDsSequence",
        _others,
        WorklistAttribute("PatientID", _of("value")),
        WorklistAttribute("IssuerOfPatientID", _of("issuer")),
        WorklistAttribute("TypeOfPatientID", lambda other, _: "TEXT"),
        needs=tuple(MANY),
    ),
    _patient("PatientBirthDate", "patient_birth_date"),
    _patient("PatientSex", "patient_sex", narrows="patient_sex"),
    WorklistAttribute("PatientAge", _age),
    _order("PatientWeight", "patient_weight"),
    _order("PatientSize", "patient_size"),
    _fact("ConfidentialityConstraintOnPatientDataDescription", patient_facts.confidentiality),
    _order("PatientState", "patient_state"),
    _fact("PregnancyStatus", patient_facts.pregnancy_status),
    _order("SpecialNeeds", "special_needs"),
    _fact("MedicalAlerts", patient_facts.medical_alerts),
    _fact("Allergies", patient_facts.allergies),
    _fact("LastMenstrualDate", patient_facts.last_menstrual_date),
    _order("AdditionalPatientHistory", "clinical_history"),
    _fact("PatientComments", patient_facts.comments),
    _fact("PatientAddress", patient_facts.address),
    _fact("PatientTelephoneNumbers", patient_facts.telephone),
    _fact("PatientMotherBirthName", patient_facts.mother_birth_name),
    WorklistAttribute("TimezoneOffsetFromUTC", _offset),
)
