"""DICOM objects for the tests of this folder: real ones from pydicom, small ones made to measure."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
from pydicom import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

REAL = Path(pydicom.__file__).parent / "data" / "test_files"


def real(name: str) -> Path:
    """One of pydicom's own test files."""
    return next(REAL.rglob(name))


def ct(*, side: int = 16, seed: int = 0, **attributes: Any) -> FileDataset:
    """A complete little CT image; keywords set or (with None) remove attributes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    pixels = numpy.random.default_rng(seed).integers(0, 4096, (side, side), dtype=numpy.uint16)
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": "MRN-1001",
        "PatientName": "SANTOSO^BUDI",
        "PatientBirthDate": "19700101",
        "PatientSex": "M",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "AccessionNumber": "ACC1",
        "StudyID": "1",
        "ReferringPhysicianName": "HARTONO^DEWI",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Rows": side,
        "Columns": side,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    meta.MediaStorageSOPClassUID = data_set.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = data_set.get("SOPInstanceUID", generate_uid())
    return data_set


def part10(data_set: Dataset) -> bytes:
    """A data set as a Part 10 file."""
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def bare(file: bytes) -> bytes:
    """The data set bytes of a Part 10 file, exactly as they stand there."""
    stream = BytesIO(file)
    read_preamble(stream, True)
    _read_file_meta_info(stream)
    return file[stream.tell() :]
