"""Answers say the same as objects, as text of JSON and as XML, whatever is in a row."""

import itertools
import json
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from pacs.models import Study
from pacs.services.answer_text import element, element_text, value_writer
from pacs.services.answers import answers_for
from pacs.services.attributes import BY_KEYWORD, Level
from pacs.services.patient_counts import Counts, patient_counts
from pacs.services.query import Search
from pacs.services.stored_values import Columns
from radiology.guest import Guest
from radiology.models import Site
from tests.factories import make_patient, make_site, make_study, make_token, make_user
from tests.pacs.rich_rows import AWKWARD, make_rich_rows

LETTERS = 'ab^=\\ "\t\u2028é山😀'
MIXED = [*BY_KEYWORD, "00091001", "0008103F"]
RETURNED: list[list[str] | None] = [
    None,
    [],
    ["StudyDate", "00091001"],
    ["OtherPatientIDs", "OtherPatientIDsSequence", "PatientComments", "RetrieveURL"],
    MIXED,
]


@pytest.mark.django_db
@pytest.mark.parametrize("level", list(Level))
def test_the_text_of_an_answer_is_that_of_the_object(level: Level) -> None:
    make_rich_rows()
    search = Search(who=make_token()[0], level=level, keys={})
    for returned in RETURNED:
        how: Any = {"returned": returned, "base_url": "http://sinar/dicom-web"}
        objects = list(search.answers(**how))
        assert len(objects) == {"PATIENT": 4, "STUDY": 5, "SERIES": 11, "IMAGE": 11}[level]
        for answer, text in zip(objects, search.answers_as_text(**how), strict=True):
            assert text == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
            assert list(answer) == sorted(answer)


@pytest.mark.django_db
def test_an_answer_tells_what_is_corrected_received_and_known() -> None:
    make_rich_rows()
    search = Search(who=make_token()[0], level=Level.STUDY, keys={"IssuerOfPatientID": "RSUD"})
    plain, corrected = (json.loads(text) for text in search.answers_as_text(returned=None))
    if "00081080" in plain and "Value" in plain["00081080"]:
        plain, corrected = corrected, plain
    assert corrected["00081080"]["Value"] == ["corrected"] and "00101010" not in corrected
    assert plain["00101010"]["Value"] == ["053Y"] and "00102180" not in plain
    assert plain["00081030"]["Value"] == ['Say "AAA", {x}: [y] / ', *AWKWARD.split("\\")[1:]]
    assert plain["00200010"]["Value"] == ["1", "2", ""]
    assert plain["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Phonetic": "やまだ^たろう"}]
    assert set(plain["00101000"]["Value"]) == {"3201", "OLD-1", "KEPT"}
    assert len(plain["00101002"]["Value"]) == 2 and plain["00091001"]["Value"] == ["private"]


@pytest.mark.django_db
def test_models_are_answered_as_the_tuples_of_their_columns() -> None:
    make_rich_rows()
    who = make_token()[0]
    for level in Level:
        search, answers = Search(who=who, level=level, keys={}), answers_for(who, level, MIXED)
        by_models = list(answers.page(answers.columns.of_models(search.rows())))
        assert by_models == list(search.answers(returned=MIXED)) and by_models


@pytest.mark.django_db
@pytest.mark.parametrize("returned", RETURNED)
def test_the_studies_of_a_number_are_told_by_the_statement_that_is_written_once(
    returned: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rich_rows()
    callers = [make_token()[0], make_user("chief", is_superuser=True)]
    asked = list(itertools.product(callers, ["R-1", "R-9", "R-3", "R-2\\R-3", "none"]))

    def told() -> list[list[str]]:
        return [
            list(Search(who=who, level=Level.STUDY, keys={"PatientID": number}).answers_as_text(returned=returned))
            for who, number in asked
        ]

    written = told()
    monkeypatch.setattr(Search, "_only_numbers", [])
    assert written == told() and sum(map(len, written)) == 8


@pytest.mark.django_db
def test_of_a_patient_is_counted_what_one_may_see() -> None:
    patient = make_patient()
    shown, _ = make_study(patient, series=2, instances=3), make_study(patient, series=1, instances=1)
    make_study(patient, series=1, deleted_at=timezone.now())
    elsewhere = make_site()
    callers: dict[Any, tuple[int, int, int]] = {
        make_token()[0]: (2, 3, 7),
        make_user("chief", is_superuser=True): (2, 3, 7),
        make_token("there", site=elsewhere)[0]: (0, 0, 0),
        make_token("orders", scopes=["orders.write"])[0]: (0, 0, 0),
        Guest("link", frozenset({shown.pk}), frozenset(), patient.site_id): (1, 2, 6),
        Guest("link", frozenset(), frozenset({patient.pk}), patient.site_id): (2, 3, 7),
    }
    for who, expected in callers.items():
        assert patient_counts(who, [patient.pk]).get(patient.pk, Counts()) == expected, who
        keys = {"StudyInstanceUID": shown.study_instance_uid}
        for answer in Search(who=who, level=Level.STUDY, keys=keys).answers(returned=None):
            counted = tuple(answer[tag]["Value"][0] for tag in ("00201200", "00201202", "00201204"))
            assert counted == expected, who


@pytest.mark.django_db
def test_only_what_answers_tell_of_is_read(django_assert_num_queries: Any) -> None:
    make_rich_rows()
    search = Search(who=make_token()[0], level=Level.STUDY, keys={"PatientID": "R-*"})
    with django_assert_num_queries(1) as asked:
        list(search.answers_as_text(returned=["StudyDate", "PatientName"]))
    (query,) = asked.captured_queries
    columns = query["sql"].partition(" FROM ")[0]
    assert '"study_date"' in columns and '"patient_name"' in columns
    assert '"attributes"' not in columns and '"overlay"' not in columns and '"study_description"' not in columns


@pytest.mark.django_db
def test_columns_are_read_once_each_in_the_order_in_which_they_were_asked_for() -> None:
    columns = Columns()
    assert [columns(name) for name in ("pk", "site__code", "pk")] == [0, 1, 0]
    make_rich_rows()
    row = columns.of(Study.objects.all(), tested=["study_id"])[0]
    value = columns.value_of(row)
    study = Study.objects.get(pk=value("pk"))
    assert (value("site__code"), value("study_id")) == (Site.objects.get().code, study.study_id)


@given(
    st.sampled_from(["LO", "PN", "UT", "UR", "IS", "CS", "UI"]),
    st.one_of(
        st.none(), st.text(LETTERS, max_size=9), st.integers(), st.lists(st.text(LETTERS, max_size=9), max_size=3)
    ),
)
def test_any_value_is_written_as_its_element_is(vr: str, value: Any) -> None:
    found = element(vr, value)
    expected = json.dumps({"00100010": found}, ensure_ascii=False, separators=(",", ":"))
    assert f"{{{value_writer('00100010', vr)(value)}}}" == expected == f"{{{element_text('00100010', found)}}}"
