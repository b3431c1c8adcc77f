"""Objects that are acknowledged before their rows are written: they are safe, filed at once, and once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pacs.dimse import backlog, filer
from pacs.dimse.spares import Spares
from pacs.models import HeldObject, Instance, Location, Study, Volume
from pacs.services import health
from pacs.services.collect import collect_unfinished
from pacs.services.filing import Filing, acknowledge, may_wait, note_of, overdue, wait_until_filed
from pacs.services.incoming import begin_ahead
from pacs.services.store import Source, receive, receive_part10, store_instance
from pacs.storage import Disk, backend, current_volume, open_object
from pacs.storage.waiting import WaitingDraft
from radiology.errors import OutOfResources
from radiology.models import AuditEvent, ResentDeleted, Site
from tests.daemons import STARTED, Daemon, dimse_daemon, is_frozen, wait_until
from tests.databases import gone_at_the_commit
from tests.factories import make_node
from tests.flows.raw_dicom import FIND, STORE, Peer, data_set, find_request, fragments, store_request
from tests.pacs.dimse_client import Sent, of_data_set
from tests.pacs.objects import bare, ct, part10

SEARCH = {0x00080052: b"STUDY", 0x0020000D: b""}


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """The archive in a folder of this test's own, where no daemon that runs files anything."""
    with ExitStack() as stack:
        for daemon in STARTED:
            if not daemon.ended and daemon.helpers:
                stack.enter_context(standing_still(daemon))
        Volume.objects.update(path=str(tmp_path / "archive"))
        yield Volume.objects.get()


@pytest.fixture
def source(volume: Volume) -> Source:
    return Source.of_site(Site.objects.default())


def images(number: int) -> list[Sent]:
    """Of one series."""
    study, series = generate_uid(), generate_uid()
    return [
        of_data_set(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=each, seed=each))
        for each in range(number)
    ]


def send(peer: Peer, sent: Sent) -> int:
    """The status of its C-STORE."""
    peer.sock.sendall(store_request(sent.sop_instance_uid) + fragments(STORE, sent.data))
    return peer.receive_command()["Status"]


def is_there(sent: Sent) -> bool:
    return Instance.objects.filter(sop_instance_uid=sent.sop_instance_uid).exists()


def stored(sent: Sent) -> bytes:
    """The data set in the archive."""
    location = Location.objects.select_related("volume").get(instance_ref__sop_instance_uid=sent.sop_instance_uid)
    with open_object(location=location) as file:
        return bare(file.read())


@contextmanager
def standing_still(daemon: Daemon) -> Iterator[None]:
    """It files nothing meanwhile."""
    wait_until(lambda: len(daemon.helpers) == 1)
    (helper,) = daemon.helpers
    os.kill(helper, signal.SIGSTOP)
    wait_until(lambda: is_frozen(helper))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(helper, signal.SIGCONT)


class TestDaemon:
    def test_the_first_is_filed_and_the_next_is_safe_before_they_are_acknowledged(self, dimse_server: Daemon) -> None:
        first, second = images(2)
        with Peer(dimse_server.port) as peer:
            peer.associate()
            with standing_still(dimse_server):
                assert send(peer, first) == 0
                assert is_there(first)
                assert send(peer, second) == 0
                assert not is_there(second)
                assert overdue(seconds=0) == 1
            wait_until(lambda: is_there(second), seconds=5)
        assert stored(second) == second.data
        wait_until(lambda: overdue(seconds=0) == 0)

    def test_what_the_sender_asks_next_knows_them(self, dimse_server: Daemon) -> None:
        sent = images(5)
        with Peer(dimse_server.port) as peer:
            peer.associate()
            assert [send(peer, each) for each in sent] == [0] * 5
            peer.sock.sendall(find_request() + fragments(FIND, data_set(SEARCH)))
            assert peer.final_status() == 0
            assert all(is_there(each) for each in sent)

    def test_once_the_association_is_released_all_are_findable(self, dimse_server: Daemon) -> None:
        sent = images(20)
        with Peer(dimse_server.port) as peer:
            peer.associate()
            assert [send(peer, each) for each in sent] == [0] * 20
            peer.sock.sendall(bytes.fromhex("05000000000400000000"))
            assert peer.receive()[0] == 6
        assert all(is_there(each) for each in sent)

    def test_a_connection_that_is_cut_takes_nothing_back(self, dimse_server: Daemon) -> None:
        sent = images(3)
        with Peer(dimse_server.port) as peer:
            peer.associate()
            assert [send(peer, each) for each in sent] == [0] * 3
        wait_until(lambda: all(is_there(each) for each in sent), seconds=5)

    def test_who_may_get_another_answer_waits_for_it(self, dimse_server: Daemon) -> None:
        make_node("REFUSES", conflict_answer="refuse")
        first, second = images(2)
        with Peer(dimse_server.port) as peer, standing_still(dimse_server):
            peer.associate(calling="REFUSES")
            assert (send(peer, first), send(peer, second)) == (0, 0)
            assert is_there(second)

    def test_a_site_that_refuses_what_it_deleted_does_so_at_once(self, dimse_server: Daemon) -> None:
        Site.objects.update(resent_deleted=ResentDeleted.REFUSE)
        first, second = images(2)
        with Peer(dimse_server.port) as peer, standing_still(dimse_server):
            peer.associate()
            assert (send(peer, first), send(peer, second)) == (0, 0)
            assert is_there(second)

    def test_when_nobody_files_what_comes_is_filed_before_the_answer_again(self, dimse_server: Daemon) -> None:
        first, second, third = images(3)
        with Peer(dimse_server.port, seconds=20) as peer:
            peer.associate()
            with standing_still(dimse_server):
                assert (send(peer, first), send(peer, second)) == (0, 0)
                time.sleep(0.6)  # the second has waited for too long by now
                assert send(peer, third) == 0
                assert is_there(third) and not is_there(second)
            wait_until(lambda: is_there(second), seconds=5)

    def test_a_filer_that_is_killed_is_replaced_and_goes_on(self, dimse_server: Daemon) -> None:
        sent = images(4)
        with Peer(dimse_server.port) as peer:
            peer.associate()
            with standing_still(dimse_server):
                assert [send(peer, each) for each in sent] == [0] * 4
                os.kill(dimse_server.helpers[0], signal.SIGKILL)
            wait_until(lambda: all(is_there(each) for each in sent), seconds=40)
        assert [stored(each) for each in sent] == [each.data for each in sent]

    def test_when_all_are_killed_the_next_start_files_it(self, start: Any, dimse_server: Daemon) -> None:
        daemon = start(dimse_daemon())
        sent = images(4)
        with standing_still(dimse_server):
            with Peer(daemon.port) as peer, standing_still(daemon):
                peer.associate()
                assert [send(peer, each) for each in sent] == [0] * 4
                for pid in [daemon.pid, *daemon.pids, *daemon.helpers]:
                    os.kill(pid, signal.SIGKILL)
            collect_unfinished()
            assert not is_there(sent[3])
            start(dimse_daemon())
            wait_until(lambda: all(is_there(each) for each in sent), seconds=40)
        assert [stored(each) for each in sent] == [each.data for each in sent]

    def test_the_trail_says_that_they_were_received(self, dimse_server: Daemon) -> None:
        sent = images(3)
        with Peer(dimse_server.port) as peer:
            peer.associate(calling="CT7")
            assert [send(peer, each) for each in sent] == [0] * 3
        wait_until(lambda: AuditEvent.objects.filter(event="dicom.store", detail__calling="CT7").exists())
        event = AuditEvent.objects.get(event="dicom.store", detail__calling="CT7")
        assert event.detail["instances"] == {"stored": 1, "received": 2}


def acknowledged(source: Source, data: bytes) -> Path:
    """The file of an object that was acknowledged and not filed."""
    with receive_part10(source=source) as incoming:
        incoming.write(data)
        assert may_wait(incoming)
        received = incoming.finish(note=note_of(source))
    return Path(acknowledge(received))


def acknowledged_ahead(source: Source, data: bytes) -> Path:
    """The same in a file whose name was synced before the object came."""
    (draft,) = begin_ahead(current_volume(), count=1)
    with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian, draft=draft) as incoming:
        incoming.write(bare(data))
        received = incoming.finish(note=note_of(source))
    return Path(acknowledge(received))


def after_a_power_cut(path: Path) -> Path:
    """The new name of an acknowledged file was not synced: this is what it is called then."""
    return path.rename(path.with_name(f"{path.name.partition('.')[0]}.part"))


class TestFiling:
    def test_the_rows_are_those_that_the_other_way_writes(self, source: Source) -> None:
        node = make_node("CT1", issuer_of_patient_id="HOSPITAL")
        of_node = Source.of_node(node)
        # Of one length, since UIDs that are generated are not.
        one, other = (
            ct(StudyInstanceUID=f"1.2.{n}.1", SeriesInstanceUID=f"1.2.{n}.2", SOPInstanceUID=f"1.2.{n}.3") for n in "56"
        )
        acknowledged(of_node, part10(one))
        assert Filing().run() == 1
        with receive_part10(source=of_node) as incoming:
            incoming.write(part10(other))
            store_instance(received=incoming.finish())
        rows = [
            Location.objects.values(
                "size", "data_set_offset", "transfer_syntax_uid", "volume", "instance_ref__series_ref__source_ae_title",
                "instance_ref__series_ref__study_ref__patient_ref", "instance_ref__rows", "instance_ref__sop_class_uid",
                "instance_ref__series_ref__study_ref__number_of_study_related_instances",
                "instance_ref__series_ref__study_ref__patient_ref__issuer_of_patient_id",
            ).get(instance_ref__sop_instance_uid=each.SOPInstanceUID)
            for each in (one, other)
        ]  # fmt: skip
        assert rows[0] == rows[1]
        assert rows[0]["instance_ref__series_ref__source_ae_title"] == "CT1"

    def test_a_node_that_is_gone_by_then_is_still_who_sent_it(self, source: Source) -> None:
        node = make_node("GONE")
        acknowledged(Source.of_node(node), part10(ct()))
        node.delete()
        assert Filing().run() == 1
        assert Location.objects.get().instance_ref.series_ref.source_ae_title == "GONE"

    def test_the_same_object_twice_is_one(self, source: Source, volume: Volume, tmp_path: Path) -> None:
        data = part10(ct())
        acknowledged(source, data)
        acknowledged(source, data)
        assert Filing().run() == 2
        assert Instance.objects.count() == Location.objects.count() == 1
        files = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
        assert len(files) == 1

    def test_other_pixels_under_its_uid_are_held(self, source: Source) -> None:
        uid = generate_uid()
        acknowledged(source, part10(ct(SOPInstanceUID=uid, seed=1)))
        acknowledged(source, part10(ct(SOPInstanceUID=uid, seed=2)))
        Filing().run()
        assert (Instance.objects.count(), HeldObject.objects.count()) == (1, 1)
        assert overdue(seconds=0) == 0

    def test_killed_between_the_commit_and_the_end_it_is_filed_again_to_no_effect(
        self, source: Source, volume: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = part10(ct())
        path = acknowledged(source, data)
        with monkeypatch.context() as patch:
            patch.setattr(WaitingDraft, "settle", lambda self, *, published: self.abandon())
            Filing().run()
        assert path.exists() and Instance.objects.count() == 1
        assert Filing().run() == 1
        assert not path.exists()
        with open_object(location=Location.objects.select_related("volume").get()) as file:
            assert bare(file.read()) == bare(data)

    def test_who_comes_second_does_not_take_the_file_of_who_was_first(self, source: Source, volume: Volume) -> None:
        """The first died behind its commit; the second has linked too, and must take that back."""
        path = acknowledged(source, part10(ct()))
        disk = backend(volume)
        assert isinstance(disk, Disk)
        first = WaitingDraft(disk, str(path), head_size=1024)
        lasting = disk.root / first.publish()
        first.abandon()
        second = WaitingDraft(disk, str(path), head_size=1024)
        second.publish()
        second.retract()
        second.abandon()
        assert lasting.exists()

    def test_two_at_the_same_time_file_it_once(self, source: Source, volume: Volume) -> None:
        path = acknowledged(source, part10(ct()))
        disk = backend(volume)
        assert isinstance(disk, Disk)
        other = WaitingDraft(disk, str(path), head_size=1024)
        assert Filing().run() == 0
        other.abandon()
        assert Filing().run() == 1
        with pytest.raises(FileNotFoundError):
            WaitingDraft(disk, str(path), head_size=1024)

    def test_one_that_cannot_be_filed_waits_by_itself_and_is_told_of(
        self, source: Source, volume: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = acknowledged(source, part10(ct()))
        os.truncate(bad, 1024 + 100)  # a disk that does not give back what it was given
        good = [acknowledged(source, part10(ct())) for _ in range(3)]
        filing = Filing()
        filing.run()
        time.sleep(0.6)
        filing.run()
        assert Instance.objects.count() == 3
        assert bad.exists() and not any(path.exists() for path in good)
        monkeypatch.setattr(health, "UNFILED", health.timedelta(0))
        assert [sign.well for sign in health.signs() if "not filed" in sign.sentence] == [False]
        bad.unlink()
        assert not [sign for sign in health.signs() if "not filed" in sign.sentence]

    def test_when_the_database_goes_at_the_commit_they_wait_and_are_then_filed(self, source: Source) -> None:
        paths = [acknowledged(source, part10(ct())) for _ in range(3)]
        filing = Filing()
        with gone_at_the_commit("pacs_location"):
            assert filing.run() == 0
        assert not Instance.objects.exists()
        assert all(path.exists() for path in paths)
        wait_until(lambda: filing.run() == 0 and not overdue(seconds=0), seconds=10)
        assert Instance.objects.count() == 3

    def test_a_volume_that_does_not_answer_keeps_none_waiting(self, source: Source, tmp_path: Path) -> None:
        path = acknowledged(source, part10(ct()))
        dead = tmp_path / "dead"
        dead.mkdir()
        (dead / "incoming").write_text("no folder")
        Volume.objects.create(pk=-1, name="dead", path=str(dead), is_active=False)
        assert Filing().run() == 1
        assert not path.exists()
        assert wait_until_filed(seconds=0.05)

    def test_the_collector_leaves_them(self, source: Source) -> None:
        path = acknowledged(source, part10(ct()))
        assert collect_unfinished() == 0
        assert path.exists()
        assert Filing().run() == 1

    def test_who_needs_them_waits_for_them(self, source: Source) -> None:
        acknowledged(source, part10(ct()))
        assert not wait_until_filed(seconds=0.05)
        Filing().run()
        assert wait_until_filed(seconds=0.05)

    def test_a_disk_that_does_not_sync_the_name_acknowledges_nothing(
        self, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(folder: Path) -> None:
            raise OSError(5, "input/output error")

        acknowledged(source, part10(ct()))  # the folders are there
        assert Filing().run() == 1
        with monkeypatch.context() as patch:
            patch.setattr("pacs.storage.disk.sync_folder", broken)
            with pytest.raises(OutOfResources):
                acknowledged(source, part10(ct()))
        assert Filing().run() == 1, "who sent it may send it again; what lies there is nobody's to keep locked"


class TestPowerCut:
    """What is acknowledged in a file whose name was synced ahead; its new name may be lost.

    A small object is written at once, a large one while it arrives.
    """

    @pytest.fixture(params=[16, 512], ids=["small", "large"])
    def data(self, request: pytest.FixtureRequest) -> bytes:
        return part10(ct(side=request.param))

    def test_it_is_found_by_who_files_and_filed_once(self, source: Source, volume: Volume, data: bytes) -> None:
        left = after_a_power_cut(acknowledged_ahead(source, data))
        assert Filing().run() == 1
        assert not left.exists() and overdue(seconds=0) == 0
        location = Location.objects.select_related("volume").get()
        with open_object(location=location) as file:
            assert bare(file.read()) == bare(data)
        assert location.instance_ref.series_ref.source_ae_title == source.ae_title
        assert Filing().run() == 0

    def test_the_collector_that_comes_first_leaves_it(self, source: Source, data: bytes) -> None:
        after_a_power_cut(acknowledged_ahead(source, data))
        assert collect_unfinished() == 0
        assert Filing().run() == 1
        assert Instance.objects.count() == 1

    def test_both_names_may_be_there_and_are_one_object(self, source: Source, volume: Volume, data: bytes) -> None:
        path = acknowledged_ahead(source, data)
        other = path.with_name(f"{path.name.partition('.')[0]}.part")
        os.link(path, other)
        assert Filing().run() == 1
        assert collect_unfinished() == 1, "the other name, which says nothing any more"
        assert not path.exists() and not other.exists()
        assert Instance.objects.count() == 1
        with open_object(location=Location.objects.select_related("volume").get()) as file:
            assert file.read(132).endswith(b"DICM")

    @pytest.mark.parametrize("damage", ["shorter", "longer", "other", "empty", "head"])
    def test_what_is_not_complete_is_nobodys_object(self, source: Source, data: bytes, damage: str) -> None:
        left = after_a_power_cut(acknowledged_ahead(source, data))
        whole = left.read_bytes()
        left.write_bytes({
            "shorter": whole[:-2],
            "longer": whole + bytes(2),
            "other": whole[:-100] + bytes(100),  # of which the disk got the size, not the bytes
            "empty": b"",
            "head": whole[:1024],
        }[damage])  # fmt: skip
        assert Filing().run() == 0
        assert collect_unfinished() == 1
        assert not left.exists() and not Instance.objects.exists()

    @pytest.mark.parametrize("was_cut", [False, True])
    def test_readers_get_what_the_other_way_stores(self, source: Source, data: bytes, was_cut: bool) -> None:
        path = acknowledged_ahead(source, data)
        if was_cut:
            after_a_power_cut(path)
        assert Filing().run() == 1
        with open_object(location=Location.objects.select_related("volume").get()) as file:
            filed = file.read()
        Study.objects.all().delete()
        with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian) as incoming:
            incoming.write(bare(data))
            store_instance(received=incoming.finish())
        with open_object(location=Location.objects.select_related("volume").get()) as file:
            assert filed == file.read()

    def test_the_head_says_it_until_the_name_is_synced(
        self, source: Source, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = acknowledged_ahead(source, data)

        def broken(folder: Path) -> None:
            raise OSError(5, "input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("pacs.storage.waiting.sync_folder", broken)
            assert Filing().run() == 0
        after_a_power_cut(path)
        assert Filing().run() == 1
        assert Instance.objects.count() == 1

    def test_files_that_were_begun_ahead_are_no_objects(self, source: Source) -> None:
        drafts = begin_ahead(current_volume(), count=3)
        assert Filing().run() == 0 and collect_unfinished() == 0
        assert all(draft.exists() for draft in drafts)
        for draft in drafts:
            draft.abandon()  # their process is killed
        assert Filing().run() == 0 and overdue(seconds=0) == 0
        assert collect_unfinished() == 3
        assert not any(draft.exists() for draft in drafts)

    def test_one_that_was_sealed_and_never_acknowledged_may_be_filed_too(self, source: Source, data: bytes) -> None:
        (draft,) = begin_ahead(current_volume(), count=1)
        with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian, draft=draft) as incoming:
            incoming.write(bare(data))
            received = incoming.finish(note=note_of(source))
        received.draft.abandon()  # killed before the answer
        assert Filing().run() == 1
        assert Instance.objects.count() == 1

    def test_one_that_waits_for_its_rows_is_not_taken_for_acknowledged(self, source: Source, data: bytes) -> None:
        (draft,) = begin_ahead(current_volume(), count=1)
        with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian, draft=draft) as incoming:
            incoming.write(bare(data))
            received = incoming.finish()
        received.draft.abandon()
        assert Filing().run() == 0
        assert collect_unfinished() == 1

    def test_the_names_are_synced_before_any_of_them_is_used(
        self, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(folder: Path) -> None:
            raise OSError(5, "input/output error")

        backend(current_volume()).require_space(0)  # the folders are there
        with monkeypatch.context() as patch:
            patch.setattr("pacs.storage.disk.sync_folder", broken)
            with pytest.raises(OutOfResources):
                begin_ahead(current_volume(), count=2)
        assert collect_unfinished() == 0, "nothing is left of them"


def test_files_begun_ahead_are_of_the_volume_that_is_asked_for_and_none_is_left(
    source: Source, volume: Volume, tmp_path: Path
) -> None:
    other = Volume.objects.create(name="other", path=str(tmp_path / "other"))
    spares = Spares()
    assert spares.take(volume) is None
    for place in (volume, other, volume):
        spares.prepare(place)
        for _ in range(20):  # more and more at once
            draft = spares.take(place)
            assert draft is not None and draft.is_named and draft.disk is backend(place)
            spares.prepare(place)
            draft.discard()
    spares.discard()
    for place in (volume, other):
        disk = backend(place)
        assert isinstance(disk, Disk) and not disk.drafts()


def test_while_nobody_files_it_is_waited_for_once_and_not_for_each_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    now = [100.0]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(backlog, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    waiting = backlog.Backlog()
    reader, waiting.filer = os.pipe()
    path = tmp_path / "waiting"
    path.touch()
    assert waiting.has_room()
    waiting.add(str(path))
    assert waiting.has_room() and not pauses
    now[0] += 1.0
    assert not waiting.has_room() and pauses
    pauses.clear()
    assert not waiting.has_room() and not waiting.has_room()
    assert not pauses
    path.unlink()
    assert waiting.has_room()
    waiting.add(str(tmp_path))
    now[0] += 1.0
    assert not waiting.has_room() and pauses, "it is waited for again"
    for descriptor in (reader, waiting.filer):
        os.close(descriptor)


def test_who_files_is_not_woken_for_each_object(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(backlog, "time", SimpleNamespace(monotonic=lambda: now[0]))
    waiting = backlog.Backlog()
    reader, waiting.filer = os.pipe()
    for _ in range(40):
        waiting.add("/one")
        now[0] += 0.01
    calls = os.read(reader, 100)
    assert 4 <= len(calls) <= 10
    waiting.add("/one")
    waiting.hurry()
    waiting.add("/another")
    assert os.read(reader, 100).endswith(backlog.NOW + backlog.MORE), "it may have looked already"
    for descriptor in (reader, waiting.filer):
        os.close(descriptor)


def test_who_files_looks_again_for_what_it_was_not_called_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    calls, caller = os.pipe()
    filing = filer.Filer(calls)
    found = iter([0, 0, 3, 0, 0, 0])

    def run() -> int:
        try:
            return next(found)
        except StopIteration:
            filing._end(signal.SIGTERM, None)
            return 0

    monkeypatch.setattr(filing, "_filing", SimpleNamespace(run=run))
    poll = SimpleNamespace(register=lambda *_: None, poll=pauses.append)
    monkeypatch.setattr(filer, "select", SimpleNamespace(poll=lambda: poll, POLLIN=1))
    monkeypatch.setattr(filer.signal, "signal", lambda *_: None)
    filing.run()
    assert pauses == [100.0, 100.0, 100.0, 100.0, 1000.0, 1000.0]
    for descriptor in (calls, caller):
        os.close(descriptor)


def test_nothing_is_acknowledged_before_its_sync(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(file: int) -> None:
        said.append("fsync")
        fsync(file)

    def noted_rename(one: Path, other: Path) -> None:
        said.append("rename")
        rename(one, other)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    acknowledged(source, part10(ct()))
    assert said[-3:] == ["fsync", "rename", "fsync"]
    said.clear()
    acknowledged_ahead(source, part10(ct()))
    assert said == ["fsync", "fsync", "rename"], "the folder with the name that it has from the beginning, the file"
    said.clear()
    (draft,) = begin_ahead(current_volume(), count=1)
    with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian, draft=draft) as incoming:
        incoming.write(bare(part10(ct(side=512))))
        received = incoming.finish(note=note_of(source))
    acknowledge(received)
    assert received.size > 64 * 1024
    assert said == ["fsync", "fsync", "rename"], "a large one likewise"


def test_stores_echoes_and_queries_over_one_association_are_answered_in_order(dimse_server: Daemon) -> None:
    sent = images(4)
    with Peer(dimse_server.port) as peer:
        peer.associate()
        for each in sent:
            assert send(peer, each) == 0
            assert peer.echo() == 0
        peer.sock.sendall(find_request() + fragments(FIND, data_set(SEARCH)))
        assert peer.final_status() == 0
    assert all(is_there(each) for each in sent)
