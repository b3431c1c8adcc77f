"""C-STORE (PS3.4 Annex B): every class and syntax comes back as it was sent; what is wrong is said."""

import hashlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import build_context

from pacs.dimse import message, pdu
from pacs.models import HeldObject, Instance, Location, Study
from pacs.storage import open_object
from radiology.models import AuditEvent, Patient
from tests.daemons import dimse_daemon, wait_until
from tests.factories import make_node
from tests.pacs.dimse_client import Sent, associate, contexts_of, get, of_data_set, of_file, store, store_over
from tests.pacs.objects import REAL, ct, real

MORE_REAL = Path(pydicom.__file__).parent.parent / "data_store" / "data"  # the package pydicom-data


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


def readable(folder: Path) -> list[Path]:
    """The files of `folder` that pydicom reads as they are and that say what they are, each content once."""
    found: dict[bytes, Path] = {}
    for path in sorted(folder.glob("*.dcm")):
        try:
            data_set = dcmread(path)
        except Exception:
            continue
        if "TransferSyntaxUID" in data_set.file_meta and "SOPInstanceUID" in data_set:
            found.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    return list(found.values())


def one_of_each_syntax() -> list[Path]:
    """A real object of each transfer syntax among the files of pydicom and pydicom-data."""
    chosen: dict[str, Path] = {}
    for path in readable(REAL) + readable(MORE_REAL):
        if "truncated" not in path.name:
            chosen.setdefault(str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID), path)
    return list(chosen.values())


def returned(port: int, sent: Sent) -> list[Sent]:
    received, status, _ = get(
        port,
        contexts_of([sent]),
        QueryRetrieveLevel="IMAGE",
        StudyInstanceUID="",
        SOPInstanceUID=sent.sop_instance_uid,
    )
    assert status.Status == 0
    return received


def archived(sop_instance_uid: str) -> bytes:
    location = Location.objects.select_related("volume").get(instance_ref__sop_instance_uid=sop_instance_uid)
    with open_object(location=location) as file:
        file.seek(location.data_set_offset)
        return file.read()


@pytest.mark.parametrize("path", one_of_each_syntax(), ids=lambda path: path.name)
def test_a_real_object_of_each_syntax_comes_back_byte_by_byte(dimse_server, path):
    sent = of_file(path)
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}
    assert returned(dimse_server.port, sent) == [sent]


def test_an_object_of_a_class_that_nobody_registered_comes_back_byte_by_byte(dimse_server):
    sent = of_data_set(ct(SOPClassUID="1.2.3.999"))
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}
    assert returned(dimse_server.port, sent) == [sent]


def test_pydicoms_own_files_are_accepted_or_refused_in_so_many_words(dimse_server):
    objects = [of_file(path) for path in readable(REAL)]
    assert len(objects) >= 66
    association = associate(dimse_server.port, contexts_of(objects))
    statuses = []
    for number, sent in enumerate(objects, 1):
        response = store_over(association, sent, number)
        assert response is not None and association.is_established
        statuses.append(response.Status)
        assert response.Status == 0 or response.ErrorComment
    association.release()
    assert statuses.count(0) >= 58
    assert set(statuses) <= {0x0000, 0xA900, 0xC000}


def test_storescu_as_it_comes_stores(dimse_server, tool):
    files = [str(real(name)) for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")]
    subprocess.run([tool("storescu"), "127.0.0.1", str(dimse_server.port), *files], check=True, timeout=30)
    assert Instance.objects.count() == 3


def broken() -> list:
    """Objects that are wrong, and the status that says so."""
    good = of_data_set(ct())
    other = generate_uid()
    return [
        pytest.param(Sent(CTImageStorage, other, ExplicitVRLittleEndian, good.data), 0xA900, id="another instance"),
        pytest.param(
            Sent("1.2.840.10008.5.1.4.1.1.4", good.sop_instance_uid, ExplicitVRLittleEndian, good.data),
            0xA900,
            id="another class",
        ),
        pytest.param(
            Sent(CTImageStorage, other, ExplicitVRLittleEndian, of_data_set(ct(SOPInstanceUID=None)).data),
            0xA900,
            id="no instance UID",
        ),
        pytest.param(
            Sent(CTImageStorage, good.sop_instance_uid, ExplicitVRLittleEndian, good.data[:-100]),
            0xC000,
            id="truncated",
        ),
        pytest.param(Sent(CTImageStorage, other, ExplicitVRLittleEndian, bytes(10_000)), 0xA900, id="zeros"),
        pytest.param(Sent(CTImageStorage, other, ExplicitVRLittleEndian, b"GET / HTTP" * 999), 0xC000, id="no DICOM"),
    ]


@pytest.mark.parametrize(("wrong", "status"), broken())
def test_what_is_wrong_is_refused_logged_and_leaves_nothing_and_the_next_object_goes_on(dimse_server, wrong, status):
    said, there = len(dimse_server.output), files(dimse_server)
    good = of_data_set(ct())
    association = associate(dimse_server.port, contexts_of([wrong, good]))
    response = store_over(association, wrong)
    assert (response.Status, bool(response.ErrorComment)) == (status, True)
    assert store_over(association, good).Status == 0
    association.release()
    assert list(Instance.objects.values_list("sop_instance_uid", flat=True)) == [good.sop_instance_uid]
    lines = [json.loads(line) for line in dimse_server.output[said:].splitlines() if "message_failed" in line]
    assert [line["status"] for line in lines] == [f"{status:04X}"]
    assert len(files(dimse_server) - there) == 1


def files(daemon) -> set[Path]:
    """All files of the archive, those under way included. Earlier tests leave theirs without rows."""
    return {path for path in (daemon.data / "archive").rglob("*") if path.is_file()}


def test_an_object_over_the_limit_is_refused_when_it_has_gone_by_and_the_next_goes_on(start):
    daemon = start(dimse_daemon(SINAR_MAX_OBJECT_SIZE="100000"))
    large, small = of_data_set(ct(side=1024)), of_data_set(ct())
    association = associate(daemon.port, contexts_of([large]))
    assert store_over(association, large).Status == 0xA700
    assert store_over(association, small).Status == 0
    association.release()
    assert Instance.objects.get().sop_instance_uid == small.sop_instance_uid


def test_a_connection_cut_amid_an_object_leaves_nothing(dimse_server):
    sent, there = of_data_set(ct(side=1024)), files(dimse_server)
    for part in (0, 1, 100_000, len(sent.data) - 1):
        association = associate(dimse_server.port, contexts_of([sent]))
        cut = Sent(sent.sop_class_uid, sent.sop_instance_uid, sent.transfer_syntax_uid, sent.data[:part])
        send_half(association, cut)
    wait_until(lambda: files(dimse_server) <= there, what="the drafts are removed")
    assert not Instance.objects.exists()
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}


def send_half(association, sent: Sent) -> None:
    """The command and a first part of the data set, then the line is cut."""
    sock = association.dul.socket.socket
    association._reactor_checkpoint.clear()
    command = message.encode(
        {
            "AffectedSOPClassUID": sent.sop_class_uid,
            "CommandField": 1,
            "MessageID": 1,
            "Priority": 0,
            "CommandDataSetType": 1,
            "AffectedSOPInstanceUID": sent.sop_instance_uid,
        }
    )
    for control, data in ((3, command), (0, sent.data)):
        for at in range(0, len(data), 100_000):
            part = data[at : at + 100_000]
            sock.sendall(pdu.HEADER.pack(4, len(part) + 6) + pdu.PDV_HEADER.pack(len(part) + 2, 1, control) + part)
    sock.close()
    association._reactor_checkpoint.set()
    association.kill()


def test_the_same_object_again_changes_nothing(dimse_server):
    sent = of_data_set(ct())
    for _ in range(2):
        assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}
    assert Instance.objects.count() == Location.objects.count() == 1 and not HeldObject.objects.exists()


@pytest.mark.parametrize(("answer", "status"), [("accept", 0x0000), ("refuse", 0xC000)])
def test_other_pixels_under_a_known_uid_are_held_and_answered_as_the_nodes_policy_says(dimse_server, answer, status):
    make_node("CT1", conflict_answer=answer)
    uids: dict[str, Any] = {
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
    }
    first, second = of_data_set(ct(seed=1, **uids)), of_data_set(ct(seed=2, **uids))
    assert store(dimse_server.port, [first], calling="CT1") == {first.sop_instance_uid: 0}
    association = associate(dimse_server.port, contexts_of([second]), calling="CT1")
    response = store_over(association, second)
    association.release()
    assert response.Status == status
    assert 0 < len(response.ErrorComment) <= 64
    assert archived(first.sop_instance_uid) == first.data
    assert HeldObject.objects.get().source_ae_title == "CT1"


def test_twenty_senders_of_the_same_objects_make_each_once(dimse_server):
    study, series = generate_uid(), generate_uid()
    objects = [of_data_set(ct(seed=n, StudyInstanceUID=study, SeriesInstanceUID=series)) for n in range(10)]
    statuses: list[int] = []

    def send() -> None:
        statuses.extend(store(dimse_server.port, objects).values())

    senders = [threading.Thread(target=send) for _ in range(20)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [0] * 200
    assert Instance.objects.count() == Location.objects.count() == 10
    assert Study.objects.get().number_of_study_related_instances == 10
    assert Patient.objects.count() == 1 and not HeldObject.objects.exists()
    assert {each.sop_instance_uid: archived(each.sop_instance_uid) for each in objects} == {
        each.sop_instance_uid: each.data for each in objects
    }


def test_an_association_that_stored_is_audited_once_a_study(dimse_server):
    studies = [generate_uid(), generate_uid()]
    objects = [of_data_set(ct(StudyInstanceUID=uid)) for uid in (studies[0], studies[0], studies[1])]
    store(dimse_server.port, objects, calling="CT1")
    wait_until(lambda: AuditEvent.objects.filter(event="dicom.store", study_instance_uid__in=studies).count() == 2)
    event = AuditEvent.objects.get(study_instance_uid=studies[0])
    assert (event.address, event.detail["calling"], event.detail["instances"]) == (
        "127.0.0.1",
        "CT1",
        {"stored": 1, "received": 1},  # the second was acknowledged before its row was written
    )


def test_an_answer_is_the_truth_for_every_process_within_a_second(dimse_server):
    sent = of_data_set(ct())
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}
    for _ in range(4):  # whichever worker answers
        assert returned(dimse_server.port, sent) == [sent]


def test_implicit_little_endian_is_stored_as_it_came(dimse_server):
    sent = of_file(real("MR_small_implicit.dcm"))
    association = associate(
        dimse_server.port, [build_context(sent.sop_class_uid, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    )
    assert store_over(association, sent).Status == 0
    association.release()
    assert archived(sent.sop_instance_uid) == sent.data
