"""Moving pictures as DICOM objects: ultrasound cines and stills, angiographic runs."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    XRayAngiographicImageStorage,
)

from pacs.demo import angiography, ultrasound
from pacs.demo.compress import compress, jpeg_baseline
from pacs.demo.labels import Examination, equipment, finish, pixels
from pacs.demo.parts import Part

FRAMES_A_SECOND = 15


def ultrasound_study(*, frames: int, seed: int, description: str, scale: int = 1) -> Part:
    """A grey cine (JPEG, as scanners send it), a grey still, a colour still in RGB and one in JPEG."""
    contexts = (
        (str(UltrasoundMultiFrameImageStorage), str(JPEGBaseline8Bit)),
        (str(UltrasoundImageStorage), str(ExplicitVRLittleEndian)),
        (str(UltrasoundImageStorage), str(JPEGBaseline8Bit)),
    )

    def objects(examination: Examination) -> Iterator[Dataset]:
        images = [
            ultrasound.with_ticks(image, scale) for image in ultrasound.sector_frames(frames, seed=seed, scale=scale)
        ]
        cine = _ultrasound(examination, 1, np.stack(images), description, scale)
        yield jpeg_baseline(cine, np.stack(images))
        yield _ultrasound(examination, 2, images[0], description, scale)
        colour = ultrasound.colour_flow(images[frames // 3], seed=seed, scale=scale)
        yield _ultrasound(examination, 3, colour, description, scale)
        colour = ultrasound.colour_flow(images[frames // 2], seed=seed + 1, scale=scale)
        yield jpeg_baseline(_ultrasound(examination, 4, colour, description, scale), colour[None])

    return Part(4, contexts, objects)


def _ultrasound(
    examination: Examination, number: int, image: NDArray[np.uint8], description: str, scale: int
) -> Dataset:
    """PS3.3 A.6 and A.7; frames first, colour last."""
    colour, moving = image.shape[-1] == 3, image.ndim == 3 and image.shape[-1] != 3
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series")
    examination.moment(ds, "Acquisition", "Content", seconds=45 * number)
    equipment(ds, station="US-2", model="Phantom US")
    ds.Modality, ds.SeriesDescription, ds.ProtocolName = "US", description, "Abdomen"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = examination.uid("us"), 1, number
    ds.BodyPartExamined, ds.PatientOrientation = "ABDOMEN", []
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0011" if colour else "0001"]
    ds.UltrasoundColorDataPresent = int(colour)
    ds.SequenceOfUltrasoundRegions = Sequence([_region(colour, scale)])
    ds.TransducerType, ds.TransducerData = "CURVED LINEAR", ["C5-2", "", ""]
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    pixels(ds, image, bits=8, photometric="RGB" if colour else "MONOCHROME2")
    if moving:
        ds.NumberOfFrames, ds.FrameTime = len(image), f"{1000 / FRAMES_A_SECOND:.3f}"
        ds.FrameIncrementPointer = 0x00181063
        ds.PreferredPlaybackSequencing, ds.RecommendedDisplayFrameRate = 0, FRAMES_A_SECOND
        ds.CineRate = FRAMES_A_SECOND
    sop_class = UltrasoundMultiFrameImageStorage if moving else UltrasoundImageStorage
    return finish(ds, sop_class, examination.uid("us", number))


def _region(colour: bool, scale: int) -> Dataset:
    """US Region Calibration (PS3.3 C.8.5.5): centimetres a pixel."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 2 if colour else 1, 2
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, ultrasound.TOP // scale
    region.RegionLocationMaxX1 = ultrasound.COLUMNS // scale - 1
    region.RegionLocationMaxY1 = ultrasound.ROWS // scale - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = ultrasound.PIXEL_MM * scale / 10
    region.TransducerFrequency = 3500
    return region


def angiographic_runs(*, frames: int, size: int, transfer_syntax_uid: str) -> Part:
    """Two projections of a left coronary artery; the second is compressed without loss."""
    contexts = tuple((str(XRayAngiographicImageStorage), str(s)) for s in (ExplicitVRLittleEndian, transfer_syntax_uid))

    def objects(examination: Examination) -> Iterator[Dataset]:
        for number, (angles, turned) in enumerate((((30, 20), False), ((-30, -15), True)), 1):
            run = angiography.angiogram(frames, size=size, seed=number, turned=turned)
            ds = _angiogram(examination, number, angles, run)
            yield compress(ds, transfer_syntax_uid) if turned else ds

    return Part(2, contexts, objects)


def _angiogram(examination: Examination, number: int, angles: tuple[int, int], run: NDArray[np.uint8]) -> Dataset:
    """X-Ray Angiographic Image (PS3.3 A.14)."""
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series")
    examination.moment(ds, "Acquisition", "Content", seconds=200 * number)
    equipment(ds, station="CATHLAB-1", model="Phantom XA")
    primary, secondary = angles
    name = f"{'LAO' if primary > 0 else 'RAO'} {abs(primary)} {'CRA' if secondary > 0 else 'CAU'} {abs(secondary)}"
    ds.Modality, ds.SeriesDescription, ds.ProtocolName = "XA", f"LCA {name}", "Koroner 15 f/s"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = examination.uid("xa", number), number, 1
    ds.BodyPartExamined, ds.PatientOrientation = "HEART", []
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.PixelIntensityRelationship, ds.RadiationSetting = "DISP", "GR"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 78, 640, 6, 4
    ds.PositionerMotion, ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = "STATIC", primary, secondary
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = 1050, 760
    pixel = 0.28 * angiography.SIZE / run.shape[-1]
    ds.ImagerPixelSpacing = [f"{pixel:.4f}"] * 2
    ds.ContrastBolusAgent, ds.ContrastBolusRoute = "Iohexol 350 mg I/mL", "IA"
    ds.NumberOfFrames, ds.FrameTime = len(run), f"{1000 / FRAMES_A_SECOND:.3f}"
    ds.FrameIncrementPointer = 0x00181063
    ds.CineRate = ds.RecommendedDisplayFrameRate = FRAMES_A_SECOND
    ds.WindowCenter, ds.WindowWidth = 128, 256
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    pixels(ds, run, bits=8)
    return finish(ds, XRayAngiographicImageStorage, examination.uid("xa", number, 1))
