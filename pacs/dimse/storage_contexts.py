"""The presentation contexts that we propose to be sent objects over, by C-GET (PS3.4 C.4.3.1)."""

from collections.abc import Iterator, Sequence

from pydicom import uid as uids

from pacs.dimse.syntaxes import STORAGE_TRANSFER_SYNTAXES

# Where a node does not say what a study holds: what departments of radiology make.
STORAGE_CLASSES: tuple[str, ...] = (
    uids.CTImageStorage,
    uids.EnhancedCTImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage,
    uids.MRImageStorage,
    uids.EnhancedMRImageStorage,
    uids.EnhancedMRColorImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage,
    uids.MRSpectroscopyStorage,
    uids.ComputedRadiographyImageStorage,
    uids.DigitalXRayImageStorageForPresentation,
    uids.DigitalXRayImageStorageForProcessing,
    uids.DigitalMammographyXRayImageStorageForPresentation,
    uids.DigitalMammographyXRayImageStorageForProcessing,
    uids.BreastTomosynthesisImageStorage,
    uids.BreastProjectionXRayImageStorageForPresentation,
    uids.DigitalIntraOralXRayImageStorageForPresentation,
    uids.UltrasoundImageStorage,
    uids.UltrasoundMultiFrameImageStorage,
    uids.EnhancedUSVolumeStorage,
    "1.2.840.10008.5.1.4.1.1.6",  # ultrasound, retired; still made
    "1.2.840.10008.5.1.4.1.1.3",
    uids.XRayAngiographicImageStorage,
    uids.EnhancedXAImageStorage,
    uids.XRayRadiofluoroscopicImageStorage,
    uids.EnhancedXRFImageStorage,
    uids.XRay3DAngiographicImageStorage,
    uids.XRay3DCraniofacialImageStorage,
    uids.NuclearMedicineImageStorage,
    "1.2.840.10008.5.1.4.1.1.5",  # nuclear medicine, retired
    uids.PositronEmissionTomographyImageStorage,
    uids.EnhancedPETImageStorage,
    uids.SecondaryCaptureImageStorage,
    uids.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uids.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uids.VLEndoscopicImageStorage,
    uids.VideoEndoscopicImageStorage,
    uids.VLMicroscopicImageStorage,
    uids.VLPhotographicImageStorage,
    uids.VideoPhotographicImageStorage,
    uids.OphthalmicPhotography8BitImageStorage,
    uids.OphthalmicTomographyImageStorage,
    uids.GrayscaleSoftcopyPresentationStateStorage,
    uids.ColorSoftcopyPresentationStateStorage,
    uids.BasicTextSRStorage,
    uids.EnhancedSRStorage,
    uids.ComprehensiveSRStorage,
    uids.Comprehensive3DSRStorage,
    uids.MammographyCADSRStorage,
    uids.ChestCADSRStorage,
    uids.XRayRadiationDoseSRStorage,
    uids.KeyObjectSelectionDocumentStorage,
    uids.EncapsulatedPDFStorage,
    uids.EncapsulatedCDAStorage,
    uids.RawDataStorage,
    uids.SegmentationStorage,
    uids.SpatialRegistrationStorage,
    uids.TwelveLeadECGWaveformStorage,
    uids.RTImageStorage,
    uids.RTStructureSetStorage,
    uids.RTDoseStorage,
    uids.RTPlanStorage,
)

# What objects are kept in, most frequent first; the rest follows, big endian, which is retired, last.
_FREQUENT: tuple[str, ...] = (
    uids.ExplicitVRLittleEndian,
    uids.JPEGLosslessSV1,
    uids.JPEG2000Lossless,
    uids.JPEGBaseline8Bit,
    uids.RLELossless,
    uids.JPEG2000,
    uids.JPEGLSLossless,
    uids.ImplicitVRLittleEndian,
    uids.JPEGExtended12Bit,
    uids.JPEGLSNearLossless,
    uids.JPEGLossless,
    uids.HTJ2KLossless,
    uids.MPEG4HP41,
    uids.MPEG2MPML,
)
TRANSFER_SYNTAXES: tuple[str, ...] = (
    *map(str, _FREQUENT),
    *sorted(STORAGE_TRANSFER_SYNTAXES - {*_FREQUENT, uids.ExplicitVRBigEndian}),
    str(uids.ExplicitVRBigEndian),
)


def contexts_of(sop_class_uids: Sequence[str], *, most: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each class as many contexts as there is room for, at least one: all transfer syntaxes are proposed.

    An acceptor picks one syntax of a context. With a context for each, every object can come as it is
    stored; where the room is short, the last context of a class has all syntaxes that are left.
    """
    classes = sop_class_uids[:most]
    each = most // max(1, len(classes))
    for sop_class in classes:
        single = TRANSFER_SYNTAXES[: each - 1] if each < len(TRANSFER_SYNTAXES) else TRANSFER_SYNTAXES
        for syntax in single:
            yield str(sop_class), (syntax,)
        if rest := TRANSFER_SYNTAXES[len(single) :]:
            yield str(sop_class), rest
