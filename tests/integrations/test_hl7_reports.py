"""Reports as ORU^R01: ours, judged by hl7apy and python-hl7, and others' to us, also as others really write them."""

import base64
import re
from pathlib import Path
from typing import Any

import hl7
import pytest
from django.contrib.auth.models import Group

from integrations.hl7 import message as hl7_messages
from integrations.hl7.outgoing import queue
from integrations.models import Direction, Hl7Message, Hl7Peer, MessageState, WebhookDelivery
from pacs.models import Study
from radiology.models import (
    Order,
    OrderOrigin,
    Patient,
    Report,
    ReportOrigin,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Role,
    User,
)
from radiology.services.attached_reports import attach_report
from radiology.services.merges import merge_patients
from radiology.services.registration import change_patient
from radiology.services.report_versions import Content
from radiology.services.reports import add_addendum, sign_report, withdraw_report, write_draft
from tests.factories import make_order, make_patient, make_requested_procedure, make_study, make_user
from tests.integrations.mllp_client import Answer, hand_in, make_peer, message, pid
from tests.integrations.receiver import Receiver, field, receiving, send_all
from tests.integrations.test_hl7_out_messages import HOSTILE, problems
from tests.integrations.test_hl7_samples import sample
from tests.integrations.webhook_receiver import make_webhook

TEXT = {"findings": "Cor normal.\nPulmo | normal ^ & \\ ~.", "impression": "Normal."}
SHAPES = [("2.3", "FT"), ("2.3.1", "TX"), ("2.4", "FT"), ("2.5", "TX"), ("2.5.1", "FT")]


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


def examination(**fields: Any) -> RequestedProcedure:
    patient = make_patient("001234", "WIBOWO^BUDI", patient_birth_date="19700131", patient_sex="M")
    given = {"accession_number": "A1", "placer_order_number": "P1", "filler_order_number": "F1", **fields}
    return make_requested_procedure(make_order(patient, **given), requested_procedure_id="RP1")


def signed(procedure: RequestedProcedure, who: User, **texts: str) -> Report:
    report = write_draft(procedure=procedure, sections=texts or TEXT, who=who)
    sign_report(report=report, version=report.version, who=who)
    report.refresh_from_db()
    return report


def sent(peer: Hl7Peer) -> list[hl7.Message]:
    rows = Hl7Message.objects.filter(peer=peer, direction=Direction.OUT).order_by("pk")
    return [hl7.parse(bytes(row.raw).decode()) for row in rows]


def observations(found: hl7.Message, kind: str) -> list[tuple[str, str]]:
    """OBX-3.1 and OBX-5 of those of a kind."""
    return [(str(each[3][0][0]), str(each[5])) for each in found.segments("OBX") if str(each[2]) == kind]


@pytest.mark.django_db
class TestOut:
    def wants(self, name: str = "EMR", **fields: Any) -> Hl7Peer:
        return make_peer(name, **{"destination_host": "emr", "addresses": [], "sends_reports": "signed", **fields})

    def test_a_signed_report_is_told_as_it_stands(self, radiologist: User) -> None:
        peer = self.wants(link_base="https://pacs.rs.example")
        procedure = examination()
        study = make_study(procedure.order_ref.patient_ref)
        Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
        signed(procedure, radiologist)
        (told,) = sent(peer)
        assert field(told, "MSH", 9) == "ORU^R01^ORU_R01"
        assert [field(told, "OBR", number) for number in (2, 18, 19, 25)] == ["P1", "A1", "RP1", "F"]
        assert field(told, "OBR", 3) == "F1^SINAR" and field(told, "OBR", 32) == "&Hidayat&Rahmat"
        texts = dict(observations(told, "FT"))
        assert texts["18782-3"] == "Cor normal.\\.br\\Pulmo \\F\\ normal \\S\\ \\T\\ \\E\\ \\R\\."
        assert texts["19005-8"] == "Normal."
        ((code, data),) = observations(told, "ED")
        assert code == "18748-4" and data.startswith("SINAR^AP^PDF^Base64^")
        assert base64.b64decode(data.split("^")[4]).startswith(b"%PDF-")
        assert observations(told, "ST") == [("113014", study.study_instance_uid)]
        link = f"https://pacs.rs.example/viewer?StudyInstanceUIDs={study.study_instance_uid}"
        assert observations(told, "RP")[0][1].split("^")[0] == link
        assert {str(each[11]) for each in told.segments("OBX")} == {"F"}

    @pytest.mark.parametrize(("version", "text"), SHAPES)
    def test_hl7apy_has_nothing_against_it(self, radiologist: User, tmp_path: Path, version: str, text: str) -> None:
        peer = self.wants(sent_version=version, report_text=text, link_base="https://pacs.rs.example")
        attach_report(
            procedure=make_requested_procedure(make_order(make_patient("7", "SARI^SITI"))),
            status=ReportStatus.FINAL,
            content=Content({"findings": "x"}, b"%PDF-1.4 as short as the tables of hl7apy want it"),
            origin=ReportOrigin.REST,
        )
        Hl7Peer.objects.update(report_pdf=False)
        report = signed(examination(clinical_history="Demam"), radiologist)
        add_addendum(report=report, version=report.version, text="Tambahan", who=radiologist)
        withdraw_report(report=report, version=None, reason="salah", who=radiologist)
        assert len(sent(peer)) == 4
        for row in Hl7Message.objects.filter(peer=peer).order_by("pk"):
            left = [each for each in problems(_Row(row), tmp_path) if "Value W not in table HL70123" not in each]
            assert left == [], bytes(row.raw)[:2000]

    def test_hostile_texts_break_no_segment(self, radiologist: User) -> None:
        peer = self.wants(report_pdf=False)
        signed(examination(), radiologist, findings=HOSTILE, impression="x\ny")
        (told,) = sent(peer)
        assert [str(each[0]) for each in told] == ["MSH", "PID", "PV1", "ORC", "OBR", "OBX", "OBX", "OBX"]
        read = hl7_messages.parse(bytes(Hl7Message.objects.get().raw))
        assert [each.text(5) for each in read.all("OBX")][1] == "x\ny"

    def test_lines_are_observations_of_their_own_where_that_is_wanted(self, radiologist: User) -> None:
        peer = self.wants(report_text="TX", report_pdf=False)
        signed(examination(), radiologist, findings="satu\n\ntiga")
        assert observations(sent(peer)[0], "TX") == [("18782-3", "satu"), ("18782-3", ""), ("18782-3", "tiga")]

    def test_what_becomes_of_it_follows(self, radiologist: User) -> None:
        peer, eager = self.wants(report_pdf=False), self.wants("ALL", sends_reports="all", report_pdf=False)
        deaf = self.wants("NONE", sends_reports="")
        procedure = examination()
        report = write_draft(procedure=procedure, sections=TEXT, who=radiologist)
        sign_report(report=report, version=1, status=ReportStatus.PRELIMINARY, who=radiologist)
        sign_report(report=report, version=2, who=radiologist)
        add_addendum(report=report, version=3, text="Tambahan", who=radiologist)
        withdraw_report(report=report, version=4, reason="salah", who=radiologist)
        assert [field(each, "OBR", 25) for each in sent(peer)] == ["F", "C", "W"]
        assert [field(each, "OBR", 25) for each in sent(eager)] == ["P", "F", "C", "W"]
        assert observations(sent(peer)[1], "FT")[-1] == ("55107-7", "Tambahan")
        assert sent(deaf) == []

    def test_who_never_heard_of_it_is_not_told_that_it_is_withdrawn(self, radiologist: User) -> None:
        peer = self.wants()
        report = write_draft(procedure=examination(), sections=TEXT, who=radiologist)
        sign_report(report=report, version=1, status=ReportStatus.PRELIMINARY, who=radiologist)
        withdraw_report(report=report, version=2, reason="salah", who=radiologist)
        assert sent(peer) == []

    @pytest.mark.parametrize("way", ["number", "merge"])
    def test_a_report_of_nobody_known_waits_until_it_is_known_whose_it_is(self, radiologist: User, way: str) -> None:
        peer = self.wants(report_pdf=False, sends_orders=True)
        nobody = make_patient("", "SOMEBODY")
        order = make_order(nobody, accession_number="A7", origin=OrderOrigin.IMAGES)
        procedure = make_requested_procedure(order, requested_procedure_id="RP7")
        signed(procedure, radiologist)
        wrong = signed(make_requested_procedure(order, requested_procedure_id="RP8"), radiologist)
        signed(make_requested_procedure(order, requested_procedure_id="RP9"), radiologist)
        withdraw_report(report=wrong, version=wrong.version, reason="salah", who=radiologist)
        assert sent(peer) == []
        clerk = make_user("dewi", role=Role.ADMINISTRATOR)
        if way == "number":
            change_patient(who=clerk, patient=nobody, version=nobody.version, values={"patient_id": "77"})
        else:
            merge_patients(who=clerk, survivor=make_patient("77", "SOMEBODY"), merged=nobody)
        ordered, *reported = sent(peer)
        assert [field(each, "PID", 3).split("^")[0] for each in (ordered, *reported)] == ["77"] * 3
        assert field(ordered, "ORC", 1) == "SN"
        assert [(field(each, "OBR", 19), field(each, "OBR", 25)) for each in reported] == [("RP7", "F"), ("RP9", "F")]
        named = Patient.objects.get(patient_id="77")
        change_patient(who=clerk, patient=named, version=named.version, values={"patient_name": "A^B"})
        assert len(sent(peer)) == 3

    def test_a_report_from_elsewhere_goes_on_to_others_with_its_own_pdf_and_not_back(self) -> None:
        peer = self.wants()
        writer = self.wants("RIS", sends_reports="all", addresses=["127.0.0.1"])
        attach_report(
            procedure=examination(),
            status=ReportStatus.FINAL,
            content=Content(pdf=b"%PDF-1.4 x"),
            author_name="WIBOWO^BUDI",
            origin=ReportOrigin.HL7,
            who=writer,
        )
        ((_code, data),) = observations(sent(peer)[0], "ED")
        assert base64.b64decode(data.split("^")[4]) == b"%PDF-1.4 x"
        assert sent(writer) == []

    def test_webhooks_are_told_of_what_is_signed_and_of_what_is_withdrawn(self, radiologist: User) -> None:
        make_webhook("https://simrs.example/hook", events=["report.final", "report.withdrawn"])
        procedure = examination()
        report = write_draft(procedure=procedure, sections=TEXT, who=radiologist)
        sign_report(report=report, version=1, status=ReportStatus.PRELIMINARY, who=radiologist)
        sign_report(report=report, version=2, who=radiologist)
        withdraw_report(report=report, version=3, reason="salah", who=radiologist)
        told = list(WebhookDelivery.objects.order_by("pk").values_list("event", "body"))
        assert [event for event, _body in told] == ["report.final", "report.withdrawn"]
        assert '"accession_number":"A1"' in told[0][1] and "Cor normal" not in told[0][1] and "BUDI" not in told[0][1]


def test_a_report_reaches_a_listener_that_was_down_at_first(committed_db: None) -> None:
    user = make_user("rahmat")
    user.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    receiver = Receiver()
    peer = receiving(receiver, sends_reports="signed")
    signed(examination(), user)
    send_all()
    peer.refresh_from_db()
    assert peer.unreachable_since is not None and receiver.messages == []
    with receiver:
        Hl7Peer.objects.filter(pk=peer.pk).update(next_try_at=None)
        queue.wake(peer)
        send_all()
        assert [field(each, "OBR", 25) for each in receiver.messages if "ORU" in field(each, "MSH", 9)] == ["F"]
    assert Hl7Message.objects.get(message_code="ORU").state == MessageState.PROCESSED


class _Row:
    """A row as `problems` reads what was written."""

    def __init__(self, row: Hl7Message) -> None:
        self.raw, self.version_id = bytes(row.raw), row.version_id
        self.message_code, self.trigger_event = row.message_code, row.trigger_event


@pytest.mark.django_db
class TestIn:
    @pytest.fixture(autouse=True)
    def peer(self) -> Hl7Peer:
        return make_peer("RIS")

    def take(self, *segments: str, patient: str = "") -> Answer:
        answer = hand_in(message("ORU^R01", patient or pid(), *segments).encode())
        assert answer is not None
        return Answer(answer)

    def version(self) -> ReportVersion:
        return ReportVersion.objects.select_related("report_ref").latest("pk")

    def test_a_report_of_our_order_is_taken_in(self) -> None:
        procedure = examination()
        pdf = base64.b64encode(b"%PDF-1.4 x").decode()
        answer = self.take(
            "ORC|RE|P1|R-77",
            "OBR|1|P1|R-77|CTTHX^CT Thorax^L|||202601250800|||||||||||A1|RP1|||20260125091500+0700||CT|F|||||||"
            "12&Hidayat&Rahmat&&&dr",
            "OBX|1|TX|18785-6^Reason^LN||Batuk||||||F",
            "OBX|2|FT|71020&GDT^Chest||Cor normal.\\.br\\Pulmo \\F\\ normal.~Baris tiga||||||F",
            "OBX|3|TX|^KESAN^L||Normal.||||||F",
            "OBX|4|TX|71020&ADT||Dibandingkan.||||||F",
            f"OBX|5|ED|18748-4^Report^LN||RIS^AP^PDF^Base64^{pdf}||||||F",
        )
        assert answer.code == "AA", answer.text
        found = self.version()
        assert found.report_ref.requested_procedure_ref == procedure
        assert found.sections == {
            "indication": "Batuk",
            "findings": "Cor normal.\nPulmo | normal.\nBaris tiga",
            "impression": "Normal.",
        }
        assert [each["text"] for each in found.addenda] == ["Dibandingkan."]
        assert (found.status, found.author_name, found.written_pdf) == ("final", "Hidayat^Rahmat^^dr", b"%PDF-1.4 x")
        assert (found.report_ref.origin, found.report_ref.external_id) == ("hl7", "R-77")
        assert found.at.isoformat() == "2026-01-25T02:15:00+00:00"
        row = Hl7Message.objects.get()
        assert row.order_ref == procedure.order_ref and row.changed[0]["model"] == "radiology.Report"

    def test_preliminary_final_corrected_wrong_and_nothing_twice(self) -> None:
        examination()
        for status, text, expected in [
            ("P", "satu", "preliminary"), ("F", "satu", "final"), ("F", "satu", "final"), ("C", "dua", "amended"),
            ("F", "tiga", "amended"), ("W", "tiga", "entered-in-error"),
        ]:  # fmt: skip
            assert self.take(f"OBR|1|P1||CTTHX{'|' * 21}{status}", f"OBX|1|TX|^Findings||{text}").code == "AA"
            assert self.version().status == expected
        assert ReportVersion.objects.count() == 5

    @pytest.mark.parametrize(
        ("patient", "segments", "location"),
        [
            (pid("009"), ["OBR|1|P1"], "PID^1^3"),
            (pid(name="LAIN^ORANG", born="19500101"), ["OBR|1|P1"], "PID^1^3"),
            ("", ["OBR|1|P9"], "OBR^1^3"),
            ("", ["OBR|1"], "OBR^1^3"),
            ("", ["NTE|1"], "OBR^1"),
            ("", ["OBR|1|P1", "OBX|1|TX|^Findings||"], "OBX^1^5"),
            ("", ["OBR|1|P1", "OBX|1|ED|X||A^AP^PDF^Base64^%%%"], "OBX^1^5"),
            ("", ["OBR|1|P1", "OBX|1|ED|X||A^AP^PDF^Base64^TVo="], "OBX^1^5"),
            ("", ["OBR|1|P1", "OBX|1|ED|X||A^AP^PDF^Hex^2550"], "OBX^1^5"),
            ("", [f"OBR|1|P1||CTTHX{'|' * 21}Q", "OBX|1|TX|||x"], "OBR^1^25"),
            ("", [f"OBR|1|P1||CTTHX{'|' * 21}W", "OBX|1|TX|||x"], "ORC^1^1"),
        ],
    )
    def test_what_cannot_be_taken_in_is_refused_whole(self, patient: str, segments: list[str], location: str) -> None:
        examination()
        answer = self.take(*segments, patient=patient)
        assert (answer.code, answer.location) == ("AE", location), answer.text
        assert Report.objects.count() == 0 and Patient.objects.count() == 1 and Order.objects.count() == 1

    def test_which_of_several_procedures_is_said_or_asked(self) -> None:
        procedure = examination()
        other = make_requested_procedure(
            procedure.order_ref, requested_procedure_id="RP2", procedure_code_value="CTABD",
            requested_procedure_description="CT Abdomen",
        )  # fmt: skip
        assert self.take("OBR|1|P1||LAIN", "OBX|1|TX|||x").location == "OBR^1^4"
        assert self.take("OBR|1|P1||CTABD", "OBX|1|TX|||x").code == "AA"
        assert self.version().report_ref.requested_procedure_ref == other
        uid = procedure.study_instance_uid
        assert self.take("OBR|1|P1||X", f"OBX|1|ST|113014^DICOM Study^DCM||{uid}", "OBX|2|TX|||y").code == "AA"
        assert self.version().report_ref.requested_procedure_ref == procedure

    def test_two_reports_of_one_message_are_both_taken_or_none(self) -> None:
        procedure = examination()
        make_requested_procedure(procedure.order_ref, procedure_code_value="CTABD", requested_procedure_id="RP2")
        both = ["OBR|1|P1||CTTHX", "OBX|1|TX|||satu", "OBR|2|P1||CTABD", "OBX|1|TX|||dua"]
        assert self.take(*both[:3], "OBX|1|ED|X||A^AP^PDF^Base64^TVo=").code == "AE"
        assert Report.objects.count() == 0
        assert self.take(*both).code == "AA"
        assert sorted(each.sections["findings"] for each in ReportVersion.objects.all()) == ["dua", "satu"]

    def test_a_report_of_our_own_is_not_replaced(self, radiologist: User) -> None:
        report = signed(examination(), radiologist)
        answer = self.take("OBR|1|P1||CTTHX", "OBX|1|TX|||lain")
        assert (answer.code, answer.location) == ("AE", "OBR^1^3")
        report.refresh_from_db()
        assert report.number == 1

    def test_who_sent_a_report_is_told_that_it_was_withdrawn_here(self, radiologist: User, peer: Hl7Peer) -> None:
        examination()
        Hl7Peer.objects.update(destination_host="ris", sends_reports="signed", report_pdf=False)
        assert self.take("OBR|1|P1||CTTHX", "OBX|1|TX|||satu").code == "AA"
        out = Hl7Message.objects.filter(peer=peer, direction=Direction.OUT)
        assert not out.exists()
        withdraw_report(report=self.version().report_ref, version=None, reason="salah", who=radiologist)
        assert field(hl7.parse(bytes(out.get().raw).decode()), "OBR", 25) == "W"

    def test_nothing_reported_yet_changes_nothing(self) -> None:
        examination()
        assert self.take(f"OBR|1|P1||CTTHX{'|' * 21}S").code == "AA"
        assert Report.objects.count() == 0 and "OBR-25 S" in Hl7Message.objects.get().note

    def test_what_dcm4chee_sends_of_its_structured_reports(self) -> None:
        order = make_order(
            make_patient("PID_1", "Smith^Lucy^Mark", patient_birth_date="20141014", patient_sex="F"),
            accession_number="AccessionNumber",
            placer_order_number="PlacerOrderNumberImagingServiceRequest",
        )
        make_requested_procedure(order, requested_procedure_id="RequestedProcID")
        raw = re.sub(rb"\^\^\^ADT1", b"", sample("dcm4che-oru-r01"))
        answer = hand_in(raw)
        assert answer is not None and Answer(answer).code == "AA", answer
        found = self.version()
        assert found.sections["findings"].startswith("The right kidney is slightly enlarged")
        assert found.sections["findings"].count("\n") == 1
        assert found.author_name == "VerifyingObserverFN^VerifyingObserverGN^VerifyingObserverMN^DR^Md"
        assert found.report_ref.external_id == "FillerOrderNumberImagingServiceRequest"
