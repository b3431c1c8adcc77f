"""The same pixels in the syntaxes that modalities compress with."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit

QUALITY = 88


def compress(ds: Dataset, transfer_syntax_uid: str) -> Dataset:
    """Compress losslessly (PS3.5 A.4), keeping the SOP Instance UID: nothing else was ever stored."""
    uid = ds.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.compress(UID(transfer_syntax_uid), generate_instance_uid=False)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    return ds


def jpeg_baseline(ds: Dataset, images: NDArray[np.uint8]) -> Dataset:
    """Put `images` (frames first) into `ds` as JPEG Baseline, and say so (PS3.3 C.7.6.1.1.5)."""
    frames = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling="4:2:2")
        frames.append(file.getvalue())
    if images.ndim == 4:
        ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    ds.LossyImageCompressionRatio = f"{images.nbytes / sum(map(len, frames)):.2f}"
    return ds
