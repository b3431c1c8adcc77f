"""Copies of stored objects: another header, the same pixels, whatever the syntax of the object."""

import io
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pacs.models import Instance, Location, Series
from pacs.services import copies
from pacs.services.part10 import head
from pacs.services.transcode import NATIVE
from radiology.errors import InvalidValue
from radiology.models import Site
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10, real

pytestmark = pytest.mark.django_db
FILES = [
    "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "JPEG2000.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "rtplan.dcm", "test-SR.dcm", "rtdose.dcm", "MR_small_RLE.dcm", "ExplVR_BigEnd.dcm",
    "examples_overlay.dcm",
]  # fmt: skip


def location_of(site: Site, file: bytes) -> Location:
    stored = store(site, file)
    return Location.objects.select_related("instance_ref__series_ref__study_ref__patient_ref", "volume").get(
        instance_ref__sop_instance_uid=stored.sop_instance_uid
    )


def copied(location: Location, **changes: Any) -> pydicom.FileDataset:
    attributes = copies.attributes_to_change(location=location)
    attributes.update(changes)
    copy = copies.copy_with(location=location, attributes=attributes)
    written = head(
        sop_class_uid=copy.sop_class_uid, sop_instance_uid=copy.sop_instance_uid,
        transfer_syntax_uid=copy.transfer_syntax_uid, source_ae_title="",
    )  # fmt: skip
    return pydicom.dcmread(io.BytesIO(written + b"".join(copy.blocks)))


@pytest.mark.parametrize("name", FILES)
def test_a_copy_says_what_the_original_says(site: Site, name: str) -> None:
    original = pydicom.dcmread(real(name))
    location = location_of(site, real(name).read_bytes())
    copy = copied(location)
    syntax = str(original.file_meta.TransferSyntaxUID)
    assert copy.file_meta.TransferSyntaxUID == (ExplicitVRLittleEndian if syntax in NATIVE else syntax)
    if "PixelData" in original and str(original.file_meta.TransferSyntaxUID) not in NATIVE:
        assert copy.PixelData == original.PixelData
    elif "PixelData" in original and original.BitsAllocated <= 16:
        assert (copy.pixel_array == original.pixel_array).all()
    assert texts(copy) == texts(original)


def texts(data_set: Dataset) -> dict[Any, Any]:
    """Every attribute but those that say how the others are encoded."""
    data_set.decode()
    shown = [each for each in data_set if each.tag.element and each.tag != 0x00080005 and each.tag < 0x7FE00008]
    return {
        each.tag: [texts(item) for item in each.value] if each.VR == "SQ" else str(each.value).strip("\0 ^")
        for each in shown
        if each.VR not in {"OW", "OB", "UN"}
    }


def test_what_is_large_or_no_number_is_copied_byte_by_byte(site: Site) -> None:
    inner = Dataset()
    inner.ReferencedSOPClassUID = "1.2"
    inner.add_new(0x00091002, "OB", bytes(range(256)) * 40)
    inner.add_new(0x00090010, "LO", "SINAR TEST")
    file = ct(
        PatientName="MÜLLER^ÄNNE", SpecificCharacterSet="ISO_IR 100", EncapsulatedDocument=b"%PDF" * 9000,
        ReferencedImageSequence=[inner], ImageComments="x" * 9000, RealWorldValueSlope=float("nan"),
        VectorGridData=b"\x00\x00\xc0\x7f" * 4,
    )  # fmt: skip
    copy = copied(location_of(site, part10(file)), **{"00081030": {"vr": "LO", "Value": ["Tórax"]}})
    assert copy.PatientName == "MÜLLER^ÄNNE" and copy.StudyDescription == "Tórax"
    assert copy.EncapsulatedDocument == b"%PDF" * 9000 and copy.ImageComments == "x" * 9000
    assert copy.ReferencedImageSequence[0][0x00091002].value == bytes(range(256)) * 40
    assert copy.RealWorldValueSlope != copy.RealWorldValueSlope and copy.PixelData == file.PixelData


def test_a_copy_has_what_was_corrected_and_the_bytes_stay(site: Site) -> None:
    file = part10(ct(StudyDescription="wrong"))
    location = location_of(site, file)
    Series.objects.update(
        overlay={"at": "2026-01-01T00:00:00", "attributes": {"0008103E": {"vr": "LO", "Value": ["x"]}}}
    )
    fresh = Location.objects.select_related("instance_ref__series_ref__study_ref", "volume").get(pk=location.pk)
    assert copied(fresh).SeriesDescription == "x"
    assert Instance.objects.count() == 1 and Location.objects.get().sha256 == location.sha256


def test_pixels_are_not_replaced(site: Site) -> None:
    location = location_of(site, part10(ct()))
    for tag in ("7FE00010", "FFFAFFFA"):
        with pytest.raises(InvalidValue):
            copied(location, **{tag: {"vr": "OB", "InlineBinary": "AAAA"}})
