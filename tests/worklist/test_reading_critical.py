"""Critical results beside the report: raised before it is signed, told by telephone, withdrawn."""

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from radiology.models import CriticalResult, Report, Role, User
from tests.factories import make_site, make_user
from tests.radiology.critical import examination, log_of, people

pytestmark = pytest.mark.django_db


class Desk:
    """The reading view's script."""

    def __init__(self, who: User, procedure: Any) -> None:
        self.who, self.client = who, Client()
        self.client.force_login(who)
        self.address = f"/reading/{procedure.public_id}/critical"

    def post(self, **body: Any) -> Any:
        given = {"user": str(self.who.public_id), **body}
        return self.client.post(self.address, json.dumps(given), "application/json")

    def get(self) -> Any:
        return self.client.get(self.address)


@pytest.fixture
def desk() -> Desk:
    radiologist, doctor = people()
    return Desk(radiologist, examination(doctor))


def test_it_is_raised_without_touching_the_report(desk: Desk) -> None:
    assert desk.get().json() == {"recipient": "Sari Dewi", "hasAccount": True, "results": []}
    answer = desk.post(finding="Pneumotoraks", category="red", recipient="Sari Dewi").json()
    (entry,) = answer["results"]
    assert entry["isOpen"] and "for Sari Dewi; nobody has said yet" in entry["state"]
    desk.post(finding="pneumotoraks", category="red")
    result = CriticalResult.objects.get()
    assert result.recipient and result.recipient.username == "sari" and not Report.objects.exists()


def test_a_call_that_was_made_already_is_one_step_and_a_later_one_is_noted(desk: Desk) -> None:
    entry = desk.post(finding="Emboli", category="orange", told="Ns. Ani", readBack=True).json()["results"][0]
    assert not entry["isOpen"] and entry["state"].startswith("Ns. Ani knows, by telephone")
    later = desk.post(finding="Perdarahan", category="red").json()["results"][0]
    assert desk.post(result=later["id"], told="").status_code == 400
    done = desk.post(result=later["id"], told="dr. Budi").json()["results"]
    assert [each["isOpen"] for each in done] == [False, False]
    assert log_of(CriticalResult.objects.get(finding="Perdarahan"))[-1] == ("acknowledged", "dr. Budi", "telephone")


def test_it_is_withdrawn_with_a_reason(desk: Desk) -> None:
    entry = desk.post(finding="Emboli", category="red").json()["results"][0]
    refused = desk.post(withdraw=entry["id"], reason="")
    assert refused.status_code == 400 and refused.json()["field"] == "reason"
    assert desk.post(withdraw=entry["id"], reason="Artefak").json()["results"][0]["state"] == "Withdrawn: Artefak"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"finding": "", "category": "red"}, 400),
        ({"finding": ["x"], "category": "red"}, 400),
        ({"finding": "x", "category": {}}, 400),
        ({"withdraw": "x", "reason": "x"}, 404),
        ({"result": "0190e7a4-0000-7000-8000-000000000000", "told": "x"}, 404),
        ({"user": "somebody else", "finding": "x", "category": "red"}, 409),
    ],
)
def test_what_makes_no_sense_is_refused(desk: Desk, body: dict[str, Any], status: int) -> None:
    assert desk.post(**body).status_code == status
    assert not CriticalResult.objects.exists()


def test_only_who_writes_reports_of_this_site_may(desk: Desk) -> None:
    procedure = examination()
    doctor = Desk(User.objects.get(username="sari"), procedure)
    assert (doctor.get().status_code, doctor.post(finding="x", category="red").status_code) == (403, 403)
    stranger = Desk(make_user("luar", site=make_site(), role=Role.RADIOLOGIST), procedure)
    assert (stranger.get().status_code, stranger.post(finding="x", category="red").status_code) == (404, 404)
    desk.client.logout()
    assert desk.get().status_code == 401


def test_it_costs_little(desk: Desk, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(12):
        desk.post(finding=f"Nomor {number}", category="red")
    with django_assert_max_num_queries(9):
        assert len(desk.get().json()["results"]) == 12
