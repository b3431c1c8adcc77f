"""Critical results over `/api/v1`."""

import json
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from radiology.models import CriticalResult, Scope, Site, User
from radiology.services.critical_results import withdraw
from tests.factories import make_site
from tests.pacs.api_client import ApiProgram
from tests.radiology.critical import examination, log_of, people, raised

pytestmark = pytest.mark.django_db


@pytest.fixture
def radiologist() -> User:
    return people()[0]


@pytest.fixture
def simrs(site: Site) -> ApiProgram:
    return ApiProgram()


def acknowledge(program: ApiProgram, result: CriticalResult, **body: Any) -> Any:
    return program.post(f"critical-results/{result.public_id}/acknowledge", json.dumps(body), "application/json")


def test_a_program_finds_it_and_says_who_knows(simrs: ApiProgram, radiologist: User) -> None:
    result = raised(examination(User.objects.get(username="sari"), accession_number="A-77"), radiologist)
    (entry,) = simrs.get("critical-results?state=open").json()["data"]
    assert (entry["accession_number"], entry["recipient"], entry["finding"]) == ("A-77", "Sari Dewi", "Pneumotoraks")
    assert acknowledge(simrs, result).status_code == 400
    assert acknowledge(simrs, result, name="x", how="read").status_code == 400
    done = acknowledge(simrs, result, name="dr. Sari")
    assert done.status_code == 200 and done.json()["acknowledged_by"] == "dr. Sari"
    assert acknowledge(simrs, result, name="dr. Sari").status_code == 200
    assert acknowledge(simrs, result, name="dr. Budi").status_code == 409
    assert simrs.get("critical-results?state=open").json()["data"] == []
    changed = simrs.get(f"critical-results?updated_since={done.json()['updated_at'].replace('+', '%2B')}")
    assert [each["acknowledged_how"] for each in changed.json()["data"]] == ["api"]
    assert log_of(result)[-1] == ("acknowledged", "dr. Sari", "api")


def test_it_takes_a_scope_and_the_own_site(simrs: ApiProgram, radiologist: User) -> None:
    result = raised(examination(), radiologist)
    reader = ApiProgram(name="reader", scopes=[Scope.STUDIES_READ])
    assert len(reader.get("critical-results").json()["data"]) == 1
    assert acknowledge(reader, result, name="x").status_code == 403
    there = ApiProgram(name="there", site=make_site())
    assert there.get("critical-results").json()["data"] == []
    assert acknowledge(there, result, name="x").status_code == 404


def test_what_makes_no_sense_is_refused_and_a_withdrawn_one_is_known_by_nobody(
    simrs: ApiProgram, radiologist: User
) -> None:
    for query in ("state=blue", "updated_since=yesterday", "cursor=x"):
        assert simrs.get(f"critical-results?{query}").status_code == 400
    result = raised(examination(), radiologist)
    withdraw(result=result, reason="Artefak", who=radiologist)
    assert acknowledge(simrs, result, name="x").status_code == 409


def test_pages_follow_one_another_at_a_fixed_cost(
    simrs: ApiProgram, radiologist: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _number in range(7):
        raised(examination(), radiologist)
    seen: list[str] = []
    address = "critical-results?limit=3"
    simrs.get(address)
    while address:
        with django_assert_max_num_queries(3):
            page = simrs.get(address).json()
        seen += [each["public_id"] for each in page["data"]]
        address = page.get("next", "")
    assert len(seen) == len(set(seen)) == 7
