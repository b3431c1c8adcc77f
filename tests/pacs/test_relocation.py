"""Files move between volumes while nothing is lost: compared, switched, then removed; crashes leave what is found."""

import os
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.test import Client

from pacs.models import HeldObject, Location, Study, Volume
from pacs.services import relocation
from pacs.services.collect import collect_unfinished
from pacs.services.data_set import OpenDataSet
from pacs.services.relocation import enqueue_relocation, move_file, relocate_study
from pacs.services.store import Source, receive_part10, store_instance
from pacs.storage import open_object
from radiology.errors import NotAllowed, OutOfResources, RadiologyError
from radiology.models import Job, JobState, Site, User
from radiology.services import jobs
from tests.factories import make_user
from tests.pacs.object_store import ObjectStore, down
from tests.pacs.objects import bare, ct, part10
from tests.radiology.admin_client import signed_in, texts


@pytest.fixture
def first(db: None, settings: Any, tmp_path: Path) -> Volume:
    settings.SINAR_DATA = tmp_path
    settings.SINAR_S3_TIMEOUT = 2.0
    Volume.objects.update(path=str(tmp_path / "archive"))
    return Volume.objects.get()


@pytest.fixture
def second(first: Volume, tmp_path: Path) -> Volume:
    return Volume.objects.create(name="second", path=str(tmp_path / "second"), is_active=False)


@pytest.fixture
def store(object_store: ObjectStore, first: Volume) -> Iterator[ObjectStore]:
    object_store.break_with()
    yield object_store
    object_store.break_with()


def put(*objects: Any) -> Study:
    for each in objects:
        with receive_part10(source=Source.of_site(Site.objects.default())) as incoming:
            incoming.write(part10(each))
            received = incoming.finish()
        store_instance(received=received)
    return Study.objects.get(study_instance_uid=objects[0].StudyInstanceUID)


def study_of(count: int) -> tuple[Study, dict[str, bytes]]:
    one = ct()
    rest = [
        ct(seed=n, StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID)
        for n in range(1, count)
    ]
    objects = [one, *rest]
    return put(*objects), {each.SOPInstanceUID: bare(part10(each)) for each in objects}


def stored() -> dict[str, bytes]:
    """Every instance's data set as it is read."""
    found = {}
    for location in Location.objects.select_related("volume", "instance_ref"):
        with open_object(location=location) as file:
            file.seek(location.data_set_offset)
            found[location.instance_ref.sop_instance_uid] = file.read()
    return found


def files(volume: Volume) -> list[Path]:
    return [path for path in Path(volume.path).rglob("*") if path.is_file()]


def test_a_study_moves_from_disk_to_disk(first: Volume, second: Volume) -> None:
    study, sent = study_of(5)
    moved = relocate_study(study=study, to=second)
    assert (moved.files, moved.failed) == (5, [])
    assert set(Location.objects.values_list("volume", flat=True)) == {second.pk}
    assert stored() == sent
    assert files(first) == [] and len(files(second)) == 5
    assert relocate_study(study=study, to=second).files == 0


def test_to_a_bucket_to_another_one_without_passing_here_and_back(first: Volume, store: ObjectStore) -> None:
    study, sent = study_of(3)
    bucket, other = store.volume("one"), store.volume("two", prefix="x/y/")
    assert relocate_study(study=study, to=bucket).files == 3
    assert stored() == sent and files(first) == []
    store.break_with()
    assert relocate_study(study=study, to=other).files == 3
    methods = [each for each in store.seen() if each["method"] == "PUT"]
    assert len(methods) == 3 and all(each["copies"] for each in methods)
    assert stored() == sent
    assert store.keys(bucket) == [] and len(store.keys(other)) == 3
    assert relocate_study(study=study, to=first).files == 3
    assert stored() == sent and store.keys(other) == []


def test_a_store_that_cannot_copy_gets_the_bytes_through_here(first: Volume, store: ObjectStore) -> None:
    study, sent = study_of(1)
    bucket, other = store.volume("one"), store.volume("two")
    relocate_study(study=study, to=bucket)
    store.break_with({"method": "PUT", "fault": "403"})
    assert relocate_study(study=study, to=other).files == 1
    assert stored() == sent


def test_held_objects_of_the_study_go_along(first: Volume, second: Volume) -> None:
    one = ct()
    other = ct(
        SOPInstanceUID=one.SOPInstanceUID,
        StudyInstanceUID=one.StudyInstanceUID,
        SeriesInstanceUID=one.SeriesInstanceUID,
        PatientName="SANTOSO^BUDY",
    )
    study = put(one, other)
    assert HeldObject.objects.count() == 1
    assert relocate_study(study=study, to=second).files == 2
    assert HeldObject.objects.get().volume == second and files(first) == []


def test_a_file_that_two_rows_name_moves_once_for_both(first: Volume, second: Volume) -> None:
    study, _ = study_of(1)
    location = Location.objects.get()
    HeldObject.objects.create(
        site=study.site,
        reason="other-header",
        state="accepted",
        sop_instance_uid="1.2.3",
        study_instance_uid=study.study_instance_uid,
        volume=first,
        path=location.path,
        data_set_offset=location.data_set_offset,
        size=location.size,
        sha256=bytes(location.sha256),
    )
    assert relocate_study(study=study, to=second).files == 1
    location.refresh_from_db()
    held = HeldObject.objects.get()
    assert (held.volume, held.path) == (second, location.path) == (location.volume, location.path)


def test_missing_and_damaged_files_stay_and_are_named(first: Volume, second: Volume) -> None:
    study, _ = study_of(3)
    damaged, missing, _good = Location.objects.order_by("id")
    path = Path(first.path, damaged.path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    Path(first.path, missing.path).unlink()
    moved = relocate_study(study=study, to=second)
    assert moved.files == 1
    assert [path for path, _ in moved.failed] == [damaged.path, missing.path]
    assert path.exists()
    assert set(Location.objects.filter(volume=first)) == {damaged, missing}
    assert len(files(second)) == 1


def test_who_read_the_row_before_the_move_reads_on(first: Volume, second: Volume) -> None:
    study, sent = study_of(1)
    before = Location.objects.select_related("volume").get()
    relocate_study(study=study, to=second)
    with open_object(location=before) as file, OpenDataSet(before) as opened:
        assert file.read()[1024:] == next(iter(sent.values())) == bytes(opened.data[1024:])


def test_a_volume_that_fills_up_ends_it_and_nothing_is_lost(first: Volume, second: Volume) -> None:
    study, sent = study_of(2)
    Volume.objects.filter(pk=second.pk).update(reserve=2**60)
    with pytest.raises(OutOfResources, match="full"):
        relocate_study(study=study, to=Volume.objects.get(pk=second.pk))
    assert stored() == sent and len(files(first)) == 2


def test_a_store_that_goes_away_in_the_middle(first: Volume, store: ObjectStore) -> None:
    study, sent = study_of(3)
    bucket = store.volume("bucket", is_active=False)
    store.break_with({"method": "PUT", "fault": "", "times": 1}, down())
    with pytest.raises(OutOfResources):
        relocate_study(study=study, to=bucket)
    assert Location.objects.filter(volume=bucket).count() == 1
    store.break_with()
    assert relocate_study(study=study, to=bucket).files == 2
    assert stored() == sent
    collect_unfinished()
    assert len(store.keys(bucket)) == 3 and files(first) == []


class TestCrashes:
    def test_before_the_commit_the_copy_is_collected(
        self, first: Volume, second: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, sent = study_of(1)
        draft = relocation.copy_of(row=Location.objects.select_related("volume").get(), to=second)
        draft.publish()
        os.close(draft.fileno())  # the kernel does so when a process dies
        draft._file = -1
        assert collect_unfinished() == 1
        assert files(second) == [] and stored() == sent

    def test_after_the_commit_the_old_file_is_an_orphan_that_verification_removes(
        self, first: Volume, second: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study, sent = study_of(1)
        with monkeypatch.context() as patched:
            patched.setattr(relocation, "remove_unnamed", lambda **_: None)
            relocate_study(study=study, to=second)
        [left] = files(first)
        os.utime(left, (0, 0))
        out = StringIO()
        with pytest.raises(SystemExit):
            call_command("verifyarchive", stdout=out, stderr=StringIO())
        assert "ORPHAN" in out.getvalue()
        call_command("verifyarchive", "--repair", stdout=StringIO(), stderr=StringIO())
        assert files(first) == [] and stored() == sent

    def test_a_failing_switch_leaves_everything_as_it_was(self, first: Volume, second: Volume) -> None:
        _, sent = study_of(1)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE pacs_location ADD CONSTRAINT stays CHECK (volume_id = {first.pk})")
        with pytest.raises(DatabaseError):
            move_file(row=Location.objects.select_related("volume").get(), to=second)
        assert files(second) == [] and stored() == sent

    def test_a_row_that_went_elsewhere_meanwhile_is_left_alone(self, first: Volume, second: Volume) -> None:
        study, sent = study_of(1)
        stale = Location.objects.select_related("volume").get()
        draft = relocation.copy_of(row=stale, to=second)
        third = Volume.objects.create(name="third", path=str(Path(second.path).with_name("third")), is_active=False)
        relocate_study(study=study, to=third)
        assert relocation.put_in_place(row=stale, draft=draft, to=second) is False
        assert files(second) == [] and stored() == sent


class TestJob:
    def test_it_runs_in_the_background(self, first: Volume, second: Volume) -> None:
        study, sent = study_of(2)
        boss = make_user("boss", is_superuser=True)
        [job] = enqueue_relocation(who=boss, studies=[study], to=second)
        jobs.run_due()
        job.refresh_from_db()
        assert job.state == JobState.DONE and stored() == sent
        assert set(Location.objects.values_list("volume", flat=True)) == {second.pk}

    def test_what_stays_is_said(self, first: Volume, second: Volume) -> None:
        study, _ = study_of(2)
        location = Location.objects.order_by("id")[0]
        Path(first.path, location.path).unlink()
        [job] = enqueue_relocation(who=make_user("boss", is_superuser=True), studies=[study], to=second)
        jobs.run_due()
        job.refresh_from_db()
        assert job.state == JobState.DEAD and location.path in job.error and "1 files were moved" in job.error

    def test_a_cancelled_one_ends_in_the_middle_of_a_file(
        self, first: Volume, second: Volume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study, sent = study_of(2)
        monkeypatch.setattr(relocation, "SIGN_OF_LIFE_EVERY", -1)
        Job.objects.all().delete()  # what the study's arrival set going
        enqueue_relocation(who=make_user("boss", is_superuser=True), studies=[study], to=second)
        job = jobs.claim()
        assert job is not None
        jobs.cancel(job=job)
        with pytest.raises(RadiologyError):
            relocation.run_relocation(job)
        assert stored() == sent and files(second) == [] and len(files(first)) == 2

    def test_it_is_for_those_who_may_change_volumes(self, first: Volume, second: Volume) -> None:
        study, _ = study_of(1)
        with pytest.raises(NotAllowed):
            enqueue_relocation(who=make_user("reader"), studies=[study], to=second)
        assert not Job.objects.filter(kind="pacs.relocate").exists()


class TestCommand:
    def test_it_moves_and_says_so(self, first: Volume, second: Volume) -> None:
        study, sent = study_of(3)
        out = StringIO()
        call_command("relocate", study.study_instance_uid, "--to", "second", stdout=out)
        assert "3 files" in out.getvalue() and stored() == sent

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [(["1.2.3", "--to", "second"], "no study"), (["1.2.3", "--to", "x"], "no such volume")],
    )
    def test_what_does_not_exist_is_said(
        self, first: Volume, second: Volume, arguments: list[str], sentence: str
    ) -> None:
        with pytest.raises(CommandError, match=sentence):
            call_command("relocate", *arguments)


class TestAdmin:
    def choose(self, client: Client, study: Study, **more: Any) -> Any:
        data = {"action": "relocate", "_selected_action": [str(study.pk)], **more}
        return client.post("/admin/pacs/study/", data, follow=True)

    def test_studies_are_chosen_then_the_volume(self, first: Volume, second: Volume) -> None:
        study, sent = study_of(2)
        client = signed_in(make_user("boss", is_superuser=True, is_staff=True))
        page = self.choose(client, study).content.decode()
        assert "second" in page and "2 images" in page
        assert not Job.objects.filter(kind="pacs.relocate").exists()
        answer = self.choose(client, study, volume=second.pk, apply="1")
        assert "being moved" in texts(answer)[0]
        jobs.run_due()
        assert stored() == sent and files(first) == []

    def test_without_the_right_it_is_not_offered(self, first: Volume, second: Volume) -> None:
        study, _ = study_of(1)
        user: User = make_user("looker", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_study"))
        self.choose(signed_in(user), study, volume=second.pk, apply="1")
        assert not Job.objects.filter(kind="pacs.relocate").exists()

    def test_its_cost_does_not_grow_with_what_is_chosen(
        self, first: Volume, second: Volume, django_assert_max_num_queries: Callable[..., Any]
    ) -> None:
        study, _ = study_of(1)
        client = signed_in(make_user("boss", is_superuser=True, is_staff=True))
        self.choose(client, study)
        with django_assert_max_num_queries(25):
            self.choose(client, study)
