"""ORU^R01: reports of our orders that are written elsewhere (IHE RAD-28)."""

import base64
import binascii
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from integrations.hl7 import orders, patients, values
from integrations.hl7.message import MISSING, Message, Repetition, Segment, lacks
from integrations.hl7.order_content import OrderContent
from integrations.hl7.outcome import Outcome
from integrations.hl7.outgoing.reports import ADDENDUM, SECTIONS
from integrations.hl7.outgoing.values import filler_number
from integrations.models import Hl7Peer
from radiology.dicom import clean, is_uid
from radiology.errors import InvalidValue, NotFound
from radiology.models import Order, Patient, ReportOrigin, ReportSection, ReportStatus, RequestedProcedure
from radiology.services.attached_reports import attach_report
from radiology.services.report_versions import Content
from radiology.services.survivors import hold_survivor

# OBR-25, else OBX-11 (HL7 tables 0123 and 0085).
STATUSES = {
    "P": ReportStatus.PRELIMINARY,
    "R": ReportStatus.PRELIMINARY,
    "A": ReportStatus.PRELIMINARY,
    "F": ReportStatus.FINAL,
    "C": ReportStatus.AMENDED,
    "K": ReportStatus.AMENDED,
    "W": ReportStatus.ENTERED_IN_ERROR,
    "D": ReportStatus.ENTERED_IN_ERROR,
    "X": ReportStatus.ENTERED_IN_ERROR,
}
# Of an examination of which nothing is reported yet.
NO_RESULT = {"O", "S", "I"}
TEXTS = {"TX", "FT", "ST", ""}
# By the codes that we send, by the suffixes of HL7 2.5.1 7.5.3, and by words with which systems begin a section.
CODES = {code: section for section, (code, _name) in SECTIONS.items()} | {"59776-5": ReportSection.FINDINGS.value}
SUFFIXES = {
    "IMP": ReportSection.IMPRESSION,
    "REC": ReportSection.IMPRESSION,
    "CNP": ReportSection.IMPRESSION,
    "GDT": ReportSection.FINDINGS,
    "ANT": ReportSection.FINDINGS,
    "TCM": ReportSection.TECHNIQUE,
}
WORDS = {
    ReportSection.IMPRESSION: ("impression", "conclusion", "kesan", "kesimpulan", "summary"),
    ReportSection.TECHNIQUE: ("technique", "teknik"),
    ReportSection.COMPARISON: ("comparison", "pembanding"),
    ReportSection.INDICATION: ("indication", "indikasi", "clinical", "klinis", "history", "reason"),
    ReportSection.FINDINGS: ("finding", "temuan", "hasil", "description", "deskripsi"),
}
ADDENDA = ("addendum", "adendum")


@dataclass
class _Group:
    """One OBR with its observations."""

    orc: Segment
    obr: Segment
    observations: list[Segment] = field(default_factory=list)


@dataclass
class _Read:
    """What the observations of a group say."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    addenda: list[str] = field(default_factory=list)
    pdf: bytes | None = None
    study_instance_uid: str = ""
    left_out: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it only says that there is something: archives tell so of studies (OBR-25 R, without a text)."""
        return not (self.sections or self.addenda or self.pdf)


def process(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """Every report of the message, or none."""
    groups = list(_groups(message))
    if not groups:
        raise lacks("OBR")
    patient = _patient_of(message, peer)
    outcome.patient = patient
    for group in groups:
        _take(group, peer, patient, outcome)


def _take(group: _Group, peer: Hl7Peer, patient: Patient, outcome: Outcome) -> None:
    obr = group.obr
    said = obr.text(25).upper() or next((each.text(11).upper() for each in group.observations if each.text(11)), "F")
    order = _order_of(group, peer, patient)
    outcome.order = outcome.order or order
    read = _read(group)
    if said in NO_RESULT or (STATUSES.get(said) == ReportStatus.PRELIMINARY and read.is_empty):
        outcome.note(_("Nothing was reported yet (OBR-25 %(status)s): nothing was changed.") % {"status": said})
        return
    if said not in STATUSES:
        raise InvalidValue(_("%(status)s is no status of a report.") % {"status": said}, field="OBR-25")
    number = clean(obr.text(3))
    at = values.moment(obr.text(22) or obr.text(7), zoneinfo.ZoneInfo(peer.site.time_zone))
    author = _author(group)
    version, is_new = attach_report(
        procedure=_procedure_of(group, read, order),
        status=STATUSES[said],
        content=_content(read, author, at.isoformat() if at else ""),
        author_name=author,
        external_id="" if number in {filler_number(order), order.accession_number} else number,
        origin=ReportOrigin.HL7,
        at=at,
        who=peer,
    )
    if is_new:
        outcome.did("created" if version.number == 1 else "changed", version.report_ref)
    else:
        outcome.note(_("This report was here already."))
    if read.left_out:
        outcome.note(_("What is neither text nor PDF was left out: %(count)d OBX.") % {"count": read.left_out})


def _content(read: _Read, author: str, at: str) -> Content:
    sections = {name: "\n".join(lines) for name, lines in read.sections.items()}
    addenda = [{"text": "\n".join(read.addenda), "by": author, "at": at}] if read.addenda else []
    return Content(sections, read.pdf, addenda)


def _groups(message: Message) -> Iterator[_Group]:
    orc, group = MISSING, None
    for segment in message.segments:
        if segment.name == "ORC":
            orc = segment
        elif segment.name == "OBR":
            if group is not None:
                yield group
            group, orc = _Group(orc, segment), MISSING
        elif segment.name == "OBX" and group is not None:
            group.observations.append(segment)
    if group is not None:
        yield group


def _patient_of(message: Message, peer: Hl7Peer) -> Patient:
    """Whose reports they are. A report makes nobody known, and goes to nobody else."""
    pid = message.require("PID")
    number = patients.mrn_of(pid, peer)
    known = patients.find(peer, number)
    if known is None:
        raise NotFound(
            _("There is no patient with the number %(number)s.") % {"number": number.value}, field="patient_id"
        )
    patients.require_same(known, pid, number)
    return hold_survivor(known)


def _order_of(group: _Group, peer: Hl7Peer, patient: Patient) -> Order:
    orc, obr = group.orc, group.obr
    placer = orc.value(2) if orc.text(2) else obr.value(2)
    content = OrderContent(
        control="RE",
        status="",
        placer_order_number=clean(placer.text(1)),
        placer_namespace=clean(placer.text(2)),
        filler_order_number=clean(obr.text(3) or orc.text(3)),
        accession_number=clean(obr.text(18)),
        values={},
    )
    number = content.placer_order_number or content.accession_number or content.filler_order_number
    if not number:
        raise InvalidValue(_("The report names no order: OBR-2, OBR-3 and OBR-18 are empty."), field="OBR-3")
    found = orders.find(content, peer, patient, field="OBR-3")
    if found is None:
        raise NotFound(_("There is no order with the number %(number)s.") % {"number": number}, field="OBR-3")
    return found[0]


def _procedure_of(group: _Group, read: _Read, order: Order) -> RequestedProcedure:
    """The procedure of the order that is meant: by its id, its study, its code, its text; the only one."""
    there = list(order.requested_procedures.order_by("pk"))
    obr = group.obr
    ways: list[tuple[str, Callable[[RequestedProcedure], str]]] = [
        (clean(obr.text(19)), lambda each: each.requested_procedure_id),
        (read.study_instance_uid, lambda each: each.study_instance_uid),
        (clean(obr.text(44)) or clean(obr.text(4)), lambda each: each.procedure_code_value),
        (clean(obr.text(4, 2)), lambda each: each.requested_procedure_description),
    ]
    for said, name in ways:
        found = [each for each in there if said and name(each) == said]
        if len(found) == 1:
            return found[0]
    if len(there) != 1:
        raise InvalidValue(_("The order has several procedures, and the report names none of them."), field="procedure")
    return there[0]


def _read(group: _Group) -> _Read:
    read = _Read()
    for obx in group.observations:
        kind = obx.text(2).upper()
        if kind == "ED" or (kind == "RP" and _is_pdf(obx.value(5), 3)):
            if kind == "RP" or not _is_pdf(obx.value(5), 2, 3) or read.pdf is not None:
                read.left_out += 1
                continue
            read.pdf = _pdf(obx.value(5))
        elif kind in {"ST", "UI"} and is_uid(obx.text(5)):
            if "study" in obx.text(3, 2).casefold():
                read.study_instance_uid = obx.text(5)
        elif kind in TEXTS:
            _put(read, obx, [each.text() for each in obx.repetitions(5)] or [""])
        elif kind in {"CE", "CWE", "NM", "SN", "DT", "TM", "TS", "DTM"}:
            value = obx.value(5)
            name, unit = obx.text(3, 2) or obx.text(3), obx.text(6)
            said = " ".join(part for part in (value.text(2) or value.text(1), value.text(2) and "", unit) if part)
            _put(read, obx, [f"{name}: {said}"])
        else:
            read.left_out += 1
    return read


def _put(read: _Read, obx: Segment, lines: list[str]) -> None:
    section = _section_of(obx)
    if section is None:
        read.addenda += lines
    else:
        read.sections.setdefault(section, []).extend(lines)


def _section_of(obx: Segment) -> str | None:
    """The section that an observation belongs to; None for an addendum."""
    code, suffix = obx.text(3), obx.text(3, 1, 2).upper()
    name = f"{obx.text(3, 2)} {code}".casefold()
    if code == ADDENDUM[0] or suffix == "ADT" or any(word in name for word in ADDENDA):
        return None
    if code in CODES:
        return CODES[code]
    if suffix in SUFFIXES:
        return SUFFIXES[suffix].value
    for section, words in WORDS.items():
        if any(word in name for word in words):
            return section.value
    return ReportSection.FINDINGS.value


def _is_pdf(value: Repetition, *components: int) -> bool:
    said = {value.text(number).casefold() for number in components}
    return bool(said & {"pdf", "application/pdf", "application^pdf", "^application^pdf"})


def _pdf(value: Repetition) -> bytes:
    if value.text(4).casefold() != "base64":
        raise InvalidValue(_("A PDF comes in base64."), field="OBX-5")
    try:
        pdf = base64.b64decode("".join(value.text(5).split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidValue(_("The base64 of the PDF is broken."), field="OBX-5") from error
    if not pdf.startswith(b"%PDF-"):
        raise InvalidValue(_("The file is no PDF."), field="OBX-5")
    return pdf


def _author(group: _Group) -> str:
    """OBR-32, with the person in subcomponents or as an XCN; else who answers for an observation (OBX-16)."""
    principal = group.obr.value(32)
    if principal.text(1, 2) or principal.text(1, 3):
        return values.person_of_subcomponents(principal)
    if principal:
        return values.person_name([principal], first=2) or clean(principal.text(1))
    for obx in group.observations:
        if found := values.person_name(obx.repetitions(16), first=2):
            return found
    return ""
