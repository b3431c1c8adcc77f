"""Slices of the synthetic head and knee as DICOM objects: CT, MR and Enhanced MR."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from pacs.demo import head, knee
from pacs.demo.compress import compress
from pacs.demo.fields import CENTRE_Y, Field
from pacs.demo.labels import Examination, coded, equipment, finish, pixels
from pacs.demo.parts import Part, part

HEAD_BOTTOM, HEAD_TOP = -32.0, 88.0
AXIAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)


@dataclass(frozen=True)
class Acquisition:
    """How an MR series was acquired: what the contrast is called, and its times in ms."""

    contrast: str
    description: str
    scanning_sequence: str
    repetition_time: float
    echo_time: float
    echo_train: int = 1
    inversion_time: float = 0.0
    field_of_view: float = head.FOV
    body_part: str = "BRAIN"


T1 = Acquisition("T1", "T1 SE aksial", "SE", 520, 12)
T2 = Acquisition("T2", "T2 TSE aksial", "SE", 4200, 102, 15)
FLAIR = Acquisition("FLAIR", "FLAIR aksial", "IR", 9000, 120, 18, 2500)
DWI = Acquisition("DWI", "DWI b1000 aksial", "EP", 3800, 88, 64)
T1_THIN = Acquisition("T1", "T1 FLASH 3D", "GR", 11, 5)
KNEE_T1 = Acquisition("T1", "T1 TSE sagital genu dekstra", "SE", 600, 11, 3, 0.0, knee.FOV, "KNEE")
KNEE_PD = Acquisition("PD FS", "PD FS sagital genu dekstra", "SE", 2900, 34, 8, 0.0, knee.FOV, "KNEE")


def spread(low: float, high: float, spacing: float) -> list[float]:
    """Positions from `low` up to `high`."""
    return [round(low + n * spacing, 3) for n in range(max(1, int((high - low) / spacing)))]


def head_ct(
    anatomy: head.Head, *, spacing: float, size: int, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> Part:
    """A CT of the head without contrast medium."""
    heights = spread(HEAD_BOTTOM, HEAD_TOP, spacing)

    def objects(examination: Examination) -> Iterator[Dataset]:
        for number, (z, ideal) in enumerate(zip(heights, anatomy.slices(heights, size, "CT"), strict=True), 1):
            rng = np.random.default_rng([anatomy.seed, number])
            hounsfield = ideal + 3.5 * rng.standard_normal(ideal.shape, np.float32)
            ds = Dataset()
            examination.fill(ds)
            examination.moment(ds, "Series", seconds=40)
            examination.moment(ds, "Acquisition", "Content", seconds=45 + number * 0.4)
            equipment(ds, station="CT-2", model="Phantom CT 16")
            ds.Modality, ds.SeriesDescription, ds.ProtocolName = "CT", f"Kepala polos {spacing:g} mm", "KEPALA ROUTINE"
            ds.BodyPartExamined, ds.PatientPosition = "HEAD", "HFS"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 120, 240, 1000, 240
            ds.FilterType, ds.ConvolutionKernel, ds.GantryDetectorTilt = "HEAD", "H31", 0
            ds.SeriesInstanceUID, ds.SeriesNumber = examination.uid("head"), 2
            ds.AcquisitionNumber, ds.InstanceNumber = 1, number
            _place(ds, examination, size, head.FOV, AXIAL, z, spacing)
            ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
            ds.WindowCenter, ds.WindowWidth = [40, 80, 500], [80, 200, 2500]
            ds.WindowCenterWidthExplanation = ["BRAIN", "SUBDURAL", "BONE"]
            ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
            pixels(ds, np.clip(np.rint(hounsfield) + 1024, 0, 4095).astype(np.uint16), bits=12)
            finish(ds, CTImageStorage, examination.uid("head", number))
            yield ds if transfer_syntax_uid == ExplicitVRLittleEndian else compress(ds, transfer_syntax_uid)

    return part(len(heights), CTImageStorage, objects, transfer_syntax_uid)


def _place(
    ds: Dataset, examination: Examination, size: int, field_of_view: float, orientation: tuple[int, ...], at: float,
    spacing: float,
) -> None:  # fmt: skip
    """Image Plane and Frame of Reference (PS3.3 C.7.6.2, C.7.4.1) of an axial or sagittal slice."""
    pixel = field_of_view / size
    corner = -(size - 1) / 2 * pixel
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = examination.uid("frame of reference"), ""
    ds.ImageOrientationPatient = list(orientation)
    ds.ImagePositionPatient = position(corner, orientation, at)
    ds.PixelSpacing = [f"{pixel:.4f}"] * 2
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{spacing:g}"
    ds.SliceLocation = f"{at:g}"


def position(corner: float, orientation: tuple[int, ...], at: float) -> list[str]:
    """Where the first pixel lies."""
    if orientation == AXIAL:
        return [f"{corner:.4f}", f"{corner + CENTRE_Y:.4f}", f"{at:g}"]
    return [f"{at:g}", f"{corner:.4f}", f"{-corner:.4f}"]


def acquired(ideal: Field, seed: tuple[int, ...]) -> NDArray[np.uint16]:
    """Magnitude with noise, brighter near the coil."""
    size = ideal.shape[0]
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    coil = 1.0 + 0.10 * (ramp[:, None] ** 2 + ramp[None, :] ** 2) - 0.05 * ramp[:, None]
    rng = np.random.default_rng(list(seed))
    noise = rng.standard_normal((2, size, size), np.float32) * 11.0
    return np.clip(np.hypot(ideal * coil + noise[0], noise[1]), 0, 4095).astype(np.uint16)


def _ideal(sequence: Acquisition, anatomy: head.Head | None) -> Callable[[list[float], int], Iterator[Field]]:
    if anatomy is None:
        return lambda positions, size: knee.slices(positions, size, sequence.contrast)
    return lambda positions, size: anatomy.slices(positions, size, sequence.contrast)


def mr_series(
    sequence: Acquisition, number: int, *, anatomy: head.Head | None = None, spacing: float, size: int,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
) -> Part:  # fmt: skip
    """An MR series (PS3.3 A.4) of a head, or of the knee when there is no head."""
    positions = spread(HEAD_BOTTOM, HEAD_TOP, spacing) if anatomy else spread(-46, 46, spacing)
    orientation = AXIAL if anatomy else SAGITTAL

    def objects(examination: Examination) -> Iterator[Dataset]:
        slices = _ideal(sequence, anatomy)(positions, size)
        for instance, (at, ideal) in enumerate(zip(positions, slices, strict=True), 1):
            ds = Dataset()
            examination.fill(ds)
            examination.moment(ds, "Series", seconds=240 * number)
            examination.moment(ds, "Acquisition", "Content", seconds=240 * number + instance)
            equipment(ds, station="MR-1", model="Phantom MR 1.5T")
            ds.Modality, ds.SeriesDescription, ds.ProtocolName = "MR", sequence.description, sequence.description
            ds.BodyPartExamined, ds.PatientPosition = sequence.body_part, "HFS" if anatomy else "FFS"
            if not anatomy:
                ds.Laterality = "R"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "M", sequence.scanning_sequence]
            ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = sequence.scanning_sequence, "SK", ""
            ds.MRAcquisitionType = "3D" if sequence is T1_THIN else "2D"
            ds.RepetitionTime, ds.EchoTime = sequence.repetition_time, sequence.echo_time
            ds.EchoTrainLength, ds.FlipAngle, ds.MagneticFieldStrength = sequence.echo_train, 90, 1.5
            if sequence.inversion_time:
                ds.InversionTime = sequence.inversion_time
            ds.SeriesInstanceUID, ds.SeriesNumber = examination.uid("mr", number), number
            ds.AcquisitionNumber, ds.InstanceNumber = 1, instance
            _place(ds, examination, size, sequence.field_of_view, orientation, at, spacing)
            ds.WindowCenter, ds.WindowWidth = 480, 960
            ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
            pixels(ds, acquired(ideal, (number, instance)), bits=12)
            finish(ds, MRImageStorage, examination.uid("mr", number, instance))
            yield ds if transfer_syntax_uid == ExplicitVRLittleEndian else compress(ds, transfer_syntax_uid)

    return part(len(positions), MRImageStorage, objects, transfer_syntax_uid)


def enhanced_mr(sequence: Acquisition, number: int, *, spacing: float, size: int) -> Part:
    """The knee as one Enhanced MR Image of many frames (PS3.3 A.36.2)."""
    positions = spread(-46, 46, spacing)

    def make(examination: Examination) -> Iterator[Dataset]:
        frames = [
            acquired(ideal, (number, frame))
            for frame, ideal in enumerate(knee.slices(positions, size, sequence.contrast), 1)
        ]
        yield _enhanced(examination, sequence, number, positions, spacing, np.stack(frames))

    return part(1, EnhancedMRImageStorage, make)


def _group(keyword: str, **values: object) -> tuple[str, Sequence]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return keyword, Sequence([item])


def _enhanced(
    examination: Examination, sequence: Acquisition, number: int, positions: list[float], spacing: float,
    frames: NDArray[np.uint16],
) -> Dataset:  # fmt: skip
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Content", seconds=240 * number)
    ds.AcquisitionDateTime = examination.date_time(240 * number)
    ds.AcquisitionDuration, ds.AcquisitionNumber = 190.0, 1
    equipment(ds, station="MR-1", model="Phantom MR 1.5T")
    ds.Modality, ds.SeriesDescription, ds.ProtocolName = "MR", sequence.description, sequence.description
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = examination.uid("mr", number), number, 1
    ds.BodyPartExamined, ds.PatientPosition = sequence.body_part, "FFS"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = examination.uid("frame of reference"), ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "PROTON_DENSITY", "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique, ds.ComplexImageComponent = "NONE", "MAGNITUDE"
    ds.AcquisitionContrast, ds.ContentQualification = "PROTON_DENSITY", "RESEARCH"
    ds.ResonantNucleus, ds.KSpaceFiltering, ds.MagneticFieldStrength = "1H", "NONE", 1.5
    ds.ApplicableSafetyStandardAgency = "IEC"
    _pulse_sequence(ds)
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PresentationLUTShape = "NO", "00", "IDENTITY"
    ds.AcquisitionContextSequence = Sequence()
    pixels(ds, frames, bits=12)
    ds.NumberOfFrames = len(frames)
    ds.SharedFunctionalGroupsSequence = Sequence([_shared(sequence, spacing, frames.shape[-1])])
    organisation = Dataset()
    organisation.DimensionOrganizationUID = examination.uid("mr", number, "dimensions")
    ds.DimensionOrganizationSequence = Sequence([organisation])
    index = Dataset()
    index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    ds.DimensionIndexSequence = Sequence([index])
    corner = -(frames.shape[-1] - 1) / 2 * sequence.field_of_view / frames.shape[-1]
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [_frame(examination, number, place, at, corner) for place, at in enumerate(positions, 1)]
    )
    return finish(ds, EnhancedMRImageStorage, examination.uid("mr", number, 1))


def _pulse_sequence(ds: Dataset) -> None:
    """MR Pulse Sequence (PS3.3 C.8.13.4)."""
    ds.PulseSequenceName, ds.MRAcquisitionType, ds.EchoPulseSequence = "tse2d1_8", "2D", "SPIN"
    ds.MultipleSpinEcho, ds.MultiPlanarExcitation, ds.PhaseContrast = "NO", "NO", "NO"
    ds.TimeOfFlightContrast, ds.SteadyStatePulseSequence = "NO", "NONE"
    ds.EchoPlanarPulseSequence, ds.SaturationRecovery, ds.SpectrallySelectedSuppression = "NO", "NO", "FAT"
    ds.OversamplingPhase, ds.GeometryOfKSpaceTraversal = "2D", "RECTILINEAR"
    ds.RectilinearPhaseEncodeReordering, ds.SegmentedKSpaceTraversal = "LINEAR", "PARTIAL"
    ds.NumberOfKSpaceTrajectories = 1


def _shared(sequence: Acquisition, spacing: float, size: int) -> Dataset:
    """What all frames share: PS3.3 table A.36-2."""
    pixel = sequence.field_of_view / size
    anatomy = coded("72696002", "SCT", "Knee")
    rows: list[tuple[str, Sequence]] = [
        _group("PixelMeasuresSequence", PixelSpacing=[f"{pixel:.4f}"] * 2, SliceThickness=spacing,
               SpacingBetweenSlices=spacing),
        _group("PlaneOrientationSequence", ImageOrientationPatient=list(SAGITTAL)),
        _group("FrameAnatomySequence", FrameLaterality="R", AnatomicRegionSequence=Sequence([anatomy])),
        _group("PixelValueTransformationSequence", RescaleIntercept=0, RescaleSlope=1, RescaleType="US"),
        _group("FrameVOILUTSequence", WindowCenter=480, WindowWidth=960),
        _group("MRImageFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "PROTON_DENSITY", "NONE"],
               PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME", VolumeBasedCalculationTechnique="NONE",
               ComplexImageComponent="MAGNITUDE", AcquisitionContrast="PROTON_DENSITY"),
        _group("MRTimingAndRelatedParametersSequence", RepetitionTime=sequence.repetition_time, FlipAngle=90.0,
               EchoTrainLength=sequence.echo_train, RFEchoTrainLength=sequence.echo_train, GradientEchoTrainLength=0,
               SpecificAbsorptionRateSequence=Sequence([_rate()]), GradientOutputType="DB_DT", GradientOutput=18.0,
               OperatingModeSequence=Sequence([_mode("STATIC FIELD"), _mode("RF"), _mode("GRADIENT")])),
        _group("MRFOVGeometrySequence", InPlanePhaseEncodingDirection="ROW", MRAcquisitionFrequencyEncodingSteps=size,
               MRAcquisitionPhaseEncodingStepsInPlane=size, PercentSampling=100.0, PercentPhaseFieldOfView=100.0),
        _group("MREchoSequence", EffectiveEchoTime=sequence.echo_time),
        _group("MRModifierSequence", InversionRecovery="NO", FlowCompensation="NONE", Spoiling="NONE",
               T2Preparation="NO", SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE",
               PartialFourier="NO", ParallelAcquisition="NO"),
        _group("MRImagingModifierSequence", MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE",
               TransmitterFrequency=63.87, PixelBandwidth=190.0),
        _group("MRReceiveCoilSequence", ReceiveCoilName="Knee 8ch", ReceiveCoilManufacturerName="Sinar",
               ReceiveCoilType="VOLUME", QuadratureReceiveCoil="NO"),
        _group("MRTransmitCoilSequence", TransmitCoilName="Body", TransmitCoilManufacturerName="Sinar",
               TransmitCoilType="BODY"),
        _group("MRAveragesSequence", NumberOfAverages=1.0),
    ]  # fmt: skip
    shared = Dataset()
    for keyword, value in rows:
        setattr(shared, keyword, value)
    return shared


def _rate() -> Dataset:
    item = Dataset()
    item.SpecificAbsorptionRateDefinition, item.SpecificAbsorptionRateValue = "IEC_WHOLE_BODY", 0.4
    return item


def _mode(kind: str) -> Dataset:
    item = Dataset()
    item.OperatingModeType, item.OperatingMode = kind, "IEC_NORMAL"
    return item


def _frame(examination: Examination, number: int, place: int, at: float, corner: float) -> Dataset:
    item = Dataset()
    moment = examination.date_time(240 * number + place)
    for keyword, value in (
        _group("FrameContentSequence", FrameReferenceDateTime=moment, FrameAcquisitionDateTime=moment,
               FrameAcquisitionDuration=190000.0, FrameAcquisitionNumber=1, StackID="1", InStackPositionNumber=place,
               DimensionIndexValues=[place]),
        _group("PlanePositionSequence", ImagePositionPatient=position(corner, SAGITTAL, at)),
    ):  # fmt: skip
        setattr(item, keyword, value)
    return item
