"""What is drawn over images: a presentation state with an arrow, and the segmentation of a nodule."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, GrayscaleSoftcopyPresentationStateStorage, SegmentationStorage

from pacs.demo.fields import CENTRE_Y
from pacs.demo.images import CTProtocol
from pacs.demo.labels import Examination, coded, equipment, finish
from pacs.demo.phantom import FOV, Nodule
from pacs.demo.structured import RADIOLOGIST, referenced


def presentation_state(
    examination: Examination, *, image: tuple[str, str, str], size: tuple[int, int], at: tuple[float, float], text: str
) -> Dataset:
    """Grayscale Softcopy Presentation State (PS3.3 A.33.1). `image`: series, class, instance; `at`: column, row."""
    series_uid, sop_class_uid, sop_instance_uid = image
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "PresentationCreation", seconds=600)
    equipment(ds, station="REPORT-1", model="Reporting workstation")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "PR", "Anotasi", 810, 1
    ds.SeriesInstanceUID, ds.BodyPartExamined = examination.uid("presentation state"), "CHEST"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "ANOTASI", text, RADIOLOGIST
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedImageSequence = referenced(sop_class_uid, sop_instance_uid)
    ds.ReferencedSeriesSequence = Sequence([series])
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [size[1], size[0]]
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    ds.DisplayedAreaSelectionSequence = Sequence([area])
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = "TEMUAN", 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = [50000, 48000, 52000]
    ds.GraphicLayerSequence = Sequence([layer])
    ds.GraphicAnnotationSequence = Sequence([_annotation(image, at, text)])
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 1900, 3000
    ds.SoftcopyVOILUTSequence = Sequence([window])
    ds.PresentationLUTShape = "IDENTITY"
    return finish(ds, GrayscaleSoftcopyPresentationStateStorage, examination.uid("presentation state", 1))


def _annotation(image: tuple[str, str, str], at: tuple[float, float], text: str) -> Dataset:
    """A circle around `at` and words with a line to it."""
    column, row = at
    circle = Dataset()
    circle.GraphicAnnotationUnits, circle.GraphicDimensions, circle.NumberOfGraphicPoints = "PIXEL", 2, 2
    circle.GraphicData, circle.GraphicType, circle.GraphicFilled = [column, row, column + 28, row], "CIRCLE", "N"
    words = Dataset()
    words.UnformattedTextValue, words.AnchorPointAnnotationUnits = text, "PIXEL"
    words.AnchorPoint, words.AnchorPointVisibility = [column, row + 34], "Y"
    words.BoundingBoxAnnotationUnits = "PIXEL"
    words.BoundingBoxTopLeftHandCorner = [max(1.0, column - 110), row + 90]
    words.BoundingBoxBottomRightHandCorner = [column + 110, row + 130]
    words.BoundingBoxTextHorizontalJustification = "CENTER"
    annotation = Dataset()
    annotation.GraphicLayer = "TEMUAN"
    annotation.ReferencedImageSequence = referenced(image[1], image[2])
    annotation.GraphicObjectSequence, annotation.TextObjectSequence = Sequence([circle]), Sequence([words])
    return annotation


def segmented_slices(protocol: CTProtocol, nodule: Nodule) -> list[int]:
    """The numbers of the slices, from 1, that cut the nodule; the nearest when it lies between two."""
    away = [abs(z - nodule.centre[2]) for z in protocol.heights]
    cut = [number for number, distance in enumerate(away, 1) if distance < nodule.radius]
    return cut or [int(np.argmin(away)) + 1]


def nodule_pixel(protocol: CTProtocol, nodule: Nodule) -> tuple[float, float]:
    """Column and row of the nodule's middle, from 0."""
    pixel = FOV / protocol.size
    half = (protocol.size - 1) / 2
    return nodule.centre[0] / pixel + half, (nodule.centre[1] - CENTRE_Y) / pixel + half


def segmentation(examination: Examination, protocol: CTProtocol, nodule: Nodule) -> Dataset:
    """A binary Segmentation (PS3.3 A.51) of the nodule in the CT of this study."""
    numbers = segmented_slices(protocol, nodule)
    pixel, half = FOV / protocol.size, (protocol.size - 1) / 2
    column, row = nodule_pixel(protocol, nodule)
    ramp = np.arange(protocol.size)
    across = ((ramp - column) * pixel)[None, :] ** 2 + ((ramp - row) * pixel)[:, None] ** 2
    masks = []
    for number in numbers:
        depth = protocol.heights[number - 1] - nodule.centre[2]
        masks.append(across < max(nodule.radius**2 - depth**2, (1.2 * pixel) ** 2))
    ds = Dataset()
    examination.fill(ds)
    examination.moment(ds, "Series", "Content", seconds=900)
    equipment(ds, station="REPORT-1", model="Reporting workstation")
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "SEG", "Segmentasi nodul", 820, 1
    ds.SeriesInstanceUID = examination.uid("segmentation")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = examination.uid("frame of reference"), ""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "NODUL", "Nodul paru kanan", RADIOLOGIST
    ds.SegmentationType, ds.LossyImageCompression, ds.BurnedInAnnotation = "BINARY", "00", "NO"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.Rows = ds.Columns = protocol.size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 1, 1, 0, len(masks)
    ds.SegmentSequence = Sequence([_segment()])
    packed = np.packbits(np.stack(masks).ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds["PixelData"].VR = "OB"
    _source(examination, ds, numbers)
    _frames(examination, ds, protocol, numbers, -half * pixel)
    return finish(ds, SegmentationStorage, examination.uid("segmentation", 1))


def _segment() -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "Nodul", "MANUAL"
    segment.SegmentedPropertyCategoryCodeSequence = Sequence(
        [coded("49755003", "SCT", "Morphologically Abnormal Structure")]
    )
    segment.SegmentedPropertyTypeCodeSequence = Sequence([coded("27925004", "SCT", "Nodule")])
    segment.RecommendedDisplayCIELabValue = [40000, 50000, 46000]
    return segment


def _source(examination: Examination, ds: Dataset, numbers: list[int]) -> None:
    """Common Instance Reference (PS3.3 C.12.2): the slices that were drawn on."""
    series = Dataset()
    series.SeriesInstanceUID = examination.uid("ct", 1)
    series.ReferencedInstanceSequence = Sequence(
        [referenced(CTImageStorage, examination.uid("ct", 1, number))[0] for number in numbers]
    )
    ds.ReferencedSeriesSequence = Sequence([series])


def _frames(examination: Examination, ds: Dataset, protocol: CTProtocol, numbers: list[int], corner: float) -> None:
    """Dimensions and functional groups (PS3.3 C.7.6.16, C.7.6.17)."""
    organisation = Dataset()
    organisation.DimensionOrganizationUID = examination.uid("segmentation", "dimensions")
    ds.DimensionOrganizationSequence = Sequence([organisation])
    ds.DimensionIndexSequence = Sequence()
    for pointer, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113)):
        index = Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        ds.DimensionIndexSequence.append(index)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [f"{FOV / protocol.size:.4f}"] * 2
    measures.SliceThickness = measures.SpacingBetweenSlices = f"{protocol.spacing:g}"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence()
    for place, number in enumerate(numbers, 1):
        frame_content, plane, segment, derivation, frame = (Dataset() for _ in range(5))
        frame_content.DimensionIndexValues = [1, place]
        plane.ImagePositionPatient = [
            f"{corner:.4f}", f"{corner + CENTRE_Y:.4f}", f"{protocol.heights[number - 1]:g}",
        ]  # fmt: skip
        segment.ReferencedSegmentNumber = 1
        derivation.DerivationCodeSequence = Sequence([coded("113076", "DCM", "Segmentation")])
        source = referenced(CTImageStorage, examination.uid("ct", 1, number))
        source[0].PurposeOfReferenceCodeSequence = Sequence(
            [coded("121322", "DCM", "Source image for image processing operation")]
        )
        derivation.SourceImageSequence = source
        frame.FrameContentSequence, frame.PlanePositionSequence = Sequence([frame_content]), Sequence([plane])
        frame.SegmentIdentificationSequence = Sequence([segment])
        frame.DerivationImageSequence = Sequence([derivation])
        ds.PerFrameFunctionalGroupsSequence.append(frame)
