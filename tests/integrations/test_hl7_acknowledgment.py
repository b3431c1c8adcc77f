"""AA, AE, AR, and messages that come again."""

from datetime import timedelta

import pytest
from django.utils import timezone

from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Patient, PatientVersion
from tests.integrations.mllp_client import MllpClient, last_message, make_peer, message, pid


def test_what_was_done_is_accepted(mllp: MllpClient, peer: Hl7Peer) -> None:
    answer = mllp.ask(message("ADT^A08^ADT_A01", pid("N1"), own_id="ABC-17"))
    assert (answer.code, answer.control_id) == ("AA", "ABC-17")
    assert not [each for each in answer.segments if each[0] == "ERR"]
    kept = last_message()
    assert (kept.message_code, kept.trigger_event, kept.version_id, kept.message_control_id) == (
        "ADT",
        "A08",
        "2.5",
        "ABC-17",
    )
    assert (kept.peer, kept.patient_ref) == (peer, Patient.objects.get(patient_id="N1"))
    assert kept.changed == [{"model": "radiology.Patient", "id": kept.patient_ref_id, "did": "created"}]
    peer.refresh_from_db()
    assert peer.last_message_at and peer.last_failure_at is None


@pytest.mark.parametrize(
    ("raw", "code", "location"),
    [
        (message("BAR^P01", pid("N1")), "200", "MSH^1^9"),
        (message("ZZZ^Z01", pid("N1")), "200", "MSH^1^9"),
        (message("", pid("N1")), "200", "MSH^1^9"),
        (message("ADT^A99", pid("N1")), "201", "MSH^1^9"),
        (message("ADT^A29", pid("N1")), "201", "MSH^1^9"),
        (message("ADT^A60", pid("N1")), "201", "MSH^1^9"),
        (message("ADT^A08", pid("N1"), version="3.0"), "203", "MSH^1^12"),
        (message("ADT^A08", pid("N1"), version=""), "203", "MSH^1^12"),
        (message("ADT^A08", pid("N1"), processing="T"), "202", "MSH^1^11"),
        (message("ADT^A08", pid("N1"), processing="D"), "202", "MSH^1^11"),
    ],
    ids=["BAR", "ZZZ", "no type", "A99", "A29", "A60", "version 3.0", "no version", "test", "debugging"],
)
def test_what_is_not_understood_is_rejected(mllp: MllpClient, raw: str, code: str, location: str) -> None:
    answer = mllp.ask(raw)
    assert answer.code == "AR"
    assert answer.segment("ERR")[3].startswith(f"{code}^")
    assert answer.location.startswith(location)
    assert last_message().state == MessageState.REJECTED
    assert not Patient.objects.exists()


def test_a_message_without_control_id_is_rejected(mllp: MllpClient) -> None:
    answer = mllp.ask("MSH|^~\\&|SIMRS|RSUD|||2026||ADT^A08||P|2.5\rPID|1||N1||A^B\r")
    assert (answer.code, answer.location) == ("AR", "MSH^1^10")


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8"])
def test_every_version_from_2_3_to_2_8_is_accepted(mllp: MllpClient, version: str) -> None:
    answer = mllp.ask(message("ADT^A08", pid("N1"), version=version))
    assert answer.code == "AA"
    assert answer.segment("MSH")[11] == "2.5.1"


@pytest.mark.parametrize(
    ("segment", "location", "code"),
    [
        ("EVN|A08", "PID^1", "100"),
        (pid(""), "PID^1^3", "102"),
        (pid("N1", ""), "PID^1^5", "102"),
        (pid("N1", "X" * 70), "PID^1^5", "102"),
        (pid("N1", born="20991231"), "PID^1^7", "102"),
        (pid("N1", born="yesterday"), "PID^1^7", "102"),
        (pid("N1", sex="?"), "PID^1^8", "102"),
        (pid("N" * 65), "PID^1^3", "102"),
        (pid("../../etc/passwd\\X00\\"), "PID^1^3", "102"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_its_field(
    mllp: MllpClient, segment: str, location: str, code: str, peer: Hl7Peer
) -> None:
    answer = mllp.ask(message("ADT^A08", segment))
    assert answer.code == "AE"
    assert (answer.location, answer.segment("ERR")[3].partition("^")[0]) == (location, code)
    assert last_message().state == MessageState.FAILED
    assert last_message().error == answer.error.replace("\\T\\", "&") or "\\" in answer.error
    assert not Patient.objects.exists()
    peer.refresh_from_db()
    assert peer.last_failure_at


def test_a_sender_that_is_not_entered_is_rejected(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(sending_application="SIMRS", sending_facility="RSUD")
    answer = mllp.ask(message("ADT^A08", pid("N1"), application="OTHER"))
    assert (answer.code, answer.location) == ("AR", "MSH^1^3")
    assert last_message().peer is None
    assert mllp.ask(message("ADT^A08", pid("N1"))).code == "AA"


def test_the_peer_that_is_named_most_closely_is_meant(mllp: MllpClient, peer: Hl7Peer) -> None:
    named = make_peer("Lab", sending_application="LIS", sending_facility="RSUD")
    mllp.ask(message("ADT^A08", pid("N1"), application="LIS"))
    assert last_message().peer == named
    mllp.ask(message("ADT^A08", pid("N1"), application="HIS"))
    assert last_message().peer == peer


def test_the_same_message_again_is_answered_the_same_and_done_once(mllp: MllpClient) -> None:
    raw = message("ADT^A08", pid("N1"), own_id="M1")
    first = mllp.ask(raw)
    mllp.ask(message("ADT^A08", pid("N1", "NEWER^NAME"), own_id="M2"))
    assert mllp.ask(raw).raw == first.raw
    assert Patient.objects.get().patient_name == "NEWER^NAME"
    assert PatientVersion.objects.count() == 2
    one, _other, again = Hl7Message.objects.order_by("pk")
    assert (again.state, again.duplicate_of, again.reuses_control_id) == (MessageState.DUPLICATE, one, False)
    assert again.patient_ref == one.patient_ref
    assert mllp.ask(raw).raw == first.raw
    assert last_message().duplicate_of == one


def test_the_same_id_with_other_content_is_processed_and_flagged(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A08", pid("N1"), own_id="1"))
    answer = mllp.ask(message("ADT^A08", pid("N1", "NEWER^NAME"), own_id="1"))
    assert answer.code == "AA"
    assert Patient.objects.get().patient_name == "NEWER^NAME"
    assert last_message().reuses_control_id and last_message().state == MessageState.PROCESSED


def test_the_same_id_from_another_sender_is_another_message(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A08", pid("N1"), own_id="1", application="A"))
    mllp.ask(message("ADT^A08", pid("N1"), own_id="1", application="B"))
    assert [each.state for each in Hl7Message.objects.all()] == [MessageState.PROCESSED] * 2
    assert not last_message().reuses_control_id


def test_after_thirty_days_it_is_a_new_message(mllp: MllpClient) -> None:
    raw = message("ADT^A08", pid("N1"), own_id="M1")
    mllp.ask(raw)
    Hl7Message.objects.update(received_at=timezone.now() - timedelta(days=31))
    mllp.ask(message("ADT^A08", pid("N1", "NEWER^NAME"), own_id="M2"))
    mllp.ask(raw)
    assert last_message().state == MessageState.PROCESSED
    assert Patient.objects.get().patient_name == "WIBOWO^BUDI"


def test_a_message_that_failed_is_tried_again_when_it_comes_again(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(unknown_patient="hold")
    raw = message("ADT^A08", pid("N1"), own_id="M1")
    refused = mllp.ask(raw)
    assert (refused.code, refused.segment("ERR")[3].partition("^")[0]) == ("AE", "204")
    assert not Patient.objects.exists()
    Hl7Peer.objects.update(unknown_patient="create")
    assert mllp.ask(raw).code == "AA"
    assert Patient.objects.get().patient_id == "N1"
    first, again = Hl7Message.objects.order_by("pk")
    assert (first.state, first.attempts) == (MessageState.PROCESSED, 2)
    assert (again.state, again.acknowledgment_code) == (MessageState.DUPLICATE, "AA")


def test_a_message_that_was_rejected_is_judged_anew(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(sending_application="OTHER")
    raw = message("ADT^A08", pid("N1"), own_id="M1")
    assert mllp.ask(raw).code == "AR"
    Hl7Peer.objects.update(sending_application="SIMRS")
    assert mllp.ask(raw).code == "AA"


@pytest.mark.parametrize("event", ["A09", "A14", "A20", "A25", "A54"])
def test_events_about_what_is_not_kept_here_are_accepted_and_say_so(mllp: MllpClient, event: str) -> None:
    assert mllp.ask(message(f"ADT^{event}", pid("N1"), "PV1|1|I|W^1^2")).code == "AA"
    assert last_message().state == MessageState.PROCESSED
    assert "Nothing was changed" in last_message().note
    assert last_message().changed == []
    assert not Patient.objects.exists()
