"""The second signature at the reading view's door and on the reading list; and what pages say of held reports."""

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import CoSignature, HoldKind, LateImages, Report, RequestedProcedure, Resident, Role, User
from radiology.services import report_holds
from radiology.services.reports import sign_report, write_draft
from tests.factories import make_instance, make_key_image, make_reading, make_site, make_user
from worklist.models import Reading, Turnaround

pytestmark = pytest.mark.django_db
PASSWORD = "rahasia-sekali-1"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
TEXT = {"findings": "Nodul di lobus kanan.", "impression": "Nodul."}


@pytest.fixture
def supervisor() -> User:
    return make_user("sari", role=Role.RADIOLOGIST, first_name="Sari", last_name="Dewi")


@pytest.fixture
def resident(supervisor: User) -> User:
    person = make_user("rudi", role=Role.RADIOLOGIST, first_name="Rudi", last_name="Putra")
    Resident.objects.create(user=person).supervisors.add(supervisor)
    return person


@pytest.fixture
def procedure() -> RequestedProcedure:
    return make_reading().requested_procedure_ref


class Desk:
    """A browser with the reading view open."""

    def __init__(self, who: User, procedure: RequestedProcedure) -> None:
        self.who, self.client = who, Client()
        self.client.force_login(who, backend=MODEL_BACKEND)
        self.address = f"/reading/{procedure.public_id}"

    def open(self) -> Any:
        return self.client.get(self.address)

    def send(self, method: str, what: str, **body: Any) -> Any:
        given = {"user": str(self.who.public_id), **body}
        return self.client.generic(method, f"{self.address}/{what}", json.dumps(given), "application/json")

    def sign(self, version: int, **more: Any) -> Any:
        return self.send("POST", "sign", version=version, password=PASSWORD, **more)

    def views(self) -> dict[str, int]:
        return {name: count for name, _, count, _ in self.client.get("/reading").context["tabs"]}


def signed_by(resident: User, procedure: RequestedProcedure, **more: Any) -> Report:
    report = write_draft(procedure=procedure, sections=TEXT, who=resident)
    sign_report(report=report, version=report.version, who=resident, **more)
    report.refresh_from_db()
    return report


def test_a_resident_signs_and_the_supervisor_finds_it(
    resident: User, supervisor: User, procedure: RequestedProcedure
) -> None:
    Turnaround.objects.create(priority="ROUTINE", modality="", minutes=600, cosign_minutes=30)
    desk, other = Desk(resident, procedure), Desk(supervisor, procedure)
    page = desk.open()
    assert page.context["is_resident"] and page.context["usual_supervisors"] == [supervisor]
    desk.send("PUT", "draft", version=0, sections={"findings": "<p>Nodul kanan.</p>"})
    refused = desk.sign(1, status="final")
    assert refused.status_code == 403 and refused.json()["field"] == "status"
    done = desk.sign(1, status="preliminary", supervisor=str(supervisor.public_id))
    assert done.json()["status"] == "preliminary"
    row = Reading.objects.get()
    asked = CoSignature.objects.get()
    assert (row.resident, row.assigned_to, row.claimed_by) == (resident, supervisor, None)
    assert (row.due_at - asked.requested_at).total_seconds() == 30 * 60
    assert other.views()["cosign"] == 1 and other.views()["preliminary"] == 0
    assert desk.views()["cosign"] == 1
    listed = other.client.get("/reading?view=cosign").content.decode()
    assert "To co-sign: Rudi Putra" in listed
    taken = other.client.post("/reading/next", {"view": "cosign"})
    assert taken["Location"] == other.address
    page = other.open()
    assert page.context["cosigns"] and not page.context["held"]
    assert page.context["state"]["sections"] == {"findings": "<p>Nodul kanan.</p>"}
    written = other.send("PUT", "draft", version=2, sections={"findings": "<p>Nodul &lt;b&gt; kiri.</p>"})
    told = other.client.get(f"{other.address}/difference").content.decode()
    assert "<del>kanan.</del> <ins>&lt;b&gt; kiri.</ins>" in told
    final = other.sign(written.json()["version"], status="final")
    assert final.json()["status"] == "final"
    assert other.views()["cosign"] == 0
    home = desk.client.get("/").content.decode()
    assert "1 report of yours was changed" in home
    mine = desk.client.get("/reports/changed")
    assert [each.final_number for each in mine.context["rows"]] == [2]
    report = Report.objects.get()
    compared = desk.client.get(f"/reports/{report.public_id}/differences")
    assert "<del>kanan.</del>" in compared.content.decode()
    assert "1 report of yours" not in desk.client.get("/").content.decode()
    shown = Client()
    shown.force_login(make_user("dr", role=Role.DOCTOR), backend=MODEL_BACKEND)
    letter = shown.get(f"/reports/{report.public_id}").content.decode()
    assert "Written by Rudi Putra" in letter and "Sari Dewi" in letter


def test_it_is_sent_back_with_a_comment(resident: User, supervisor: User, procedure: RequestedProcedure) -> None:
    report = signed_by(resident, procedure)
    other = Desk(supervisor, procedure)
    assert other.send("POST", "return", version=report.version, comment=" ").json()["field"] == "comment"
    for wrong in ("x", True, None):
        assert other.send("POST", "return", version=wrong, comment="x").json()["field"] == "version"
        assert other.send("POST", "sign", version=wrong, password=PASSWORD).json()["field"] == "version"
    assert other.send("POST", "return", version=report.version, comment="Ukur nodulnya.").json() == {"returned": True}
    row = Reading.objects.get()
    assert (row.assigned_to, row.resident) == (resident, None)
    desk = Desk(resident, procedure)
    assert desk.views()["mine"] == 1
    page = desk.open()
    assert "Ukur nodulnya." in page.content.decode() and not page.context["state"]["readOnly"]
    assert "Ukur nodulnya." in desk.client.get("/reports/changed").content.decode()
    assert other.client.get(f"{other.address}/difference").status_code == 404


def test_other_key_images_alone_are_told_before_the_second_signature(
    resident: User, supervisor: User, procedure: RequestedProcedure
) -> None:
    report = signed_by(resident, procedure)
    make_key_image(report, make_instance())
    desk = Desk(supervisor, procedure)
    told = desk.client.get(f"{desk.address}/difference").content.decode()
    assert "Nothing was changed" in told and "key images" not in told
    Report.objects.update(draft=TEXT, draft_key_images=[])
    told = desk.client.get(f"{desk.address}/difference").content.decode()
    assert "Nothing was changed" not in told and "The key images are not the same" in told


def test_the_result_says_who_wrote_what_somebody_else_signed(
    resident: User, supervisor: User, procedure: RequestedProcedure
) -> None:
    report = signed_by(resident, procedure)
    sign_report(report=report, version=report.version, who=supervisor)
    for address in (f"/results/{procedure.public_id}", f"/reports/{report.public_id}"):
        page = Desk(supervisor, procedure).client.get(address)
        text = page.content.decode()
        assert "radiology/report_watch.css" in text
        assert page.context["version"].writer_name == "Putra^Rudi"
        assert re.search(r"Written by[^a-z]*(</dt><dd>)?Rudi Putra", text), address
        assert "1 former version" in text and text.count("Nodul di lobus kanan.") == 2


def test_the_second_of_two_who_co_sign_is_told(resident: User, supervisor: User, procedure: RequestedProcedure) -> None:
    report = signed_by(resident, procedure)
    assert Desk(supervisor, procedure).sign(report.version, status="final").status_code == 200
    late = Desk(make_user("budi", role=Role.RADIOLOGIST), procedure).sign(report.version, status="final")
    assert late.status_code == 412 and "Sari Dewi" in late.json()["message"]


def test_a_resident_takes_no_next_one_to_co_sign(resident: User, procedure: RequestedProcedure) -> None:
    second = make_user("second", role=Role.RADIOLOGIST)
    Resident.objects.create(user=second)
    signed_by(resident, procedure)
    desk = Desk(second, procedure)
    assert desk.views()["cosign"] == 0
    assert desk.client.post("/reading/next", {"view": "cosign"})["Location"].startswith("/reading?view=cosign")
    page = desk.open()
    assert not page.context["cosigns"]


def held_report(supervisor: User, procedure: RequestedProcedure) -> Report:
    report = write_draft(procedure=procedure, sections=TEXT, who=supervisor)
    sign_report(report=report, version=report.version, who=supervisor)
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT, who=supervisor)
    report.refresh_from_db()
    return report


def test_a_held_report_gives_its_text_to_nobody_outside(supervisor: User, procedure: RequestedProcedure) -> None:
    report = held_report(supervisor, procedure)
    address = f"/reports/{report.public_id}"
    doctor = Client()
    doctor.force_login(make_user("dr", role=Role.DOCTOR), backend=MODEL_BACKEND)
    page = doctor.get(address).content.decode()
    assert "moved to another patient" in page and "Nodul" not in page and "report-hold" not in page
    assert doctor.get(f"{address}/pdf").status_code == 409
    assert doctor.get(f"{address}/differences").status_code == 404
    assert doctor.get("/reports/held").status_code == 403
    assert doctor.post(f"{address}/hold", {"do": "release", "reason": "x", "password": PASSWORD}).status_code == 404
    desk = Desk(supervisor, procedure)
    page = desk.client.get(address).content.decode()
    assert "Nodul" in page and f'action="{address}/hold"' in page
    assert "1 report is held" in desk.client.get("/").content.decode()
    assert [each.report_ref for each in desk.client.get("/reports/held").context["rows"]] == [report]
    assert desk.client.get(f"{desk.address}/news").json()["held"]
    assert 'data-do="sign"' not in desk.open().content.decode()
    given = {"do": "release", "reason": "Benar", "version": report.version}
    assert desk.client.post(f"{address}/hold", {**given, "password": "wrong"}).status_code == 403
    assert desk.client.post(f"{address}/hold", {**given, "version": "9" * 30, "password": PASSWORD}).status_code == 400
    assert desk.client.post(f"{address}/hold", {**given, "do": "", "password": PASSWORD}).status_code == 400
    assert desk.client.post(f"{address}/hold", {**given, "password": PASSWORD}).status_code == 302
    assert "Nodul" in doctor.get(address).content.decode()
    assert doctor.get(f"{address}/pdf").status_code == 200


def test_it_is_withdrawn_from_where_it_is_held(supervisor: User, procedure: RequestedProcedure) -> None:
    report = held_report(supervisor, procedure)
    given = {"do": "withdraw", "reason": "Salah", "version": report.version, "password": PASSWORD}
    client = Desk(supervisor, procedure).client
    assert client.post(f"/reports/{report.public_id}/hold", given).status_code == 302
    report.refresh_from_db()
    assert (report.status, report.held_at) == ("entered-in-error", None)


def test_late_images_stand_on_the_page_until_answered(supervisor: User, procedure: RequestedProcedure) -> None:
    report = write_draft(procedure=procedure, sections=TEXT, who=supervisor)
    version = sign_report(report=report, version=report.version, who=supervisor)
    LateImages.objects.create(
        report_ref=report, number_of_images=3, first_at=version.at, last_at=version.at, author=supervisor
    )
    desk = Desk(supervisor, procedure)
    assert "3 images came after reading" in desk.open().content.decode()
    assert "Images came after 1 report of yours" in desk.client.get("/").content.decode()
    address = f"/reports/{report.public_id}"
    doctor = Client()
    doctor.force_login(make_user("dr", role=Role.DOCTOR), backend=MODEL_BACKEND)
    assert "Seen, no change" not in doctor.get(address).content.decode()
    assert doctor.post(f"{address}/images-seen").status_code == 403
    assert desk.client.post(f"{address}/images-seen").status_code == 302
    assert "came after reading" not in desk.client.get(address).content.decode()


def test_nobody_of_another_site_sees_or_does_anything(
    resident: User, supervisor: User, procedure: RequestedProcedure
) -> None:
    report = signed_by(resident, procedure)
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    far = Desk(make_user("far", role=Role.RADIOLOGIST, site=make_site("far")), procedure)
    assert far.send("POST", "return", version=report.version, comment="x").status_code == 404
    for path in (f"{far.address}/difference", f"{far.address}/news", f"/reports/{report.public_id}/differences"):
        assert far.client.get(path).status_code == 404
    for path in ("hold", "images-seen"):
        assert far.client.post(f"/reports/{report.public_id}/{path}", {"do": "release"}).status_code in {403, 404}
    assert far.client.get("/reports/held").context["rows"] == []
    assert far.client.get("/reports/changed").context["rows"] == []


@pytest.mark.parametrize("path", ["/reports/changed", "/reports/held"])
def test_the_lists_are_paged_and_cost_the_same(
    resident: User, supervisor: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Desk(resident, make_reading().requested_procedure_ref).client

    def add(number: int) -> None:
        for _ in range(number):
            procedure = make_reading().requested_procedure_ref
            report = signed_by(resident, procedure)
            if path.endswith("held"):
                report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
            else:
                report = write_draft(
                    procedure=procedure, sections={"findings": "x"}, version=report.version, who=supervisor
                )
                sign_report(report=report, version=report.version, who=supervisor)

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        return len(queries)

    add(1)
    cost()
    few = cost()
    add(4)
    assert cost() == few <= 8
    monkeypatch.setattr("radiology.report_review_pages.PAGE", 2)
    first = client.get(path).context
    second = client.get(f"{path}?before={first['next']}").context
    keys = [each.pk for each in [*first["rows"], *second["rows"]]]
    assert len(keys) == 4 and keys == sorted(keys, reverse=True)
    assert client.get(f"{path}?before=x").status_code == 400
