"""Messages in a peer's queue, and what a receiver answers to them."""

from typing import Any

import hl7
from django.utils import timezone

from integrations.hl7.outgoing import patients, queue
from integrations.models import Hl7Message, Hl7Peer
from radiology.models import Job, JobState, Patient
from tests.integrations.receiver import Receiver, ack, field

# So that no test waits for what does not come.
IMPATIENT = {"CONNECT_SECONDS": 2.0, "ANSWER_SECONDS": 0.5}


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
