"""Templates over `/api/v1`, as the report editor asks for them: by session or by token."""

from typing import Any

import pytest
from django.test import Client

from radiology.models import Site
from tests.factories import (
    make_order,
    make_patient,
    make_report_template,
    make_requested_procedure,
    make_site,
    make_user,
)
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db
LIST = "/api/v1/report-templates"


@pytest.fixture
def editor(site: Site) -> Client:
    client = Client()
    client.force_login(make_user("rad", role="radiologist"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_templates_that_fit_and_what_one_says(editor: Client) -> None:
    procedure = make_requested_procedure()
    template = make_report_template("B", name="Kedua")
    make_report_template("A", name="English", language="en")
    listed = editor.get(LIST, {"procedure": str(procedure.public_id), "language": "id"}).json()["data"]
    assert [(each["code"], each["language"], each["is_personal"]) for each in listed] == [
        ("B", "id", False),
        ("A", "en", False),
    ]
    response = editor.get(f"{LIST}/{listed[0]['public_id']}")
    found = response.json()
    assert found["public_id"] == str(template.public_id) and found["name"] == "Kedua"
    assert found["normal"]["findings"] == "<p><strong>Lungs:</strong> Clear.</p>"
    assert found["blank"]["findings"] == "<p><strong>Lungs:</strong> [  ]</p>" and found["blank"]["impression"] == ""
    again = editor.get(f"{LIST}/{template.public_id}", headers={"If-None-Match": response["ETag"]})
    assert again.status_code == 304


def test_who_does_not_report_is_refused_and_what_is_asked_wrongly_named(editor: Client, site: Site) -> None:
    procedure = make_requested_procedure()
    template = make_report_template("A")
    doctor = Client()
    doctor.force_login(make_user("doc", role="doctor"), backend="django.contrib.auth.backends.ModelBackend")
    for path in (f"{LIST}?procedure={procedure.public_id}", f"{LIST}/{template.public_id}"):
        assert doctor.get(path).status_code == 403
        assert Client().get(path).status_code == 401
    problem(editor.get(LIST), 400, "procedure")
    problem(editor.get(LIST, {"procedure": "x"}), 400, "procedure")
    problem(editor.get(LIST, {"procedure": str(procedure.public_id), "language": "de"}), 400, "language")
    problem(editor.get(LIST, {"procedure": str(template.public_id)}), 404, "procedure")
    problem(editor.get(f"{LIST}/{procedure.public_id}"), 404, "template")


def test_neither_another_sites_nor_another_persons_are_told(editor: Client, site: Site) -> None:
    other = make_site()
    there = make_report_template("A", site=other)
    colleague = make_report_template("B", owner=make_user("other", role="radiologist"))
    elsewhere = make_requested_procedure(make_order(make_patient("9", site=other)))
    for template in (there, colleague):
        problem(editor.get(f"{LIST}/{template.public_id}"), 404, "template")
    problem(editor.get(LIST, {"procedure": str(elsewhere.public_id)}), 404, "procedure")
    assert editor.get(LIST, {"procedure": str(make_requested_procedure().public_id)}).json() == {"data": []}
    problem(ApiProgram().get(f"report-templates/{colleague.public_id}"), 404, "template")


def test_the_number_of_queries_does_not_grow_with_the_templates(site: Site, django_assert_max_num_queries: Any) -> None:
    program = ApiProgram()
    for number in range(30):
        make_report_template(f"T{number}")
    procedure = make_requested_procedure()
    with django_assert_max_num_queries(4):
        answer = program.get("report-templates", procedure=str(procedure.public_id))
    assert len(answer.json()["data"]) == 30
