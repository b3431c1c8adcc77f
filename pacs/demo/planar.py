"""Projection images as DICOM objects: hand radiographs, more chests, mammograms."""

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from pacs.demo import breast, hand
from pacs.demo.compress import compress
from pacs.demo.images import View, digital_radiograph
from pacs.demo.labels import Examination, coded, equipment, finish, pixels
from pacs.demo.parts import Part, part

PALM = View("PA", ("L", "F"), ("399348003", "postero-anterior"))
OBLIQUE = View("RAO", ("L", "F"), ("399182000", "oblique"))
MAMMOGRAPHY_VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
# the patient's directions to the right and down in each image (PS3.3 C.7.6.1.1.1)
MAMMOGRAPHY_ORIENTATION = {
    ("CC", "L"): ["A", "R"], ("CC", "R"): ["P", "L"], ("MLO", "L"): ["A", "FR"], ("MLO", "R"): ["P", "FL"],
}  # fmt: skip


def hands(*, child: bool = False, pixel: float = hand.PIXEL) -> Part:
    """Two views of a left hand, a series each; one view of a child's, for its bone age."""
    views = (PALM,) if child else (PALM, OBLIQUE)

    def objects(examination: Examination) -> Iterator[Dataset]:
        seed = zlib.crc32(examination.patient.key.encode())
        for number, view in enumerate(views, 1):
            image = hand.hand_radiograph(oblique=view is OBLIQUE, child=child, seed=seed, pixel=pixel)
            ds = digital_radiograph(examination, number, view, image)
            ds.BodyPartExamined, ds.SeriesDescription = "HAND", f"Manus sinistra {'oblik' if view is OBLIQUE else 'PA'}"
            ds.ImageLaterality = "L"
            ds.AnatomicRegionSequence = Sequence([coded("85562004", "SCT", "Hand")])
            ds.KVP, ds.Exposure, ds.ExposureTime, ds.DistanceSourceToDetector = 50, 3, 12, 1100
            ds.PixelSpacing = ds.ImagerPixelSpacing = [f"{pixel:g}"] * 2
            yield ds

    return part(len(views), DigitalXRayImageStorageForPresentation, objects)


def mammography(*, mass: bool, seed: int, pixel: float = breast.PIXEL, transfer_syntax_uid: str = "") -> Part:
    """The four views of a screening, right before left (PS3.3 A.27), each a series of its own."""
    syntax = transfer_syntax_uid or ExplicitVRLittleEndian

    def objects(examination: Examination) -> Iterator[Dataset]:
        views = [(view, side) for view in ("CC", "MLO") for side in ("R", "L")]
        for number, (view, side) in enumerate(views, 1):
            image = breast.mammogram(
                view=view, left=side == "L", seed=seed, mass=mass and side == "L", dense=0.8, pixel=pixel
            )
            ds = _mammogram(examination, number, view, side, image, pixel)
            yield compress(ds, syntax) if transfer_syntax_uid else ds

    return part(4, DigitalMammographyXRayImageStorageForPresentation, objects, syntax)


def _mammogram(
    examination: Examination, number: int, view: str, side: str, image: NDArray[np.uint16], pixel: float
) -> Dataset:
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Acquisition", "Content", seconds=75 * number)
    equipment(ds, station="MG-1", model="Phantom MG")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "MG", f"{side} {view}", number
    ds.SeriesInstanceUID, ds.InstanceNumber = examination.uid("mg", number), 1
    ds.ProtocolName, ds.PresentationIntentType = "Mammografi skrining", "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.BodyPartExamined, ds.ViewPosition, ds.ImageLaterality = "BREAST", view, side
    ds.PatientOrientation = MAMMOGRAPHY_ORIENTATION[view, side]
    ds.AnatomicRegionSequence = Sequence([coded("76752008", "SCT", "Breast")])
    ds.ViewCodeSequence = Sequence([coded(MAMMOGRAPHY_VIEWS[view][0], "SCT", MAMMOGRAPHY_VIEWS[view][1])])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    ds.PositionerType, ds.PositionerPrimaryAngle = "MAMMOGRAPHIC", 45 if view == "MLO" else 0
    if view == "MLO" and side == "R":
        ds.PositionerPrimaryAngle = -45
    ds.OrganExposed, ds.BreastImplantPresent, ds.PartialView = "BREAST", "NO", "NO"
    ds.CompressionForce, ds.BodyPartThickness = 92, 54
    ds.KVP, ds.Exposure, ds.ExposureTime, ds.AnodeTargetMaterial = 29, 78, 900, "TUNGSTEN"
    ds.FilterMaterial, ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = "RHODIUM", 660, 640
    ds.DetectorType, ds.DetectorID = "DIRECT", "MG-DET-1"
    ds.ImagerPixelSpacing = [f"{pixel:g}"] * 2
    ds.PixelSpacing = [f"{pixel:g}"] * 2
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType, ds.PresentationLUTShape = 0, 1, "US", "IDENTITY"
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 1800, 3600, "STANDARD"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.AcquisitionContextSequence = Sequence()
    pixels(ds, image, bits=12)
    return finish(ds, DigitalMammographyXRayImageStorageForPresentation, examination.uid("mg", number, 1))
