"""Whether a letter is genuine: its QR code, read by an independent program, and the page that it leads to."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation
from pytest_django import DjangoAssertNumQueries

from radiology.models import AuditEvent, Report, ReportSeal, ReportStatus, ReportVersion, RequestedProcedure, Role, User
from radiology.services import rates
from radiology.services.report_pdf import pdf_of
from radiology.services.reports import add_addendum, sign_report, withdraw_report, write_draft
from radiology.verify_pages import MOST, ending_of, initials_of
from tests.factories import make_order, make_patient, make_report, make_requested_procedure, make_user

pytestmark = pytest.mark.django_db
Tool = Callable[[str], str]
ORIGIN = "https://pacs.example"


@pytest.fixture(autouse=True)
def _calm() -> None:
    rates.VERIFIED.forget()
    rates.WRONG_SEALS.forget()


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def procedure() -> RequestedProcedure:
    order = make_order(make_patient("RM-004711", "LESTARI^AYU^PUTRI"), accession_number="ACC-77")
    return make_requested_procedure(order)


def signed(procedure: RequestedProcedure, who: User, status: ReportStatus = ReportStatus.FINAL) -> Report:
    report = write_draft(procedure=procedure, sections={"impression": "Tuberkulosis paru."}, who=who)
    sign_report(report=report, version=report.version, status=status, who=who)
    report.refresh_from_db()
    return report


def token_of(report: Report, number: int = 1) -> str:
    return ReportSeal.objects.get(version_ref__report_ref=report, version_ref__number=number).token


def page(token: str, **headers: str) -> Any:
    return Client(headers=headers).get(f"/verify/{token}")


def scanned(pdf: bytes, tool: Tool, folder: Path) -> str:
    """What the QR code on the letter's first page says."""
    (folder / "letter.pdf").write_bytes(pdf)
    subprocess.run(["pdftoppm", "-png", "-r", "150", folder / "letter.pdf", folder / "page"], check=True)
    done = subprocess.run(
        [tool("zbarimg"), "-q", "--raw", *sorted(folder.glob("page*.png"))], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_code_of_a_letter_leads_to_its_page(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    report = signed(procedure, radiologist)
    address = scanned(pdf_of(report=report, origin=ORIGIN), tool, tmp_path)
    assert address == f"{ORIGIN}/verify/{token_of(report)}"
    answer = page(address.rpartition("/")[2])
    assert answer.status_code == 200 and answer["Referrer-Policy"] == "no-referrer"
    text = answer.content.decode()
    for expected in ("Genuine, and valid", "Rahmat Hidayat", "A. P. L.", "…711", "ACC-77", report.site.name):
        assert expected in text, expected
    for secret in ("LESTARI", "Lestari", "004711", "Tuberkulosis", procedure.requested_procedure_description):
        assert not secret or secret not in text, secret
    letter = subprocess.run(["pdftotext", tmp_path / "letter.pdf", "-"], capture_output=True, text=True, check=True)
    code = ReportSeal.objects.get().code
    assert re.fullmatch(r"([0-9A-F]{4} ){3}[0-9A-F]{4}", code)
    assert code in text and code in letter.stdout
    event = AuditEvent.objects.get(event="report.verify")
    assert event.patient_ref_id == procedure.order_ref.patient_ref_id and token_of(report) not in str(event.detail)


def test_an_older_letter_says_that_there_is_a_newer_one(procedure: RequestedProcedure, radiologist: User) -> None:
    report = signed(procedure, radiologist)
    add_addendum(report=report, version=report.version, text="Tambahan", who=radiologist)
    report.refresh_from_db()
    older, newer = (page(token_of(report, number)).content.decode() for number in (1, 2))
    assert "there is a newer version" in older and "With addendum" in older and "Tambahan" not in older
    assert "Genuine, and valid" in newer
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    for number in (1, 2):
        text = page(token_of(report, number)).content.decode()
        assert "Withdrawn: do not use" in text and "Genuine, and valid" not in text and "Pasien lain" not in text


@pytest.mark.parametrize(
    "changed",
    [
        {"sections": {"impression": "Normal."}},
        {"markup": {"impression": "<p>Normal.</p>"}},
        {"addenda": [{"text": "Normal.", "by": "Hidayat^Rahmat", "at": "2026-11-02T08:00:00+00:00"}]},
        {"key_images": [{"id": "1", "caption": "Normal."}]},
        {"author_name": "Dewi^Sari"},
        {"writer_name": "Dewi^Sari"},
        {"reason": "Sisi tertukar"},
        {"status": ReportStatus.AMENDED},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_kept_otherwise_than_it_was_signed_is_told(
    procedure: RequestedProcedure, radiologist: User, changed: dict[str, Any]
) -> None:
    report = signed(procedure, radiologist)
    assert "Genuine, and valid" in page(token_of(report)).content.decode()
    ReportVersion.objects.filter(report_ref=report).update(**changed)
    text = page(token_of(report)).content.decode()
    assert "What is kept is not what was signed" in text and "Genuine" not in text


def test_what_nobody_signed_has_no_code(procedure: RequestedProcedure, radiologist: User) -> None:
    report = signed(procedure, radiologist, ReportStatus.PRELIMINARY)
    assert pdf_of(report=report, origin=ORIGIN) and not ReportSeal.objects.exists()
    sign_report(report=report, version=report.version, who=radiologist)
    assert ReportSeal.objects.get().version_ref.number == 2


def test_a_letter_of_before_there_were_codes_gets_one(tool: Tool, tmp_path: Path) -> None:
    report = make_report(impression="Normal.")
    ReportSeal.objects.all().delete()
    addresses = {scanned(pdf_of(report=report, origin=ORIGIN), tool, tmp_path) for _ in range(2)}
    assert addresses == {f"{ORIGIN}/verify/{token_of(report)}"}
    assert "Genuine, and valid" in page(token_of(report)).content.decode()


def test_the_configured_address_goes_before_the_one_that_was_asked(
    procedure: RequestedProcedure, radiologist: User, settings: Any, tool: Tool, tmp_path: Path
) -> None:
    report = signed(procedure, radiologist)
    settings.SINAR_PUBLIC_URL = "https://rsud.example/"
    assert scanned(pdf_of(report=report, origin=ORIGIN), tool, tmp_path).startswith("https://rsud.example/verify/")
    settings.SINAR_PUBLIC_URL = ""
    assert ReportSeal.objects.get().code.encode() and pdf_of(report=report)  # a code, and no picture of one


def test_it_is_told_in_the_language_of_whoever_asks(procedure: RequestedProcedure, radiologist: User) -> None:
    report = signed(procedure, radiologist)
    answer = page(token_of(report), accept_language="id")
    assert answer.headers["Content-Language"] == "id" and 'lang="id"' in answer.content.decode()
    with translation.override("en"):
        assert 'lang="en"' in page(token_of(report), accept_language="en").content.decode()


@pytest.mark.parametrize("token", ["x" * 22, "%00" * 20, "a" * 4000, "' OR 1=1 --", "é" * 20])
def test_a_code_that_is_of_nothing_says_so(token: str) -> None:
    answer = page(token)
    assert answer.status_code == 404 and "of no letter" in answer.content.decode()


def test_nobody_tries_codes_for_long(
    procedure: RequestedProcedure, radiologist: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "clock", lambda: 0.0)
    token = token_of(signed(procedure, radiologist))
    assert {page("y" * 22).status_code for _ in range(50)} == {404}
    assert page("y" * 22).status_code == 429
    rates.VERIFIED.forget()
    assert {page(token).status_code for _ in range(MOST)} == {200}
    refused = page(token)
    assert refused.status_code == 429 and int(refused["Retry-After"]) > 0


def test_it_costs_few_queries(
    procedure: RequestedProcedure, radiologist: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    token = token_of(signed(procedure, radiologist))
    with django_assert_max_num_queries(3):
        page(token)


@pytest.mark.parametrize(("number", "shown"), [("RM-004711", "…711"), ("12345", "…5"), ("12", "…"), ("", "—")])
def test_a_short_number_is_not_told_whole(number: str, shown: str) -> None:
    assert ending_of(number) == shown


def test_a_name_is_its_first_letters() -> None:
    assert initials_of(make_patient("1", "ünal^ali=山田^太郎")) == "A. Ü."
    assert initials_of(make_patient("2", "")) == "—"
