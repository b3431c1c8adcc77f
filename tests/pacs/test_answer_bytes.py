"""Answers are written as pydicom writes them, or by pydicom."""

import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacs.dimse.answer_bytes import little_endian

FILES = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
CHARACTER_SETS = ["", "ISO_IR 100", "ISO_IR 144", "ISO_IR 192", "GB18030", "ISO_IR 13", "\\ISO 2022 IR 87"]
TEXTS = [("LO", 0x00081030), ("PN", 0x00100010), ("SH", 0x00080050), ("LT", 0x00104000), ("UI", 0x0020000D)]


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
            data_set = dcmread(file, stop_before_pixels=True, force=True)
            try:
                data_set.decode()
                list(data_set.iterall())
                expected = by_pydicom(data_set, is_implicit_vr=is_implicit_vr)
            except Exception:
                continue
            found = little_endian(data_set, is_implicit_vr=is_implicit_vr)
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
    character_set: str, values: list[str], place: tuple[str, int], is_implicit_vr: bool
) -> None:
    vr, tag = place
    item = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data_set in (item, outer := Dataset()):
            data_set.add(DataElement(tag, vr, values, validation_mode=config.IGNORE))
        outer.SpecificCharacterSet = character_set.split("\\") if "\\" in character_set else character_set
        outer.ScheduledProcedureStepSequence = [item]
        found = little_endian(outer, is_implicit_vr=is_implicit_vr)
        if found is not None:
            assert found == by_pydicom(outer, is_implicit_vr=is_implicit_vr)


def test_an_answer_of_the_worklist_needs_no_pydicom() -> None:
    step = Dataset()
    step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate = ["CT1", "CT2"], "20260302"
    step.ScheduledProtocolCodeSequence = []
    answer = Dataset()
    answer.SpecificCharacterSet, answer.PatientName = "ISO_IR 192", "Müller^Jürgen=山田"
    answer.PatientWeight, answer.NumberOfStudyRelatedInstances = "70.50", "12"
    answer.PregnancyStatus, answer.StudyInstanceUID, answer.AccessionNumber = 4, "1.2.3", ""
    answer.ScheduledProcedureStepSequence = [step]
    for is_implicit_vr in (True, False):
        assert little_endian(answer, is_implicit_vr=is_implicit_vr) == by_pydicom(answer, is_implicit_vr=is_implicit_vr)
