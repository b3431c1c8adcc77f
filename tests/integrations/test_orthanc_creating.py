"""`/tools/create-dicom`: objects out of attributes and pictures."""

import base64
import io
from typing import Any

import numpy
import pydicom
import pytest
from PIL import Image
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from pacs.models import HeldObject, Instance, Series, Study
from radiology.models import AuditEvent, Site
from tests.factories import make_site
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.django_db
STUDY, MRN = "1.2.826.0.1.33", "MRN-1001"
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 hello").decode()


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


def picture(pixels: Any, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


GREY = numpy.arange(15, dtype=numpy.uint8).reshape(3, 5)


def made(khanza: OrthancProgram, given: dict[str, Any]) -> pydicom.FileDataset:
    answer = khanza.told("tools/create-dicom", given)
    assert answer["Status"] == "Success" and answer["Path"] == f"/instances/{answer['ID']}"
    file = pydicom.dcmread(io.BytesIO(body(khanza.get(f"instances/{answer['ID']}/file"))))
    uids = (file.PatientID, file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID)
    assert [answer[key] for key in ("ParentPatient", "ParentStudy", "ParentSeries", "ID")] == [
        sha1(*uids[:size]) for size in (1, 2, 3, 4)
    ]
    return file


def test_a_picture_becomes_an_image_that_says_what_the_request_says(khanza: OrthancProgram) -> None:
    tags = {"PatientID": "7", "PatientName": "ÄNI^B", "0008-1030": "Foto", "PatientBirthDate": "20000101"}
    file = made(khanza, {"Tags": tags, "Content": picture(GREY)})
    assert (file.PatientID, file.PatientName, file.StudyDescription) == ("7", "ÄNI^B", "Foto")
    assert file.SOPClassUID == SecondaryCaptureImageStorage and file.Modality == "OT" and file.ConversionType == "WSD"
    assert (file.pixel_array == GREY).all() and file.BitsAllocated == 8 and len(file.StudyDate) == 8
    colour = numpy.arange(36, dtype=numpy.uint8).reshape(3, 4, 3)
    assert (made(khanza, {"Tags": {}, "Content": picture(colour)}).pixel_array == colour).all()
    with_alpha = numpy.dstack([colour, numpy.full((3, 4), 9, numpy.uint8)])
    assert (made(khanza, {"Tags": {}, "Content": picture(with_alpha)}).pixel_array == colour).all()
    deep = numpy.arange(0, 60000, 4000, dtype=numpy.uint16).reshape(3, 5)
    assert (made(khanza, {"Tags": {}, "Content": picture(deep)}).pixel_array == deep).all()
    smooth = numpy.full((8, 8), 77, numpy.uint8)
    assert (made(khanza, {"Tags": {}, "Content": picture(smooth, "JPEG")}).pixel_array == 77).all()
    assert len({study.patient_ref_id for study in Study.objects.all()}) == 5  # nobody's number is given twice
    assert AuditEvent.objects.filter(event="orthanc.create").count() == 5


def test_a_document_and_a_bare_object(khanza: OrthancProgram) -> None:
    file = made(khanza, {"Tags": {"PatientID": "7", "DocumentTitle": "Letter"}, "Content": PDF})
    assert file.SOPClassUID == EncapsulatedPDFStorage and file.DocumentTitle == "Letter"
    name = sha1(file.PatientID, file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID)
    assert body(khanza.get(f"instances/{name}/pdf")) == b"%PDF-1.7 hello"
    given = {
        "Tags": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66", "4321-1010": "mine", "SOPInstanceUID": "1.2.3",
                 "ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2"}], "ICCProfile": "data:;base64,AAEC"},
        "PrivateCreator": "SINAR TEST", "Force": True,
    }  # fmt: skip
    file = made(khanza, given)
    assert file.SOPInstanceUID == "1.2.3" and file[0x43210010].value == "SINAR TEST"
    assert file[0x43211010].value == "mine" and file.ICCProfile[:3] == b"\0\1\2"
    assert file.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2"
    old = made(khanza, {"PatientName": "OLD^WAY", "PixelData": picture(GREY)})
    assert old.PatientName == "OLD^WAY" and old.Rows == 3


def test_a_child_says_what_its_parent_says(khanza: OrthancProgram, site: Site) -> None:
    store(site, part10(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", StudyDescription="Thorax")))
    study, series = sha1(MRN, STUDY), sha1(MRN, STUDY, f"{STUDY}.1")
    file = made(khanza, {"Tags": {"SeriesDescription": "Letter"}, "Parent": study, "Content": PDF})
    assert (file.PatientName, file.StudyInstanceUID, file.AccessionNumber) == ("SANTOSO^BUDI", STUDY, "ACC1")
    assert file.StudyDate == "20260102" and file.StudyDescription == "Thorax" and file.SeriesDescription == "Letter"
    assert file.SeriesInstanceUID != f"{STUDY}.1" and Study.objects.count() == 1
    slices = [picture(GREY), {"Content": picture(GREY), "Tags": {"ImageComments": "second"}}]
    answer = khanza.told("tools/create-dicom", {"Tags": {}, "Parent": study, "Content": slices})
    assert set(answer) == {"ID", "Path", "Status"}
    instances = khanza.json(f"{answer['Path'][1:]}/instances")
    assert [each["IndexInSeries"] for each in instances] == [1, 2]
    assert instances[0]["MainDicomTags"]["InstanceNumber"] == "1"
    assert khanza.json(f"instances/{instances[1]['ID']}/simplified-tags")["ImageComments"] == "second"
    into = made(khanza, {"Tags": {"InstanceNumber": "9"}, "Parent": series, "Content": picture(GREY), "Force": True})
    assert into.SeriesInstanceUID == f"{STUDY}.1" and into.Modality == "CT" and into.InstanceNumber == 9
    assert Series.objects.count() == 3


def test_what_makes_no_object_stores_nothing(khanza: OrthancProgram, site: Site) -> None:
    store(site, part10(ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.1")))
    store(make_site(), part10(ct(StudyInstanceUID=f"{STUDY}.8")))
    study, instance = sha1(MRN, STUDY), sha1(MRN, STUDY, f"{STUDY}.1", f"{STUDY}.1.1")
    before = Instance.objects.count()
    given: Any
    for given, status in (
        ({"Tags": {}}, 400),
        ({"Tags": []}, 400),
        ({"Tags": {"NoSuch": "x"}, "Content": PDF}, 400),
        ({"Tags": {"PixelData": "x"}, "Content": PDF}, 400),
        ({"Tags": {"StudyDate": "yesterday"}, "Content": PDF}, 400),
        ({"Tags": {"StudyInstanceUID": "1.2"}, "Content": PDF}, 400),
        ({"Tags": {"PatientName": "X"}, "Parent": study, "Content": PDF}, 400),
        ({"Tags": {"PatientID": "X"}, "Parent": study, "Content": PDF}, 400),
        ({"Tags": {}, "Parent": instance, "Content": PDF}, 400),
        ({"Tags": {}, "Parent": sha1(MRN, f"{STUDY}.8"), "Content": PDF}, 400),  # of another site
        ({"Tags": {}, "Parent": 1, "Content": PDF}, 400),
        ({"Tags": {}, "Content": "data:text/plain;base64,AAAA"}, 501),
        ({"Tags": {}, "Content": "data:image/png;base64,AAAA"}, 400),
        ({"Tags": {}, "Content": "data:image/png;base64,?"}, 400),
        ({"Tags": {}, "Content": "data:application/pdf;base64,AAAA"}, 400),
        ({"Tags": {}, "Content": "http://127.0.0.1/a.png"}, 400),
        ({"Tags": {}, "Content": {"a": 1}}, 400),
        ({"Tags": {}, "Content": [picture(GREY), "x"]}, 400),  # all of them or none
        ({"Tags": {}, "Content": [picture(GREY), {"Tags": {}}]}, 400),
        ({"Tags": {}, "Content": [picture(GREY)] * 2001}, 400),
        ({"Tags": {}, "Content": PDF, "Force": "yes"}, 400),
        ({"Tags": {"StudyInstanceUID": STUDY, "PatientID": "OTHER"}, "Content": PDF, "Force": True}, 409),
        ([], 400),
    ):
        refused(khanza.post("tools/create-dicom", given), status)
    refused(OrthancProgram(scopes=["studies.read"], name="reads").post("tools/create-dicom", {"Tags": {}}), 403)
    assert Instance.objects.count() == before and HeldObject.objects.count() == 1


def test_a_picture_of_endless_size_is_refused_before_it_is_unpacked(khanza: OrthancProgram) -> None:
    buffer = io.BytesIO()
    Image.new("1", (30000, 30000)).save(buffer, "PNG")
    content = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    response = khanza.post("tools/create-dicom", {"Tags": {}, "Content": content})
    assert response.status_code in {400, 413}
