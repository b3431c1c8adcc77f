"""Objects in a bucket: durable before anybody is told, once, identical, whatever the line to the store does."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from django.conf import settings as django_settings

from pacs.models import HeldObject, Instance, Location, Volume
from pacs.services.collect import collect_unfinished
from pacs.services.data_set import OpenDataSet
from pacs.services.store import Source, Stored, StoreOutcome, receive_part10, store_instance
from pacs.storage import Expected, backend, open_mapped_object, open_object
from pacs.storage.disk import path_of
from pacs.storage.s3 import S3
from radiology.errors import OutOfResources
from radiology.models import Site
from tests.daemons import ROOT
from tests.pacs.object_store import ALWAYS, ObjectStore, down
from tests.pacs.objects import bare, ct, part10

MEGABYTE = 1024 * 1024


@pytest.fixture
def store(object_store: ObjectStore, db: None, settings: Any, tmp_path: Path) -> Iterator[ObjectStore]:
    settings.SINAR_DATA = tmp_path
    settings.SINAR_S3_TIMEOUT = 2.0
    object_store.break_with()
    yield object_store
    object_store.break_with()


@pytest.fixture
def volume(store: ObjectStore) -> Volume:
    return store.volume()


@pytest.fixture
def source(volume: Volume) -> Source:
    return Source.of_site(Site.objects.default(), "TESTER")


def put(source: Source, file: bytes) -> Stored:
    with receive_part10(source=source) as incoming:
        for start in range(0, len(file), MEGABYTE):
            incoming.write(file[start : start + MEGABYTE])
        received = incoming.finish()
    return store_instance(received=received)


def big(megabytes: int, **attributes: Any) -> bytes:
    """A CT that is larger than what goes in one request."""
    side = int((megabytes * MEGABYTE / 2) ** 0.5)
    pixels = numpy.random.default_rng(1).integers(0, 4096, (side, side), dtype=numpy.uint16)
    return part10(ct(Rows=side, Columns=side, PixelData=pixels.tobytes(), **attributes))


def staged(volume: Volume) -> list[Path]:
    folder = Path(django_settings.SINAR_DATA, "staging", str(volume.pk))
    return [path for path in folder.rglob("*") if path.is_file()]


def content(location: Location) -> bytes:
    with open_object(location=location) as file:
        return file.read()


def test_what_was_stored_lies_in_the_bucket_and_comes_back(store: ObjectStore, volume: Volume, source: Source) -> None:
    file = part10(ct())
    assert put(source, file).outcome is StoreOutcome.STORED
    location = Location.objects.get()
    assert location.volume == volume
    assert store.keys(volume) == [f"sinar/{location.path}"]
    assert content(location)[location.data_set_offset :] == bare(file)
    assert content(location) == store.content(volume, location.path)
    assert bytes(location.sha256) == hashlib.sha256(bare(file)).digest()
    assert staged(volume) == []


def test_a_large_object_goes_in_parts(store: ObjectStore, volume: Volume, source: Source) -> None:
    file = big(40)
    assert put(source, file).outcome is StoreOutcome.STORED
    location = Location.objects.get()
    assert hashlib.sha256(content(location)[1024:]).digest() == bytes(location.sha256)
    parts = [each for each in store.seen() if each["method"] == "PUT" and "partNumber" in each["path"]]
    assert len(parts) == 3
    assert store.uploads(volume) == []


@pytest.mark.parametrize("fault", ["500", "503", "cut-up", "lose-answer", "damage"])
@pytest.mark.parametrize("size", [0, 20], ids=["small", "in parts"])
def test_a_fault_while_writing_is_survived(
    store: ObjectStore, volume: Volume, source: Source, fault: str, size: int
) -> None:
    file = big(size) if size else part10(ct(side=128))
    store.break_with({"method": "PUT", "fault": fault, "times": 2, "after": 5000})
    assert put(source, file).outcome is StoreOutcome.STORED
    assert [each["fault"] for each in store.seen() if each["fault"]] == [fault, fault]
    location = Location.objects.get()
    assert content(location)[1024:] == bare(file)
    assert store.keys(volume) == [f"sinar/{location.path}"]
    assert staged(volume) == []


@pytest.mark.parametrize("query", ["uploads", "uploadId="])
def test_a_lost_answer_to_the_frame_of_an_upload_in_parts_is_survived(
    store: ObjectStore, volume: Volume, source: Source, query: str
) -> None:
    file = big(20)
    store.break_with({"method": "POST", "path": query, "fault": "lose-answer"})
    assert put(source, file).outcome is StoreOutcome.STORED
    assert content(Location.objects.get())[1024:] == bare(file)


def test_a_store_that_says_nothing_is_asked_again(store: ObjectStore, volume: Volume, source: Source) -> None:
    store.break_with({"method": "PUT", "fault": "stall", "seconds": 10})
    assert put(source, part10(ct())).outcome is StoreOutcome.STORED
    assert len([each for each in store.seen() if each["method"] == "PUT"]) == 2


def test_bytes_that_always_arrive_damaged_are_never_acknowledged(
    store: ObjectStore, volume: Volume, source: Source
) -> None:
    store.break_with({"method": "PUT", "fault": "damage", "times": ALWAYS})
    with pytest.raises(OutOfResources, match="damaged on the way"):
        put(source, part10(ct()))
    assert not Instance.objects.exists()
    assert store.keys(volume) == [] and staged(volume) == []


@pytest.mark.parametrize("size", [0, 20], ids=["small", "in parts"])
def test_while_the_store_is_gone_nothing_is_acknowledged_and_afterwards_it_goes_on(
    store: ObjectStore, volume: Volume, source: Source, size: int
) -> None:
    file = big(size) if size else part10(ct())
    store.break_with(down())
    with pytest.raises(OutOfResources, match="object store of the volume bucket"):
        put(source, file)
    asked = len(store.seen())
    with pytest.raises(OutOfResources):
        put(source, file)
    assert len(store.seen()) == asked + 1, "it is asked once whether the store is back, before anything is taken in"
    assert not Instance.objects.exists()
    assert sum(path.stat().st_size for path in staged(volume)) == 0
    store.break_with()
    assert put(source, file).outcome is StoreOutcome.STORED
    collect_unfinished()
    assert staged(volume) == []
    assert store.keys(volume) == [f"sinar/{Location.objects.get().path}"]


def test_it_may_go_in_the_middle_of_an_object(store: ObjectStore, volume: Volume, source: Source) -> None:
    store.break_with({"path": "partNumber=1", "fault": "", "times": 1}, down())
    with pytest.raises(OutOfResources):
        put(source, big(20))
    store.break_with()
    assert put(source, part10(ct())).outcome is StoreOutcome.STORED
    assert collect_unfinished() == 1
    assert store.uploads(volume) == [] and len(store.keys(volume)) == 1


@pytest.mark.parametrize(("fault", "sentence"), [("403", "refuses the request"), ("no bucket", "no such bucket")])
def test_a_refusal_is_told_as_it_is(
    store: ObjectStore, volume: Volume, source: Source, fault: str, sentence: str
) -> None:
    if fault == "no bucket":
        Volume.objects.filter(pk=volume.pk).update(bucket="not-there-at-all")
    else:
        store.break_with({"method": "PUT", "fault": fault, "times": ALWAYS})
    with pytest.raises(OutOfResources, match=sentence):
        put(source, part10(ct()))
    assert not Instance.objects.exists()


def test_the_same_again_leaves_one_object_and_other_pixels_are_held(
    store: ObjectStore, volume: Volume, source: Source
) -> None:
    first = ct()
    put(source, part10(first))
    assert put(source, part10(first)).outcome is StoreOutcome.UNCHANGED
    first.PatientName = "SANTOSO^BUDI^^DR"
    assert put(source, part10(first)).outcome is StoreOutcome.HELD
    first.PixelData = bytes(len(first.PixelData))
    assert put(source, part10(first)).outcome is StoreOutcome.HELD
    assert [each.reason for each in HeldObject.objects.order_by("id")] == ["other-header", "other-pixels"]
    assert len(store.keys(volume)) == 3
    assert staged(volume) == []


def test_a_connection_cut_while_reading_is_gone_on_with_at_the_next_byte(
    store: ObjectStore, volume: Volume, source: Source
) -> None:
    file = big(12)
    put(source, file)
    location = Location.objects.get()
    cuts = [
        {"method": "GET", "fault": "cut-down", "after": after}
        for after in (3 * MEGABYTE + 17, 10, 5 * MEGABYTE, 2 * MEGABYTE)
    ]
    store.break_with(*cuts)
    assert hashlib.sha256(content(location)[1024:]).digest() == bytes(location.sha256)
    ranges = [each["range"] for each in store.seen() if each["method"] == "GET"]
    assert ranges[0] == "" and len(ranges) == 5
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in ranges[1:]]
    assert starts == sorted(starts) and starts[0] > 0, "what came is not asked for again"


@pytest.mark.parametrize("fault", ["500", "503", "cut-up"])
def test_an_error_before_the_first_byte_is_survived(
    store: ObjectStore, volume: Volume, source: Source, fault: str
) -> None:
    file = part10(ct())
    put(source, file)
    store.break_with({"method": "GET", "fault": fault, "times": 2})
    assert content(Location.objects.get())[1024:] == bare(file)


def test_a_line_that_breaks_again_and_again_ends_in_an_error_and_not_in_short_content(
    store: ObjectStore, volume: Volume, source: Source
) -> None:
    put(source, big(4))
    store.break_with({"method": "GET", "fault": "cut-down", "after": 0, "times": ALWAYS})
    with pytest.raises(OutOfResources), open_object(location=Location.objects.get()) as file:
        file.read()


def test_seeking(store: ObjectStore, volume: Volume, source: Source) -> None:
    file = big(4)
    put(source, file)
    location = Location.objects.get()
    whole = store.content(volume, location.path)
    with open_object(location=location) as opened:
        assert opened.seek(0, 2) == len(whole)
        for position in (1024, 5, 3 * MEGABYTE, 3 * MEGABYTE + 10_000, 0, len(whole) - 3, len(whole), len(whole) + 9):
            opened.seek(position)
            assert opened.read(2000) == whole[position : position + 2000]


def test_an_object_that_is_not_there(store: ObjectStore, volume: Volume, source: Source) -> None:
    put(source, part10(ct()))
    location = Location.objects.get()
    backend(volume).remove(location.path)
    with pytest.raises(FileNotFoundError):
        open_object(location=location)
    with pytest.raises(OutOfResources, match="missing"):
        OpenDataSet(location)
    store.break_with(down())
    with pytest.raises(OutOfResources, match="object store"):
        open_object(location=location)


class TestLocalCopies:
    def test_one_download_serves_all_that_follow(self, store: ObjectStore, volume: Volume, source: Source) -> None:
        file = part10(ct())
        put(source, file)
        location = Location.objects.get()
        store.break_with()
        for _ in range(3):
            with OpenDataSet(location) as opened:
                assert bytes(opened.data[opened.start : opened.end]) == bare(file)
        assert len([each for each in store.seen() if each["method"] == "GET"]) == 1

    def test_what_was_damaged_in_the_store_is_not_shown(
        self, store: ObjectStore, volume: Volume, source: Source
    ) -> None:
        put(source, part10(ct()))
        location = Location.objects.get()
        whole = bytearray(store.content(volume, location.path))
        whole[-1] ^= 1
        store.client.put_object(Bucket=volume.bucket, Key=f"sinar/{location.path}", Body=bytes(whole))
        with pytest.raises(OutOfResources, match="damaged"):
            OpenDataSet(location)
        store.client.put_object(Bucket=volume.bucket, Key=f"sinar/{location.path}", Body=bytes(whole[:-50]))
        with pytest.raises(OutOfResources, match="damaged"):
            OpenDataSet(location)

    def test_the_least_recently_used_go_when_there_are_too_many(
        self, store: ObjectStore, volume: Volume, source: Source, settings: Any
    ) -> None:
        settings.SINAR_OBJECT_CACHE_SIZE = 100_000
        Volume.objects.filter(pk=volume.pk).update(prefix="other/")
        for number in range(6):
            put(source, part10(ct(side=100, seed=number)))
        locations = list(Location.objects.select_related("volume").order_by("id"))
        for at, location in enumerate(locations):
            open_mapped_object(location=location).close()
            newest = (
                max(folder.glob("*/*"), key=lambda path: path.stat().st_ctime)
                if (folder := settings.SINAR_DATA / "cache" / "objects")
                else None
            )
            assert newest is not None
            os.utime(newest, (at, at))
        kept = list(folder.glob("*/*"))
        assert sum(path.stat().st_size for path in kept) <= 100_000
        store.break_with()
        open_mapped_object(location=locations[-1]).close()
        assert store.seen() == []
        open_mapped_object(location=locations[0]).close()
        assert len(store.seen()) == 1

    def test_no_room_is_said_and_not_crashed_into(self, store: ObjectStore, volume: Volume, source: Source) -> None:
        put(source, part10(ct()))
        Volume.objects.filter(pk=volume.pk).update(reserve=2**60)
        with pytest.raises(OutOfResources, match="room"):
            open_mapped_object(location=Location.objects.select_related("volume").get())

    def test_processes_that_want_the_same_object_fetch_it_once(
        self, store: ObjectStore, volume: Volume, source: Source, tmp_path: Path
    ) -> None:
        put(source, big(8))
        location = Location.objects.get()
        store.break_with()
        digest = bytes(location.sha256).hex()
        program = f"""
import sys, django; django.setup()
from pacs.models import Volume
from pacs.storage import Expected, backend
volume = Volume(pk={volume.pk}, name="bucket", kind="s3", endpoint_url={store.url!r}, bucket={volume.bucket!r})
volume.prefix, volume.access_key_id, volume.reserve = "sinar/", "x", 0
volume.secret = "y"
expected = Expected(1024, {location.size}, bytes.fromhex({digest!r}))
with backend(volume).open_mapped({location.path!r}, expected=expected) as file:
    print(len(file.read()))
"""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "radiology.settings.test",
            "SINAR_DATA": str(tmp_path),
        }
        running = [
            subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        assert [int(each.communicate(timeout=60)[0]) for each in running] == [location.size + 1024] * 3
        assert len([each for each in store.seen() if each["method"] == "GET"]) == 1


class TestCrashes:
    def test_what_a_dead_writer_left_is_collected(self, store: ObjectStore, volume: Volume, source: Source) -> None:
        put(source, part10(ct()))
        disk = backend(volume)
        assert isinstance(disk, S3)
        uploaded = disk.draft(head_size=1024)
        uploaded.write(b"complete")
        uploaded.seal(bytes(1024))
        half = disk.draft(head_size=1024)
        half.write(b"half")
        store.client.create_multipart_upload(Bucket=volume.bucket, Key=f"sinar/{path_of(half.key)}")
        for each in (uploaded, half):
            os.close(each.fileno())  # the kernel does so when a process dies
            each._file = -1
        with receive_part10(source=source) as living:
            living.write(part10(ct())[:500])
            assert collect_unfinished() == 2
            assert len(staged(volume)) == 1
        assert store.keys(volume) == [f"sinar/{Location.objects.get().path}"]
        assert store.uploads(volume) == [] and staged(volume) == []

    def test_a_committed_object_stays_when_its_draft_is_collected(
        self, store: ObjectStore, volume: Volume, source: Source
    ) -> None:
        with receive_part10(source=source) as incoming:
            incoming.write(part10(ct()))
            received = incoming.finish()
        draft = received.draft.path
        kept = draft.with_suffix(".kept")
        kept.hardlink_to(draft)
        store_instance(received=received)
        kept.rename(draft)
        assert collect_unfinished() == 1
        assert len(store.keys(volume)) == 1

    def test_a_store_that_is_gone_keeps_the_collector_from_no_other_volume(
        self, store: ObjectStore, volume: Volume, source: Source, tmp_path: Path
    ) -> None:
        with_store = backend(volume).draft(head_size=1024)
        on_disk = backend(Volume.objects.create(name="disk", path=str(tmp_path / "disk"))).draft(head_size=1024)
        for each in (with_store, on_disk):
            each.abandon()
        store.break_with(down())
        assert collect_unfinished() == 1
        store.break_with()
        assert collect_unfinished() == 1


def test_a_volume_is_walked_in_order_from_anywhere(store: ObjectStore, volume: Volume, tmp_path: Path) -> None:
    names = ["2026/01/a.dcm", "2026/01.dcm", "2026/02/b.dcm", "2026-x/c", "z", "A/q/r", ".hidden", ".snapshot/x"]
    disk = Volume.objects.create(name="disk", path=str(tmp_path / "disk"))
    for name in names:
        path = tmp_path / "disk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        store.client.put_object(Bucket=volume.bucket, Key=f"sinar/{name}", Body=b"12345")
    store.client.put_object(Bucket=volume.bucket, Key="elsewhere", Body=b"")
    visible = sorted(name for name in names if not name.startswith("."))
    for each in (backend(volume), backend(disk)):
        found = list(each.walk())
        assert [published.path for published in found] == visible
        assert {published.size for published in found} == {5}
        for at, name in enumerate(visible):
            assert [published.path for published in each.walk(after=name)] == visible[at + 1 :]


def test_copies_within_one_store_do_not_pass_through_here(store: ObjectStore, volume: Volume, source: Source) -> None:
    file = part10(ct())
    put(source, file)
    location = Location.objects.get()
    other = backend(store.volume("other", prefix=""))
    store.break_with()
    draft = other.draft(head_size=1024)
    assert draft.copy_from(backend(volume), location.path)
    path = draft.publish()
    draft.discard()
    assert [each["method"] for each in store.seen() if not each["copies"]] == ["HEAD"]
    with other.open_mapped(path, expected=Expected(1024, location.size, bytes(location.sha256))) as copied:
        assert copied.read()[1024:] == bare(file)


def test_a_secret_is_kept_encrypted_and_read_with_an_older_key_too(volume: Volume, settings: Any) -> None:
    kept = Volume.objects.get(pk=volume.pk)
    assert kept.secret == "very/secret+key"
    assert "secret+key" not in kept.secret_encrypted
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    assert kept.secret == "very/secret+key"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(OutOfResources, match="SINAR_SECRET_KEY"):
        backend(kept)
