"""The second signature, held reports and late images over `/api/v1`."""

import uuid
from typing import Any

import pytest

from radiology.models import AuditAction, AuditEvent, HoldKind, LateImages, Report, Resident, Role, User
from radiology.services import report_holds
from radiology.services.reports import sign_report, write_draft
from tests.factories import make_requested_procedure
from tests.pacs.api_client import ApiProgram, problem
from tests.pacs.test_api_reports import PASSWORD, TEXT, Person

pytestmark = pytest.mark.django_db


@pytest.fixture
def supervisor() -> Person:
    return Person("sari")


@pytest.fixture
def resident() -> Person:
    person = Person("rudi")
    Resident.objects.create(user=User.objects.get(username="rudi"))
    return person


def drafted(who: Person, name: str) -> Report:
    return write_draft(
        procedure=make_requested_procedure(), sections=TEXT, who=User.objects.get(username=name)
    )  # fmt: skip


def test_a_resident_signs_a_supervisor_sends_back_and_co_signs(resident: Person, supervisor: Person) -> None:
    report = drafted(resident, "rudi")
    path = f"reports/{report.public_id}"
    chosen = str(User.objects.get(username="sari").public_id)
    problem(resident.send("POST", f"{path}/sign", {"password": PASSWORD, "status": "final"}, 1), 403, "status")
    problem(resident.send("POST", f"{path}/sign", {"password": PASSWORD, "supervisor": "x"}, 1), 400, "supervisor")
    signed = resident.send("POST", f"{path}/sign", {"password": PASSWORD, "supervisor": chosen}, 1).json()
    assert (signed["status"], signed["co_signature"]["state"]) == ("preliminary", "waiting")
    assert signed["co_signature"]["supervisor"] == chosen
    problem(resident.send("POST", f"{path}/return", {"comment": "x"}, signed["version"]), 403)
    problem(supervisor.send("POST", f"{path}/return", {"comment": ""}, signed["version"]), 400, "comment")
    problem(supervisor.send("POST", f"{path}/return", {"comment": "x"}, 1), 412, "If-Match")
    back = supervisor.send("POST", f"{path}/return", {"comment": "Ukur."}, signed["version"]).json()
    assert (back["co_signature"]["state"], back["co_signature"]["comment"]) == ("returned", "Ukur.")
    again = resident.send("POST", f"{path}/sign", {"password": PASSWORD}, back["version"]).json()
    changed = supervisor.send(
        "PUT", f"{path}/draft", {"sections": {**TEXT, "findings": "Cor membesar."}}, again["version"]
    ).json()
    final = supervisor.send("POST", f"{path}/sign", {"password": PASSWORD}, changed["version"]).json()
    assert (final["status"], final["writer_name"]) == ("final", "Hidayat^Rahmat")
    assert final["co_signature"]["changed"] and final["co_signature"]["final_number"] == 3
    told = resident.send("GET", f"{path}/differences").json()
    assert (told["from"], told["to"], told["words_added"], told["words_removed"]) == (2, 3, 1, 1)
    assert told["sections"][0]["runs"][1:] == [
        {"kind": "removed", "text": "normal."},
        {"kind": "added", "text": "membesar."},
    ]
    added = supervisor.send("POST", f"{path}/addenda", {"text": "Baru.", "password": PASSWORD}, final["version"]).json()
    assert added["number"] == 4
    told = resident.send("GET", f"{path}/differences").json()
    assert (told["from"], told["to"]) == (2, 3), "what the supervisor made of it, as on the page"
    told = resident.send("GET", f"{path}/differences?from=4&to=3").json()
    assert (told["from"], told["to"], len(told["addenda"])) == (3, 4, 1)
    compared = AuditEvent.objects.filter(event="report", action=AuditAction.READ, detail__has_key="compared")
    assert [each.detail["compared"] for each in compared.order_by("pk")] == [[2, 3], [2, 3], [3, 4]]
    problem(resident.send("GET", f"{path}/differences?from=1"), 400, "to")
    problem(resident.send("GET", f"{path}/differences?from=1&to=9"), 404, "from")


def signed(name: str, procedure: Any = None) -> Report:
    who = User.objects.get(username=name)
    report = write_draft(procedure=procedure or make_requested_procedure(), sections=TEXT, who=who)
    sign_report(report=report, version=report.version, who=who)
    report.refresh_from_db()
    return report


def test_what_is_held_says_nothing_to_programs_until_it_is_released(supervisor: Person) -> None:
    report = signed("sari")
    program = ApiProgram(scopes=["studies.read"])
    path = f"reports/{report.public_id}"
    assert program.get(path).json()["sections"] == TEXT
    report_holds.hold(procedures={report.requested_procedure_ref_id}, kind=HoldKind.PATIENT)
    entry = program.get(path).json()
    assert (entry["sections"], entry["held"]["kind"], "pdf" in entry["links"]) == ({}, "patient", False)
    assert program.get("reports").json()["data"][0]["sections"] == {}
    for what in ("pdf", "versions", "differences", f"key-images/{uuid.uuid4()}"):
        problem(program.get(f"{path}/{what}"), 409, "report")
    mine = supervisor.send("GET", path).json()
    assert mine["sections"] == TEXT
    given = {"reason": "Benar", "password": PASSWORD}
    problem(supervisor.send("POST", f"{path}/release", {**given, "password": "x"}, mine["version"]), 403, "password")
    problem(supervisor.send("POST", f"{path}/release", {"password": PASSWORD}, mine["version"]), 400, "reason")
    doctor = Person("dr", role=Role.DOCTOR)
    assert doctor.send("POST", f"{path}/release", given, mine["version"]).status_code == 403
    writer = ApiProgram(scopes=["reports.write"], name="writer")
    assert writer.post(f"{path}/release", "{}", "application/json", **{"If-Match": '"1"'}).status_code == 403
    free = supervisor.send("POST", f"{path}/release", given, mine["version"]).json()
    assert free["held"] is None and program.get(path).json()["sections"] == TEXT


def test_late_images_are_told_and_answered(supervisor: Person) -> None:
    report = signed("sari")
    LateImages.objects.create(
        report_ref=report, number_of_images=3, first_at=report.created_at, last_at=report.created_at
    )
    path = f"reports/{report.public_id}"
    assert supervisor.send("GET", path).json()["late_images"]["images"] == 3
    assert supervisor.send("POST", f"{path}/images-seen").json()["late_images"] is None
    problem(supervisor.send("POST", f"{path}/images-seen"), 409, "report")


def test_the_list_costs_the_same_however_many(supervisor: Person, django_assert_max_num_queries: Any) -> None:
    for _ in range(6):
        report = signed("sari")
        report_holds.hold(procedures={report.requested_procedure_ref_id}, kind=HoldKind.PATIENT)
    program = ApiProgram()
    program.get("reports")
    with django_assert_max_num_queries(9):
        assert len(program.get("reports").json()["data"]) == 6
