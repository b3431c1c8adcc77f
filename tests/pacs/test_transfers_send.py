"""Sending to other nodes (PS3.4 Annex B): dcmtk's storescp, applications that refuse, and workers that are killed."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pydicom import FileDataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pynetdicom import AE, evt

from pacs.dimse import transfer_progress, transfer_send
from pacs.dimse.storage_contexts import STORAGE_CLASSES
from pacs.models import ApplicationEntity, Location, NodePriority, Study, Transfer, TransferOutcome, TransferState
from pacs.services import transfers
from pacs.services.store import Source, receive_part10, store_instances
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditEvent, Job, JobPriority, JobState, Priority, Site, User
from radiology.services import jobs
from tests.daemons import Daemon, accepts, free_port, wait_until, worker_daemon
from tests.factories import (
    make_node,
    make_order,
    make_requested_procedure,
    make_site,
    make_study,
    make_token,
    make_user,
)
from tests.pacs.objects import ct, part10, real


@pytest.fixture(autouse=True)
def archive(committed_db: None) -> None:
    """Daemons see what tests write."""


@pytest.fixture
def sender() -> User:
    return make_user("sender")


def stored(*files: bytes) -> None:
    source = Source.of_site(Site.objects.default())
    received = []
    for file in files:
        with receive_part10(source=source) as incoming:
            incoming.write(file)
            received.append(incoming.finish())
    store_instances(received=received)


def study_of(number: int, **attributes: Any) -> Study:
    """A stored study of so many small images."""
    uid, series = generate_uid(), generate_uid()
    for start in range(0, number, 64):
        stored(
            *(
                part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=series, InstanceNumber=n + 1, side=8, **attributes))
                for n in range(start, min(number, start + 64))
            )
        )
    return Study.objects.get(study_instance_uid=uid)


@contextmanager
def storescp(folder: Path, tool: Callable[[str], str], *options: str, port: int = 0) -> Iterator[int]:
    """dcmtk's receiver, its files in `folder`; its port."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [tool("storescp"), *options, "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: accepts(port), what="storescp")
        yield port
    finally:
        process.kill()
        process.wait()


class Receiver:
    """An application that takes objects, and counts how often each came."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.answer: Callable[[Any], int] = lambda event: 0x0000
        self.associations = 0

    def on_store(self, event: Any) -> int:
        status = self.answer(event)
        if status == 0 or status >> 12 == 0xB:
            self.came[str(event.request.AffectedSOPInstanceUID)] += 1
        return status

    def on_accepted(self, event: Any) -> None:
        self.associations += 1


@contextmanager
def receiver(*contexts: tuple[str, list[str]], port: int = 0, title: str = "WS1") -> Iterator[tuple[Receiver, int]]:
    found = Receiver()
    ae = AE(ae_title=title)
    for sop_class, syntaxes in contexts or ((CTImageStorage, [ExplicitVRLittleEndian]),):
        ae.add_supported_context(sop_class, syntaxes)
    handlers: list[Any] = [(evt.EVT_C_STORE, found.on_store), (evt.EVT_ACCEPTED, found.on_accepted)]
    server: Any = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield found, server.server_address[1]
    finally:
        server.shutdown()


def run(transfer: Transfer) -> Transfer:
    """Run the transfer's job once, as the worker would."""
    Job.objects.filter(transfer=transfer, state=JobState.PENDING).update(next_attempt_at=transfer.created_at)
    Job.objects.filter(kind__startswith="worklist.").delete()  # what the arrival of images set going
    jobs.run_due(limit=1)
    return again(transfer)


def again(transfer: Transfer) -> Transfer:
    return Transfer.objects.select_related("job", "node").get(pk=transfer.pk)


def outcomes(transfer: Transfer) -> dict[str, int | None]:
    return dict(transfer.results.values_list("sop_instance_uid", "status"))


def test_a_study_is_sent_to_dcmtk(sender, tmp_path, tool):
    study = study_of(3)
    with storescp(tmp_path / "in", tool) as port:
        node = make_node("STORESCP", port=port)
        transfer = run(transfers.send(who=sender, node=node, study=study, address="10.0.0.9"))
    assert transfer.state == TransferState.DONE
    assert (transfer.total, transfer.completed, transfer.failed) == (3, 3, 0)
    assert transfer.size > 0 and transfer.finished_at is not None
    sent = {dcmread(path).SOPInstanceUID for path in (tmp_path / "in").iterdir()}
    assert sent == set(outcomes(transfer)) and set(outcomes(transfer).values()) == {0}
    begun, finished = AuditEvent.objects.filter(event__startswith="transfer.").order_by("at")
    assert (begun.event, begun.user_id, begun.address) == ("transfer.begun", sender.pk, "10.0.0.9")
    assert begun.study_instance_uid == study.study_instance_uid
    assert finished.detail["node"] == "STORESCP"
    assert finished.detail["instances"] == {"total": 3, "completed": 3, "warned": 0, "failed": 0}


def test_series_and_images_are_sent_alone(sender):
    uid = generate_uid()
    stored(*(part10(ct(StudyInstanceUID=uid, SeriesInstanceUID=f"1.2.{n // 2}", InstanceNumber=n)) for n in range(4)))
    study = Study.objects.get()
    wanted = study.series.get(series_instance_uid="1.2.1")
    one = wanted.instances.order_by("pk")[0].sop_instance_uid
    with receiver() as (found, port):
        node = make_node("WS1", port=port)
        run(transfers.send(who=sender, node=node, study=study, series=["1.2.1"]))
        assert set(found.came) == set(wanted.instances.values_list("sop_instance_uid", flat=True))
        found.came.clear()
        run(transfers.send(who=sender, node=node, study=study, instances=[one]))
        assert dict(found.came) == {one: 1}


def test_what_a_node_refuses_fails_alone_with_its_status(sender):
    study = study_of(4)
    uids = sorted(study_uids(study))
    answers = dict(zip(uids, (0xA700, 0xC000, 0xB000, 0x0000), strict=True))
    with receiver() as (found, port):
        found.answer = lambda event: answers[str(event.request.AffectedSOPInstanceUID)]
        node = make_node("WS1", port=port)
        transfer = run(transfers.send(who=sender, node=node, study=study))
        assert transfer.state == TransferState.DONE and transfer.has_failures
        assert (transfer.completed, transfer.warned, transfer.failed) == (1, 1, 2)
        assert outcomes(transfer) == answers
        # What has not succeeded goes again, and nothing else.
        found.answer = lambda event: 0
        transfers.retry(who=sender, transfer=transfer)
        transfer = run(again(transfer))
    assert (transfer.completed, transfer.warned, transfer.failed) == (3, 1, 0)
    assert found.came == dict.fromkeys(uids, 1)


def study_uids(study: Study) -> set[str]:
    return set(study.series.values_list("instances__sop_instance_uid", flat=True))


def test_classes_that_a_node_does_not_take_fail_in_words(sender):
    uid = generate_uid()
    stored(
        part10(ct(StudyInstanceUID=uid)), part10(ct(StudyInstanceUID=uid, SOPClassUID=MRImageStorage, Modality="MR"))
    )
    with receiver() as (found, port):
        node = make_node("WS1", port=port)
        transfer = run(transfers.send(who=sender, node=node, study=Study.objects.get()))
    assert (transfer.completed, transfer.failed, found.came.total()) == (1, 1, 1)
    assert "no transfer syntax" in transfer.results.get(outcome=TransferOutcome.FAILED).error


def test_what_a_node_cannot_take_compressed_is_sent_opened(sender):
    stored(real("MR_small_RLE.dcm").read_bytes())
    with receiver((MRImageStorage, [ImplicitVRLittleEndian])) as (found, port):
        node = make_node("WS1", port=port)
        transfer = run(transfers.send(who=sender, node=node, study=Study.objects.get()))
    assert transfer.completed == 1 and found.came.total() == 1


def deflated(data_set: FileDataset) -> FileDataset:
    data_set.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return data_set


def test_more_classes_than_one_association_holds(sender):
    """128 contexts are the most of one association: 60 classes of three syntaxes take two."""
    uid = generate_uid()
    retired = {
        "1.2.840.10008.5.1.4.1.1.3",
        "1.2.840.10008.5.1.4.1.1.5",
        "1.2.840.10008.5.1.4.1.1.6",
    }  # not pynetdicom's
    classes = [uid for uid in STORAGE_CLASSES if uid not in retired][:60]
    stored(*(part10(deflated(ct(StudyInstanceUID=uid, SOPClassUID=sop_class, side=2))) for sop_class in classes))
    with receiver(*((sop_class, [ExplicitVRLittleEndian]) for sop_class in classes)) as (found, port):
        node = make_node("WS1", port=port)
        transfer = run(transfers.send(who=sender, node=node, study=Study.objects.get()))
    assert (transfer.completed, transfer.failed) == (60, 0)
    assert found.associations == 2


def test_a_missing_file_costs_one_object(sender, settings):
    study = study_of(2)
    location = Location.objects.order_by("pk")[0]
    Path(settings.SINAR_DATA, "archive", location.path).unlink()
    with receiver() as (_, port):
        transfer = run(transfers.send(who=sender, node=make_node("WS1", port=port), study=study))
    assert (transfer.completed, transfer.failed) == (1, 1)
    assert "missing" in transfer.results.get(outcome=TransferOutcome.FAILED).error


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_a_node_that_aborts_at_every_object_is_given_up(sender, tmp_path, tool, option):
    study = study_of(8)
    with storescp(tmp_path / "in", tool, option) as port:
        transfer = run(transfers.send(who=sender, node=make_node("ABORTS", port=port), study=study))
    assert transfer.state == TransferState.WAITING  # tried again later
    assert "ended the association" in transfer.job.error
    assert transfer.completed == 0


def test_an_object_that_breaks_the_association_costs_only_itself(sender):
    study = study_of(4)
    poison = sorted(study_uids(study))[1]

    def answer(event: Any) -> int:
        if str(event.request.AffectedSOPInstanceUID) == poison:
            event.assoc.abort()
        return 0

    with receiver() as (found, port):
        found.answer = answer
        transfer = run(transfers.send(who=sender, node=make_node("WS1", port=port), study=study))
    assert (transfer.completed, transfer.failed) == (3, 1)
    assert transfer.results.get(outcome=TransferOutcome.FAILED).sop_instance_uid == poison


def test_a_node_that_refuses_associations_is_asked_again_later(sender, tmp_path, tool):
    study = study_of(1)
    with storescp(tmp_path / "in", tool, "--refuse") as port:
        transfer = run(transfers.send(who=sender, node=make_node("REFUSES", port=port), study=study))
    assert transfer.state == TransferState.WAITING
    assert "refuses the association" in transfer.job.error


def test_a_node_that_is_gone_for_a_while_gets_everything_when_it_is_back(sender):
    study = study_of(5)
    port = free_port()
    transfer = run(transfers.send(who=sender, node=make_node("WS1", port=port), study=study))
    assert transfer.state == TransferState.WAITING and transfer.job.attempts == 1
    assert transfer.job.next_attempt_at > transfer.created_at
    with receiver(port=port) as (found, _):
        transfer = run(transfer)
    assert transfer.state == TransferState.DONE and transfer.completed == 5
    assert found.came == dict.fromkeys(study_uids(study), 1)


def test_a_node_that_was_locked_meanwhile_ends_it(sender):
    study = study_of(1)
    node = make_node("WS1", port=free_port())
    transfer = transfers.send(who=sender, node=node, study=study)
    ApplicationEntity.objects.update(may_receive=False)
    assert run(transfer).state == TransferState.FAILED


# By the worker


def slowly(seconds: float) -> Callable[[Any], int]:
    def answer(event: Any) -> int:
        time.sleep(seconds)
        return 0

    return answer


def test_after_a_kill_nothing_that_succeeded_goes_again(sender, start: Callable[[Daemon], Daemon]):
    study = study_of(300)
    with receiver() as (found, port):
        found.answer = slowly(0.02)
        transfer = transfers.send(who=sender, node=make_node("WS1", port=port), study=study)
        worker = start(worker_daemon())
        wait_until(lambda: again(transfer).completed > 60, seconds=60)
        worker.kill()
        settled = set(outcomes(transfer))
        before = Counter(found.came)
        Job.objects.filter(transfer=transfer).update(lease_until=transfer.created_at)  # two minutes later
        found.answer = lambda event: 0
        start(worker_daemon())
        wait_until(lambda: again(transfer).is_finished, seconds=60)
    transfer = again(transfer)
    assert transfer.state == TransferState.DONE
    assert (transfer.total, transfer.completed, transfer.failed) == (300, 300, 0)
    assert set(found.came) == study_uids(study)
    assert {found.came[uid] - before[uid] for uid in settled} == {0}
    assert found.came.total() - 300 <= 200  # what was on the way within the last second


def test_cancelling_takes_effect_at_once(sender, job_worker: Daemon):
    study = study_of(200)
    with receiver() as (found, port):
        found.answer = slowly(0.1)
        transfer = transfers.send(who=sender, node=make_node("WS1", port=port), study=study)
        wait_until(lambda: again(transfer).completed > 0, seconds=30)
        began = time.monotonic()
        transfers.cancel(who=sender, transfer=again(transfer))
        assert again(transfer).state == TransferState.CANCELLED
        wait_until(lambda: settled_down(found), seconds=10)
        assert time.monotonic() - began < 10
        at_the_end = found.came.total()
        assert at_the_end < 200
        found.answer = lambda event: 0
        transfers.retry(who=sender, transfer=again(transfer))
        wait_until(lambda: again(transfer).is_finished, seconds=40)
    assert again(transfer).completed == 200


def test_one_that_is_paused_goes_on_where_it_was_and_sends_nothing_twice(sender, monkeypatch):
    monkeypatch.setattr(transfer_progress, "EVERY_SECONDS", 0)
    study = study_of(4)
    with receiver() as (found, port):
        transfer = transfers.send(who=sender, node=make_node("WS1", port=port), study=study)
        transfers.pause(who=sender, transfer=transfer)
        assert run(transfer).state == TransferState.PAUSED and not found.came
        transfers.resume(who=sender, transfer=transfer)

        def pausing(event: Any) -> int:
            if sum(found.came.values()) == 1:  # while the second is on its way
                transfers.pause(who=sender, transfer=again(transfer))
                connection.close()
            elif sum(found.came.values()) > 1:
                time.sleep(2)  # this one may have begun before the pause was noticed; no other does
            return 0

        found.answer = pausing
        transfer = run(transfer)
        came = sum(found.came.values())
        assert (transfer.state, transfer.completed) == (TransferState.PAUSED, came) and came in {2, 3}
        assert transfer.job is not None and transfer.job.attempts == 0
        with pytest.raises(Conflict):
            transfers.retry(who=sender, transfer=transfer)
        transfers.resume(who=sender, transfer=transfer)
        transfer = run(transfer)
    assert (transfer.state, transfer.completed, transfer.total) == (TransferState.DONE, 4, 4)
    assert found.came == dict.fromkeys(study_uids(study), 1)
    assert AuditEvent.objects.filter(event="transfer.finished").count() == 1


def settled_down(found: Receiver) -> bool:
    """Whether nothing arrives any more."""
    before = found.came.total()
    time.sleep(0.5)
    return found.came.total() == before


# Asking


def test_who_may_send_what_where(sender):
    study = study_of(1)
    other = make_site()
    with pytest.raises(NotAllowed):
        transfers.send(who=sender, node=make_node("QUIET", may_receive=False), study=study)
    with pytest.raises(NotAllowed):
        transfers.send(who=sender, node=make_node("OFF", is_active=False), study=study)
    with pytest.raises(NotAllowed):
        transfers.send(who=sender, node=make_node("FAR", site=other), study=study)
    with pytest.raises(NotAllowed):
        transfers.send(who=make_user("stranger", site=other), node=make_node("WS1"), study=study)
    with pytest.raises(NotAllowed):
        transfers.send(who=make_token(scopes=["studies.write"])[0], node=make_node("WS2"), study=study)
    study.deleted_at = study.created_at
    study.save()
    with pytest.raises(NotFound):
        transfers.send(who=sender, node=make_node("WS3"), study=study)
    assert not Transfer.objects.exists() and not Job.objects.filter(kind__startswith="pacs.").exists()


def test_nothing_to_send_is_said(sender):
    node = make_node("WS1")
    with pytest.raises(InvalidValue, match="nothing to send"):
        transfers.send(who=sender, node=node, study=make_study())
    study = study_of(1)
    with pytest.raises(InvalidValue, match="nothing to send"):
        transfers.send(who=sender, node=node, study=study, series=["1.2.3"])
    with pytest.raises(InvalidValue, match="UID"):
        transfers.send(who=sender, node=node, study=study, series=["../../etc"])


def test_the_same_asked_twice_is_one_transfer(sender):
    study, node = study_of(1), make_node("WS1")
    first = transfers.send(who=sender, node=node, study=study)
    assert transfers.send(who=sender, node=node, study=study).pk == first.pk
    transfers.cancel(who=sender, transfer=first)
    assert transfers.send(who=sender, node=node, study=study).pk != first.pk


def test_only_what_is_over_and_incomplete_is_tried_again(sender):
    transfer = transfers.send(who=sender, node=make_node("WS1"), study=study_of(1))
    with pytest.raises(Conflict):
        transfers.retry(who=sender, transfer=transfer)
    stranger = make_user("stranger", site=make_site())
    with pytest.raises(NotAllowed):
        transfers.cancel(who=stranger, transfer=transfer)


def test_jobs_of_one_node_share_its_lanes_and_nobody_elses(sender):
    node, other = make_node("WS1"), make_node("WS2")
    token, _ = make_token("simrs")
    for _ in range(4):
        transfers.send(who=token, node=node, study=study_of(1))
    transfers.send(who=token, node=other, study=study_of(1))
    keys = Counter(Job.objects.filter(kind="pacs.send").values_list("ordering_key", flat=True))
    assert keys == {f"transfer:{node.pk}:0": 2, f"transfer:{node.pk}:1": 2, f"transfer:{other.pk}:0": 1}


def test_what_a_person_waits_for_and_what_is_urgent_overtakes_the_rest(sender):
    token, _ = make_token("simrs")
    node = make_node("PACS2", priority=NodePriority.BULK)
    bulk = [transfers.send(who=token, node=node, study=study_of(1)) for _ in range(4)]
    urgent = study_of(1)
    urgent.requested_procedure_ref = make_requested_procedure(make_order(priority=Priority.STAT))
    urgent.save(update_fields=["requested_procedure_ref"])
    first = [
        transfers.send(who=token, node=node, study=urgent),
        transfers.send(who=sender, node=node, study=study_of(1)),
    ]
    plain = transfers.send(who=token, node=make_node("WS1"), study=study_of(1))
    assert {each.job.priority for each in bulk if each.job} == {JobPriority.BULK}
    assert {each.job.priority for each in first if each.job} == {JobPriority.FIRST}
    assert plain.job is not None and plain.job.priority == JobPriority.NORMAL
    Job.objects.filter(kind__startswith="worklist.").delete()
    claimed = [jobs.claim() for _ in range(4)]
    assert [job and job.pk for job in claimed] == [first[0].job_id, plain.job_id, bulk[0].job_id, bulk[1].job_id]


def test_a_job_that_was_replaced_does_nothing(sender):
    study, node = study_of(1), make_node("WS1", port=free_port())
    transfer = transfers.send(who=sender, node=node, study=study)
    old = transfer.job
    transfers.cancel(who=sender, transfer=transfer)
    transfers.retry(who=sender, transfer=again(transfer))
    transfer_send.run(old)
    assert again(transfer).started_at is None
