"""Reports over `/api/v1`."""

import base64
import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from pacs.models import Study
from radiology.models import AuditEvent, Report, Role, Scope, Site
from tests.factories import make_order, make_patient, make_requested_procedure, make_site, make_study, make_user
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db
PASSWORD = "rahasia-sekali-1"
TEXT = {"findings": "Cor normal.", "impression": "Normal."}


@pytest.fixture
def simrs(site: Site) -> ApiProgram:
    return ApiProgram()


class Person:
    """A radiologist's own program, with Basic authentication."""

    def __init__(self, name: str = "rahmat", role: str = Role.RADIOLOGIST, **fields: Any) -> None:
        make_user(name, role=role, first_name="Rahmat", last_name="Hidayat", **fields)
        basic = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
        self.client = Client(headers={"Authorization": f"Basic {basic}"})

    def send(self, method: str, path: str, body: Any = None, version: int | None = None) -> Any:
        headers = {"If-Match": f'"{version}"'} if version is not None else {}
        return self.client.generic(
            method,
            f"/api/v1/{path}",
            json.dumps(body) if body is not None else "",
            content_type="application/json",
            headers=headers,
        )


def attach(program: ApiProgram, **body: Any) -> Any:
    return program.post("reports", json.dumps({"status": "final", "sections": TEXT, **body}), "application/json")


def test_a_report_written_elsewhere_is_attached_found_and_read(simrs: ApiProgram) -> None:
    order = make_order(accession_number="A1", procedures=1)
    by = {"author_name": "WIBOWO^BUDI", "external_id": "R-7"}
    made = attach(simrs, accession_number="A1", at="2024-01-25T08:00:00+07:00", **by)
    assert made.status_code == 201, made.content
    entry = made.json()
    assert entry["status"] == "final" and entry["sections"] == TEXT and entry["author_name"] == "WIBOWO^BUDI"
    assert entry["order"] == str(order.public_id) and entry["at"].startswith("2024-01-25T")
    again = attach(simrs, accession_number="A1", **by)
    assert again.status_code == 200 and again.json()["number"] == 1
    assert simrs.get(made["Location"]).json() == entry
    for query in (
        {"accession_number": "A1"},
        {"patient_id": order.patient_ref.patient_id},
        {"status": "amended,final"},
    ):
        assert [each["public_id"] for each in simrs.get("reports", query).json()["data"]] == [entry["public_id"]], query
    assert simrs.get("reports", {"accession_number": "A2"}).json()["data"] == []
    changed = attach(simrs, accession_number="A1", author_name="WIBOWO^BUDI", sections={"impression": "Lain"})
    assert changed.status_code == 201 and changed.json()["status"] == "amended"
    versions = simrs.get(f"reports/{entry['public_id']}/versions").json()["data"]
    assert [(each["number"], each["status"]) for each in versions] == [(2, "amended"), (1, "final")]
    assert AuditEvent.objects.filter(event="report", action="R").count() == 2


def test_the_images_say_what_is_reported_also_where_they_were_found_later(simrs: ApiProgram) -> None:
    procedure = make_requested_procedure()
    study = make_study(procedure.order_ref.patient_ref)
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    made = attach(simrs, study_instance_uid=study.study_instance_uid)
    assert made.json()["procedure"]["public_id"] == str(procedure.public_id)
    for uid in (study.study_instance_uid, procedure.study_instance_uid):
        assert len(simrs.get("reports", {"study_instance_uid": uid}).json()["data"]) == 1


def test_a_person_writes_signs_adds_and_withdraws(site: Site) -> None:
    person = Person()
    procedure = make_requested_procedure()
    made = person.send("POST", "reports", {"procedure": str(procedure.public_id), "sections": TEXT})
    assert made.status_code == 201 and made.json()["status"] == "draft" and made.json()["draft"] == TEXT
    assert made.headers["ETag"] == person.send("GET", f"reports/{made.json()['public_id']}").headers["ETag"]
    path = f"reports/{made.json()['public_id']}"
    written = person.send("PUT", f"{path}/draft", {"sections": {"impression": "Normal."}}, 1)
    assert written.json()["version"] == 2
    problem(person.send("POST", f"{path}/sign", {"password": "salah"}, 2), 403, "password")
    problem(person.send("POST", f"{path}/sign", {"password": PASSWORD}), 428, "If-Match")
    problem(person.send("POST", f"{path}/sign", {"password": PASSWORD}, 1), 412, "If-Match")
    signed = person.send("POST", f"{path}/sign", {"password": PASSWORD}, 2).json()
    assert signed["status"] == "final" and signed["author_name"] == "Hidayat^Rahmat" and signed["draft"] is None
    added = person.send("POST", f"{path}/addenda", {"password": PASSWORD, "text": "Tambahan"}, 3).json()
    assert added["status"] == "appended" and added["addenda"][0]["text"] == "Tambahan"
    gone = person.send("POST", f"{path}/withdraw", {"password": PASSWORD, "reason": "pasien lain"}, 4).json()
    assert gone["status"] == "entered-in-error"
    letter = person.client.get(f"/api/v1/{path}/pdf")
    assert letter["Content-Type"] == "application/pdf" and letter.content.startswith(b"%PDF-")


def test_nobody_writes_on_a_withdrawn_report_nor_by_it_on_the_one_that_followed(site: Site) -> None:
    person = Person()
    key = str(make_requested_procedure().public_id)
    path = f"reports/{person.send('POST', 'reports', {'procedure': key, 'sections': TEXT}).json()['public_id']}"
    person.send("POST", f"{path}/sign", {"password": PASSWORD}, 1)
    person.send("POST", f"{path}/withdraw", {"password": PASSWORD, "reason": "pasien lain"}, 2)
    problem(person.send("PUT", f"{path}/draft", {"sections": {"findings": "x"}}, 3), 409, "report")
    assert Report.objects.count() == 1
    after = person.send("POST", "reports", {"procedure": key, "sections": TEXT}).json()
    problem(person.send("PUT", f"{path}/draft", {"sections": {"findings": "x"}}, 1), 409, "report")
    assert Report.objects.get(public_id=after["public_id"]).draft == TEXT


def test_a_password_is_taken_as_it_is(site: Site) -> None:
    person = Person(password=" rahasia ")
    person.client = Client(headers={"Authorization": "Basic " + base64.b64encode(b"rahmat: rahasia ").decode()})
    key = str(make_requested_procedure().public_id)
    path = f"reports/{person.send('POST', 'reports', {'procedure': key, 'sections': TEXT}).json()['public_id']}"
    problem(person.send("POST", f"{path}/sign", {"password": "rahasia"}, 1), 403, "password")
    assert person.send("POST", f"{path}/sign", {"password": " rahasia "}, 1).status_code == 200


def test_a_draft_is_thrown_away(site: Site) -> None:
    person = Person()
    made = person.send("POST", "reports", {"procedure": str(make_requested_procedure().public_id), "sections": TEXT})
    path = f"reports/{made.json()['public_id']}"
    problem(person.send("DELETE", f"{path}/draft"), 428, "If-Match")
    problem(person.client.get(f"/api/v1/{path}/pdf"), 404, "report")
    assert person.send("DELETE", f"{path}/draft", version=1).status_code == 204
    assert Report.objects.count() == 0


def test_who_does_not_write_reports_sees_no_draft(site: Site) -> None:
    person, doctor = Person(), Person("dokter", Role.DOCTOR)
    made = person.send("POST", "reports", {"procedure": str(make_requested_procedure().public_id), "sections": TEXT})
    path = f"reports/{made.json()['public_id']}"
    problem(doctor.send("GET", path), 404, "report")
    assert doctor.send("GET", "reports").json()["data"] == []
    person.send("POST", f"{path}/sign", {"password": PASSWORD}, 1)
    read = doctor.send("GET", path).json()
    assert read["sections"] == TEXT and "draft" not in read
    problem(doctor.send("POST", f"{path}/sign", {"password": PASSWORD}, 2), 403)
    problem(ApiProgram(site=make_site(), name="lain").get(path), 404, "report")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "procedure"),
        ({"accession_number": "A9"}, 404, "accession_number"),
        ({"accession_number": "A1"}, 409, "accession_number"),
        ({"procedure": "x"}, 400, "procedure"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "status": "draft"}, 400, "status"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "pdf": "%"}, 400, "pdf"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "pdf": "TVo="}, 415, "pdf"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "at": "gestern"}, 400, "at"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "sections": {}}, 400, "sections"),
        ({"accession_number": "A1", "requested_procedure_id": "P1", "text": "x"}, 400, "text"),
    ],
)
def test_what_cannot_be_attached_is_named(simrs: ApiProgram, body: dict[str, Any], status: int, field: str) -> None:
    order = make_order(accession_number="A1")
    for number in (1, 2):
        make_requested_procedure(order, requested_procedure_id=f"P{number}")
    problem(attach(simrs, **body), status, field)
    assert Report.objects.count() == 0


def test_a_program_neither_drafts_nor_signs_nor_replaces_a_report_of_our_own(simrs: ApiProgram) -> None:
    person, procedure = Person(), make_requested_procedure()
    key = str(procedure.public_id)
    problem(simrs.post("reports", json.dumps({"procedure": key, "sections": TEXT}), "application/json"), 403, "status")
    made = person.send("POST", "reports", {"procedure": key, "sections": TEXT}).json()
    path = f"reports/{made['public_id']}"
    problem(simrs.post(f"{path}/sign", json.dumps({"password": "x"}), "application/json", If_Match='"1"'), 403)
    refused = problem(attach(simrs, procedure=key), 409, "report")
    assert refused["existing"]["public_id"] == made["public_id"]
    reader = ApiProgram(scopes=[Scope.STUDIES_READ], name="pembaca")
    problem(attach(reader, procedure=key), 403)


def test_a_pdf_comes_back_as_it_was_sent(simrs: ApiProgram) -> None:
    procedure = make_requested_procedure()
    sent = b"%PDF-1.7 " + bytes(range(256)) * 8000
    made = attach(simrs, procedure=str(procedure.public_id), sections={}, pdf=base64.b64encode(sent).decode())
    assert made.status_code == 201
    assert simrs.get(made.json()["links"]["pdf"]).content == sent


def test_pages_of_reports_cost_the_same_however_many(
    simrs: ApiProgram, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(12):
        attach(simrs, procedure=str(make_requested_procedure(make_order(make_patient(f"P{number}"))).public_id))
    with django_assert_max_num_queries(6):
        first = simrs.get("reports", {"limit": "5"}).json()
    second = simrs.get(first["next"]).json()
    third = simrs.get(second["next"]).json()
    found = [each["public_id"] for page in (first, second, third) for each in page["data"]]
    assert len(found) == len(set(found)) == 12 and "next" not in third
