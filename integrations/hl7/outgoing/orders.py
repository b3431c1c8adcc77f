"""ORM^O01, OMG^O19, OMI^O23 that we send: orders made here (IHE RAD-3) and how far orders are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from integrations.hl7.outgoing import values
from integrations.hl7.outgoing.writing import Composite, Writer, Written
from integrations.models import Hl7Peer, OrderMessage, SentVersion
from radiology.models import Order, PregnancyStatus, Priority, RequestedProcedure
from worklist.models import ScheduledProcedureStep

STRUCTURES = {OrderMessage.ORM: "ORM_O01", OrderMessage.OMG: "OMG_O19", OrderMessage.OMI: "OMI_O23"}
UNKNOWN_CLASS = "U"  # HL7 table 0004
UNKNOWN = "OT"
PREGNANT = "B6"  # HL7 table 0009
STATUS_CHANGED = "SC"
# TQ1-9 and TQ.6; what reads them here turns them back.
PRIORITIES: dict[str, str] = {
    Priority.STAT: "S",
    Priority.HIGH: "A",
    Priority.ROUTINE: "R",
    Priority.MEDIUM: "T",
    Priority.LOW: "R",
}


@dataclass(frozen=True)
class Group:
    """One procedure of a message: ORC and OBR, with what belongs to them."""

    procedure: RequestedProcedure
    status: str
    start: datetime | None = None
    step: ScheduledProcedureStep | None = None


def filler_order(peer: Hl7Peer, order: Order, groups: Sequence[Group]) -> Written:
    """SN or NW: an order that was made here. One that is added to an order of the peer's names that one in ORC-4."""
    return _message(Writer(peer), order, groups, control=peer.filler_order, is_new=True)


def order_status(peer: Hl7Peer, order: Order, groups: Sequence[Group]) -> Written:
    """ORC-1 SC, the state of each procedure in ORC-5."""
    return _message(Writer(peer), order, groups, control=STATUS_CHANGED, is_new=False)


def _message(writer: Writer, order: Order, groups: Iterable[Group], *, control: str, is_new: bool) -> Written:
    shape = OrderMessage(writer.peer.order_message)
    segments = [values.pid(writer, order.patient_ref), visit(writer, order)]
    for number, group in enumerate(groups, 1):
        segments.append(_common(writer, order, group, control, is_new))
        if shape != OrderMessage.ORM and writer.is_since(SentVersion.V2_5):
            segments.append(_timing(writer, order, group))
        segments.append(_request(writer, order, group, number, is_new))
        comments = group.procedure.requested_procedure_comments
        if comments:
            segments.append(writer.segment("NTE", {1: "1", 2: "L", 3: comments}))
        if shape == OrderMessage.OMI:
            segments.append(_imaging(writer, order, group))
        else:
            uid: Composite = (group.procedure.study_instance_uid, values.NAMESPACE, "Application", "DICOM")
            segments.append(writer.segment("ZDS", {1: uid}))
    code, event = shape.value.split("^")
    return writer.message(code, event, STRUCTURES[shape], segments)


def visit(writer: Writer, order: Order) -> str:
    """PV1."""
    return writer.segment(
        "PV1",
        {
            1: "1",
            2: UNKNOWN_CLASS,
            3: (order.current_patient_location,),
            8: values.person(order.referring_physician_name, order.referring_physician_identifier),
            15: PREGNANT if order.pregnancy_status == PregnancyStatus.YES else "",
            19: order.admission_id,
        },
    )


def _common(writer: Writer, order: Order, group: Group, control: str, is_new: bool) -> str:
    placer = order.placer_order_number
    return writer.segment(
        "ORC",
        {
            1: control,
            2: "" if is_new else placer,
            3: own(values.filler_number(order)),
            4: placer if is_new else "",
            5: group.status,
            7: _quantity(writer, order, group),
            9: writer.moment(timezone.now()),
            12: values.person(order.requesting_physician, order.requesting_physician_identifier),
            16: ("", order.status_reason) if order.status_reason else "",
            17: ("", order.requesting_service) if order.requesting_service else "",
        },
    )


def _quantity(writer: Writer, order: Order, group: Group) -> Composite:
    """TQ: start and priority."""
    return ("", "", "", writer.moment(group.start), "", PRIORITIES.get(order.priority, "R"))


def _timing(writer: Writer, order: Order, group: Group) -> str:
    return writer.segment("TQ1", {1: "1", 7: writer.moment(group.start), 9: PRIORITIES.get(order.priority, "R")})


def _request(writer: Writer, order: Order, group: Group, number: int, is_new: bool) -> str:
    procedure, step = group.procedure, group.step
    protocols = _protocols(step)
    code = code_of(procedure)
    side = procedure.laterality if writer.is_since(SentVersion.V2_4) else ""
    reason = order.reason_for_the_requested_procedure
    return writer.segment(
        "OBR",
        {
            1: str(number),
            2: "" if is_new else order.placer_order_number,
            3: own(values.filler_number(order)),
            # OBR-4.4 to 6 are the first protocol of the step.
            4: (*code, *(protocols[0] if protocols else ())),
            12: ("", order.patient_state) if order.patient_state else "",
            13: order.clinical_history,
            16: values.person(order.requesting_physician, order.requesting_physician_identifier),
            18: order.accession_number,
            19: procedure.requested_procedure_id,
            20: step.scheduled_procedure_step_id if step else "",
            22: writer.moment(timezone.now()),
            24: procedure.modality,
            27: _quantity(writer, order, group),
            30: order.patient_transport_arrangements,
            31: ("", reason) if reason else "",
            36: writer.moment(group.start),
            44: code,
            46: (side,),
        },
    )


def _protocols(step: ScheduledProcedureStep | None) -> list[Composite]:
    """Code, meaning and scheme of each protocol of the step; what is no such thing is left out."""
    said = step.scheduled_protocol_codes if step else []
    triples = [each for each in said if isinstance(each, list) and len(each) == 3]
    return [(str(code), str(meaning), str(scheme)) for code, scheme, meaning in triples]


def _imaging(writer: Writer, order: Order, group: Group) -> str:
    procedure, step = group.procedure, group.step
    return writer.segment(
        "IPC",
        {
            1: own(order.accession_number or values.filler_number(order)),
            2: own(procedure.requested_procedure_id or str(procedure.pk)),
            3: own(procedure.study_instance_uid),
            4: own(step.scheduled_procedure_step_id if step else str(procedure.pk)),
            5: (procedure.modality,),
            6: _protocols(step) or "",
            7: (step.scheduled_station_name,) if step else "",
            9: (step.scheduled_station_ae_titles or [""])[0] if step else "",
        },
    )


def code_of(procedure: RequestedProcedure) -> tuple[str, str, str]:
    """CE of what was requested."""
    code, scheme = procedure.procedure_code_value, procedure.procedure_coding_scheme
    return (
        code,
        # Of images that nobody ordered nobody may have said more.
        procedure.requested_procedure_description or code or procedure.modality or UNKNOWN,
        "" if not code else values.LOCAL_CODES if scheme == values.OUR_CODES else scheme,
    )


def own(number: str) -> Composite:
    """EI of ours."""
    return (number, values.NAMESPACE)
