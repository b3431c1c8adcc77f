"""Volumes in the admin: what is asked for by kind, the secret that goes in and never out, and the button that tries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client

from pacs.checks import volumes
from pacs.models import Verification, Volume, VolumeKind
from pacs.services.volumes import try_volume
from radiology.models import AuditEvent, User
from radiology.services import jobs
from tests.pacs.object_store import ACCESS_KEY, SECRET, ObjectStore, down
from tests.radiology.admin_client import PASSWORD, post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def store(object_store: ObjectStore, settings: Any, tmp_path: Path) -> Iterator[ObjectStore]:
    settings.SINAR_DATA = tmp_path
    object_store.break_with()
    yield object_store
    object_store.break_with()


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def form(**changes: Any) -> dict[str, Any]:
    return {
        "name": "cloud",
        "kind": "s3",
        "is_active": "on",
        "reserve": "0",
        "verify_days": "0",
        "path": "",
        "endpoint_url": "https://s3.example.org:9000",
        "region": "",
        "bucket": "images",
        "prefix": "sinar/",
        "access_key_id": ACCESS_KEY,
        "secret_key": SECRET,
        "verify_tls": "on",
        **changes,
    }


def test_the_secret_goes_in_and_never_comes_out(chief: Client, capfd: pytest.CaptureFixture[str]) -> None:
    post(chief, "pacs_volume_add", form())
    volume = Volume.objects.get(name="cloud")
    assert volume.secret == SECRET
    page = chief.get(f"/admin/pacs/volume/{volume.pk}/change/").content.decode()
    assert SECRET not in page and volume.secret_encrypted not in page
    assert 'type="password"' in page
    post(chief, "pacs_volume_change", form(secret_key="", region="eu-west-1"), volume.pk)
    volume.refresh_from_db()
    assert (volume.secret, volume.region) == (SECRET, "eu-west-1")
    post(chief, "pacs_volume_change", form(secret_key="other-secret"), volume.pk)
    volume.refresh_from_db()
    assert volume.secret == "other-secret"
    post(chief, "pacs_volume_change", form(secret_key="", access_key_id=""), volume.pk)
    volume.refresh_from_db()
    assert volume.secret_encrypted == ""
    kept = json.dumps([*LogEntry.objects.values_list("change_message", flat=True)])
    kept += json.dumps([*AuditEvent.objects.values_list("detail", flat=True)])
    captured = capfd.readouterr()
    for secret in (SECRET, "other-secret"):
        assert secret not in kept + captured.out + captured.err


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bucket": ""}, "bucket"),
        ({"bucket": "Images"}, "bucket"),
        ({"bucket": "a/b"}, "bucket"),
        ({"endpoint_url": "s3.example.org"}, "endpoint_url"),
        ({"endpoint_url": "https://key:secret@s3.example.org"}, "endpoint_url"),
        ({"endpoint_url": "https://s3.example.org/bucket"}, "endpoint_url"),
        ({"endpoint_url": "file:///etc"}, "endpoint_url"),
        ({"endpoint_url": "https://s3.example.org:99999"}, "endpoint_url"),
        ({"prefix": "/sinar/"}, "prefix"),
        ({"prefix": "../"}, "prefix"),
        ({"prefix": "sinar"}, "prefix"),
        ({"path": "/srv"}, "path"),
        ({"secret_key": ""}, "access_key_id"),
        ({"kind": "disk", "path": "relative"}, "path"),
        ({"kind": "tape"}, "kind"),
    ],
)
def test_what_does_not_fit_its_kind_is_said_at_its_field(chief: Client, changes: dict[str, str], field: str) -> None:
    response = post(chief, "pacs_volume_add", form(**changes))
    assert field in response.context["adminform"].form.errors
    assert not Volume.objects.filter(name="cloud").exists()


def test_the_database_wants_a_bucket_too() -> None:
    with pytest.raises(IntegrityError):
        Volume.objects.create(name="x", kind=VolumeKind.S3)


class TestTryingBuckets:
    def test_one_that_works(self, chief: Client, store: ObjectStore) -> None:
        volume = store.volume()
        response = chief.get(f"/admin/pacs/volume/{volume.pk}/try/", follow=True)
        found = texts(response)
        assert "written, read back, listed and deleted" in found[0] and "free in" in found[1]
        assert store.keys(volume) == []

    @pytest.mark.parametrize(
        ("fault", "sentence"),
        [
            ({"method": "PUT", "fault": "403"}, "Writing failed: The object store of the volume bucket refuses"),
            ({"method": "GET", "fault": "403"}, "Reading failed"),
            ({"method": "GET", "path": "list-type", "fault": "403"}, "Listing failed"),
            ({"method": "DELETE", "fault": "403"}, "Deleting failed"),
            ({"method": "PUT", "fault": "500"}, "answers with an error: 500"),
            (down(), "does not answer as it should"),
        ],
    )
    def test_what_fails_is_said(self, store: ObjectStore, fault: dict[str, Any], sentence: str) -> None:
        volume = store.volume()
        store.break_with(fault)
        [sign] = try_volume(volume=volume)
        assert not sign.well and sentence in sign.sentence

    def test_a_bucket_that_is_not_there_and_a_store_that_is_not_there(self, store: ObjectStore) -> None:
        volume = store.volume()
        volume.bucket = "not-there"
        assert "no such bucket" in try_volume(volume=volume)[0].sentence
        volume.endpoint_url = "http://127.0.0.1:1"
        assert "cannot be reached" in try_volume(volume=volume)[0].sentence

    def test_a_secret_of_another_installation(self, store: ObjectStore, settings: Any) -> None:
        volume = store.volume()
        settings.SECRET_KEY = "another" * 10
        assert "SINAR_SECRET_KEY" in try_volume(volume=volume)[0].sentence


class TestTryingFolders:
    def test_one_that_works_is_left_as_it_was(self, tmp_path: Path) -> None:
        volume = Volume(name="disk", path=str(tmp_path / "new"))
        signs = try_volume(volume=volume)
        assert [sign.well for sign in signs] == [True, True]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_one_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        [sign] = try_volume(volume=Volume(name="disk", path=str(tmp_path / "file" / "x")))
        assert not sign.well and "cannot be made" in sign.sentence and "Not a directory" in sign.sentence

    def test_one_that_is_full(self, tmp_path: Path) -> None:
        signs = try_volume(volume=Volume(name="disk", path=str(tmp_path), reserve=2**60))
        assert [sign.well for sign in signs] == [True, False] and "nothing is taken in" in signs[1].sentence

    def test_one_that_takes_no_files(self) -> None:
        [sign] = try_volume(volume=Volume(name="disk", path="/proc/self"))
        assert not sign.well


def test_the_buttons_are_for_those_who_may_change_volumes(store: ObjectStore) -> None:
    volume = store.volume()
    client = signed_in(User.objects.create_user("watcher", password=PASSWORD, is_staff=True))
    for button in ("try", "verify"):
        assert client.get(f"/admin/pacs/volume/{volume.pk}/{button}/").status_code == 403
    chief = signed_in(superuser())
    for button in ("try", "verify"):
        assert chief.get(f"/admin/pacs/volume/999999/{button}/").status_code == 404


def test_the_button_that_verifies(chief: Client, store: ObjectStore) -> None:
    volume = store.volume()
    assert "being verified" in texts(chief.get(f"/admin/pacs/volume/{volume.pk}/verify/", follow=True))[0]
    jobs.run_due()
    assert Verification.objects.get().volume == volume


def test_the_system_check_looks_at_where_a_bucket_is_staged(store: ObjectStore, settings: Any, tmp_path: Path) -> None:
    store.volume()
    assert volumes(databases=["default"]) == []
    (tmp_path / "staging").write_text("")
    assert [message.id for message in volumes(databases=["default"])] == ["pacs.E002"]


def test_full_clean_says_it_too() -> None:
    with pytest.raises(ValidationError, match="bucket"):
        Volume(name="x", kind=VolumeKind.S3).full_clean()
