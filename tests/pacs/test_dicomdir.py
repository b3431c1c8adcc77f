"""The directory of a file-set: its records are those that pydicom makes of the same objects."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.fileset import DIRECTORY_RECORDERS
from pydicom.uid import UID, generate_uid

from pacs.models import Location
from pacs.services.archive_zip import zip_of
from pacs.services.dicomdir import Directory, number, of_header, record_kind, texts
from radiology.errors import TooLarge
from radiology.models import Site
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10, real

WITHOUT_PIXELS: dict[str, Any] = {"PixelData": None, "Rows": None, "Columns": None, "BitsAllocated": None}
CONTENT: dict[str, Any] = {"ContentDate": "20260102", "ContentTime": "101112"}
LABEL: dict[str, Any] = {"ContentLabel": "LABEL", "ContentDescription": "Größe", "ContentCreatorName": "DEWI"}
STORAGE = "1.2.840.10008.5.1.4.1.1."


def code(meaning: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99TEST", meaning
    return item


def modifier() -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.RelationshipType, item.ValueType = "HAS CONCEPT MOD", "CODE"
    item.ConceptNameCodeSequence = pydicom.Sequence([code("Title")])
    item.ConceptCodeSequence = pydicom.Sequence([code("Value")])
    return item


def made(kind: str, **values: Any) -> bytes:
    return part10(ct(SOPClassUID=UID(f"{STORAGE}{kind}"), **{**WITHOUT_PIXELS, **values}))


def referenced() -> pydicom.Sequence:
    image, series = pydicom.Dataset(), pydicom.Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = f"{STORAGE}2", generate_uid()
    series.SeriesInstanceUID, series.ReferencedImageSequence = generate_uid(), pydicom.Sequence([image])
    return pydicom.Sequence([series])


TITLE = pydicom.Sequence([code("Nierentransplantat — Übersicht")])
OBJECTS: dict[str, bytes] = {
    "IMAGE": part10(ct()),
    "SR DOCUMENT": real("reportsi.dcm").read_bytes(),
    "KEY OBJECT DOC": made(
        "88.59", Modality="KO", ConceptNameCodeSequence=TITLE, ContentSequence=pydicom.Sequence([modifier()]), **CONTENT
    ),
    "PRESENTATION": made(
        "11.1", Modality="PR", PresentationCreationDate="20260102", PresentationCreationTime="101112",
        ReferencedSeriesSequence=referenced(), **LABEL,
    ),
    "RT DOSE": real("rtdose_1frame.dcm").read_bytes(),
    "RT PLAN": real("rtplan.dcm").read_bytes(),
    "RT STRUCTURE SET": made("481.3", Modality="RTSTRUCT", StructureSetLabel="S"),
    "RT TREAT RECORD": made("481.4", Modality="RTRECORD", TreatmentDate="20260102"),
    "WAVEFORM": real("waveform_ecg.dcm").read_bytes(),
    "RAW DATA": made("66", Modality="OT", **CONTENT),
    "REGISTRATION": made("66.1", Modality="REG", **CONTENT, **LABEL),
    "FIDUCIAL": made("66.2", Modality="FID", **CONTENT, **LABEL),
    "VALUE MAP": made("67", Modality="RWV", **CONTENT, **LABEL),
    "SURFACE": made("66.5", Modality="SEG", **CONTENT, **LABEL),
    "ENCAP DOC": made(
        "104.1", Modality="DOC", DocumentTitle="Befund", ConceptNameCodeSequence=TITLE,
        MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=b"%PDF-1.4 ", **CONTENT,
    ),
}  # fmt: skip


def directory_of(data: bytes) -> pydicom.FileDataset:
    with zipfile.ZipFile(BytesIO(data)) as opened:
        return pydicom.dcmread(BytesIO(opened.read("DICOMDIR")))


@pytest.mark.parametrize("kind", list(OBJECTS))
def test_records_are_those_of_pydicom(site: Site, kind: str) -> None:
    store(site, OBJECTS[kind])
    ours = directory_of(b"".join(zip_of(locations=Location.objects.all(), name="x").blocks()))
    data_set = pydicom.dcmread(BytesIO(OBJECTS[kind]))
    for keyword, value in (("InstanceNumber", 1), ("SeriesNumber", 1), ("StudyID", "1"), ("PatientID", "1")):
        if not data_set.get(keyword):
            setattr(data_set, keyword, value)
    records = {record.DirectoryRecordType: record for record in ours.DirectoryRecordSequence}
    assert list(records) == ["PATIENT", "STUDY", "SERIES", kind]
    record = records[kind]
    for element in DIRECTORY_RECORDERS[kind](data_set):
        if element.keyword != "ContentSequence":  # theirs holds the whole document
            mine = record.get(element.keyword)
            assert str(mine or "") == str(element.value or ""), element.keyword
    assert record.ReferencedSOPInstanceUIDInFile == data_set.SOPInstanceUID
    assert records["STUDY"].StudyInstanceUID == data_set.StudyInstanceUID
    assert records["SERIES"].Modality == data_set.Modality


def test_what_objects_leave_empty_is_made_up(site: Site) -> None:
    bare = ct(
        PatientID="", PatientName="", StudyDate="", StudyTime="", StudyID="", SeriesNumber=None, InstanceNumber=None
    )
    store(site, part10(bare))
    patient, study, series, image = directory_of(
        b"".join(zip_of(locations=Location.objects.all(), name="x").blocks())
    ).DirectoryRecordSequence
    assert (patient.PatientID, study.StudyID, series.SeriesNumber, image.InstanceNumber) == (
        "PA000000", "ST000000", 1, 1,
    )  # fmt: skip
    assert study.StudyDate and study.StudyTime


def test_offsets_lead_to_their_records(tmp_path: Path) -> None:
    path = tmp_path / "DICOMDIR"
    with path.open("w+b") as file:
        directory = Directory(file, "one")
        for patient in range(2):
            above = directory.add("PATIENT", texts([(0x00100010, "PN", f"P{patient}"), (0x00100020, "LO", "1")]))
            for study in range(2):
                directory.add("STUDY", texts([(0x00200010, "SH", str(study))]), parent=above)
        size = directory.finish()
    assert path.stat().st_size == size
    data_set = pydicom.dcmread(path)
    by_offset = {item.seq_item_tell: item for item in data_set.DirectoryRecordSequence}

    def siblings(offset: int) -> list[str]:
        if not offset:
            return []
        record = by_offset[offset]
        name = str(record.get("PatientName") or record.get("StudyID"))
        below = siblings(record.OffsetOfReferencedLowerLevelDirectoryEntity)
        return [name + "".join(below), *siblings(record.OffsetOfTheNextDirectoryRecord)]

    assert siblings(data_set.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity) == ["P001", "P101"]
    last = by_offset[data_set.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity]
    assert last.PatientName == "P1"


def test_it_does_not_grow_beyond_its_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.services.dicomdir.LARGEST", 2000)
    directory = Directory(BytesIO(), "one")
    with pytest.raises(TooLarge):
        for _ in range(100):
            directory.add("PATIENT", texts([(0x00100020, "LO", "1")]))


HOSTILE: list[dict[str, Any]] = [
    {},
    {"0040A043": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": [5]}}]}},
    {"0040A043": {"vr": "LO", "Value": ["no sequence"]}},
    {"00080023": {"vr": "DA", "Value": ["not a date"]}},
    {"0040A491": {"vr": "CS", "Value": ["x" * 500]}},
    {"0040A730": {"vr": "SQ", "Value": [{"0040A010": {"vr": "CS", "Value": ["HAS CONCEPT MOD"]}}]}},
]


@pytest.mark.parametrize("header", HOSTILE)
def test_hostile_headers_still_make_a_record(header: dict[str, Any]) -> None:
    keys = of_header(header, kind="SR DOCUMENT", instance_number=7)
    record = pydicom.filereader.read_dataset(BytesIO(keys), is_implicit_VR=False, is_little_endian=True)
    assert record.InstanceNumber == 7
    assert record_kind("1.2.3.999") == "IMAGE"
    assert number(0x00041410, "US", 0xFFFF)[-2:] == b"\xff\xff"
