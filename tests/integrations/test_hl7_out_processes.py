"""Sending by real processes: killed between sending and writing down, at once with those who add, and to the end: an
order of our desk with the hospital's number on the modality's worklist (IHE RAD-3, RAD-5)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import hl7
import pytest
from django.db import connections
from django.utils import timezone

from integrations.hl7.outgoing import patients, queue
from integrations.models import Hl7Message, MessageState
from radiology.models import Job, JobState, Order
from radiology.services.jobs import run_due
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import place_order
from tests.daemons import Daemon, wait_until
from tests.factories import default_site, make_device, make_node, make_patient
from tests.integrations.receiver import Receiver, ack, control_id, field, receiving, send_all
from tests.worklist.worklist_client import findscu

RUN_DUE = """
import django
django.setup()
from radiology.services.jobs import run_due
run_due()
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def runner() -> Daemon:
    """A process that runs what is due, and ends."""
    return Daemon("runner", ["-c", RUN_DUE])


def test_killed_after_sending_and_before_writing_down_it_is_sent_again_the_same(
    committed_db: None, start: Callable[[Daemon], Daemon], receiver: Receiver
) -> None:
    peer = receiving(receiver)
    rows = [
        queue.put(peer, patients.registered(peer, patient), patient=patient)
        for patient in (make_patient("1"), make_patient("2"))
    ]
    victims: list[Daemon] = []

    def kill(message: hl7.Message) -> list[str] | None:
        victims[0].kill()
        return None

    receiver.answers = kill
    victims.append(runner())
    start(victims[0])
    wait_until(lambda: victims[0].process.poll() is not None, seconds=30, what="the kill")
    assert Job.objects.get().state == JobState.RUNNING
    assert set(Hl7Message.objects.values_list("state", flat=True)) == {MessageState.WAITING}
    receiver.answers = lambda message: [ack(message)]
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    send_all()
    first, again, other = receiver.messages
    assert str(first) == str(again) and control_id(first) == rows[0].message_control_id
    assert control_id(other) == rows[1].message_control_id
    assert set(Hl7Message.objects.values_list("state", flat=True)) == {MessageState.PROCESSED}


def test_added_from_many_sides_while_it_is_sent_nothing_is_forgotten(committed_db: None, receiver: Receiver) -> None:
    peer = receiving(receiver)
    everybody = [make_patient(str(number)) for number in range(4)]

    def add(number: int) -> None:
        try:
            for patient in everybody:
                queue.put(peer, patients.registered(peer, patient), patient=patient)
        finally:
            connections.close_all()

    def run(number: int) -> None:
        try:
            for _ in range(10):
                run_due()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        added = [pool.submit(add, number) for number in range(10)]
        running = [pool.submit(run, number) for number in range(3)]
        for future in (*added, *running):
            future.result()
    send_all()
    assert not Hl7Message.objects.queued().exists()
    ids = [control_id(each) for each in receiver.messages]
    assert len(ids) == len(set(ids)) == 40
    assert not Job.objects.exclude(state=JobState.DONE).exists()


def test_the_hospitals_number_of_an_order_of_the_desk_is_on_the_worklist(
    committed_db: None, receiver: Receiver, dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path
) -> None:
    make_device("CT1")
    make_node("CT1")
    receiving(receiver)
    receiver.answers = lambda message: [ack(message, "AA", f"ORC|NA|P-4711^SIMRS|{field(message, 'ORC', 3)}")]
    order = place_order(
        site=default_site(),
        patient=make_patient("001234"),
        procedures=[ProcedureRequest(code="CTTHX", description="CT Thorax", modality="CT")],
        values={"requested_start": (timezone.now() + timedelta(hours=1)).isoformat()},
        accept_warnings=True,
        asks_safety=False,
    )
    send_all()
    assert Order.objects.get().placer_order_number == "P-4711"
    keys = (f"AccessionNumber={order.accession_number}", "PlacerOrderNumberImagingServiceRequest")
    (entry,) = findscu(tool("findscu"), dimse_server.port, tmp_path, *keys)
    assert entry.PlacerOrderNumberImagingServiceRequest == "P-4711"
