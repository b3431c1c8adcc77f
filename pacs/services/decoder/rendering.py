"""Pictures to look at: one frame through modality LUT, window and palette, as JPEG or PNG.

PS3.4 N.2 and PS3.3 C.11 say in which order.
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from pacs.services.decoder.decoding import Undecodable, pixels_of
from pacs.services.greyscale import Look, LookupTable, Window, shown_grey
from pacs.services.picture_files import LARGEST_SIDE, scaled, written

BACKGROUND, FOREGROUND = 38, 150
MIN_TEXT, MAX_TEXT = 9, 96


def render(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The picture of one frame. `payload` is the data set up to the pixels, then the stored frame."""
    header, frame = payload[: request["header"]], payload[request["header"] :]
    uid = UID(request["data_set_syntax_uid"])
    dataset = read_dataset(io.BytesIO(header), uid.is_implicit_VR, uid.is_little_endian)
    pixels, facts = pixels_of(request, frame, as_rgb=True)
    photometric = str(facts["photometric_interpretation"])
    if request["description"]["photometric_interpretation"] == "PALETTE COLOR":
        picture = _palette(pixels, dataset)
    elif pixels.ndim == 3:
        picture = Image.fromarray(_bytes_of(pixels[..., :3], dataset), "RGB")
    else:
        look = _look(dataset, request["frame"] - 1, request.get("window"))
        grey = shown_grey(pixels, look, inverted=photometric == "MONOCHROME1")
        picture = Image.fromarray(grey, "L")
    picture = _fitted(picture, request.get("region"), request.get("viewport"))
    picture, profile = _coloured(picture, dataset, request.get("iccprofile", "no"))
    picture = _annotated(picture, request.get("annotation") or {})
    return {"frame_time": _frame_time(dataset)}, written(picture, request["media_type"], request["quality"], profile)


def animate(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Pictures of the same size, one behind the other in `payload`, as one GIF that repeats."""
    pictures = []
    position = 0
    for length in request["lengths"]:
        pictures.append(Image.open(io.BytesIO(payload[position : position + length])).copy())
        position += length
    target = io.BytesIO()
    pictures[0].save(
        target, "GIF", save_all=True, append_images=pictures[1:], duration=request["milliseconds"], loop=0, disposal=1
    )
    return {}, target.getvalue()


def placeholder(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """A neutral tile with a word on it, for what has no picture."""
    size = request["size"]
    picture = Image.new("L", (size, size), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(12, size // 5))
    draw.text((size / 2, size / 2), request["text"], fill=FOREGROUND, font=font, anchor="mm")
    return {}, written(picture, request["media_type"], 90)


def _look(dataset: Dataset, index: int, asked: list[Any] | None) -> Look:
    """What is said of a frame; multi-frame objects say it in functional groups."""
    rescale = _macro(dataset, index, "PixelValueTransformationSequence") or dataset
    return Look(
        slope=_number(rescale, "RescaleSlope", 1.0),
        intercept=_number(rescale, "RescaleIntercept", 0.0),
        modality_table=_table(dataset, "ModalityLUTSequence"),
        window=_window(dataset, index, asked),
        window_table=None if asked else _table(dataset, "VOILUTSequence"),
        padding=_padding(dataset),
    )


def _window(dataset: Dataset, index: int, asked: list[Any] | None) -> Window | None:
    """The window that is asked for, else the object's where no table goes before it (PS3.3 C.11.2)."""
    if asked:
        return float(asked[0]), float(asked[1]), str(asked[2])
    if _table(dataset, "VOILUTSequence") is not None:
        return None
    source = _macro(dataset, index, "FrameVOILUTSequence") or dataset
    centre, width = _number(source, "WindowCenter", None), _number(source, "WindowWidth", None)
    if centre is None or width is None or width <= 0:
        return None
    return centre, width, str(source.get("VOILUTFunction") or "LINEAR")


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    padding = dataset.get("PixelPaddingValue")
    if not isinstance(padding, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", padding)
    other = limit if isinstance(limit, int) else padding
    return min(padding, other), max(padding, other)


def _table(dataset: Dataset, keyword: str) -> LookupTable | None:
    """The first table of a sequence; None where there is none, or none that makes sense."""
    try:
        item = dataset[keyword].value[0]
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        value = item["LUTData"].value
    except (KeyError, IndexError, AttributeError, TypeError, ValueError):
        return None
    count = count or 65536
    if isinstance(value, bytes):
        # Entries of eight bits come two in a word or one in each: only the length tells.
        entries = np.frombuffer(value, "u1" if bits <= 8 and len(value) < 2 * count else "<u2")
    else:
        entries = np.atleast_1d(np.asarray(value))
    if not 1 <= bits <= 16 or count < 1 or len(entries) < count or entries.dtype.kind not in "iu":
        return None
    return LookupTable(first, entries[:count], float(2**bits - 1))


def _macro(dataset: Dataset, index: int, keyword: str) -> Dataset | None:
    """A functional group's item for one frame (PS3.3 C.7.6.16): the frame's own, else the shared one."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [per_frame[index]] if index < len(per_frame) else []
    groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    for group in groups:
        found = group.get(keyword)
        if found:
            return found[0]
    return None


def _number(source: Dataset, keyword: str, default: Any) -> Any:
    """The first value as a number; what is no number counts as missing."""
    try:
        value = source.get(keyword)
        if value is None or value == "":
            return default
        number = float(value[0] if hasattr(value, "__iter__") and not isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return default
    return number if np.isfinite(number) else default


def _palette(pixels: np.ndarray, dataset: Dataset) -> Image.Image:
    coloured = apply_color_lut(pixels, dataset)
    return Image.fromarray(_scaled(coloured[..., :3], coloured.dtype.itemsize * 8), "RGB")


def _bytes_of(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    return _scaled(pixels, int(dataset.get("BitsStored") or pixels.dtype.itemsize * 8))


def _scaled(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of `bits` bits as bytes."""
    if samples.dtype == np.uint8 and bits >= 8:
        return np.ascontiguousarray(samples)
    return (samples.astype(np.float64) * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)


def _fitted(picture: Image.Image, region: list[float] | None, viewport: list[float] | None) -> Image.Image:
    """The wanted part of a picture, scaled into what it is to fit in, its proportions kept.

    `region` is left, top, right and bottom as fractions (PS3.18 9.4). `viewport` is width and height (0:
    free) and, optionally, a part x, y, width, height in pixels, a negative one of which flips
    (PS3.18 8.3.5.1.3).
    """
    if region:
        left, top, right, bottom = region
        box = (round(left * picture.width), round(top * picture.height))
        end = (max(box[0] + 1, round(right * picture.width)), max(box[1] + 1, round(bottom * picture.height)))
        picture = picture.crop((*box, *end))
    if not viewport:
        if max(picture.size) > LARGEST_SIDE:
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return picture
    if len(viewport) == 6:
        x, y = int(viewport[2] or 0), int(viewport[3] or 0)
        across, down = viewport[4] or picture.width - x, viewport[5] or picture.height - y
        part = (x, y, x + abs(int(across)), y + abs(int(down)))
        if part[0] >= picture.width or part[1] >= picture.height or part[2] <= x or part[3] <= y:
            raise Undecodable("the region lies outside of the image")
        picture = picture.crop((x, y, min(part[2], picture.width), min(part[3], picture.height)))
        if across < 0:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if down < 0:
            picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return scaled(picture, *(int(side) or LARGEST_SIDE for side in viewport[:2]))


def _coloured(picture: Image.Image, dataset: Dataset, wanted: str) -> tuple[Image.Image, bytes | None]:
    """The picture in the colour space that was asked for, and the profile to go with it (PS3.18 8.3.5.1.5)."""
    if wanted == "no" or picture.mode != "RGB":
        return picture, None
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    described = bytearray(standard.tobytes())
    described[24:36] = bytes(12)  # the moment of its making: the same picture is the same bytes
    paths = dataset.get("OpticalPathSequence") or []
    profile = dataset.get("ICCProfile") or (paths[0].get("ICCProfile") if paths else None)
    if not profile:
        return picture, bytes(described)
    if wanted == "yes":
        return picture, bytes(profile)
    source = ImageCms.ImageCmsProfile(io.BytesIO(bytes(profile)))
    changed = ImageCms.profileToProfile(picture, source, standard, outputMode="RGB")
    return changed or picture, bytes(described)


def _annotated(picture: Image.Image, annotation: dict[str, list[str]]) -> Image.Image:
    """The picture with lines of text in its upper and lower left corner."""
    top, bottom = annotation.get("top", []), annotation.get("bottom", [])
    if not top and not bottom:
        return picture
    size = min(MAX_TEXT, max(MIN_TEXT, min(picture.size) // 32))
    font = ImageFont.load_default(size=size)
    draw = ImageDraw.Draw(picture)
    white, black = (255, 0) if picture.mode == "L" else ("white", "black")
    margin, line = size // 2, size + size // 4
    places = [(margin + number * line, text) for number, text in enumerate(top)]
    first = picture.height - margin - len(bottom) * line
    places += [(first + number * line, text) for number, text in enumerate(bottom)]
    for y, text in places:
        draw.text((margin, y), text, fill=white, font=font, stroke_width=max(1, size // 12), stroke_fill=black)
    return picture


def _frame_time(dataset: Dataset) -> float:
    """Milliseconds a frame is shown: Frame Time, else by a rate, else a fifteenth of a second."""
    time = _number(dataset, "FrameTime", 0.0)
    if time <= 0:
        rate = _number(dataset, "RecommendedDisplayFrameRate", 0.0) or _number(dataset, "CineRate", 0.0)
        time = 1000.0 / (rate if rate > 0 else 15.0)
    return float(min(max(time, 10.0), 10_000.0))
