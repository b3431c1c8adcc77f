"""Images that no server has seen: studies of two series, every UID and every pixel from the seed."""

import hashlib
import random
import struct
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDES = (64, 256, 256, 512)
PREAMBLE = 132


@dataclass(frozen=True)
class Image:
    """A Part 10 file and what it is called."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    patient_id: str
    file: bytes

    @property
    def sha256(self) -> str:
        return sha256_of(self.file)

    @property
    def path(self) -> str:
        """Its path below a DICOMweb address."""
        return f"studies/{self.study_instance_uid}/series/{self.series_instance_uid}/instances/{self.sop_instance_uid}"


def sha256_of(file: bytes) -> str:
    """Of the data set in a Part 10 file: what stands behind the file meta information (PS3.10 7.1)."""
    if file[128:PREAMBLE] != b"DICM" or file[PREAMBLE : PREAMBLE + 6] != b"\x02\0\0\0UL":
        return "no Part 10 file"
    (length,) = struct.unpack_from("<L", file, PREAMBLE + 8)
    return hashlib.sha256(memoryview(file)[PREAMBLE + 12 + length :]).hexdigest()


class Images:
    """What one sender sends, `per_study` images a study; `sender` is a number of its own."""

    def __init__(self, run: int, sender: int, *, per_study: int = 40) -> None:
        self._chance = random.Random(run * 1000 + sender)  # noqa: S311 - pixels
        self._root = f"2.25.{run}.{sender}"
        self._run, self._sender, self._per_study = run, sender, per_study
        self._made = 0

    def next(self) -> Image:
        study, number = divmod(self._made, self._per_study)
        self._made += 1
        side = self._chance.choice(SIDES)
        data_set = Dataset()
        data_set.SpecificCharacterSet = "ISO_IR 192"
        data_set.SOPClassUID = CTImageStorage
        data_set.StudyInstanceUID = f"{self._root}.{study}"
        data_set.SeriesInstanceUID = f"{self._root}.{study}.{number % 2 + 1}"
        data_set.SOPInstanceUID = f"{data_set.SeriesInstanceUID}.{number}"
        data_set.PatientID = f"S{self._run}-{self._sender}-{study // 2}"
        data_set.PatientName = f"SOAK^NUMBER {self._sender} {study // 2}"
        data_set.PatientBirthDate, data_set.PatientSex = "19700131", "F"
        data_set.AccessionNumber = f"{self._run % 100_000}{self._sender}{study}"
        data_set.StudyDate = data_set.SeriesDate = "20260105"
        data_set.StudyTime = data_set.SeriesTime = "083000"
        data_set.StudyID, data_set.SeriesNumber, data_set.InstanceNumber = str(study), number % 2 + 1, number
        data_set.ReferringPhysicianName = "WIDJAJA^HENDRA"
        data_set.Modality, data_set.Manufacturer = "CT", "SOAK"
        data_set.StudyDescription = "CT SOAK"
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
        data_set.Rows = data_set.Columns = side
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 16, 15, 0
        data_set.add_new("PixelData", "OW", self._chance.randbytes(side * side * 2))
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        data_set.file_meta = meta
        written = BytesIO()
        data_set.save_as(written, enforce_file_format=True)
        return Image(
            data_set.StudyInstanceUID,
            data_set.SeriesInstanceUID,
            data_set.SOPInstanceUID,
            data_set.PatientID,
            written.getvalue(),
        )
