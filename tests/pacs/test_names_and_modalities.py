"""Studies by a name that very many have and a modality: found the same, and without reading the archive to its end."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pacs.models import PatientModality, Study
from pacs.services import search
from pacs.services.attributes import Level
from pacs.services.query import Search
from pacs.services.search import Criteria, Order
from radiology.models import Patient, User
from tests.factories import make_patient, make_series, make_study, make_token, make_user

pytestmark = pytest.mark.django_db

NAMES = ("SITI^AMINAH", "SITI^BAYU", "BUDI^SITI", "BUDI^AYU", "")
MODALITIES: tuple[list[str], ...] = (["CR"], ["CT", "SR"], ["MR"], ["CT"], ["CR"], [])
NEWEST = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def user() -> User:
    return make_user(language="en")


def hospital(count: int, names: Sequence[str] = NAMES) -> list[Study]:
    """So many studies, newest first; two of each patient, of all names and modalities."""
    patients = [make_patient(str(number), names[number % len(names)]) for number in range((count + 1) // 2)]
    return [examined(patients[number // 2], MODALITIES[number % len(MODALITIES)], number) for number in range(count)]


def examined(patient: Patient, modalities: list[str], number: int) -> Study:
    """A study so many hours before the newest."""
    study = make_study(patient, modalities_in_study=modalities, sort_at=NEWEST - timedelta(hours=number))
    for modality in modalities:
        make_series(study, modality=modality)
    return study


@pytest.fixture(params=[(1000, 10_000, 20_000), (2, 10_000, 20_000), (2, 5, 20_000), (2, 5, 3)])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few patients and many of them, found soon and late, listed and too many for that."""
    few, near, listed = request.param
    monkeypatch.setattr("pacs.services.first_patients.FEW_PATIENTS", few)
    monkeypatch.setattr("pacs.services.search.FEW_SERIES", 0)
    monkeypatch.setattr("pacs.services.conditions.FEW_PATIENTS", few)
    monkeypatch.setattr("pacs.services.nearest.NEAR", near)
    monkeypatch.setattr("pacs.services.first_patients.MOST_LISTED", listed)
    monkeypatch.setattr("pacs.services.conditions.MOST_LISTED", listed)


def having(studies: Sequence[Study], name: str, modality: str) -> list[int]:
    return [
        each.pk
        for each in studies
        if name in each.patient_ref.patient_name and modality in [*each.modalities_in_study, ""]
    ]


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("order", [Order.DATE, Order.ARRIVAL])
@pytest.mark.parametrize(("text", "name", "modality"), [("siti ct", "SITI", "CT"), ("siti", "SITI", ""),
    ("bud mr", "BUDI", "MR"), ("siti xa", "SITI", "XA")])  # fmt: skip
def test_the_list_has_them_on_its_pages(user: User, order: Order, text: str, name: str, modality: str) -> None:
    studies = hospital(60)
    seen: list[int] = []
    cursor, page = None, None
    while page is None or cursor:
        page = search.search_studies(who=user, criteria=Criteria(text=text, order=order), cursor=cursor, size=4)
        seen += [study.pk for study in page.studies]
        cursor = page.older
    wanted = having(studies, name, modality)
    assert seen == (wanted if order == Order.DATE else wanted[::-1])
    if len(wanted) > 8:
        back = search.search_studies(who=user, criteria=Criteria(text=text), cursor=_second(user, text), size=4)
        assert [study.pk for study in back.studies] == wanted[:4]


def _second(user: User, text: str) -> Any:
    """The place that leads from the second page to the first."""
    older = search.search_studies(who=user, criteria=Criteria(text=text), size=4).older
    return search.search_studies(who=user, criteria=Criteria(text=text), cursor=older, size=4).newer


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("modality", ["ModalitiesInStudy", "Modality"])
@pytest.mark.parametrize("empty", [(), ("PatientName", "PatientID")])
@pytest.mark.parametrize(("key", "fuzzy", "first"), [("*SITI*", False, ""), ("SITI^*", False, "SITI"),
    ("siti", True, ""), ("SITI^AMINAH\\SITI^BAYU", False, "SITI"), ("*ITI*AM*", False, "SITI^AM")])  # fmt: skip
@pytest.mark.parametrize("value", ["CT", "CR\\MR"])
def test_one_who_asks_finds_them(
    modality: str, empty: tuple[str, ...], key: str, fuzzy: bool, first: str, value: str
) -> None:
    studies = hospital(40)
    found = Search(
        who=make_token()[0],
        level=Level.STUDY,
        keys={"PatientName": key, modality: value},
        fuzzy=fuzzy,
        empty_matches=empty,
    )
    wanted = [
        each.pk
        for each in studies
        if {*each.modalities_in_study} & {*value.split("\\")}
        and (_is_named(each.patient_ref.patient_name, first) or (empty and not each.patient_ref.patient_name))
    ]
    assert [row.pk for row in found.rows()] == wanted
    assert [row.pk for row in found.rows(limit=3)] == wanted[:3]
    assert [row.pk for row in found.rows(limit=3, offset=2)] == wanted[2:5]
    page = found.page(size=3)
    assert [row.pk for row in page.rows] == wanted[:3]
    assert [row.pk for row in found.page(size=3, place=page.next).rows] == (wanted[3:6] if page.next else wanted[:3])
    assert found.count(most=100) == len(wanted)


def _is_named(name: str, first: str) -> bool:
    return "SITI" in name and name.startswith(first)


def known(patient: Patient) -> set[str]:
    return set(PatientModality.objects.filter(patient_ref=patient).values_list("modality", flat=True))


def test_the_database_knows_what_a_patient_was_examined_with() -> None:
    study = make_study(make_patient("1"), modalities_in_study=["CT"])
    make_study(study.patient_ref, modalities_in_study=["CT"])
    assert known(study.patient_ref) == {"CT"} and PatientModality.objects.count() == 1
    Study.objects.filter(pk=study.pk).update(modalities_in_study=["CT", "MR"])
    assert known(study.patient_ref) == {"CT", "MR"}
    other = make_patient("2")
    Study.objects.filter(pk=study.pk).update(patient_ref=other)
    assert known(other) == {"CT", "MR"}


def read(plan: dict[str, Any], table: str) -> int:
    """The rows of a table that a plan read, thrown away ones too."""
    own = 0
    if plan.get("Relation Name") == table:
        own = int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    return own + sum(read(each, table) for each in plan.get("Plans", []))


def most_read(queries: CaptureQueriesContext, table: str) -> int:
    most = 0
    for query in queries.captured_queries:
        if query["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query['sql']}")
                most = max(most, read(cursor.fetchone()[0][0]["Plan"], table))
    return most


def test_nothing_reads_the_archive_to_its_end(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the patients have the name, and none of them the modality that half of the studies have."""
    monkeypatch.setattr("pacs.services.first_patients.FEW_PATIENTS", 20)
    monkeypatch.setattr("pacs.services.search.FEW_SERIES", 0)
    monkeypatch.setattr("pacs.services.conditions.FEW_PATIENTS", 20)
    monkeypatch.setattr("pacs.services.nearest.NEAR", 30)
    for number in range(800):
        named = number % 2 == 0
        patient = make_patient(str(number), "SITI^AMINAH" if named else "BUDI^AYU")
        modalities = ["CR"] if named else ["CT"]
        examined(patient, modalities, number)
    rare = examined(make_patient("rare", "WULANDARI^RATNA"), ["CR"], 900)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
    token = make_token()[0]
    asked = {
        "list": lambda: search.search_studies(who=user, criteria=Criteria(text="siti ct")).studies,
        "part": lambda: list(_of(token, "*SITI*", "CT").rows(limit=20)),
        "fuzzy": lambda: list(_of(token, "siti", "CT", fuzzy=True).rows(limit=20)),
        "beginning": lambda: list(_of(token, "SITI*", "CT", empty_matches=("PatientName",)).rows(limit=20)),
    }
    for name, ask in asked.items():
        with CaptureQueriesContext(connection) as queries:
            assert ask() == []
        assert most_read(queries, "pacs_study") <= 60, name
    with CaptureQueriesContext(connection) as queries:
        found = _of(token, "*ANDARI*", "", empty_matches=("PatientName", "PatientID")).rows()
        assert [row.pk for row in found] == [rare.pk]
    assert most_read(queries, "pacs_study") <= 5
    assert most_read(queries, "radiology_patient") <= 5


def _of(who: Any, name: str, modality: str, **options: Any) -> Search:
    keys = {"PatientName": name, "ModalitiesInStudy": modality}
    return Search(who=who, level=Level.STUDY, keys=keys, **options)


def statements(ask: Any) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        ask()
    return [query["sql"] for query in queries.captured_queries]


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_the_next_studies_are_entered_by_their_order_alone(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """However common the modality: its own index would bring all studies that ever had it."""
    monkeypatch.setattr("pacs.services.first_patients.FEW_PATIENTS", 20)
    monkeypatch.setattr("pacs.services.search.FEW_SERIES", 0)
    monkeypatch.setattr("pacs.services.nearest.NEAR", 100)
    for number in range(300):
        examined(make_patient(str(number), "SITI^AMINAH" if number % 3 else "BUDI^AYU"), ["CT"], number)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
    asked = statements(lambda: search.search_studies(who=user, criteria=Criteria(text="siti ct"), size=10))
    window = next(sql for sql in asked if "LIMIT 100)" in sql)
    assert "study_newest" in plan_of(window)
    assert "study_by_modalities" not in plan_of(window)
    assert most_read_of(window, "pacs_study") <= 100
    assert asked[-1] == window


def most_read_of(sql: str, table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        return read(cursor.fetchone()[0][0]["Plan"], table)


@pytest.mark.parametrize(("usual", "looked_at"), [(True, (10, 60)), (False, (200, 300))])
def test_a_look_at_some_of_them_tells_of_a_usual_modality(
    user: User, monkeypatch: pytest.MonkeyPatch, usual: bool, looked_at: tuple[int, int]
) -> None:
    """Then not all of them are looked at; of an unusual one, which few of them may have, they are."""
    monkeypatch.setattr("pacs.services.first_patients.FEW_PATIENTS", 20)
    monkeypatch.setattr("pacs.services.first_patients.USUAL", 5)
    studies = [
        examined(make_patient(str(number), "SITI^AMINAH"), ["CT"] if usual or number > 195 else ["CR"], number)
        for number in range(200)
    ]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
    asked = statements(lambda: search.search_studies(who=user, criteria=Criteria(text="siti ct"), size=10))
    at_names = next(sql for sql in asked if "is_usual" in sql)
    assert looked_at[0] <= most_read_of(at_names, "radiology_patientnameword") <= looked_at[1]
    found = search.search_studies(who=user, criteria=Criteria(text="siti ct"), size=250).studies
    assert [each.pk for each in found] == having(studies, "SITI", "CT")


def test_the_order_of_names_is_kept_for_few_of_many(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of those with the name are looked at for any other order, and many of these were examined so."""
    monkeypatch.setattr("pacs.services.first_patients.FEW_PATIENTS", 20)
    monkeypatch.setattr("pacs.services.first_patients.USUAL", 5)
    for number in range(60):
        examined(make_patient(str(number), f"SITI^{59 - number:02}"), ["CT"] if number < 10 else ["CR"], number)
    page = search.search_studies(who=user, criteria=Criteria(text="siti ct", order=Order.NAME))
    names = [study.patient_ref.patient_name for study in page.studies]
    assert page.order == Order.NAME
    assert len(names) == 10 and names == sorted(names)


def test_a_part_with_which_many_words_begin_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = hospital(40)
    monkeypatch.setattr("pacs.services.conditions.FEW_PATIENTS", 5)
    found: list[int] = []
    token = make_token()[0]
    asked = statements(lambda: found.extend(row.pk for row in _of(token, "*SITI*", "").rows()))
    assert found == having(studies, "SITI", "")
    assert not any("@>" in sql for sql in asked)
    rare = examined(make_patient("rare", "WULANDARI^RATNA"), ["CR"], 900)
    asked = statements(lambda: found.extend(row.pk for row in _of(token, "*LANDAR*", "").rows()))
    assert found[-1] == rare.pk
    assert any("@>" in sql for sql in asked)
