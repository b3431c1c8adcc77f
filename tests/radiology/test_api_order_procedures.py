"""Procedures of an order over `/api/v1`: one more, one less, once for each key."""

from functools import partial

import pytest

from radiology.models import AuditEvent, ContrastUse, Order, OrderStatus, ProcedureStatus, RequestedProcedure
from radiology.services.order_procedures import MOST, ProcedureRequest
from radiology.services.orders import place_order
from tests.factories import make_order, make_patient, make_procedure, make_requested_procedure, make_site
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.test_api_orders import post
from tests.threads import run_all

pytestmark = pytest.mark.database
ABDOMEN = {"procedures": [{"code": "USABD"}], "reason": "curiga batu"}


@pytest.fixture
def simrs(db: None) -> ApiProgram:
    make_procedure("DXTHXPA", "Foto Thorax PA", modality="DX")
    make_procedure("USABD", "USG Abdomen", modality="US")
    return ApiProgram(scopes=("studies.read", "orders.write"))


@pytest.fixture
def order(simrs: ApiProgram) -> Order:
    patient = make_patient("001234")
    return place_order(site=patient.site, patient=patient, procedures=[ProcedureRequest(code="DXTHXPA")])


def rows(order: Order) -> list[tuple[str, str]]:
    return list(order.requested_procedures.order_by("pk").values_list("procedure_code_value", "status"))


def test_a_procedure_is_added_and_another_called_off(simrs: ApiProgram, order: Order) -> None:
    path = f"orders/{order.public_id}"
    added = post(simrs, ABDOMEN, f"{path}/procedures", If_Match='"1"')
    assert added.status_code == 201, added.content
    entry = added.json()
    assert added["Location"] == entry["links"]["self"] and added["ETag"] == '"2"' and entry["version"] == 2
    chest, abdomen = entry["procedures"]
    assert (abdomen["code"], abdomen["status"]) == ("USABD", "requested")
    assert abdomen["requested_procedure_id"] == f"{order.accession_number}-2"
    cancel = f"{path}/procedures/{chest['public_id']}/cancel"
    problem(post(simrs, {"reason": "  "}, cancel), 400, "reason")
    problem(post(simrs, {"reason": "x"}, cancel, If_Match='"1"'), 412, "If-Match")
    done = post(simrs, {"reason": "sudah di luar"}, cancel, If_Match=added["ETag"])
    assert done.status_code == 200 and done["ETag"].startswith('"3-')
    assert [each["status"] for each in done.json()["procedures"]] == ["cancelled", "requested"]
    assert done.json()["status"] == "active"
    assert post(simrs, {"reason": "sudah di luar"}, cancel).json() == done.json()
    newest, older = simrs.get(f"{path}/history").json()["data"]
    assert newest["reason"] == "sudah di luar" and newest["by"] == "simrs"
    assert newest["changes"] == {f"procedure {chest['requested_procedure_id']}": ["requested", "cancelled"]}
    assert older["changes"] == {f"procedure {abdomen['requested_procedure_id']}": [None, "USG Abdomen"]}
    assert older["reason"] == "curiga batu"
    assert AuditEvent.objects.filter(event="order", patient_ref=order.patient_ref).count() == 2
    last = f"{path}/procedures/{abdomen['public_id']}/cancel"
    assert post(simrs, {"reason": "pulang"}, last).json()["status"] == "revoked"


def test_what_stands_in_the_order_already_is_told(simrs: ApiProgram, order: Order) -> None:
    path = f"orders/{order.public_id}/procedures"
    chest = order.requested_procedures.get()
    for status in (ProcedureStatus.REQUESTED, ProcedureStatus.IN_PROGRESS):
        RequestedProcedure.objects.filter(pk=chest.pk).update(status=status)
        told = problem(
            post(simrs, {"procedures": [{"code": "USABD"}, {"code": "DXTHXPA"}]}, path), 409, "procedures.1.code"
        )
        assert told["existing"]["public_id"] == str(order.public_id) and told["existing"]["version"] == 1
        assert told["procedure"]["public_id"] == str(chest.public_id)
    assert rows(order) == [("DXTHXPA", "in-progress")]
    problem(post(simrs, {"procedures": [{"code": "USABD"}] * 2}, path), 409, "procedures.1.code")
    RequestedProcedure.objects.filter(pk=chest.pk).update(status=ProcedureStatus.CANCELLED)
    assert post(simrs, {"procedures": [{"code": "DXTHXPA"}]}, path).status_code == 201
    assert rows(order) == [("DXTHXPA", "cancelled"), ("DXTHXPA", "requested")]


def test_the_other_side_and_what_has_no_code_are_other_procedures(simrs: ApiProgram, order: Order) -> None:
    make_procedure("DXKNEE", "Foto Genu", modality="DX", asks_laterality=True)
    path = f"orders/{order.public_id}/procedures"
    own = {"description": "Foto khusus", "modality": "DX"}
    for wanted in ({"code": "DXKNEE", "laterality": "R"}, {"code": "DXKNEE", "laterality": "L"}, own):
        assert post(simrs, {"procedures": [wanted]}, path).status_code == 201
        problem(post(simrs, {"procedures": [wanted]}, path), 409, "procedures.0.code")
    assert post(simrs, {"procedures": [{**own, "description": "Foto lain"}]}, path).status_code == 201
    assert len(rows(order)) == 5


def test_a_state_that_forbids_it_is_told_with_the_order(simrs: ApiProgram, order: Order) -> None:
    path, row = f"orders/{order.public_id}/procedures", order.requested_procedures.get()
    RequestedProcedure.objects.filter(pk=row.pk).update(status=ProcedureStatus.IN_PROGRESS)
    begun = problem(post(simrs, {"reason": "x"}, f"{path}/{row.public_id}/cancel"), 409, "status")
    assert begun["existing"]["procedures"][0]["status"] == "in-progress"
    for status in (OrderStatus.REVOKED, OrderStatus.COMPLETED, OrderStatus.ENTERED_IN_ERROR):
        Order.objects.filter(pk=order.pk).update(status=status)
        told = problem(post(simrs, ABDOMEN, path), 409, "status")
        assert told["existing"]["status"] == status
    assert rows(order) == [("DXTHXPA", "in-progress")] and not order.versions.exists()
    told = problem(simrs.patch(f"orders/{order.public_id}", {"egfr": "60"}, If_Match='"1"'), 409, "status")
    assert told["existing"]["status"] == "entered-in-error"
    told = problem(post(simrs, {}, f"orders/{order.public_id}/reinstate"), 409, "status")
    assert told["existing"]["status"] == "entered-in-error"


def test_a_key_adds_and_cancels_once(simrs: ApiProgram, order: Order) -> None:
    path = f"orders/{order.public_id}/procedures"
    first = post(simrs, ABDOMEN, path, Idempotency_Key="k-1", If_Match='"1"')
    again = post(simrs, ABDOMEN, path, Idempotency_Key="k-1", If_Match='"1"')
    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (201, 201, "true")
    assert again.json() == first.json() and not first.has_header("Idempotency-Replayed")
    problem(post(simrs, {**ABDOMEN, "reason": "lain"}, path, Idempotency_Key="k-1"), 409, "Idempotency-Key")
    problem(post(simrs, {"procedures": [{"code": "NONE"}]}, path, Idempotency_Key="k-2"), 400, "procedures.0.code")
    cancel = f"{path}/{first.json()['procedures'][1]['public_id']}/cancel"
    for replayed in (False, True):
        done = post(simrs, {"reason": "salah"}, cancel, Idempotency_Key="k-2", If_Match='"2"')
        assert done.status_code == 200 and done.json()["version"] == 3, done.content
        assert done.has_header("Idempotency-Replayed") is replayed
    assert rows(order) == [("DXTHXPA", "requested"), ("USABD", "cancelled")]


def test_a_key_sent_at_once_adds_one_procedure(committed_db: None) -> None:
    make_procedure("USABD", "USG Abdomen", modality="US")
    program, order = ApiProgram(scopes=("orders.write",)), make_order(procedures=1)

    def send(key: dict[str, str]) -> int:
        status: int = post(program, ABDOMEN, f"orders/{order.public_id}/procedures", **key).status_code
        return status

    answers = run_all([partial(send, {"Idempotency_Key": "k-1"})] * 4 + [partial(send, {})] * 2)
    assert set(answers) <= {201, 409} and 201 in answers
    assert order.requested_procedures.filter(procedure_code_value="USABD").count() == 1


def test_a_procedure_is_taken_up_again(simrs: ApiProgram, order: Order) -> None:
    path = f"orders/{order.public_id}/procedures"
    chest = order.requested_procedures.get()
    own = f"{path}/{chest.public_id}"
    assert post(simrs, {}, f"{own}/reinstate").json()["version"] == 1
    assert post(simrs, {"reason": "salah"}, f"{own}/cancel").json()["status"] == "revoked"
    problem(post(simrs, {}, f"{own}/reinstate", If_Match='"1"'), 412, "If-Match")
    back = post(simrs, {"reason": "jadi"}, f"{own}/reinstate", If_Match='"2"').json()
    assert (back["status"], back["procedures"][0]["status"], back["version"]) == ("active", "requested", 3)
    assert order.versions.order_by("-version")[0].reason == "jadi"
    post(simrs, ABDOMEN, path)
    post(simrs, {"reason": "salah"}, f"{own}/cancel")
    anew = post(simrs, {"procedures": [{"code": "DXTHXPA"}]}, path).json()["procedures"][2]
    told = problem(post(simrs, {}, f"{own}/reinstate"), 409, "procedure")
    assert told["procedure"]["public_id"] == anew["public_id"]
    RequestedProcedure.objects.filter(public_id=anew["public_id"]).update(status=ProcedureStatus.IN_PROGRESS)
    problem(post(simrs, {}, f"{path}/{anew['public_id']}/reinstate"), 409, "status")
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.ENTERED_IN_ERROR)
    problem(post(simrs, {}, f"{own}/reinstate"), 409, "status")
    assert [status for _code, status in rows(order)] == ["cancelled", "requested", "in-progress"]


def test_questions_and_warnings_are_told_and_a_mistake_adds_nothing(simrs: ApiProgram, order: Order) -> None:
    make_procedure("CTABDC", "CT Abdomen dengan kontras", contrast=ContrastUse.REQUIRED)
    path, contrast = f"orders/{order.public_id}", {"procedures": [{"code": "CTABDC"}]}
    asked = problem(post(simrs, contrast, f"{path}/procedures"), 400, "contrast_allergy")
    assert set(asked["fields"]) == {"contrast_allergy", "takes_metformin"}
    answers = {"contrast_allergy": "no", "takes_metformin": "no"}
    simrs.patch(path, {**answers, "accept_warnings": True}, If_Match='"1"')
    warned = problem(post(simrs, contrast, f"{path}/procedures"), 409, "accept_warnings")
    assert [each["code"] for each in warned["warnings"]] == ["kidneys-unknown"]
    for body, field in (
        ({"procedures": []}, "procedures"),
        ({"procedures": [{"kode": "USABD"}]}, "procedures.0.kode"),
        ({**ABDOMEN, "alasan": "x"}, "alasan"),
        ({**ABDOMEN, "accept_warnings": "yes"}, "accept_warnings"),
        (
            {"procedures": [{"code": "", "description": f"Foto {n}", "modality": "DX"} for n in range(MOST)]},
            "procedures",
        ),
    ):
        problem(post(simrs, body, f"{path}/procedures"), 400, field)
    assert rows(order) == [("DXTHXPA", "requested")]
    assert post(simrs, {**contrast, "accept_warnings": True}, f"{path}/procedures").status_code == 201


def test_rights_sites_and_other_orders_are_kept(simrs: ApiProgram, order: Order) -> None:
    other, elsewhere = make_order(procedures=1), make_order(make_patient(site=make_site()))
    own, foreign = make_requested_procedure(elsewhere), other.requested_procedures.get()
    reader = ApiProgram(scopes=("studies.read",), name="reader")
    problem(post(reader, ABDOMEN, f"orders/{order.public_id}/procedures"), 403)
    mine = f"orders/{order.public_id}/procedures"
    problem(post(reader, {"reason": "x"}, f"{mine}/{order.requested_procedures.get().public_id}/cancel"), 403)
    problem(post(simrs, ABDOMEN, f"orders/{elsewhere.public_id}/procedures"), 404, "order")
    problem(
        post(simrs, {"reason": "x"}, f"orders/{elsewhere.public_id}/procedures/{own.public_id}/cancel"), 404, "order"
    )
    problem(post(simrs, {"reason": "x"}, f"{mine}/{foreign.public_id}/cancel"), 404, "procedure")
    assert not RequestedProcedure.objects.filter(status=ProcedureStatus.CANCELLED).exists()
