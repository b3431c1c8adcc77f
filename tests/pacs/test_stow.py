"""STOW-RS: each object's outcome by itself, hostile bodies, CSRF, and who may send."""

import json
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydicom.uid import ComprehensiveSRStorage, ImplicitVRLittleEndian, generate_uid

from pacs.models import HeldObject, Instance, Study, Volume
from radiology.models import AuditEvent, Site, User
from radiology.services.access import issue_token
from tests.pacs.dicomweb import ANY, address, body, parts, store
from tests.pacs.objects import bare, ct, part10, real

MULTIPART = 'multipart/related; type="application/dicom"; boundary=B-0'
URL = "/dicom-web/studies"
FAILED, REFERENCED = "00081198", "00081199"


def wrapped(*files: bytes, head: bytes = b"Content-Type: application/dicom", boundary: bytes = b"B-0") -> bytes:
    """Files as viewers send them: a line end first, none last."""
    body = b"".join(b"\r\n--" + boundary + b"\r\n" + head + b"\r\n\r\n" + file for file in files)
    return body + b"\r\n--" + boundary + b"--"


def post(client: Client, body: bytes, content_type: str = MULTIPART, url: str = URL, **headers: str) -> Any:
    return client.post(url, data=body, content_type=content_type, headers=headers)


def reasons(response: Any) -> list[int]:
    items = response.json().get(FAILED, {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]


def referenced(response: Any) -> list[str]:
    items = response.json().get(REFERENCED, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


@pytest.mark.parametrize(
    "content_type",
    [
        MULTIPART,
        "multipart/related; type=application/dicom; boundary=B-0",
        'Multipart/Related;boundary="B-0";type="application/dicom"',
        "multipart/related; boundary=B-0; type=application/dicom; charset=utf-8",
        "multipart/related; boundary=B-0",
    ],
)
def test_several_objects_in_one_body(reader: Client, content_type: str) -> None:
    study = generate_uid()
    objects = [ct(StudyInstanceUID=study) for _ in range(3)]
    response = post(reader, wrapped(*map(part10, objects)), content_type)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/dicom+json"
    assert referenced(response) == [each.SOPInstanceUID for each in objects]
    assert response.json()["00081190"]["Value"] == [f"http://testserver/dicom-web/studies/{study}"]
    for item, each in zip(response.json()[REFERENCED]["Value"], objects, strict=True):
        url = item["00081190"]["Value"][0].removeprefix("http://testserver")
        ((_, part),) = parts(reader.get(url, headers={"accept": ANY}))
        assert bare(part) == bare(part10(each))
    event = AuditEvent.objects.get(event="dicomweb.store")
    assert (event.study_instance_uid, event.detail, event.agent) == (study, {"instances": 3}, "reader")


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "test-SR.dcm"])
def test_one_object_alone_comes_back_as_it_went_in(reader: Client, name: str) -> None:
    file = real(name).read_bytes()
    response = post(reader, file, "application/dicom")
    assert response.status_code == 200
    with_same_again = post(reader, file, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert with_same_again.status_code == 200
    assert referenced(with_same_again) == referenced(response)
    assert Instance.objects.count() == 1


def test_a_measurement_saved_by_the_viewer(reader: Client) -> None:
    report = pydicom.dcmread(real("test-SR.dcm"))
    report.SOPClassUID = ComprehensiveSRStorage
    report.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert post(reader, wrapped(part10(report))).status_code == 200


def test_an_object_of_another_study_fails_alone(reader: Client) -> None:
    study = generate_uid()
    mine, other = ct(StudyInstanceUID=study), ct()
    response = post(reader, wrapped(part10(other), part10(mine)), url=f"{URL}/{study}")
    assert response.status_code == 202
    assert reasons(response) == [0xA900]
    assert response.json()[FAILED]["Value"][0]["00081155"]["Value"] == [other.SOPInstanceUID]
    assert referenced(response) == [mine.SOPInstanceUID]
    assert not Study.objects.filter(study_instance_uid=other.StudyInstanceUID).exists()
    assert post(reader, wrapped(part10(other)), url=f"{URL}/{study}").status_code == 409
    assert post(reader, wrapped(part10(other)), url=f"{URL}/1..x").status_code == 400


NO_UID = part10(ct(SOPInstanceUID=None))


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (b"", 0xC000),
        (b"not DICOM" * 100, 0xC000),
        (bytes(132), 0xC000),
        (part10(ct())[:300], 0xC000),
        (part10(ct())[:-1], 0xC000),
        (NO_UID, 0xA900),
        (part10(ct()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"), 0xC000),
    ],
    ids=["empty", "text", "zeros", "cut in the head", "cut by a byte", "no UID", "unknown syntax"],
)
def test_a_bad_part_never_ends_the_others(reader: Client, part: bytes, reason: int) -> None:
    first, last = ct(), ct()
    response = post(reader, wrapped(part10(first), part, part10(last)))
    assert response.status_code == 202
    assert reasons(response) == [reason]
    assert referenced(response) == [first.SOPInstanceUID, last.SOPInstanceUID]
    alone = post(reader, wrapped(part))
    assert alone.status_code == 409
    assert reasons(alone) == [reason]
    assert alone.json()[FAILED]["Value"][0]["00000902"]["Value"][0]
    assert Instance.objects.count() == 2


def test_parts_that_are_no_dicom(reader: Client) -> None:
    good = part10(ct())
    body = wrapped(good).removesuffix(b"\r\n--B-0--") + wrapped(b"{}", head=b"Content-Type: application/dicom+json")
    response = post(reader, body)
    assert (response.status_code, reasons(response)) == (202, [0xC000])
    encoded = post(reader, wrapped(good, head=b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64"))
    assert encoded.status_code == 409
    assert post(reader, wrapped(part10(ct()), head=b"X: y")).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"x", 415),
        ("", b"x", 415),
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("multipart/form-data; boundary=B-0", b"--B-0\r\n\r\nx\r\n--B-0--", 415),
        ('multipart/related; type="application/dicom+json"; boundary=B-0', b"", 415),
        ('multipart/related; type="application/dicom"', b"x", 400),
        ('multipart/related; type="application/dicom"; boundary=' + "b" * 71, b"x", 400),
        (MULTIPART, b"no boundary here", 400),
        (MULTIPART, b"--B-0--", 400),
        (MULTIPART, b"--B-0\r\nContent-Type: application/dicom", 400),
        (MULTIPART, b"--B-0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--B-0--", 400),
        (MULTIPART, b"x" * 200_000 + b"\r\n--B-0--", 400),
        ("application/dicom", b"x", 409),
    ],
)
def test_bodies_that_are_none(reader: Client, content_type: str, body: bytes, status: int) -> None:
    response = post(reader, body, content_type)
    assert response.status_code == status, response.content
    assert Instance.objects.count() == 0


@pytest.mark.parametrize("cut", [1, 3, 8, 100, 500])
def test_what_was_complete_when_the_body_broke_off_stays(reader: Client, cut: int) -> None:
    first, second = ct(), ct()
    response = post(reader, wrapped(part10(first), part10(second))[:-cut])
    assert response.status_code == 202
    assert referenced(response)[0] == first.SOPInstanceUID
    assert 0xC000 in reasons(response)
    assert Instance.objects.filter(sop_instance_uid=first.SOPInstanceUID).exists()
    assert post(reader, wrapped(part10(ct()))[:-cut]).status_code == 400


def test_content_that_looks_like_a_boundary(reader: Client) -> None:
    data_set = ct()
    tricky = b"\r\n--B-\r\n--B-00\r\n-\r\n--B-0x\r\n\r\n--B-0 x\r\n"
    data_set.add_new(0x00091002, "OB", tricky + b"\0" * (len(tricky) % 2))
    stored = post(reader, wrapped(part10(data_set)))
    assert stored.status_code == 200
    assert Instance.objects.get().locations.get().size == len(bare(part10(data_set)))


def test_an_object_that_contradicts_is_accepted_with_a_warning(site: Site, reader: Client) -> None:
    first = ct()
    store(site, part10(first))
    other = ct(seed=9, SOPInstanceUID=first.SOPInstanceUID, StudyInstanceUID=first.StudyInstanceUID,
               SeriesInstanceUID=first.SeriesInstanceUID)  # fmt: skip
    response = post(reader, part10(other), "application/dicom")
    assert response.status_code == 202
    (item,) = response.json()[REFERENCED]["Value"]
    assert item["00081196"]["Value"] == [0xB000]
    assert HeldObject.objects.count() == 1


def test_too_large_is_413(reader: Client, settings: Any) -> None:
    settings.SINAR_MAX_OBJECT_SIZE = 1000
    file = part10(ct(side=64))
    assert post(reader, file, "application/dicom").status_code == 413
    response = post(reader, wrapped(file, part10(ct(side=4))))
    assert (response.status_code, reasons(response)) == (202, [0xA700])
    announced = reader.generic("POST", URL, b"x", "application/dicom", CONTENT_LENGTH=str(2**40))
    assert announced.status_code == 413


def test_a_full_disk_is_507(site: Site, reader: Client) -> None:
    store(site, part10(ct()))
    Volume.objects.update(reserve=2**60)
    for sent, content_type in ((part10(ct()), "application/dicom"), (wrapped(part10(ct())), MULTIPART)):
        assert post(reader, sent, content_type).status_code == 507
    assert Instance.objects.count() == 1


def test_the_outcome_as_xml_and_in_nothing_else(reader: Client) -> None:
    file = part10(ct())
    response = post(reader, file, "application/dicom", accept="application/dicom+xml")
    assert response.status_code == 200
    root = ElementTree.fromstring(response.content)
    assert {node.get("keyword") for node in root} == {"RetrieveURL", "ReferencedSOPSequence"}
    assert post(reader, file, "application/dicom", accept="application/json").status_code == 200
    assert post(reader, file, "application/dicom", accept="text/html").status_code == 406


def test_a_page_needs_its_token_and_a_program_its_scope(site: Site) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_user("doctor", site=site))
    file = part10(ct())
    assert post(browser, file, "application/dicom").status_code == 403
    browser.cookies["csrftoken"] = "a" * 32
    assert post(browser, file, "application/dicom", **{"X-CSRFToken": "a" * 32}).status_code == 200
    program = Client(enforce_csrf_checks=True)
    for scopes, status in ((["studies.write"], 200), (["studies.read"], 403)):
        _, token = issue_token(name=f"program {status}", scopes=scopes, site=site)
        assert post(program, file, "application/dicom", authorization=f"Bearer {token}").status_code == status
    assert post(program, file, "application/dicom").status_code == 401


def test_the_sender_decides_the_site(site: Site) -> None:
    elsewhere = Site.objects.create(name="Elsewhere", code="elsewhere")
    _, token = issue_token(name="elsewhere", scopes=["studies.write"], site=elsewhere)
    assert post(Client(), part10(ct()), "application/dicom", authorization=f"Bearer {token}").status_code == 200
    assert Study.objects.get().site == elsewhere


def test_the_queries_do_not_grow_with_the_parts(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.storage.VOLUME_SECONDS", 3600.0)

    def queries(count: int) -> int:
        study, series = generate_uid(), generate_uid()
        files = [part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, side=2)) for _ in range(count)]
        with CaptureQueriesContext(connection) as captured:
            assert post(reader, wrapped(*files)).status_code == 200
        return len(captured)

    queries(1)
    assert queries(30) == queries(2)


def test_a_stored_object_is_found_in_every_way(reader: Client) -> None:
    file = part10(ct())
    stored = post(reader, file, "application/dicom")
    instance = Instance.objects.select_related("series_ref__study_ref").get()
    study = instance.series_ref.study_ref.study_instance_uid
    assert reader.get(f"{URL}?StudyInstanceUID={study}").json()[0]["0020000D"]["Value"] == [study]
    metadata = reader.get(f"{URL}/{study}/metadata")
    assert json.loads(body(metadata))[0]["00080018"]["Value"] == referenced(stored)


def test_the_address_of_a_held_object_is_not_given(site: Site, reader: Client) -> None:
    first = store(site, part10(ct()))
    other = ct(SOPInstanceUID=first.sop_instance_uid)
    response = post(reader, part10(other), "application/dicom")
    (item,) = response.json()[REFERENCED]["Value"]
    assert "00081190" not in item
    assert reader.get(address(first), headers={"accept": ANY}).status_code == 200
