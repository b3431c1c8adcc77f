"""Fetching from other archives by C-GET and C-MOVE: dcmtk's archive, and ones that leave things out."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import build_context, evt

import pacs.tasks  # noqa: F401  (registers the handlers of jobs)
from pacs.dimse import data_sets, transfer_progress
from pacs.models import Instance, Location, Transfer, TransferMethod, TransferOutcome, TransferState
from pacs.services import transfers
from pacs.storage import open_object
from radiology.errors import InvalidValue, NotAllowed
from radiology.models import AuditEvent, Job, User
from radiology.services import jobs
from tests.daemons import Daemon, wait_until, worker_daemon
from tests.factories import make_node, make_token, make_user
from tests.pacs.archives import TITLE, application, dcmqrscp, wire
from tests.pacs.dimse_client import Sent, of_data_set, store
from tests.pacs.objects import ct

STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def archive(committed_db: None) -> None:
    """Daemons see what tests write."""


@pytest.fixture
def who() -> User:
    return make_user("fetcher")


def study_of(number: int, series: int = 1) -> tuple[str, list[Sent]]:
    study, uids = generate_uid(), [generate_uid() for _ in range(series)]
    return study, [
        of_data_set(
            ct(StudyInstanceUID=study, SeriesInstanceUID=uids[n % series], InstanceNumber=n + 1, seed=n, side=8)
        )
        for n in range(number)
    ]


def run(transfer: Transfer) -> Transfer:
    """Run the transfer's job once, as the worker would."""
    Job.objects.filter(transfer=transfer, state="pending").update(next_attempt_at=transfer.created_at)
    Job.objects.filter(kind__startswith="worklist.").delete()  # what the arrival of images set going
    jobs.run_due(limit=1)
    return again(transfer)


def again(transfer: Transfer) -> Transfer:
    return Transfer.objects.select_related("job", "node").get(pk=transfer.pk)


def stored() -> dict[str, str]:
    """SHA-256 of what lies in the archive, by SOP Instance UID."""
    found = {}
    for location in Location.objects.select_related("instance_ref", "volume"):
        with open_object(location=location) as file:
            file.seek(location.data_set_offset)
            found[location.instance_ref.sop_instance_uid] = hashlib.sha256(file.read()).hexdigest()
    return found


def hashes(objects: list[Sent]) -> dict[str, str]:
    return {each.sop_instance_uid: each.sha256 for each in objects}


@pytest.mark.parametrize("method", ["", "C-GET"])
def test_a_study_is_fetched_by_get(who, tmp_path, tool, method):
    study, objects = study_of(5, series=2)
    with dcmqrscp(tmp_path, tool, objects) as port:
        node = make_node(TITLE, port=port)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, method=method, address="::1"))
    assert transfer.state == TransferState.DONE, transfer.job and transfer.job.error
    assert transfer.method == TransferMethod.C_GET
    assert (transfer.total, transfer.completed, transfer.failed) == (5, 5, 0)
    assert stored() == hashes(objects)
    assert transfer.study_ref is not None and transfer.patient_ref is not None
    assert list(
        AuditEvent.objects.filter(event__startswith="transfer").values_list("event", flat=True).order_by("at")
    ) == [
        "transfer.begun",
        "transfer.finished",
    ]


def test_a_study_is_fetched_by_move_through_our_own_door(who, tmp_path, tool, dimse_server):
    study, objects = study_of(5)
    with dcmqrscp(tmp_path, tool, objects, peers=[("MINIPACS", dimse_server.port)]) as port:
        node = make_node(TITLE, port=port)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, method="C-MOVE"))
    assert transfer.state == TransferState.DONE, transfer.job and transfer.job.error
    assert (transfer.method, transfer.total, transfer.completed) == ("C-MOVE", 5, 5)
    assert stored() == hashes(objects)


def test_only_what_is_missing_is_fetched(who, tmp_path, tool, dimse_server):
    study, objects = study_of(6, series=2)
    store(dimse_server.port, objects[:3], calling=make_node("CT1").title)
    with dcmqrscp(tmp_path, tool, objects) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study))
        log = (tmp_path / "dcmqrscp.log").read_text("latin-1")
    assert (transfer.total, transfer.completed) == (6, 6)
    assert stored() == hashes(objects)
    assert log.count("Store SCU RQ") == 3


def test_a_series_is_fetched_alone(who, tmp_path, tool):
    study, objects = study_of(6, series=2)
    series = generate_uid()
    objects.append(of_data_set(ct(StudyInstanceUID=study, SeriesInstanceUID=series)))
    with dcmqrscp(tmp_path, tool, objects) as port:
        node = make_node(TITLE, port=port)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, series=[series]))
    assert (transfer.total, transfer.completed) == (1, 1)
    assert set(stored()) == {objects[-1].sop_instance_uid}


def test_images_of_a_series_are_fetched_alone(who, tmp_path, tool, dimse_server):
    study, objects = study_of(3)
    series = data_sets.decode(objects[0].data, objects[0].transfer_syntax_uid).SeriesInstanceUID
    one, gone = objects[1].sop_instance_uid, generate_uid()
    with dcmqrscp(tmp_path, tool, objects, peers=[("MINIPACS", dimse_server.port)]) as port:
        node = make_node(TITLE, port=port)
        with pytest.raises(InvalidValue):
            transfers.fetch(who=who, node=node, study_instance_uid=study, instances=[one])
        about = {"who": who, "node": node, "study_instance_uid": study, "series": [series]}
        transfer = run(transfers.fetch(**about, instances=[one], method="C-MOVE"))
        assert (transfer.state, transfer.total, transfer.completed) == (TransferState.DONE, 1, 1)
        assert set(stored()) == {one}
        transfer = run(transfers.fetch(**about, instances=[objects[2].sop_instance_uid, gone]))
        assert (transfer.total, transfer.completed, transfer.failed) == (2, 1, 1)
    assert set(stored()) == {one, objects[2].sop_instance_uid}


def test_a_study_that_is_not_there_fails_in_words(who, tmp_path, tool):
    with dcmqrscp(tmp_path, tool, study_of(1)[1]) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid="1.2.3"))
    assert transfer.state == TransferState.FAILED and transfer.job is not None
    assert "does not hold this study" in transfer.job.error


def test_an_archive_that_does_not_know_us_is_explained(who, tmp_path, tool):
    study, objects = study_of(1)
    with dcmqrscp(tmp_path, tool, objects) as port:
        node = make_node(TITLE, port=port)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, method="C-MOVE"))
    assert transfer.state == TransferState.FAILED and transfer.job is not None
    assert "A801" in transfer.job.error and "MINIPACS" in transfer.job.error and "register" in transfer.job.error


def test_a_node_that_may_not_send_here_is_not_asked_to(who, tmp_path, tool):
    study, objects = study_of(1)
    with dcmqrscp(tmp_path, tool, objects, peers=[("MINIPACS", 4)]) as port:
        node = make_node(TITLE, port=port, may_store=False)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, method="C-MOVE"))
    assert transfer.job is not None and "may not send images here" in transfer.job.error


# Archives that are less than complete


def found(keys: dict[str, Any]) -> Dataset:
    answer = Dataset()
    for keyword, value in keys.items():
        setattr(answer, keyword, value)
    return answer


def holding(study: str, series: str, uids: list[str]) -> Any:
    """A handler of C-FIND of an archive that says it holds these instances."""

    def handle(event: Any) -> Iterator[tuple[int, Dataset]]:
        level = event.identifier.QueryRetrieveLevel
        common = {"QueryRetrieveLevel": level, "StudyInstanceUID": study, "SeriesInstanceUID": series}
        if level == "SERIES":
            yield 0xFF00, found(common)
        else:
            for uid in uids:
                yield 0xFF00, found({**common, "SOPInstanceUID": uid, "SOPClassUID": CTImageStorage})

    return handle


def sending(*data_sets: Any) -> Any:
    def handle(event: Any) -> Iterator[Any]:
        yield len(data_sets)
        for each in data_sets:
            yield 0xFF00, each

    return handle


def test_what_an_archive_keeps_back_fails_by_name(who):
    study, series = generate_uid(), generate_uid()
    here = [ct(StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(2)]
    kept = generate_uid()
    handlers = [
        (evt.EVT_C_FIND, holding(study, series, [*(each.SOPInstanceUID for each in here), kept])),
        (evt.EVT_C_GET, sending(*here)),
    ]
    with application([STUDY_FIND, STUDY_GET, build_context(CTImageStorage)], handlers) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study))
    assert (transfer.total, transfer.completed, transfer.failed) == (3, 2, 1)
    assert transfer.state == TransferState.DONE and transfer.has_failures
    failure = transfer.results.get(outcome=TransferOutcome.FAILED)
    assert failure.sop_instance_uid == kept and "did not send it" in failure.error


def test_an_archive_without_search_is_asked_for_the_study(who):
    study = generate_uid()
    objects = [ct(StudyInstanceUID=study) for _ in range(3)]
    contexts = [STUDY_GET, build_context(CTImageStorage)]
    with application(contexts, [(evt.EVT_C_GET, sending(*objects))]) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study))
    assert transfer.state == TransferState.DONE
    assert (transfer.total, transfer.completed) == (3, 3)


def test_an_object_of_another_study_stops_it_and_is_not_kept(who):
    study, series = generate_uid(), generate_uid()
    foreign = ct()
    handlers = [
        (evt.EVT_C_FIND, holding(study, series, [foreign.SOPInstanceUID])),
        (evt.EVT_C_GET, sending(foreign)),
    ]
    with application([STUDY_FIND, STUDY_GET, build_context(CTImageStorage)], handlers) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study))
    assert transfer.job is not None and "another study" in transfer.job.error
    assert not Instance.objects.exists()


def test_answers_about_another_study_are_no_plan(who):
    other, series = generate_uid(), generate_uid()
    with application([STUDY_FIND], [(evt.EVT_C_FIND, holding(other, series, ["1.2.3"]))]) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid="1.2.3"))
    assert transfer.job is not None and "not asked for" in transfer.job.error


def test_a_move_that_only_claims_success_is_not_believed(who):
    """Counts of the peer are its word; what is in the archive is what came."""
    study, series, uid = generate_uid(), generate_uid(), generate_uid()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", 4, {}
        yield 0

    handlers = [(evt.EVT_C_FIND, holding(study, series, [uid])), (evt.EVT_C_MOVE, handle)]
    with application([STUDY_FIND, STUDY_MOVE], handlers) as port:
        node = make_node(TITLE, port=port)
        transfer = run(transfers.fetch(who=who, node=node, study_instance_uid=study, method="C-MOVE"))
    assert (transfer.completed, transfer.failed) == (0, 1)
    assert transfer.state == TransferState.FAILED


def test_a_peer_that_hangs_up_is_tried_again_later(who):
    with wire(lambda connection: None) as port:
        transfer = run(transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid="1.2.3"))
    assert transfer.state == TransferState.WAITING


# By the worker


def test_after_a_kill_a_fetch_goes_on(who, tmp_path, tool, start: Callable[[Daemon], Daemon]):
    study, objects = study_of(160, series=2)
    with dcmqrscp(tmp_path, tool, objects) as port:
        transfer = transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study)
        worker = start(worker_daemon())
        wait_until(lambda: Instance.objects.count() > 20, seconds=60)
        worker.kill()
        came = Instance.objects.count()
        assert came < 160
        Job.objects.filter(transfer=transfer).update(lease_until=transfer.created_at)  # two minutes later
        start(worker_daemon())
        wait_until(lambda: again(transfer).is_finished, seconds=120)
        asked = (tmp_path / "dcmqrscp.log").read_text("latin-1").count("Store SCU RQ")
    transfer = again(transfer)
    assert (transfer.state, transfer.completed, transfer.failed) == (TransferState.DONE, 160, 0)
    assert stored() == hashes(objects)
    assert asked <= 160 + 160 - came + 20


def test_a_fetch_is_cancelled(who, job_worker: Daemon):
    study, series = generate_uid(), generate_uid()
    objects = [ct(StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(500)]
    stopped: list[int] = []

    def slowly(event: Any) -> Iterator[Any]:
        yield len(objects)
        for number, each in enumerate(objects):
            while not (cancelled := event.is_cancelled) and number == 100:
                time.sleep(0.01)
            if cancelled:
                stopped.append(number)
                yield 0xFE00, None
                return
            yield 0xFF00, each

    handlers = [
        (evt.EVT_C_FIND, holding(study, series, [each.SOPInstanceUID for each in objects])),
        (evt.EVT_C_GET, slowly),
    ]
    with application([STUDY_FIND, STUDY_GET, build_context(CTImageStorage)], handlers) as port:
        transfer = transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study)
        wait_until(lambda: Instance.objects.count() > 5, seconds=40)
        transfers.cancel(who=who, transfer=again(transfer))
        wait_until(lambda: stopped, seconds=60)
    assert again(transfer).state == TransferState.CANCELLED
    assert Instance.objects.count() < 500


@pytest.mark.parametrize("can_be_searched", [True, False])
def test_a_fetch_that_is_paused_goes_on_where_it_was(who, monkeypatch, can_be_searched):
    monkeypatch.setattr(transfer_progress, "EVERY_SECONDS", 0)
    study, series = generate_uid(), generate_uid()
    made = [ct(StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(4)]
    objects = {each.SOPInstanceUID: each for each in made}
    sent: list[str] = []

    def giving(event: Any) -> Iterator[Any]:
        wanted = event.identifier.get("SOPInstanceUID") or list(objects)
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        yield len(wanted)
        for number, uid in enumerate(wanted):
            if number == 2 and len(sent) == 2:
                transfers.pause(who=who, transfer=again(transfer))
                connection.close()
                wait_until(lambda: event.is_cancelled)
                yield 0xFE00, None
                return
            sent.append(str(uid))
            yield 0xFF00, objects[uid]

    handlers = [(evt.EVT_C_GET, giving), (evt.EVT_C_FIND, holding(study, series, list(objects)))]
    contexts = [STUDY_GET, build_context(CTImageStorage), *([STUDY_FIND] if can_be_searched else [])]
    with application(contexts, handlers if can_be_searched else handlers[:1]) as port:
        transfer = transfers.fetch(who=who, node=make_node(TITLE, port=port), study_instance_uid=study)
        assert run(transfer).state == TransferState.PAUSED
        assert set(stored()) == set(sent) and len(sent) == 2
        transfers.resume(who=who, transfer=transfer)
        transfer = run(transfer)
    assert (transfer.state, transfer.completed, transfer.failed) == (TransferState.DONE, 4, 0)
    assert set(stored()) == set(objects)
    assert len(sent) == (4 if can_be_searched else 6)  # what cannot be asked for by itself comes with the others


# Asking


def test_who_may_fetch_from_where(who):
    node = make_node(TITLE, is_active=False)
    with pytest.raises(NotAllowed):
        transfers.fetch(who=who, node=node, study_instance_uid="1.2.3")
    reader = make_token(scopes=["studies.read"])[0]
    with pytest.raises(NotAllowed):
        transfers.fetch(who=reader, node=make_node("OK"), study_instance_uid="1.2.3")
    assert not Transfer.objects.exists()
