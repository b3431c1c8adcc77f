"""The reading list over `/api/v1`."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import AuditEvent, Role, User
from tests.factories import make_reading, make_report, make_site, make_user
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.test_api_description import require_as_described
from worklist.models import ReadingArea

pytestmark = pytest.mark.django_db
PATH = "/reading/{procedure}"


@pytest.fixture
def simrs() -> ApiProgram:
    return ApiProgram()


@pytest.fixture
def rahmat() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


def signed_in(who: User) -> Client:
    client = Client()
    client.force_login(who, backend="django.contrib.auth.backends.ModelBackend")
    return client


def send(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")


def test_it_lists_what_is_to_be_read_in_pages(simrs: ApiProgram) -> None:
    routine, stat = make_reading(images=2), make_reading(priority="STAT", modality="MR")
    make_reading(ago=timedelta(hours=1))
    make_report(make_reading().requested_procedure_ref)
    first = simrs.get("reading", limit="2")
    require_as_described(first, "/reading")
    found = first.json()
    assert found["data"][0]["procedure"] == str(stat.requested_procedure_ref.public_id)
    rest = simrs.get(found["next"]).json()
    assert [(each["procedure"], each["images"]) for each in rest["data"]] == [
        (str(routine.requested_procedure_ref.public_id), 2)
    ]
    assert "next" not in rest and rest["previous"]
    for query, count in (({"modality": "MR"}, 1), ({"priority": "HIGH"}, 0), ({"view": "drafts"}, 0)):
        assert len(simrs.get("reading", **query).json()["data"]) == count
    problem(simrs.get("reading", view="all"), 400, "view")
    assert AuditEvent.objects.filter(event="api.search", detail__level="reading").exists()


def test_a_program_has_no_claims_and_no_areas_of_somebodys(simrs: ApiProgram, rahmat: User) -> None:
    reading = make_reading()
    ReadingArea.objects.create(user=rahmat, modality="CT")
    for view in ("mine", "areas"):
        assert simrs.get("reading", view=view).json()["data"] == []
    problem(send(simrs.client, f"reading/{reading.requested_procedure_ref.public_id}/claim"), 403)
    problem(ApiProgram(scopes=["studies.read"], name="viewer").get("reading"), 403)


def test_a_person_claims_lets_go_and_takes_over(rahmat: User) -> None:
    reading = make_reading()
    path = f"reading/{reading.requested_procedure_ref.public_id}"
    mine, hers = signed_in(rahmat), signed_in(make_user("sri", role=Role.RADIOLOGIST))
    claimed = send(mine, f"{path}/claim")
    require_as_described(claimed, f"{PATH}/claim", "post")
    assert claimed.json()["holder"]["name"] == "Rahmat Hidayat" and claimed.json()["claimed_at"]
    assert "Rahmat Hidayat" in problem(send(hers, f"{path}/claim"), 409, "procedure")["detail"]
    problem(send(hers, f"{path}/claim", take_over="yes"), 400, "take_over")
    assert send(hers, f"{path}/claim", take_over=True).json()["holder"]["name"] == "sri"
    problem(send(mine, f"{path}/release"), 409, "procedure")
    released = send(hers, f"{path}/release")
    require_as_described(released, f"{PATH}/release", "post")
    assert released.json()["holder"] is None
    problem(
        send(signed_in(make_user("far", role=Role.RADIOLOGIST, site=make_site())), f"{path}/claim"), 404, "procedure"
    )
    problem(send(signed_in(make_user("doctor", role=Role.DOCTOR)), f"{path}/claim"), 403)


def test_the_number_of_queries_is_fixed(simrs: ApiProgram) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert simrs.get("reading").status_code == 200
        return len(queries)

    make_reading()
    cost()
    few = cost()
    for _ in range(10):
        make_reading()
    assert cost() == few <= 5
