"""WADO-RS metadata and bulk data: the header as JSON, large values by reference."""

import gzip
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.test import Client
from pydicom.uid import (
    EncapsulatedPDFStorage,
    generate_uid,
)

from pacs.models import Instance
from radiology.models import Site
from tests.pacs.dicomweb import address, body, parts, store
from tests.pacs.objects import ct, part10


def metadata(reader: Client, url: str) -> list[dict[str, Any]]:
    response = reader.get(url + "/metadata", headers={"accept": "application/dicom+json"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/dicom+json"
    return json.loads(body(response))


def test_metadata_at_every_level_are_the_header_without_pixels(site: Site, reader: Client) -> None:
    study, series = generate_uid(), generate_uid()
    stored = [
        store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number)))
        for number in (3, 1, 2)
    ]
    other = store(site, part10(ct(StudyInstanceUID=study, SeriesNumber=2)))
    by_series = metadata(reader, f"/dicom-web/studies/{study}/series/{series}")
    assert [each["00200013"]["Value"] for each in by_series] == [[1], [2], [3]]
    by_study = metadata(reader, f"/dicom-web/studies/{study}")
    assert by_study[:3] == by_series
    assert [each["00080018"]["Value"] for each in by_study[3:]] == [[other.sop_instance_uid]]
    (alone,) = metadata(reader, address(stored[1]))
    assert alone == by_series[0]
    assert "7FE00010" not in alone
    assert alone["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "SANTOSO^BUDI"}]}
    assert alone["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert pydicom.Dataset.from_json(alone).Rows == 16


def test_series_metadata_are_prepared_once_and_follow_the_series(site: Site, reader: Client, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series)))
    url = f"/dicom-web/studies/{study}/series/{series}/metadata"
    first = reader.get(url, headers={"accept-encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(body(first)))) == 1
    again = reader.get(url, headers={"accept-encoding": "gzip", "if-none-match": first.headers["ETag"]})
    assert again.status_code == 304
    store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series)))
    assert len(json.loads(body(reader.get(url, headers={"if-none-match": first.headers["ETag"]})))) == 2
    assert len(list((tmp_path / "cache").rglob("*.json.gz"))) == 1


def test_large_values_are_fetched_where_the_metadata_say(site: Site, reader: Client) -> None:
    data_set = ct()
    data_set.add_new(0x00091001, "OB", b"small!")
    data_set.add_new(0x00091002, "OB", bytes(range(256)) * 8)
    item = pydicom.Dataset()
    item.add_new(0x00091002, "UN", b"within" * 400)
    data_set.ProcedureCodeSequence = pydicom.Sequence([pydicom.Dataset(), item])
    stored = store(site, part10(data_set))
    (found,) = metadata(reader, address(stored))
    assert found["00091001"] == {"vr": "OB", "InlineBinary": "c21hbGwh"}
    outer = found["00091002"]["BulkDataURI"]
    inner = found["00081032"]["Value"][1]["00091002"]["BulkDataURI"]
    assert outer.startswith("http://testserver/dicom-web/studies/")
    for url, expected in ((outer, bytes(range(256)) * 8), (inner, b"within" * 400)):
        path = url.removeprefix("http://testserver")
        ((headers, part),) = parts(reader.get(path))
        assert (headers["content-type"], part) == ("application/octet-stream", expected)
        alone = reader.get(path, headers={"accept": "application/octet-stream"})
        assert body(alone) == expected
        assert alone.headers["X-Content-Type-Options"] == "nosniff"
    assert reader.get(address(stored, "/bulkdata/00091003")).status_code == 404
    assert reader.get(address(stored, "/bulkdata/7FE00010")).status_code == 404


@pytest.mark.parametrize(
    ("raw", "character_set", "expected"),
    [
        (b"Buc^J\xe9r\xf4me", "ISO_IR 100", {"Alphabetic": "Buc^Jérôme"}),
        ("山田^太郎".encode(), "ISO_IR 192", {"Alphabetic": "山田^太郎"}),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\\ISO 2022 IR 87",
         {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}),
        (b"\xff\xfe^\xc3", "ISO_IR 192", None),
    ],
)  # fmt: skip
def test_names_come_as_unicode(site: Site, reader: Client, raw: bytes, character_set: str, expected: Any) -> None:
    data_set = ct(PatientName="PLACEHOLDER", SpecificCharacterSet=character_set)
    file = part10(data_set).replace(b"PLACEHOLDER ", b"")
    position = file.index(b"\x10\x00\x10\x00PN")
    value = raw + b" " * (len(raw) % 2)
    file = file[: position + 6] + len(value).to_bytes(2, "little") + value + file[position + 8 :]
    (found,) = metadata(reader, address(store(site, file)))
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    if expected is None:
        assert "�" in found["00100010"]["Value"][0]["Alphabetic"]
    else:
        assert found["00100010"]["Value"] == [expected]


def test_numbers_that_are_none_stay_text(site: Site, reader: Client) -> None:
    file = part10(ct(SliceThickness="1.50", SliceLocation="7.00"))
    file = file.replace(b"1.50", b"thin").replace(b"7.00", b"nan ")
    (found,) = metadata(reader, address(store(site, file)))
    assert found["00180050"] == {"vr": "DS", "Value": ["thin"]}
    assert found["00201041"] == {"vr": "DS", "Value": ["nan"]}


def test_a_damaged_object_does_not_hide_its_series(site: Site, reader: Client, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    stored = [store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series))) for _ in range(3)]
    location = Instance.objects.get(sop_instance_uid=stored[1].sop_instance_uid).locations.get()
    (tmp_path / "archive" / location.path).unlink()
    found = metadata(reader, f"/dicom-web/studies/{study}/series/{series}")
    assert {each["00080018"]["Value"][0] for each in found} == {each.sop_instance_uid for each in stored}
    assert not list((tmp_path / "cache").rglob("*.json.gz"))
    assert reader.get(address(stored[1], "/metadata")).status_code == 507


def test_a_document_comes_as_what_it_is(site: Site, reader: Client) -> None:
    document = b"%PDF-1.4\n" + b"x" * 5000 + b"\n%%EOF"
    data_set = ct(SOPClassUID=EncapsulatedPDFStorage, Modality="DOC")
    for keyword in ("Rows", "Columns", "PixelData", "BitsAllocated", "PhotometricInterpretation"):
        delattr(data_set, keyword)
    data_set.EncapsulatedDocument = document + b" " * (len(document) % 2)
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    stored = store(site, part10(data_set))
    (found,) = metadata(reader, address(stored))
    bulk = found["00420011"]["BulkDataURI"].removeprefix("http://testserver")
    for url in (bulk, address(stored, "/rendered")):
        ((headers, part),) = parts(reader.get(url, headers={"accept": 'multipart/related; type="application/pdf"'}))
        assert headers["content-type"] == "application/pdf"
        assert part.startswith(document)
        alone = reader.get(url, headers={"accept": "application/pdf"})
        assert alone.headers["Content-Disposition"].startswith("attachment; filename=")
        assert body(alone).startswith(document)
    assert reader.get(address(stored, "/thumbnail")).status_code == 200


def test_a_document_with_a_script_is_never_sent_as_one(site: Site, reader: Client) -> None:
    data_set = ct(SOPClassUID=EncapsulatedPDFStorage)
    data_set.EncapsulatedDocument = b"<script>alert(1)</script>" * 100
    data_set.MIMETypeOfEncapsulatedDocument = "text/html"
    stored = store(site, part10(data_set))
    url = address(stored, "/bulkdata/00420011")
    assert reader.get(url, headers={"accept": "text/html"}).status_code == 406
    response = reader.get(url, headers={"accept": "text/html,*/*;q=0.8"})
    assert response.headers["Content-Type"].startswith("multipart/related")
    body(response)


def test_metadata_are_served_when_they_cannot_be_kept(site: Site, reader: Client, tmp_path: Path) -> None:
    stored = store(site, part10(ct()))
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    (found,) = metadata(reader, f"/dicom-web/studies/{stored.study_instance_uid}")
    assert found["00080018"]["Value"] == [stored.sop_instance_uid]
