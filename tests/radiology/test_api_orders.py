"""Orders over `/api/v1`: a hospital system that has no HL7 can do without."""

import json
from typing import Any

import pytest

from radiology.models import AuditEvent, Order, OrderStatus, Patient, ProcedureStatus
from radiology.services.catalogue_csv import import_csv, usual_procedures
from radiology.services.merges import merge_patients, undo_merge
from tests.factories import (
    default_site,
    make_order,
    make_patient,
    make_procedure,
    make_requested_procedure,
    make_site,
    make_token,
    make_user,
)
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db
SCOPES = ("studies.read", "orders.write", "patients.write")


@pytest.fixture
def simrs(db: None) -> ApiProgram:
    make_procedure("DXTHXPA", "Foto Thorax PA", modality="DX", is_ionising=True)
    return ApiProgram(scopes=SCOPES)


def post(program: ApiProgram, body: Any, path: str = "orders", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers=sent)


def wanted(patient_id: str = "001234", **more: Any) -> dict[str, Any]:
    return {"patient": {"patient_id": patient_id}, "procedures": [{"code": "DXTHXPA"}], **more}


def test_an_order_is_placed_found_changed_and_called_off(simrs: ApiProgram) -> None:
    make_patient("001234")
    answer = post(
        simrs, wanted(placer_order_number="P-1", priority="STAT", requested_start="2026-11-28T10:00:00+07:00")
    )
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert answer["Location"] == made["links"]["self"]
    assert made["patient"]["patient_id"] == "001234" and made["origin"] == "rest"
    assert made["requested_start"] == "2026-11-28T03:00:00+00:00"
    (procedure,) = made["procedures"]
    assert procedure["study_instance_uid"].startswith("2.25.") and procedure["status"] == "requested"
    path = made["links"]["self"].partition("/api/v1/")[2]
    read = simrs.get(path)
    assert read.json() == made
    changed = simrs.patch(path, {"current_patient_location": "ICU", "reason": "pindah"}, If_Match=read["ETag"])
    assert changed.status_code == 200 and changed.json()["version"] == 2
    problem(simrs.patch(path, {"current_patient_location": "IGD"}, If_Match=read["ETag"]), 412, "If-Match")
    problem(simrs.patch(path, {"current_patient_location": "IGD"}), 428, "If-Match")
    problem(simrs.patch(path, {"location": "IGD"}, If_Match=changed["ETag"]), 400, "location")
    problem(post(simrs, {}, f"{path}/cancel"), 400, "reason")
    problem(post(simrs, {"reason": "x"}, f"{path}/cancel", If_Match='"1"'), 412, "If-Match")
    assert post(simrs, {"reason": "pulang"}, f"{path}/hold").json()["status"] == "on-hold"
    assert post(simrs, {}, f"{path}/release").json()["status"] == "active"
    cancelled = post(simrs, {"reason": "pulang"}, f"{path}/cancel", If_Match='"4"').json()
    assert cancelled["status"] == "revoked" and cancelled["procedures"][0]["status"] == "cancelled"
    assert post(simrs, {"reason": "pulang"}, f"{path}/cancel").json()["version"] == cancelled["version"]
    assert post(simrs, {}, f"{path}/reinstate").json()["status"] == "active"
    history = simrs.get(f"{path}/history").json()["data"]
    assert [each["version"] for each in history] == [6, 5, 4, 3, 2]
    assert history[-1]["changes"] == {"current_patient_location": ["", "ICU"]} and history[-1]["by"] == "simrs"


def test_the_same_key_makes_one_order(simrs: ApiProgram) -> None:
    make_patient("001234")
    first = post(simrs, wanted(), Idempotency_Key="k-1")
    again = post(simrs, wanted(), Idempotency_Key='"k-1"')
    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (201, 200, "true")
    assert again.json()["public_id"] == first.json()["public_id"]
    assert post(simrs, wanted(client_key="k-1")).status_code == 200
    make_patient("2")
    other = problem(post(simrs, wanted("2"), Idempotency_Key="k-1"), 409, "client_key")
    assert other["existing"]["public_id"] == first.json()["public_id"]
    problem(post(simrs, wanted(client_key="k-2"), Idempotency_Key="k-1"), 400, "client_key")
    assert Order.objects.count() == 1


def test_a_number_that_is_taken_answers_with_the_order_that_has_it(simrs: ApiProgram) -> None:
    make_patient("001234")
    there = make_order(accession_number="S1")
    found = problem(post(simrs, wanted(accession_number="S1")), 409, "accession_number")
    assert found["existing"]["public_id"] == str(there.public_id)
    problem(post(simrs, wanted(accession_number="12345678901234567")), 400, "accession_number")


def test_who_is_not_known_yet_is_registered_with_the_order(simrs: ApiProgram) -> None:
    new = {"patient_id": "9", "patient_name": "BARU^SITI", "patient_birth_date": "19500101", "patient_sex": "F"}
    assert post(simrs, wanted(patient=new)).status_code == 201
    assert Patient.objects.get(patient_id="9").patient_name_search == "baru siti"
    assert post(simrs, wanted(patient=new, accept_warnings=True)).status_code == 201
    assert Patient.objects.filter(patient_id="9").count() == 1
    other = {**new, "patient_name": "LAIN^ORANG", "patient_birth_date": "19990101"}
    problem(post(simrs, wanted(patient=other)), 409, "patient.patient_id")
    problem(post(simrs, wanted("10")), 400, "patient.patient_id")
    problem(post(simrs, wanted(patient={**new, "patient_id": "11", "patient_sex": "X"})), 400, "patient.patient_sex")
    problem(post(simrs, wanted(patient={**new, "patient_id": "11", "nik": "1"})), 400, "patient.nik")
    orders_only = ApiProgram(scopes=("orders.write",), name="orders only")
    problem(post(orders_only, wanted(patient={**new, "patient_id": "12"})), 403)
    assert not Patient.objects.filter(patient_id__in=["10", "11", "12"]).exists()


def test_who_is_registered_with_an_order_that_is_refused_is_not_registered(simrs: ApiProgram) -> None:
    new = {"patient_id": "9", "patient_name": "BARU^SITI", "patient_birth_date": "19950101", "patient_sex": "F"}
    problem(post(simrs, wanted(patient=new)), 400, "pregnancy_status")
    problem(post(simrs, wanted(patient=new, pregnancy_status="3")), 409, "accept_warnings")
    assert not Patient.objects.exists()
    assert post(simrs, wanted(patient=new, pregnancy_status="1")).status_code == 201
    registered = AuditEvent.objects.get(event="patient.registered")
    assert registered.patient_ref == Patient.objects.get() and registered.agent == "simrs"
    assert Patient.objects.get().versions.count() == 1


def test_whoever_is_likely_the_same_person_is_told_before_somebody_is_registered(simrs: ApiProgram) -> None:
    there = make_patient("1", "SANTOSO^ARI", patient_birth_date="19800229", patient_sex="M")
    new = {"patient_id": "9", "patient_name": "SANTOSO^ARI", "patient_birth_date": "19800229", "patient_sex": "M"}
    told = problem(post(simrs, wanted(patient=new)), 409, "patient")
    assert [each["patient"]["public_id"] for each in told["candidates"]] == [str(there.public_id)]
    problem(post(simrs, wanted(patient={**new, "despite_duplicates": True})), 400, "patient.reason")
    problem(post(simrs, wanted(patient={**new, "despite_duplicates": "yes"})), 400, "patient.despite_duplicates")
    assert not Order.objects.exists() and Patient.objects.count() == 1
    sure = {**new, "despite_duplicates": True, "reason": "kembar"}
    assert post(simrs, wanted(patient=sure)).status_code == 201
    made = Patient.objects.get(patient_id="9")
    assert Order.objects.get().patient_ref == made and made.versions.get().reason == "kembar"
    other = {**new, "patient_id": "1", "patient_name": "LAIN^ORANG", "patient_birth_date": "19990101"}
    taken = problem(post(simrs, wanted(patient=other)), 409, "patient.patient_id")
    assert taken["existing"]["public_id"] == str(there.public_id)


def test_an_order_for_a_number_that_was_merged_away_is_the_survivors(simrs: ApiProgram) -> None:
    who = make_user("merges", role="radiographer")
    merged = make_patient("001234", "WIBOWO^BUDI", patient_birth_date="19800215")
    middle, survivor = make_patient("55", "WIBOWO^BUDI"), make_patient("77", "WIBOWO^BUDI^SANTOSO")
    merge = merge_patients(who=who, survivor=middle, merged=merged)
    last = merge_patients(who=who, survivor=survivor, merged=middle)
    named = {"patient_id": "001234", "patient_name": "WIBOWO^BUDI", "patient_birth_date": "19800215"}
    by_survivors_name = {"patient_id": "001234", "patient_name": "WIBOWO^BUDI^SANTOSO"}
    by_key = {"public_id": str(merged.public_id)}
    for number, patient in enumerate(({"patient_id": "001234"}, named, by_survivors_name, by_key)):
        body = wanted(patient=patient, accept_warnings=True, client_key=f"k-{number}")
        answer = post(simrs, body)
        assert answer.status_code == 201, answer.content
        assert answer.json()["patient"]["patient_id"] == "77"
        assert post(simrs, body)["Idempotency-Replayed"] == "true"
    other = {**named, "patient_name": "LAIN^ORANG", "patient_birth_date": "19990101"}
    taken = problem(post(simrs, wanted(patient=other)), 409, "patient.patient_id")
    assert taken["existing"]["public_id"] == str(survivor.public_id)
    assert Order.objects.filter(patient_ref=survivor).count() == 4 and Patient.objects.count() == 3
    for each in (last, merge):
        undo_merge(who=who, merge=each)
    assert Order.objects.filter(patient_ref=merged).count() == 4  # they came under that name


def test_a_number_of_several_patients_needs_its_issuer(simrs: ApiProgram) -> None:
    one = make_patient("7", "SATU", issuer_of_patient_id="A")
    make_patient("7", "DUA", issuer_of_patient_id="B")
    problem(post(simrs, wanted("7")), 400, "patient.issuer_of_patient_id")
    answer = post(simrs, wanted(patient={"patient_id": "7", "issuer_of_patient_id": "A"}))
    assert answer.json()["patient"]["public_id"] == str(one.public_id)


def test_questions_and_warnings_are_told(simrs: ApiProgram) -> None:
    make_patient("001234", patient_sex="F", patient_birth_date="19950101")
    asked = problem(post(simrs, wanted()), 400, "pregnancy_status")
    assert set(asked["fields"]) == {"pregnancy_status"}
    warned = problem(post(simrs, wanted(pregnancy_status="3")), 409, "accept_warnings")
    assert warned["type"] == "urn:sinar:error:NeedsConfirmation"
    assert [each["code"] for each in warned["warnings"]] == ["pregnancy"]
    assert post(simrs, wanted(pregnancy_status="3", accept_warnings=True)).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"procedures": []}, "procedures"),
        ({"procedures": ["DXTHXPA"]}, "procedures.0"),
        ({"procedures": [{"code": 1}]}, "procedures.0.code"),
        ({"procedures": [{"code": "NONE"}]}, "procedures.0.code"),
        ({"procedures": [{"kode": "DXTHXPA"}]}, "procedures.0.kode"),
        ({"patient": "001234"}, "patient"),
        ({"patient": {"public_id": "x"}}, "patient.public_id"),
        ({"patient": {}}, "patient.patient_id"),
        ({"priority": "SOON"}, "priority"),
        ({"egfr": {"value": 1}}, "egfr"),
        ({"requested_start": "2026-11-28T10:00:00"}, "requested_start"),
        ({"accept_warnings": "yes"}, "accept_warnings"),
        ({"prioritas": "STAT"}, "prioritas"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_made(simrs: ApiProgram, body: dict[str, Any], field: str) -> None:
    make_patient("001234")
    problem(post(simrs, {**wanted(), **body}), 400, field)
    assert not Order.objects.exists()


def test_orders_are_searched_in_pages(simrs: ApiProgram, django_assert_max_num_queries: Any) -> None:
    patient = make_patient("001234")
    orders = [make_order(patient, procedures=2, accession_number=f"A{number}") for number in range(5)]
    Order.objects.filter(pk=orders[0].pk).update(status=OrderStatus.REVOKED, placer_order_number="P-1")
    make_order(make_patient(site=make_site()), accession_number="A9")
    make_requested_procedure(orders[1], modality="MR")

    def found(**asked: str) -> list[str]:
        return [each["accession_number"] for each in simrs.get("orders", asked).json()["data"]]

    assert found() == ["A4", "A3", "A2", "A1", "A0"]
    assert found(patient_id="001234", status="active,on-hold") == ["A4", "A3", "A2", "A1"]
    assert found(accession_number="A2") == ["A2"] and found(placer_order_number="P-1") == ["A0"]
    assert found(modality="mr") == ["A1"] and found(patient_id="1234") == []
    assert found(ordered="20200101-20200102") == [] and len(found(ordered="20200101-")) == 5
    assert found(updated_since="2999-01-01T00:00:00Z") == []
    assert len(found(updated_since="2020-01-01T00:00:00+07:00")) == 5
    first = simrs.get("orders", limit="2")
    assert [each["accession_number"] for each in first.json()["data"]] == ["A4", "A3"]
    second = simrs.get(first.json()["next"]).json()
    assert [each["accession_number"] for each in second["data"]] == ["A2", "A1"] and "next" in second
    for bad in ({"status": "new"}, {"ordered": "2020"}, {"updated_since": "yesterday"}, {"cursor": "x"}, {"name": "x"}):
        problem(simrs.get("orders", bad), 400, next(iter(bad)))
    with django_assert_max_num_queries(9):
        simrs.get("orders", ordered="20200101-")


def test_papers_come_and_go_and_are_never_shown_in_the_browser(simrs: ApiProgram) -> None:
    order = make_order()
    path = f"orders/{order.public_id}/attachments"
    made = simrs.post(f"{path}?name=../rujukan.pdf", b"%PDF-1.7 x", "application/pdf")
    assert made.status_code == 201 and made.json()["name"] == "rujukan.pdf"
    own = made.json()["links"]["self"].partition("/api/v1/")[2]
    read = simrs.get(own)
    assert read.content == b"%PDF-1.7 x" and read["X-Content-Type-Options"] == "nosniff"
    assert read["Content-Disposition"] == 'attachment; filename="rujukan.pdf"'
    problem(simrs.post(path, b"<html>", "application/pdf"), 415, "file")
    assert simrs.delete(own).status_code == 204
    problem(simrs.delete(own), 404, "attachment")
    problem(simrs.get(own), 404, "attachment")
    assert simrs.get(path).json()["data"] == []
    assert AuditEvent.objects.filter(event="order.attachment").count() == 1


def test_what_has_begun_is_not_cancelled(simrs: ApiProgram) -> None:
    order = make_order()
    make_requested_procedure(order, status=ProcedureStatus.IN_PROGRESS)
    problem(post(simrs, {"reason": "x"}, f"orders/{order.public_id}/cancel"), 409, "status")
    assert post(simrs, {"reason": "x"}, f"orders/{order.public_id}/discontinue").json()["status"] == "revoked"


def test_the_catalogue_is_searched(simrs: ApiProgram) -> None:

    import_csv(site=default_site(), text=usual_procedures())
    codes = [each["code"] for each in simrs.get("procedures", text="tho pa").json()["data"]]
    assert "DXTHXPA" in codes
    (one,) = simrs.get("procedures", code="CTTHX").json()["data"]
    assert {"coding_scheme_designator": "LN", "code_value": "24627-2", "code_meaning": ""} in one["codes"]
    assert len(simrs.get("procedures", modality="mr").json()["data"]) > 5
    assert simrs.get("procedures", text="%%").json()["data"] == []


def test_scopes_and_sites_are_kept(simrs: ApiProgram) -> None:
    order, other = make_order(), make_order(make_patient(site=make_site()))
    reader = ApiProgram(scopes=("studies.read",), name="reader")
    assert reader.get(f"orders/{order.public_id}").status_code == 200
    problem(post(reader, wanted()), 403)
    problem(post(reader, {"reason": "x"}, f"orders/{order.public_id}/cancel"), 403)
    problem(simrs.get(f"orders/{other.public_id}"), 404, "order")
    problem(post(simrs, {"reason": "x"}, f"orders/{other.public_id}/cancel"), 404, "order")
    problem(ApiProgram(scopes=("studies.write",), name="stores").get("orders"), 403)
    assert make_token("again", scopes=("orders.write",))[0].may("orders.write")
