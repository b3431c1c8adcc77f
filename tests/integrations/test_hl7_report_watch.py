"""Two who signed, and reports that are held, as other systems hear of them."""

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from pydicom import dcmread

from integrations.models import Hl7Message
from pacs.services.report_sr import structured_report
from radiology.models import HoldKind, ReportOrigin, ReportStatus, RequestedProcedure, Resident, Role, User
from radiology.services import report_holds
from radiology.services.attached_reports import attach_report
from radiology.services.report_versions import Content
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import make_study, make_user
from tests.integrations.receiver import Receiver, field, receiving, send_all
from tests.integrations.test_hl7_reports import examination, sent, signed


@pytest.fixture
def radiologist(committed_db: None) -> User:
    person = make_user("rahmat", first_name="Rahmat", last_name="Hidayat")
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    return person


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def cosigned(procedure: RequestedProcedure, radiologist: User) -> None:
    resident = make_user("rudi", role=Role.RADIOLOGIST, first_name="Rudi", last_name="Putra")
    Resident.objects.create(user=resident)
    report = write_draft(procedure=procedure, sections={"findings": "Nodul."}, who=resident)
    sign_report(report=report, version=1, who=resident)
    sign_report(report=report, version=2, who=radiologist)


def test_both_signers_stand_in_the_message(radiologist: User, receiver: Receiver) -> None:
    peer = receiving(receiver, sends_reports="all", report_pdf=False, sends_orders=False, sends_order_status=False)
    cosigned(examination(), radiologist)
    preliminary, final = sent(peer)
    assert [field(preliminary, "OBR", number) for number in (25, 32, 33)] == ["P", "&Putra&Rudi", ""]
    assert [field(final, "OBR", number) for number in (25, 32, 33)] == ["F", "&Hidayat&Rahmat", "&Putra&Rudi"]


def test_both_signers_stand_in_the_structured_report(radiologist: User) -> None:
    procedure = examination()
    cosigned(procedure, radiologist)
    version = procedure.reports.get().versions.first()
    assert version is not None
    study = make_study(procedure.order_ref.patient_ref, requested_procedure_ref=procedure)
    made = dcmread(BytesIO(structured_report(version=version, study=study, evidence=[], predecessor=None)))
    assert made.VerifyingObserverSequence[0].VerifyingObserverName == "Hidayat^Rahmat"
    assert made.AuthorObserverSequence[0].PersonName == "Putra^Rudi"
    observers = [each.PersonName for each in made.ContentSequence if each.ValueType == "PNAME"]
    assert observers == ["Putra^Rudi"] and made.VerificationFlag == "VERIFIED"


def test_nothing_of_a_held_report_leaves_until_it_is_released(radiologist: User, receiver: Receiver) -> None:
    peer = receiving(receiver, sends_reports="signed", report_pdf=False, sends_orders=False, sends_order_status=False)
    procedure = examination()
    report = signed(procedure, radiologist)
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    send_all()
    assert receiver.messages == [] and Hl7Message.objects.get(peer=peer).state == "waiting"
    report.refresh_from_db()
    report_holds.release(report=report, version=report.version, reason="Benar", who=radiologist)
    send_all()
    assert len(receiver.messages) == 1


def test_what_waited_of_a_report_that_turned_out_another_patients_never_leaves(
    radiologist: User, receiver: Receiver
) -> None:
    peer = receiving(receiver, sends_reports="signed", report_pdf=False, sends_orders=False, sends_order_status=False)
    procedure = examination()
    report = signed(procedure, radiologist)
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="Salah", who=radiologist)
    send_all()
    assert receiver.messages == []
    message = Hl7Message.objects.get(peer=peer)
    assert message.state == "dead" and "another patient" in message.error


def test_a_version_from_elsewhere_that_came_while_it_was_held_is_told_when_it_is_released(
    radiologist: User, receiver: Receiver
) -> None:
    receiving(receiver, sends_reports="signed", report_pdf=False, sends_orders=False, sends_order_status=False)
    procedure = examination()
    signed_at = timezone.now() - timedelta(hours=1)
    given: dict[str, Any] = {
        "procedure": procedure,
        "status": ReportStatus.FINAL,
        "origin": ReportOrigin.HL7,
        "external_id": "R-1",
    }
    first, _ = attach_report(content=Content({"findings": "Satu."}), at=signed_at, **given)
    report = first.report_ref
    send_all()
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    given["status"] = ReportStatus.AMENDED
    attach_report(content=Content({"findings": "Dua."}), at=signed_at + timedelta(minutes=1), **given)
    send_all()
    assert len(receiver.messages) == 1
    report.refresh_from_db()
    report_holds.release(report=report, version=report.version, reason="Benar", who=radiologist)
    send_all()
    assert "Dua." in str(receiver.messages[-1]) and len(receiver.messages) == 2


def test_a_peer_that_came_after_signing_hears_of_no_withdrawal(radiologist: User, receiver: Receiver) -> None:
    report = signed(examination(), radiologist)
    peer = receiving(receiver, sends_reports="all", report_pdf=False, sends_orders=False, sends_order_status=False)
    withdraw_report(report=report, version=report.version, reason="Salah", who=radiologist)
    assert sent(peer) == []


def test_a_version_that_came_while_a_preliminary_one_was_held_and_is_withdrawn_is_told_to_nobody(
    radiologist: User, receiver: Receiver
) -> None:
    peer = receiving(receiver, sends_reports="signed", report_pdf=False, sends_orders=False, sends_order_status=False)
    procedure = examination()
    given: dict[str, Any] = {"procedure": procedure, "origin": ReportOrigin.HL7, "external_id": "R-1"}
    first, _ = attach_report(content=Content({"findings": "Satu."}), status=ReportStatus.PRELIMINARY, **given)
    report = first.report_ref
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    attach_report(content=Content({"findings": "Dua."}), status=ReportStatus.FINAL, **given)
    report.refresh_from_db()
    assert report.held_at is not None and report.is_signed
    withdraw_report(report=report, version=report.version, reason="Salah", who=radiologist)
    assert sent(peer) == []


def test_a_held_report_that_is_withdrawn_is_told_as_withdrawn(radiologist: User, receiver: Receiver) -> None:
    receiving(receiver, sends_reports="signed", report_pdf=False, sends_orders=False, sends_order_status=False)
    procedure = examination()
    report = signed(procedure, radiologist)
    send_all()
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="Salah", who=radiologist)
    send_all()
    assert len(receiver.messages) == 2
