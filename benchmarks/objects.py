"""The objects that are stored and fetched, made once from a seed and kept as files.

A set's files name no fixed study: all their UIDs, patient IDs and accession numbers hold the number of a run
(ten digits), and `renew` writes another number into the files, in place. So each run stores what no server
holds yet, from files that the page cache holds, and every server gets the same bytes.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from benchmarks import dcmtk

FIRST_RUN = 1_000_000_000
VERSION = 2  # of what is made here: raised, the files of an earlier version are made anew
SIDE = 512
FAMILY = ["WIBOWO", "SANTOSO", "HIDAYAT", "NUGROHO", "SIREGAR", "LESTARI", "PUTRI", "HALIM", "KUSUMA", "WIJAYA"]
GIVEN = ["SITI", "BUDI", "DEWI", "AGUS", "RATNA", "JOKO", "NINGSIH", "EKO", "MARIA", "ABDUL"]


class ObjectSet:
    """Files of one kind. `studies` and `per_study` say how many; each study has one series."""

    def __init__(
        self, folder: Path, name: str, root: str, *, studies: int, per_study: int, make: "Callable[[ObjectSet], None]"
    ):
        self.folder = folder / name
        self.name = name
        self._root = root
        self.studies = studies
        self.per_study = per_study
        self.run = FIRST_RUN
        self.bytes = 0
        self._make = make
        self._places: dict[str, list[int]] = {}

    def prepare(self) -> None:
        """Make the files unless they are there, and number them as the first run."""
        index = self.folder.with_suffix(".json")
        made = json.loads(index.read_text()) if index.exists() else {}
        if made.get("version") != VERSION:
            shutil.rmtree(self.folder, ignore_errors=True)
            index.unlink(missing_ok=True)
            self.run = FIRST_RUN
            self._make(self)
            made = {"version": VERSION, "places": {name: _places(self.folder / name) for name in self._names()}}
            index.write_text(json.dumps(made))
        self._places = made["places"]
        self.bytes = sum(path.stat().st_size for path in self.files)
        self.renew(FIRST_RUN)

    def _names(self) -> Iterator[str]:
        return (str(path.relative_to(self.folder)) for path in sorted(self.folder.rglob("*.dcm")))

    @property
    def files(self) -> list[Path]:
        """In the order of studies and instances."""
        return [self.folder / name for name in self._places]

    def renew(self, run: int) -> None:
        """Make the files those of another run, which no server has seen."""
        for name, places in self._places.items():
            descriptor = os.open(self.folder / name, os.O_WRONLY)
            for place in places:
                os.pwrite(descriptor, b"%d" % run, place)
            os.close(descriptor)
        self.run = run

    def renew_first(self) -> None:
        """Make the files those that every server was loaded with."""
        self.renew(FIRST_RUN)

    def study_uid(self, study: int = 0) -> str:
        return f"2.25.{self.run}.{self._root}.{study}"

    def series_uid(self, study: int = 0) -> str:
        return f"{self.study_uid(study)}.1"

    def instance_uid(self, number: int = 0, study: int = 0) -> str:
        return f"{self.series_uid(study)}.{number + 1}"

    def patient_id(self, study: int = 0) -> str:
        return f"{self.name[0].upper()}{self.run}-{study}"

    def accession_number(self, study: int = 0) -> str:
        return f"{self.name[0].upper()}{self.run}{study}"

    def pixels(self, number: int = 0) -> bytes:
        """The pixel data of a file, as stored."""
        return bytes(dcmread(self.files[number]).PixelData)

    def plain_pixels(self, number: int) -> bytes:
        """Those of a compressed file, before they were."""
        return bytes(dcmread(self.files[number].with_suffix(".plain")).PixelData)

    def write(self, data_set: Dataset, *, number: int, study: int = 0, folder: str = "") -> None:
        """Give an object its identity and write it; `number` counts from 0 within its study."""
        data_set.SOPInstanceUID = self.instance_uid(number, study)
        data_set.StudyInstanceUID = self.study_uid(study)
        data_set.SeriesInstanceUID = self.series_uid(study)
        data_set.PatientID = self.patient_id(study)
        data_set.AccessionNumber = self.accession_number(study)
        data_set.StudyID = str(study)
        data_set.InstanceNumber = number + 1
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = data_set.SOPClassUID
        meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        data_set.file_meta = meta
        path = self.folder / folder / f"{study:03}-{number:04}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data_set.save_as(path, enforce_file_format=True)


def _places(path: Path) -> list[int]:
    """Where a file holds the number of its run: before its pixels."""
    with path.open("rb") as file:
        head = file.read(4096)
    head = head[: head.index(b"\xe0\x7f\x10\x00")]
    wanted, places = b"%d" % FIRST_RUN, []
    place = head.find(wanted)
    while place >= 0:
        places.append(place)
        place = head.find(wanted, place + 1)
    return places


def _image(pixels: np.ndarray, sop_class: str, modality: str, *, bits: int, study: int = 0) -> Dataset:
    """An image with what a modality's header holds."""
    chance = random.Random(study)  # noqa: S311 - names
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = sop_class
    data_set.StudyDate = data_set.SeriesDate = data_set.ContentDate = f"202601{study % 28 + 1:02}"
    data_set.StudyTime = data_set.SeriesTime = data_set.ContentTime = "083000"
    data_set.Modality = modality
    data_set.Manufacturer = "BENCH"
    data_set.InstitutionName = "RS HARAPAN"
    data_set.ReferringPhysicianName = "WIDJAJA^HENDRA^^dr."
    data_set.StudyDescription = f"{modality} THORAX"
    data_set.SeriesDescription = "THORAX 1.0"
    data_set.PatientName = f"{chance.choice(FAMILY)}^{chance.choice(GIVEN)} {study}"
    data_set.PatientBirthDate = f"19{chance.randint(40, 99)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    data_set.PatientSex = chance.choice("FM")
    data_set.BodyPartExamined = "CHEST"
    data_set.ProtocolName = "THORAX"
    data_set.SeriesNumber = 1
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows, data_set.Columns = pixels.shape[-2:]
    data_set.BitsAllocated = bits
    data_set.BitsStored = 12 if bits == 16 else 8
    data_set.HighBit = data_set.BitsStored - 1
    data_set.PixelRepresentation = 0
    data_set.add_new("PixelData", "OW", pixels.tobytes())
    return data_set


def _body(chance: np.random.Generator, height: float) -> np.ndarray:
    """One slice, 0 to 4095: an ellipse of tissue with lungs in it, and the noise of a scanner."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = x**2 / 0.72 + y**2 / 0.4 < 1
    lungs = (np.abs(x) - 0.38) ** 2 / 0.06 + y**2 / (0.05 + 0.12 * np.sin(np.pi * height)) < 1
    image = np.where(body, np.where(lungs, 200, 1064), 24) + chance.normal(0, 18, (SIDE, SIDE))
    return np.clip(image, 0, 4095).astype("<u2")


def _slice(pixels: np.ndarray, number: int) -> Dataset:
    data_set = _image(pixels, CTImageStorage, "CT", bits=16)
    data_set.FrameOfReferenceUID = "2.25.1"
    data_set.PixelSpacing = [0.7, 0.7]
    data_set.SliceThickness = 1
    data_set.ImagePositionPatient = [-179.2, -179.2, number]
    data_set.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data_set.RescaleIntercept, data_set.RescaleSlope = -1024, 1
    data_set.WindowCenter, data_set.WindowWidth = 40, 400
    data_set.KVP, data_set.XRayTubeCurrent = 120, 210
    return data_set


def make_ct(objects: ObjectSet) -> None:
    """512×512 of 16 bits. Four folders, for as many associations."""
    chance = np.random.default_rng(1)
    for number in range(objects.per_study):
        pixels = _body(chance, number / objects.per_study)
        objects.write(_slice(pixels, number), number=number, folder=str(number * 4 // objects.per_study))


def make_tiny(objects: ObjectSet) -> None:
    """32×32 of 8 bits."""
    chance = np.random.default_rng(2)
    for study in range(objects.studies):
        for number in range(objects.per_study):
            pixels = chance.normal(128, 25, (32, 32)).clip(0, 255).astype("u1")
            image = _image(pixels, SecondaryCaptureImageStorage, "OT", bits=8, study=study)
            image.ConversionType = "WSD"
            objects.write(image, number=number, study=study)


def make_multi_frame(objects: ObjectSet) -> None:
    """1,000 frames of 512×512 of 16 bits: 524 MB."""
    chance = np.random.default_rng(3)
    frames = np.stack([_body(chance, number / 1000) for number in range(1000)])
    image = _image(frames, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT", bits=16)
    image.ConversionType = "WSD"
    image.NumberOfFrames = len(frames)
    image.FrameTime = 40
    objects.write(image, number=0)


def make_compressed(objects: ObjectSet) -> None:
    """CT slices in JPEG Lossless, which every server decodes."""
    chance = np.random.default_rng(4)
    for number in range(objects.per_study):
        pixels = _body(chance, number / objects.per_study)
        objects.write(_slice(pixels, number), number=number)
    for path in sorted(objects.folder.glob("*.dcm")):
        shutil.copy(path, path.with_suffix(".plain"))
        dcmtk.run("dcmcjpeg", "--encode-lossless-sv1", "--uid-never", str(path.with_suffix(".plain")), str(path))


class Objects:
    """All sets."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ct = ObjectSet(folder, "ct", "1", studies=1, per_study=500, make=make_ct)
        self.tiny = ObjectSet(folder, "tiny", "2", studies=100, per_study=20, make=make_tiny)
        self.multi_frame = ObjectSet(folder, "multi_frame", "3", studies=1, per_study=1, make=make_multi_frame)
        self.compressed = ObjectSet(folder, "jpeg", "4", studies=1, per_study=20, make=make_compressed)
        self.sets = [self.ct, self.tiny, self.multi_frame, self.compressed]
        self._run = FIRST_RUN

    def next_run(self) -> int:
        self._run += 1
        return self._run
