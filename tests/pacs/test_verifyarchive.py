"""`verifyarchive` names exactly what is wrong, and repairs without ever deleting a last copy."""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pydicom.uid import generate_uid

from pacs.models import (
    HeldObject,
    Instance,
    Location,
    Series,
    Study,
    Verification,
    VerificationFinding,
    Volume,
)
from pacs.services import health, verification
from pacs.services.relocation import copy_of
from pacs.services.store import Source, receive_part10, store_instances
from pacs.services.verification import Options, begin, enqueue_verification, unfinished, verify
from pacs.services.verification_repair import safe_parts
from pacs.storage import backend
from radiology.errors import RadiologyError
from radiology.models import Job, JobState, Site
from radiology.services import jobs
from tests.pacs.object_store import ObjectStore, down
from tests.pacs.objects import bare, ct, part10

OLD = 2 * 3600


@pytest.fixture
def archive(db: None, settings: Any, tmp_path: Path) -> Path:
    settings.SINAR_DATA = tmp_path
    folder = tmp_path / "archive"
    Volume.objects.update(path=str(folder))
    return folder


def fill(count: int, *, studies: int = 2) -> list[bytes]:
    """That many objects, as they were sent."""
    source = Source.of_site(Site.objects.default())
    uids = [(generate_uid(), generate_uid()) for _ in range(studies)]
    files = []
    for start in range(0, count, 50):
        batch = []
        for number in range(start, min(start + 50, count)):
            study, series = uids[number % studies]
            file = part10(ct(seed=number, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number))
            files.append(file)
            with receive_part10(source=source) as incoming:
                incoming.write(file)
                batch.append(incoming.finish())
        store_instances(received=batch)
    return files


def path_of(location: Location) -> Path:
    return Path(location.volume.path, location.path)


def age(path: Path, seconds: float = OLD) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def place(folder: Path, name: str, content: bytes) -> Path:
    """A file added by hand, long ago."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path)
    return path


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the command."""
    report = Path(Volume.objects.order_by("id")[0].path).parent / "report.json"
    try:
        call_command("verifyarchive", "--json", str(report), *arguments, stdout=StringIO(), stderr=StringIO())
        code = 0
    except SystemExit as error:
        assert isinstance(error.code, int)
        code = error.code
    return code, json.loads(report.read_text())


def named(report: dict[str, Any]) -> Counter[tuple[str, str]]:
    return Counter((each["kind"], each["path"]) for each in report["findings"])


def test_a_sound_archive(archive: Path) -> None:
    fill(30)
    code, report = run()
    assert (code, report["findings"]) == (0, [])
    assert (report["objects"], report["files"], report["finished"]) == (30, 30, True)
    assert report["bytes"] == sum(Location.objects.values_list("size", flat=True))


def test_it_names_exactly_what_was_flipped_removed_cut_and_added(archive: Path) -> None:
    fill(300)
    locations = list(Location.objects.select_related("volume", "instance_ref__series_ref__study_ref").order_by("id"))
    flipped, cut, longer, removed, head = locations[3], locations[50], locations[51], locations[120], locations[200]
    for location, offset in ((flipped, location_end(flipped) - 5), (head, 10)):
        with path_of(location).open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
    os.truncate(path_of(cut), 1500)
    with path_of(longer).open("ab") as file:
        file.write(b"more")
    path_of(removed).unlink()
    place(archive, "2026/01/02/03/04/added.dcm", part10(ct()))
    place(archive, "notes.txt", b"hello")
    code, report = run()
    assert code == 1
    assert named(report) == Counter({
        ("damaged", flipped.path): 1,
        ("damaged", cut.path): 1,
        ("damaged", longer.path): 1,
        ("missing", removed.path): 1,
        ("orphan", "2026/01/02/03/04/added.dcm"): 1,
        ("orphan", "notes.txt"): 1,
    })  # fmt: skip
    by_path = {each["path"]: each for each in report["findings"]}
    assert by_path[flipped.path]["sop_instance_uid"] == flipped.instance_ref.sop_instance_uid
    assert by_path[removed.path]["study_instance_uid"] == (removed.instance_ref.series_ref.study_ref.study_instance_uid)
    assert "1500 bytes" in by_path[cut.path]["detail"]
    assert VerificationFinding.objects.count() == 6
    assert {path.name for path in archive.rglob("*") if path.is_file()} >= {"notes.txt", "added.dcm"}


def location_end(location: Location) -> int:
    return location.data_set_offset + location.size


def test_counters_that_are_wrong_are_named_and_put_right(archive: Path) -> None:
    fill(10)
    study = Study.objects.order_by("id")[0]
    Study.objects.filter(pk=study.pk).update(number_of_study_related_instances=99)
    other = Series.objects.exclude(study_ref=study).get()
    Series.objects.filter(pk=other.pk).update(size=1)
    code, report = run()
    assert code == 1
    assert {(each["kind"], each["study_instance_uid"]) for each in report["findings"]} == {
        ("counters", study.study_instance_uid),
        ("counters", other.study_ref.study_instance_uid),
    }
    assert run("--repair")[0] == 0
    assert run()[1]["findings"] == []
    study.refresh_from_db()
    assert study.number_of_study_related_instances == 5


def test_young_files_and_those_with_a_draft_are_no_orphans(archive: Path) -> None:
    fill(2)
    young = place(archive, "young.dcm", b"x")
    age(young, 60)
    draft = backend(Volume.objects.get()).draft(head_size=1024)
    draft.write(b"slow")
    age(archive / draft.publish())
    assert run()[1]["findings"] == []
    draft.abandon()
    assert run()[0] == 0, "what its writer left is the collector's affair"
    assert named(run("--orphan-age", "0")[1]) == Counter({("orphan", "young.dcm"): 1})


def test_files_of_purged_studies_that_wait_to_be_removed_are_no_orphans(archive: Path) -> None:
    fill(1)
    volume = Volume.objects.get()
    place(archive, "purged.dcm", part10(ct()))
    Job.objects.create(kind="pacs.remove_files", arguments={"files": [[volume.pk, "purged.dcm"]]})
    assert run("--repair")[1]["findings"] == []
    assert (archive / "purged.dcm").exists()


def test_names_that_are_no_text_are_shown_and_not_crashed_upon(archive: Path) -> None:
    fill(1)
    (archive / "x").mkdir()
    path = os.path.join(os.fsencode(archive), b"x", b"caf\xe9.dcm")
    with open(path, "wb") as file:
        file.write(b"?")
    os.utime(path, (0, 0))
    assert [each["path"] for each in run()[1]["findings"]] == ["x/caf\\udce9.dcm"]
    code, report = run("--repair")
    assert code == 0 and "lost+found" in report["findings"][0]["repair"]
    assert run()[0] == 0


class TestRepair:
    def test_an_orphan_that_can_be_read_is_indexed(self, archive: Path) -> None:
        fill(1)
        lost = ct()
        place(archive, "by-hand.dcm", part10(lost))
        code, report = run("--repair")
        assert code == 0
        assert report["findings"][0]["repair"].startswith("Indexed")
        instance = Instance.objects.get(sop_instance_uid=lost.SOPInstanceUID)
        assert path_of(instance.locations.get()).read_bytes()[1024:] == bare(part10(lost))
        assert run()[1]["findings"] == []
        assert not (archive / "by-hand.dcm").exists()

    def test_one_that_cannot_is_set_aside_with_a_note(self, archive: Path) -> None:
        fill(1)
        place(archive, "2026/notes.txt", b"hello" * 100)
        code, _ = run("--repair")
        assert code == 0
        kept = archive.parent / "lost+found" / str(Volume.objects.get().pk) / "2026" / "notes.txt"
        assert kept.read_bytes() == b"hello" * 100
        note = json.loads(kept.with_name("notes.txt.json").read_text())
        assert note["path"] == "2026/notes.txt" and "no DICOM file" in note["reason"]
        assert run()[0] == 0

    def test_a_file_that_was_moved_by_hand_takes_its_place_again(self, archive: Path) -> None:
        fill(5)
        location = Location.objects.select_related("volume").order_by("id")[2]
        path_of(location).rename(archive / "elsewhere.dcm")
        age(archive / "elsewhere.dcm")
        code, report = run("--repair")
        assert code == 0
        assert [each["kind"] for each in report["findings"]] == ["orphan"]
        location.refresh_from_db()
        assert hashlib.sha256(path_of(location).read_bytes()[1024:]).digest() == bytes(location.sha256)
        assert run()[1]["findings"] == []
        assert Instance.objects.count() == 5

    def test_a_damaged_file_is_set_aside_when_a_good_one_takes_its_place(self, archive: Path) -> None:
        files = fill(1)
        location = Location.objects.select_related("volume").get()
        place(archive, "backup.dcm", path_of(location).read_bytes())
        damaged = path_of(location)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        assert run("--repair")[0] == 0
        location.refresh_from_db()
        assert path_of(location).read_bytes()[1024:] == bare(files[0])
        aside = list((archive.parent / "lost+found").rglob("*.dcm"))
        assert len(aside) == 1 and aside[0].read_bytes().endswith(b"?")
        assert run()[1]["findings"] == []

    def test_a_second_intact_copy_goes_and_the_first_stays(self, archive: Path) -> None:
        fill(1)
        location = Location.objects.select_related("volume").get()
        place(archive, "twin.dcm", path_of(location).read_bytes())
        code, report = run("--repair")
        assert code == 0 and "stored intact" in report["findings"][0]["repair"]
        assert not (archive / "twin.dcm").exists() and path_of(location).exists()

    def test_a_missing_file_is_restored_from_another_row_of_the_same_bytes(self, archive: Path, tmp_path: Path) -> None:
        files = fill(1)
        location = Location.objects.select_related("volume").get()
        other = Volume.objects.create(name="second", path=str(tmp_path / "second"))
        draft = copy_of(row=location, to=other)
        Location.objects.create(
            instance_ref=location.instance_ref,
            volume=other,
            path=draft.publish(),
            data_set_offset=1024,
            size=location.size,
            sha256=bytes(location.sha256),
            transfer_syntax_uid=location.transfer_syntax_uid,
            is_current=False,
        )
        draft.discard()
        path_of(location).unlink()
        code, report = run("--repair")
        assert code == 0 and "Restored from" in report["findings"][0]["repair"]
        location = Location.objects.select_related("volume").get(pk=location.pk)
        assert path_of(location).read_bytes()[1024:] == bare(files[0])
        assert run()[1]["findings"] == []

    def test_what_cannot_be_restored_stays_as_it_is(self, archive: Path) -> None:
        fill(2)
        location = Location.objects.select_related("volume").order_by("id")[0]
        damaged = path_of(location)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        code, report = run("--repair")
        assert code == 1 and report["findings"][0]["repair"] == ""
        assert damaged.exists() and Location.objects.count() == 2

    @pytest.mark.parametrize("key", ["../../outside", "/etc/passwd", "a/./../b", "..", "x" * 900, "a//b", "%2e%2e/x"])
    def test_a_key_in_a_bucket_that_points_elsewhere_leads_nowhere(self, key: str) -> None:
        folder = Path("/lost+found")
        assert Path(os.path.normpath(folder.joinpath(*safe_parts(key)))).is_relative_to(folder)
        assert all(0 < len(part) < 256 and part not in {".", ".."} for part in safe_parts(key))


def test_held_objects_are_looked_at_too(archive: Path) -> None:
    fill(1)
    changed = ct(SOPInstanceUID=Instance.objects.get().sop_instance_uid)
    with receive_part10(source=Source.of_site(Site.objects.default())) as incoming:
        incoming.write(part10(changed))
        received = incoming.finish()
    store_instances(received=[received])
    held = HeldObject.objects.select_related("volume").get()
    Path(held.volume.path, held.path).unlink()
    assert named(run()[1]) == Counter({("missing", held.path): 1})


def test_a_disk_that_is_not_mounted_is_one_finding_and_not_a_loss_of_everything(archive: Path) -> None:
    fill(20)
    archive.rename(archive.with_name("unmounted"))
    code, report = run("--repair")
    assert code == 1
    assert [each["kind"] for each in report["findings"]] == ["unavailable"]
    assert "mounted" in report["findings"][0]["detail"]


def test_only_what_was_stored_since(archive: Path) -> None:
    fill(4)
    Location.objects.filter(pk__in=list(Location.objects.values_list("pk", flat=True)[:3])).update(
        created_at=timezone.now() - timedelta(days=3)
    )
    old = place(archive, "old.dcm", b"x")
    age(old, 3 * 86400)
    yesterday = (timezone.now() - timedelta(days=1)).date().isoformat()
    code, report = run("--since", yesterday)
    assert (code, report["objects"], report["findings"]) == (0, 1, [])
    with pytest.raises(CommandError, match="--since"):
        run("--since", "last week")


def test_a_run_that_was_ended_goes_on_where_it_was(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(120)
    broken = list(Location.objects.select_related("volume").order_by("id"))
    for location in (broken[10], broken[110]):
        path_of(location).unlink()

    class Killed(BaseException):
        pass

    def die(current: Verification) -> None:
        if current.objects_read == 77:
            raise Killed

    first = begin()
    with pytest.raises(Killed):
        verify(run=first, options=Options(alive=die))
    left = unfinished()
    assert left is not None and left.problems == 1
    code, report = run("--resume")
    assert code == 1 and report["run"] == first.pk
    assert [each["path"] for each in report["findings"]] == [broken[110].path]
    assert Verification.objects.get().problems == 2
    assert report["objects"] < 150, "at most a batch is read twice"
    assert run("--resume")[1]["run"] != first.pk


def test_reading_is_held_to_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    pace = verification.Pace(1000)
    for _ in range(10):
        pace.spent(1000)
    assert 9 < max(slept) <= 10


class TestInABucket:
    @pytest.fixture
    def volume(self, object_store: ObjectStore, archive: Path, settings: Any) -> Iterator[Volume]:
        settings.SINAR_S3_TIMEOUT = 2.0
        object_store.break_with()
        yield object_store.volume()
        object_store.break_with()

    def test_it_names_exactly_what_is_wrong(self, object_store: ObjectStore, volume: Volume) -> None:
        fill(12)
        flipped, removed = Location.objects.order_by("id")[2:4]
        content = bytearray(object_store.content(volume, flipped.path))
        content[-1] ^= 1
        object_store.client.put_object(Bucket=volume.bucket, Key=f"sinar/{flipped.path}", Body=bytes(content))
        backend(volume).remove(removed.path)
        object_store.client.put_object(Bucket=volume.bucket, Key="sinar/added.dcm", Body=part10(ct()))
        code, report = run("--orphan-age", "0")
        assert code == 1
        assert named(report) == Counter(
            {("damaged", flipped.path): 1, ("missing", removed.path): 1, ("orphan", "added.dcm"): 1}
        )

    def test_a_store_that_goes_away_is_one_finding(self, object_store: ObjectStore, volume: Volume) -> None:
        fill(6)
        object_store.break_with(down())
        code, report = run()
        assert code == 1
        assert [each["kind"] for each in report["findings"]] == ["unavailable"]


class TestJobs:
    def test_a_volume_is_verified_in_the_background(self, archive: Path) -> None:
        fill(3)
        volume = Volume.objects.get()
        assert enqueue_verification(volume=volume) == enqueue_verification(volume=volume)
        jobs.run_due()
        run = Verification.objects.get()
        assert (run.volume, run.objects_read, run.problems) == (volume, 3, 0)
        assert run.finished_at is not None
        assert Job.objects.get(kind=verification.KIND).state == JobState.DONE

    def test_a_cancelled_job_ends(self, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(60)
        monkeypatch.setattr(verification, "SIGN_OF_LIFE_EVERY", 0)
        enqueue_verification()
        job = jobs.claim()
        assert job is not None
        jobs.cancel(job=job)
        with pytest.raises(RadiologyError):
            verification.run_verification(job)
        assert Verification.objects.get().finished_at is None

    def test_the_schedule_reads_a_volume_when_its_days_are_over(
        self, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(60)
        jobs.enqueue(kind="pacs.verify_scheduled")
        jobs.run_due()
        assert not Verification.objects.exists(), "off until somebody sets the days"
        Volume.objects.update(verify_days=7)
        monkeypatch.setattr(verification, "DAILY_HOURS", 0)
        stretches = 0
        while not Verification.objects.exclude(finished_at=None).exists():
            jobs.enqueue(kind="pacs.verify_scheduled")
            jobs.run_due()
            stretches += 1
        assert stretches > 2
        run = Verification.objects.get()
        assert (run.objects_read, run.problems) == (60, 0)
        jobs.enqueue(kind="pacs.verify_scheduled")
        jobs.run_due()
        assert Verification.objects.count() == 1
        Verification.objects.update(started_at=timezone.now() - timedelta(days=8))
        jobs.enqueue(kind="pacs.verify_scheduled")
        jobs.run_due()
        assert Verification.objects.count() == 2


def test_the_home_page_says_what_the_last_run_found(
    archive: Path, django_assert_num_queries: Callable[..., Any]
) -> None:
    assert not [sign for sign in health.signs() if "compared" in sign.sentence]
    fill(2)
    run()
    assert [sign.well for sign in health.signs() if "compared" in sign.sentence] == [True]
    path_of(Location.objects.select_related("volume").order_by("id")[0]).unlink()
    run()
    [sign] = [sign for sign in health.signs() if "compared" in sign.sentence]
    assert not sign.well and "1 problems" in sign.sentence
    with django_assert_num_queries(1):
        health._verified()


def test_the_admin_shows_runs_and_findings(archive: Path, admin_client: Client) -> None:
    fill(2)
    path_of(Location.objects.select_related("volume").order_by("id")[0]).unlink()
    run()
    shown = Verification.objects.get()
    page = admin_client.get(f"/admin/pacs/verification/{shown.pk}/change/").content.decode()
    assert "There is no such file." in page
    assert admin_client.get("/admin/pacs/verification/").status_code == 200
    assert admin_client.get("/admin/pacs/verificationfinding/").status_code == 200
