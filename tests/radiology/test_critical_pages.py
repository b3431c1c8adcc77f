"""Critical results on pages: on the report, on the home page, on their own page; acknowledged with one button."""

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from radiology.models import AuditEvent, CriticalResult, Role, User
from radiology.services.reports import sign_report, write_draft
from tests.factories import make_order, make_requested_procedure, make_site, make_user
from tests.radiology.critical import examination, log_of, people, raised

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def doctor() -> User:
    return people()[1]


@pytest.fixture
def radiologist(doctor: User) -> User:
    return User.objects.get(username="rahmat")


def signed_in(who: User) -> Client:
    client = Client()
    client.force_login(who, backend=MODEL_BACKEND)
    return client


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_doctor_finds_it_at_home_before_there_is_a_report_and_acknowledges(doctor: User, radiologist: User) -> None:
    result = raised(examination(doctor), radiologist, "Pneumotoraks <b>")
    client = signed_in(doctor)
    home = text_of(client.get("/"))
    assert home.index("Pneumotoraks &lt;b&gt;") < home.index('id="q"')
    address = f"/critical/{result.public_id}"
    assert f'href="{address}"' in home and "The report is not signed yet." in text_of(client.get(address))
    answer = client.post(f"{address}/acknowledge", {"next": "/"})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert "Pneumotoraks" not in text_of(client.get("/"))
    page = text_of(signed_in(radiologist).get(address))
    assert "Sari Dewi knows, read here, since" in page
    assert [kind for kind, *_ in log_of(result)] == ["raised", "notified", "read", "acknowledged"]
    assert AuditEvent.objects.filter(event="critical_result", action="R").count() == 2


def test_a_report_leads_with_it_and_who_opens_it_has_read_it(doctor: User, radiologist: User) -> None:
    procedure = examination(doctor)
    report = write_draft(procedure=procedure, sections={"impression": "Pneumotoraks kanan luas"}, who=radiologist)
    sign_report(report=report, version=1, who=radiologist)
    result = raised(procedure, radiologist)
    page = text_of(signed_in(doctor).get(f"/reports/{report.public_id}"))
    assert page.index('class="critical red') < page.index("Pneumotoraks kanan luas") < page.index("critical-log")
    assert ("read", "Sari Dewi", "here") in log_of(result)
    assert f'action="/critical/{result.public_id}/acknowledge"' in page
    own = text_of(signed_in(radiologist).get(f"/reports/{report.public_id}"))
    assert "I know" not in own and "Told by telephone" in own and "Told by telephone" not in page


def test_the_radiologist_notes_a_telephone_call_and_withdraws(doctor: User, radiologist: User) -> None:
    first, second = raised(examination(doctor), radiologist), raised(examination(doctor), radiologist, "Emboli")
    client = signed_in(radiologist)
    told = client.post(f"/critical/{first.public_id}/acknowledge", {"told": "Ns. Ani", "read_back": "1"})
    assert told.status_code == 302
    page = text_of(client.get(f"/critical/{first.public_id}"))
    assert "Ns. Ani knows, by telephone" in page and "Called by Rahmat Hidayat." in page
    assert client.post(f"/critical/{second.public_id}/withdraw", {"reason": " "}).status_code == 400
    client.post(f"/critical/{second.public_id}/withdraw", {"reason": "Lipatan kulit"})
    second.refresh_from_db()
    assert second.state == "withdrawn" and "Lipatan kulit" in text_of(client.get("/critical"))


def test_what_cannot_be_acknowledged_says_why(doctor: User, radiologist: User) -> None:
    result = raised(examination(doctor), radiologist)
    address = f"/critical/{result.public_id}/acknowledge"
    assert signed_in(radiologist).post(address).status_code == 403
    signed_in(doctor).post(address)
    late = signed_in(make_user("lain")).post(address)
    assert late.status_code == 409 and "Sari Dewi has acknowledged it already." in late.content.decode()
    elsewhere = signed_in(doctor).post(address, {"next": "https://evil.example/"})
    assert elsewhere["Location"] == f"/critical/{result.public_id}"


def test_it_takes_the_page_s_own_token(doctor: User, radiologist: User) -> None:
    result = raised(examination(doctor), radiologist)
    client = Client(enforce_csrf_checks=True)
    client.force_login(doctor, backend=MODEL_BACKEND)
    assert client.post(f"/critical/{result.public_id}/acknowledge").status_code == 403
    result.refresh_from_db()
    assert result.is_open


def test_another_site_sees_nothing_of_it(doctor: User, radiologist: User) -> None:
    result = raised(examination(doctor), radiologist)
    stranger = signed_in(make_user("luar", site=make_site(), role=Role.RADIOLOGIST))
    address = f"/critical/{result.public_id}"
    assert stranger.get(address).status_code == 404
    assert stranger.post(f"{address}/acknowledge").status_code == 404
    assert stranger.post(f"{address}/withdraw", {"reason": "x"}).status_code == 404
    assert "Pneumotoraks" not in text_of(stranger.get("/critical"))
    assert signed_in(doctor).get("/critical").status_code == 403


def test_the_home_page_follows_by_itself_and_is_silent_while_nothing_happens(doctor: User, radiologist: User) -> None:
    client = signed_in(doctor)
    for _try in range(2):  # the minute may have ended in between
        none = client.get("/critical/mine")
        same = client.get("/critical/mine", headers={"If-None-Match": none["ETag"]})
        if same.status_code == 304:
            break
    assert same.status_code == 304
    raised(examination(doctor), radiologist)
    other = client.get("/critical/mine", headers={"If-None-Match": none["ETag"]})
    assert other.status_code == 200 and "Pneumotoraks" in other.content.decode()


@pytest.mark.parametrize("count", [1, 60])
def test_lists_cost_the_same_however_long_they_are(
    doctor: User, radiologist: User, count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _number in range(count):
        raised(make_requested_procedure(make_order(ordering_physician=doctor)), radiologist)
    home, every = signed_in(doctor), signed_in(radiologist)
    home.get("/"), every.get("/critical")
    with django_assert_max_num_queries(6):
        text_of(home.get("/critical/mine"))
    with django_assert_max_num_queries(12):
        text_of(every.get("/critical"))
    result = CriticalResult.objects.order_by("-pk")[0]
    home.get(f"/critical/{result.public_id}")
    with django_assert_max_num_queries(14):
        text_of(home.get(f"/critical/{result.public_id}"))


def test_the_list_goes_on_page_by_page(doctor: User, radiologist: User) -> None:
    for _number in range(60):
        raised(make_requested_procedure(make_order(ordering_physician=doctor)), radiologist)
    CriticalResult.objects.update(state="withdrawn")
    client, address, seen = signed_in(radiologist), "/critical", []
    while address:
        page = text_of(client.get(address))
        seen += re.findall(r'href="/critical/([0-9a-f-]{36})"', page)
        more = re.search(r'href="(\?before=\d+)"', page)
        address = f"/critical{more[1]}" if more else ""
    assert len(seen) == len(set(seen)) == 60
    for nonsense in ("x", "-1", "99999999999999999999"):
        assert client.get(f"/critical?before={nonsense}").status_code == 400
