"""WADO-RS pictures: rendered frames and thumbnails."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from django.test import Client
from PIL import Image, ImageCms
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import generate_uid

from pacs.models import Study
from radiology.models import Site
from tests.pacs.dicomweb import address, body, parts, store
from tests.pacs.objects import ct, part10, real
from tests.pacs.placed import images, pixels_as_pydicom

PNG = {"accept": "image/png"}


def picture(response: Any) -> numpy.ndarray:
    assert response.status_code == 200, response.content
    return numpy.asarray(Image.open(BytesIO(response.content)))


def expected_of(path: Path, frame: int) -> numpy.ndarray:
    """The frame in 0…255 by pydicom's own functions, computed without tables."""
    data_set, array = pixels_as_pydicom(path, as_rgb=True)
    count = int(data_set.get("NumberOfFrames") or 1)
    pixels = array[frame - 1] if count > 1 else array
    if data_set.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, data_set)[..., :3]
        return coloured / (2 ** (8 * coloured.itemsize) - 1) * 255
    if data_set.SamplesPerPixel == 3:
        return pixels / (2**data_set.BitsStored - 1) * 255
    values = apply_modality_lut(pixels, data_set).astype(float)
    centre, width = data_set.get("WindowCenter"), data_set.get("WindowWidth")
    if centre and width:
        shown = apply_voi_lut(values, data_set, prefer_lut=False)
        low, high = _output_range(data_set)
    else:
        shown, low, high = values, values.min(), values.max()
    grey = (shown - low) / ((high - low) or 1) * 255
    return 255 - grey if data_set.PhotometricInterpretation == "MONOCHROME1" else grey


def _output_range(data_set: pydicom.Dataset) -> tuple[float, float]:
    """What pydicom maps a window to: the range of modality values that the stored bits allow."""
    bits, signed = data_set.BitsStored, data_set.PixelRepresentation
    ends = numpy.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=float)
    slope, intercept = float(data_set.get("RescaleSlope", 1)), float(data_set.get("RescaleIntercept", 0))
    low, high = ends * slope + intercept
    return low, high


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_every_real_image_is_drawn_as_pydicom_computes_it(site: Site, reader: Client, path: Path) -> None:
    stored = store(site, path.read_bytes())
    count = int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames") or 1)
    for frame in {1, count}:
        shown = picture(reader.get(address(stored, f"/frames/{frame}/rendered"), headers=PNG))
        expected = expected_of(path, frame)
        assert shown.shape == expected.shape
        numpy.testing.assert_allclose(shown.astype(float), expected, atol=1.01)


def shown(site: Site, reader: Client, query: str = "", **attributes: Any) -> numpy.ndarray:
    return picture(reader.get(address(store(site, part10(ct(**attributes))), f"/rendered{query}"), headers=PNG))


RAMP = numpy.arange(256, dtype="u2")


def test_the_window_of_the_object_the_one_that_is_asked_for_and_none(site: Site, reader: Client) -> None:
    ramp: dict[str, Any] = {"PixelData": RAMP.tobytes(), "RescaleIntercept": "-100", "RescaleSlope": "1"}
    full = shown(site, reader, **ramp)
    assert (full.min(), full.max()) == (0, 255)
    windowed = shown(site, reader, WindowCenter="0", WindowWidth="100", **ramp).reshape(-1)
    assert (windowed[:50] == 0).all() and (windowed[151:] == 255).all() and windowed[100] == 128
    asked = shown(site, reader, "?window=0,100,linear", **ramp).reshape(-1)
    assert (asked == windowed).all()
    exact = shown(site, reader, "?window=0,100,linear-exact", **ramp).reshape(-1)
    assert exact[100] == 127
    sigmoid = shown(site, reader, "?window=0,100,sigmoid", **ramp).reshape(-1)
    assert sigmoid[100] == 127 and 0 < sigmoid[50] < 40


def test_monochrome1_is_white_at_the_low_end(site: Site, reader: Client) -> None:
    ramp = shown(site, reader, PhotometricInterpretation="MONOCHROME1", PixelData=RAMP.tobytes()).reshape(-1)
    assert ramp[0] == 255 and ramp[-1] == 0


def test_signed_pixels_and_padding(site: Site, reader: Client) -> None:
    pixels = numpy.arange(-128, 128, dtype="i2")
    pixels[0] = -2000
    values: dict[str, Any] = {"PixelRepresentation": 1, "PixelData": pixels.tobytes(), "BitsStored": 16, "HighBit": 15}
    padded = ct(**values)
    padded.add_new(0x00280120, "SS", -2000)
    found = picture(reader.get(address(store(site, part10(padded)), "/rendered"), headers=PNG)).reshape(-1)
    assert found[0] == 0 and found[1] == 0 and found[-1] == 255
    assert 120 < found[128] < 135
    assert shown(site, reader, **values).reshape(-1)[1] > 200  # not padding here: the range begins at -2000


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lookup_table_of_the_object_is_used(site: Site, reader: Client, keyword: str, dtype: str) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [256, 0, 8])
    item.add_new(0x00283006, "OW", numpy.arange(255, -1, -1).astype(dtype).tobytes())
    data_set = ct(PixelData=RAMP.tobytes(), **{keyword: pydicom.Sequence([item])})
    found = picture(reader.get(address(store(site, part10(data_set)), "/rendered"), headers=PNG)).reshape(-1)
    assert (found == 255 - numpy.arange(256)).all()


def test_a_lookup_table_that_makes_no_sense_is_passed_over(site: Site, reader: Client) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", [0, 0, 8])
    item.add_new(0x00283006, "OW", b"ab")
    found = shown(site, reader, PixelData=RAMP.tobytes(), VOILUTSequence=pydicom.Sequence([item]))
    assert (found.reshape(-1) == numpy.arange(256)).all()


def test_windows_of_single_frames(site: Site, reader: Client) -> None:
    def group(centre: int) -> pydicom.Dataset:
        window = pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = str(centre), "2"
        found = pydicom.Dataset()
        found.FrameVOILUTSequence = pydicom.Sequence([window])
        return found

    stored = store(
        site,
        part10(
            ct(
                NumberOfFrames=2,
                PixelData=RAMP.tobytes() * 2,
                PerFrameFunctionalGroupsSequence=pydicom.Sequence([group(50), group(200)]),
            )
        ),
    )
    dark = [
        int((picture(reader.get(address(stored, f"/frames/{frame}/rendered"), headers=PNG)) == 0).sum())
        for frame in (1, 2)
    ]
    assert dark == [50, 200]


def test_bits_are_black_and_white(site: Site, reader: Client) -> None:
    bits: dict[str, Any] = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": b"\x01\x80" * 16}
    found = shown(site, reader, **bits)
    assert sorted(set(found.reshape(-1).tolist())) == [0, 255]
    assert found[0, 0] == 255
    assert (found == 255).sum() == 32


def test_viewport_quality_and_type(site: Site, reader: Client) -> None:
    stored = store(site, part10(ct(side=64, PixelData=(numpy.arange(4096, dtype="u2")).tobytes())))
    url = address(stored, "/rendered")
    assert reader.get(url).headers["Content-Type"] == "image/jpeg"
    assert picture(reader.get(f"{url}?viewport=32,16", headers=PNG)).shape == (16, 16)
    region = picture(reader.get(f"{url}?viewport=8,8,56,56,8,8&window=2048,4096,linear-exact", headers=PNG))
    assert region.shape == (8, 8)
    assert region.min() > 220
    low, high = (len(reader.get(f"{url}?quality={quality}").content) for quality in (1, 100))
    assert low < high
    assert reader.get(url, headers={"accept": "image/webp"}).status_code == 406
    ((headers, part),) = parts(reader.get(url, headers={"accept": 'multipart/related; type="image/png"'}))
    assert headers["content-type"] == "image/png"
    assert Image.open(BytesIO(part)).size == (64, 64)


@pytest.mark.parametrize(
    "query",
    [
        "window=1", "window=a,b", "window=1,0", "window=1,nan", "window=1,2,curve", "window=inf,2", "viewport=1",
        "viewport=0,5", "viewport=99999,5", "viewport=a,b", "viewport=1,2,3", "viewport=5,5,-1,0,1,1",
        "window=1,2,linear,3", "iccprofile=adobergb",
        "annotation=" + "a," * 11, "quality=0", "quality=101", "quality=x", "quality=9999999999",
    ],
)  # fmt: skip
def test_malformed_parameters_are_named(site: Site, reader: Client, query: str) -> None:
    response = reader.get(address(store(site, part10(ct())), f"/rendered?{query}"))
    assert response.status_code == 400
    assert response.json()["field"] == query.partition("=")[0]


def test_several_frames_and_whole_studies(site: Site, reader: Client) -> None:
    study = generate_uid()
    stored = store(site, part10(ct(StudyInstanceUID=study, NumberOfFrames=3, PixelData=RAMP.tobytes() * 3)))
    report = pydicom.dcmread(real("test-SR.dcm"))
    report.StudyInstanceUID, report.PatientID, report.PatientName = study, "MRN-1001", "SANTOSO^BUDI"
    report.PatientBirthDate = "19700101"
    store(site, part10(report))
    assert len(parts(reader.get(address(stored, "/frames/1,3/rendered")))) == 2
    assert len(parts(reader.get(f"/dicom-web/studies/{study}/rendered"))) == 1
    assert len(parts(reader.get(f"/dicom-web/studies/{study}/series/{stored.series_instance_uid}/rendered"))) == 1
    assert reader.get(address(stored, "/frames/4/rendered")).status_code == 404
    assert reader.get(address(stored, "/frames/4/thumbnail")).status_code == 404
    assert body(reader.get(address(stored, "/frames/2/thumbnail")))[:2] == b"\xff\xd8"


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_thumbnails_at_every_level(site: Site, reader: Client, level: str) -> None:
    stored = store(site, part10(ct(side=64)))
    study = f"/dicom-web/studies/{stored.study_instance_uid}"
    url = {"study": study, "series": f"{study}/series/{stored.series_instance_uid}", "instance": address(stored)}[level]
    response = reader.get(f"{url}/thumbnail")
    assert response.headers["Content-Type"] == "image/jpeg"
    picture = Image.open(BytesIO(response.content))
    assert picture.size == (200, 200)
    assert reader.get(f"{url}/thumbnail", headers={"if-none-match": response.headers["ETag"]}).status_code == 304


def test_what_has_no_picture_gets_a_tile(site: Site, reader: Client) -> None:
    stored = store(site, real("test-SR.dcm").read_bytes())
    for url in (address(stored), f"/dicom-web/studies/{stored.study_instance_uid}"):
        response = reader.get(f"{url}/thumbnail")
        assert response.status_code == 200
        assert Image.open(BytesIO(response.content)).size == (200, 200)


def test_a_negative_side_flips(site: Site, reader: Client) -> None:
    pixels = numpy.arange(256, dtype="u2")
    stored = store(site, part10(ct(PixelData=pixels.tobytes(), BitsStored=8, HighBit=7)))
    url = address(stored, "/rendered")
    plain = picture(reader.get(url, headers=PNG))
    assert (picture(reader.get(f"{url}?viewport=16,16,0,0,-16,16", headers=PNG)) == plain[:, ::-1]).all()
    assert (picture(reader.get(f"{url}?viewport=16,16,0,0,16,-16", headers=PNG)) == plain[::-1]).all()
    assert (picture(reader.get(f"{url}?viewport=16,16,,,,", headers=PNG)) == plain).all()
    part = picture(reader.get(f"{url}?viewport=8,4,4,8,8,4", headers=PNG))
    assert (part == plain[8:12, 4:12]).all()


def test_annotations_are_burned_in_and_corrected(site: Site, reader: Client) -> None:
    black: dict[str, Any] = {"side": 256, "PixelData": bytes(256 * 256 * 2)}
    stored = store(site, part10(ct(KVP="120", **black)))
    url = address(stored, "/rendered")
    assert not picture(reader.get(url, headers=PNG)).any()
    patient = picture(reader.get(f"{url}?annotation=patient", headers=PNG))
    technique = picture(reader.get(f"{url}?annotation=technique", headers=PNG))
    both = picture(reader.get(f"{url}?annotation=patient,technique", headers=PNG))
    assert patient[:128].max() > 200 and not patient[128:].any()
    assert technique[128:].max() > 200 and not technique[:128].any()
    assert (both == numpy.maximum(patient, technique)).all()
    assert not patient[:, 250:].any()
    name = {"vr": "PN", "Value": [{"Alphabetic": "ANOTHER^NAME"}]}
    Study.objects.update(overlay={"at": "2026-01-03T00:00:00", "attributes": {"00100010": name}})
    assert (picture(reader.get(f"{url}?annotation=patient", headers=PNG)) != patient).any()
    warned = reader.get(f"{url}?annotation=patient,weather", headers=PNG)
    assert warned.status_code == 200 and warned.headers["Warning"].startswith("299 ")
    assert "Warning" not in reader.get(url).headers
    assert (picture(reader.get(f"{url}?annotation=patient&viewport=64,64", headers=PNG)) > 0).any()


def test_colour_profiles(site: Site, reader: Client) -> None:
    plain = pydicom.dcmread(real("SC_rgb_rle.dcm"))
    url = address(store(site, part10(plain)), "/rendered")
    assert "icc_profile" not in Image.open(BytesIO(reader.get(url, headers=PNG).content)).info
    for value in ("yes", "srgb"):
        shown = Image.open(BytesIO(reader.get(f"{url}?iccprofile={value}", headers=PNG).content))
        assert "sRGB" in ImageCms.getProfileDescription(BytesIO(shown.info["icc_profile"]))
    profiled = pydicom.dcmread(real("SC_rgb_rle.dcm"))
    profiled.SOPInstanceUID = generate_uid()
    profiled.ICCProfile = real("crayons.icc").read_bytes()
    url = address(store(site, part10(profiled)), "/rendered")
    own = Image.open(BytesIO(reader.get(f"{url}?iccprofile=yes", headers=PNG).content))
    assert own.info["icc_profile"] == real("crayons.icc").read_bytes()
    converted = Image.open(BytesIO(reader.get(f"{url}?iccprofile=srgb", headers=PNG).content))
    assert (numpy.asarray(converted) != numpy.asarray(own)).any()
    profiled.SOPInstanceUID = generate_uid()
    profiled.ICCProfile = b"no profile at all " * 10
    url = address(store(site, part10(profiled)), "/rendered")
    assert reader.get(f"{url}?iccprofile=srgb", headers=PNG).status_code == 406
    assert reader.get(url, headers=PNG).status_code == 200


def test_a_gif_moves_where_there_are_several_frames(site: Site, reader: Client) -> None:
    frames = numpy.repeat(numpy.array([0, 100, 255], dtype="u2"), 256)
    moving = store(site, part10(ct(NumberOfFrames=3, PixelData=frames.tobytes(), BitsStored=8, FrameTime="250")))
    gif = {"accept": "image/gif"}
    shown = Image.open(BytesIO(reader.get(address(moving, "/rendered?window=128,256"), headers=gif).content))
    assert (shown.format, getattr(shown, "n_frames", 1), shown.info["duration"]) == ("GIF", 3, 250)
    single = Image.open(BytesIO(reader.get(address(moving, "/frames/2/rendered"), headers=gif).content))
    assert getattr(single, "n_frames", 1) == 1
    still = Image.open(BytesIO(reader.get(address(moving, "/rendered"), headers={"accept": "image/png"}).content))
    assert still.format == "PNG"
    many = store(site, part10(ct(NumberOfFrames=501, PixelData=bytes(512 * 501))))
    assert reader.get(address(many, "/rendered"), headers=gif).status_code == 406
