"""The synthetic thorax as DICOM objects: CT series and projection radiographs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from pacs.demo.fields import CENTRE_Y, Plane
from pacs.demo.labels import Examination, coded, equipment, finish
from pacs.demo.phantom import FOV, TOP, Thorax
from pacs.demo.texture import blurred, cubic

SCAN_SECONDS = 8.0


@dataclass(frozen=True)
class Region:
    """What part of the body an acquisition is of, as its headers say it."""

    name: str
    protocol_name: str
    body_part: str
    windows: tuple[tuple[str, int, int], ...]
    station: str = "CT-1"


CHEST = Region(
    "Thorax", "THORAX KONTRAS", "CHEST", (("MEDIASTINUM", 40, 400), ("LUNG", -600, 1500), ("BONE", 400, 1800))
)
ABDOMEN = Region("Abdomen", "ABDOMEN 2 FASE", "ABDOMEN", (("ABDOMEN", 60, 360), ("LIVER", 100, 160)), "CT-2")


@dataclass
class Projections:
    """Line integrals of attenuation, gathered slice by slice: from behind, and from the side."""

    pixel: float
    spacing: float
    frontal: list[NDArray[np.float32]] = field(default_factory=list)
    lateral: list[NDArray[np.float32]] = field(default_factory=list)
    _patient: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, protocol: "CTProtocol") -> "Projections":
        """Empty, for the slices of `protocol`."""
        return cls(pixel=FOV / protocol.size, spacing=protocol.spacing)

    def add(self, hounsfield: NDArray[np.int16]) -> None:
        if self._patient is None:
            plane = Plane(hounsfield.shape[0], FOV)
            self._patient = plane.y < 128.0 - plane.x**2 / 1500.0  # above the table
        hu = hounsfield.astype(np.float32)
        # per mm: water at a chest tube's effective energy, calcium weighing more
        attenuation = np.maximum(hu + 970.0, 0.0) * 2.1e-5 + np.maximum(hu - 120.0, 0.0) * 1.3e-5
        attenuation *= self._patient
        self.frontal.append(attenuation.sum(axis=0) * self.pixel)
        self.lateral.append(attenuation.sum(axis=1) * self.pixel)


@dataclass(frozen=True)
class CTProtocol:
    """One acquisition of the phantom."""

    thorax: Thorax
    slices: int = 180
    spacing: float = 2.0
    size: int = 512
    top: float = TOP
    region: Region = CHEST
    phase: str = ""

    @property
    def heights(self) -> list[float]:
        """From the head down, as scanners number them."""
        return [round(self.top - n * self.spacing, 3) for n in range(self.slices)]


def ct_series(
    examination: Examination,
    protocol: CTProtocol,
    *,
    projections: Projections | None = None,
    acquisition: int = 1,
    slices: Iterable[NDArray[np.int16]] = (),
) -> Iterator[Dataset]:
    """The slices of one CT series, each made when it is asked for; `slices` when they were computed already."""
    pixel = FOV / protocol.size
    corner = -(protocol.size - 1) / 2 * pixel
    series, frame = examination.uid("ct", acquisition), examination.uid("frame of reference")
    for number, (z, hounsfield) in enumerate(
        zip(protocol.heights, slices or protocol.thorax.slices(protocol.heights, protocol.size), strict=True), 1
    ):
        if projections is not None:
            projections.add(hounsfield)
        ds = Dataset()
        examination.fill(ds)
        start = 60 * acquisition
        seconds = start + SCAN_SECONDS * number / protocol.slices
        examination.moment(ds, "Series", seconds=start - 5)
        examination.moment(ds, "Acquisition", "Content", seconds=seconds)
        equipment(ds, station=protocol.region.station, model="Phantom CT 64")
        _ct_attributes(ds, protocol)
        ds.SeriesInstanceUID, ds.SeriesNumber = series, acquisition + 1
        ds.AcquisitionNumber, ds.InstanceNumber = acquisition, number
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame, ""
        ds.ImagePositionPatient = [f"{corner:.4f}", f"{corner + CENTRE_Y:.4f}", f"{z:g}"]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.SliceLocation = f"{z:g}"
        ds.PixelSpacing = [f"{pixel:.4f}"] * 2
        ds.PixelData = (hounsfield + np.int16(1024)).astype("<i2").tobytes()
        ds["PixelData"].VR = "OW"
        yield finish(ds, CTImageStorage, examination.uid("ct", acquisition, number))


def washed_out(hounsfield: NDArray[np.int16]) -> NDArray[np.int16]:
    """Minutes later: what contrast medium had brightened has become more alike."""
    bright = np.clip(hounsfield - 85, 0, 110) * (hounsfield < 300)
    return (hounsfield - 0.55 * bright).astype(np.int16)


def _ct_attributes(ds: Dataset, protocol: CTProtocol) -> None:
    """What all slices of a series share: PS3.3 A.3."""
    region = protocol.region
    description = " ".join(filter(None, (region.name, protocol.phase, f"{protocol.spacing:g} mm")))
    ds.Modality, ds.SeriesDescription, ds.ProtocolName = "CT", description, region.protocol_name
    ds.BodyPartExamined, ds.PatientPosition = region.body_part, "HFS"
    ds.OperatorsName, ds.PerformingPhysicianName = "Radiografer^Demo", ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 120, 210, 500, 105
    ds.FilterType, ds.ConvolutionKernel, ds.GantryDetectorTilt, ds.TableHeight = "BODY", "B40", 0, 142
    ds.DataCollectionDiameter, ds.ReconstructionDiameter, ds.RotationDirection = 500, f"{FOV:.1f}", "CW"
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient, ds.FocalSpots = 1040, 570, "1.2"
    ds.SpiralPitchFactor = 0.95
    ds.ContrastBolusAgent, ds.ContrastBolusRoute, ds.ContrastBolusVolume = "Iohexol 350 mg I/mL", "IV", 70
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{protocol.spacing:g}"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = protocol.size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter = [centre for _, centre, _ in region.windows]
    ds.WindowWidth = [width for _, _, width in region.windows]
    ds.WindowCenterWidthExplanation = [name for name, _, _ in region.windows]
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"


def projected(protocol: CTProtocol) -> Projections:
    """The projections of an acquisition that nobody stores."""
    projections = Projections.of(protocol)
    for hounsfield in protocol.thorax.slices(protocol.heights, protocol.size):
        projections.add(hounsfield)
    return projections


@dataclass(frozen=True)
class View:
    """One projection: its name, the patient's directions to the right and down in it (C.7.6.1.1.1)."""

    position: str
    orientation: tuple[str, str]
    code: tuple[str, str]


FRONTAL = View("PA", ("L", "F"), ("399348003", "postero-anterior"))
LATERAL = View("LL", ("P", "F"), ("399198007", "lateral"))
OUTPUT_PIXEL = 0.35


def radiograph(lines: list[NDArray[np.float32]], *, spacing: float, pixel: float, seed: int) -> NDArray[np.uint16]:
    """Line integrals as a digital radiograph for presentation: 12 bits, bone bright, contrast equalised."""
    integral = np.stack(lines)
    rows = np.arange(0.0, (len(lines) - 1) * spacing, OUTPUT_PIXEL) / spacing
    columns = np.arange(0.0, (integral.shape[1] - 1) * pixel, OUTPUT_PIXEL) / pixel
    image = cubic(cubic(integral, rows).T, columns).T
    photons = 9000.0 * np.exp(-image)
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    image += 0.5 * noise / np.sqrt(photons + 30.0)
    broad = blurred(image, 91)
    body = image > 0.25
    low, high = np.percentile(broad[body], (2.0, 98.0))
    equalised = 0.60 * (broad - low) / (high - low) + 0.50 * (image - broad) + 0.16
    equalised = np.where(body, equalised, np.minimum(equalised, image * 0.4))
    return np.clip(equalised * 4095.0, 0, 4095).astype(np.uint16)


def radiograph_size(protocol: CTProtocol) -> tuple[int, int]:
    """Rows and columns of a radiograph made of an acquisition's projections."""
    columns = np.arange(0.0, (protocol.size - 1) * (FOV / protocol.size), OUTPUT_PIXEL)
    return len(np.arange(0.0, (protocol.slices - 1) * protocol.spacing, OUTPUT_PIXEL)), len(columns)


def _radiograph_attributes(ds: Dataset, view: View, image: NDArray[np.uint16], *, inverted: bool) -> None:
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "CHEST", view.position, list(view.orientation)
    ds.SamplesPerPixel, ds.Rows, ds.Columns = 1, *image.shape
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelSpacing = ds.ImagerPixelSpacing = [f"{OUTPUT_PIXEL:g}"] * 2
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 2048, 4096, "STANDARD"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.KVP, ds.Exposure, ds.ExposureTime, ds.DistanceSourceToDetector = 125, 2, 8, 1800
    stored = np.uint16(4095) - image if inverted else image
    ds.PixelData = stored.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def digital_radiograph(examination: Examination, number: int, view: View, image: NDArray[np.uint16]) -> Dataset:
    """Digital X-Ray Image Storage - For Presentation, MONOCHROME2 (PS3.3 A.26). A series for each view."""
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Acquisition", "Content", seconds=30 * number)
    equipment(ds, station="DX-1", model="Thorax phantom DX")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "DX", f"Thorax {view.position}", number
    ds.SeriesInstanceUID, ds.InstanceNumber, ds.PresentationIntentType = (
        examination.uid("dx", number),
        1,
        "FOR PRESENTATION",
    )
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    _radiograph_attributes(ds, view, image, inverted=False)
    ds.ImageLaterality = "U"
    ds.AnatomicRegionSequence = Sequence([coded("51185008", "SCT", "Chest")])
    ds.ViewCodeSequence = Sequence([coded(view.code[0], "SCT", view.code[1])])
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    ds.DetectorType = "DIRECT"
    ds.PositionerType, ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "NONE", "LOG", 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType, ds.PresentationLUTShape = 0, 1, "US", "IDENTITY"
    ds.AcquisitionContextSequence = Sequence()
    return finish(ds, DigitalXRayImageStorageForPresentation, examination.uid("dx", number, 1))


def computed_radiograph(examination: Examination, number: int, view: View, image: NDArray[np.uint16]) -> Dataset:
    """Computed Radiography Image Storage, MONOCHROME1 as many cassette readers write it (PS3.3 A.2)."""
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Acquisition", "Content", seconds=30 * number)
    equipment(ds, station="CR-1", model="Thorax phantom CR")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber = "CR", f"Thorax {view.position}", number
    ds.SeriesInstanceUID, ds.InstanceNumber = examination.uid("cr", number), 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    _radiograph_attributes(ds, view, image, inverted=True)
    return finish(ds, ComputedRadiographyImageStorage, examination.uid("cr", number, 1), ExplicitVRLittleEndian)
