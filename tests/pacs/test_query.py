"""The search service: what matches what (PS3.4 C.2.2.2), who sees what, and in which order."""

from datetime import timedelta, timezone
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as django_timezone

from pacs.models import Study
from pacs.services.attributes import REQUIRED, Level
from pacs.services.query import Search, search
from radiology.errors import InvalidValue
from radiology.models import NameFivegrams, NameTrigrams, Patient
from tests.factories import (
    make_instance,
    make_node,
    make_patient,
    make_series,
    make_site,
    make_study,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def who() -> Any:
    return make_user()


def found(who: Any, level: Any = Level.STUDY, tag: Any = "0020000D", **keys: Any) -> list[Any]:
    """The first value of `tag` (Study Instance UID) of each answer; small letters are options of the search."""
    options = {name: keys.pop(name) for name in list(keys) if name[0].islower()}
    answers = search(who=who, level=level, keys=keys, **options)
    return [answer[tag]["Value"][0] for answer in answers]


def matches(who: Any, **keys: Any) -> bool:
    return bool(list(search(who=who, level=Level.STUDY, keys=keys)))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("CT Thorax", True),
        ("ct thorax", False),
        ("CT*", True),
        ("*orax", True),
        ("CT Thora?", True),
        ("CT Thorax?", False),
        ("*", True),
        ("", True),
        ("MR*\\CT*", True),
        ("CT%", False),
        ("C_ Thorax", False),
        ("CT Thorax  ", True),
    ],
)
def test_text_matches_with_wild_cards_and_case(who: Any, key: str, expected: bool) -> None:
    make_study()
    assert matches(who, StudyDescription=key) is expected


def test_percent_and_underscore_are_ordinary_characters(who: Any) -> None:
    make_study(study_description="50%_x")
    assert matches(who, StudyDescription="50%_*")
    assert not matches(who, StudyDescription="50%__*")


@pytest.mark.parametrize(
    ("stored", "key", "expected"),
    [
        ("DOE^JOHN^^^", "Doe^John", True),
        ("DOE^JOHN", "DOE*", True),
        ("DOE^JOHN", "DOE", False),
        ("DOE^JOHN", "DOE^J*", True),
        ("DOE^X^JOHN", "DOE^J*", False),
        ("DOEMAN^JOHN", "DOE^*", False),
        ("DOE", "DOE^*", True),
        ("DOE^JOHN", "*john*", True),
        ("DOE^JOHN", "doe john", True),
        ("DOE^JOHN", "JOHN*", False),
        ("DOE^JOHN", "D?E^JOHN", True),
        ("Müller^Jürgen", "MULLER^*", True),
        ("Muller^Jurgen", "müller^jürgen", True),
        ("O'NEIL^SAM", "o'neil*", True),
        ("DE LA CRUZ^ANA", "de la c*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田^太郎", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^太郎", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou==やまだ*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=鈴木*", False),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "太郎*", False),
        ("김희중", "김*", True),
        ("DOE^JOHN", "ROE\\DOE*", True),
        ("DOE^JOHN", "^^", True),
        ("50%^A_B", "50%^A_B", True),
        ("50X^AXB", "50%^A_B", False),
    ],
)
def test_names_match_by_component_without_case_and_diacritics(who: Any, stored: str, key: str, expected: bool) -> None:
    make_study(make_patient(patient_name=stored))
    assert matches(who, PatientName=key) is expected


def test_referring_physicians_match_like_patients(who: Any) -> None:
    make_study(referring_physician_name="SARI^DEWI^^DR")
    assert matches(who, ReferringPhysicianName="sari^d*")
    assert not matches(who, ReferringPhysicianName="dewi*")


@pytest.mark.parametrize(
    ("key", "expected"),
    [("budi wib", True), ("wibowo", True), ("*bud*", True), ("owo", False), ("budi x", False), ("-", True)],
)
def test_fuzzy_names_match_the_beginnings_of_words_in_any_order(who: Any, key: str, expected: bool) -> None:
    make_study(make_patient(patient_name="WIBOWO^BUDI"), referring_physician_name="WIBOWO^BUDI")
    for keyword in ("PatientName", "ReferringPhysicianName"):
        assert bool(found(who, fuzzy=True, **{keyword: key})) is expected


@pytest.mark.parametrize(
    ("stored", "key", "expected"),
    [
        ("20240315", "20240315", True),
        ("20240315", "2024.03.15", True),
        ("2024.03.15", "20240315", True),
        ("2024.03.15", "20230101-20241231", True),
        ("2024.03.15", "20240316-20251231", False),
        ("20240315", "20240315-20240316", True),
        ("20240315", "20240301-20240315", True),
        ("20240315", "20240316-", False),
        ("20240315", "20240315-", True),
        ("20240315", "-20240314", False),
        ("20240315", "-20240315", True),
        ("20240315", "20230601-20230602\\20240315", True),
        ("20240315", "-", True),
        ("20240315", "*", True),
        ("", "-", True),
        ("", "20240315", False),
        ("nonsense", "20240101-20241231", False),
    ],
)
def test_dates_match_by_day_and_range(who: Any, stored: str, key: str, expected: bool) -> None:
    make_study(study_date=stored)
    assert matches(who, StudyDate=key) is expected


@pytest.mark.parametrize(
    ("stored", "key", "expected"),
    [
        ("101530", "101530", True),
        ("101530.25", "101530", True),
        ("101530", "1015", True),
        ("1015", "1015", True),
        ("1015", "101500-101500", True),
        ("10", "100000-", True),
        ("101600", "1015", False),
        ("101559.9", "10-1015", True),
        ("101600", "10-1015", False),
        ("10:15:30", "1015-1016", True),
        ("101530", "-1015", True),
        ("101530", "1016-", False),
        ("101530", "-", True),
        ("", "1015", False),
    ],
)
def test_times_match_to_the_precision_given(who: Any, stored: str, key: str, expected: bool) -> None:
    make_study(study_time=stored)
    assert matches(who, StudyTime=key) is expected


def test_date_and_time_match_separately_unless_combined(who: Any) -> None:
    make_study(study_date="20240315", study_time="220000")
    keys = {"StudyDate": "20240314-20240316", "StudyTime": "0800-1000"}
    assert not found(who, **keys)
    assert found(who, combined=True, **keys)
    assert found(who, combined=True, StudyDate="20240314-20240315", StudyTime="1800-2200")
    assert not found(who, combined=True, StudyDate="20240314-20240315", StudyTime="1800-2159")
    assert not found(who, combined=True, StudyDate="20240315-", StudyTime="2201-")


def test_a_range_of_times_across_midnight_needs_dates(who: Any) -> None:
    make_study(study_date="20240315", study_time="220000")
    with pytest.raises(InvalidValue):
        found(who, StudyTime="2100-0600")
    assert found(who, combined=True, StudyDate="20240315-20240316", StudyTime="2100-0600")


def test_dates_are_meant_in_the_zone_of_the_query(who: Any) -> None:
    make_study(study_date="20240315", study_time="233000", timezone_offset_from_utc="+0700")
    tokyo = timezone(timedelta(hours=9))
    assert found(who, zone=tokyo, StudyDate="20240316")
    assert not found(who, zone=tokyo, StudyDate="20240315")
    assert found(who, zone=tokyo, StudyTime="0130")
    assert found(who, StudyDate="20240315", StudyTime="2330")


def test_uids_match_as_lists(who: Any) -> None:
    one, two = make_study(), make_study()
    make_study()
    uids = {one.study_instance_uid, two.study_instance_uid}
    assert set(found(who, StudyInstanceUID="\\".join(uids))) == uids


def test_modalities_and_sop_classes_in_study(who: Any) -> None:
    study = make_study()
    make_series(study, modality="CT")
    make_instance(make_series(study, modality="SR"), sop_class_uid="1.2.840.10008.5.1.4.1.1.88.22")
    for key in ("CT", "SR", "MR\\SR", "C*", "S?"):
        assert matches(who, ModalitiesInStudy=key), key
        assert matches(who, Modality=key), key
    for key in ("MR", "M*", "ct"):
        assert not matches(who, ModalitiesInStudy=key), key
        assert not matches(who, Modality=key), key
    assert matches(who, SOPClassesInStudy="1.2.840.10008.5.1.4.1.1.88.22")
    assert not matches(who, SOPClassesInStudy="1.2.840.10008.5.1.4.1.1.88.33")


def test_numbers_match_by_value(who: Any) -> None:
    series = make_series(series_number=7)
    assert found(who, Level.SERIES, "0020000E", SeriesNumber=" +07 ") == [series.series_instance_uid]
    assert not found(who, Level.SERIES, SeriesNumber="8")
    assert not found(who, Level.SERIES, SeriesNumber="99999999999999")


def test_all_keys_of_an_item_match_within_one_item(who: Any) -> None:
    series = make_series(
        request_attributes=[
            {"scheduled_procedure_step_id": "SPS1", "requested_procedure_id": "RP1"},
            {"scheduled_procedure_step_id": "SPS2", "requested_procedure_id": "RP2"},
        ]
    )

    def item(step: str, procedure: str, level: Level = Level.SERIES) -> list[str]:
        keys = {"ScheduledProcedureStepID": step, "RequestedProcedureID": procedure}
        return found(who, level, RequestAttributesSequence=keys)

    assert item("SPS1", "RP1") == item("SPS2", "") == item("", "RP*") == [series.study_ref.study_instance_uid]
    assert item("SPS1", "RP2") == []
    assert item("SPS1", "RP1", Level.STUDY) and not item("SPS1", "RP2", Level.STUDY)


def test_other_patient_ids_match(who: Any) -> None:
    make_study(make_patient(identifiers=[("NIK", "3174012345678901")]))
    make_study()
    (answer,) = search(who=who, level=Level.STUDY, keys={"OtherPatientIDs": "31740*"}, returned=["OtherPatientIDs"])
    assert answer == {"00101000": {"vr": "LO", "Value": ["3174012345678901"]}}
    keys = {"OtherPatientIDsSequence": {"PatientID": "3174012345678901"}}
    assert len(list(search(who=who, level=Level.STUDY, keys=keys))) == 1


def test_attributes_without_a_column_match_as_received(who: Any) -> None:
    make_study(
        attributes={
            "00101010": {"vr": "AS", "Value": ["053Y"]},
            "00081060": {"vr": "PN", "Value": [{"Alphabetic": "RADI^OLOG"}]},
            "00321060": {"vr": "LO", "Value": ["Thorax AP"]},
        }
    )
    assert matches(who, PatientAge="053Y") and not matches(who, PatientAge="054Y")
    assert matches(who, NameOfPhysiciansReadingStudy="radi^*") and not matches(who, NameOfPhysiciansReadingStudy="x*")
    assert matches(who, RequestedProcedureDescription="Thorax*")
    assert matches(who, RequestedProcedureDescription="Thorax AP")
    assert not matches(who, RequestedProcedureDescription="Thorax PA")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "2024"),
        ("StudyDate", "20241301"),
        ("StudyDate", "20240102-20240101"),
        ("StudyDate", "2024-03-15"),
        ("StudyTime", "25"),
        ("StudyTime", "1-2"),
        ("StudyInstanceUID", "abc"),
        ("StudyInstanceUID", "1.2.*"),
        ("StudyInstanceUID", "1" * 65),
        ("NumberOfStudyRelatedSeries", "many"),
    ],
)
def test_malformed_values_are_refused_by_name(who: Any, keyword: str, value: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Search(who=who, level=Level.STUDY, keys={keyword: value})
    assert refused.value.field == keyword


def test_a_stored_empty_required_key_matches_where_asked(who: Any) -> None:
    empty = make_study(make_patient("", ""), study_date="", accession_number="", study_id="")
    full = make_study(make_patient("1", "DOE^JOHN"), study_date="20200101", accession_number="A", study_id="S")
    keys = {"StudyDate": "20240315", "AccessionNumber": "B", "StudyID": "T", "PatientName": "ROE*", "PatientID": "2"}
    for keyword, value in keys.items():
        assert found(who, **{keyword: value}) == [], keyword
        assert found(who, empty_matches=REQUIRED, **{keyword: value}) == [empty.study_instance_uid], keyword
    both = found(who, empty_matches=REQUIRED, StudyDate="20200101-", PatientName="DOE*")
    assert set(both) == {empty.study_instance_uid, full.study_instance_uid}
    assert found(who, empty_matches=REQUIRED, PatientName="山田*") == [empty.study_instance_uid]


def test_keys_of_lower_levels_match_what_has_such_below(who: Any) -> None:
    study = make_study()
    make_series(study, modality="CT", series_description="Lung")
    series = make_series(study, modality="SR", series_description="Report", instances=1)
    make_study()
    assert found(who, SeriesInstanceUID=series.series_instance_uid) == [study.study_instance_uid]
    assert found(who, Modality="SR", SeriesDescription="Report") == [study.study_instance_uid]
    assert found(who, Modality="CT", SeriesDescription="Report") == []
    instance = series.instances.get()
    assert found(who, SOPInstanceUID=instance.sop_instance_uid) == [study.study_instance_uid]
    assert found(who, Level.PATIENT, "00100020", SOPInstanceUID=instance.sop_instance_uid) == [
        study.patient_ref.patient_id
    ]


def test_keys_of_higher_levels_match_at_every_level(who: Any) -> None:
    study = make_study(make_patient("77", "SITI^A"), series=2, instances=2)
    make_study(series=1, instances=1)
    for level, count in ((Level.PATIENT, 1), (Level.STUDY, 1), (Level.SERIES, 2), (Level.INSTANCE, 4)):
        assert len(list(search(who=who, level=level, keys={"PatientID": "77"}))) == count
        assert len(list(search(who=who, level=level, keys={"PatientName": "siti*"}))) == count
    keys = {"StudyInstanceUID": study.study_instance_uid}
    assert len(list(search(who=who, level=Level.INSTANCE, keys=keys))) == 4


def test_identifiers_are_strings(who: Any) -> None:
    make_study(make_patient("001234"))
    assert matches(who, PatientID="001234") and not matches(who, PatientID="1234")


def test_studies_come_newest_first_and_series_and_instances_by_number(who: Any) -> None:
    middle, newest, oldest = (make_study(study_date=date) for date in ("20220101", "20230101", "20210101"))
    uids = [study.study_instance_uid for study in (newest, middle, oldest)]
    assert found(who) == uids
    series = [make_series(newest, series_number=number, instances=0) for number in (3, None, 1, 2)]
    by_number = [series[2], series[3], series[0], series[1]]
    study = newest.study_instance_uid
    assert found(who, Level.SERIES, "0020000E", StudyInstanceUID=study) == [s.series_instance_uid for s in by_number]
    first = [make_instance(series[0], instance_number=number).sop_instance_uid for number in (10, 9, None)]
    second = make_instance(series[2], instance_number=99).sop_instance_uid
    got = found(who, Level.INSTANCE, "00080018", StudyInstanceUID=study)
    assert got == [second, first[1], first[0], first[2]]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE, Level.PATIENT])
def test_pages_join_without_gap_or_repeat(who: Any, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.services.query.FIRST_PAGE", 2)
    monkeypatch.setattr("pacs.services.query.PAGE", 3)
    for number in range(4):
        study = make_study(make_patient(patient_name=f"SAME^{number % 2}"), study_date="20240315")
        for series_number in (None, 1, 1):
            make_series(study, series_number=series_number, instances=1)
    tag = {Level.PATIENT: "00100020", Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
    for keys in ({}, {"StudyInstanceUID": study.study_instance_uid}, {"PatientName": "SAME*"}):
        whole = found(who, level, tag[level], **keys)
        assert len(whole) == len(set(whole))
        count = {Level.PATIENT: 4, Level.STUDY: 4, Level.SERIES: 12, Level.INSTANCE: 12}[level]
        assert len(whole) == (count // 4 if "StudyInstanceUID" in keys else count)
        for offset in range(len(whole) + 1):
            part = found(who, level, tag[level], limit=5, offset=offset, **keys)
            assert part == whole[offset : offset + 5]


def test_a_patient_is_found_by_current_studies_only(who: Any) -> None:
    make_patient("1")
    make_study(make_patient("2"), deleted_at=django_timezone.now())
    kept = make_study(make_patient("3"), series=2, instances=3)
    make_study(kept.patient_ref, deleted_at=django_timezone.now(), series=1)
    counts = ["NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"]
    (answer,) = search(who=who, level=Level.PATIENT, keys={}, returned=["PatientID", *counts])
    assert [answer[tag]["Value"] for tag in ("00100020", "00201200", "00201202", "00201204")] == [["3"], [1], [2], [6]]


def test_each_sees_own_site_only() -> None:
    other = make_site()
    here = make_study(make_patient("1"), series=1, instances=1)
    there = make_study(make_patient("1", site=other), series=1, instances=1)
    everyone = make_user("root", is_superuser=True)
    for who, visible in (
        (make_user("here"), [here]),
        (make_user("there", site=other), [there]),
        (make_node(site=other), [there]),
        (everyone, [here, there]),
        (make_user("gone", is_active=False), []),
    ):
        for level in Level:
            assert len(list(search(who=who, level=level, keys={}))) == len(visible)
            assert len(list(search(who=who, level=level, keys={"PatientID": "1"}))) == len(visible)
        by_uid = {"SeriesInstanceUID": here.series.get().series_instance_uid}
        assert len(found(who, **by_uid)) == (here in visible)


@pytest.mark.parametrize("level", list(Level))
def test_the_number_of_queries_does_not_grow(who: Any, level: Level, django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        make_study(make_patient(identifiers=[("NIK", "1")]), attributes={"00101010": {"vr": "AS", "Value": ["001Y"]}})
    make_study()
    for study in Study.objects.all():
        make_series(study, instances=2, request_attributes=[{"requested_procedure_id": "R"}])
    with django_assert_max_num_queries(4):
        answers = list(search(who=who, level=level, keys={}))
    assert len(answers) >= 4
    with django_assert_max_num_queries(1):
        list(search(who=who, level=level, keys={"PatientName": "W*"}, returned=["PatientName", "PatientID"]))


def test_everything_comes_back_when_nothing_is_named(who: Any) -> None:
    study = make_study(attributes={"00101010": {"vr": "AS", "Value": ["053Y"]}})
    series = make_series(study, instances=1, attributes={"00080070": {"vr": "LO", "Value": ["ACME"]}})
    (answer,) = search(who=who, level=Level.INSTANCE, keys={})
    assert answer["00101010"]["Value"] == ["053Y"] and answer["00080070"]["Value"] == ["ACME"]
    assert answer["0020000E"] == {"vr": "UI", "Value": [series.series_instance_uid]}
    assert answer["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "WIBOWO^BUDI"}]}
    assert list(answer) == sorted(answer)


def test_unknown_and_lower_keys_are_named_unsupported(who: Any) -> None:
    keys = {"PatientID": "", "Modality": "", "00091001": "x", "PatientComments": "", "RetrieveAETitle": "X"}
    assert Search(who=who, level=Level.STUDY, keys=keys).unsupported == ["Modality", "00091001"]
    assert Search(who=who, level=Level.STUDY, keys={"NumberOfPatientRelatedStudies": "1"}).unsupported
    assert not Search(who=who, level=Level.STUDY, keys={"NumberOfPatientRelatedStudies": ""}).unsupported


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("*star*", {"LESTARI^AYU"}),
        ("*TARI^AY*", {"LESTARI^AYU"}),
        ("*ari*yu", {"LESTARI^AYU"}),
        ("*ar?*", {"LESTARI^AYU", "SARI^DEWI", "YAMADA^TARO=山田^太郎"}),
        ("*ri*", {"LESTARI^AYU", "SARI^DEWI", "STA^RINA"}),
        ("*estar*", {"LESTARI^AYU"}),
        ("*estari*a*yu", {"LESTARI^AYU"}),
        ("*estari*ayu*", {"LESTARI^AYU"}),
        ("*amada*\\*starix*", {"YAMADA^TARO=山田^太郎"}),
        ("*starix*", set()),
        ("*ri ay*", {"LESTARI^AYU"}),
        ("*star*\\*dew*", {"LESTARI^AYU", "SARI^DEWI"}),
        ("*田*太*", {"YAMADA^TARO=山田^太郎"}),
        ("*staro*", set()),
        ("*sta%*", set()),
        ("?ARI*", {"SARI^DEWI"}),
    ],
)
def test_a_part_of_a_name_is_found_wherever_it_stands(
    who: Any, key: str, names: set[str], many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs.services.conditions.FEW_PATIENTS", 0 if many else 1000)
    for number, name in enumerate(["LESTARI^AYU", "SARI^DEWI", "YAMADA^TARO=山田^太郎", "STA^RINA"]):
        make_study(make_patient(str(number), name))
    got = search(who=who, level=Level.STUDY, keys={"PatientName": key}, returned=["PatientName"])
    assert {_raw(answer["00100010"]) for answer in got} == names


def _raw(element: Any) -> str:
    groups = element["Value"][0]
    return "=".join(filter(None, (groups.get("Alphabetic", ""), groups.get("Ideographic", ""))))


@pytest.mark.parametrize(
    "raw", ["LESTARI^AYU", "NUR'AINI^SITI=山田太郎吉次^太郎", "ÉLÉONORE^𝔘𝔩𝔣𝔯𝔦𝔡𝔞 X", "ABCD^EFGH", "", "AAAAAAA"]
)
def test_the_database_cuts_a_name_into_the_same_pieces(raw: str) -> None:
    make_patient("1", raw)
    for pieces in (NameTrigrams, NameFivegrams):
        row = Patient.objects.annotate(pieces=pieces("patient_name_search")).get(patient_id="1")
        assert sorted(row.pieces) == sorted(pieces.of(row.patient_name_search))


@pytest.mark.parametrize(
    ("key", "index"),
    [("*star*", "patient_by_part_of_name"), ("*estari*", "patient_by_long_part_of_name"),
     ("*estari*ay*", "patient_by_long_part_of_name"), ("*estari*ayu*", "patient_by_part_of_name")],
)  # fmt: skip
def test_a_part_that_few_names_have_is_found_by_its_index(who: Any, key: str, index: str) -> None:
    make_study(make_patient("1", "LESTARI^AYU"))
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
        assert matches(who, PatientName=key)
        patients = next(each["sql"] for each in asked.captured_queries if "@>" in each["sql"])
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {patients}")
        assert index in str(cursor.fetchall())
