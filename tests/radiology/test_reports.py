"""Reports: what may become of one, what is kept of it, and what is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from radiology.errors import Conflict, InvalidValue, NotAllowed, PreconditionFailed, RadiologyError
from radiology.models import (
    AuditEvent,
    Report,
    ReportOrigin,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Role,
    Scope,
    User,
)
from radiology.services.attached_reports import attach_report
from radiology.services.merges import merge_patients
from radiology.services.order_moves import mark_entered_in_error
from radiology.services.report_versions import Content
from radiology.services.reports import add_addendum, discard_draft, sign_report, withdraw_report, write_draft
from radiology.signals import report_published
from tests.factories import make_order, make_requested_procedure, make_site, make_token, make_user

pytestmark = pytest.mark.django_db
TEXT = {"findings": "Cor dan pulmo normal.", "impression": "Normal."}


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def procedure() -> RequestedProcedure:
    return make_requested_procedure()


@pytest.fixture
def told() -> Iterator[list[str]]:
    said: list[str] = []

    def hear(version: ReportVersion, **_: Any) -> None:
        said.append(version.status)

    report_published.connect(hear)
    yield said
    report_published.disconnect(hear)


def signed(procedure: RequestedProcedure, who: User, **texts: str) -> Report:
    report = write_draft(procedure=procedure, sections=texts or TEXT, who=who)
    sign_report(report=report, version=report.version, who=who)
    report.refresh_from_db()
    return report


def test_a_report_is_drafted_signed_amended_added_to_and_every_version_stays(
    procedure: RequestedProcedure, radiologist: User, told: list[str]
) -> None:
    report = write_draft(procedure=procedure, sections={"findings": "  Cor\r\nnormal. \r\n"}, who=radiologist)
    assert (report.status, report.number, report.draft) == ("draft", 0, {"findings": "Cor\nnormal."})
    sign_report(report=report, version=1, status=ReportStatus.PRELIMINARY, who=radiologist)
    sign_report(report=report, version=2, who=radiologist)
    report = write_draft(procedure=procedure, sections=TEXT, version=3, who=radiologist)
    assert report.status == ReportStatus.FINAL and report.versions.count() == 2
    with pytest.raises(InvalidValue) as refused:
        sign_report(report=report, version=4, who=radiologist)
    assert refused.value.field == "reason"
    sign_report(report=report, version=4, reason="Sisi tertukar", who=radiologist)
    add_addendum(report=report, version=5, text="Dibandingkan dengan foto lama.", who=radiologist)
    assert told == ["preliminary", "final", "amended", "appended"]
    versions = list(report.versions.order_by("number"))
    assert [each.sections for each in versions] == [{"findings": "Cor\nnormal."}] * 2 + [TEXT] * 2
    assert versions[2].reason == "Sisi tertukar"
    assert versions[3].addenda[0]["text"] == "Dibandingkan dengan foto lama."
    assert versions[3].author_name == versions[3].addenda[0]["by"] == "Hidayat^Rahmat"
    report.refresh_from_db()
    assert (report.status, report.number, report.draft) == ("appended", 4, None)
    events = AuditEvent.objects.filter(event="report", patient_ref=procedure.order_ref.patient_ref)
    assert events.count() == 6


def test_an_addendum_keeps_the_draft_of_an_amendment(procedure: RequestedProcedure, radiologist: User) -> None:
    report = signed(procedure, radiologist)
    report = write_draft(procedure=procedure, sections={"findings": "Baru"}, version=report.version, who=radiologist)
    add_addendum(report=report, version=report.version, text="Tambahan", who=radiologist)
    report.refresh_from_db()
    assert report.draft == {"findings": "Baru"}
    version = sign_report(report=report, version=report.version, reason="lengkap", who=radiologist)
    assert version.status == ReportStatus.AMENDED and [each["text"] for each in version.addenda] == ["Tambahan"]


def test_a_withdrawn_report_stays_and_another_one_can_be_written(
    procedure: RequestedProcedure, radiologist: User, told: list[str]
) -> None:
    report = signed(procedure, radiologist)
    with pytest.raises(InvalidValue):
        withdraw_report(report=report, version=report.version, reason=" ", who=radiologist)
    withdraw_report(report=report, version=report.version, reason="Pasien lain", who=radiologist)
    withdraw_report(report=report, version=None, reason="Pasien lain", who=radiologist)
    assert told == ["final", "entered-in-error"]
    another = signed(procedure, radiologist)
    assert another.pk != report.pk and Report.objects.count() == 2


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"conclusion": "x"}, "sections"),
        ({"findings": 7}, "sections.findings"),
        ({"findings": "x" * 100_001}, "sections.findings"),
        (["x"], "sections"),
    ],
)
def test_what_is_no_section_is_named(
    procedure: RequestedProcedure, radiologist: User, sections: Any, field: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        write_draft(procedure=procedure, sections=sections, who=radiologist)
    assert refused.value.field == field and Report.objects.count() == 0


def test_a_report_that_says_nothing_is_not_signed(procedure: RequestedProcedure, radiologist: User) -> None:
    report = write_draft(procedure=procedure, sections={"findings": " \n "}, who=radiologist)
    with pytest.raises(InvalidValue):
        sign_report(report=report, version=1, who=radiologist)
    assert discard_draft(report=report, version=1, who=radiologist) is None
    assert Report.objects.count() == 0


def test_nobody_writes_over_somebody_else(procedure: RequestedProcedure, radiologist: User) -> None:
    other = make_user("sari", role=Role.RADIOLOGIST)
    report = write_draft(procedure=procedure, sections=TEXT, who=radiologist)
    with pytest.raises(Conflict) as refused:
        write_draft(procedure=procedure, sections={"findings": "x"}, who=other)
    assert refused.value.facts["report"] == report
    write_draft(procedure=procedure, sections={"findings": "x"}, version=1, who=other)
    for late in (
        lambda: write_draft(procedure=procedure, sections=TEXT, version=1, who=radiologist),
        lambda: sign_report(report=report, version=1, who=radiologist),
    ):
        with pytest.raises(PreconditionFailed):
            late()
    report.refresh_from_db()
    assert report.draft == {"findings": "x"}


def test_who_may_write_and_who_may_sign(procedure: RequestedProcedure, radiologist: User) -> None:
    report = write_draft(procedure=procedure, sections=TEXT, who=radiologist)
    for who in (make_user("ani", role=Role.RADIOGRAPHER), make_user("adm", role=Role.ADMINISTRATOR)):
        with pytest.raises(NotAllowed):
            write_draft(procedure=procedure, sections=TEXT, version=1, who=who)
        with pytest.raises(NotAllowed):
            sign_report(report=report, version=1, who=who)
    token, _ = make_token("ai", scopes=[Scope.REPORTS_WRITE])
    signed_here = signed(make_requested_procedure(), radiologist)
    with pytest.raises(NotAllowed):
        withdraw_report(report=signed_here, version=None, reason="x", who=token)


def test_drafts_are_seen_by_who_writes_reports_and_no_report_by_another_site(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    write_draft(procedure=procedure, sections=TEXT, who=radiologist)
    done = signed(make_requested_procedure(), radiologist)
    doctor = make_user("dokter", role=Role.DOCTOR)
    stranger = make_user("luar", site=make_site(), role=Role.RADIOLOGIST)
    assert list(Report.objects.visible_to(doctor)) == [done]
    assert Report.objects.visible_to(radiologist).count() == 2
    assert not Report.objects.visible_to(stranger)


def test_a_report_goes_along_with_its_order(procedure: RequestedProcedure, radiologist: User) -> None:
    report = signed(procedure, radiologist)
    survivor = make_order().patient_ref
    chief = make_user("chief", is_superuser=True)
    merge_patients(who=chief, survivor=survivor, merged=procedure.order_ref.patient_ref, reason="twice")
    assert Report.objects.get(pk=report.pk).requested_procedure_ref.order_ref.patient_ref == survivor


def test_nothing_is_reported_of_what_was_called_off(procedure: RequestedProcedure, radiologist: User) -> None:
    mark_entered_in_error(order=procedure.order_ref, reason="salah pasien")
    with pytest.raises(Conflict):
        write_draft(procedure=procedure, sections=TEXT, who=radiologist)


class TestElsewhere:
    def attach(self, procedure: RequestedProcedure, status: str = "final", **given: Any) -> tuple[ReportVersion, bool]:
        values = {"content": Content(TEXT), "origin": ReportOrigin.REST, "author_name": "WIBOWO^BUDI", **given}
        return attach_report(procedure=procedure, status=ReportStatus(status), **values)

    def test_it_is_taken_over_once_and_each_change_is_a_version(
        self, procedure: RequestedProcedure, told: list[str]
    ) -> None:
        assert self.attach(procedure, "preliminary")[1]
        assert self.attach(procedure)[1] and not self.attach(procedure)[1]
        version, is_new = self.attach(procedure, content=Content({"findings": "lain"}))
        assert is_new and version.status == "amended"
        assert told == ["preliminary", "final", "amended"]
        with pytest.raises(Conflict):
            self.attach(procedure, "preliminary")

    def test_a_name_with_spaces_around_it_is_the_same_name(self, procedure: RequestedProcedure) -> None:
        assert self.attach(procedure, author_name=" WIBOWO^BUDI ")[1]
        assert not self.attach(procedure, author_name=" WIBOWO^BUDI ")[1]

    def test_a_pdf_is_kept_as_it_came(self, procedure: RequestedProcedure) -> None:
        version, _ = self.attach(procedure, content=Content(pdf=b"%PDF-1.7 x"))
        assert ReportVersion.objects.get(pk=version.pk).written_pdf == b"%PDF-1.7 x"

    @pytest.mark.parametrize(
        "given",
        [
            {"content": Content(pdf=b"MZ")},
            {"content": Content(pdf=b"%PDF-" + bytes(10 << 20))},
            {"content": Content({"findings": ""})},
            {"status": "entered-in-error"},
        ],
    )
    def test_what_is_no_report_is_refused(self, procedure: RequestedProcedure, given: dict[str, Any]) -> None:
        with pytest.raises(RadiologyError):
            self.attach(procedure, **given)
        assert Report.objects.count() == 0

    def test_it_replaces_no_report_of_our_own_nor_one_under_another_number(
        self, procedure: RequestedProcedure, radiologist: User
    ) -> None:
        signed(procedure, radiologist)
        with pytest.raises(Conflict):
            self.attach(procedure)
        another = make_requested_procedure()
        self.attach(another, external_id="R1")
        with pytest.raises(Conflict):
            self.attach(another, external_id="R2", content=Content({"findings": "x"}))
        with pytest.raises(Conflict):
            write_draft(procedure=another, sections=TEXT, version=1, who=radiologist)
