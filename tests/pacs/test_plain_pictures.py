"""What is drawn in the server's own process is the picture that the bounded child draws, byte for byte."""

import random
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import ImplicitVRLittleEndian

from pacs.models import Location
from pacs.services import plain_pictures, render
from pacs.services.frames import StoredImage
from pacs.services.plain_pictures import drawn_plainly
from pacs.services.render import render_frame
from radiology.errors import RadiologyError
from tests.pacs.objects import ct, part10, real
from tests.pacs.placed import images, placed

JPEG: dict[str, Any] = {"media_type": "image/jpeg", "quality": 90}
WAYS: list[dict[str, Any]] = [
    {},
    {"quality": 61},
    {"viewport": (200, 200)},
    {"viewport": (5.0, 3.0)},
    {"viewport": (9, 700)},
    {"window": (40.0, 400.0, "linear")},
    {"window": (1000.5, 1.0, "linear")},
    {"window": (0.0, 300.0, "linear-exact")},
    {"window": (128.0, 90.0, "sigmoid"), "viewport": (11, 11)},
    {"iccprofile": "srgb"},
]
PLAIN = {"MR_small.dcm", "MR_small_implicit.dcm"}


def plainly(location: Location, frame: int = 1, **options: Any) -> bytes | None:
    with StoredImage(location) as image:
        return drawn_plainly(image, frame, {**JPEG, **options})


def by_the_child(location: Location, frame: int = 1, **options: Any) -> bytes:
    with StoredImage(location) as image:
        return render._drawn(image, image.header(), frame, {**JPEG, **options})[1]


@pytest.mark.parametrize("path", images(), ids=lambda path: path.name)
def test_every_real_image_looks_the_same_both_ways(path: Path, tmp_path: Path) -> None:
    location = placed(tmp_path, path.read_bytes())
    with StoredImage(location) as image:
        last = image.description.number_of_frames
    for number in {1, last}:
        for way in WAYS:
            found = plainly(location, number, **way)
            assert found is None or found == by_the_child(location, number, **way), way


def test_ordinary_real_images_are_plain(tmp_path: Path) -> None:
    for name in sorted(PLAIN & {path.name for path in images()}):
        assert plainly(placed(tmp_path, real(name).read_bytes())), name


def samples(kind: str, stored: int) -> bytes:
    """Noise with the least and the greatest values that there are, and all between them in the words of `kind`."""
    least = -(1 << stored - 1) if "i" in kind else 0
    noise = numpy.random.default_rng(stored).integers(least, least + (1 << stored), 21 * 32)
    noise[:2] = least, least + (1 << stored) - 1
    return noise.astype(kind).tobytes()


KINDS = [("u1", 8), ("u1", 7), ("i1", 8), ("<u2", 10), ("<u2", 12), ("<u2", 16), ("<i2", 12), ("<i2", 16)]
LOOKS: list[dict[str, Any]] = [
    {},
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": "40", "WindowWidth": "400"},
    {"RescaleSlope": "0.3051e-1", "RescaleIntercept": "7.25"},
    {"RescaleSlope": "-2", "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "-90", "WindowWidth": "77.5"},
    {"RescaleSlope": "0", "RescaleIntercept": None},
    {"WindowCenter": ["40", "300"], "WindowWidth": ["80", "1500"], "WindowCenterWidthExplanation": ["A", "B"]},
    {"WindowCenter": "100", "WindowWidth": "1"},
    {"WindowCenter": "100", "WindowWidth": "0"},
    {"WindowCenter": "100", "WindowWidth": "-5"},
    {"WindowCenter": "100"},
    {"WindowCenter": "", "WindowWidth": ""},
    {"WindowCenter": "100", "WindowWidth": "60", "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": "100", "WindowWidth": "60", "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": "100", "WindowWidth": "60", "VOILUTFunction": "LINEAR"},
]


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize(("kind", "stored"), KINDS)
def test_grey_of_every_kind(kind: str, stored: int, look: dict[str, Any], implicit: bool, tmp_path: Path) -> None:
    location = placed(tmp_path, grey(kind, stored, implicit=implicit, **look))
    for frame in (1, 2):
        for way in ({}, {"viewport": (9, 9)}, {"viewport": (50, 64)}, {"window": (60.0, 99.5, "linear")}):
            found = plainly(location, frame, **way)
            assert found is not None and found == by_the_child(location, frame, **way), way


def grey(kind: str, stored: int, *, implicit: bool = False, **attributes: Any) -> bytes:
    """A file of two frames of 21 rows of 32 columns."""
    bits = numpy.dtype(kind).itemsize * 8
    pixels = samples(kind, stored)
    data_set = ct(
        **{
            "Rows": 21, "Columns": 32, "NumberOfFrames": 2, "BitsAllocated": bits, "BitsStored": stored,
            "HighBit": stored - 1, "PixelRepresentation": int("i" in kind),
            "PixelData": pixels + pixels[32:] + pixels[:32],
            **attributes,
        }
    )  # fmt: skip
    data_set["PixelData"].VR = "OW" if bits > 8 else "OB"
    if implicit:
        data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        data_set["PixelData"].VR = "OW"
    return part10(data_set)


@pytest.mark.parametrize(("kind", "stored", "value"), [("<u2", 12, 4096), ("<i2", 12, 2048), ("<i2", 12, -2049)])
def test_bits_that_are_none_of_the_samples_do_not_count(kind: str, stored: int, value: int, tmp_path: Path) -> None:
    pixels = numpy.zeros(256, kind)
    pixels[100] = value
    stored_as = {"BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": int("i" in kind)}
    location = placed(tmp_path, part10(ct(PixelData=pixels.tobytes(), **stored_as)))
    assert plainly(location) is None
    window = (100.0, 400.0, "linear")
    assert plainly(location, window=window) == by_the_child(location, window=window)


@pytest.mark.parametrize(("kind", "stored"), [("<u2", 10), ("<i2", 12), ("<i2", 15), ("u1", 5), ("i1", 7)])
def test_a_window_over_bits_that_mean_something_else(kind: str, stored: int, tmp_path: Path) -> None:
    size = numpy.dtype(kind).itemsize
    data_set = ct(
        BitsAllocated=8 * size,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int("i" in kind),
        PixelData=numpy.random.default_rng(9).bytes(256 * size),
        WindowCenter="20",
        WindowWidth="60",
        RescaleSlope="1.5",
    )
    data_set["PixelData"].VR = "OW" if size > 1 else "OB"
    location = placed(tmp_path, part10(data_set))
    assert plainly(location) == by_the_child(location)


def test_a_picture_of_one_value(tmp_path: Path) -> None:
    for value in (0, 7, 65535):
        pixels = numpy.full(256, value, "<u2").tobytes()
        location = placed(tmp_path, part10(ct(BitsStored=16, HighBit=15, PixelData=pixels)))
        assert plainly(location) == by_the_child(location)


def test_an_odd_frame_with_a_byte_behind_it(tmp_path: Path) -> None:
    data_set = ct(Rows=3, Columns=5, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(range(15)) + b"\0")
    data_set["PixelData"].VR = "OB"
    location = placed(tmp_path, part10(data_set))
    assert plainly(location) == by_the_child(location) is not None


def table() -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 8])
    item.add_new(0x00283006, "OW", bytes(range(255, -1, -1)))
    return item


def window() -> Dataset:
    found = Dataset()
    found.WindowCenter, found.WindowWidth = "50", "2"
    group = Dataset()
    group.FrameVOILUTSequence = Sequence([found])
    return group


@pytest.mark.parametrize(
    "attributes",
    [
        {"ModalityLUTSequence": Sequence([table()])},
        {"VOILUTSequence": Sequence([table()])},
        {"SharedFunctionalGroupsSequence": Sequence([window()])},
        {"PerFrameFunctionalGroupsSequence": Sequence([window(), window()])},
        {"PixelPaddingValue": 0},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(1024)},
        {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": bytes(32)},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "PixelData": bytes(1536)},
        {"Rows": 8, "Columns": 9000, "PixelData": bytes(144000)},
        {"Rows": 2048, "Columns": 1040, "PixelData": bytes(2048 * 1040 * 2)},
        {"PatientComments": "x" * 9000, "ImageComments": "y" * 9000, "ContributionDescription": "z" * 60000},
    ],
    ids=lambda attributes: "-".join(attributes)[:60],
)
def test_what_is_not_plain_is_left_to_the_child(attributes: dict[str, Any], tmp_path: Path) -> None:
    assert plainly(placed(tmp_path, part10(ct(**attributes)))) is None
    assert plainly(placed(tmp_path, part10(ct())))


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["4O", "1_0", "nan", "1e999", "0x10", "1 2", "٣", "40\\x", "\\40"])
def test_a_number_that_is_none_is_left_to_the_child(keyword: str, value: str, tmp_path: Path) -> None:
    usual = {"WindowCenter": "40", "WindowWidth": "400", "RescaleSlope": "1", "RescaleIntercept": "0"}
    marked = part10(ct(**{**usual, keyword: "123456"}))
    assert plainly(placed(tmp_path, marked))
    text = value.encode().ljust(6)
    assert marked.count(b"123456") == 1 and len(text) == 6
    assert plainly(placed(tmp_path, marked.replace(b"123456", text))) is None


def test_other_encodings_and_forms_are_left_to_the_child(tmp_path: Path) -> None:
    for name in ("MR_small_bigendian.dcm", "MR_small_RLE.dcm"):
        assert plainly(placed(tmp_path, real(name).read_bytes())) is None
    location = placed(tmp_path, part10(ct()))
    for way in (
        {"media_type": "image/png"},
        {"media_type": "image/gif"},
        {"region": (0.0, 0.0, 0.5, 0.5)},
        {"annotation": {"top": ["A"]}},
        {"viewport": (8, 8, 0, 0, 4, -4)},
        {"viewport": (0, 8)},
        {"viewport": (2000, 2000)},
    ):
        assert plainly(location, **way) is None, way


def test_damaged_headers_look_the_same_both_ways(tmp_path: Path) -> None:
    """Whatever stands in the header: the picture of the child, or left to it."""
    chance = random.Random(5)
    file = grey("<u2", 12, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="400")
    described, pixels = file.index(b"\x28\x00\x02\x00US"), file.index(b"\xe0\x7f\x10\x00")
    drawn = 0
    for _ in range(150):
        damaged = bytearray(file)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(described, pixels)] = chance.choice([0, 1, 32, 46, 48, 57, 92, 255, 68, 83])
        try:
            location = placed(tmp_path, bytes(damaged))
            found = plainly(location)
        except RadiologyError as error:
            with pytest.raises(type(error)):
                render_frame(location=location)
            continue
        if found is not None:
            drawn += 1
            assert found == by_the_child(location)
    assert drawn > 20


def test_nothing_is_said_about_headers_that_lie(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    looks = [
        {"RescaleSlope": "9e99", "RescaleIntercept": "-9e99"},
        {"WindowCenter": "1e40", "WindowWidth": "1e-40"},
        {"WindowCenter": "-9e99", "WindowWidth": "1e-99", "VOILUTFunction": "SIGMOID"},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        locations = [placed(tmp_path, grey("<u2", 16, **look)) for look in looks]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for location in locations:
            assert plainly(location) == by_the_child(location)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "changes", [{"Rows": 65535, "Columns": 65535}, {"Rows": 17}, {"NumberOfFrames": 2}, {"BitsAllocated": 24}], ids=str
)
def test_pixels_that_are_not_there_are_the_same_error(
    changes: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = placed(tmp_path, part10(ct(**changes)))
    frame = changes.get("NumberOfFrames", 1)
    with pytest.raises(RadiologyError) as found:
        render_frame(location=location, frame=frame)
    monkeypatch.setattr(render, "drawn_plainly", lambda *_: None)
    with pytest.raises(RadiologyError) as expected:
        render_frame(location=location, frame=frame)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


def test_the_child_is_not_asked_for_what_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "ask", None)
    assert render_frame(location=placed(tmp_path, part10(ct())))
    assert plain_pictures.MAX_FRAME <= 4 * 1024 * 1024
