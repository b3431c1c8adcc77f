"""What is kept of the markup of a report, and the text that is made of it."""

import pytest

from radiology.errors import InvalidValue
from radiology.models import AuditEvent, Report, RequestedProcedure, Role, User
from radiology.services.report_markup import LONGEST_MARKUP, markup_of, markup_of_text, sanitised, text_of_markup
from radiology.services.report_pdf import pdf_of
from radiology.services.reports import add_addendum, sign_report, withdraw_report, write_draft
from tests.factories import make_requested_procedure, make_user

LISTS = (
    "<p>Lung:</p><ul><li><p>left <strong>clear</strong></p></li><li><p>right</p><ol><li>a</li><li>b</li></ol></li></ul>"
)
HOSTILE = [
    ("<script>alert(1)</script>x", "x"),
    ("<img src=x onerror=alert(1)>x", "x"),
    ("<p onclick=alert(1) style='position:fixed'>x</p>", "<p>x</p>"),
    ("<a href='javascript:alert(1)'>x</a>", "<a>x</a>"),
    ("<a href='https://elsewhere.example/viewer?a'>x</a>", "<a>x</a>"),
    ("<a href='//elsewhere.example/viewer?'>x</a>", "<a>x</a>"),
    ("<svg><a xlink:href='javascript:alert(1)'>x</a></svg>y", "y"),
    ("<math><mtext></p><style><img src=x onerror=alert(1)></style>", ""),
    ("<iframe srcdoc='<script>alert(1)</script>'></iframe>", ""),
    ("<p>x\x00</p>", "<p>x</p>"),
]


@pytest.mark.parametrize(("markup", "kept"), HOSTILE)
def test_what_could_run_or_lead_elsewhere_is_not_kept(markup: str, kept: str) -> None:
    safe = sanitised(markup)
    assert safe.replace("<p></p>", "") == kept
    assert sanitised(safe) == safe


def test_a_measurement_leads_to_the_viewer() -> None:
    link = '<p>Nodule <a href="/viewer?StudyInstanceUIDs=1.2&amp;x=1">12 mm</a></p>'
    assert sanitised(link) == link and text_of_markup(link) == "Nodule 12 mm"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a</p><p></p><p>b</p>", "a\n\nb"),
        ("<p>a</p>\n  <p>b</p>", "a\nb"),
        ("a<br>b", "a\nb"),
        (LISTS, "Lung:\n- left clear\n- right\n  1. a\n  2. b"),
        ("<ol><li>x</li></ol>after", "1. x\nafter"),
        ("<p>5 &lt; 6 &amp;&amp; 7 &gt; 3</p>", "5 < 6 && 7 > 3"),
        ("<p></p><p> </p>", ""),
        ("", ""),
    ],
)
def test_the_text_has_a_line_for_every_paragraph_and_item(markup: str, text: str) -> None:
    assert text_of_markup(markup).strip() == text


@pytest.mark.parametrize("text", ["one", "a\nb\n\nc", "5 < 6 & <b>", "", "ü \u200b 肺"])
def test_a_text_as_markup_is_the_same_text(text: str) -> None:
    assert text_of_markup(sanitised(markup_of_text(text))) == text


def test_sections_without_a_word_are_left_out_and_too_much_is_refused() -> None:
    assert markup_of({"findings": "<p> </p>", "impression": "<p>x</p>"}) == {"impression": "<p>x</p>"}
    with pytest.raises(InvalidValue) as refused:
        markup_of({"findings": "x" * (LONGEST_MARKUP + 1)})
    assert refused.value.field == "sections.findings"
    with pytest.raises(InvalidValue):
        markup_of({"findings": 3})


@pytest.mark.django_db
class TestReports:
    @pytest.fixture
    def radiologist(self) -> User:
        return make_user("rahmat", role=Role.RADIOLOGIST)

    @pytest.fixture
    def procedure(self) -> RequestedProcedure:
        return make_requested_procedure()

    def test_every_version_keeps_how_it_was_written_beside_its_text(
        self, procedure: RequestedProcedure, radiologist: User
    ) -> None:
        written = {"findings": LISTS + "<script>alert(1)</script>", "impression": "<p>Normal</p>"}
        report = write_draft(procedure=procedure, markup=written, who=radiologist)
        assert report.draft == {"findings": text_of_markup(LISTS), "impression": "Normal"}
        sign_report(report=report, version=1, who=radiologist)
        add_addendum(report=report, version=2, text="More.", who=radiologist)
        withdraw_report(report=report, version=3, reason="Wrong patient", who=radiologist)
        report = Report.objects.get()
        assert report.draft_markup is None
        assert [each.markup["findings"] for each in report.versions.all()] == [LISTS] * 3
        assert pdf_of(report=report).startswith(b"%PDF-")

    def test_a_text_written_after_markup_replaces_it(self, procedure: RequestedProcedure, radiologist: User) -> None:
        report = write_draft(procedure=procedure, markup={"findings": LISTS}, who=radiologist)
        report = write_draft(procedure=procedure, sections={"findings": "plain"}, version=1, who=radiologist)
        assert (report.draft, report.draft_markup) == ({"findings": "plain"}, None)
        sign_report(report=report, version=2, who=radiologist)
        assert report.versions.get().markup == {}

    def test_whoever_writes_on_is_told_of_once(self, procedure: RequestedProcedure, radiologist: User) -> None:
        for number in range(5):
            write_draft(procedure=procedure, markup={"findings": f"<p>{number}</p>"}, who=radiologist)
        assert AuditEvent.objects.filter(event="report").count() == 1
        colleague = make_user("sari", role=Role.RADIOLOGIST)
        write_draft(procedure=procedure, markup={"findings": "<p>x</p>"}, version=5, who=colleague)
        assert AuditEvent.objects.filter(event="report").count() == 2
