"""What was acknowledged is there, once and identical, whatever is killed; and a stop finishes what is in hand."""

import os
import random
import signal
import socket
import threading
import time
from functools import partial

import pytest
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import build_context

from pacs.models import Instance, Location, Series, Study
from radiology.models import Patient
from tests.daemons import Daemon, accepts, dimse_daemon, wait_until
from tests.flows.raw_dicom import STORE, Peer, fragments, store_request
from tests.pacs.dimse_client import Sent, get, of_data_set, store
from tests.pacs.objects import ct

IMAGES, ASSOCIATIONS, KILLS = 500, 5, 8


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


class Sender(threading.Thread):
    """Sends its objects one by one, begins anew when the line is cut, and writes down what was acknowledged."""

    def __init__(self, port: int, objects: list[Sent]) -> None:
        super().__init__()
        self.port = port
        self.waiting = objects
        self.ledger: list[Sent] = []
        self.cuts = 0

    def run(self) -> None:
        until = time.monotonic() + 120
        while self.waiting and time.monotonic() < until:
            try:
                with Peer(self.port) as peer:
                    peer.associate()
                    while self.waiting:
                        sent = self.waiting[0]
                        peer.sock.sendall(store_request(sent.sop_instance_uid) + fragments(STORE, sent.data))
                        assert peer.receive_command()["Status"] == 0
                        self.ledger.append(self.waiting.pop(0))
            except (OSError, ConnectionError):
                self.cuts += 1
                time.sleep(0.05)


def has_sent(senders: list[Sender], number: int) -> bool:
    return sum(len(sender.ledger) for sender in senders) >= number


def test_every_acknowledged_image_survives_kill_9_of_workers_once_and_identical(start):
    daemon = start(dimse_daemon())
    study = generate_uid()
    series = [generate_uid() for _ in range(ASSOCIATIONS)]
    objects = [
        of_data_set(
            ct(side=96, seed=n, StudyInstanceUID=study, SeriesInstanceUID=series[n % ASSOCIATIONS], InstanceNumber=n)
        )
        for n in range(IMAGES)
    ]
    senders = [Sender(daemon.port, objects[n::ASSOCIATIONS]) for n in range(ASSOCIATIONS)]
    for sender in senders:
        sender.start()
    chance = random.Random(7)
    for number in range(1, KILLS + 1):
        # Spread over the whole store, whatever its speed.
        due = number * IMAGES // (KILLS + 2)
        wait_until(partial(has_sent, senders, due), seconds=90)
        wait_until(lambda: daemon.pids, seconds=30)
        os.kill(chance.choice([*daemon.pids, *daemon.helpers]), signal.SIGKILL)
    for sender in senders:
        sender.join()
    wait_until(lambda: Instance.objects.count() >= IMAGES, what="what was acknowledged is filed")
    acknowledged = [sent for sender in senders for sent in sender.ledger]
    assert len(acknowledged) == IMAGES
    assert sum(sender.cuts for sender in senders) >= KILLS / 2, "the kills hit nobody"

    uids = list(Instance.objects.values_list("sop_instance_uid", flat=True))
    assert sorted(uids) == sorted(sent.sop_instance_uid for sent in acknowledged)
    assert Location.objects.count() == IMAGES
    assert (Patient.objects.count(), Study.objects.count(), Series.objects.count()) == (1, 1, ASSOCIATIONS)
    assert Study.objects.get().number_of_study_related_instances == IMAGES
    received, status, _ = get(
        daemon.port,
        [build_context(CTImageStorage, objects[0].transfer_syntax_uid)],
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID=study,
    )
    assert status.Status == 0
    assert {sent.sop_instance_uid: sent.sha256 for sent in received} == {
        sent.sop_instance_uid: sent.sha256 for sent in acknowledged
    }


def test_a_killed_worker_is_replaced_and_the_others_serve_meanwhile(start):
    daemon = start(dimse_daemon())
    wait_until(lambda: len(daemon.pids) == 2, seconds=10)
    before = daemon.pids
    os.kill(before[0], signal.SIGKILL)
    sent = of_data_set(ct())
    assert store(daemon.port, [sent]) == {sent.sop_instance_uid: 0}
    wait_until(lambda: len(daemon.pids) == 2 and before[0] not in daemon.pids, seconds=30)


def test_workers_whose_parent_is_killed_give_up_the_port(start):
    first = start(dimse_daemon())
    wait_until(lambda: len(first.pids) == 2, seconds=10)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not accepts(first.port), what="the workers give up the port")
    second = start(dimse_daemon(port=first.port))
    sent = of_data_set(ct())
    assert store(second.port, [sent]) == {sent.sop_instance_uid: 0}
    wait_until(lambda: len(second.pids) == 2 and second.process is not None and second.process.poll() is None)


def test_a_stop_finishes_the_object_in_hand_and_ends_idle_associations(start):
    daemon = start(dimse_daemon())
    sent = of_data_set(ct(side=256))
    with Peer(daemon.port) as busy, Peer(daemon.port) as idle, Peer(daemon.port) as silent:
        busy.associate()
        idle.associate()
        wire = store_request(sent.sop_instance_uid) + fragments(STORE, sent.data)
        busy.sock.sendall(wire[:-5000])
        time.sleep(0.3)  # so that the message is in hand
        stopped: list[int] = []
        stopper = threading.Thread(target=lambda: stopped.append(daemon.stop()))
        stopper.start()
        assert idle.is_over(seconds=3) and silent.is_over(seconds=3)
        wait_until(lambda: not accepts(daemon.port), what="new connections are refused")
        assert not stopped
        busy.sock.sendall(wire[-5000:])
        assert busy.receive_command()["Status"] == 0
        assert busy.is_over(seconds=3)
        stopper.join()
    assert stopped == [0]
    assert Instance.objects.get().sop_instance_uid == sent.sop_instance_uid


def test_a_stop_is_bounded_however_long_a_peer_takes(start):
    daemon = start(dimse_daemon())
    with Peer(daemon.port) as peer:
        peer.associate()
        peer.sock.sendall(store_request("1.2.3") + fragments(STORE, bytes(10_000))[:-100])
        time.sleep(0.3)
        begun = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begun < 30


def test_a_port_in_use_is_said_in_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = Daemon("dimse-taken", ["manage.py", "dimse"], environment={"SINAR_DICOM_PORT": str(port)}).start()
        assert daemon.process is not None and daemon.process.wait(30) != 0
    assert f"port {port}" in daemon.output and "Traceback" not in daemon.output
