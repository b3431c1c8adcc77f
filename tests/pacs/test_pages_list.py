"""The list of studies as each person wants it: order, columns, how the box was understood, filters with a name."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pacs.models import Study
from pacs.services import search
from pacs.services.search import Criteria, Order
from pacs.study_list import COLUMNS
from radiology.models import SavedFilter, User
from tests.factories import make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return make_user(language="en")


@pytest.fixture
def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def listed(response: Any) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="/studies/([0-9.]+)"', text(response))))


def chips(response: Any) -> list[tuple[str, str, str]]:
    """Kind, value and the address without it."""
    return [(chip.kind, chip.value, chip.without) for chip in response.context["chips"]]


def columns(response: Any) -> list[str]:
    return re.findall(r'<th scope="col" class="col-(\w+)"', text(response))


def all_pages(user: User, criteria: Criteria, size: int) -> list[int]:
    seen: list[int] = []
    cursor = None
    while True:
        page = search.search_studies(who=user, criteria=criteria, cursor=cursor, size=size)
        seen += [study.pk for study in page.studies]
        if page.older is None:
            return seen
        cursor = search.Cursor.parse(str(page.older))


def test_the_box_says_how_it_was_understood_and_each_term_can_be_removed(signed_in: Client) -> None:
    response = signed_in.get("/worklist", {"q": 'siti ct "jumat" 1-5 nov 2026 0077', "modality": "CT"})
    assert [(kind, value) for kind, value, _ in chips(response)] == [
        ("Name or description", "siti"),
        ("Modality", "CT"),
        ("Name or description", "jumat"),
        ("Days", "1 Nov 2026 – 5 Nov 2026"),
        ("Number", "0077"),
    ]
    without = chips(response)[3][2]
    assert without in unescape(text(response))
    after = signed_in.get(without)
    assert [kind for kind, _, _ in chips(after)] == ["Name", "Modality", "Name", "Number"]
    assert after.context["criteria"].modality == "CT"


def test_words_of_descriptions_are_offered_within_a_month(signed_in: Client) -> None:
    day = timezone.localdate().strftime("%Y%m%d")
    study = make_study(study_description="MRI Brain", study_date=day, study_time="0001")
    response = signed_in.get("/worklist", {"q": "brain"})
    assert listed(response) == []
    (note,) = response.context["notes"]
    assert "31 days" in note["text"]
    assert listed(signed_in.get(note["address"])) == [study.study_instance_uid]


def test_descriptions_of_one_patient_need_no_days(signed_in: Client) -> None:
    patient = make_patient("1")
    wanted = make_study(patient, study_description="CT Kepala", study_date="20100101")
    make_study(patient, study_description="CT Thorax", study_date="20100101")
    response = signed_in.get("/worklist", {"q": "kepala", "patient": str(patient.public_id)})
    assert listed(response) == [wanted.study_instance_uid]


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(
    ("order", "expected"),
    [(Order.DATE, [2, 0, 3, 1]), (Order.ARRIVAL, [1, 3, 0, 2]), (Order.NAME, [0, 1, 2, 3])],
)
def test_each_order_pages_without_gap_or_repetition(
    user: User, order: Order, expected: Sequence[int], everywhere: bool
) -> None:
    start = datetime(2026, 1, 10, tzinfo=UTC)
    anna, budi = make_patient("1", "ANNA"), make_patient("2", "BUDI")
    if everywhere:
        user.is_superuser = True
        budi.site = make_site()
        budi.save()
    made = [  # patient, days since `start` of the study and of its arrival
        (anna, 3, 2), (anna, 1, 4), (budi, 4, 1), (budi, 2, 3),
    ]  # fmt: skip
    rows = [
        make_study(patient, sort_at=start + timedelta(days=day), created_at=start + timedelta(days=arrival))
        for patient, day, arrival in made
    ]
    Study.objects.filter(pk__in=[row.pk for row in rows], patient_ref=budi).update(site=budi.site)
    wanted = [rows[number].pk for number in expected]
    for size in (1, 2, 3, 10):
        assert all_pages(user, Criteria(order=order), size) == wanted
    second = search.search_studies(
        who=user, criteria=Criteria(order=order), size=2,
        cursor=search.search_studies(who=user, criteria=Criteria(order=order), size=2).older,
    )  # fmt: skip
    back = search.search_studies(who=user, criteria=Criteria(order=order), cursor=second.newer, size=2)
    assert [study.pk for study in back.studies] == wanted[:2]


def test_a_place_in_the_order_of_names_tells_no_name_in_the_address(signed_in: Client, user: User) -> None:
    for number in range(3):
        make_study(make_patient(str(number), f"RAHASIA{number}^SITI"))
    page = search.search_studies(who=user, criteria=Criteria(order=Order.NAME), size=1)
    assert re.fullmatch(r"n-\d+", str(page.older))
    assert len(listed(signed_in.get(f"/worklist?order=name&older={page.older}"))) == 2


@pytest.mark.parametrize("cursor", ["n-1", "n-99999999999", "5-5", "n-x", ""])
@pytest.mark.parametrize("order", ["date", "name", "arrival", "nonsense"])
def test_a_place_of_another_order_or_none_is_the_first_page(signed_in: Client, cursor: str, order: str) -> None:
    study = make_study()
    response = signed_in.get("/worklist", {"order": order, "newer": cursor})
    assert listed(response) == [study.study_instance_uid]


def test_an_order_that_no_index_serves_is_told(signed_in: Client) -> None:
    response = signed_in.get("/worklist", {"q": "2020-01-01 - 2021-12-31", "order": "name"})
    assert any("Sorted by date" in note["text"] for note in response.context["notes"])
    assert 'aria-sort="descending"' in text(signed_in.get("/worklist")) or not listed(response)


def test_lists_are_read_along_an_index(user: User) -> None:
    """No order sorts the archive: with sorting made expensive, the plan has no full sort."""
    patient = make_patient()
    for _number in range(3):
        make_study(patient)
    for order in Order:
        with CaptureQueriesContext(connection) as queries:
            search.search_studies(who=user, criteria=Criteria(order=order))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute("SET LOCAL enable_hashjoin = off")
            cursor.execute("SET LOCAL enable_mergejoin = off")
            cursor.execute(f"EXPLAIN {queries[-1]['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert not re.search(r"(^|-> ) *Sort  ", plan, re.MULTILINE), plan


def test_columns_are_kept_for_the_person_and_can_be_reset(signed_in: Client, user: User) -> None:
    make_study(series=1, referring_physician_name="SARI^DEWI^^DR")
    usual = columns(signed_in.get("/worklist"))
    assert usual == ["patient", "person", "mrn", "date", "modality", "study", "accession", "images"]
    chosen = {"columns": ["picture", "referrer", "nonsense"], "next": "/worklist?modality=CT"}
    assert signed_in.post("/worklist/columns", chosen)["Location"] == "/worklist?modality=CT"
    page = signed_in.get("/worklist")
    assert columns(page) == ["picture", "patient", "study", "referrer"]
    assert "DR DEWI SARI" in text(page)
    assert text(page).count("/thumbnail") == 1
    other = Client()
    other.force_login(make_user("other"))
    assert columns(other.get("/worklist")) == usual
    signed_in.post("/worklist/columns", {"reset": "1", "columns": ["picture"]})
    assert columns(signed_in.get("/worklist")) == usual


def test_all_columns_cost_no_query_more(signed_in: Client) -> None:
    for _number in range(5):
        make_study(series=1)
    counts = []
    for chosen in ([], [column.name for column in COLUMNS]):
        signed_in.post("/worklist/columns", {"columns": chosen})
        signed_in.get("/worklist")
        with CaptureQueriesContext(connection) as queries:
            signed_in.get("/worklist")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_choosing_columns_makes_the_open_list_draw_itself_anew(signed_in: Client) -> None:
    make_study()
    part = {"HX-Request": "true", "HX-Trigger": "studies"}
    tag = unescape(re.findall(r'data-live="([^"]+)"', text(signed_in.get("/worklist", headers=part)))[0])
    unchanged = {**part, "If-None-Match": tag}
    assert signed_in.get("/worklist", headers=unchanged).status_code == 304
    answer = signed_in.post("/worklist/columns", {"columns": ["size"]}, headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Trigger"]) == (204, '{"studies-changed": {}}')
    assert signed_in.get("/worklist", headers=unchanged).status_code == 200


def test_a_search_gets_a_name_and_the_list_opens_with_it(signed_in: Client, user: User) -> None:
    saved = {"name": "My CTs", "query": "?q=ct&modality=&older=5-5&evil=1", "is_default": "on"}
    assert signed_in.post("/worklist/filters", saved)["Location"] == "/worklist?q=ct"
    assert signed_in.get("/worklist")["Location"] == "/worklist?q=ct"
    page = signed_in.get("/worklist?q=")
    assert page.status_code == 200
    assert 'href="/worklist?q=ct"' in text(page)
    signed_in.post("/worklist/filters", {"name": "MRs", "query": "modality=MR", "is_default": "on"})
    assert signed_in.get("/worklist")["Location"] == "/worklist?modality=MR"
    signed_in.post("/worklist/filters", {"name": "MRs", "query": "q=mr+today", "is_default": "on"})
    assert user.saved_filters.count() == 2
    mine = user.saved_filters.get(name="MRs")
    signed_in.post(f"/worklist/filters/{mine.pk}", {"no-default": "1"})
    assert signed_in.get("/worklist").status_code == 200
    signed_in.post(f"/worklist/filters/{mine.pk}", {"delete": "1"})
    assert [saved.name for saved in user.saved_filters.all()] == ["My CTs"]


@pytest.mark.parametrize(
    "sent",
    [{}, {"name": "x"}, {"name": "", "query": "q=ct"}, {"name": "x", "query": "?"}, {"name": "x" * 61, "query": "q=1"},
     {"name": "x", "query": "&".join(["q=1"] * 100)}, {"name": "x", "query": "q=" + "y" * 2000}],
)  # fmt: skip
def test_a_filter_that_cannot_be_saved_says_why(signed_in: Client, user: User, sent: dict[str, str]) -> None:
    response = signed_in.post("/worklist/filters", {**sent, "next": "/worklist?q=ct"}, follow=True)
    assert response.redirect_chain[-1][0] == "/worklist?q=ct"
    assert "data-notice" in text(response)
    assert not user.saved_filters.exists()


def test_nobody_changes_the_filters_of_others(signed_in: Client) -> None:
    theirs = SavedFilter.objects.create(user=make_user("other"), name="Theirs", query="q=x")
    signed_in.post(f"/worklist/filters/{theirs.pk}", {"delete": "1"})
    signed_in.post(f"/worklist/filters/{theirs.pk}", {"default": "1"})
    theirs.refresh_from_db()
    assert not theirs.is_default
    assert "Theirs" not in text(signed_in.get("/worklist"))


def test_settings_lead_to_no_other_host(signed_in: Client) -> None:
    response = signed_in.post("/worklist/columns", {"columns": [], "next": "//evil.example/"})
    assert response["Location"] == "/worklist"
