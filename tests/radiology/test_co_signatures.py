"""A resident's report has two signatures: who gives which, what is told to whom, and what nobody can get around."""

import pytest

from pacs.models import Instance
from radiology.errors import Conflict, InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import (
    CoSignature,
    CoSignatureState,
    Report,
    ReportOrigin,
    ReportStatus,
    RequestedProcedure,
    Resident,
    Role,
    User,
)
from radiology.services import co_signatures
from radiology.services.attached_reports import attach_report
from radiology.services.report_differences import difference_of
from radiology.services.report_versions import Content
from radiology.services.reports import add_addendum, sign_report, withdraw_report, write_draft
from tests.factories import make_key_image, make_requested_procedure, make_site, make_study, make_user

pytestmark = pytest.mark.django_db
TEXT = {"findings": "Nodul di lobus kanan.", "impression": "Nodul."}


@pytest.fixture
def resident() -> User:
    person = make_user("rudi", role=Role.RADIOLOGIST, first_name="Rudi", last_name="Putra")
    Resident.objects.create(user=person)
    return person


@pytest.fixture
def supervisor() -> User:
    return make_user("sari", role=Role.RADIOLOGIST, first_name="Sari", last_name="Dewi")


@pytest.fixture
def procedure() -> RequestedProcedure:
    return make_requested_procedure()


def choose(report: Report) -> None:
    """A key image of the report's newest version."""
    study = make_study(report.requested_procedure_ref.order_ref.patient_ref, series=1, instances=1)
    make_key_image(report, Instance.objects.get(series_ref__study_ref=study))


def waiting(procedure: RequestedProcedure, resident: User, supervisor: User | None = None) -> Report:
    report = write_draft(procedure=procedure, sections=TEXT, who=resident)
    sign_report(report=report, version=report.version, supervisor=supervisor, who=resident)
    report.refresh_from_db()
    return report


def test_two_sign_and_both_are_named(procedure: RequestedProcedure, resident: User, supervisor: User) -> None:
    report = waiting(procedure, resident, supervisor)
    assert report.status == ReportStatus.PRELIMINARY
    asked = CoSignature.objects.get()
    assert (asked.number, asked.supervisor, asked.state) == (1, supervisor, CoSignatureState.WAITING)
    changed = {**TEXT, "findings": "Nodul di lobus kiri."}
    report = write_draft(procedure=procedure, sections=changed, version=report.version, who=supervisor)
    made = sign_report(report=report, version=report.version, who=supervisor)
    assert (made.status, made.author_name, made.writer_name, made.writer) == (
        "final", "Dewi^Sari", "Putra^Rudi", resident,
    )  # fmt: skip
    asked.refresh_from_db()
    assert (asked.state, asked.final_number, asked.is_changed, asked.decided_by) == ("cosigned", 2, True, supervisor)
    assert list(co_signatures.told_to(resident)) == [asked]
    later = write_draft(procedure=procedure, sections=TEXT, version=report.version + 1, who=supervisor)
    amended = sign_report(report=later, version=later.version, reason="Sisi", who=supervisor)
    assert (amended.status, amended.writer_name) == ("amended", "Putra^Rudi")


def test_what_the_supervisor_left_as_it_was_is_no_news(
    procedure: RequestedProcedure, resident: User, supervisor: User
) -> None:
    report = waiting(procedure, resident)
    sign_report(report=report, version=report.version, who=supervisor)
    assert not CoSignature.objects.get().is_changed and not co_signatures.told_to(resident).exists()


@pytest.mark.parametrize("status", [ReportStatus.FINAL, ReportStatus.AMENDED])
def test_a_resident_never_makes_anything_final(
    procedure: RequestedProcedure, resident: User, supervisor: User, status: ReportStatus
) -> None:
    report = write_draft(procedure=procedure, sections=TEXT, who=resident)
    with pytest.raises((NotAllowed, InvalidValue)):
        sign_report(report=report, version=report.version, status=status, who=resident)
    report = waiting(procedure, resident) if status == ReportStatus.AMENDED else report
    with pytest.raises(NotAllowed):
        attach_report(
            procedure=make_requested_procedure(), status=status, content=Content(TEXT), origin=ReportOrigin.REST,
            who=resident,
        )  # fmt: skip
    sign_report(report=report, version=report.version, who=supervisor)
    report.refresh_from_db()
    with pytest.raises(NotAllowed):
        add_addendum(report=report, version=report.version, text="x", who=resident)
    with pytest.raises(NotAllowed):
        withdraw_report(report=report, version=report.version, reason="x", who=resident)
    report = write_draft(procedure=procedure, sections={"findings": "y"}, version=report.version, who=resident)
    for wanted in (None, ReportStatus.PRELIMINARY, ReportStatus.FINAL):
        with pytest.raises(NotAllowed):
            sign_report(report=report, version=report.version, status=wanted, reason="x", who=resident)
    assert report.versions.count() == 2 - (status == ReportStatus.FINAL)


def test_the_second_of_two_supervisors_is_told(procedure: RequestedProcedure, resident: User, supervisor: User) -> None:
    report = waiting(procedure, resident)
    sign_report(report=report, version=report.version, who=supervisor)
    other = make_user("budi", role=Role.RADIOLOGIST)
    for act in (
        lambda: sign_report(report=report, version=report.version, who=other),
        lambda: co_signatures.send_back(report=report, version=report.version, comment="x", who=other),
    ):
        with pytest.raises(PreconditionFailed) as refused:
            act()
        assert "Sari Dewi" in refused.value.message
    assert report.versions.count() == 2


def test_one_person_is_never_two(procedure: RequestedProcedure, resident: User) -> None:
    report = waiting(procedure, resident)
    with pytest.raises(NotAllowed):
        co_signatures.send_back(report=report, version=report.version, comment="x", who=resident)
    Resident.objects.all().delete()
    made = sign_report(report=report, version=report.version, who=resident)
    assert (made.status, made.writer_name) == ("final", "")
    assert CoSignature.objects.get().state == CoSignatureState.ENDED


def test_it_is_sent_back_with_what_the_supervisor_began(
    procedure: RequestedProcedure, resident: User, supervisor: User
) -> None:
    report = waiting(procedure, resident)
    report = write_draft(procedure=procedure, sections={"findings": "z"}, version=report.version, who=supervisor)
    with pytest.raises(InvalidValue):
        co_signatures.send_back(report=report, version=report.version, comment=" ", who=supervisor)
    co_signatures.send_back(report=report, version=report.version, comment="Ukur nodulnya.", who=supervisor)
    report.refresh_from_db()
    assert (report.status, report.draft, report.draft_by) == ("preliminary", {"findings": "z"}, resident)
    assert co_signatures.told_to(resident).get().comment == "Ukur nodulnya."
    with pytest.raises(Conflict):
        co_signatures.send_back(report=report, version=report.version, comment="x", who=supervisor)
    sign_report(report=report, version=report.version, who=resident)
    states = CoSignature.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["returned", "waiting"]


def test_signed_as_final_after_it_was_sent_back_both_are_named(
    procedure: RequestedProcedure, resident: User, supervisor: User
) -> None:
    report = waiting(procedure, resident)
    co_signatures.send_back(report=report, version=report.version, comment="Ukur.", who=supervisor)
    report.refresh_from_db()
    report = write_draft(procedure=procedure, sections={"findings": "14 mm"}, version=report.version, who=supervisor)
    final = sign_report(report=report, version=report.version, who=supervisor)
    assert (final.status, final.author, final.writer) == ("final", supervisor, resident)
    told = co_signatures.told_to(resident).get()
    assert (told.state, told.final_number, told.is_changed) == ("cosigned", 2, True)


def test_other_key_images_are_a_change(procedure: RequestedProcedure, resident: User, supervisor: User) -> None:
    report = waiting(procedure, resident)
    choose(report)
    sign_report(report=report, version=report.version, who=supervisor)
    assert not co_signatures.told_to(resident).exists()
    second = waiting(make_requested_procedure(), resident)
    choose(second)
    Report.objects.filter(pk=second.pk).update(draft=TEXT, draft_key_images=[])
    second.refresh_from_db()
    sign_report(report=second, version=second.version, who=supervisor)
    told = co_signatures.told_to(resident).get()
    assert told.report_ref == second
    before, after = second.versions.get(number=1), second.versions.get(number=2)
    found = difference_of(before, after)
    assert found.has_other_images and found.is_changed and (found.added, found.removed) == (0, 0)
    assert not difference_of(before, before).is_changed


def test_a_resident_signs_anew_and_only_the_last_waits(
    procedure: RequestedProcedure, resident: User, supervisor: User
) -> None:
    report = waiting(procedure, resident)
    sign_report(report=report, version=report.version, who=resident)
    assert [each.number for each in CoSignature.objects.waiting()] == [2]
    report.refresh_from_db()
    with pytest.raises(Conflict):
        sign_report(report=report, version=report.version, status=ReportStatus.PRELIMINARY, who=supervisor)
    withdraw_report(report=report, version=report.version, reason="salah", who=resident)
    assert not CoSignature.objects.waiting().exists()


def test_only_those_who_sign_alone_are_supervisors(procedure: RequestedProcedure, resident: User) -> None:
    second = make_user("second", role=Role.RADIOLOGIST)
    Resident.objects.create(user=second)
    elsewhere = make_user("far", role=Role.RADIOLOGIST, site=make_site("far"))
    nobody = make_user("desk", role=Role.DESK)
    gone = make_user("gone", role=Role.RADIOLOGIST, is_active=False)
    usual = make_user("usual", role=Role.RADIOLOGIST)
    resident.resident.supervisors.add(usual)
    assert co_signatures.supervisors_for(resident) == ([usual], [])
    report = write_draft(procedure=procedure, sections=TEXT, who=resident)
    for person in (second, elsewhere, nobody, gone, resident):
        with pytest.raises(InvalidValue) as refused:
            sign_report(report=report, version=report.version, supervisor=person, who=resident)
        assert refused.value.field == "supervisor"
    with pytest.raises(InvalidValue):
        sign_report(report=report, version=report.version, supervisor=resident, who=usual)
