"""WADO-RS bulk data, pixel data, XML metadata; entity tags, ranges and HEAD of everything that is retrieved."""

import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless, generate_uid

from pacs.dicomweb.native_model import from_xml, to_xml
from pacs.models import Series, Study
from pacs.services.store import Stored
from radiology.errors import CannotUnderstand
from radiology.models import Site
from tests.pacs.dicomweb import FRAMES_ANY, address, body, parts, store
from tests.pacs.objects import bare, ct, part10, real

XML = 'multipart/related; type="application/dicom+xml"'


def study_with_bulk(site: Site) -> tuple[Stored, Stored]:
    uid = generate_uid()
    first = ct(StudyInstanceUID=uid)
    first.add_new(0x00091002, "OB", bytes(range(256)) * 10)
    item = pydicom.Dataset()
    item.add_new(0x00091003, "OW", b"ab" * 1000)
    first.ReferencedImageSequence = pydicom.Sequence([item])
    compressed = pydicom.dcmread(real("rtdose_rle.dcm"))
    compressed.StudyInstanceUID, compressed.PatientID, compressed.PatientName = uid, "MRN-1001", "SANTOSO^BUDI"
    compressed.PatientBirthDate = "19700101"
    return store(site, part10(first)), store(site, part10(compressed))


def test_all_values_of_an_instance_and_of_its_study(site: Site, reader: Client) -> None:
    first, compressed = study_with_bulk(site)
    pixels = ct().PixelData
    found = {headers["content-location"]: value for headers, value in parts(reader.get(address(first, "/bulkdata")))}
    base = "http://testserver" + address(first)
    assert set(found) == {
        f"{base}/bulkdata/00091002",
        f"{base}/bulkdata/00081140/1/00091003",
        f"{base}/pixeldata",
    }
    assert found[f"{base}/bulkdata/00091002"] == bytes(range(256)) * 10
    assert found[f"{base}/bulkdata/00081140/1/00091003"] == b"ab" * 1000
    assert found[f"{base}/pixeldata"] == pixels
    for url in set(found) - {f"{base}/pixeldata"}:
        ((_, value),) = parts(reader.get(url.removeprefix("http://testserver")))
        assert value == found[url]
    whole = parts(reader.get(f"/dicom-web/studies/{first.study_instance_uid}/bulkdata", headers={"accept": FRAMES_ANY}))
    assert len(whole) == 3 + 15
    one_series = f"/dicom-web/studies/{first.study_instance_uid}/series/{compressed.series_instance_uid}/bulkdata"
    assert len(parts(reader.get(one_series, headers={"accept": FRAMES_ANY}))) == 15


def test_pixels_as_stored_and_decompressed(site: Site, reader: Client) -> None:
    _, compressed = study_with_bulk(site)
    data_set = pydicom.dcmread(real("rtdose_rle.dcm"))
    as_stored = parts(reader.get(address(compressed, "/pixeldata"), headers={"accept": FRAMES_ANY}))
    expected = list(generate_frames(data_set.PixelData, number_of_frames=15))
    assert [value for _, value in as_stored] == expected
    assert as_stored[3][0]["content-location"].endswith("/pixeldata/frames/4")
    assert as_stored[3][0]["content-type"] == f"application/octet-stream; transfer-syntax={RLELossless}"
    ((headers, value),) = parts(reader.get(address(compressed, "/pixeldata")))
    assert headers["content-location"].endswith("/pixeldata")
    assert value == data_set.pixel_array.astype("<u4").tobytes()
    rle = parts(
        reader.get(address(compressed, "/pixeldata"), headers={"accept": 'multipart/related; type="image/dicom-rle"'})
    )
    assert [value for _, value in rle] == expected
    jpeg = reader.get(address(compressed, "/pixeldata"), headers={"accept": 'multipart/related; type="image/jpeg"'})
    assert jpeg.status_code == 406


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "liver_1frame.dcm", "MR_small_padded.dcm"])
def test_native_pixels_are_little_endian_and_end_where_the_image_does(site: Site, reader: Client, name: str) -> None:
    stored = store(site, real(name).read_bytes())
    ((_, value),) = parts(reader.get(address(stored, "/pixeldata")))
    data_set = pydicom.dcmread(real(name))
    if data_set.BitsAllocated == 1:
        assert value == data_set.PixelData[: len(value)]
        bits = numpy.unpackbits(numpy.frombuffer(value, "u1"), bitorder="little")[: data_set.pixel_array.size]
        assert (bits == data_set.pixel_array.reshape(-1)).all()
    else:
        array = data_set.pixel_array
        assert value == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_what_has_no_such_data_is_404(site: Site, reader: Client) -> None:
    stored = store(site, real("test-SR.dcm").read_bytes())
    for rest in ("/pixeldata", "/bulkdata", "/bulkdata/00091002"):
        assert reader.get(address(stored, rest)).status_code == 404
    assert reader.get(address(stored, "/pixeldata"), headers={"accept": "text/html"}).status_code in {404, 406}


def test_the_queries_for_bulk_data_do_not_grow(site: Site, reader: Client) -> None:
    def queries(count: int) -> int:
        study, series = generate_uid(), generate_uid()
        for number in range(count):
            store(site, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number, side=2)))
        with CaptureQueriesContext(connection) as captured:
            assert len(parts(reader.get(f"/dicom-web/studies/{study}/pixeldata"))) == count
        return len(captured)

    assert queries(2) == queries(20) <= 6


def test_a_single_value_comes_in_ranges(site: Site, reader: Client) -> None:
    first, _ = study_with_bulk(site)
    url, value = address(first, "/bulkdata/00091002"), bytes(range(256)) * 10
    whole = reader.get(url, headers={"accept": "application/octet-stream"})
    assert (body(whole), whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == (value, "2560", "bytes")
    for text, start, end in (("bytes=5-99", 5, 100), ("bytes=2000-", 2000, 2560), ("bytes=-3", 2557, 2560)):
        part = reader.get(url, headers={"accept": "application/octet-stream", "range": text})
        assert (part.status_code, body(part)) == (206, value[start:end])


@pytest.mark.parametrize("start", [0, 1, 3, 8, 1999])
def test_ranges_of_big_endian_values(site: Site, reader: Client, start: int) -> None:
    data_set = pydicom.dcmread(real("MR_small_bigendian.dcm"))
    data_set.add_new(0x00091002, "OL", numpy.arange(500, dtype="<u4").astype(">u4").tobytes())
    stored = store(site, part10(data_set))
    part = reader.get(
        address(stored, "/bulkdata/00091002"),
        headers={"accept": "application/octet-stream", "range": f"bytes={start}-"},
    )
    assert body(part) == numpy.arange(500, dtype="<u4").tobytes()[start:]


def test_a_single_object_comes_in_ranges(site: Site, reader: Client) -> None:
    file = part10(ct())
    stored = store(site, file)
    accept = {"accept": "application/dicom; transfer-syntax=*"}
    whole = reader.get(address(stored), headers=accept)
    content, tag = body(whole), whole.headers["ETag"]
    assert whole.headers["Content-Length"] == str(len(content))
    for start in (0, 1, 500, 1024, len(content) - 1):
        part = reader.get(address(stored), headers={**accept, "range": f"bytes={start}-", "if-range": tag})
        assert (part.status_code, body(part)) == (206, content[start:])
        assert part.headers["Content-Range"] == f"bytes {start}-{len(content) - 1}/{len(content)}"
    short = reader.get(address(stored), headers={**accept, "range": "bytes=10-19"})
    assert (short.headers["Content-Length"], body(short)) == ("10", content[10:20])
    assert reader.get(address(stored), headers={**accept, "range": "bytes=99999999-"}).status_code == 416
    transcoded = store(site, real("JPEG2000.dcm").read_bytes())
    plain = reader.get(address(transcoded), headers={"accept": "application/dicom", "range": "bytes=1-"})
    assert (plain.status_code, plain.headers["Accept-Ranges"]) == (200, "none")


RESOURCES = [
    "", "/metadata", "/rendered", "/thumbnail", "/bulkdata", "/pixeldata", "/series/{e}", "/series/{e}/metadata",
    "/series/{e}/thumbnail", "/series/{e}/rendered", "/series/{e}/bulkdata", "/series/{e}/pixeldata",
    "/series/{e}/instances/{i}", "/series/{e}/instances/{i}/metadata", "/series/{e}/instances/{i}/frames/1",
    "/series/{e}/instances/{i}/frames/1/rendered", "/series/{e}/instances/{i}/frames/1/thumbnail",
    "/series/{e}/instances/{i}/rendered", "/series/{e}/instances/{i}/thumbnail", "/series/{e}/instances/{i}/bulkdata",
    "/series/{e}/instances/{i}/bulkdata/00091002", "/series/{e}/instances/{i}/pixeldata",
]  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_copy_is_good_until_something_changes(site: Site, reader: Client, resource: str) -> None:
    data_set = ct()
    data_set.add_new(0x00091002, "OB", b"x" * 2000)
    stored = store(site, part10(data_set))
    url = f"/dicom-web/studies/{stored.study_instance_uid}" + resource.format(
        e=stored.series_instance_uid, i=stored.sop_instance_uid
    )
    first = reader.get(url)
    body(first)
    tag = first.headers["ETag"]
    assert "Accept" in first.headers["Vary"]
    path = Path(next((site_path(site)).rglob("*.dcm")))
    hidden = path.rename(path.with_suffix(".away"))  # a copy is confirmed without the file
    again = reader.get(url, headers={"if-none-match": tag})
    assert (again.status_code, body(again), again.headers["ETag"]) == (304, b"", tag)
    hidden.rename(path)
    head = reader.head(url)
    assert (head.status_code, body(head), head.headers["ETag"]) == (200, b"", tag)
    assert head.headers["Content-Type"].split(";")[0] == first.headers["Content-Type"].split(";")[0]


def site_path(site: Site) -> Path:
    from pacs.models import Volume

    return Path(Volume.objects.get().path)


def test_a_correction_makes_copies_of_the_header_stale_and_leaves_the_pixels(site: Site, reader: Client) -> None:
    stored = store(site, part10(ct()))
    urls = {
        address(stored): {"accept": "application/dicom"},
        address(stored, "/metadata"): {},
        f"/dicom-web/studies/{stored.study_instance_uid}": {},
        f"/dicom-web/studies/{stored.study_instance_uid}/metadata": {},
        address(stored, "/frames/1"): {},
    }
    tags = {url: reader.get(url, headers=headers).headers["ETag"] for url, headers in urls.items()}
    name = {"vr": "PN", "Value": [{"Alphabetic": "NEW^NAME"}]}
    Study.objects.update(
        overlay={"at": "2026-01-03T00:00:00", "attributes": {"00100010": name}}, version=7, updated_at=timezone.now()
    )
    Series.objects.update(version=9)
    for url, headers in urls.items():
        status = reader.get(url, headers={**headers, "if-none-match": tags[url]}).status_code
        assert status == (304 if "frames" in url else 200), url
    corrected = body(reader.get(address(stored), headers={"accept": "application/dicom"}))
    assert pydicom.dcmread(BytesIO(corrected)).PatientName == "NEW^NAME"
    assert bare(part10(ct()))  # what is on the disk is looked at by the tests of corrections


@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "rtplan.dcm", "liver_1frame.dcm", "reportsi.dcm"])
def test_metadata_as_xml_say_what_dcmtk_says(
    site: Site, reader: Client, name: str, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    stored = store(site, real(name).read_bytes())
    response = reader.get(address(stored, "/metadata"), headers={"accept": XML})
    assert response.headers["Content-Type"].startswith('multipart/related; type="application/dicom+xml"')
    ((headers, document),) = parts(response)
    assert headers["content-type"] == "application/dicom+xml"
    theirs = subprocess.run(
        [tool("dcm2xml"), "--native-format", "--charset-assume", "latin-1", "-q", real(name)],
        capture_output=True, timeout=30, check=True,
    )  # fmt: skip
    ours, expected = ElementTree.fromstring(document), ElementTree.fromstring(theirs.stdout)
    compared = 0
    found = {(each.get("tag"), each.get("privateCreator")): each for each in ours}
    for attribute in expected:
        tag = attribute.get("tag") or ""
        if tag.startswith("0002") or tag == "00080005" or "Value" not in {child.tag for child in attribute}:
            continue
        mine = found[tag, attribute.get("privateCreator")]
        assert mine.get("vr") == attribute.get("vr"), tag
        assert mine.get("keyword") == attribute.get("keyword"), tag
        values = [child.text or "" for child in attribute if child.text]
        assert list(map(comparable, values)) == [comparable(child.text or "") for child in mine if child.text], tag
        compared += 1
    assert compared > 5


def comparable(text: str) -> Any:
    try:
        return round(float(text), 4)
    except ValueError:
        return text.strip()


def test_metadata_of_a_study_as_xml_are_a_document_an_instance(site: Site, reader: Client) -> None:
    first, compressed = study_with_bulk(site)
    documents = parts(reader.get(f"/dicom-web/studies/{first.study_instance_uid}/metadata", headers={"accept": XML}))
    assert len(documents) == 2
    found = from_xml(documents[0][1])
    (as_json,) = reader.get(address(first, "/metadata")).json()
    assert found["00091002"] == as_json["00091002"]
    assert found["00081140"]["Value"] == as_json["00081140"]["Value"]
    assert found["00100010"] == as_json["00100010"]
    assert compressed.sop_instance_uid in documents[1][1].decode()


@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "rtplan.dcm", "rtdose.dcm", "reportsi.dcm"])
def test_xml_and_back_loses_nothing(site: Site, reader: Client, name: str) -> None:
    stored = store(site, real(name).read_bytes())
    (as_json,) = reader.get(address(stored, "/metadata")).json()
    again = from_xml(to_xml(as_json))
    assert list(again) == list(as_json)
    for tag, element in as_json.items():
        if element["vr"] != "DS" and element["vr"] != "SQ":
            assert again[tag] == element, tag


VALUE = b"<NativeDicomModel><DicomAttribute tag='00280010' vr='US'>?</DicomAttribute></NativeDicomModel>"
BAD_XML = [
    b"", b"<a/>", b"<NativeDicomModel>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><NativeDicomModel/>",
    b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><NativeDicomModel/>", b"<NativeDicomModel><x/></NativeDicomModel>",
    VALUE.replace(b"?", b"<Value number='1'>x</Value>"),
    VALUE.replace(b"?", b"<Value number='99999'>1</Value>"),
    b"<NativeDicomModel>" + b"<DicomAttribute tag='00081140' vr='SQ'><Item number='1'>" * 500, b"\xff\xfe<\x00",
]  # fmt: skip


@pytest.mark.parametrize("document", BAD_XML)
def test_hostile_xml_is_refused(document: bytes) -> None:
    with pytest.raises(CannotUnderstand):
        from_xml(document)
