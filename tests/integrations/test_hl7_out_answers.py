"""What answers to our messages do: errors, rejections, enhanced mode, the placer's number of an order made here."""

import time
from collections.abc import Iterator
from typing import Any

import hl7
import pytest

from integrations.hl7.outgoing import queue, telling
from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Job, JobState, Order
from tests.factories import make_order, make_patient, make_requested_procedure
from tests.integrations.outgoing import IMPATIENT, answering, make_due, names, put, row
from tests.integrations.receiver import Receiver, ack, control_id, field, receiving, send_all

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def impatient(settings: Any) -> None:
    settings.HL7 = {**settings.HL7, **IMPATIENT}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


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
        assert time.monotonic() - started < 6 * IMPATIENT["ANSWER_SECONDS"]
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
