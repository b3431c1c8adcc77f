"""C-FIND identifiers in and out (PS3.4 C.4.1): levels, keys, character sets."""

import warnings
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement

from pacs.dimse.data_sets import decode, encode
from pacs.dimse.find import find
from pacs.models import ApplicationEntity
from radiology.errors import InvalidValue
from tests.factories import make_node, make_patient, make_series, make_study

pytestmark = pytest.mark.django_db
IMPLICIT = "1.2.840.10008.1.2"


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


def ask(data_set: Dataset, *, model: Any = "STUDY", node: Any = None, **options: Any) -> list[tuple[int, Dataset]]:
    """Send the identifier as bytes and read the answers from bytes, as the association does."""
    node = node or make_node(f"CT{ApplicationEntity.objects.count()}")
    sent = decode(encode(data_set, IMPLICIT), IMPLICIT)
    answers = list(find(who=node, node=node, model=model, identifier=sent, **options))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [(status, decode(encode(answer, IMPLICIT), IMPLICIT)) for status, answer in answers]


def test_an_answer_holds_what_was_asked_and_the_unique_keys() -> None:
    study = make_study(make_patient("7", "WIBOWO^BUDI"), series=1, instances=2)
    ((status, answer),) = ask(
        identifier(PatientName="", StudyDate="", ModalitiesInStudy="", NumberOfStudyRelatedInstances="", PatientAge="")
    )
    assert status == 0xFF00
    assert answer.QueryRetrieveLevel == "STUDY" and answer.RetrieveAETitle == "MINIPACS"
    assert answer.StudyInstanceUID == study.study_instance_uid
    assert answer.PatientName == "WIBOWO^BUDI" and answer.StudyDate == "20240315"
    assert answer.ModalitiesInStudy == "CT" and answer.NumberOfStudyRelatedInstances == 2
    assert answer.PatientAge == "" and "StudyTime" not in answer and "PatientID" not in answer


@pytest.mark.parametrize(
    ("model", "level", "count"),
    [
        ("PATIENT", "PATIENT", 1),
        ("PATIENT", "STUDY", 2),
        ("PATIENT", "SERIES", 4),
        ("PATIENT", "IMAGE", 8),
        ("STUDY", "STUDY", 2),
        ("STUDY", "SERIES", 4),
        ("STUDY", "IMAGE", 8),
    ],
)
def test_every_level_of_both_models_is_answered(model: str, level: str, count: int) -> None:
    patient = make_patient("7")
    for _ in range(2):
        make_study(patient, series=2, instances=2)
    make_study()
    answers = ask(identifier(level, PatientID="7", SOPInstanceUID="", InstanceAvailability=""), model=model)
    assert len(answers) == count
    assert all(answer.InstanceAvailability == "ONLINE" for _, answer in answers)
    unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    assert len({answer[unique.get(level, "SOPInstanceUID")].value for _, answer in answers}) == count


@pytest.mark.parametrize(("model", "level"), [("STUDY", "PATIENT"), ("STUDY", ""), ("PATIENT", "INSTANCE")])
def test_a_level_that_the_model_lacks_is_refused(model: str, level: str) -> None:
    with pytest.raises(InvalidValue):
        ask(identifier(level), model=model)


@pytest.mark.parametrize("value", ["20241301", "yesterday", "20240102-20240101"])
def test_a_malformed_date_is_refused_before_any_answer(value: str) -> None:
    data_set = identifier()
    data_set.add(DataElement(0x00080020, "DA", value, validation_mode=0))
    with pytest.raises(InvalidValue):
        find(who=make_node(), node=None, model="STUDY", identifier=data_set)


def test_unsupported_keys_are_marked_and_left_out() -> None:
    make_study()
    data_set = identifier(PatientID="", ImageComments="x")
    data_set.add_new(0x00091001, "LO", "private")
    ((status, answer),) = ask(data_set)
    assert status == 0xFF01 and "ImageComments" not in answer and 0x00091001 not in answer


def test_group_lengths_and_the_query_itself_are_no_keys() -> None:
    make_study()
    data_set = identifier(PatientID="")
    data_set.add_new(0x00080000, "UL", 8)
    ((status, _),) = ask(data_set)
    assert status == 0xFF00


def test_empty_stored_values_match_unless_the_node_says_otherwise() -> None:
    make_study(make_patient("", ""), accession_number="")
    strict = make_node("STRICT", empty_values_match=False)
    for keyword, value in {"AccessionNumber": "A1", "PatientName": "DOE*", "PatientID": "7"}.items():
        assert ask(identifier(**{keyword: value}))
        assert not ask(identifier(**{keyword: value}), node=strict)
    assert not ask(identifier(PatientID="7"), model="PATIENT")


def test_dates_and_times_combine_when_negotiated() -> None:
    make_study(study_date="20240315", study_time="220000")
    data_set = identifier(StudyTime="0800-1000")
    data_set.add(DataElement(0x00080020, "DA", "20240314-20240316", validation_mode=0))
    assert not ask(data_set)
    assert ask(data_set, combined=True)


def test_the_time_zone_of_the_request_is_honoured() -> None:
    make_study(study_date="20240315", study_time="233000", timezone_offset_from_utc="+0700")
    assert ask(identifier(StudyDate="20240315"))
    assert not ask(identifier(StudyDate="20240315", TimezoneOffsetFromUTC="+0900"))
    ((_, answer),) = ask(identifier(StudyDate="20240316", TimezoneOffsetFromUTC="+0900"))
    assert answer.StudyDate == "20240315" and answer.TimezoneOffsetFromUTC == "+0700"


def test_sequence_keys_match_and_return_what_was_asked_of_their_items() -> None:
    make_series(request_attributes=[{"scheduled_procedure_step_id": "S1", "requested_procedure_id": "R1"}])
    make_series(request_attributes=[{"scheduled_procedure_step_id": "S2", "requested_procedure_id": "R2"}])
    item = Dataset()
    item.ScheduledProcedureStepID = ""
    item.RequestedProcedureID = "R2"
    ((status, answer),) = ask(identifier("SERIES", RequestAttributesSequence=[item]))
    (got,) = answer.RequestAttributesSequence
    assert status == 0xFF00 and got.ScheduledProcedureStepID == "S2" and "AccessionNumber" not in got
    assert len(ask(identifier("SERIES", RequestAttributesSequence=[]))) == 2
    assert len(ask(identifier("SERIES", RequestAttributesSequence=[Dataset()]))) == 2


def test_two_values_where_one_belongs_match_either() -> None:
    make_study(accession_number="A1")
    assert ask(identifier(AccessionNumber=["A1", "A2"]))


NAMES = {
    "Yamada^Tarou=山田^太郎=やまだ^たろう": ["", "ISO 2022 IR 87"],
    "Hong^Gildong=洪^吉洞=홍^길동": ["", "ISO 2022 IR 149"],
    "Zhang^XiaoDong=张^小东": ["", "ISO 2022 IR 58"],
    "Wang^XiaoDong=王^小东": "GB18030",
    "Müller^Jürgen": "ISO_IR 100",
    "Люкceмбypг": "ISO_IR 144",
    "Διονυσιος": "ISO_IR 126",
    "قباني^لنزار": "ISO_IR 127",
    "สมชาย^ใจดี": "ISO_IR 166",
}


@pytest.mark.parametrize(("name", "character_set"), NAMES.items())
@pytest.mark.parametrize("group", [0, 1])
def test_names_are_asked_and_answered_in_the_character_set_of_the_request(
    name: str, character_set: Any, group: int
) -> None:
    make_study(make_patient(patient_name=name))
    make_study(make_patient(patient_name="ANDI^X"))
    groups = name.split("=")
    key = groups[group] if group < len(groups) else name
    ((_, answer),) = ask(identifier(SpecificCharacterSet=character_set, PatientName=key))
    assert str(answer.PatientName) == name
    assert answer.SpecificCharacterSet == character_set


def test_what_the_character_set_of_the_request_lacks_is_answered_in_utf_8() -> None:
    make_study(make_patient(patient_name="Müller^Jürgen"), study_description="胸部")
    for character_set in [None, "ISO_IR 100", ["", "ISO 2022 IR 149"], "NO SUCH SET"]:
        data_set = identifier(PatientName="muller*", StudyDescription="")
        if character_set:
            data_set.add(DataElement(0x00080005, "CS", character_set, validation_mode=0))
        ((_, answer),) = ask(data_set)
        assert answer.SpecificCharacterSet == "ISO_IR 192"
        assert str(answer.PatientName) == "Müller^Jürgen" and answer.StudyDescription == "胸部"


def test_plain_text_is_marked_with_a_set_that_every_device_knows() -> None:
    make_study()
    ((_, answer),) = ask(identifier(PatientName=""))
    assert answer.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize(
    ("character_set", "expected"),
    [
        ("ISO_IR 100", "Müller^Jürgen=ShanTian"),
        ("ISO_IR 6", "Muller^Jurgen=ShanTian"),
        ("\\ISO 2022 IR 87", "Muller^Jurgen=山田"),
    ],
)
def test_the_character_set_of_the_node_comes_first_and_the_rest_is_transliterated(
    character_set: str, expected: str
) -> None:
    make_study(make_patient(patient_name="Müller^Jürgen=山田"))
    node = make_node(specific_character_set=character_set)
    ((_, answer),) = ask(identifier(PatientName="", SpecificCharacterSet="ISO_IR 192"), node=node)
    assert str(answer.PatientName) == expected
    told = answer.SpecificCharacterSet
    assert (told if isinstance(told, str) else "\\".join(told)) == character_set


def test_bytes_that_no_character_set_can_decode_are_no_error() -> None:
    make_study()
    raw = encode(identifier(PatientName="XXXX", SpecificCharacterSet="ISO_IR 192"), IMPLICIT).replace(
        b"XXXX", b"\xff\xfe\xfd*"
    )
    node = make_node(empty_values_match=False)
    assert list(find(who=node, node=node, model="STUDY", identifier=decode(raw, IMPLICIT))) == []


def test_values_are_answered_as_received_even_if_malformed() -> None:
    make_study(study_date="2024.03.15", study_time="10:15", study_id="X" * 40)
    ((_, answer),) = ask(identifier(StudyDate="20240315", StudyTime="", StudyID=""))
    assert answer.StudyTime == "10:15" and answer.StudyID == "X" * 40
