"""The reading view's door: what is typed comes in, what somebody else wrote is never overwritten, signing."""

import json
from typing import Any

import pytest
from django.test import Client

from pacs.models import Study
from radiology.models import Report, ReportOrigin, ReportStatus, RequestedProcedure, Role, User
from radiology.services.attached_reports import attach_report
from radiology.services.report_versions import Content
from radiology.services.reports import sign_report, write_draft
from tests.factories import make_order, make_patient, make_site, make_study, make_user
from worklist.services.reading_rows import refresh_studies

pytestmark = pytest.mark.django_db
PASSWORD = "rahasia-sekali-1"


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def procedure() -> RequestedProcedure:
    order = make_order(make_patient("1", "LESTARI^AYU", patient_sex="F"), procedures=1, accession_number="A1")
    procedure = order.requested_procedures.get()
    study = make_study(
        order.patient_ref, study_instance_uid=procedure.study_instance_uid, requested_procedure_ref=procedure
    )
    refresh_studies([study.pk])
    return procedure


class Desk:
    """A browser with the reading view open."""

    def __init__(self, who: User, procedure: RequestedProcedure) -> None:
        self.who, self.client = who, Client()
        self.client.force_login(who)
        self.address = f"/reading/{procedure.public_id}"

    def open(self, query: str = "") -> Any:
        return self.client.get(self.address + query)

    def send(self, method: str, what: str, body: dict[str, Any], user: User | None = None) -> Any:
        given = {"user": str((user or self.who).public_id), **body}
        return self.client.generic(method, f"{self.address}/{what}", json.dumps(given), "application/json")

    def type(self, version: int, **sections: str) -> Any:
        return self.send("PUT", "draft", {"version": version, "sections": sections})

    def sign(self, version: int, **more: Any) -> Any:
        return self.send("POST", "sign", {"version": version, "password": PASSWORD, "status": "final", **more})


@pytest.fixture
def desk(radiologist: User, procedure: RequestedProcedure) -> Desk:
    return Desk(radiologist, procedure)


def state_of(answer: Any) -> Any:
    return answer.context["state"]


def test_a_report_is_written_and_signed_in_the_page(desk: Desk) -> None:
    page = desk.open()
    assert page.status_code == 200 and state_of(page)["version"] == 0
    first = desk.type(0, findings="<p>Cor <strong>normal</strong><script>x</script></p>")
    assert first.json() == {"version": 1, "warnings": []}
    assert desk.type(1, findings="<p>Cor normal.</p>", impression="<p>Normal.</p>").json()["version"] == 2
    again = state_of(desk.open())
    assert (again["version"], again["isDraft"], again["by"]) == (2, True, "Rahmat Hidayat")
    assert again["sections"] == {"findings": "<p>Cor normal.</p>", "impression": "<p>Normal.</p>"}
    signed = desk.sign(2)
    assert signed.json()["status"] == "final"
    version = Report.objects.get().versions.get()
    assert version.sections == {"findings": "Cor normal.", "impression": "Normal."}
    assert desk.client.get(signed.json()["report"]).status_code == 200


def test_a_wrong_password_signs_nothing(desk: Desk) -> None:
    desk.type(0, findings="<p>x</p>")
    refused = desk.sign(1, password="wrong")
    assert refused.status_code == 403 and refused.json()["field"] == "password"
    assert Report.objects.get().status == ReportStatus.DRAFT


def test_an_amendment_says_why_and_an_addendum_stands_beside(desk: Desk) -> None:
    desk.type(0, findings="<p>x</p>")
    desk.sign(1)
    assert state_of(desk.open())["sections"] == {"findings": "<p>x</p>"}
    assert desk.type(2, findings="<p>y</p>").status_code == 200
    refused = desk.sign(3)
    assert refused.status_code == 400 and refused.json()["field"] == "reason"
    assert desk.sign(3, reason="Side").json()["status"] == "amended"
    assert desk.sign(4, addendum="More.").json()["status"] == "appended"
    newest = Report.objects.get().versions.first()
    assert newest is not None and newest.markup == {"findings": "<p>y</p>"} and newest.addenda[0]["text"] == "More."


def test_what_another_window_wrote_is_told_and_stays(desk: Desk) -> None:
    desk.type(0, findings="<p>first</p>")
    desk.type(1, findings="<p>first and more</p>")
    for stale in (0, 1, None, "2"):
        refused = desk.send("PUT", "draft", {"version": stale, "sections": {"findings": "<p>other</p>"}})
        assert refused.status_code == 412
        assert refused.json()["there"]["sections"] == {"findings": "<p>first and more</p>"}
    assert desk.type(2, findings="<p>merged</p>").json()["version"] == 3


def test_two_who_begin_at_once_do_not_overwrite_each_other(desk: Desk, procedure: RequestedProcedure) -> None:
    other = Desk(make_user("sari", role=Role.RADIOLOGIST), procedure)
    desk.type(0, findings="<p>mine</p>")
    refused = other.type(0, findings="<p>theirs</p>")
    assert refused.status_code == 412 and refused.json()["there"]["by"] == "Rahmat Hidayat"


def test_who_opens_it_has_it_and_the_next_is_told_who(desk: Desk, procedure: RequestedProcedure) -> None:
    desk.open()
    other = Desk(make_user("sari", role=Role.RADIOLOGIST), procedure)
    page = other.open()
    assert state_of(page)["readOnly"] and "Rahmat Hidayat" in page.context["held"]
    assert "Rahmat Hidayat" in page.content.decode()
    assert state_of(other.open("?take=over"))["readOnly"]
    taken = other.client.post(f"{other.address}/claim", {"take_over": "1", "next": other.address})
    assert taken.headers["Location"].startswith(other.address)
    assert not state_of(other.open())["readOnly"]
    assert state_of(desk.open())["readOnly"]


def test_somebody_else_at_the_same_computer_does_not_sign_what_was_typed(desk: Desk) -> None:
    sari = make_user("sari", role=Role.RADIOLOGIST)
    refused = desk.send("PUT", "draft", {"version": 0, "sections": {"findings": "<p>x</p>"}}, user=sari)
    assert refused.status_code == 409 and refused.json()["field"] == "user"
    assert not Report.objects.exists()


def test_after_the_session_s_end_the_answer_says_where_to_sign_in(desk: Desk) -> None:
    desk.client.logout()
    refused = desk.type(0, findings="<p>x</p>")
    assert refused.status_code == 401 and refused.json()["signIn"].startswith("/accounts/login/?next=%2Freading")


def test_the_side_and_the_sex_are_warned_of(desk: Desk, procedure: RequestedProcedure) -> None:
    procedure.laterality = "R"
    procedure.save()
    warned = desk.type(0, findings="<p>Fraktur kiri, prostat besar.</p>").json()["warnings"]
    assert len(warned) == 2
    assert all(text in desk.open().content.decode() for text in ("kiri", "prostat"))


def test_throwing_a_draft_away_leaves_what_was_signed(desk: Desk) -> None:
    desk.type(0, findings="<p>x</p>")
    assert desk.send("DELETE", "draft", {"version": 1}).json()["version"] == 0
    assert not Report.objects.exists()
    desk.type(0, findings="<p>x</p>")
    desk.sign(1)
    desk.type(2, findings="<p>y</p>")
    kept = desk.send("DELETE", "draft", {"version": 3}).json()
    assert kept["sections"] == {"findings": "<p>x</p>"} and not kept["isDraft"]
    assert desk.type(3, findings="<p>late</p>").status_code == 412


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("[]", 400), ("{", 400), ("[" * 5000, 400), ('{"user": 3}', 409), ("x" * (5 << 20), 413)],
)
def test_a_body_that_is_none_is_refused(desk: Desk, body: str, status: int) -> None:
    answer = desk.client.generic("PUT", f"{desk.address}/draft", body, "application/json")
    assert answer.status_code == status and answer.json()["message"]


@pytest.mark.parametrize("sections", [3, "x", ["findings"], {"nothing": "<p>x</p>"}, {"findings": None}])
def test_sections_that_are_none_are_refused(desk: Desk, sections: Any) -> None:
    assert desk.send("PUT", "draft", {"version": 0, "sections": sections}).status_code == 400
    assert not Report.objects.exists()


def test_who_only_reads_goes_to_what_is_published(procedure: RequestedProcedure, radiologist: User) -> None:
    doctor = Desk(make_user("dokter", role=Role.DOCTOR), procedure)
    assert doctor.open().status_code == 404
    write_draft(procedure=procedure, sections={"findings": "not yet said"}, who=radiologist)
    assert doctor.client.get(f"{doctor.address}/draft").status_code == 403
    assert doctor.type(0, findings="<p>x</p>").status_code == 403
    report = write_draft(procedure=procedure, sections={"findings": "x"}, who=radiologist)
    sign_report(report=report, version=2, who=radiologist)
    assert doctor.open().headers["Location"] == f"/reports/{report.public_id}"


def test_another_site_s_examination_is_not_there(procedure: RequestedProcedure) -> None:
    stranger = Desk(make_user("asing", role=Role.RADIOLOGIST, site=make_site()), procedure)
    assert stranger.open().status_code == 404
    assert stranger.type(0, findings="<p>x</p>").status_code == 404


def test_a_report_from_elsewhere_is_only_shown(desk: Desk, procedure: RequestedProcedure) -> None:
    attach_report(
        procedure=procedure, status=ReportStatus.FINAL, content=Content({"findings": "x"}), origin=ReportOrigin.REST
    )
    assert state_of(desk.open())["readOnly"]
    assert desk.type(1, findings="<p>y</p>").status_code == 409


def test_a_study_leads_to_its_reading(desk: Desk, procedure: RequestedProcedure) -> None:
    found = desk.client.get(f"/reading/of?study={procedure.study_instance_uid}")
    assert found.headers["Location"] == f"/reading/{procedure.public_id}"
    assert desk.client.get("/reading/of?study=1.2").status_code == 404


def test_pages_and_saving_cost_a_bounded_number_of_queries(desk: Desk, django_assert_max_num_queries: Any) -> None:
    patient = Study.objects.get().patient_ref
    for number in range(6):
        make_study(patient, study_date=f"2020010{number + 1}")
    desk.open()
    desk.type(0, findings="<p>x</p>")
    with django_assert_max_num_queries(28):
        desk.open()
    with django_assert_max_num_queries(22):
        desk.type(1, findings="<p>y</p>")
