"""Stored images become smaller by the sites' rules; nothing is lost, whatever ends the work at any moment."""

import os
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from django.core.management import call_command
from django.utils import timezone
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
)

from pacs.models import (
    Compression,
    CompressionOutcome,
    CompressionRule,
    HeldObject,
    Instance,
    Location,
    Series,
    Study,
    Volume,
)
from pacs.services import compression
from pacs.services.collect import collect_unfinished
from pacs.services.compression import save_rule
from pacs.services.relocation import relocate_study
from pacs.services.store import StoreOutcome
from pacs.storage import Draft, open_object
from radiology.models import AuditEvent, Job, JobState
from radiology.services import jobs
from tests.factories import make_site
from tests.pacs.compressing import (
    SIDE,
    clear_old_files,
    files,
    pixels,
    pixels_of,
    put,
    rule,
    send,
    series_of,
    syntaxes,
    verified,
    work,
)
from tests.pacs.object_store import ObjectStore, down
from tests.pacs.objects import ct, part10


@pytest.fixture
def archive(db: None, settings: Any, tmp_path: Path) -> Volume:
    settings.SINAR_DATA = tmp_path
    settings.SINAR_S3_TIMEOUT = 2.0
    Volume.objects.update(path=str(tmp_path / "archive"))
    return Volume.objects.get()


@pytest.fixture
def store(object_store: ObjectStore, archive: Volume) -> Iterator[ObjectStore]:
    object_store.break_with()
    yield object_store
    object_store.break_with()


def test_a_study_becomes_smaller_and_nothing_else_changes(archive: Volume) -> None:
    sent = series_of(20)
    study = put(*sent)
    before = Study.objects.get(pk=study.pk)
    made = rule()
    job = work()
    assert job.state == JobState.PENDING and job.attempts == 0 and not job.error
    assert set(syntaxes()) == {JPEGLSLossless} and pixels() == pixels_of(sent)
    after, series = Study.objects.get(pk=study.pk), Series.objects.get(study_ref=study)
    stored = sum(Location.objects.values_list("size", flat=True))
    assert after.size == series.size == stored < before.size // 2
    assert after.version == before.version + 2 and after.updated_at == before.updated_at  # two batches
    made.refresh_from_db()
    assert (made.objects_compressed, made.objects_left) == (20, 0)
    assert (made.bytes_before, made.bytes_after) == (before.size, stored)
    assert AuditEvent.objects.filter(event="study.compressed", study_instance_uid=study.study_instance_uid).count() == 2
    # The old files stay for those who are reading them, and are no orphans meanwhile.
    assert len(files(archive)) == 40 and verified() == ""
    clear_old_files()
    assert len(files(archive)) == 20 and verified() == ""
    assert pixels() == pixels_of(sent)
    # Nothing is looked at twice.
    made.refresh_from_db()
    work()
    assert CompressionRule.objects.get().objects_compressed == 20


def test_the_device_sends_the_same_again_in_any_form(archive: Volume) -> None:
    [image] = series_of(1)
    put(image)
    rule()
    work()
    clear_old_files()
    kept = files(archive)
    assert send(image) == StoreOutcome.UNCHANGED
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert send(pydicom.dcmread(BytesIO(part10(image)))) == StoreOutcome.UNCHANGED
    image.PatientName = "SOMEBODY^ELSE"
    assert send(image) == StoreOutcome.HELD
    assert HeldObject.objects.get().reason == "other-header"
    HeldObject.objects.all().delete()
    assert len(files(archive) - kept) == 1 and kept <= files(archive)


def test_a_large_one_that_comes_again_is_known_by_its_digest(archive: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.services.duplicates.COMPARED_AT_MOST", 100)
    [image] = series_of(1)
    put(image)
    rule()
    work()
    assert send(image) == StoreOutcome.UNCHANGED


def test_colour_by_plane_comes_again_in_another_form(archive: Volume) -> None:
    planes = numpy.stack([numpy.full((SIDE, SIDE), value, "u1") for value in (10, 20, 200)])
    colour: dict[str, Any] = {
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1, "BitsAllocated": 8,
        "BitsStored": 8, "HighBit": 7,
    }  # fmt: skip
    image = ct(side=SIDE, PixelData=planes.tobytes(), **colour)
    put(image)
    rule()
    work()
    assert syntaxes() == [JPEGLSLossless]
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert send(pydicom.dcmread(BytesIO(part10(image)))) == StoreOutcome.UNCHANGED
    image.PixelData = planes[::-1].tobytes()
    assert send(image) == StoreOutcome.HELD


class TestRules:
    @pytest.mark.parametrize(
        ("values", "compressed"),
        [
            ({}, True),
            ({"is_active": False}, False),
            ({"modalities": ["MR", "CT"]}, True),
            ({"modalities": ["MR"]}, False),
            ({"sop_class_uids": [CTImageStorage]}, True),
            ({"sop_class_uids": [MRImageStorage]}, False),
            ({"received_in": [ExplicitVRLittleEndian]}, True),
            ({"received_in": [ImplicitVRLittleEndian]}, False),
            ({"older_than_days": 99}, True),
            ({"older_than_days": 101}, False),
        ],
        ids=str,
    )
    def test_which_images(self, archive: Volume, values: dict[str, Any], compressed: bool) -> None:
        put(*series_of(1))
        rule(**values)
        jobs.run_due()
        assert (syntaxes() == [JPEGLSLossless]) is compressed

    def test_another_site_has_its_own(self, archive: Volume) -> None:
        other = make_site("other")
        put(*series_of(1))
        put(*series_of(1), site=other)
        rule(site=other, transfer_syntax_uid=JPEG2000Lossless)
        work()
        assert syntaxes() == [ExplicitVRLittleEndian, JPEG2000Lossless]

    def test_a_series_that_still_arrives_is_waited_for(self, archive: Volume) -> None:
        study = put(*series_of(2), days=0)
        Instance.objects.update(created_at=timezone.now() - timedelta(minutes=30))
        Series.objects.update(updated_at=timezone.now())
        rule(older_than_days=0)
        work()
        assert set(syntaxes()) == {ExplicitVRLittleEndian}
        Series.objects.filter(study_ref=study).update(updated_at=timezone.now() - timedelta(minutes=11))
        work()
        assert set(syntaxes()) == {JPEGLSLossless}

    def test_a_changed_rule_looks_again_but_not_at_what_was_left(
        self, archive: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noisy = numpy.random.default_rng(1).integers(0, 65536, (SIDE, SIDE), dtype="<u2").tobytes()
        put(*series_of(1))
        put(ct(side=SIDE, PixelData=noisy, BitsStored=16, HighBit=15))
        made = rule(modalities=["CT"])
        work()
        noise = Compression.objects.exclude(outcome=CompressionOutcome.COMPRESSED).get()
        assert noise.outcome == CompressionOutcome.NOT_SMALLER and "5%" in noise.detail
        tried: list[int] = []
        real = compression.encode_object

        def encode(**about: Any) -> Draft:
            tried.append(about["location"].pk)
            return real(**about)

        monkeypatch.setattr(compression, "encode_object", encode)
        made.refresh_from_db()
        save_rule(made)
        work()
        assert tried == []
        made.transfer_syntax_uid = JPEG2000Lossless
        save_rule(made)
        work()
        assert tried == [noise.location_id]
        assert CompressionRule.objects.get().objects_compressed == 1

    def test_removed_held_and_replaced_ones_are_left_alone(self, archive: Volume) -> None:
        objects = series_of(3)
        put(*objects)
        first, second, third = Location.objects.order_by("pk").select_related("instance_ref")
        Instance.objects.filter(pk=first.instance_ref_id).update(removed_at=timezone.now())
        HeldObject.objects.create(
            site=second.instance_ref.site, reason="other-header", state="accepted", sop_instance_uid="1.2.3",
            volume=archive, path=second.path, data_set_offset=1024, size=second.size, sha256=bytes(second.sha256),
        )  # fmt: skip
        Location.objects.filter(pk=third.pk).update(is_current=False)
        rule()
        work()
        assert set(Location.objects.values_list("transfer_syntax_uid", flat=True)) == {ExplicitVRLittleEndian}
        assert Compression.objects.get().location_id == second.pk

    def test_the_job_rests_wakes_and_ends_with_the_rules(self, archive: Volume) -> None:
        made = rule()
        job = work()
        assert job.state == JobState.PENDING and job.next_attempt_at > timezone.now() + timedelta(minutes=14)
        jobs.cancel(job=job)
        compression.run_daily(job)
        assert Job.objects.get(kind=compression.KIND).state == JobState.PENDING
        CompressionRule.objects.filter(pk=made.pk).update(is_active=False)
        assert work().state == JobState.DONE
        save_rule(made)
        assert Job.objects.get(kind=compression.KIND).state == JobState.PENDING

    def test_a_turn_ends_in_time_and_the_next_goes_on(self, archive: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
        put(*series_of(4))
        rule()
        monkeypatch.setattr(compression, "TURN", 0.001)
        monkeypatch.setattr(compression, "WINDOW", 2)
        with monkeypatch.context() as patched:
            patched.setattr(jobs, "run_due", lambda: jobs.run(job=claimed) if (claimed := jobs.claim()) else None)
            Job.objects.exclude(kind=compression.KIND).delete()
            job = work()
        assert job.state == JobState.PENDING and job.next_attempt_at <= timezone.now()
        monkeypatch.setattr(compression, "TURN", 60.0)
        work()
        assert set(syntaxes()) == {JPEGLSLossless}


class TestTrouble:
    def test_damaged_and_missing_files_are_named_once_and_left(self, archive: Volume) -> None:
        put(*series_of(4))
        rotten, missing, short, good = Location.objects.order_by("pk")
        path = Path(archive.path, rotten.path)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        Path(archive.path, missing.path).unlink()
        os.truncate(Path(archive.path, short.path), 3000)
        rule()
        assert work().error == ""
        assert dict(Compression.objects.values_list("location", "outcome")) == {
            rotten.pk: "damaged",
            missing.pk: "damaged",
            short.pk: "damaged",
            good.pk: "compressed",
        }
        assert CompressionRule.objects.get().objects_left == 3 and path.exists()

    def test_a_volume_without_room_is_tried_again_later(self, archive: Volume) -> None:
        sent = series_of(2)
        put(*sent)
        rule()
        Volume.objects.update(reserve=2**60)
        job = work()
        assert job.state == JobState.PENDING and "full" in job.error
        assert not Compression.objects.exists() and pixels() == pixels_of(sent)
        Volume.objects.update(reserve=0)
        work()
        assert set(syntaxes()) == {JPEGLSLossless}

    def test_what_went_elsewhere_meanwhile_is_left_alone(
        self, archive: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = series_of(2)
        study = put(*sent)
        second = Volume.objects.create(name="second", path=str(tmp_path / "second"), is_active=False)
        real = compression.Work._publish

        def publish(self: Any) -> None:
            if self._done:
                relocate_study(study=study, to=second)
            real(self)

        monkeypatch.setattr(compression.Work, "_publish", publish)
        rule()
        work()
        assert set(syntaxes()) == {ExplicitVRLittleEndian} and pixels() == pixels_of(sent)
        assert files(archive) == set() and len(files(second)) == 2

    def test_who_read_the_row_before_reads_on_and_is_never_given_other_bytes(self, archive: Volume) -> None:
        put(*series_of(1))
        before = Location.objects.select_related("volume").get()
        with open_object(location=before) as file:
            sent = file.read()
        rule()
        work()
        with open_object(location=before) as file:
            assert file.read() == sent
        clear_old_files()
        with pytest.raises(FileNotFoundError):
            open_object(location=before)

    def test_it_moves_to_another_volume_afterwards(self, archive: Volume, tmp_path: Path) -> None:
        sent = series_of(2)
        study = put(*sent)
        second = Volume.objects.create(name="second", path=str(tmp_path / "second"), is_active=False)
        rule()
        work()
        assert relocate_study(study=study, to=second).files == 2
        clear_old_files()
        assert pixels() == pixels_of(sent) and files(archive) == set() and verified() == ""

    def test_a_database_from_before_finds_its_images_again(self, archive: Volume) -> None:
        sent = series_of(2)
        put(*sent)
        before = list(Location.objects.all())
        rule()
        work()
        clear_old_files()
        Compression.objects.all().delete()
        for row in before:
            row.save()
        call_command("verifyarchive", "--repair", "--orphan-age", "0", stdout=StringIO(), stderr=StringIO())
        assert pixels() == pixels_of(sent) and set(syntaxes()) == {JPEGLSLossless} and verified() == ""
        assert [send(each) for each in sent] == [StoreOutcome.UNCHANGED] * 2 and not HeldObject.objects.exists()

    def test_an_old_file_that_stayed_behind_is_known_to_be_one_too_many(self, archive: Volume) -> None:
        put(*series_of(1))
        rule()
        work()
        Job.objects.filter(kind="pacs.remove_files").delete()
        assert "ORPHAN" in verified()
        call_command("verifyarchive", "--repair", "--orphan-age", "0", stdout=StringIO(), stderr=StringIO())
        assert len(files(archive)) == 1 and not HeldObject.objects.exists() and verified() == ""


class TestBucket:
    def test_it_lies_smaller_in_the_bucket(self, archive: Volume, store: ObjectStore) -> None:
        sent = series_of(2)
        study = put(*sent)
        bucket = store.volume("one", is_active=False)
        relocate_study(study=study, to=bucket)
        rule()
        work()
        clear_old_files()
        assert set(syntaxes()) == {JPEGLSLossless} and pixels() == pixels_of(sent)
        assert len(store.keys(bucket)) == 2 and verified() == ""

    def test_a_store_that_goes_away_loses_nothing(self, archive: Volume, store: ObjectStore) -> None:
        sent = series_of(2)
        study = put(*sent)
        bucket = store.volume("one", is_active=False)
        relocate_study(study=study, to=bucket)
        rule()
        store.break_with({"method": "PUT", "fault": "", "times": 1}, down())
        assert work().state == JobState.PENDING
        store.break_with()
        assert set(syntaxes()) == {ExplicitVRLittleEndian} and pixels() == pixels_of(sent)
        compression.wake()
        work()
        clear_old_files()
        collect_unfinished()
        assert set(syntaxes()) == {JPEGLSLossless} and len(store.keys(bucket)) == 2
