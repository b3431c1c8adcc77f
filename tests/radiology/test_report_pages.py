"""The page of a report, and where it is found from."""

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from pacs.models import Study
from radiology.models import AuditEvent, ReportOrigin, ReportStatus, Role
from radiology.services.attached_reports import attach_report
from radiology.services.report_versions import Content
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import make_order, make_report, make_requested_procedure, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def doctor() -> Client:
    client = Client()
    client.force_login(make_user("dokter", role=Role.DOCTOR, language="en"))
    return client


def test_what_it_means_comes_first(doctor: Client, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    report = make_report(findings="Nodul <b>14</b> mm.", impression="Suspek maligna.", technique="CT polos")
    # who asks: session (and three to prolong it), user, site, rights (2), groups; what is shown: report, versions, late
    # images, critical results of it and others of the patient; what is noted: the audit, what is new to the reader
    with django_assert_max_num_queries(9 + 5 + 2):
        page = doctor.get(f"/reports/{report.public_id}").content.decode()
    places = [page.index(text) for text in ("Suspek maligna.", "CT polos", "Nodul &lt;b&gt;14")]
    assert places == sorted(places)
    assert f"AccessionNumber={report.requested_procedure_ref.order_ref.accession_number}" in page
    assert AuditEvent.objects.filter(event="report", action="R").count() == 1
    letter = doctor.get(f"/reports/{report.public_id}/pdf")
    assert letter["Content-Type"] == "application/pdf" and letter.content.startswith(b"%PDF-")


def test_former_versions_and_a_withdrawal_are_seen(doctor: Client) -> None:
    rahmat = make_user("rahmat", role=Role.RADIOLOGIST)
    procedure = make_requested_procedure()
    report = write_draft(procedure=procedure, sections={"impression": "satu"}, who=rahmat)
    sign_report(report=report, version=1, who=rahmat)
    report = write_draft(procedure=procedure, sections={"impression": "dua"}, version=2, who=rahmat)
    sign_report(report=report, version=3, reason="Sisi tertukar", who=rahmat)
    page = doctor.get(f"/reports/{report.public_id}").content.decode()
    assert page.index("dua") < page.index("1 former version") < page.index("satu") and "Sisi tertukar" in page
    withdraw_report(report=report, version=None, reason="Pasien lain", who=rahmat)
    page = doctor.get(f"/reports/{report.public_id}").content.decode()
    assert "Do not use it" in page and "Pasien lain" in page


def test_drafts_and_other_sites_reports_have_no_page(doctor: Client) -> None:
    draft = write_draft(procedure=make_requested_procedure(), sections={"impression": "x"}, who=None)
    report = make_report()
    stranger = Client()
    stranger.force_login(make_user("luar", site=make_site(), role=Role.RADIOLOGIST))
    for client, found in ((doctor, draft), (stranger, report)):
        for path in (f"/reports/{found.public_id}", f"/reports/{found.public_id}/pdf"):
            assert client.get(path).status_code == 404


def test_it_is_found_from_its_order_and_its_study(doctor: Client) -> None:
    order = make_order()
    report = make_report(make_requested_procedure(order))
    study = make_study(order.patient_ref)
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=report.requested_procedure_ref)
    write_draft(procedure=make_requested_procedure(order), sections={"impression": "x"}, who=None)
    for path in (f"/orders/{order.public_id}", f"/studies/{study.study_instance_uid}"):
        links = re.findall(r'href="/reports/([0-9a-f-]+)"', doctor.get(path).content.decode())
        assert links == [str(report.public_id)]


def test_a_report_that_is_a_pdf_alone_says_so(doctor: Client) -> None:
    version, _ = attach_report(
        procedure=make_requested_procedure(),
        status=ReportStatus.PRELIMINARY,
        content=Content(pdf=b"%PDF-1.7 x"),
        origin=ReportOrigin.HL7,
    )
    page = doctor.get(f"/reports/{version.report_ref.public_id}").content.decode()
    assert "came as a PDF" in page and "not signed as final" in page
    assert doctor.get(f"/reports/{version.report_ref.public_id}/pdf").content == b"%PDF-1.7 x"
