"""Jobs of the Orthanc-shaped REST that are paused while they run: each goes on where it was, with nothing twice."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from pynetdicom import evt

from integrations.models import OrthancJob
from integrations.orthanc import making
from pacs.models import Instance
from pacs.signals import studies_stored
from radiology.errors import Unreachable
from radiology.models import AuditEvent, Job, Site
from radiology.services import jobs
from tests.factories import make_node
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.integrations.test_orthanc_peers import make_peer
from tests.integrations.webhook_receiver import receiving
from tests.pacs.archives import TITLE, application
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

STUDY, MRN = "1.2.826.0.1.23", "MRN-1001"
NAME = sha1(MRN, STUDY)
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


@pytest.fixture
def committed(committed_db: None) -> OrthancProgram:
    """Of the tests in which other threads pause."""
    return OrthancProgram()


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


def image(number: int, series: int = 5) -> None:
    file = ct(
        StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.{series}", SOPInstanceUID=f"{STUDY}.{series}.{number}",
        SeriesNumber=series, InstanceNumber=number, side=8,
    )  # fmt: skip
    store(Site.objects.default(), part10(file))


class Pausing(list[Any]):
    """What a receiver got; with the first of it the job is paused, by another thread than the one that works."""

    def __init__(self, pause: Callable[[], Any]) -> None:
        super().__init__()
        self._pause = pause

    def append(self, got: Any) -> None:
        super().append(got)
        if len(self) == 1:
            self._pause()
            connection.close()


def begun(program: OrthancProgram, path: str, given: Any) -> str:
    name: str = program.told(path, {**given, "Synchronous": False})["ID"]
    Job.objects.exclude(orthanc_job__public_id=name).delete()  # what the arrival of images set going
    return f"jobs/{name}"


def test_a_peer_gets_the_rest_when_its_job_is_resumed(committed: OrthancProgram) -> None:
    for number in (1, 2, 3):
        image(number)
    with receiving(200, body=b'{"ID": "x", "Status": "Success"}') as receiver:
        make_peer(f"http://127.0.0.1:{receiver.port}/")
        job = begun(committed, "peers/other/store", {"Resources": [NAME]})
        row = OrthancJob.objects.get()
        receiver.got = Pausing(lambda: committed.told(f"{job}/pause"))
        jobs.run_due()
        told = committed.json(job)
        assert (told["State"], told["Progress"], len(receiver.got)) == ("Paused", 33, 1)
        image(4, series=1)  # sorts before the others, and is not in their place
        Instance.objects.filter(sop_instance_uid=f"{STUDY}.5.1").update(removed_at="2026-01-01T00:00:00Z")
        assert committed.told(f"{job}/resume") == {}
        assert committed.json(job)["State"] == "Pending"
        jobs.run_due()
        assert committed.json(job)["State"] == "Success"
        names = [f"{STUDY}.{each}".encode() for each in ("5.1", "5.2", "5.3", "1.4")]
        assert [sum(name in each.body for name in names) for each in receiver.got] == [1] * 4
        assert [next(name for name in names if name in each.body) for each in receiver.got] == names
    assert AuditEvent.objects.filter(event="orthanc.job.pause", detail__job=str(row.public_id)).exists()


def test_a_node_is_asked_for_the_next_study_when_its_job_is_resumed(committed: OrthancProgram) -> None:
    asked: list[str] = []

    def moving(event: Any) -> Any:
        asked.append(str(event.identifier.StudyInstanceUID))
        if len(asked) == 1:
            committed.told(f"{job}/pause")
            assert committed.json(job)["State"] == "Running"  # until what is in hand is over
            connection.close()
        yield ("127.0.0.1", 1)
        yield 0

    with application([STUDY_MOVE], [(evt.EVT_C_MOVE, moving)]) as port:
        make_node(TITLE, port=port)
        make_node("THIRD", port=1)
        studies = [{"StudyInstanceUID": f"{STUDY}.{number}"} for number in (1, 2)]
        given = {"Level": "Study", "Resources": studies, "TargetAet": "THIRD"}
        job = begun(committed, f"modalities/{TITLE}/move", given)
        jobs.run_due()
        assert (committed.json(job)["State"], committed.json(job)["Progress"], asked) == ("Paused", 50, [f"{STUDY}.1"])
        committed.told(f"{job}/resume")
        jobs.run_due()
    assert committed.json(job)["State"] == "Success" and asked == [f"{STUDY}.1", f"{STUDY}.2"]


@pytest.mark.django_db
@pytest.mark.parametrize("fails_later", [False, True])
def test_copies_are_made_of_the_rest_when_their_job_is_resumed(
    khanza: OrthancProgram, monkeypatch: pytest.MonkeyPatch, fails_later: bool
) -> None:
    monkeypatch.setattr(making, "BATCH", 2)
    for number in range(6):
        image(number + 1)
    job = begun(khanza, f"studies/{NAME}/anonymize", {})
    stored: list[int] = []
    failures = [Unreachable("for a moment")] if fails_later else []

    def stored_some(instances: Any, **_: Any) -> None:
        if len(stored) == 4 and failures:
            raise failures.pop()
        stored.extend(instances)
        if len(stored) == 2:
            khanza.told(f"{job}/pause")

    def run() -> Any:
        Job.objects.filter(orthanc_job__isnull=False).update(next_attempt_at="2020-01-01T00:00:00Z")
        jobs.run_due(limit=1)
        return khanza.json(job)

    studies_stored.connect(stored_some)
    try:
        told = run()
        assert (told["State"], told["Progress"], len(stored)) == ("Paused", 33, 2)
        khanza.told(f"{job}/resume")
        told = run()
        if fails_later:
            assert (told["State"], told["Progress"]) == ("Pending", 66)
            told = run()
    finally:
        studies_stored.disconnect(stored_some)
    assert (told["State"], told["Content"]["InstancesCount"], OrthancJob.objects.get().done) == ("Success", 6, 6)
    assert len(khanza.json(f"studies/{told['Content']['ID']}/instances")) == len(stored) == len(set(stored)) == 6


@pytest.mark.django_db
def test_who_may_not_control_a_job_does_not_pause_it(khanza: OrthancProgram) -> None:
    image(1)
    job = begun(khanza, f"studies/{NAME}/anonymize", {})
    reads = OrthancProgram(scopes=["studies.read"], name="reads")
    for action in ("pause", "resume"):
        refused(reads.post(f"{job}/{action}"), 403)
        assert khanza.get(f"{job}/{action}").status_code == 405
    refused(khanza.post(f"{job}/resume"), 400)
    assert khanza.json(job)["State"] == "Pending"
