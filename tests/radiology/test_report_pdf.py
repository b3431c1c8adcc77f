"""The letter of a report, read back by an independent program."""

import re
import subprocess
from pathlib import Path

import pytest
from django.utils import translation

from radiology.models import Report, ReportStatus
from radiology.services.report_pdf import file_name, pdf_of
from radiology.services.report_versions import Content, publish
from tests.factories import make_order, make_patient, make_requested_procedure

pytestmark = pytest.mark.django_db


def letter(status: ReportStatus, **texts: str) -> bytes:
    patient = make_patient("00<12>34", "SARI^SITI <b>x</b>")
    order = make_order(patient, accession_number="ACC'7\"", referring_physician_name="BUDI^WIBOWO")
    report = Report(requested_procedure_ref=make_requested_procedure(order))
    publish(
        report,
        status,
        Content(texts, addenda=[{"text": "Tambahan", "by": "A^B", "at": "2024-01-25T08:00:00Z"}]),
        who=None,
    )
    return pdf_of(report=report)


def text_of(pdf: bytes, folder: Path) -> str:
    file = folder / "letter.pdf"
    file.write_bytes(pdf)
    done = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_letter_says_whose_it_is_and_what_was_found(tmp_path: Path) -> None:
    pdf = letter(ReportStatus.FINAL, findings="Baris satu\n  baris <b>dua</b>", impression="Normal")
    assert pdf.startswith(b"%PDF-")
    text = text_of(pdf, tmp_path)
    for expected in ("00<12>34", "ACC'7\"", "<b>x</b>", "<b>dua</b>", "Normal", "Tambahan"):
        assert expected in text, expected
    assert re.search(r"1 ?/ ?1", text) and "Preliminary" not in text


@pytest.mark.parametrize(
    ("status", "said"),
    [(ReportStatus.PRELIMINARY, "Preliminary report"), (ReportStatus.ENTERED_IN_ERROR, "Withdrawn")],
)
def test_what_must_not_be_relied_on_says_so(tmp_path: Path, status: ReportStatus, said: str) -> None:
    assert said in text_of(letter(status, findings="x"), tmp_path)


def test_it_is_written_in_the_language_of_whoever_asks(tmp_path: Path) -> None:
    with translation.override("id"):
        text = text_of(letter(ReportStatus.FINAL, findings="x", impression="y"), tmp_path)
    assert "Kesan" in text and "Temuan" in text


def test_a_long_report_has_pages_that_all_say_whose_they_are(tmp_path: Path) -> None:
    text = text_of(letter(ReportStatus.FINAL, findings="Kata panjang. " * 1500), tmp_path)
    pages = text.split("\f")[:-1]
    assert len(pages) > 2 and all("00<12>34" in page for page in pages)


def test_the_name_of_the_file_tells_no_patient() -> None:
    order = make_order(make_patient("1", "SARI^SITI"), accession_number="A/../1")
    name = file_name(Report(requested_procedure_ref=make_requested_procedure(order)))
    assert name == "A..1.pdf" and "SITI" not in name


def test_a_measurement_is_words_on_paper_and_no_address(tmp_path: Path) -> None:
    report = Report(requested_procedure_ref=make_requested_procedure())
    link = '<a href="/viewer?StudyInstanceUIDs=1.2#tool=Length">7.5 mm</a>'
    markup = {"findings": f"<p>Nodul <strong>{link}</strong> &lt;kanan&gt;.</p>"}
    publish(report, ReportStatus.FINAL, Content({"findings": "Nodul 7.5 mm <kanan>."}, markup=markup), who=None)
    pdf = pdf_of(report=report)
    assert "Nodul 7.5 mm <kanan>." in text_of(pdf, tmp_path)
    told = subprocess.run(
        ["pdfinfo", "-url", tmp_path / "letter.pdf"], capture_output=True, text=True, check=True
    ).stdout
    assert "/viewer" not in told
