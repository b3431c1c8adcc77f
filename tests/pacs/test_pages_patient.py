"""The page of a patient: who it is, what was acquired by year, what was ordered."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import Order, OrderStatus, PatientLink, RequestedProcedure, User
from tests.factories import make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

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


def listed(response: Any) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="/studies/([0-9.]+)"', text(response))))


@pytest.mark.parametrize("studies", [1, 30])
def test_it_costs_the_same_however_many_studies(signed_in: Client, studies: int) -> None:
    patient = make_patient("77", identifiers=[("NIK", "3276001122334455"), ("BPJS", "0001")])
    for number in range(studies):
        make_study(patient, series=1)
        order = Order.objects.create(patient_ref=patient, site=patient.site, accession_number=f"A{number}")
        RequestedProcedure.objects.create(order_ref=order, study_instance_uid=f"1.2.{number}")
    address = f"/patients/{patient.public_id}"
    signed_in.get(address)
    with CaptureQueriesContext(connection) as queries:
        page = text(signed_in.get(address))
    # patient, identifiers, studies, orders, their procedures, open critical results
    assert len(queries) <= SIGNED_IN + 6, [query["sql"][:100] for query in queries]
    assert "3276001122334455" in page


def test_studies_stand_under_their_year_newest_first(signed_in: Client) -> None:
    patient = make_patient()
    for day in ("20240315", "20221231", "20240101", "20231111"):
        make_study(patient, study_date=day)
    page = signed_in.get(f"/patients/{patient.public_id}")
    assert [(year, len(studies)) for year, studies in page.context["years"]] == [("2024", 2), ("2023", 1), ("2022", 1)]
    assert page.context["years"][0][1][0].study_date == "20240315"


def test_the_year_is_that_of_the_site(signed_in: Client) -> None:
    patient = make_patient()
    make_study(patient, study_date="20231231", study_time="2300", timezone_offset_from_utc="+0000")
    assert signed_in.get(f"/patients/{patient.public_id}").context["years"][0][0] == "2024"


def test_hundreds_of_studies_come_page_by_page(signed_in: Client) -> None:
    patient = make_patient()
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = [make_study(patient, sort_at=start + timedelta(days=number)).study_instance_uid for number in range(60)]
    address: str | None = f"/patients/{patient.public_id}"
    seen: list[str] = []
    while address:
        response = signed_in.get(address)
        seen += listed(response)
        found = re.search(r'rel="next" href="(\?older=[^"]+)"', text(response))
        address = f"/patients/{patient.public_id}{found[1]}" if found else None
    assert seen == made[::-1]
    back = re.search(r'rel="prev" href="(\?newer=[^"]+)"', text(response))
    assert back
    assert len(listed(signed_in.get(f"/patients/{patient.public_id}{back[1]}"))) == 24


def test_orders_are_shown_with_their_procedures(signed_in: Client) -> None:
    patient = make_patient()
    order = Order.objects.create(patient_ref=patient, site=patient.site, accession_number="ORD-1")
    RequestedProcedure.objects.create(
        order_ref=order, requested_procedure_description="CT Kepala", study_instance_uid="1.2.3"
    )
    Order.objects.create(patient_ref=patient, site=patient.site, status=OrderStatus.REVOKED)
    page = text(signed_in.get(f"/patients/{patient.public_id}"))
    for shown in ("CT Kepala", "ORD-1", "Active", "Revoked"):
        assert shown in page
    assert "Orders" not in text(signed_in.get(f"/patients/{make_patient().public_id}"))


def test_the_banner_says_who_it_is_with_all_numbers(signed_in: Client) -> None:
    patient = make_patient("00123", "SARI^SITI", patient_sex="F", identifiers=[("BPJS", "0009998887776")])
    banner = text(signed_in.get(f"/patients/{patient.public_id}")).split('class="banner"')[1].split("</section>")[0]
    for shown in ("SITI SARI", "Female", "1 Jan 1970", "00123", "0009998887776"):
        assert shown in banner


def test_a_provisional_patient_leads_who_decides_to_the_inbox(client: Client, signed_in: Client) -> None:
    patient = make_patient("", provisional_for="1.2.3")
    make_study(patient)
    address = f"/patients/{patient.public_id}"
    assert "Provisional" in text(signed_in.get(address))
    assert "/inbox" not in text(signed_in.get(address))
    client.force_login(make_user("root", is_superuser=True, language="en"))
    assert 'href="/inbox?tab=unknown"' in text(client.get(address))


def test_all_of_it_can_be_downloaded(signed_in: Client) -> None:
    patient = make_patient()
    make_study(patient)
    assert f'href="/api/v1/patients/{patient.public_id}/archive"' in text(
        signed_in.get(f"/patients/{patient.public_id}")
    )


def test_without_studies_it_says_what_will_appear(signed_in: Client) -> None:
    page = text(signed_in.get(f"/patients/{make_patient().public_id}"))
    assert "No study of this patient has arrived yet." in page
    assert "Download all" not in page


@pytest.mark.parametrize("place", ["?older=x", "?older=n-5", "?newer=99999999999999999-1", "?older=&newer="])
def test_a_malformed_place_is_the_first_page(signed_in: Client, place: str) -> None:
    study = make_study()
    assert study.study_instance_uid in text(signed_in.get(f"/patients/{study.patient_ref.public_id}{place}")) or (
        "newer=9" in place
    )


def test_a_patient_of_another_site_is_not_there(signed_in: Client) -> None:
    patient = make_patient("5", "LAIN^ORANG", site=make_site())
    response = signed_in.get(f"/patients/{patient.public_id}")
    assert response.status_code == 404
    assert "ORANG" not in text(response)


def test_whom_another_system_takes_for_the_same_person_is_one_click_away(signed_in: Client, user: User) -> None:
    patient, other = make_patient("77", "SITI^AMINAH"), make_patient("88", "AMINAH^SITI")
    PatientLink.objects.create(site=patient.site, one=patient, other=other)
    for one, counterpart in ((patient, other), (other, patient)):
        page = text(signed_in.get(f"/patients/{one.public_id}"))
        assert "Linked with" in page and f'href="/patients/{counterpart.public_id}"' in page
    elsewhere = make_patient("99", "ELSE^WHERE", site=make_site("OTHER"))
    PatientLink.objects.create(site=patient.site, one=patient, other=elsewhere)
    assert "ELSE" not in text(signed_in.get(f"/patients/{patient.public_id}"))
