"""What makes one installation's demonstration its own, and the same each time it is sent."""

import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pacs.demo.patients import HOSPITAL, DemoPatient
from pacs.services.part10 import IMPLEMENTATION_CLASS_UID

NAMESPACE = uuid.UUID("a4ff5b4e-2f0c-5c5e-9a53-6d5f5b0f8d11")
# a part of today's working day (Label.today), or days ago and the time on the clock
When = float | tuple[int, str]
OPENS, CLOSES = timedelta(hours=7), timedelta(hours=16, minutes=40)


@dataclass(frozen=True)
class Label:
    """Dates and UIDs relative to the moment when this installation first sent its demonstration.

    `first_sent` has a zone. The same moment gives the same UIDs and dates, so that sending again
    after an interruption, a day later even, adds what is missing and changes nothing else.
    """

    first_sent: datetime

    def uid(self, *parts: object) -> str:
        name = "/".join([self.first_sent.isoformat(), *map(str, parts)])
        return f"2.25.{uuid.uuid5(NAMESPACE, name).int}"

    def birth_date(self, patient: DemoPatient) -> str:
        """A newborn's depends on today: three days before."""
        known = "" if patient.patient_birth_date == "UNKNOWN" else patient.patient_birth_date
        return known if patient.patient_birth_date else f"{self.first_sent - timedelta(days=3):%Y%m%d}"

    def today(self, part: float) -> datetime:
        """A moment of the working day: 0 is its beginning, 1 is now or its end, whichever is first.

        Before the department opens, what was examined today was examined in the night.
        """
        midnight = self.first_sent.replace(hour=0, minute=0, second=0, microsecond=0)
        begin = midnight + OPENS
        if self.first_sent - begin < timedelta(hours=1):
            begin = midnight
        moment = begin + part * (min(self.first_sent, midnight + CLOSES) - begin)
        return moment.replace(microsecond=0)

    def moment(self, when: When) -> datetime:
        return self.days_ago(*when) if isinstance(when, tuple) else self.today(when)

    def days_ago(self, days: int, clock: str) -> datetime:
        """`clock` (HH:MM) on an earlier day."""
        hour, minute = map(int, clock.split(":"))
        day = self.first_sent - timedelta(days=days)
        return day.replace(hour=hour, minute=minute, second=7 * hour % 60, microsecond=0)


@dataclass(frozen=True)
class Examination:
    """What all objects of a study share (PS3.3 C.7.2), and where in it we are."""

    label: Label
    patient: DemoPatient
    key: str
    description: str
    at: datetime
    referring_physician: str = ""

    @property
    def study_instance_uid(self) -> str:
        return self.label.uid(self.patient.key, self.key)

    @property
    def accession_number(self) -> str:
        return f"D{self.at:%y%m%d}{self._number:04d}"

    @property
    def _number(self) -> int:
        """Four digits that belong to the study."""
        return zlib.crc32(f"{self.patient.key}/{self.key}".encode()) % 10000

    def uid(self, *parts: object) -> str:
        """The UID of something within the study."""
        return self.label.uid(self.patient.key, self.key, *parts)

    def fill(self, ds: Dataset) -> None:
        """Patient, General Study and the dates of everything below."""
        self.patient.fill(ds)
        ds.PatientBirthDate = self.label.birth_date(self.patient)
        ds.TimezoneOffsetFromUTC = f"{self.at:%z}"
        ds.StudyInstanceUID = self.study_instance_uid
        ds.StudyDate, ds.StudyTime = f"{self.at:%Y%m%d}", f"{self.at:%H%M%S}"
        ds.StudyID = f"{self._number:04d}"
        ds.AccessionNumber = self.accession_number
        ds.StudyDescription = self.description
        ds.ReferringPhysicianName = self.referring_physician

    def moment(self, ds: Dataset, *kinds: str, seconds: float = 0.0) -> None:
        """The date and time attributes that begin with `kinds` ("Series", "Content", …)."""
        at = self.at + timedelta(seconds=seconds)
        for kind in kinds:
            setattr(ds, f"{kind}Date", f"{at:%Y%m%d}")
            setattr(ds, f"{kind}Time", f"{at:%H%M%S}.{at.microsecond:06d}")

    def date_time(self, seconds: float = 0.0) -> str:
        """A DT value with its zone."""
        at = self.at + timedelta(seconds=seconds)
        return f"{at:%Y%m%d%H%M%S}.{at.microsecond:06d}{at:%z}"


def finish(
    ds: Dataset, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> Dataset:
    """SOP Common and the file meta information (PS3.10 7.1)."""
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class_uid), UID(sop_instance_uid)
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "SINAR_DEMO"
    ds.file_meta = meta
    return ds


def equipment(ds: Dataset, *, station: str, model: str) -> None:
    """General Equipment (PS3.3 C.7.5.1)."""
    ds.Manufacturer, ds.ManufacturerModelName = "Sinar", model
    ds.InstitutionName, ds.StationName = HOSPITAL, station
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0001", "1"


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """One code sequence item (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def pixels(ds: Dataset, image: NDArray[np.generic], *, bits: int, photometric: str = "MONOCHROME2") -> None:
    """Image Pixel (PS3.3 C.7.6.3): rows and columns, or frames of them, or colour with a last axis of three."""
    colour = image.shape[-1] == 3
    rows, columns = image.shape[-3:-1] if colour else image.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = image.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(image.dtype.kind == "i")
    content = image.astype(image.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if image.dtype.itemsize == 1 else "OW"
