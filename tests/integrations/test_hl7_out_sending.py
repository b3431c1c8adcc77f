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

from integrations.hl7.outgoing import queue
from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Job, JobState
from radiology.services.jobs import claim, run, run_due
from tests.factories import default_site, make_patient
from tests.integrations.mllp_client import hand_in, make_peer
from tests.integrations.outgoing import IMPATIENT, make_due, names, put, row
from tests.integrations.receiver import Receiver, ack, control_id, receiving, send_all
from tests.pacs.test_node_command import certificate

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def impatient(settings: Any) -> None:
    settings.HL7 = {**settings.HL7, **IMPATIENT}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


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
    hand_in(bytes(sent.raw))
    came = Hl7Message.objects.exclude(pk=sent.pk).get()
    assert came.state == MessageState.PROCESSED and came.duplicate_of is None
    assert default_site().pk == came.site_id
