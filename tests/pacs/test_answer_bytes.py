"""Answers are written as pydicom writes them, or by pydicom."""

import json
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacs.dimse.answer_bytes import little_endian
from pacs.dimse.answer_encoding import AnswerEncoding, data_set_of

FILES = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
CHARACTER_SETS = ["", "ISO_IR 100", "ISO_IR 144", "ISO_IR 192", "GB18030", "ISO_IR 13", "\\ISO 2022 IR 87"]
TEXTS = [("LO", "00081030"), ("PN", "00100010"), ("SH", "00080050"), ("LT", "00104000"), ("UI", "0020000D")]


def by_pydicom(data_set: Dataset, *, is_implicit_vr: bool) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = is_implicit_vr, True
    write_dataset(out, data_set)
    return out.getvalue()


@pytest.mark.parametrize("is_implicit_vr", [True, False])
def test_real_data_sets_come_out_byte_by_byte_as_pydicom_writes_them(is_implicit_vr: bool) -> None:
    written = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in FILES:
            try:
                read = dcmread(file, stop_before_pixels=True, force=True)
                attributes = json.loads(json.dumps(read.to_json_dict()))
                expected = by_pydicom(Dataset.from_json(attributes), is_implicit_vr=is_implicit_vr)
            except Exception:
                continue
            found = little_endian(attributes, is_implicit_vr=is_implicit_vr)
            if found is not None:
                written += 1
                assert found == expected, file.name
    assert written >= 50


@given(
    st.sampled_from(CHARACTER_SETS),
    st.lists(st.text(max_size=30), max_size=3),
    st.sampled_from(TEXTS),
    st.booleans(),
)
def test_any_text_is_written_as_pydicom_writes_it(
    character_set: str, values: list[str], place: tuple[str, str], is_implicit_vr: bool
) -> None:
    vr, tag = place
    item = {tag: {"vr": vr, "Value": values}}
    outer = {
        **item,
        "00080005": {"vr": "CS", "Value": character_set.split("\\")},
        "00400100": {"vr": "SQ", "Value": [item]},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = little_endian(outer, is_implicit_vr=is_implicit_vr)
        if found is not None:
            assert found == by_pydicom(data_set_of(outer), is_implicit_vr=is_implicit_vr)


def test_an_answer_of_the_worklist_needs_no_pydicom() -> None:
    step = Dataset()
    step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate = ["CT1", "CT2"], "20260302"
    step.ScheduledProtocolCodeSequence = []
    answer = Dataset()
    answer.SpecificCharacterSet, answer.PatientName = "ISO_IR 192", "Müller^Jürgen=山田"
    answer.PatientWeight, answer.NumberOfStudyRelatedInstances = "70.5", "12"
    answer.PregnancyStatus, answer.StudyInstanceUID, answer.AccessionNumber = 4, "1.2.3", ""
    answer.ScheduledProcedureStepSequence = [step]
    for is_implicit_vr in (True, False):
        found = little_endian(answer.to_json_dict(), is_implicit_vr=is_implicit_vr)
        assert found == by_pydicom(answer, is_implicit_vr=is_implicit_vr)


@pytest.mark.parametrize("number", [0.1234567890123456, -1.2345678901234567e-05, 1 / 3, 123456789012345680.0])
def test_a_decimal_string_has_sixteen_characters_at_most(number: float) -> None:
    answer = {"00200037": {"vr": "DS", "Value": [number, 2.5]}}
    written = little_endian(answer, is_implicit_vr=True)
    assert written == by_pydicom(data_set_of(answer), is_implicit_vr=True)
    first, second = written[8:].decode().strip().split("\\")
    assert len(first) <= 16 and float(first) == pytest.approx(number, rel=1e-9) and second == "2.5"


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "OB", "InlineBinary": "AAA="},
        {"vr": "US", "Value": [70000]},
        {"vr": "UI", "Value": ["1.2.é"]},
        {"vr": "LO", "Value": ["山"]},
        {"vr": "LO", "Value": ["a" * 70000]},
        {"vr": "LO", "Value": 7},
    ],
)
def test_what_is_rare_or_wrong_is_left_to_pydicom(element: dict[str, Any]) -> None:
    assert (
        little_endian({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00081030": element}, is_implicit_vr=False)
        is None
    )


def test_items_are_written_in_the_character_set_of_the_answer() -> None:
    item = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00400007": {"vr": "LO", "Value": ["山"]}}
    attributes = AnswerEncoding("", "").attributes({"00400275": {"vr": "SQ", "Value": [item]}})
    written = little_endian(attributes, is_implicit_vr=False)
    assert written is not None and "山".encode() in written and written.count(b"CS") == 1


def test_empty_values_among_others_stay_empty() -> None:
    attributes = {
        "00100010": {"vr": "PN", "Value": [None, {"Alphabetic": "SARI^SITI"}]},
        "00200037": {"vr": "DS", "Value": [1, None, 3.5]},
    }
    assert little_endian(attributes, is_implicit_vr=False) == b"".join(
        [b"\x10\x00\x10\x00PN\x0a\x00\\SARI^SITI", b"\x20\x00\x37\x00DS\x06\x001\\\\3.5"]
    )
