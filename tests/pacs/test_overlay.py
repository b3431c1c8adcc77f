"""Corrections laid over objects on their way out: only what is corrected changes, and it is recorded."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from pacs.services.data_set import OpenDataSet
from pacs.services.decode import DECODABLE
from pacs.services.metadata import attributes_of
from pacs.services.overlay import Overlay, lay_over_json
from pacs.services.part10 import head
from pacs.services.transcode import NATIVE, REENCODED, open_as
from radiology.errors import NotAcceptable
from tests.pacs.objects import ct, part10
from tests.pacs.placed import part10_files, placed
from tests.pacs.test_transcode import DAMAGED, values

AT = "2026-11-23T08:30:00"
OTHER_PATIENT = {
    0x00100010: {"vr": "PN", "Value": [{"Alphabetic": "Aminah^Siti"}]},
    0x00100020: {"vr": "LO", "Value": ["001234"]},
    0x00100021: {"vr": "LO", "Value": ["RSUD"]},
    0x00100030: {"vr": "DA"},
    0x00101002: None,
    0x0020000D: {"vr": "UI", "Value": ["1.2.826.0.1.3680043.8.498.1"]},
}


def sent(folder: Path, file: bytes, attributes: dict[int, Any], target: str = "") -> tuple[Dataset, bytes]:
    location = placed(folder, file)
    syntax = target or location.transfer_syntax_uid
    with open_as(location=location, transfer_syntax_uid=syntax, overlay=Overlay(attributes, AT)) as stream:
        data_set = stream.read()
    meta = head(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=syntax, source_ae_title="")
    return pydicom.dcmread(BytesIO(meta + data_set)), data_set


@pytest.mark.parametrize("path", part10_files(), ids=lambda path: path.name)
def test_every_real_object_leaves_corrected_and_otherwise_as_it_came(path: Path, tmp_path: Path) -> None:
    original = pydicom.dcmread(path)
    stored = str(original.file_meta.TransferSyntaxUID)
    target = str(ExplicitVRLittleEndian) if stored in REENCODED else stored
    result, _ = sent(tmp_path, path.read_bytes(), OTHER_PATIENT, target)
    assert (result.PatientName, result.PatientID, result.IssuerOfPatientID) == ("Aminah^Siti", "001234", "RSUD")
    assert not result.PatientBirthDate
    assert "OtherPatientIDsSequence" not in result
    before, after = dict(values(original)), dict(values(result))
    changed = {f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in OTHER_PATIENT}
    assert {name for name in before.keys() - after.keys() if name[:11] not in changed} == set()
    assert {name for name in after.keys() - before.keys() if not name.startswith("(0400,0561)")} <= changed
    for name in before.keys() & after.keys():
        if name[:11] in changed or "UN" in {before[name].VR, after[name].VR} or before[name].is_private:
            continue
        one, other = before[name].value, after[name].value
        assert one == other or str(one) == str(other), name
    if "PixelData" in original and stored != ExplicitVRBigEndian:
        assert bytes(result.PixelData) == bytes(original.PixelData)
    record = result.OriginalAttributesSequence[-1]
    assert record.ReasonForTheAttributeModification == "CORRECT"
    assert record.AttributeModificationDateTime == "20261123083000+0000"
    replaced = record.ModifiedAttributesSequence[0]
    assert str(replaced.get("PatientName", "")) == str(original.get("PatientName", "") or "")
    assert str(replaced.get("PatientID", "") or "") == str(original.get("PatientID", "") or "")


@pytest.mark.parametrize("path", part10_files(), ids=lambda path: path.name)
def test_a_corrected_object_is_decompressed_like_any_other(path: Path, tmp_path: Path) -> None:
    stored = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    target = str(ExplicitVRLittleEndian)
    if path.name in DAMAGED or stored not in NATIVE | DECODABLE:
        with pytest.raises(NotAcceptable):
            sent(tmp_path, path.read_bytes(), OTHER_PATIENT, target)
        return
    result, _ = sent(tmp_path, path.read_bytes(), OTHER_PATIENT, target)
    with open_as(location=placed(tmp_path, path.read_bytes()), transfer_syntax_uid=target) as stream:
        meta = head(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=target, source_ae_title="")
        plain = pydicom.dcmread(BytesIO(meta + stream.read()))
    assert result.get("PixelData") == plain.get("PixelData")
    assert result.get("Rows") == plain.get("Rows")
    assert result.PatientID == "001234"


def test_values_that_were_right_already_leave_no_record(tmp_path: Path) -> None:
    same = {0x00100020: {"vr": "LO", "Value": ["4711"]}}
    result, _data = sent(tmp_path, part10(ct(PatientID="4711")), same)
    assert "OriginalAttributesSequence" not in result


def test_an_earlier_record_is_kept_in_front(tmp_path: Path) -> None:
    earlier, modified = Dataset(), Dataset()
    modified.PatientID = "1"
    earlier.ModifiedAttributesSequence = Sequence([modified])
    earlier.ModifyingSystem = "OTHER"
    result, _ = sent(tmp_path, part10(ct(PatientID="2", OriginalAttributesSequence=Sequence([earlier]))), OTHER_PATIENT)
    assert [each.ModifyingSystem for each in result.OriginalAttributesSequence] == ["OTHER", "MINIPACS"]
    assert result.OriginalAttributesSequence[1].ModifiedAttributesSequence[0].PatientID == "2"


def test_what_the_objects_character_set_lacks_makes_all_its_text_utf_8(tmp_path: Path) -> None:
    inner = Dataset()
    inner.CodeMeaning = "Höhe"
    data_set = ct(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jörg",
        InstitutionName="Klinik Köln",
        ProcedureCodeSequence=Sequence([inner]),
    )
    name = {0x00100010: {"vr": "PN", "Value": [{"Alphabetic": "Żółć^Ania", "Ideographic": "王^小東"}]}}
    result, _ = sent(tmp_path, part10(data_set), name)
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == "Żółć^Ania=王^小東"
    assert result.InstitutionName == "Klinik Köln"
    assert result.ProcedureCodeSequence[0].CodeMeaning == "Höhe"
    assert str(result.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName) == "Müller^Jörg"


def test_the_character_set_stays_where_it_has_the_new_words(tmp_path: Path) -> None:
    data_set = ct(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    result, data = sent(tmp_path, part10(data_set), {0x00100010: {"vr": "PN", "Value": [{"Alphabetic": "Özil"}]}})
    assert result.SpecificCharacterSet == "ISO_IR 100"
    assert "Özil".encode("latin-1") in data


def test_an_object_without_character_set_gets_one_for_new_words(tmp_path: Path) -> None:
    data_set = ct(PatientName="A^B")
    del data_set.SpecificCharacterSet
    result, _ = sent(tmp_path, part10(data_set), {0x00100010: {"vr": "PN", "Value": [{"Alphabetic": "Özil"}]}})
    assert (result.SpecificCharacterSet, str(result.PatientName)) == ("ISO_IR 192", "Özil")


def test_image_laterality_is_corrected_where_there_is_one(tmp_path: Path) -> None:
    side = {0x00200060: {"vr": "CS", "Value": ["L"]}, 0x00200062: {"vr": "CS", "Value": ["L"]}}
    without, _ = sent(tmp_path, part10(ct(Laterality="R")), side)
    with_one, _ = sent(tmp_path, part10(ct(ImageLaterality="R")), side)
    assert without.Laterality == "L"
    assert "ImageLaterality" not in without
    assert with_one.ImageLaterality == "L"


def test_sequences_that_are_left_out_are_in_the_record(tmp_path: Path) -> None:
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "3171", "nik"
    result, _ = sent(tmp_path, part10(ct(OtherPatientIDsSequence=Sequence([other]))), OTHER_PATIENT)
    assert "OtherPatientIDsSequence" not in result
    kept = result.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].OtherPatientIDsSequence[0]
    assert kept.PatientID == "3171"


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_corrected_object_is_not_turned_around_or_deflated_again(syntax: str, tmp_path: Path) -> None:
    path = next(each for each in part10_files() if pydicom.dcmread(each).file_meta.TransferSyntaxUID == syntax)
    with pytest.raises(NotAcceptable):
        sent(tmp_path, path.read_bytes(), OTHER_PATIENT)


@pytest.mark.parametrize("path", part10_files(), ids=lambda path: path.name)
def test_the_json_of_an_object_says_the_same_as_the_corrected_object(path: Path, tmp_path: Path) -> None:
    file = path.read_bytes()
    with OpenDataSet(placed(tmp_path, file)) as source:
        laid = attributes_of(source=source, bulk_url="/b/")
    lay_over_json(Overlay(OTHER_PATIENT, AT), laid)
    stored = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    target = str(ExplicitVRLittleEndian) if stored in REENCODED else stored
    _, data = sent(tmp_path, file, OTHER_PATIENT, target)
    meta = head(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax_uid=target, source_ae_title="")
    with OpenDataSet(placed(tmp_path, meta + data)) as source:
        corrected = attributes_of(source=source, bulk_url="/b/")
    for each in (laid, corrected):
        for name in ("00080005", "00020010"):
            each.pop(name, None)
    assert dict(sorted(laid.items())) == corrected
