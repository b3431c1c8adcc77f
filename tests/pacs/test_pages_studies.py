"""The pages about studies: what they show, to whom, and at what cost."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pacs.models import HeldObject, HeldReason, Study, Volume
from pacs.services import search
from radiology.models import Job, JobState, User
from tests.factories import make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Trigger": "studies"}
# Session, user with site, and the rights that decide what the page's head offers; the rest is the page's own.
SIGNED_IN = 5


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


def shown_version(response: Any) -> str:
    found = re.search(r'id="(?:study|studies)" data-live="(&quot;[0-9a-f]+&quot;)"', text(response))
    assert found
    return unescape(found[1])


def listed(response: Any) -> list[str]:
    """The study UIDs of a list, in order, each once."""
    return list(dict.fromkeys(re.findall(r'href="/studies/([0-9.]+)"', text(response))))


@pytest.mark.parametrize("address", ["/", "/worklist", "/viewer?AccessionNumber=A1", "/studies/1.2.3", "/ohif/viewer"])
def test_a_stranger_signs_in_and_comes_back_to_the_address(client: Client, address: str) -> None:
    user = make_user("ayu")
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=")
    signed = client.post(response["Location"], {"login": user.username, "password": "rahasia-sekali-1"})
    assert signed["Location"] == address


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_to_no_other_host(client: Client, target: str) -> None:
    make_user("ayu")
    response = client.post("/accounts/login/", {"login": "ayu", "password": "rahasia-sekali-1", "next": target})
    assert response["Location"] == "/"


def test_nobody_signs_up(client: Client) -> None:
    assert "password1" not in text(client.get("/accounts/signup/"))
    assert client.post("/accounts/signup/", {"username": "x", "password1": "y", "password2": "y"}).status_code == 200
    assert not User.objects.filter(username="x").exists()


def test_signing_in_says_nothing_that_one_sees_anyway(client: Client) -> None:
    make_user("sri")
    page = client.post("/accounts/login/?next=/worklist", {"login": "sri", "password": "rahasia-sekali-1"}, follow=True)
    assert page.redirect_chain[-1][0] == "/worklist"
    assert 'class="alert alert-success' not in text(page)


def test_a_lost_password_is_not_promised_a_mail(client: Client) -> None:
    answer = client.get("/accounts/password/reset/")
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/")


def test_a_part_asked_for_after_the_session_ended_takes_the_whole_page_to_the_sign_in(client: Client) -> None:
    headers = {**HTMX, "HX-Current-URL": "http://testserver/worklist?modality=CT"}
    response = client.get("/worklist", headers=headers)
    assert response["HX-Redirect"] == "/accounts/login/?next=%2Fworklist%3Fmodality%3DCT"


def test_list_shows_name_age_numbers_and_counts_as_people_write_them(signed_in: Client) -> None:
    patient = make_patient("001234", "WIBOWO^BUDI^^Dr.", patient_birth_date="19700101")
    make_study(patient, series=1, instances=3, accession_number="RAD0001")
    page = text(signed_in.get("/worklist"))
    assert "Dr. BUDI WIBOWO" in page
    assert "WIBOWO^BUDI" not in page
    for shown in ("001234", "RAD0001", "15 Mar 2024", "10:15", '>3<span class="unit"> images', "CT Thorax"):
        assert shown in page


def test_time_is_shown_in_the_zone_of_the_site(signed_in: Client) -> None:
    make_study(study_date="20240315", study_time="2330", timezone_offset_from_utc="+0000")
    page = text(signed_in.get("/worklist"))
    assert "16 Mar 2024" in page
    assert "06:30" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("siti", True),
        ("SITI nurh", True),
        ("nurhaliza siti", True),
        ("sít", True),
        ("siti budi", False),
        ("haliza", False),
        ("0077", True),
        ("RAD26", True),
        ("rad26x", False),
        ("3276001122334455", True),
        ("siti mr", True),
        ("siti us", False),
        ("siti today", True),
        ("siti hari ini", True),
        ("siti yesterday", False),
        ("brain today", True),
        ("siti, nurhaliza", True),
        ("%", False),
        ("'; DROP TABLE", False),
    ],
)
def test_one_box_understands_names_numbers_days_and_modalities(signed_in: Client, query: str, found: bool) -> None:
    patient = make_patient("0077-12", "NURHALIZA^SITI", identifiers=[("NIK", "3276001122334455")])
    day = timezone.localtime(timezone.now(), ZoneInfo(patient.site.time_zone)).strftime("%Y%m%d")
    study = make_study(
        patient, series=1, modality="MR", study_description="MRI Brain", accession_number="RAD26-7", study_date=day,
        study_time="0001",
    )  # fmt: skip
    make_study(make_patient("9000", "HARTONO^AGUS"), study_date="20200101", accession_number="Z1")
    assert (study.study_instance_uid in listed(signed_in.get("/worklist", {"q": query}))) is found


def test_filters_by_modality_day_and_patient(signed_in: Client) -> None:
    one, other = make_patient("1"), make_patient("2")
    ct = make_study(one, series=1, modality="CT", study_date="20240315")
    mr = make_study(other, series=1, modality="MR", study_date="20240410")
    assert listed(signed_in.get("/worklist", {"modality": "MR"})) == [mr.study_instance_uid]
    march = {"day": "range", "start": "2024-03-15", "end": "2024-03-15"}
    assert listed(signed_in.get("/worklist", march)) == [ct.study_instance_uid]
    assert listed(signed_in.get("/worklist", {"day": "today"})) == []
    assert listed(signed_in.get("/worklist", {"patient": str(one.public_id)})) == [ct.study_instance_uid]


@pytest.mark.parametrize(
    "query",
    [
        {"day": "range", "start": "31-31-31"},
        {"day": "range", "start": "2024-05-01", "end": "2024-04-01"},
        {"day": "range", "start": "0001-01-01"},
        {"modality": "nonsense"},
        {"day": "whenever"},
        {"older": "99999999999999999-1"},
        {"older": "x"},
        {"q": "a\x00b"},
        {"q": "x" * 5000},
    ],
)
def test_a_malformed_filter_never_breaks_the_page(signed_in: Client, query: dict[str, str]) -> None:
    assert signed_in.get("/worklist", query).status_code == 200


def test_pages_follow_each_other_without_gap_or_repetition_while_studies_arrive(
    signed_in: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = timezone.now() - timedelta(days=3)
    patient = make_patient()
    kept = [make_study(patient, sort_at=moment - timedelta(minutes=i // 3)) for i in range(25)]
    order = [s.pk for s in sorted(kept, key=lambda study: (study.sort_at, study.pk), reverse=True)]
    seen: list[int] = []
    cursor = None
    while True:
        page = search.search_studies(who=user, criteria=search.Criteria(), cursor=cursor, size=10)
        seen += [study.pk for study in page.studies]
        if page.older is None:
            break
        make_study(patient, sort_at=timezone.now())
        cursor = search.Cursor.parse(str(page.older))
    assert seen == order
    back = search.search_studies(who=user, criteria=search.Criteria(), cursor=page.newer, size=10)
    assert [study.pk for study in back.studies] == order[10:20]


def test_nothing_changed_is_told_without_rendering(signed_in: Client) -> None:
    study = make_study()
    etag = shown_version(signed_in.get("/worklist", headers=HTMX))
    with CaptureQueriesContext(connection) as queries:
        response = signed_in.get("/worklist", headers={**HTMX, "If-None-Match": etag})
    assert response.status_code == 304
    assert len(queries) <= SIGNED_IN + 1
    Study.objects.filter(pk=study.pk).update(version=study.version + 1, updated_at=timezone.now())
    assert signed_in.get("/worklist", headers={**HTMX, "If-None-Match": etag}).status_code == 200


def test_a_change_that_was_committed_late_is_seen(user: User) -> None:
    """A transaction may carry an earlier time than one that a page has seen already."""
    make_study(updated_at=timezone.now())
    before = search.studies_version(who=user)
    make_study(updated_at=timezone.now() - timedelta(minutes=5))
    assert search.studies_version(who=user) != before


def test_a_removed_study_changes_the_version(user: User) -> None:
    study = make_study()
    before = search.studies_version(who=user)
    Study.objects.filter(pk=study.pk).update(deleted_at=timezone.now())
    assert search.studies_version(who=user) != before


# What is listed; home also asks for running transfers (3), a list also for its version and the saved filters,
# words also for whom and what they name.
@pytest.mark.parametrize(
    ("address", "most"),
    [
        ("/", 4),
        ("/worklist", 3),
        ("/worklist?order=name", 3),
        ("/worklist?order=arrival", 3),
        ("/worklist?q=wi&modality=CT&day=week", 5),
        ("/worklist?q=wi+ct+thorax+1234+last+week", 9),
    ],
)
@pytest.mark.parametrize("rows", [1, 30])
def test_lists_cost_the_same_however_long_they_are(signed_in: Client, address: str, most: int, rows: int) -> None:
    for _number in range(rows):
        make_study(make_patient(), series=2, instances=1, study_date=timezone.now().strftime("%Y%m%d"))
    signed_in.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert signed_in.get(address).status_code == 200
    assert len(queries) <= SIGNED_IN + most, [query["sql"][:120] for query in queries]
    assert not [query for query in queries if "COUNT(" in query["sql"] and "LIMIT" not in query["sql"]]


def test_study_page_costs_the_same_however_many_series(signed_in: Client) -> None:
    study = make_study(series=15, instances=1)
    address = f"/studies/{study.study_instance_uid}"
    signed_in.get(address)
    with CaptureQueriesContext(connection) as queries:
        page = text(signed_in.get(address))
    assert len(queries) <= SIGNED_IN + 7
    assert page.count("/thumbnail") == 15


def test_study_page_counts_up_and_is_silent_while_nothing_happens(signed_in: Client) -> None:
    study = make_study(series=1, instances=1)
    address = f"/studies/{study.study_instance_uid}"
    etag = shown_version(signed_in.get(address))
    headers = {"HX-Request": "true", "If-None-Match": etag}
    assert signed_in.get(address, headers=headers).status_code == 304
    Study.objects.filter(pk=study.pk).update(version=2, number_of_study_related_instances=2)
    assert "2 images" in text(signed_in.get(address, headers=headers))


def test_patient_id_leads_to_the_patient_without_standing_in_the_address(signed_in: Client) -> None:
    patient = make_patient("00/12 34")
    response = signed_in.get("/worklist", {"patientId": "00/12 34"})
    assert response["Location"] == f"/worklist?patient={patient.public_id}"


def test_a_number_that_two_issuers_gave_is_a_choice(signed_in: Client) -> None:
    make_patient("5", "SATU^A", issuer_of_patient_id="RSUD")
    make_patient("5", "DUA^B", issuer_of_patient_id="KLINIK")
    page = text(signed_in.get("/worklist", {"patientId": "5"}))
    assert "A SATU" in page
    assert "B DUA" in page


def test_an_unknown_number_is_explained(signed_in: Client) -> None:
    response = signed_in.get("/worklist", {"patientId": "<b>77</b>"})
    assert response.status_code == 404
    assert "&lt;b&gt;77&lt;/b&gt;" in text(response)


def test_another_site_is_not_there(signed_in: Client) -> None:
    elsewhere = make_patient("5", "LAIN^ORANG", site=make_site())
    study = make_study(elsewhere, series=1, accession_number="X9")
    uid = study.study_instance_uid
    assert listed(signed_in.get("/worklist")) == []
    for address in (
        f"/patients/{elsewhere.public_id}",
        f"/worklist?patient={elsewhere.public_id}",
        "/worklist?patientId=5",
        f"/studies/{uid}",
        f"/viewer?StudyInstanceUIDs={uid}&patientId=5",
        "/viewer?AccessionNumber=X9",
        f"/ohif/viewer?StudyInstanceUIDs={uid}",
    ):
        response = signed_in.get(address, follow=True)
        assert response.status_code == 404, address
        assert "ORANG" not in text(response)


def test_a_script_in_a_tag_stays_text(signed_in: Client) -> None:
    script = "<script>alert(1)</script>"
    patient = make_patient("<i>1", f"{script}^\"onload='x'")
    study = make_study(patient, series=1, study_description=script, accession_number="<b>", study_id="<u>")
    for address in ("/", "/worklist", f"/patients/{patient.public_id}", f"/studies/{study.study_instance_uid}"):
        page = text(signed_in.get(address))
        assert "alert(1)" in page
        assert script not in page
        assert "<i>1" not in page


def test_empty_list_says_what_will_appear(signed_in: Client) -> None:
    assert "Studies appear here as soon as images arrive." in text(signed_in.get("/worklist"))
    assert "No study matches." in text(signed_in.get("/worklist", {"q": "nobody"}))


def test_administrator_sees_what_waits_and_where(client: Client) -> None:
    client.force_login(make_user("root", is_staff=True, is_superuser=True, language="en"))
    HeldObject.objects.create(
        site=make_patient().site, reason=HeldReason.OTHER_PIXELS, volume=Volume.objects.order_by("pk")[0], path="x",
        data_set_offset=0, size=1, sha256=b"1",
    )  # fmt: skip
    Job.objects.create(kind="x", state=JobState.DEAD)
    page = client.get("/")
    counts = {inbox["url"]: inbox["count"] for inbox in page.context["inboxes"]}
    assert counts == {
        "/inbox?tab=conflicts": 0,
        "/inbox?tab=quarantine": 1,
        "/inbox?tab=unknown": 0,
        "/admin/radiology/job/?state__exact=dead": 1,
    }
    for address in counts:
        assert client.get(address).status_code == 200


def test_who_decides_sees_what_waits_at_their_own_site(client: Client) -> None:
    radiographer = make_user("nurul", language="en")
    radiographer.user_permissions.add(Permission.objects.get(codename="change_heldobject"))
    client.force_login(radiographer)
    for site in (make_patient().site, make_site()):
        HeldObject.objects.create(
            site=site, reason=HeldReason.OTHER_HEADER, volume=Volume.objects.order_by("pk")[0], path=f"x{site.pk}",
            data_set_offset=0, size=1, sha256=b"1",
        )  # fmt: skip
    page = client.get("/")
    assert [inbox["count"] for inbox in page.context["inboxes"]] == [1, 0, 0]
    assert page.context["health"] == []
    assert 'href="/inbox?tab=conflicts"' in text(page)


def test_who_does_not_decide_sees_no_inbox(signed_in: Client) -> None:
    assert "/inbox" not in text(signed_in.get("/"))


def test_others_see_no_administration(signed_in: Client) -> None:
    assert "/admin/" not in text(signed_in.get("/"))
