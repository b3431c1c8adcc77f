"""ORU^R01 that we send: what was reported of a procedure (IHE RAD-28 in the words of HL7 2.5.1 chapter 7)."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from integrations.hl7.outgoing import values
from integrations.hl7.outgoing.orders import code_of, own, visit
from integrations.hl7.outgoing.writing import Composite, Value, Writer, Written
from integrations.models import Hl7Peer, ReportText, SentVersion
from pacs.models import Study
from radiology.models import Order, Report, ReportSection, ReportStatus, ReportVersion, RequestedProcedure

# OBR-25 and OBX-11 (HL7 tables 0123 and 0085). The first has no word for what is wrong: it gets that of the second,
# because a receiver that looks at OBR-25 alone must not take a withdrawn report for one that holds.
STATUSES: dict[str, str] = {
    ReportStatus.PRELIMINARY: "P",
    ReportStatus.FINAL: "F",
    ReportStatus.AMENDED: "C",
    ReportStatus.APPENDED: "C",
    ReportStatus.ENTERED_IN_ERROR: "W",
}
# OBX-3 (LOINC).
SECTIONS: dict[str, tuple[str, str]] = {
    ReportSection.INDICATION: ("18785-6", "Indication"),
    ReportSection.TECHNIQUE: ("55111-9", "Technique"),
    ReportSection.COMPARISON: ("18834-2", "Comparison"),
    ReportSection.FINDINGS: ("18782-3", "Findings"),
    ReportSection.IMPRESSION: ("19005-8", "Impression"),
}
ADDENDUM = ("55107-7", "Addendum")
DOCUMENT = ("18748-4", "Diagnostic imaging study")
LOINC = "LN"
# TQ.1, without which 2.3 does not know ORC-7 and OBR-27, which it requires.
QUANTITY = "1"
STUDY: Composite = ("113014", "DICOM Study", "DCM")


@dataclass(frozen=True)
class ReportContent:
    """A version with what it is about, read once for all peers. `studies` are its Study Instance UIDs."""

    report: Report
    version: ReportVersion
    studies: list[Study]
    uids: list[str]

    @property
    def procedure(self) -> RequestedProcedure:
        return self.report.requested_procedure_ref

    @property
    def order(self) -> Order:
        return self.procedure.order_ref

    @property
    def status(self) -> str:
        return STATUSES[self.version.status]


def content_of(report: Report, version: ReportVersion) -> ReportContent:
    procedure = report.requested_procedure_ref
    studies = list(Study.objects.filter(requested_procedure_ref=procedure, deleted_at=None).order_by("pk"))
    uids = [each.study_instance_uid for each in studies] or [procedure.study_instance_uid]
    return ReportContent(report, version, studies, uids)


def result(peer: Hl7Peer, content: ReportContent, pdf: bytes | None) -> Written:
    """The version as it holds: texts by section, the PDF, the studies and the link to them."""
    writer = Writer(peer)
    observations = list(_observations(writer, content, pdf))
    segments = [
        values.pid(writer, content.order.patient_ref),
        visit(writer, content.order),
        _common(writer, content.order),
        _request(writer, content),
        *(_observation(writer, content, number, *each) for number, each in enumerate(observations, 1)),
    ]
    return writer.message("ORU", "R01", "ORU_R01", segments)


def _common(writer: Writer, order: Order) -> str:
    return writer.segment(
        "ORC",
        {
            1: "RE",
            2: order.placer_order_number,
            3: own(values.filler_number(order)),
            5: "CM",
            7: "" if writer.is_since(SentVersion.V2_3_1) else QUANTITY,
            12: values.person(order.requesting_physician, order.requesting_physician_identifier),
        },
    )


def _request(writer: Writer, content: ReportContent) -> str:
    order, procedure, version = content.order, content.procedure, content.version
    made = next((each.study_datetime for each in content.studies if each.study_datetime), None)
    reason = order.reason_for_the_requested_procedure
    return writer.segment(
        "OBR",
        {
            1: "1",
            2: order.placer_order_number,
            3: own(values.filler_number(order)),
            4: code_of(procedure),
            7: writer.moment(made or version.at),
            13: order.clinical_history,
            16: values.person(order.requesting_physician, order.requesting_physician_identifier),
            18: order.accession_number,
            19: procedure.requested_procedure_id,
            22: writer.moment(version.at),
            24: procedure.modality,
            25: content.status,
            27: "" if writer.is_since(SentVersion.V2_3_1) else QUANTITY,
            31: ("", reason) if reason else "",
            32: _person(version.author_name),
            33: _person(version.writer_name),
        },
    )


def _person(name: str) -> Value:
    """NDL, whose first component holds the person in its subcomponents: no number, then the name."""
    person = values.person(name)
    return (person,) if person else ""


def _observations(writer: Writer, content: ReportContent, pdf: bytes | None) -> Iterator[tuple[str, Composite, Value]]:
    """OBX-2, OBX-3 and OBX-5 of each."""
    version, peer = content.version, writer.peer
    texts = [(SECTIONS[section], text) for section, text in version.texts]
    texts += [(ADDENDUM, each["text"]) for each in version.addenda]
    for (code, name), text in texts:
        if peer.report_text == ReportText.LINES:
            yield from (("TX", (code, name, LOINC), line) for line in text.split("\n"))
        else:
            yield "FT", (code, name, LOINC), text
    if pdf is not None:
        data = base64.b64encode(pdf).decode()
        yield "ED", (*DOCUMENT, LOINC), (values.NAMESPACE, "AP", "PDF", "Base64", data)
    for uid in content.uids:
        yield "ST", STUDY, uid
        if peer.link_base:
            link = f"{peer.link_base}/viewer?StudyInstanceUIDs={quote(uid)}"
            yield "RP", STUDY, (link, values.NAMESPACE, "AP", "HTML")


def _observation(writer: Writer, content: ReportContent, number: int, kind: str, name: Composite, value: Value) -> str:
    version = content.version
    return writer.segment(
        "OBX",
        {
            1: str(number),
            2: kind,
            3: name,
            # A second observation of one kind in a message needs another sub-ID (HL7 2.5.1 7.4.2.4).
            4: str(number),
            5: value,
            11: content.status,
            14: writer.moment(version.at),
            16: values.person(version.author_name),
        },
    )
