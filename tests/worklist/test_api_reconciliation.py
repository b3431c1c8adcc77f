"""Reconciliation over `/api/v1`: what waits, decisions with If-Match, and nobody else's cases."""

import json
from typing import Any

import pytest

from tests.factories import make_case, make_order, make_patient, make_requested_procedure, make_site, make_study
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.test_api_description import require_as_described
from worklist.models import CaseState, ReconciliationCase

pytestmark = pytest.mark.django_db
CASES = "/reconciliation-cases"


@pytest.fixture
def simrs() -> ApiProgram:
    return ApiProgram()


def send(program: ApiProgram, path: str, body: Any = None, version: str = "") -> Any:
    headers = {"If-Match": version} if version else {}
    return program.post(path, json.dumps(body or {}), "application/json", **headers)


def test_a_program_links_takes_back_dismisses_and_hides(simrs: ApiProgram) -> None:
    procedure = make_requested_procedure()
    study = make_study(accession_number="MISTYPED", series=1, instances=1)
    case = make_case(study, procedure)
    found = simrs.get("reconciliation-cases").json()["data"]
    assert [each["candidates"][0]["procedure"] for each in found] == [str(procedure.public_id)]
    path = f"reconciliation-cases/{case.public_id}"
    read = simrs.get(path)
    require_as_described(read, f"{CASES}/{{case}}")
    body = {"procedure": str(procedure.public_id)}
    problem(send(simrs, f"{path}/link", body), 428, "If-Match")
    done = send(simrs, f"{path}/link", body, read["ETag"])
    require_as_described(done, f"{CASES}/{{case}}/link", "post")
    assert (done.json()["state"], done.json()["accession_number"]) == ("linked", procedure.order_ref.accession_number)
    late = send(simrs, f"{path}/dismiss", version=read["ETag"])
    assert late.status_code == 412 and "simrs" in late.json()["detail"]
    undone = send(simrs, f"{path}/undo", version=done["ETag"])
    require_as_described(undone, f"{CASES}/{{case}}/undo", "post")
    assert (undone.json()["state"], undone.json()["accession_number"]) == ("open", "MISTYPED")
    problem(send(simrs, f"{path}/undo", version=undone["ETag"]), 409)
    problem(send(simrs, f"{path}/dismiss", {"makes_order": "yes"}, undone["ETag"]), 400, "makes_order")
    dismissed = send(simrs, f"{path}/dismiss", {"makes_order": True}, undone["ETag"])
    require_as_described(dismissed, f"{CASES}/{{case}}/dismiss", "post")
    assert dismissed.json()["procedure"]
    again = send(simrs, f"{path}/undo", version=dismissed["ETag"])
    hidden = send(simrs, f"{path}/wrong-patient", {"reason": "mixed up"}, again["ETag"])
    require_as_described(hidden, f"{CASES}/{{case}}/wrong-patient", "post")
    assert simrs.get(f"studies/{study.study_instance_uid}").status_code == 404
    assert [each["state"] for each in simrs.get("reconciliation-cases", state="wrong_patient").json()["data"]] == [
        "wrong_patient"
    ]
    send(simrs, f"{path}/undo", version=hidden["ETag"])
    assert simrs.get(f"studies/{study.study_instance_uid}").status_code == 200


def test_what_is_wrong_in_a_request_is_named(simrs: ApiProgram) -> None:
    case = make_case()
    path = f"reconciliation-cases/{case.public_id}"
    problem(send(simrs, f"{path}/link", {"procedure": "7"}, '"1"'), 400, "procedure")
    elsewhere = make_requested_procedure(make_order(make_patient(site=make_site())))
    problem(send(simrs, f"{path}/link", {"procedure": str(elsewhere.public_id)}, '"1"'), 404, "procedure")
    problem(simrs.get("reconciliation-cases", state="lost"), 400, "state")


def test_nobody_decides_without_the_right_or_elsewhere() -> None:
    case = make_case()
    reads = ApiProgram(scopes=["studies.read"], name="reads")
    problem(reads.get("reconciliation-cases"), 403)
    problem(send(reads, f"reconciliation-cases/{case.public_id}/dismiss", version='"1"'), 403)
    there = ApiProgram(site=make_site(), name="there")
    assert there.get("reconciliation-cases").json()["data"] == []
    problem(send(there, f"reconciliation-cases/{case.public_id}/dismiss", version='"1"'), 404, "case")
    assert ReconciliationCase.objects.get().state == CaseState.OPEN


def test_a_page_of_cases_costs_the_same_however_long(simrs: ApiProgram, django_assert_max_num_queries: Any) -> None:
    for _ in range(12):
        make_case(None, make_requested_procedure(), make_requested_procedure())
    simrs.get("reconciliation-cases", limit="1")
    with django_assert_max_num_queries(8):
        answer = simrs.get("reconciliation-cases", limit="10")
    assert len(answer.json()["data"]) == 10 and answer.json()["next"]
