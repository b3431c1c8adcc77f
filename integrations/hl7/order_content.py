"""What ORM^O01, OMG^O19 and OMI^O23 say, read: orders with their procedures (IHE RAD-2; IHE RAD TF-2 Appendix B)."""

import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from integrations.hl7 import values
from integrations.hl7.message import MISSING, Message, Repetition, Segment, lacks
from integrations.models import Hl7Peer, UnknownProcedure
from radiology.dicom import clean
from radiology.errors import InvalidValue, NotFound
from radiology.models import PregnancyStatus, Priority, Procedure
from radiology.services.order_fields import IDENTIFIER_OF
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.rows import Sought

# HL7 table 0027 and the older words of TQ.6.
PRIORITIES = {
    "S": Priority.STAT,
    "STAT": Priority.STAT,
    "A": Priority.HIGH,
    "ASAP": Priority.HIGH,
    "P": Priority.HIGH,
    "C": Priority.HIGH,
    "R": Priority.ROUTINE,
    "T": Priority.MEDIUM,
}
SIDES = {"R": "R", "RT": "R", "RIGHT": "R", "L": "L", "LT": "L", "LEFT": "L", "B": "B", "BILATERAL": "B", "50": "B"}
# Coding schemes that say no more than “the codes on which we agreed”.
OURS = {"", "L", "LOCAL", "99SINAR"}
PREGNANT = "B6"  # HL7 table 0009
UNKNOWN_MODALITY = "OT"
_OF_OUR_CODE = Sought(Procedure, "site_id = %s AND code = %s ORDER BY is_active DESC, id LIMIT 1")


@dataclass
class Wanted:
    """One OBR: the procedure, and what is said of its step."""

    request: ProcedureRequest
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class OrderContent:
    """What the message says of one order. `values` are fields of the order that it gives, by name."""

    control: str
    status: str
    placer_order_number: str
    placer_namespace: str
    filler_order_number: str
    accession_number: str
    values: dict[str, Any]
    alerts: str = ""
    wanted: list[Wanted] = field(default_factory=list)

    @property
    def numbers(self) -> tuple[str, str, str]:
        """By what it is told apart from others in the same message."""
        if self.accession_number:
            return ("accession", self.accession_number, self.control)
        return (self.placer_namespace, self.placer_order_number or self.filler_order_number, self.control)


@dataclass
class _Group:
    """One OBR with what belongs to it."""

    orc: Segment
    obr: Segment = MISSING
    tq1: Segment = MISSING
    zds: Segment = MISSING
    ipcs: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(message: Message, peer: Hl7Peer) -> list[OrderContent]:
    """The orders of the message. Groups under the same accession number, or the same placer's number, are one.

    Raises InvalidValue, naming the field; NotFound for a procedure that the peer's messages may not order ad hoc.
    """
    found: dict[tuple[str, str, str], OrderContent] = {}
    for group in _groups(message):
        content = _content(group, message, peer)
        same = found.setdefault(content.numbers, content)
        if same is not content:
            same.wanted += content.wanted
            same.values = {**content.values, **same.values}
    if not found:
        raise lacks("ORC")
    return list(found.values())


def _groups(message: Message) -> Iterator[_Group]:
    group: _Group | None = None
    for segment in message.segments:
        if segment.name == "ORC":
            if group is not None:
                yield group
            group = _Group(segment)
        elif segment.name not in {"OBR", "TQ1", "ZDS", "IPC", "NTE"}:
            continue
        elif group is None:
            if segment.name == "OBR":
                raise InvalidValue(_("The OBR segment comes before its ORC."), field="ORC")
        elif segment.name == "OBR" and group.obr:
            yield group
            group = _Group(group.orc, segment)
        elif segment.name == "OBR":
            group.obr = segment
        elif segment.name == "TQ1":
            group.tq1 = group.tq1 or segment
        elif segment.name == "ZDS":
            group.zds = segment
        elif segment.name == "IPC":
            group.ipcs.append(segment)
        elif group.obr:
            group.notes += [clean(each.text()) for each in segment.repetitions(3)]
    if group is not None:
        yield group


def _content(group: _Group, message: Message, peer: Hl7Peer) -> OrderContent:
    orc, obr = group.orc, group.obr
    if len(group.ipcs) > 1:
        raise InvalidValue(_("One procedure has one step here: send an OBR for each IPC."), field="IPC")
    ipc = group.ipcs[0] if group.ipcs else MISSING
    placer = orc.value(2) if orc.text(2) else obr.value(2)
    content = OrderContent(
        control=orc.text(1).upper(),
        status=orc.text(5).upper(),
        placer_order_number=clean(placer.text(1)),
        placer_namespace=clean(placer.text(2)),
        filler_order_number=clean(orc.text(3) or obr.text(3)),
        accession_number=clean(ipc.text(1) or obr.text(18)),
        values=_values(group, message, peer),
        alerts=values.coded_text(obr.repetitions(13)),
    )
    for name in ("placer_order_number", "filler_order_number"):
        if len(getattr(content, name)) > 64:
            raise InvalidValue(_("An order number may have 64 characters."), field=name)
    if obr:
        content.wanted.append(Wanted(_request(group, ipc, peer), _details(group, ipc)))
    return content


def _values(group: _Group, message: Message, peer: Hl7Peer) -> dict[str, Any]:
    orc, obr, pid, pv1 = group.orc, group.obr, message.first("PID"), message.first("PV1")
    people = {
        "referring_physician_name": pv1.repetitions(8)[:1],
        "requesting_physician": (obr.repetitions(16) or orc.repetitions(12))[:1],
    }
    told: dict[str, Any] = {
        "priority": _priority(group),
        "requested_start": _start(group, peer),
        "reason_for_the_requested_procedure": values.coded_text(obr.repetitions(31)),
        "clinical_history": "\n".join(each.text(2) or each.text(1) for each in obr.repetitions(13)),
        **{name: values.person_name(said, first=2) for name, said in people.items()},
        "requesting_service": orc.text(17, 2) or orc.text(17),
        "current_patient_location": values.location(pv1, 3),
        "admission_id": pv1.text(19) or pid.text(18),
        "patient_transport_arrangements": obr.text(30),
        "patient_state": obr.text(12, 2) or obr.text(12),
        "pregnancy_status": PregnancyStatus.YES.value if PREGNANT in pv1.value(15).texts() else "",
    }
    given = {name: value for name, value in told.items() if value}
    for name, number in IDENTIFIER_OF.items():
        if said := " ".join(clean("".join(each.text(1) for each in people[name])).split())[:64]:
            given[number] = said
    return given


def _priority(group: _Group) -> str:
    places = (group.tq1.text(9), group.orc.text(7, 6), group.obr.text(27, 6), group.obr.text(5))
    said = next((each for each in places if each), "")
    return PRIORITIES.get(said.upper(), PRIORITIES.get(said[:1].upper(), Priority.ROUTINE)).value if said else ""


def _start(group: _Group, peer: Hl7Peer) -> Any:
    zone = zoneinfo.ZoneInfo(peer.site.time_zone)
    places = (
        ("TQ1-7", group.tq1.text(7)),
        ("ORC-7", group.orc.text(7, 4)),
        ("OBR-36", group.obr.text(36)),
        ("OBR-27", group.obr.text(27, 4)),
    )
    where, said = next(((name, text) for name, text in places if text), ("", ""))
    if not said:
        return None
    start = values.moment(said, zone)
    if start is None:
        raise InvalidValue(_("This is no moment of HL7: YYYYMMDDHHMM."), field=where)
    return start


def _request(group: _Group, ipc: Segment, peer: Hl7Peer) -> ProcedureRequest:
    obr = group.obr
    said = obr.value(44) if obr.text(44) or obr.text(44, 2) else obr.value(4)
    common: dict[str, Any] = {
        "laterality": _side(obr),
        "comments": "\n".join(group.notes),
        "requested_procedure_id": clean(ipc.text(2) or obr.text(19)),
        "study_instance_uid": clean(ipc.text(3) or group.zds.text(1)),
    }
    return procedure_of(said, peer, field="OBR-4", modality=clean(ipc.text(5) or obr.text(24)), **common)


def procedure_of(said: Repetition, peer: Hl7Peer, *, field: str, modality: str, **common: Any) -> ProcedureRequest:
    """A procedure that is named by a CE: the catalogue's entry, or as it is said.

    Raises InvalidValue for one that says nothing, NotFound where those that are not in the catalogue are held.
    """
    code, text, scheme = clean(said.text(1)), clean(said.text(2)), clean(said.text(3))
    if not code and not text:
        raise InvalidValue(_("The order names no procedure."), field=field)
    entry = _entry(peer, code, scheme)
    if entry is not None:
        return ProcedureRequest(procedure=entry, **common)
    if peer.unknown_procedure == UnknownProcedure.HOLD:
        raise NotFound(
            _("%(code)s is not in the procedure catalogue: enter it there, then process this message again.")
            % {"code": code or text},
            field=field,
        )
    return ProcedureRequest(
        code=code,
        scheme="" if scheme in OURS else scheme,
        description=text[:64] or code,
        modality=modality or UNKNOWN_MODALITY,
        is_ad_hoc=True,
        **common,
    )


def _entry(peer: Hl7Peer, code: str, scheme: str) -> Procedure | None:
    """The catalogue's entry: by the scheme that is named, else by our own code."""
    if scheme not in OURS:
        catalogue = Procedure.objects.filter(site=peer.site_id).order_by("-is_active", "pk")
        named = catalogue.filter(codes__coding_scheme_designator=scheme, codes__code_value=code).first()
        if named is not None:
            return named
    return next(iter(_OF_OUR_CODE(peer.site_id, code)), None) if code else None


def _side(obr: Segment) -> str:
    """R, L or B, from OBR-46 (placer supplemental information) or OBR-15 (body site and its modifier)."""
    said = [part for each in obr.repetitions(46) for part in (each.text(1), each.text(2))]
    said += [obr.text(15, number) for number in (4, 5, 6)]
    return next((SIDES[part.upper()] for part in said if part.upper() in SIDES), "")


def _details(group: _Group, ipc: Segment) -> dict[str, Any]:
    obr = group.obr
    protocol = ipc.value(6) if ipc.text(6) else obr.value(4)
    first = 1 if ipc.text(6) or not obr.text(4, 4) else 4
    code, text, scheme = (clean(protocol.text(first + offset)) for offset in range(3))
    # A requested procedure's code alone is no protocol: the catalogue's protocols then stand.
    has_protocol = bool(ipc.text(6) or obr.text(4, 4))
    return {
        "scheduled_procedure_step_id": clean(ipc.text(4) or obr.text(20)),
        "scheduled_protocol_codes": [[code, scheme or "L", text or code]] if has_protocol and code else [],
        "scheduled_procedure_step_description": text[:64] if has_protocol else "",
        "scheduled_performing_physician_name": values.person_of_subcomponents(obr.value(34)),
        "scheduled_station_name": clean(ipc.text(7)),
        "scheduled_station_ae_titles": [clean(ipc.text(9))] if ipc.text(9) else [],
    }
