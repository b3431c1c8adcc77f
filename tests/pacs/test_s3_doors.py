"""The same study on a disk and in a bucket comes back identical through every door, and survives kill -9."""

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from django.core.management import call_command
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import build_context

from pacs.models import Instance, Location, Study
from pacs.services.collect import collect_unfinished
from radiology.models import Site
from radiology.services.access import issue_token
from tests.daemons import Daemon, dimse_daemon, wait_until
from tests.flows.raw_dicom import STORE, Peer, fragments, store_request
from tests.pacs.dimse_client import Sent, contexts_of, get, of_data_set, of_file, store
from tests.pacs.object_store import ObjectStore, down
from tests.pacs.objects import ct, real

NAMES = ["CT_small.dcm", "JPEG2000.dcm", "test-SR.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm"]
IMAGES, KILLS, ASSOCIATIONS = 60, 5, 3


@pytest.fixture(autouse=True)
def _committed(committed_db: None, object_store: ObjectStore) -> Iterator[None]:
    object_store.break_with()
    yield
    object_store.break_with()


def of_one_study() -> tuple[str, list[Sent]]:
    """Objects of several kinds; each keeps its own study."""
    chosen = [of_file(real(name)) for name in NAMES]
    study = generate_uid()
    many = [ct(side=64, seed=n, StudyInstanceUID=study, InstanceNumber=n) for n in range(5)]
    return study, [*chosen, *map(of_data_set, many)]


def study_of(sent: Sent) -> tuple[str, str, str]:
    instance = Instance.objects.select_related("series_ref__study_ref").get(sop_instance_uid=sent.sop_instance_uid)
    series = instance.series_ref
    return series.study_ref.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid


def through_every_door(port: int, url: str, objects: list[Sent]) -> dict[str, Any]:
    """What C-GET and WADO-RS give, by door and instance."""
    token = issue_token(name=f"program-{generate_uid()}", scopes=["studies.read"], site=Site.objects.default())[1]
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    client = DICOMwebClient(url=f"{url}/dicom-web", session=session)
    found: dict[str, Any] = {}
    for sent in objects:
        uids = study_of(sent)
        received, status, _ = get(
            port,
            contexts_of([sent]),
            QueryRetrieveLevel="IMAGE",
            StudyInstanceUID=uids[0],
            SeriesInstanceUID=uids[1],
            SOPInstanceUID=uids[2],
        )
        assert status.Status == 0
        found[f"C-GET {uids[2]}"] = [(each.transfer_syntax_uid, each.sha256) for each in received]
        address = f"{url}/dicom-web/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"
        for name, accept in (
            ("object", 'multipart/related; type="application/dicom"; transfer-syntax=*'),
            ("single", "application/dicom; transfer-syntax=*"),
            ("explicit", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'),
        ):
            answer = session.get(address, headers={"Accept": accept})
            assert answer.status_code == 200, (name, answer.text[:200])
            content = answer.content
            boundary = answer.headers["Content-Type"].partition("boundary=")[2].strip('"')
            if boundary:
                content = content.replace(boundary.encode(), b"")
            found[f"{name} {uids[2]}"] = hashlib.sha256(content).hexdigest()
        found[f"metadata {uids[2]}"] = client.retrieve_instance_metadata(*uids)
        if pydicom.Dataset.from_json(found[f"metadata {uids[2]}"]).get("Rows"):
            found[f"frame {uids[2]}"] = client.retrieve_instance_frames(*uids, frame_numbers=[1])
            found[f"rendered {uids[2]}"] = client.retrieve_instance_rendered(*uids, media_types=("image/png",))
    studies = {study_of(sent)[0] for sent in objects}
    for study in sorted(studies):
        found[f"study metadata {study}"] = sorted(
            client.retrieve_study_metadata(study), key=lambda each: str(each["00080018"]["Value"])
        )
    return found


def test_the_same_study_on_disk_and_in_a_bucket_comes_back_identical_through_every_door(
    dimse_server: Daemon, web_server: Daemon, object_store: ObjectStore
) -> None:
    _study, objects = of_one_study()
    assert set(store(dimse_server.port, objects).values()) == {0}
    assert {each.volume.kind for each in Location.objects.select_related("volume")} == {"disk"}
    from_disk = through_every_door(dimse_server.port, web_server.url, objects)
    Study.objects.all().delete()

    volume = object_store.volume()
    assert set(store(dimse_server.port, objects).values()) == {0}
    assert {each.volume for each in Location.objects.select_related("volume")} == {volume}
    assert len(object_store.keys(volume)) == len(objects)
    from_bucket = through_every_door(dimse_server.port, web_server.url, objects)
    assert from_bucket.keys() == from_disk.keys()
    for door, answer in from_disk.items():
        assert from_bucket[door] == answer, door
    for sent in objects:
        assert from_bucket[f"C-GET {sent.sop_instance_uid}"] == [(sent.transfer_syntax_uid, sent.sha256)]


def test_while_the_store_is_gone_images_are_refused_and_afterwards_taken(
    dimse_server: Daemon, object_store: ObjectStore
) -> None:
    volume = object_store.volume()
    sent = of_data_set(ct())
    object_store.break_with(down())
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0xA700}
    assert not Instance.objects.exists()
    object_store.break_with()
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}
    staging = dimse_server.data / "staging" / str(volume.pk) / "incoming"
    assert all(path.stat().st_size == 0 for path in staging.iterdir())


def test_an_answer_is_507_when_the_store_is_gone_while_reading(
    dimse_server: Daemon, web_server: Daemon, object_store: ObjectStore
) -> None:
    object_store.volume()
    sent = of_data_set(ct())
    store(dimse_server.port, [sent])
    study, series, instance = study_of(sent)
    token = issue_token(name="program", scopes=["studies.read"], site=Site.objects.default())[1]
    address = f"{web_server.url}/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom"}
    object_store.break_with(down())
    answer = requests.get(address, headers=headers, timeout=120)
    assert answer.status_code == 507 and "object store" in answer.json()["detail"]
    object_store.break_with({"method": "GET", "fault": "cut-down", "after": 700, "times": 2})
    answer = requests.get(address, headers=headers, timeout=120)
    assert answer.status_code == 200 and answer.content.endswith(sent.data)


class Sender(threading.Thread):
    """Sends one by one, begins anew when the line is cut, and writes down what was acknowledged."""

    def __init__(self, port: int, objects: list[Sent]) -> None:
        super().__init__()
        self.port, self.waiting = port, objects
        self.ledger: list[Sent] = []
        self.cuts = 0

    def run(self) -> None:
        until = time.monotonic() + 150
        while self.waiting and time.monotonic() < until:
            try:
                with Peer(self.port) as peer:
                    peer.associate()
                    while self.waiting:
                        sent = self.waiting[0]
                        peer.sock.sendall(store_request(sent.sop_instance_uid) + fragments(STORE, sent.data))
                        if peer.receive_command()["Status"] == 0:
                            self.ledger.append(self.waiting.pop(0))
            except (OSError, ConnectionError):
                self.cuts += 1
                time.sleep(0.05)


def test_what_was_acknowledged_survives_kill_9_and_a_bad_line_once_and_identical(
    start: Callable[[Daemon], Daemon], object_store: ObjectStore, settings: Any
) -> None:
    volume = object_store.volume()
    daemon = start(dimse_daemon())
    study = generate_uid()
    objects = [of_data_set(ct(side=200, seed=n, StudyInstanceUID=study, InstanceNumber=n)) for n in range(IMAGES)]
    faults = ("500", "503", "cut-up", "lose-answer", "damage")
    object_store.break_with(
        *({"method": "PUT", "path": hex(n)[2:] + ".dcm", "fault": faults[n % 5], "times": 2} for n in range(16))
    )
    senders = [Sender(daemon.port, objects[n::ASSOCIATIONS]) for n in range(ASSOCIATIONS)]
    for sender in senders:
        sender.start()
    chance = random.Random(11)
    for number in range(1, KILLS + 1):
        wait_until(partial(have_sent, senders, number * IMAGES // (KILLS + 2)), seconds=120)
        wait_until(lambda: daemon.pids, seconds=30)
        os.kill(chance.choice(daemon.pids), signal.SIGKILL)
    for sender in senders:
        sender.join()
    assert any(each["fault"] for each in object_store.seen())
    acknowledged = [sent for sender in senders for sent in sender.ledger]
    assert len(acknowledged) == IMAGES and sum(sender.cuts for sender in senders) >= 1
    received, status, _ = get(
        daemon.port,
        [build_context(CTImageStorage, objects[0].transfer_syntax_uid)],
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID=study,
    )
    assert status.Status == 0 and len(received) == IMAGES
    assert {each.sop_instance_uid: each.sha256 for each in received} == {
        each.sop_instance_uid: each.sha256 for each in acknowledged
    }
    daemon.stop()
    collect_unfinished()
    assert sorted(object_store.keys(volume)) == sorted(
        f"sinar/{path}" for path in Location.objects.values_list("path", flat=True)
    )
    staging = Path(settings.SINAR_DATA, "staging", str(volume.pk), "incoming")
    assert list(staging.iterdir()) == []
    call_command("verifyarchive", "--volume", volume.name, "--orphan-age", "0")


def have_sent(senders: list[Sender], number: int) -> bool:
    return sum(len(sender.ledger) for sender in senders) >= number
