"""WADO-URI: objects, pictures, documents and videos by the parameters of PS3.18 9."""

from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import numpy
import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.models import Study
from pacs.services.store import Stored
from radiology.models import AuditEvent, Site, User
from radiology.services.access import issue_token
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import bare, ct, part10, real
from tests.pacs.test_wado_video import MP4, video


def ask(client: Client, stored: Stored, **parameters: Any) -> Any:
    headers = parameters.pop("headers", {})
    query: dict[str, Any] = {
        "requestType": "WADO",
        "studyUID": stored.study_instance_uid,
        "seriesUID": stored.series_instance_uid,
        "objectUID": stored.sop_instance_uid,
        **parameters,
    }
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return client.get(f"/wado?{text}", headers=headers)


def shown(response: Any) -> Image.Image:
    assert response.status_code == 200, response.content
    return Image.open(BytesIO(body(response)))


def test_the_object_itself(site: Site, reader: Client) -> None:
    file = part10(ct())
    stored = store(site, file)
    response = ask(reader, stored, contentType="application/dicom")
    assert response.headers["Content-Type"] == "application/dicom"
    assert bare(body(response)) == bare(file)
    event = AuditEvent.objects.get(event="wado-uri.retrieve")
    assert (event.study_instance_uid, event.detail["type"]) == (stored.study_instance_uid, "application/dicom")
    part = ask(reader, stored, contentType="application/dicom", headers={"range": "bytes=128-131"})
    assert (part.status_code, body(part)) == (206, b"DICM")


@pytest.mark.parametrize(
    ("name", "wanted", "got"),
    [
        ("JPEG2000.dcm", None, ExplicitVRLittleEndian),
        ("JPEG2000.dcm", JPEG2000, JPEG2000),
        ("JPEG2000.dcm", ExplicitVRLittleEndian, ExplicitVRLittleEndian),
        ("MR_small_bigendian.dcm", None, ExplicitVRLittleEndian),
        ("CT_small.dcm", JPEG2000, None),
        ("CT_small.dcm", ImplicitVRLittleEndian, None),
        ("MR_small_bigendian.dcm", ExplicitVRBigEndian, None),
    ],
)
def test_transfer_syntaxes(site: Site, reader: Client, name: str, wanted: str | None, got: str | None) -> None:
    stored = store(site, real(name).read_bytes())
    response = ask(reader, stored, contentType="application/dicom", transferSyntax=wanted)
    if got is None:
        assert response.status_code == 406
    else:
        assert pydicom.dcmread(BytesIO(body(response))).file_meta.TransferSyntaxUID == got


def test_an_image_is_a_jpeg_unless_it_moves(site: Site, reader: Client) -> None:
    still = store(site, part10(ct()))
    moving = store(site, part10(ct(NumberOfFrames=2, PixelData=bytes(512) + bytes(range(256)) * 2)))
    for client_accepts in ("", "*/*", "text/html,image/avif,image/webp,*/*;q=0.8"):
        headers = {"accept": client_accepts} if client_accepts else {}
        assert ask(reader, still, headers=headers).headers["Content-Type"] == "image/jpeg"
        assert ask(reader, moving, headers=headers).headers["Content-Type"] == "application/dicom"
    assert ask(reader, still, contentType="image/png").headers["Content-Type"] == "image/png"
    assert ask(reader, still, contentType="image/webp,image/gif;q=0.5,image/png").headers["Content-Type"] == "image/png"
    assert ask(reader, still, headers={"accept": "image/png"}).headers["Content-Type"] == "image/png"
    assert getattr(shown(ask(reader, moving, contentType="image/gif")), "n_frames", 1) == 2
    assert ask(reader, moving, contentType="image/jpeg", frameNumber=2).status_code == 200
    assert ask(reader, moving, contentType="image/jpeg", frameNumber=3).status_code == 404
    assert ask(reader, still, contentType="text/html").status_code == 406


def test_size_region_window_and_annotation(site: Site, reader: Client) -> None:
    pixels = numpy.arange(64 * 32, dtype="u2")
    values: dict[str, Any] = {"Rows": 32, "Columns": 64, "PixelData": pixels.tobytes(), "BitsStored": 11}
    stored = store(site, part10(ct(**values)))
    png: dict[str, Any] = {"contentType": "image/png"}
    whole = numpy.asarray(shown(ask(reader, stored, **png)))
    assert whole.shape == (32, 64)
    assert shown(ask(reader, stored, rows=16, **png)).size == (32, 16)
    assert shown(ask(reader, stored, columns=16, **png)).size == (16, 8)
    assert shown(ask(reader, stored, rows=16, columns=16, **png)).size == (16, 8)
    part = numpy.asarray(shown(ask(reader, stored, region="0.5,0.25,1,0.75", **png)))
    assert (part == whole[8:24, 32:]).all()
    assert shown(ask(reader, stored, region="0.5,0.25,1,0.75", rows=8, **png)).size == (16, 8)
    windowed = numpy.asarray(shown(ask(reader, stored, windowCenter=1024, windowWidth=2, **png)))
    assert set(windowed.reshape(-1)) <= {0, 128, 255}
    written = numpy.asarray(shown(ask(reader, stored, annotation="patient", windowCenter=9000, windowWidth=2, **png)))
    assert written.max() > 200
    assert len(body(ask(reader, stored, imageQuality=1))) < len(body(ask(reader, stored, imageQuality=100)))


def test_a_document_opens_in_the_browser(site: Site, reader: Client) -> None:
    document = b"%PDF-1.4 " + bytes(5000)
    stored = store(
        site,
        part10(
            ct(
                SOPClassUID=EncapsulatedPDFStorage, Modality="DOC", PixelData=None, Rows=None, Columns=None,
                MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=document + b"\0",
            )
        ),
    )  # fmt: skip
    for parameters in ({}, {"contentType": "application/pdf"}, {"contentType": "text/html,application/pdf"}):
        response = ask(reader, stored, **parameters)
        assert response.headers["Content-Type"] == "application/pdf"
        assert response.headers["Content-Disposition"].startswith("inline; filename=")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert body(response).startswith(document)
    assert ask(reader, stored, contentType="application/dicom").headers["Content-Type"] == "application/dicom"
    assert ask(reader, stored, contentType="image/jpeg").status_code == 406


def test_a_report_comes_as_dicom(site: Site, reader: Client) -> None:
    stored = store(site, real("test-SR.dcm").read_bytes())
    assert ask(reader, stored).headers["Content-Type"] == "application/dicom"
    response = ask(reader, stored, contentType="image/jpeg")
    assert response.status_code == 406
    assert "application/dicom" in response.json()["detail"]


def test_a_video(site: Site, reader: Client) -> None:
    stored = video(site, MP4, MPEG4HP41)
    assert ask(reader, stored).headers["Content-Type"] == "application/dicom"
    response = ask(reader, stored, contentType="video/mp4", headers={"range": "bytes=4-7"})
    assert (response.status_code, body(response)) == (206, b"ftyp")
    assert ask(reader, stored, contentType="video/mpeg").status_code == 406
    assert ask(reader, stored, contentType="video/mp4", rows=5).json()["field"] == "rows"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"requestType": "wado"}, "requestType"),
    ({"requestType": None}, "requestType"),
    ({"studyUID": None}, "studyUID"),
    ({"seriesUID": ""}, "seriesUID"),
    ({"objectUID": "1.2.x"}, "objectUID"),
    ({"objectUID": "../../etc/passwd"}, "objectUID"),
    ({"objectUID": "1\x00"}, "objectUID"),
    ({"studyUID": "1" * 65}, "studyUID"),
    ({"anonymize": "yes"}, "anonymize"),
    ({"presentationUID": "1.2.3"}, "presentationUID"),
    ({"rows": "0"}, "rows"),
    ({"rows": "-1"}, "rows"),
    ({"columns": "99999"}, "columns"),
    ({"columns": "1e3"}, "columns"),
    ({"columns": "٣"}, "columns"),
    ({"rows": "1" * 5000}, "rows"),
    ({"frameNumber": "0"}, "frameNumber"),
    ({"frameNumber": "x"}, "frameNumber"),
    ({"imageQuality": "101"}, "imageQuality"),
    ({"region": "0,0,1"}, "region"),
    ({"region": "0,0,1,2"}, "region"),
    ({"region": "0.5,0,0.4,1"}, "region"),
    ({"region": "a,0,1,1"}, "region"),
    ({"region": "nan,0,1,1"}, "region"),
    ({"windowCenter": "5"}, "windowWidth"),
    ({"windowWidth": "5"}, "windowCenter"),
    ({"windowCenter": "1", "windowWidth": "0"}, "windowWidth"),
    ({"windowCenter": "inf", "windowWidth": "1"}, "windowCenter"),
    ({"annotation": "weather"}, "annotation"),
    ({"transferSyntax": "1.2.840.10008.1.2.1"}, "transferSyntax"),
    ({"contentType": "application/dicom", "transferSyntax": "x"}, "transferSyntax"),
    ({"contentType": "application/dicom", "rows": "5"}, "rows"),
    ({"contentType": ", ,"}, "contentType"),
    ({"contentType": "///"}, "contentType"),
]


@pytest.mark.parametrize(("parameters", "field"), BAD)
def test_what_is_wrong_is_named(site: Site, reader: Client, parameters: dict[str, Any], field: str) -> None:
    response = ask(reader, store(site, part10(ct())), **parameters)
    assert response.status_code == 400
    assert response.json()["field"] == field


def test_other_parameters_are_passed_over(site: Site, reader: Client) -> None:
    stored = store(site, part10(ct()))
    assert ask(reader, stored, _="1700000000", charset="ISO-8859-1", anonymize="no").status_code == 200


def test_rights_levels_tags_and_queries(site: Site, reader: Client) -> None:
    one, other = store(site, part10(ct())), store(site, part10(ct()))
    assert ask(reader, one, studyUID=other.study_instance_uid).status_code == 404
    assert ask(reader, one, objectUID="1.2.3").status_code == 404
    assert ask(Client(), one).status_code == 401
    stranger = Client()
    stranger.force_login(
        User.objects.create_user("stranger", site=Site.objects.create(name="Elsewhere", code="elsewhere"))
    )
    assert ask(stranger, one).status_code == 404
    _, writer = issue_token(name="writer", scopes=["studies.write"], site=site)
    assert ask(Client(), one, headers={"authorization": f"Bearer {writer}"}).status_code == 403
    tag = ask(reader, one).headers["ETag"]
    assert ask(reader, one, headers={"if-none-match": tag}).status_code == 304
    with CaptureQueriesContext(connection) as captured:
        body(ask(reader, one, contentType="application/dicom"))
    assert len(captured) <= 7
    name = {"vr": "PN", "Value": [{"Alphabetic": "NEW^NAME"}]}
    Study.objects.update(overlay={"at": "2026-01-03T00:00:00", "attributes": {"00100010": name}})
    corrected = pydicom.dcmread(BytesIO(body(ask(reader, one, contentType="application/dicom"))))
    assert corrected.PatientName == "NEW^NAME"
