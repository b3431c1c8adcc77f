"""WADO-RS frames over HTTP: negotiation, order, statuses."""

import numpy
import pydicom
import pytest
from django.test import Client
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from radiology.models import Site
from tests.pacs.dicomweb import ANY, FRAMES_ANY, address, body, parts, store
from tests.pacs.objects import ct, part10, real

OCTETS, JP2, JPEG = (
    f'multipart/related; type="{media_type}"' for media_type in ("application/octet-stream", "image/jp2", "image/jpeg")
)


def test_frames_as_the_viewer_asks_for_them(site: Site, reader: Client) -> None:
    for name, syntax in (("JPEG2000.dcm", JPEG2000), ("MR_small_implicit.dcm", ExplicitVRLittleEndian)):
        stored = store(site, real(name).read_bytes())
        for accept in (FRAMES_ANY, FRAMES_ANY.replace('"', "")):
            response = reader.get(address(stored, "/frames/1"), headers={"accept": accept})
            ((headers, part),) = parts(response)
            assert headers["content-type"] == f"application/octet-stream; transfer-syntax={syntax}"
            if syntax == JPEG2000:
                assert part.startswith(b"\xff\x4f\xff\x51")
            else:
                assert part == pydicom.dcmread(real(name)).PixelData


def test_big_endian_frames_are_turned_around(site: Site, reader: Client) -> None:
    stored = store(site, real("MR_small_bigendian.dcm").read_bytes())
    ((headers, part),) = parts(reader.get(address(stored, "/frames/1"), headers={"accept": FRAMES_ANY}))
    assert headers["content-type"].endswith(f"transfer-syntax={ExplicitVRLittleEndian}")
    expected = pydicom.dcmread(real("MR_small_bigendian.dcm")).pixel_array
    numpy.testing.assert_array_equal(numpy.frombuffer(part, "<i2").reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"),
        (OCTETS, f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"),
        (JP2, f"image/jp2; transfer-syntax={JPEG2000}"),
        (f"{JP2}; transfer-syntax=*", f"image/jp2; transfer-syntax={JPEG2000}"),
        (f"{JP2.replace('jp2', '*')}; transfer-syntax=*", f"image/jp2; transfer-syntax={JPEG2000}"),
        (f"{JPEG}, {JP2}; transfer-syntax={JPEG2000};q=0.5", f"image/jp2; transfer-syntax={JPEG2000}"),
        (f"{JP2}; transfer-syntax={JPEG2000Lossless}", None),
        (JPEG, None),
        ('multipart/related; type="image/jls"', None),
        ('multipart/related; type="application/dicom"', None),
    ],
)
def test_negotiation_of_compressed_frames(site: Site, reader: Client, accept: str, content_type: str | None) -> None:
    stored = store(site, real("JPEG2000.dcm").read_bytes())
    response = reader.get(address(stored, "/frames/1"), headers={"accept": accept})
    if content_type is None:
        assert response.status_code == 406
    else:
        ((headers, part),) = parts(response)
        assert headers["content-type"] == content_type
        if content_type.startswith("application"):
            assert part == pydicom.dcmread(real("JPEG2000.dcm")).pixel_array.tobytes()


def test_several_frames_come_in_the_order_asked_for(site: Site, reader: Client) -> None:
    pixels = numpy.arange(4 * 256, dtype="u2").tobytes()
    stored = store(site, part10(ct(NumberOfFrames=4, PixelData=pixels)))
    found = parts(reader.get(address(stored, "/frames/3,1,3"), headers={"accept": FRAMES_ANY}))
    assert [part for _, part in found] == [pixels[512 * n : 512 * (n + 1)] for n in (2, 0, 2)]
    alone = reader.get(address(stored, "/frames/2"), headers={"accept": "application/octet-stream"})
    assert body(alone) == pixels[512:1024]


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ("0", 400),
        ("-1", 400),
        ("x", 400),
        ("1,", 400),
        ("2", 404),
        ("1,999999999", 404),
        ("9" * 40, 400),
        ("%D9%A1", 400),
    ],
)
def test_frames_that_are_none(site: Site, reader: Client, frames: str, status: int) -> None:
    stored = store(site, part10(ct()))
    assert reader.get(address(stored, f"/frames/{frames}")).status_code == status


def test_a_report_has_no_frames_and_a_lying_image_no_pixels(site: Site, reader: Client) -> None:
    report = store(site, real("test-SR.dcm").read_bytes())
    assert reader.get(address(report, "/frames/1")).status_code == 404
    assert reader.get(address(report, "/rendered")).status_code == 406
    data_set = pydicom.dcmread(real("MR_small_RLE.dcm"))
    data_set.Rows = data_set.Columns = 65535
    lying = store(site, part10(data_set))
    assert reader.get(address(lying, "/frames/1")).status_code == 406
    assert reader.get(address(lying, "/rendered")).status_code == 406
    assert reader.get(address(lying)).status_code == 406
    assert reader.get(address(lying), headers={"accept": ANY}).status_code == 200
    assert reader.get(address(lying, "/frames/1"), headers={"accept": FRAMES_ANY}).status_code == 200
