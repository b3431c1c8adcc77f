"""`GET /api/v1/studies`: what hospital systems were promised, and what it does with everything else."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs.models import Study
from radiology.models import AuditEvent, User
from tests.factories import make_patient, make_series, make_site, make_study, make_token, make_user, uid
from tests.many_rows import fill
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def simrs() -> ApiProgram:
    return ApiProgram()


def uids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [each["studyInstanceUid"] for each in response.json()["data"]]


def test_the_answer_is_exactly_the_promised_one(simrs: ApiProgram) -> None:
    study = make_study(
        make_patient("001234", "DOE^JOHN"),
        series=1,
        study_date="20240125",
        accession_number="ACC12345",
        study_description="CT HEAD NON CONTRAST",
    )
    make_study(make_patient("1234", "DOE^JANE"))
    response = simrs.get("studies", PatientID="001234")
    assert response["Content-Type"] == "application/json"
    assert list(response.json()) == ["data", "total"]
    (entry,) = response.json()["data"]
    assert list(entry.items()) == [
        ("studyInstanceUid", study.study_instance_uid),
        ("accessionNumber", "ACC12345"),
        ("patientId", "001234"),
        ("patientName", "DOE^JOHN"),
        ("studyDate", "20240125"),
        ("modality", "CT"),
        ("description", "CT HEAD NON CONTRAST"),
        ("viewerUrl", f"http://testserver/viewer?StudyInstanceUIDs={study.study_instance_uid}"),
    ]
    assert response.json()["total"] == 1


def test_the_viewer_address_is_that_of_the_host_that_was_asked(simrs: ApiProgram) -> None:
    make_study()
    response = simrs.get("studies", headers={"Host": "127.0.0.1:8123"})
    assert response.json()["data"][0]["viewerUrl"].startswith("http://127.0.0.1:8123/viewer?")


def test_nothing_found_is_an_empty_list(simrs: ApiProgram) -> None:
    assert simrs.get("studies", PatientID="nobody").json() == {"data": [], "total": 0}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"PatientID": "001234"}, "a"),
        ({"PatientID": "1234"}, ""),
        ({"PatientID": "00*"}, "ab"),
        ({"AccessionNumber": "ACC-B"}, "b"),
        ({"PatientName": "siti"}, "a"),
        ({"PatientName": "NURHALIZA"}, "a"),
        ({"PatientName": "nur si"}, "a"),
        ({"PatientName": "Nurhaliza^Siti"}, "a"),
        ({"PatientName": "jose muller"}, "b"),
        ({"PatientName": "MÜLLER, José"}, "b"),
        ({"PatientName": "haliza"}, ""),
        ({"PatientName": "*haliza*"}, "a"),
        ({"StudyDate": "20240115"}, "b"),
        ({"StudyDate": "20240101-20240131"}, "ab"),
        ({"StudyDate": "20240115-"}, "bc"),
        ({"StudyDate": "-20240115"}, "ab"),
        ({"StudyDate": "-"}, "abc"),
        ({"modality": "MR"}, "b"),
        ({"modality": "mr, us"}, "bc"),
        ({"PatientID": "001234", "AccessionNumber": "", "StudyDate": ""}, "a"),
        ({"PatientID": "001234", "modality": "US"}, ""),
        ({"_": "1732387000000"}, "abc"),
        ({}, "abc"),
    ],
)
def test_what_is_found(simrs: ApiProgram, query: dict[str, str], found: str) -> None:
    studies = {
        "a": make_study(make_patient("001234", "NURHALIZA^SITI"), study_date="20240101", accession_number="ACC-A"),
        "b": make_study(make_patient("007", "Müller^José"), study_date="20240115", accession_number="ACC-B"),
        "c": make_study(make_patient("X", "AMIR"), study_date="20240201", accession_number="ACC-C"),
    }
    for name, modality in {"a": "CT", "b": "MR", "c": "US"}.items():
        make_series(studies[name], modality=modality)
    response = simrs.get("studies", query)
    assert set(uids(response)) == {studies[name].study_instance_uid for name in found}
    assert response.json()["total"] == len(found)


def test_studies_are_named_by_uid(simrs: ApiProgram) -> None:
    one, two, _ = (make_study().study_instance_uid for _ in range(3))
    assert set(uids(simrs.get("studies", StudyInstanceUID=f"{one},{two}"))) == {one, two}


def test_of_several_modalities_the_first_with_pictures_is_the_main_one(simrs: ApiProgram) -> None:
    study = make_study()
    for modality in ("SR", "CT", "MR"):
        make_series(study, modality=modality)
    (entry,) = simrs.get("studies").json()["data"]
    assert entry["modality"] == "CT" and entry["modalities"] == ["SR", "CT", "MR"]
    for modality in ("CT", "MR", "SR"):
        assert uids(simrs.get("studies", modality=modality)) == [study.study_instance_uid]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StudyDate", "20261399"),
        ("StudyDate", "2024-01-15"),
        ("StudyDate", "20240131-20240101"),
        ("StudyDate", "yesterday"),
        ("limit", "-1"),
        ("limit", "0"),
        ("limit", "abc"),
        ("limit", "1.5"),
        ("limit", "٣"),
        ("limit", "9" * 400),
        ("sort", "size"),
        ("modality", "CT'--"),
        ("modality", "*"),
        ("StudyInstanceUID", "../../etc/passwd"),
        ("PatientID", "a\x00b"),
        ("PatientName", "^,"),
        ("PatientName", "x" * 2000),
        ("cursor", "made-up"),
        ("cursor", "eyJhIjoxfQ:abc"),
    ],
)
def test_a_malformed_value_is_refused_by_name(simrs: ApiProgram, name: str, value: str) -> None:
    make_study()
    problem(simrs.get("studies", {name: value}), 400, name)


@pytest.mark.parametrize(
    ("name", "meant"), [("patientId", "PatientID"), ("Patientname", "PatientName"), ("nonsense", "PatientID")]
)
def test_an_unknown_parameter_is_refused_and_the_right_one_named(simrs: ApiProgram, name: str, meant: str) -> None:
    assert meant in problem(simrs.get("studies", {name: "7"}), 400, name)["detail"]


def test_a_parameter_that_is_given_twice_is_refused(simrs: ApiProgram) -> None:
    problem(simrs.get("studies?PatientID=1&PatientID=2"), 400, "PatientID")


def test_a_huge_limit_gives_a_page_of_the_most_and_says_where_to_go_on(
    simrs: ApiProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs.api.access.MOST", 2)
    patient = make_patient()
    for _ in range(3):
        make_study(patient)
    response = simrs.get("studies", limit="1000000000")
    assert len(uids(response)) == 2 and response.json()["total"] == 3 and "next" in response.json()


def test_the_default_limit_is_100(simrs: ApiProgram) -> None:
    patient = make_patient()
    for _ in range(101):
        make_study(patient)
    response = simrs.get("studies")
    assert len(uids(response)) == 100 and response.json()["total"] == 101


@pytest.mark.parametrize("who", ["token", "superuser"])
@pytest.mark.parametrize("sort", ["-date", "date", "name", "-name", "accession", "-accession", "updated", "-updated"])
def test_pages_lead_through_every_order_and_back(simrs: ApiProgram, sort: str, who: str) -> None:
    here, there = make_site("here2"), make_site("there2")
    sites = [here] if who == "token" else [here, there]
    program = ApiProgram(site=here, name="other")
    if who == "superuser":
        program.client = Client()
        program.client.force_login(User.objects.create_superuser("root", password="x"))
    expected = []
    for number, name in enumerate(["BUDI^A", "ANI^B", "ANI^C", "ÇITRA", "budi^z", ""]):
        patient = make_patient(f"P{number}", name, site=sites[number % len(sites)])
        for day in (3, 1):
            expected.append(make_study(patient, study_date=f"2024010{day + number}", series=1))
    make_study(expected[0].patient_ref, study_date="", study_time="", accession_number="")
    first = program.get("studies", sort=sort, limit="3")
    pages = [uids(first)]
    addresses = [first.json()]
    while "next" in addresses[-1]:
        assert addresses[-1]["total"] == 13
        response = program.get(addresses[-1]["next"])
        pages.append(uids(response))
        addresses.append(response.json())
    everything = [one for page in pages for one in page]
    assert len(everything) == len(set(everything)) == 13 and [len(page) for page in pages] == [3, 3, 3, 3, 1]
    assert "previous" not in addresses[0]
    back = addresses[-1]
    for page in reversed(pages[:-1]):
        response = program.get(back["previous"])
        assert uids(response) == page
        back = response.json()
    assert "previous" not in back
    by_uid = {study.study_instance_uid: study for study in Study.objects.select_related("patient_ref")}
    rows = [by_uid[one] for one in everything]
    keys: dict[str, Any] = {
        "date": lambda row: row.sort_at,
        "updated": lambda row: row.updated_at,
        "name": lambda row: row.patient_ref.patient_name_sort,
        "accession": lambda row: row.accession_number,
    }
    key = keys[sort.removeprefix("-")]
    for site in sites:  # of several sites one after the other, but for dates
        of_site = [row for row in rows if row.site_id == site.pk]
        assert [key(row) for row in of_site] == sorted(map(key, of_site), reverse=sort.startswith("-"))


def test_a_page_keeps_the_question_and_stays_right_while_studies_arrive(simrs: ApiProgram) -> None:
    patient = make_patient("7")
    old = [make_study(patient, study_date=f"2024010{day}").study_instance_uid for day in (5, 4, 3)]
    first = simrs.get("studies", PatientID="7", limit="2")
    assert uids(first) == old[:2]
    make_study(patient, study_date="20240106")
    make_study(make_patient("8"), study_date="20240101")
    assert first["Link"] == f'<{first.json()["next"]}>; rel="next"'
    second = simrs.get(first.json()["next"])
    assert uids(second) == old[2:]
    assert 'rel="prev"' in second["Link"]


def test_a_cursor_of_another_order_is_refused(simrs: ApiProgram) -> None:
    patient = make_patient()
    make_study(patient), make_study(patient)
    address = simrs.get("studies", limit="1").json()["next"]
    problem(simrs.get(address.replace("sort=-date", "sort=name")), 400, "cursor")


def test_the_total_is_counted_up_to_a_bound(simrs: ApiProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs.api.studies.COUNTED", 3)
    patient = make_patient("7", "SITI")
    for _ in range(5):
        make_study(patient)
    for query in ({}, {"PatientName": "siti"}, {"StudyDate": "20240101-20241231"}):
        body = simrs.get("studies", {**query, "limit": "2"}).json()
        assert body["total"] == 3 and body["totalIsExact"] is False
    body = simrs.get("studies", limit="5").json()
    assert body["total"] == 3 and body["totalIsExact"] is False  # said the same on every page
    monkeypatch.setattr("pacs.api.studies.COUNTED", 5)
    body = simrs.get("studies", limit="2").json()
    assert body["total"] == 5 and "totalIsExact" not in body


def test_another_sites_studies_are_not_there(simrs: ApiProgram) -> None:
    elsewhere = make_study(make_patient("007", site=make_site()))
    assert simrs.get("studies").json() == {"data": [], "total": 0}
    assert simrs.get("studies", StudyInstanceUID=elsewhere.study_instance_uid).json()["total"] == 0


def test_credentials_come_as_bearer_basic_or_session() -> None:
    make_study()
    make_user("dewi", password="rahasia-sekali-1")
    _, token = make_token()
    stranger = Client()
    refused = stranger.get("/api/v1/studies")
    problem(refused, 401)
    assert refused["WWW-Authenticate"].startswith("Bearer")
    for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": basic("dewi", "rahasia-sekali-1")},
                    {"Authorization": basic("x", token)}):  # fmt: skip
        assert stranger.get("/api/v1/studies", headers=headers).json()["total"] == 1
    problem(stranger.get("/api/v1/studies", headers={"Authorization": "Bearer nonsense"}), 401)
    signed_in = Client()
    signed_in.force_login(User.objects.get(username="dewi"))
    assert signed_in.get("/api/v1/studies").json()["total"] == 1


def basic(name: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_a_token_without_the_scope_may_not_search() -> None:
    problem(ApiProgram(scopes=["studies.write"]).get("studies"), 403)


def test_a_search_leaves_a_trace_without_what_was_asked(simrs: ApiProgram) -> None:
    make_study(make_patient("7"))
    simrs.get("studies", PatientID="7")
    event = AuditEvent.objects.get(event="api.search")
    assert event.detail == {"level": "STUDY", "answers": 1} and event.agent == "simrs"


def test_who_has_the_answer_already_is_told_so(simrs: ApiProgram) -> None:
    make_study()
    tag = simrs.get("studies")["ETag"]
    again = simrs.get("studies", headers={"If-None-Match": tag})
    assert again.status_code == 304 and not again.content
    make_study()
    assert simrs.get("studies", headers={"If-None-Match": tag}).status_code == 200


def test_head_and_options(simrs: ApiProgram) -> None:
    make_study()
    head = simrs.client.head("/api/v1/studies")
    assert head.status_code == 200 and not head.content and int(head["Content-Length"]) > 100
    options = simrs.client.options("/api/v1/studies")
    assert options.status_code == 204 and {"GET", "POST", "HEAD"} <= set(options["Allow"].split(", "))
    problem(simrs.client.put("/api/v1/studies"), 405)


@pytest.mark.parametrize(
    "query",
    [{}, {"PatientName": "sari"}, {"StudyDate": "20200101-20251231"}, {"PatientID": "RM-5"}, {"sort": "name"},
     {"sort": "accession"}, {"modality": "CT"}],
)  # fmt: skip
def test_the_number_of_queries_stays_the_same(
    simrs: ApiProgram, query: dict[str, str], django_assert_max_num_queries: Any
) -> None:
    for name in ("SARI^A", "SARI^B"):
        make_study(make_patient(None, name), series=2)
    simrs.get("studies")  # notes the token's use, once a minute
    with django_assert_max_num_queries(4):  # token, whether the modality is known, rows, audit
        simrs.get("studies", query)
    fill(times=2500)
    with django_assert_max_num_queries(5):  # and the count
        simrs.get("studies", {**query, "limit": "50"})


@pytest.mark.parametrize("sort", ["-date", "date", "name", "-name", "accession", "-updated"])
def test_no_order_reads_the_whole_archive(simrs: ApiProgram, sort: str) -> None:
    fill(times=5000)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pacs_study SET updated_at = updated_at - make_interval(secs => id)")
        cursor.execute("ANALYZE pacs_study")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        simrs.get("studies", sort=sort, limit="20")
    (rows,) = [each["sql"] for each in captured if "ORDER BY" in each["sql"] and "LIMIT 21" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {rows}")
        plan = cursor.fetchone()[0][0]["Plan"]
    assert most_rows(plan) <= 300, plan


def most_rows(plan: dict[str, Any]) -> int:
    """The most rows that any step of a plan gave or threw away."""
    own = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    return max([int(own), *(most_rows(each) for each in plan.get("Plans", []))])


def test_an_address_that_is_none_is_a_problem_too(simrs: ApiProgram) -> None:
    for path in ("studies/", "nothing", f"studies/{uid()}/nothing"):
        problem(simrs.get(path), 404)
    assert urlsplit(simrs.client.get("/api/v1")["Location"]).path == "/api/v1/docs"


def test_a_modality_that_was_never_here_is_not_looked_for(simrs: ApiProgram) -> None:
    fill(times=5000)
    simrs.get("studies")
    with CaptureQueriesContext(connection) as captured:
        assert simrs.get("studies", modality="XA").json() == {"data": [], "total": 0}
    assert not [each for each in captured if 'FROM "pacs_study"' in each["sql"]]
