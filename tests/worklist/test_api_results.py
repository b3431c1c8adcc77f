"""The results of one's patients over `/api/v1`."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from radiology.models import AuditEvent, PersonalResult, User
from radiology.services.critical_results import raise_critical
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.test_api_description import require_as_described
from tests.worklist.results import awaited, doctor, imaged, long_ago, radiologist, signed, tie

pytestmark = pytest.mark.django_db


@pytest.fixture
def sari() -> User:
    return doctor()


@pytest.fixture
def rahmat() -> User:
    return radiologist()


@pytest.fixture
def hers(sari: User) -> Client:
    client = Client()
    client.force_login(sari, backend="django.contrib.auth.backends.ModelBackend")
    return client


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")


def found(client: Client, query: str = "") -> list[dict[str, Any]]:
    response = client.get(f"/api/v1/results{query}")
    assert response.status_code == 200, response.content
    require_as_described(response, "/results")
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def test_it_lists_the_persons_results_with_their_state(hers: Client, sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari)
    signed(procedure, rahmat, impression="Pneumonia.")
    waits = awaited(ordering_physician=sari)
    imaged(waits, series=1, instances=1)
    signed(awaited(), rahmat)
    (result,) = found(hers)
    assert result["procedure"] == str(procedure.public_id)
    assert (result["state"], result["new"], result["impression"], result["version"]) == ("final", True, "Pneumonia.", 1)
    assert result["links"]["page"].endswith(f"/results/{procedure.public_id}")
    (other,) = found(hers, "?view=awaited")
    assert (other["state"], other["standing"]) == ("awaited", "to-be-reported")
    assert "report" not in other["links"]
    assert AuditEvent.objects.filter(event="api.search", detail__level="result").exists()


def test_the_new_ones_are_filtered_paged_and_marked(hers: Client, sari: User, rahmat: User) -> None:
    tie(sari, "place", "Melati")
    procedures = [awaited(ordering_physician=sari) for _ in range(3)]
    procedures.append(awaited(current_patient_location="Melati"))
    for each in procedures:
        signed(each, rahmat)
    assert len(found(hers, "?new=true")) == 4 and found(hers, "?new=false") == []
    assert len(found(hers, "?whose=place")) == 1
    assert len(found(hers, f"?patient={procedures[0].order_ref.patient_ref.public_id}")) == 1
    first = hers.get("/api/v1/results?limit=3").json()
    assert len(hers.get(first["next"]).json()["data"]) == 1
    named = post(hers, "results/seen", results=[str(procedures[0].public_id)])
    require_as_described(named, "/results/seen", "post")
    assert named.json()["results"] == 1
    long_ago(*PersonalResult.objects.all())
    raise_critical(procedure=procedures[1], finding="Bleeding", category="red", who=rahmat)
    everything = post(hers, "results/seen", until=timezone.now().isoformat()).json()
    assert everything["results"] == 2
    (left,) = found(hers, "?view=new")
    assert left["critical"] and left["procedure"] == str(procedures[1].public_id)
    back = post(hers, "results/unseen", mark=everything["mark"])
    require_as_described(back, "/results/unseen", "post")
    assert back.json()["results"] == 2 and len(found(hers, "?view=new")) == 3


def test_what_makes_no_sense_is_refused(hers: Client) -> None:
    problem(post(hers, "results/seen"), 400, "results")
    problem(post(hers, "results/seen", results=["x"]), 400, "results")
    problem(post(hers, "results/seen", results="x"), 400, "results")
    problem(post(hers, "results/seen", until="yesterday"), 400, "until")
    problem(post(hers, "results/unseen", mark=1), 400, "mark")
    problem(hers.get("/api/v1/results?patient=x"), 400, "patient")
    problem(hers.get("/api/v1/results?view=all"), 400, "view")


def test_a_program_has_none_and_marks_none() -> None:
    simrs = ApiProgram()
    assert simrs.get("results").json()["data"] == []
    body = json.dumps({"until": timezone.now().isoformat()})
    assert simrs.post("results/seen", body, "application/json").status_code == 403
    assert simrs.post("results/unseen", "{}", "application/json").status_code == 403


def test_the_list_costs_no_more_the_more_there_is(hers: Client, sari: User, rahmat: User) -> None:
    signed(awaited(ordering_physician=sari), rahmat)

    def cost(query: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            found(hers, query)
        return len(queries)

    awaited(ordering_physician=sari)
    before = [cost(query) for query in ("", "?view=awaited")]
    for _ in range(4):
        signed(awaited(ordering_physician=sari), rahmat)
        awaited(ordering_physician=sari)
    assert [cost(query) for query in ("", "?view=awaited")] == before
    assert before[0] <= 5 and before[1] <= 7
