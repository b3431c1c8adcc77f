"""STOW-RS of metadata with bulk data: objects are put together, byte by byte what they should be."""

import json
import random
from io import BytesIO
from typing import Any

import numpy
import pydicom
import pytest
from django.test import Client
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from pacs.dicomweb.native_model import to_xml
from pacs.models import Instance, Location
from pacs.services.json_encoding import decimal, encoded
from radiology.errors import CannotUnderstand
from radiology.models import AuditEvent
from tests.pacs.dicomweb import ANY, parts
from tests.pacs.objects import ct, part10, real
from tests.pacs.test_stow import FAILED, reasons, referenced
from tests.pacs.test_wado_video import MP4

URL = "/dicom-web/studies"
HERE = "http://sender/pixels"
Part = tuple[str, bytes] | tuple[str, bytes, str]


def send(client: Client, *sent: Part, kind: str = "application/dicom+json", url: str = URL) -> Any:
    body = b""
    for content_type, content, *location in sent:
        lines = [f"Content-Type: {content_type}", *(f"Content-Location: {each}" for each in location)]
        body += b"--B-0\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"
    return client.post(url, data=body + b"--B-0--\r\n", content_type=f'multipart/related; type="{kind}"; boundary=B-0')


def model(data_set: pydicom.Dataset, **by_reference: str) -> dict[str, Any]:
    """The JSON model by pydicom, some attributes given by reference."""
    whole = pydicom.dcmread(BytesIO(part10(data_set)))  # every element with the VR that it is written with
    found: dict[str, Any] = whole.to_json_dict(bulk_data_threshold=10**9, bulk_data_element_handler=None)
    for keyword, uri in by_reference.items():
        tag = f"{pydicom.datadict.tag_for_keyword(keyword):08X}"
        found[tag] = {"vr": whole[keyword].VR if keyword in whole else "OB", "BulkDataURI": uri}
    return found


def metadata(*data_sets: dict[str, Any]) -> Part:
    return "application/dicom+json", json.dumps(data_sets).encode()


def stored(client: Client, data_set: pydicom.Dataset) -> pydicom.FileDataset:
    url = f"{URL}/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}/instances/{data_set.SOPInstanceUID}"
    ((_, part),) = parts(client.get(url, headers={"accept": ANY}))
    return pydicom.dcmread(BytesIO(part))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "SC_rgb_small_odd.dcm"])
@pytest.mark.parametrize("first", ["metadata", "pixels"])
@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+xml"])
def test_real_images_are_put_together_again(reader: Client, name: str, first: str, kind: str) -> None:
    original = pydicom.dcmread(real(name))
    described = model(original, PixelData=HERE)
    root: Part = metadata(described) if kind.endswith("json") else (kind, to_xml(described))
    sent = [root, ("application/octet-stream", original.PixelData, HERE)]
    response = send(reader, *(sent if first == "metadata" else reversed(sent)), kind=kind)
    assert response.status_code == 200, response.content
    assert referenced(response) == [original.SOPInstanceUID]
    found = stored(reader, original)
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.PixelData == original.PixelData
    for element in original:
        if element.tag == 0x00080005 or element.tag.element == 0:
            continue
        mine = found[element.tag]
        if element.VR in {"DS", "FL", "FD"}:
            numpy.testing.assert_allclose(
                numpy.asarray(mine.value or 0, float), numpy.asarray(element.value or 0, float), rtol=1e-9
            )
        elif element.VR != "SQ":
            assert (mine.VR, mine.value) == (element.VR, element.value), element
    assert AuditEvent.objects.get(event="dicomweb.store").detail == {"instances": 1}


def test_names_in_many_scripts_sequences_and_private_elements(reader: Client) -> None:
    original = ct(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", OtherPatientNames=["Ünï^Cödé", "B"])
    item = pydicom.Dataset()
    item.CodeValue, item.CodeMeaning = "1", "Größe"
    inner = pydicom.Dataset()
    inner.ConceptNameCodeSequence = pydicom.Sequence([item, pydicom.Dataset()])
    original.ContentSequence = pydicom.Sequence([inner])
    original.private_block(0x0099, "MINE", create=True).add_new(1, "OB", b"\x01\x02\x03\x04")
    original.add_new(0x00280106, "US", 5)
    original.add_new(0x00189073, "FD", 1.5)
    original.add_new(0x00209165, "AT", [0x00100010, 0x00180050])
    assert send(reader, metadata(model(original))).status_code == 200
    found = stored(reader, original)
    assert found.PatientName == original.PatientName
    assert found.OtherPatientNames == original.OtherPatientNames
    assert found.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "Größe"
    assert len(found.ContentSequence[0].ConceptNameCodeSequence[1]) == 0
    assert found.private_block(0x0099, "MINE")[1].value == b"\x01\x02\x03\x04"
    assert (found[0x00280106].value, found[0x00189073].value) == (5, 1.5)
    assert list(found[0x00209165].value) == [0x00100010, 0x00180050]
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.PixelData == original.PixelData


COMPRESSED = [
    ("JPEG2000.dcm", "image/jp2", JPEG2000), ("MR_small_jpeg_ls_lossless.dcm", "image/jls", JPEGLSLossless),
    ("MR_small_jp2klossless.dcm", "image/jp2", JPEG2000Lossless),
    ("JPEGLSNearLossless_16.dcm", "image/jls", JPEGLSNearLossless),
    ("JPGExtended.dcm", "image/jpeg", JPEGExtended12Bit),
    ("rtdose_rle.dcm", "image/dicom-rle", RLELossless), ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg", JPEGBaseline8Bit),
]  # fmt: skip


@pytest.mark.parametrize(("name", "media_type", "syntax"), COMPRESSED)
@pytest.mark.parametrize("named", [False, True])
def test_compressed_frames_a_part_each(reader: Client, name: str, media_type: str, syntax: str, named: bool) -> None:
    original = pydicom.dcmread(real(name))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(original, keyword, original.get(keyword) or generate_uid())
    frames = list(generate_frames(original.PixelData, number_of_frames=int(original.get("NumberOfFrames") or 1)))
    content_type = f"{media_type}; transfer-syntax={syntax}" if named else media_type
    several = len(frames) > 1 and named
    sent: list[Part] = [
        (content_type, frame, f"{HERE}/frames/{number}" if several else HERE) for number, frame in enumerate(frames, 1)
    ]
    response = send(reader, metadata(model(original, PixelData=HERE)), *sent)
    assert response.status_code == 200, response.content
    found = stored(reader, original)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert list(generate_frames(found.PixelData, number_of_frames=len(frames))) == frames
    numpy.testing.assert_array_equal(found.pixel_array, original.pixel_array)


def test_a_photograph_describes_itself(reader: Client) -> None:
    photo = BytesIO()
    Image.linear_gradient("L").resize((40, 30)).save(photo, "JPEG")
    plain = ct(
        SOPClassUID=SecondaryCaptureImageStorage, Rows=None, Columns=None, PixelData=None, BitsAllocated=None,
        BitsStored=None, HighBit=None, PixelRepresentation=None, SamplesPerPixel=None, PhotometricInterpretation=None,
    )  # fmt: skip
    response = send(reader, metadata(model(plain, PixelData=HERE)), ("image/jpeg", photo.getvalue(), HERE))
    assert response.status_code == 200, response.content
    found = stored(reader, plain)
    assert (found.Rows, found.Columns, found.BitsAllocated, found.SamplesPerPixel) == (30, 40, 8, 1)
    assert found.pixel_array.shape == (30, 40)
    instance = Instance.objects.get()
    assert (instance.rows, instance.columns) == (30, 40)


def test_a_jp2_file_is_unwrapped(reader: Client) -> None:
    original = pydicom.dcmread(real("JPEG2000.dcm"))
    (stream,) = generate_frames(original.PixelData, number_of_frames=1)
    wrapped = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0\0\0\0jp2c" + stream
    content_type = f"image/jp2; transfer-syntax={JPEG2000}"
    assert send(reader, metadata(model(original, PixelData=HERE)), (content_type, wrapped, HERE)).status_code == 200
    numpy.testing.assert_array_equal(stored(reader, original).pixel_array, original.pixel_array)


def test_a_video_and_a_document(reader: Client) -> None:
    film = ct(NumberOfFrames=20, Rows=48, Columns=48, BitsAllocated=8, SamplesPerPixel=3, PixelData=None)
    paper = ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", PixelData=None, Modality="DOC", Rows=None, Columns=None)
    paper.MIMETypeOfEncapsulatedDocument = "application/pdf"
    response = send(
        reader,
        metadata(model(film, PixelData=HERE), model(paper, EncapsulatedDocument="cid:paper")),
        ("video/mp4", MP4, HERE),
        ("application/pdf", b"%PDF-1.4 odd", "cid:paper"),
    )
    assert response.status_code == 200, response.content
    assert stored(reader, film).file_meta.TransferSyntaxUID == MPEG4HP41
    assert MP4 in stored(reader, film).PixelData
    assert stored(reader, paper).EncapsulatedDocument == b"%PDF-1.4 odd"
    assert len(referenced(response)) == 2


def test_each_object_fails_by_itself(reader: Client) -> None:
    study = generate_uid()
    good, without_part, short = (ct(StudyInstanceUID=study) for _ in range(3))
    elsewhere = ct()
    no_uid = ct(StudyInstanceUID=study, SOPInstanceUID=None)
    response = send(
        reader,
        metadata(
            model(good, PixelData="a"), model(without_part, PixelData="http://elsewhere/never-fetched"),
            model(short, PixelData="b"), model(elsewhere), model(no_uid),
        ),
        ("application/octet-stream", good.PixelData, "a"),
        ("application/octet-stream", b"short", "b"),
        ("application/dicom+json", b"{not json"),
        ("application/dicom+json", b'["no data set"]'),
        url=f"{URL}/{study}",
    )  # fmt: skip
    assert response.status_code == 202
    assert referenced(response) == [good.SOPInstanceUID]
    assert reasons(response) == [0xC000, 0xC000, 0xC000, 0xA900, 0xA900, 0xC000]
    failed = response.json()[FAILED]["Value"]
    assert failed[1]["00081155"]["Value"] == [without_part.SOPInstanceUID]
    assert "BulkDataURI" in failed[1]["00000902"]["Value"][0]
    assert Instance.objects.count() == 1
    assert list(Location.objects.values_list("transfer_syntax_uid", flat=True)) == [ExplicitVRLittleEndian]


def broken(**changes: Any) -> dict[str, Any]:
    return {**model(ct()), **changes}


BAD: list[dict[str, Any]] = [
    broken(**{"00100010": "SANTOSO"}), broken(**{"00100010": {"Value": ["x"]}}), broken(xyz={"vr": "LO"}),
    broken(**{"00280010": {"vr": "US", "Value": ["x"]}}), broken(**{"00280010": {"vr": "US", "Value": [70000]}}),
    broken(**{"00280010": {"vr": "US", "Value": [1.5]}}), broken(**{"00280010": {"vr": "US", "Value": 16}}),
    broken(**{"00081140": {"vr": "SQ", "Value": ["x"]}}), broken(**{"00081140": {"vr": "SQ", "Value": {"a": 1}}}),
    broken(**{"7FE00010": {"vr": "OW", "InlineBinary": "%%%"}}), broken(**{"7FE00010": {"vr": "OW", "Value": [1]}}),
    broken(**{"00100020": {"vr": "LO", "Value": ["x" * 70000]}}), broken(**{"00100020": {"vr": "ZZ", "Value": ["x"]}}),
    broken(**{"00100020": {"vr": "LO", "BulkDataURI": "a"}}), broken(**{"00201209": {"vr": "IS", "Value": [True]}}),
    broken(**{"00200032": {"vr": "DS", "Value": [float("inf")]}}), broken(**{"00209165": {"vr": "AT", "Value": ["q"]}}),
    broken(**{"00080018": {"vr": "UI", "Value": ["1.2.x"]}}), broken(**{"00080018": {"vr": "UI", "Value": [{}]}}),
    broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": "jpeg"}}),
    broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": "x"}}),
    broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": ""}}), broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": {}}}),
    broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": "html"}}),
    broken(**{"7FE00010": {"vr": "OB", "BulkDataURI": "two"}}),
]  # fmt: skip


def test_what_the_bad_ones_are_made_of_is_good(reader: Client) -> None:
    assert send(reader, metadata(broken())).status_code == 200


@pytest.mark.parametrize("data_set", BAD)
def test_hostile_models_are_refused_one_by_one(reader: Client, data_set: dict[str, Any]) -> None:
    response = send(
        reader,
        metadata(data_set),
        ("image/jpeg", b"\xff\xd8\xff", "jpeg"),
        ("text/html", b"<script>", "html"),
        ("image/jls", b"1", "two"),
        ("image/jls", b"2", "two"),
    )
    assert response.status_code == 409, response.content
    assert len(reasons(response)) == 1
    assert Instance.objects.count() == 0


def test_nesting_without_end(reader: Client) -> None:
    deep: Any = {"vr": "SQ", "Value": []}
    for _ in range(100):
        deep = {"vr": "SQ", "Value": [{"00081140": deep}]}
    assert send(reader, metadata(broken(**{"00081140": deep}))).status_code == 409
    text = b'[{"00081140":' * 100_000
    assert send(reader, ("application/dicom+json", text)).status_code == 409


def test_bodies_that_are_too_large_or_end_early(reader: Client) -> None:
    huge = b'[{"00100020":{"vr":"LO","Value":["' + b"x" * (16 * 1024 * 1024) + b'"]}}]'
    assert send(reader, ("application/dicom+json", huge)).status_code == 413
    body = b"--B-0\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps(model(ct())).encode()
    kind = 'multipart/related; type="application/dicom+json"; boundary=B-0'
    assert reader.post(URL, data=body, content_type=kind).status_code == 400
    assert reader.post(URL, data=b"--B-0--", content_type=kind).status_code == 400
    assert reader.post(URL, data=b"{}", content_type="application/dicom+json").status_code == 415
    assert Instance.objects.count() == 0


def test_numbers_as_text() -> None:
    for number in (0.1, -1 / 3, 1e-300, 123456789012345678.0, -12345678.123456789, 1e22, 0.0, 5.0):
        assert len(decimal(number)) <= 16
        assert float(decimal(number)) == pytest.approx(number, rel=1e-8)


def test_fuzzed_models_end_in_an_outcome() -> None:
    """Whatever is in the model, it becomes bytes that pydicom reads, or CannotUnderstand."""
    chance = random.Random(3)
    original = model(ct())
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        changed = json.loads(json.dumps(original))
        tag = chance.choice(list(changed))
        how = chance.randrange(5)
        if how == 0:
            changed[tag]["vr"] = chance.choice(["US", "SQ", "PN", "DS", "AT", "OB", "UI", "", "XX", "FD"])
        elif how == 1:
            changed[tag]["Value"] = chance.choice(
                [[None], [], [[]], [{}], ["a\\b"], [1e400], [-1], "text", None, [True]]
            )
        elif how == 2:
            changed[chance.choice(["", "7FE00011", "00080000", "ffffffff", "0008001", "GGGG0010"])] = changed.pop(tag)
        elif how == 3:
            changed[tag] = chance.choice([None, [], 5, {}, {"vr": None}, {"vr": "LO", "InlineBinary": 5}])
        else:
            changed[tag]["BulkDataURI"] = "nowhere"
        try:
            data = b"".join(encoded(changed, bulk=_nothing))
        except CannotUnderstand:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        pydicom.filereader.read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    assert min(outcomes.values()) > 50


def _nothing(uri: str) -> Any:
    raise CannotUnderstand(f"There is no {uri}.")


def test_part10_of_the_same_object_is_the_same_object(reader: Client) -> None:
    original = ct()
    assert send(reader, metadata(model(original))).status_code == 200
    again = reader.post(URL, data=part10(original), content_type="application/dicom")
    assert again.status_code in {200, 202}
    assert Instance.objects.count() == 1
