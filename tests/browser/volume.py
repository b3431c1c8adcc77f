"""A small CT volume with something to see in every plane, as files to send."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE = 128


def ct_volume(folder: Path, *, slices: int, study: str = "", **attributes: object) -> str:
    """Writes `slices` CT images of a ball in a box to `folder`; gives the Study Instance UID."""
    study = study or generate_uid()
    series, frame = generate_uid(), generate_uid()
    axis = np.linspace(-1, 1, SIZE)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    for number in range(slices):
        z = 2 * (number + 0.5) / slices - 1
        distance = np.sqrt((x - 0.2) ** 2 + y**2 + (0.8 * z) ** 2)
        values = np.where(np.maximum(abs(x), abs(y)) < 0.85, 40 + 120 * y, -1000.0)
        values = np.where(distance < 0.55, 900 - 1000 * distance, values)
        ds = Dataset()
        ds.update(_shared(study, series, frame))
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber = number + 1
        ds.ImagePositionPatient = [-160, -160, 3.0 * number]
        ds.SliceLocation = 3.0 * number
        ds.PixelData = (values + 1024).astype("<u2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return study


def _shared(study: str, series: str, frame: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
    ds.PatientName, ds.PatientID = "WIBOWO^BUDI", "BR0001"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "M"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20240315", "101530", "BR-1", "1"
    ds.StudyDescription, ds.SeriesDescription, ds.Modality = "CT Thorax", "Axial 3 mm", "CT"
    ds.ReferringPhysicianName = "SARI^DEWI"
    ds.SeriesNumber = 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [2.5, 2.5], 3.0
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 1200
    return ds
