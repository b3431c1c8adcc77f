"""How messages get there: in order, once if it can be helped, whatever the other side does. Against python-hl7's MLLP
server."""

import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hl7
import pytest
from django.db.models import F
from django.utils import timezone

from integrations.hl7 import inbox
from integrations.hl7.outgoing import patients, queue, telling
from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Job, JobState, Order, Patient
from radiology.services.jobs import claim, run, run_due
from tests.factories import default_site, make_order, make_patient, make_requested_procedure
from tests.integrations.mllp_client import make_peer
from tests.integrations.receiver import Receiver, ack, control_id, field, receiving, send_all
from tests.pacs.test_node_command import certificate

pytestmark = pytest.mark.django_db
ADDED = {"CONNECT_SECONDS": 2.0, "ANSWER_SECONDS": 0.5}


@pytest.fixture(autouse=True)
def impatient(settings: Any) -> None:
    settings.HL7 = {**settings.HL7, **ADDED}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def put(peer: Hl7Peer, *who: Patient, name: str = "") -> Hl7Message:
    """A message about the first of them, and also about the others."""
    patient, *also = who
    if name:
        patient.patient_name = name
    return queue.put(peer, patients.registered(peer, patient), patient=patient, also=also)


def names(receiver: Receiver) -> list[str]:
    return [field(each, "PID", 5).partition("^")[0] for each in receiver.messages]


def row(message: Hl7Message) -> Hl7Message:
    message.refresh_from_db()
    return message


def make_due() -> None:
    """Let the time pass until whatever waits is due."""
    Hl7Message.objects.queued().update(due_at=None)
    Hl7Peer.objects.update(next_try_at=None)
    Job.objects.filter(state=JobState.PENDING).update(next_attempt_at=timezone.now())


def answering(*codes: str, **by_name: str) -> Any:
    """Answer with these codes, one after the other and the last for ever; or by the patient's name."""
    left = list(codes or ["AA"])

    def answer(message: hl7.Message) -> list[str]:
        name = field(message, "PID", 5).partition("^")[0]
        code = by_name.get(name) or (left.pop(0) if len(left) > 1 else left[0])
        return [ack(message, code, text="" if code in {"AA", "CA"} else "Tidak bisa")]

    return answer


class TestSent:
    def test_what_waits_is_sent_and_its_answer_kept(self, receiver: Receiver) -> None:
        message = put(receiving(receiver), make_patient("1"))
        assert message.state == MessageState.WAITING
        send_all()
        assert row(message).state == MessageState.PROCESSED
        assert (message.acknowledgment_code, message.attempts, message.error) == ("AA", 1, "")
        assert b"MSA|AA|" + message.message_control_id.encode() in bytes(message.acknowledgment)
        assert str(receiver.messages[0]).encode() == bytes(message.raw)
        peer = Hl7Peer.objects.get()
        assert peer.last_sent_at is not None and peer.unreachable_since is None
        assert not Job.objects.exclude(state=JobState.DONE).exists()

    def test_many_leave_in_order_over_one_connection(self, receiver: Receiver) -> None:
        peer, patient = receiving(receiver), make_patient("1")
        for number in range(30):
            put(peer, patient, name=f"N{number}")
        send_all()
        assert names(receiver) == [f"N{number}" for number in range(30)]
        assert receiver.connections == 1
        assert Job.objects.count() == 1

    def test_a_peer_that_closes_after_each_answer_gets_each_once(self, receiver: Receiver) -> None:
        connections: list[int] = []

        def answer(message: hl7.Message) -> list[str] | None:
            connections.append(receiver.connections)
            return [ack(message)]

        receiver.answers = answer
        receiver.closes = True
        peer = receiving(receiver)
        rows = [put(peer, make_patient(str(number))) for number in range(5)]
        send_all()
        assert {row(each).state for each in rows} == {MessageState.PROCESSED}
        assert connections == [1, 2, 3, 4, 5] and len(receiver.messages) == 5

    def test_encrypted_and_both_sides_shown(self, tmp_path: Path, settings: Any) -> None:
        pem = certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(pem)
        with Receiver(tls=context) as receiver:
            message = put(receiving(receiver, destination_tls=True), make_patient("1"))
            send_all()
            assert "not trusted" in Hl7Peer.objects.get().destination_error
            assert row(message).state == MessageState.WAITING and receiver.messages == []
            own = {"SENDER_TLS_CA": str(pem), "SENDER_TLS_CERTIFICATE": str(pem)}
            settings.HL7 = {**settings.HL7, **own}
            make_due()
            send_all()
            assert row(message).state == MessageState.PROCESSED and len(receiver.messages) == 1

    def test_a_peer_without_tls_is_not_sent_anything_in_clear(self, receiver: Receiver) -> None:
        message = put(receiving(receiver, destination_tls=True), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.WAITING and receiver.messages == []


class TestUnreachable:
    def test_down_at_first_then_up(self) -> None:
        receiver = Receiver()
        peer = receiving(receiver)
        message = put(peer, make_patient("1"))
        pauses = []
        for _ in range(4):
            send_all()
            peer.refresh_from_db()
            assert peer.next_try_at is not None
            pauses.append((peer.next_try_at - timezone.now()).total_seconds())
            make_due()
        assert [round(each) for each in pauses] == pytest.approx([5, 10, 20, 40], abs=2)
        assert row(message).state == MessageState.WAITING and message.attempts == 0
        assert "does not answer at 127.0.0.1" in peer.destination_error and peer.unreachable_since is not None
        with receiver:
            send_all()
        assert row(message).state == MessageState.PROCESSED
        peer.refresh_from_db()
        assert (peer.failures, peer.destination_error) == (0, "") and peer.unreachable_since is None

    def test_while_it_is_down_nobody_tries_and_no_attempt_is_counted(self) -> None:
        peer = receiving(Receiver())
        put(peer, make_patient("1"))
        send_all()
        job = Job.objects.get()
        assert (job.state, job.attempts) == (JobState.PENDING, 0)
        assert "does not answer" in job.error
        for number in range(20):
            put(peer, make_patient(f"N{number}"))
            assert run_due() == 0
        assert Job.objects.count() == 1
        Job.objects.update(next_attempt_at=timezone.now())
        started = time.monotonic()
        assert run_due(limit=1) == 1
        assert time.monotonic() - started < 1 and Job.objects.get().state == JobState.PENDING

    def test_another_peer_is_not_delayed(self, receiver: Receiver) -> None:
        dead, alive = receiving(Receiver(), "Dead"), receiving(receiver, "Alive")
        for number in range(10):
            patient = make_patient(str(number))
            put(dead, patient)
            put(alive, patient)
        started = time.monotonic()
        send_all()
        assert time.monotonic() - started < 5
        assert len(receiver.messages) == 10
        assert Hl7Message.objects.queued().filter(peer=dead).count() == 10

    def test_an_answer_that_does_not_come_holds_up_its_patient_and_no_other(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [] if names(receiver)[-1] == "MUTE" else [ack(message)]
        peer, one, two = receiving(receiver), make_patient("1"), make_patient("2")
        mute, after, other = put(peer, one, name="MUTE"), put(peer, one, name="AFTER"), put(peer, two, name="OTHER")
        send_all()
        assert row(mute).state == MessageState.FAILED and "gave no answer" in mute.error
        Hl7Peer.objects.update(next_try_at=None)
        Job.objects.update(next_attempt_at=timezone.now())
        send_all()
        assert (row(other).state, row(after).state) == (MessageState.PROCESSED, MessageState.WAITING)
        receiver.answers = lambda message: [ack(message)]
        make_due()
        send_all()
        assert names(receiver) == ["MUTE", "OTHER", "MUTE", "AFTER"]
        ids = [control_id(each) for each in receiver.messages]
        assert ids[0] == ids[2] and receiver.texts[0] == receiver.texts[2]
        assert row(mute).state == row(after).state == MessageState.PROCESSED

    def test_a_message_on_which_only_it_falls_silent_is_given_up_in_the_end(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: None if names(receiver)[-1] == "POISON" else [ack(message)]
        peer = receiving(receiver)
        poison = put(peer, make_patient("1"), name="POISON")
        Hl7Message.objects.update(attempts=queue.MOST_SILENT, due_at=timezone.now() - timedelta(seconds=1))
        Hl7Peer.objects.update(last_sent_at=None)
        send_all()
        assert row(poison).state == MessageState.FAILED  # nobody else was answered either
        make_due()
        Hl7Message.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        Hl7Peer.objects.update(last_sent_at=timezone.now())
        send_all()
        assert row(poison).state == MessageState.DEAD and "closed the connection" in poison.error

    def test_ten_thousand_that_waited_a_day_drain_in_order(self, receiver: Receiver) -> None:
        """At a twentieth of the size: 500 messages of 100 patients, behind a peer that was down."""
        peer = receiving(receiver)
        everybody = [make_patient(str(number)) for number in range(100)]
        for turn in range(5):
            for patient in everybody:
                put(peer, patient, name=f"{patient.patient_id}T{turn}")
        Hl7Message.objects.update(received_at=F("received_at") - timedelta(days=1))
        assert Job.objects.count() == 1
        send_all()
        by_patient: dict[str, list[str]] = {}
        for name in names(receiver):
            number, _, nth = name.partition("T")
            by_patient.setdefault(number, []).append(nth)
        assert by_patient == {each.patient_id: ["0", "1", "2", "3", "4"] for each in everybody}
        assert not Hl7Message.objects.queued().exists()

    def test_a_long_queue_lets_others_have_their_turn(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "TURN_SECONDS", 0.0)
        peer = receiving(receiver)
        put(peer, make_patient("1"))
        job = claim()
        assert job is not None
        run(job=job)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.PENDING, 0)
        monkeypatch.undo()
        send_all()
        assert len(receiver.messages) == 1


class TestRefused:
    def test_an_error_is_tried_again_and_then_given_up(self, receiver: Receiver) -> None:
        receiver.answers = answering("AE")
        peer, patient = receiving(receiver), make_patient("1")
        message = put(peer, patient)
        for attempt in range(1, 5):
            assert row(message).state in {MessageState.WAITING, MessageState.FAILED}
            send_all()
            assert row(message).attempts == attempt
            if attempt < 4:
                assert message.due_at is not None
                pending = Job.objects.get(state=JobState.PENDING)
                assert pending.next_attempt_at == message.due_at
            make_due()
        assert message.state == MessageState.DEAD
        assert message.error == "It answered AE: Tidak bisa" and message.acknowledgment_code == "AE"
        send_all()
        assert len(receiver.messages) == 4 and len({control_id(each) for each in receiver.messages}) == 1

    @pytest.mark.parametrize("code", ["AR", "CR"])
    def test_what_is_rejected_is_given_up_at_once(self, receiver: Receiver, code: str) -> None:
        receiver.answers = answering(code)
        message = put(receiving(receiver), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.DEAD and "Tidak bisa" in message.error

    def test_a_rejection_that_passes_is_tried_again(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [ack(message, "AR", "ERR||PID^1^3|207^Application internal error|E||||Aduh")]
        message = put(receiving(receiver), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.FAILED and message.error == "It answered AR: PID-3: Aduh"

    def test_an_error_holds_up_its_patient_and_what_was_given_up_nobody(self, receiver: Receiver) -> None:
        receiver.answers = answering(BAD="AE")
        peer, one, two = receiving(receiver), make_patient("1"), make_patient("2")
        bad, after, other = put(peer, one, name="BAD"), put(peer, one, name="AFTER"), put(peer, two, name="OTHER")
        send_all()
        assert names(receiver) == ["BAD", "OTHER"]
        assert [row(each).state for each in (bad, after, other)] == ["failed", "waiting", "processed"]
        newer = put(peer, two, name="NEWER")
        send_all()
        assert row(newer).state == MessageState.PROCESSED and row(after).state == MessageState.WAITING
        for _ in range(3):
            make_due()
            send_all()
        assert [row(each).state for each in (bad, after)] == [MessageState.DEAD, MessageState.PROCESSED]
        assert names(receiver)[-2:] == ["BAD", "AFTER"]

    def test_a_merge_waits_for_both_and_both_wait_for_it(self, receiver: Receiver) -> None:
        receiver.answers = answering(BAD="AE")
        peer, kept, gone, other = receiving(receiver), make_patient("1"), make_patient("2"), make_patient("3")
        put(peer, gone, name="BAD")
        put(peer, kept, gone, name="MERGE")
        put(peer, kept, name="AFTER")
        put(peer, other, name="OTHER")
        send_all()
        assert names(receiver) == ["BAD", "OTHER"]
        receiver.answers = answering("AA")
        make_due()
        send_all()
        assert names(receiver) == ["BAD", "OTHER", "BAD", "MERGE", "AFTER"]

    def test_sent_again_by_a_person_or_given_up(self, receiver: Receiver) -> None:
        receiver.answers = answering("AR", "AE", "AA")
        peer = receiving(receiver)
        dead, failed, sent = (put(peer, make_patient(str(number))) for number in range(3))
        send_all()
        assert [row(each).state for each in (dead, failed, sent)] == ["dead", "failed", "processed"]
        assert queue.give_up([failed, sent, dead]) == 1
        assert row(failed).state == MessageState.DEAD and row(sent).state == MessageState.PROCESSED
        assert queue.send_again([dead, failed, sent]) == 2
        send_all()
        assert [row(each).state for each in (dead, failed)] == ["processed", "processed"]
        assert len(receiver.messages) == 5 and receiver.texts[0] == receiver.texts[3]


class TestEnhancedMode:
    def peer(self, receiver: Receiver, **fields: Any) -> Hl7Peer:
        return receiving(receiver, **{"expected_answer": "application", **fields})

    def test_received_and_then_accepted(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [ack(message, "CA"), ack(message, "AA")]
        message = put(self.peer(receiver), make_patient("1"))
        send_all()
        assert field(receiver.messages[0], "MSH", 15) == field(receiver.messages[0], "MSH", 16) == "AL"
        assert (row(message).state, message.acknowledgment_code, message.note) == ("processed", "AA", "")

    def test_received_and_then_an_error_is_not_sent_again(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [ack(message, "CA"), ack(message, "AE", text="Aduh")]
        message = put(self.peer(receiver), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.DEAD and "Aduh" in message.error
        assert len(receiver.messages) == 1

    def test_not_received_is_tried_again(self, receiver: Receiver) -> None:
        receiver.answers = answering("CE")
        message = put(self.peer(receiver), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.FAILED and message.acknowledgment_code == "CE"

    def test_only_received_is_done_and_said_so(self, receiver: Receiver) -> None:
        receiver.answers = answering("CA")
        peer = self.peer(receiver)
        rows = [put(peer, make_patient(str(number))) for number in range(6)]
        started = time.monotonic()
        send_all()
        assert time.monotonic() - started < 6 * ADDED["ANSWER_SECONDS"]
        assert {row(each).state for each in rows} == {MessageState.PROCESSED}
        assert rows[0].acknowledgment_code == "CA" and "has not said" in rows[0].note

    def test_an_answer_that_comes_late_is_written_to_its_message(self, receiver: Receiver) -> None:
        late: list[str] = []

        def answer(message: hl7.Message) -> list[str]:
            said = [*late, ack(message, "CA")]
            late[:] = [ack(message, "AE" if names(receiver)[-1] == "BAD" else "AA", text="Aduh")]
            return said

        receiver.answers = answer
        peer = self.peer(receiver)
        good, bad, last = (
            put(peer, make_patient(name), name=name) for name in ("GOOD", "BAD", "LAST")
        )  # fmt: skip
        send_all()
        assert (row(good).state, good.acknowledgment_code, good.note) == ("processed", "AA", "")
        assert (row(bad).state, bad.acknowledgment_code) == ("dead", "AE") and "Aduh" in bad.error
        assert (row(last).state, last.acknowledgment_code) == ("processed", "CA")

    def test_receipt_only(self, receiver: Receiver) -> None:
        receiver.answers = answering("CA")
        message = put(self.peer(receiver, expected_answer="commit"), make_patient("1"))
        send_all()
        assert field(receiver.messages[0], "MSH", 16) == "NE"
        assert (row(message).state, message.note) == (MessageState.PROCESSED, "")

    def test_no_answer_is_too_hostile_to_be_kept(self, receiver: Receiver) -> None:
        rude = "\\X00\\\\X0B\\<script>" + "x" * 5000
        receiver.answers = lambda message: [
            ack(message).replace(control_id(message), "\\X00\\"),
            "MSH|^~\\&\rMSA",
            ack(message, "AR", f"ERR||{rude}|{rude}|E||||{rude}", f"ORC|NA|{rude}|"),
        ]
        message = put(receiving(receiver), make_patient("2"))
        send_all()
        assert row(message).state == MessageState.DEAD
        assert "<script>" in message.error and len(message.error) < 700
        receiver.answers = lambda message: [ack(message, "AA", f"ORC|NA|{rude}|")]
        order = TestPlacersNumber().order(receiving(receiver, "Other"))
        send_all()
        order.refresh_from_db()
        assert order.placer_order_number == ""
        assert "64 characters" in Hl7Message.objects.get(order_ref=order, peer__name="Other").note

    def test_answers_to_other_messages_and_what_is_none_are_passed_over(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [
            ack(message).replace(control_id(message), "OTHER"),
            "nonsense",
            ack(message, "ZZ"),
            ack(message),
        ]
        message = put(receiving(receiver), make_patient("1"))
        send_all()
        assert row(message).state == MessageState.PROCESSED


class TestPlacersNumber:
    def order(self, peer: Hl7Peer) -> Order:
        order = make_order(make_patient("1"), accession_number="ACC1")
        make_requested_procedure(order)
        orders = Order.objects.filter(pk=order.pk)
        telling.tell_order(orders=orders, site_id=order.site_id, who=None, is_placed=True)
        return order

    @pytest.mark.parametrize("orc", ["ORC|NA|P-9^SIMRS|ACC1^SINAR", "ORC|OK|P-9", "PID|1||1\rORC|NA|P-9|ACC1\rOBR|1"])
    def test_the_answer_brings_it(self, receiver: Receiver, orc: str) -> None:
        receiver.answers = lambda message: [ack(message, "AA", orc).replace("|ACK|", "|ORR^O02|")]
        order = self.order(receiving(receiver))
        send_all()
        order.refresh_from_db()
        assert order.placer_order_number == "P-9"
        assert not Hl7Message.objects.queued().exists()

    def test_that_of_another_order_is_not_taken_and_a_second_one_noted(self, receiver: Receiver) -> None:
        receiver.answers = lambda message: [ack(message, "AA", "ORC|NA|P-9|OTHER")]
        order = self.order(receiving(receiver))
        send_all()
        order.refresh_from_db()
        assert order.placer_order_number == ""
        Order.objects.update(placer_order_number="P-1")
        receiver.answers = lambda message: [ack(message, "AA", "ORC|NA|P-9|ACC1")]
        Hl7Message.objects.update(state=MessageState.DEAD)
        queue.send_again(list(Hl7Message.objects.all()))
        send_all()
        sent = Hl7Message.objects.get()
        assert sent.state == MessageState.PROCESSED and "P-1" in sent.note


def test_a_peer_that_receives_no_longer_keeps_its_queue(receiver: Receiver) -> None:
    peer = receiving(receiver)
    message = put(peer, make_patient("1"))
    Hl7Peer.objects.update(is_active=False)
    send_all()
    assert row(message).state == MessageState.WAITING and receiver.messages == []
    Hl7Peer.objects.update(is_active=True)
    queue.try_now(peer)
    send_all()
    assert row(message).state == MessageState.PROCESSED


def test_a_queue_whose_job_is_gone_is_found(receiver: Receiver) -> None:
    message = put(receiving(receiver), make_patient("1"))
    Job.objects.all().delete()
    queue.wake_all(Job(kind="hl7.wake"))
    send_all()
    assert row(message).state == MessageState.PROCESSED


def test_our_own_messages_are_no_earlier_ones_of_somebody_elses(receiver: Receiver) -> None:
    sent = put(receiving(receiver), make_patient("1"))
    make_peer("Loop", sending_application=sent.sending_application)
    inbox.take_in(raw=bytes(sent.raw), address="127.0.0.1")
    came = Hl7Message.objects.exclude(pk=sent.pk).get()
    assert came.state == MessageState.PROCESSED and came.duplicate_of is None
    assert default_site().pk == came.site_id
