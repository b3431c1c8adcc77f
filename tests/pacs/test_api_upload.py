"""Objects that come in over `/api/v1`: alone, as ZIP, in a form; and what is no object."""

import io
import socket
import zipfile
from typing import Any

import pytest
import requests
from django.test import Client
from django.test.client import encode_multipart

from pacs.models import HeldObject, Instance
from radiology.models import AuditEvent, Site, User
from tests.daemons import Daemon
from tests.factories import make_token, make_user
from tests.pacs.api_client import ApiProgram, body, problem
from tests.pacs.objects import ct, part10


@pytest.fixture
def sender(site: Site) -> ApiProgram:
    return ApiProgram(scopes=["studies.read", "studies.write"], name="sender")


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def form(files: list[tuple[str, str, bytes]], boundary: str = "x" * 30) -> tuple[bytes, str]:
    """A form as curl -F and browsers send it: field, file name (none for a plain field), content."""
    parts = []
    for field, name, content in files:
        file = f'; filename="{name}"' if name else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def outcomes(response: Any) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in response.json()["objects"]}


@pytest.mark.parametrize("path", ["studies", "instances"])
@pytest.mark.parametrize(
    "content_type", ["application/dicom", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_one_object_is_stored(sender: ApiProgram, path: str, content_type: str) -> None:
    data_set = ct()
    response = sender.post(path, part10(data_set), content_type)
    assert response.status_code == 201, response.content
    report = response.json()
    assert (report["stored"], report["refused"]) == (1, 0)
    assert report["objects"] == [
        {
            "name": "",
            "outcome": "stored",
            "reason": "",
            "sop_instance_uid": data_set.SOPInstanceUID,
            "series_instance_uid": data_set.SeriesInstanceUID,
            "study_instance_uid": data_set.StudyInstanceUID,
        }
    ]
    (study,) = report["studies"]
    assert study["url"] == response["Location"] and study["instances"] == 1
    assert sender.get(study["url"]).json()["number_of_study_related_instances"] == 1
    event = AuditEvent.objects.get(event="api.store")
    assert event.study_instance_uid == data_set.StudyInstanceUID and event.agent == "sender"


def test_the_same_again_is_unchanged_and_another_under_its_uid_is_held(sender: ApiProgram) -> None:
    data_set = ct()
    assert sender.post("studies", part10(data_set)).status_code == 201
    again = sender.post("studies", part10(data_set))
    assert again.status_code == 200 and again.json()["unchanged"] == 1
    data_set.PixelData = bytes(len(data_set.PixelData))
    other = sender.post("studies", part10(data_set))
    assert other.status_code == 200 and other.json()["held"] == 1 and other.json()["objects"][0]["reason"]
    assert HeldObject.objects.count() == 1


def test_a_zip_is_stored_object_by_object(sender: ApiProgram) -> None:
    study = ct().StudyInstanceUID
    files = {f"DICOM/PA1/IM{number}": part10(ct(StudyInstanceUID=study)) for number in range(5)}
    extra = {"README.TXT": b"hello", "notes/": b"", "inner.zip": zipped({"a": b"b"})}
    response = sender.post("studies", zipped(files | extra), "application/zip")
    assert response.status_code == 201, response.content
    report = response.json()
    assert (report["stored"], report["skipped"], report["refused"]) == (5, 2, 0)
    assert outcomes(response) == {
        **dict.fromkeys(files, "stored"), "README.TXT": "skipped", "inner.zip": "skipped"
    }  # fmt: skip
    assert report["studies"][0]["instances"] == 5 and Instance.objects.count() == 5


def test_what_is_downloaded_can_be_uploaded(sender: ApiProgram) -> None:
    study = ct().StudyInstanceUID
    for _ in range(2):
        sender.post("studies", part10(ct(StudyInstanceUID=study)))
    archive = body(sender.get(f"studies/{study}/archive"))
    response = sender.post("studies", archive, "application/zip")
    assert response.status_code == 200 and response.json()["unchanged"] == 2 and response.json()["refused"] == 0


def test_files_of_a_form(sender: ApiProgram) -> None:
    one, two, three = (part10(ct()) for _ in range(3))
    content, content_type = form(
        [
            ("csrfmiddlewaretoken", "", b"abc"),
            ("file", "satu é.dcm", one),
            ("file", "b.zip", zipped({"x": two, "y": three})),
            ("file", "empty", b""),
        ]
    )
    response = sender.post("studies", content, content_type)
    assert response.status_code == 201, response.content
    assert outcomes(response) == {"satu é.dcm": "stored", "b.zip!/x": "stored", "b.zip!/y": "stored"}


def test_a_bad_file_of_a_form_keeps_no_other_out(sender: ApiProgram) -> None:
    whole = part10(ct())
    cut = part10(ct())[:-500]
    content, content_type = form(
        [("f", "cut.dcm", cut), ("f", "bad.zip", b"PK\x03\x04" + bytes(99)), ("f", "ok", whole)]
    )
    response = sender.post("studies", content, content_type)
    assert response.status_code == 207
    assert outcomes(response) == {"cut.dcm": "refused", "bad.zip": "refused", "ok": "stored"}
    assert all(each["reason"] for each in response.json()["objects"] if each["outcome"] == "refused")


def test_a_large_file_of_a_form_comes_in_small_pieces(sender: ApiProgram) -> None:
    data_set = ct(side=1200)  # 2.9 MB: several blocks, boundaries anywhere
    content, content_type = form([("file", "big", part10(data_set))], boundary="----WebKitFormBoundaryAb12")
    assert sender.post("studies", content, content_type).status_code == 201
    stored = body(sender.get(f"instances/{data_set.SOPInstanceUID}/file"))
    assert stored.endswith(data_set.PixelData)


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "C:\\x", "..\\x", "a/../../b"])
def test_names_in_a_zip_lead_nowhere(sender: ApiProgram, name: str, tmp_path: Any) -> None:
    response = sender.post("studies", zipped({name: part10(ct()), "ok": part10(ct())}), "application/zip")
    assert response.status_code == 207 and response.json()["stored"] == 1
    assert outcomes(response)["ok"] == "stored"
    assert not [path for path in tmp_path.rglob("*") if path.name in {"x", "b", "passwd"}]


def test_a_zip_bomb_is_stopped(sender: ApiProgram, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.SINAR_MAX_OBJECT_SIZE = 32 * 1024 * 1024
    bomb = part10(ct())[:400] + bytes(100 * 1024 * 1024)
    response = sender.post("studies", zipped({"bomb": bomb}), "application/zip")
    problem(response, 413)
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    ("content", "content_type", "status", "field"),
    [
        (b"", "application/dicom", 400, ""),
        (b"hello", "application/dicom", 400, ""),
        (b"{}", "application/json", 415, "Content-Type"),
        (b"x", "text/plain", 415, "Content-Type"),
        (b"x", ";;;", 415, "Content-Type"),
        (b"PK\x03\x04nonsense", "application/zip", 400, ""),
        (b"no boundary here", "multipart/form-data", 400, "boundary"),
        (b"no boundary here", "multipart/form-data; boundary=abc", 400, ""),
        (form([("a", "", b"only a field")])[0], form([])[1], 400, ""),
        (zipped({"a.txt": b"text"}), "application/zip", 400, ""),
        (zipped({}), "application/zip", 400, ""),
    ],
    ids=[
        "empty",
        "text as DICOM",
        "JSON",
        "plain text",
        "no type",
        "no ZIP",
        "no boundary",
        "another boundary",
        "no file",
        "ZIP of text",
        "empty ZIP",
    ],
)
def test_what_is_no_object_is_refused(
    sender: ApiProgram, content: bytes, content_type: str, status: int, field: str
) -> None:
    problem(sender.post("studies", content, content_type), status, field)
    assert not Instance.objects.exists()


def test_an_object_that_is_cut_is_refused(sender: ApiProgram) -> None:
    file = part10(ct())
    for end in (100, 140, 300, len(file) - 1):
        problem(sender.post("studies", file[:end]), 400)
    assert not Instance.objects.exists()


def test_of_a_form_that_breaks_off_the_complete_files_are_kept(sender: ApiProgram) -> None:
    content, content_type = form([("f", "one", part10(ct())), ("f", "two", part10(ct()))])
    response = sender.post("studies", content[:-300], content_type)
    assert response.status_code == 207 and response.json()["stored"] == 1 and response.json()["refused"] == 1


@pytest.mark.django_db
def test_storing_needs_its_scope() -> None:
    problem(ApiProgram(scopes=["studies.read"], name="reader").post("studies", part10(ct())), 403)
    assert not Instance.objects.exists()


def test_a_page_may_upload_with_its_csrf_token_only(site: Site) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("dewi"))
    content, content_type = form([("file", "a", part10(ct()))])
    problem(client.post("/api/v1/studies", content, content_type=content_type), 403)
    client.get("/api/v1/docs")
    token = client.cookies["csrftoken"].value
    response = client.post("/api/v1/studies", content, content_type=content_type, headers={"X-CSRFToken": token})
    assert response.status_code == 201, response.content
    assert User.objects.get(username="dewi").pk == AuditEvent.objects.get(event="api.store").user_id


def test_djangos_own_encoding_of_forms_is_understood(sender: ApiProgram) -> None:
    file = io.BytesIO(part10(ct()))
    file.name = "a.dcm"
    content = encode_multipart("BoUnDaRyStRiNg", {"file": file, "note": "x"})
    assert sender.post("studies", content, "multipart/form-data; boundary=BoUnDaRyStRiNg").status_code == 201


@pytest.mark.usefixtures("committed_db")
def test_a_sender_that_names_no_length_and_one_that_vanishes(web_server: Daemon) -> None:
    _, token = make_token("sender", scopes=["studies.write", "studies.read"])
    headers = {"Authorization": f"Bearer {token}"}
    whole, cut = part10(ct(side=900)), part10(ct(side=900))
    pieces = (whole[start : start + 70_000] for start in range(0, len(whole), 70_000))
    response = requests.post(f"{web_server.url}/api/v1/studies", data=pieces, headers=headers, timeout=60)
    assert response.status_code == 201, response.text
    content, content_type = form([("f", "a", part10(ct())), ("f", "b", part10(ct()))])
    chunks = (content[start : start + 999] for start in range(0, len(content), 999))
    sent = {**headers, "Content-Type": content_type}
    response = requests.post(f"{web_server.url}/api/v1/studies", data=chunks, headers=sent, timeout=60)
    assert response.status_code == 201 and response.json()["stored"] == 2
    with socket.create_connection((web_server.host, web_server.port), timeout=30) as connection:
        head = f"POST /api/v1/studies HTTP/1.1\r\nHost: {web_server.host}\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}Content-Type: application/dicom\r\nContent-Length: {len(cut)}\r\n\r\n".encode())
        connection.sendall(cut[:-1000])
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400") or not answer
    assert Instance.objects.count() == 3
