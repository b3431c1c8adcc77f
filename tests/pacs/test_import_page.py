"""The import page and its addresses: who may, what is taken in, what is told."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs.models import ImportRun, ImportState, Instance, Study, Volume
from pacs.services.imports_upload import Cut, take_file
from radiology.models import AuditEvent, Role, Site, User
from tests.factories import make_site, make_user
from tests.pacs.imported import archived
from tests.pacs.objects import bare, ct, part10

pytestmark = pytest.mark.django_db


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def member(role: Role, name: str = "", **fields: Any) -> User:
    user = make_user(name or role.value, **fields)
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def radiographer(site: Site) -> User:
    return member(Role.RADIOGRAPHER, site=site)


@pytest.fixture
def client(radiographer: User) -> Client:
    return signed_in(radiographer)


def begin(client: Client) -> str:
    answer = client.post("/import/uploads")
    assert answer.status_code == 201
    return str(answer.json()["id"])


def send(client: Client, run: str, content: bytes, name: str = "IM1", **headers: str) -> Any:
    return client.post(
        f"/import/uploads/{run}/files",
        content,
        content_type="application/octet-stream",
        headers={"X-File-Name": quote(name), **headers},
    )


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.RADIOGRAPHER, True),
        (Role.ADMINISTRATOR, True),
        (Role.RADIOLOGIST, False),
        (Role.DOCTOR, False),
        (Role.DESK, False),
    ],
)
def test_radiographers_and_administrators_import(site: Site, role: Role, may: bool) -> None:
    client = signed_in(member(role, site=site))
    assert client.get("/import").status_code == (200 if may else 403)
    assert client.post("/import/uploads").status_code == (201 if may else 403)
    assert (b'action="/import/folders"' in client.get("/import").content) == (role == Role.ADMINISTRATOR)
    assert client.post("/import/folders", {"path": "x"}).status_code == (400 if role == Role.ADMINISTRATOR else 403)


def test_strangers_are_sent_to_the_sign_in_and_scripts_are_told() -> None:
    assert Client().get("/import").status_code == 302
    answer = Client().post("/import/uploads")
    assert answer.status_code == 401
    assert "WWW-Authenticate" not in answer
    assert "sign in" in answer.json()["detail"]


def test_a_page_of_another_site_cannot_send_in_our_name(radiographer: User) -> None:
    assert signed_in(radiographer, enforce_csrf_checks=True).post("/import/uploads").status_code == 403


def test_a_file_is_stored_as_it_came(client: Client) -> None:
    run, data_set = begin(client), ct()
    answer = send(client, run, part10(data_set), "CD 1/série/IM1.dcm")
    assert answer.json() == {
        "stored": 1,
        "unchanged": 0,
        "held": 0,
        "skipped": 0,
        "refused": 0,
        "problems": [],
    }
    assert set(archived()) == {data_set.SOPInstanceUID}
    again = send(client, run, part10(data_set))
    assert again.json()["unchanged"] == 1
    event = AuditEvent.objects.get(event="import")
    assert (event.study_instance_uid, event.user.username) == (data_set.StudyInstanceUID, "radiographer")
    assert client.post(f"/import/uploads/{run}/end", {"skipped": "7"}).status_code == 200
    row = ImportRun.objects.get()
    assert (row.state, row.stored, row.unchanged, row.skipped) == (ImportState.DONE, 1, 1, 7)
    assert send(client, run, part10(ct())).status_code == 409


def test_what_is_held_refused_or_no_dicom_is_told_with_the_reason(client: Client) -> None:
    run, data_set = begin(client), ct()
    send(client, run, part10(data_set))
    other = ct(SOPInstanceUID=data_set.SOPInstanceUID, StudyInstanceUID=data_set.StudyInstanceUID, seed=9)
    other.SeriesInstanceUID = data_set.SeriesInstanceUID
    held = send(client, run, part10(other), "other.dcm").json()
    assert (held["held"], held["problems"][0]["name"], held["problems"][0]["fate"]) == (1, "other.dcm", "held")
    refused = send(client, run, part10(ct())[:-20], "<script>alert(1)</script>.dcm").json()
    assert refused["refused"] == 1
    assert send(client, run, b"%PDF-1.4" + bytes(500)).json()["skipped"] == 1
    empty = client.generic(
        "POST", f"/import/uploads/{run}/files", CONTENT_TYPE="application/octet-stream", CONTENT_LENGTH="0"
    )
    assert empty.json()["skipped"] == 1
    page = client.get(f"/import/{run}").content.decode()
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    assert f"/studies/{data_set.StudyInstanceUID}" in page
    report = client.get(f"/import/{run}/report.csv").getvalue().decode()
    assert "other.dcm" in report


def test_a_zip_is_unpacked_and_each_of_its_files_told(client: Client, tmp_path: Path) -> None:
    run = begin(client)
    objects = [ct(InstanceNumber=number) for number in range(70)]
    files = {f"IM{number}": part10(each) for number, each in enumerate(objects)}
    files |= {"../up.dcm": part10(ct()), "readme.txt": b"text", "inner.zip": zipped({"x": b"y"})}
    answer = send(client, run, zipped(files), "cd.zip").json()
    assert (answer["stored"], answer["skipped"], answer["refused"]) == (70, 2, 1)
    assert answer["problems"][0]["name"] == "cd.zip!/../up.dcm"
    assert set(archived()) == {each.SOPInstanceUID for each in objects}
    assert not list((tmp_path / "spool").iterdir())


def test_a_file_that_arrives_in_half_changes_nothing(client: Client) -> None:
    run, file = begin(client), part10(ct())
    stream = io.BytesIO(file[:-30])
    with pytest.raises(Cut):
        take_file(run=ImportRun.objects.get(public_id=run), name="IM1", size=len(file), read=stream.read)
    packed = zipped({"IM1": file})
    stream = io.BytesIO(packed[:-30])
    with pytest.raises(Cut):
        take_file(run=ImportRun.objects.get(public_id=run), name="cd.zip", size=len(packed), read=stream.read)
    assert not Instance.objects.exists()
    assert ImportRun.objects.get().refused == 0
    assert not list(Path(Volume.objects.get().path, "incoming").glob("*"))


@pytest.mark.parametrize(("headers", "status"), [({"CONTENT_LENGTH": ""}, 400), ({"CONTENT_TYPE": "text/plain"}, 400)])
def test_requests_that_are_not_a_file_are_refused(client: Client, headers: dict[str, str], status: int) -> None:
    run = begin(client)
    fields = {"content_type": "application/octet-stream", **headers}
    fields["content_type"] = fields.pop("CONTENT_TYPE", fields["content_type"])
    answer = client.generic("POST", f"/import/uploads/{run}/files", part10(ct()), **fields)
    assert answer.status_code == status
    assert client.post(f"/import/uploads/{run}/end", {"skipped": "-1"}).status_code == 400


def test_nobody_sends_into_the_upload_of_another_or_sees_other_sites(client: Client, site: Site) -> None:
    run = begin(client)
    colleague = signed_in(member(Role.RADIOGRAPHER, "colleague", site=site))
    stranger = signed_in(member(Role.RADIOGRAPHER, "stranger", site=make_site()))
    assert send(colleague, run, part10(ct())).status_code == 404
    assert colleague.get(f"/import/{run}").status_code == 200
    for address in (f"/import/{run}", f"/import/{run}/report.csv"):
        assert stranger.get(address).status_code == 404
    assert stranger.post(f"/import/{run}/cancel").status_code == 404
    assert run not in stranger.get("/import").content.decode()
    assert not Study.objects.exists()


def test_a_bare_data_set_is_taken(client: Client) -> None:
    data_set = ct()
    assert send(client, begin(client), bare(part10(data_set))).json()["stored"] == 1
    assert set(archived()) == {data_set.SOPInstanceUID}


def test_the_page_of_a_run_costs_the_same_however_much_came_in(client: Client) -> None:
    run = begin(client)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/import/{run}").status_code == 200
        return len(captured)

    send(client, run, part10(ct()))
    few = queries()
    send(client, run, zipped({str(number): part10(ct()) for number in range(20)}))
    send(client, run, zipped({str(number): part10(ct())[:-9] for number in range(20)}))
    assert queries() <= few + 1 <= 15


def test_a_live_page_that_shows_the_newest_state_is_not_rendered_again(client: Client) -> None:
    run = begin(client)
    page = client.get(f"/import/{run}", headers={"HX-Request": "true"})
    version = page.content.decode().split('data-live="')[1].split('" hx-get')[0].replace("&quot;", '"')
    live = {"HX-Request": "true", "If-None-Match": version}
    assert client.get(f"/import/{run}", headers=live).status_code == 304
    send(client, run, part10(ct()))
    assert client.get(f"/import/{run}", headers=live).status_code == 200


def test_names_that_no_database_takes_are_kept_readable(client: Client) -> None:
    run = begin(client)
    answer = client.post(
        f"/import/uploads/{run}/files",
        part10(ct())[:-9],
        content_type="application/octet-stream",
        headers={"X-File-Name": "%00%ff%ed%a0%80" + "x" * 3000},
    )
    assert answer.status_code == 200
    assert len(json.loads(answer.content)["problems"][0]["name"]) <= 1000
