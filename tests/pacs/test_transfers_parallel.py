"""One transfer over several associations: each object once, whatever breaks, is refused, cancelled or killed."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt

from pacs.dimse.requestor import associate as associate_with
from pacs.dimse.throttle import MEGABYTE, PURCHASE_SECONDS
from pacs.dimse.verification import VERIFICATION
from pacs.models import ApplicationEntity, NodePriority, TransferState
from pacs.services import transfers
from radiology.models import Job, JobState, User
from tests.daemons import Daemon, wait_until, worker_daemon
from tests.factories import make_node, make_user
from tests.pacs.dimse_client import associate
from tests.pacs.test_transfers_send import again, run, study_of, study_uids

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


@pytest.fixture(autouse=True)
def _archive(committed_db: None) -> None:
    """Daemons see what tests write."""


@pytest.fixture
def sender() -> User:
    return make_user("sender")


class Receiver:
    """An application that counts what comes, and over how many associations at once.

    Nothing is taken before `wanted` of them are open, nor more than `budget` allows.
    """

    def __init__(self, wanted: int) -> None:
        self.came: Counter[str] = Counter()
        self.open = self.most = self.associations = 0
        self.breaks: set[int] = set()
        self.budget = threading.Semaphore(1_000_000)
        self._wanted = wanted
        self._gate = threading.Event()
        self._lock = threading.Lock()

    def on_store(self, event: Any) -> int:
        self._gate.wait(30)
        self.budget.acquire(timeout=30)
        with self._lock:
            number = self.came.total()
            does_break = number in self.breaks
            self.breaks.discard(number)
            self.came[str(event.request.AffectedSOPInstanceUID)] += not does_break
        if does_break:
            event.assoc.abort()
        return 0x0000

    def on_accepted(self, event: Any) -> None:
        with self._lock:
            self.associations += 1
            self.open += 1
            self.most = max(self.most, self.open)
            if self.open >= self._wanted:
                self._gate.set()

    def on_end(self, event: Any) -> None:
        with self._lock:
            self.open -= 1


@contextmanager
def receiver(*, most: int = 10, wanted: int = 1) -> Iterator[tuple[Receiver, int]]:
    found = Receiver(wanted)
    ae = AE(ae_title="WS1")
    ae.maximum_associations = most
    ae.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])
    ae.add_supported_context(VERIFICATION)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, found.on_store),
        (evt.EVT_ACCEPTED, found.on_accepted),
        (evt.EVT_RELEASED, found.on_end),
        (evt.EVT_ABORTED, found.on_end),
    ]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield found, server.server_address[1]
    finally:
        server.shutdown()


def test_each_object_goes_once_over_as_many_associations_as_the_node_takes(sender):
    study = study_of(60)
    with receiver(wanted=3) as (found, port):
        node = make_node("WS1", port=port, associations_per_transfer=3)
        transfer = run(transfers.send(who=sender, node=node, study=study))
    assert transfer.state == TransferState.DONE
    assert (transfer.total, transfer.completed, transfer.failed) == (60, 60, 0)
    assert found.came == Counter(study_uids(study))
    assert (found.associations, found.most) == (3, 3)


def test_no_more_associations_than_the_node_may_have(sender):
    study = study_of(30)
    with receiver() as (found, port):
        node = make_node("WS1", port=port, associations_per_transfer=8, most_associations_to=2)
        transfer = run(transfers.send(who=sender, node=node, study=study))
    assert transfer.completed == 30 and found.came == Counter(study_uids(study))
    assert found.most <= 2


def test_a_node_that_takes_fewer_associations_gets_everything_over_those(sender):
    study = study_of(30)
    with receiver(most=1) as (found, port):
        node = make_node("WS1", port=port, associations_per_transfer=4)
        transfer = run(transfers.send(who=sender, node=node, study=study))
    assert (transfer.state, transfer.completed) == (TransferState.DONE, 30)
    assert found.came == Counter(study_uids(study))


def test_associations_that_break_cost_no_object(sender):
    study = study_of(40)
    with receiver() as (found, port):
        found.breaks = {3, 17, 30}
        node = make_node("WS1", port=port, associations_per_transfer=3)
        transfer = run(transfers.send(who=sender, node=node, study=study))
    assert (transfer.state, transfer.completed, transfer.failed) == (TransferState.DONE, 40, 0)
    assert found.came == Counter(study_uids(study))


def test_a_transfer_waits_for_a_place_and_loses_no_attempt(sender):
    study = study_of(2)
    with receiver() as (_found, port):
        node = make_node("WS1", port=port, most_associations_to=1)
        transfer = transfers.send(who=sender, node=node, study=study)
        with associate_with(node, [(VERIFICATION, ExplicitVRLittleEndian)]):
            transfer = run(transfer)
            assert transfer.job is not None and transfer.state == TransferState.WAITING
            assert (transfer.job.attempts, transfer.completed) == (0, 0)
            assert "as many associations" in transfer.job.error
        transfer = run(transfer)
    assert (transfer.state, transfer.completed) == (TransferState.DONE, 2)


def test_what_is_sent_keeps_to_the_rate_over_all_associations(sender):
    study = study_of(6)
    node = make_node("WS1", associations_per_transfer=3, send_rate=0.01)
    with receiver() as (_, port):
        ApplicationEntity.objects.filter(pk=node.pk).update(port=port)
        transfer = run(transfers.send(who=sender, node=node, study=study))
    assert transfer.completed == 6 and transfer.started_at and transfer.finished_at
    seconds = (transfer.finished_at - transfer.started_at).total_seconds()
    assert transfer.size <= 0.01 * MEGABYTE * seconds + 4 * max(4096, PURCHASE_SECONDS * 0.01 * MEGABYTE)


def test_after_a_kill_in_the_middle_the_rest_goes(sender, start: Callable[[Daemon], Daemon]):
    study = study_of(120)
    with receiver() as (found, port):
        node = make_node("WS1", port=port, associations_per_transfer=3)
        found.budget = threading.Semaphore(40)  # so many before the kill
        transfer = transfers.send(who=sender, node=node, study=study)
        worker = start(worker_daemon())
        wait_until(lambda: again(transfer).completed > 0, seconds=60)
        worker.kill()
        done = set(again(transfer).results.values_list("sop_instance_uid", flat=True))
        assert 0 < len(done) < 120
        before = Counter(found.came)
        found.budget.release(1000)
        Job.objects.filter(transfer=transfer, state=JobState.RUNNING).update(lease_until=transfer.created_at)
        start(worker_daemon())
        wait_until(lambda: again(transfer).is_finished, seconds=60)
    transfer = again(transfer)
    assert (transfer.state, transfer.total, transfer.completed) == (TransferState.DONE, 120, 120)
    assert set(found.came) == study_uids(study)
    assert {found.came[uid] - before[uid] for uid in done} == {0}, "what had come across did not go again"


def test_a_move_goes_over_several_associations_and_counts_each_object_once(dimse_server):
    study = study_of(40)
    make_node("VIEWER", priority=NodePriority.DEVICE)
    with receiver(wanted=3) as (found, port):
        make_node("WS1", port=port, associations_per_transfer=3)
        association = associate(dimse_server.port, [build_context(STUDY_ROOT_MOVE)], calling="VIEWER")
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        identifier.StudyInstanceUID = study.study_instance_uid
        answers = [status for status, _ in association.send_c_move(identifier, "WS1", STUDY_ROOT_MOVE)]
        association.release()
    assert answers[-1].Status == 0x0000
    assert (answers[-1].NumberOfCompletedSuboperations, answers[-1].NumberOfFailedSuboperations) == (40, 0)
    remaining = [each.NumberOfRemainingSuboperations for each in answers[:-1]]
    assert remaining == list(range(39, -1, -1))
    assert found.came == Counter(study_uids(study)) and found.most == 3
