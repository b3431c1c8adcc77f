"""Objects in a folder of the test's own, as the archive keeps them, without a database."""

import functools
import uuid
from pathlib import Path

import numpy
import pydicom
from pydicom.data.data_manager import DATA_ROOT

from pacs.models import Location, Volume
from pacs.services.part10 import MetaReader
from radiology.errors import CannotUnderstand

PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
# Images that pydicom cannot decode either: a piece of a code stream, a damaged JPEG, headers that say too little.
UNREADABLE = {"JPEG2000-embedded-sequence-delimiter.dcm", "JPEG-lossy.dcm", "badVR.dcm", "nested_priv_SQ.dcm"}


def placed(folder: Path, file: bytes) -> Location:
    """The Part 10 file as a Location that is in no database."""
    meta = MetaReader()
    data_set = meta.feed(file)
    if data_set is None:
        raise CannotUnderstand("The file is truncated.")
    name = f"{uuid.uuid4().hex}.dcm"
    (folder / name).write_bytes(file)
    return Location(
        volume=Volume(path=str(folder)),
        path=name,
        data_set_offset=len(file) - len(data_set),
        size=len(data_set),
        transfer_syntax_uid=meta.transfer_syntax_uid,
    )


def part10_files() -> list[Path]:
    """pydicom's test files that are complete Part 10 files with a data set that is whole."""
    found = []
    for path in sorted(Path(DATA_ROOT, "test_files").rglob("*.dcm")):
        try:
            if MetaReader().feed(path.read_bytes()) is not None and "truncated" not in path.name:
                found.append(path)
        except CannotUnderstand:
            continue
    return found


@functools.cache
def images() -> list[Path]:
    """Those of the files that hold pixels which pydicom can decode."""
    found = []
    for path in part10_files():
        data_set = pydicom.dcmread(path, defer_size=1024)
        if path.name not in UNREADABLE and PIXELS & {
            element.keyword for element in data_set if element.tag.group == 0x7FE0
        }:
            found.append(path)
    return found


def pixels_as_pydicom(path: Path, *, as_rgb: bool) -> tuple[pydicom.Dataset, numpy.ndarray]:
    """The data set and its pixels as pydicom decodes them."""
    data_set = pydicom.dcmread(path)
    decoder = pydicom.pixels.get_decoder(data_set.file_meta.TransferSyntaxUID)
    return data_set, decoder.as_array(data_set, as_rgb=as_rgb)[0]
