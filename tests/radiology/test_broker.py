"""The folder that stands in for a message broker: whole messages only, each to one reader, whatever happens."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from django.conf import settings
from kombu import Connection, Queue

from radiology.models import Job, JobState
from radiology.services.jobs import enqueue
from radiology.tasks import run_due_jobs
from tests.daemons import ROOT, Daemon, wait_until, worker_daemon

folder_is_the_broker = pytest.mark.skipif(
    not settings.CELERY_BROKER_URL.startswith("filesystem"), reason="CELERY_BROKER_URL names another broker"
)

WRITE = """
import sys
from kombu import Connection, Queue
folder, writer, messages = sys.argv[1:]
options = {"folder": folder}
with Connection("filesystem://", transport="radiology.broker.Transport", transport_options=options) as connection:
    queue = connection.SimpleQueue("bell")
    for number in range(int(messages)):
        queue.put({"writer": writer, "number": number, "filling": "x" * 20_000})
"""

RING = """
import time
import django
django.setup()
from radiology.tasks import run_due_jobs
end = time.monotonic() + 6
while time.monotonic() < end:
    run_due_jobs.delay()
    time.sleep(0.01)
"""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    options = {"folder": str(tmp_path)}
    with Connection("filesystem://", transport="radiology.broker.Transport", transport_options=options) as made:
        yield made


def run(program: str, *arguments: str, **more: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, **more)


def test_readers_never_meet_half_a_message(connection: Connection, tmp_path: Path) -> None:
    writers = [run(WRITE, str(tmp_path), name, "300") for name in "abc"]
    readers = [connection.channel() for _ in range(2)]
    received: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(received) < 900 and time.monotonic() < deadline:
        for reader in readers:
            try:
                received.append(reader.decode_body(reader._get("bell")["body"], "base64"))
            except Empty:
                continue
    assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    assert len(received) == len(set(received)) == 900
    assert not list(tmp_path.iterdir())


def test_two_readers_share_messages(connection: Connection) -> None:
    queue = Queue("bell")
    got: dict[int, list[int]] = {0: [], 1: []}
    with connection.clone() as other:
        for number in range(20):
            with connection.Producer() as producer:
                producer.publish(number, exchange=queue.exchange, routing_key="bell", declare=[queue])
        assert queue(connection.channel()).queue_declare(passive=True).message_count == 20
        for number in range(20):
            message = queue((connection, other)[number % 2].channel()).get(no_ack=True)
            got[number % 2].append(message.payload)
        assert queue(other.channel()).get() is None
    assert got == {0: [*range(0, 20, 2)], 1: [*range(1, 20, 2)]}, "in the order of their sending"


def test_what_was_taken_and_not_done_goes_back(connection: Connection) -> None:
    queue = connection.SimpleQueue("bell")
    queue.put("one")
    queue.put("two")
    with connection.clone() as worker:
        assert worker.SimpleQueue("bell").get(block=False).payload == "one"
    assert queue.qsize() == 2
    assert queue.clear() == 2
    assert queue.qsize() == 0


def test_other_queues_and_unfinished_or_empty_files_are_passed_over(connection: Connection, tmp_path: Path) -> None:
    connection.SimpleQueue("other").put("not for us")
    (tmp_path / "0_a.bell.part").write_text('{"half')
    (tmp_path / "0_b.bell.msg").write_text("")
    (tmp_path / "0_c.bell.msg").mkdir()
    queue = connection.SimpleQueue("bell")
    queue.put("ours")
    assert queue.get(block=False).payload == "ours"
    with pytest.raises(Empty):
        queue.get(block=False)


@folder_is_the_broker
@pytest.mark.usefixtures("committed_db")
@pytest.mark.xdist_group("jobs")
def test_a_worker_outlives_an_empty_message_and_a_storm(start: Callable[[Daemon], Daemon]) -> None:
    folder = Path(settings.SINAR_DATA) / "broker"
    (folder / "0_empty.celery.msg").write_bytes(b"")
    worker = start(worker_daemon())
    wait_until(lambda: not (folder / "0_empty.celery.msg").exists(), seconds=40, what="the worker met it")
    ringers = [run(RING, env=worker.environment) for _ in range(3)]
    while any(ringer.poll() is None for ringer in ringers):
        job = enqueue(kind="nobody.handles.this")
        run_due_jobs.delay()
        wait_until(lambda: Job.objects.get(pk=job.pk).state == JobState.DEAD, seconds=10, what="the job ran")  # noqa: B023
    assert [ringer.returncode for ringer in ringers] == [0, 0, 0]
    assert worker.process is not None and worker.process.poll() is None, worker.account
    for message in folder.glob("*.celery.msg"):
        message.unlink(missing_ok=True)
