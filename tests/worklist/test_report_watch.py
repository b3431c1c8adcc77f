"""Images that leave their report hold it; images that come after reading are told to who read."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.models import WebhookDelivery
from pacs.models import Correction, Instance, Study
from pacs.services import corrections
from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import (
    AuditEvent,
    HoldKind,
    LateImages,
    LateOutcome,
    Report,
    ReportHold,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Resident,
    Role,
    User,
)
from radiology.services import late_images, report_holds
from radiology.services.merges import merge_patients, undo_merge
from radiology.services.reports import add_addendum, sign_report, withdraw_report, write_draft
from tests.factories import (
    make_case,
    make_instance,
    make_key_image,
    make_order,
    make_patient,
    make_reading,
    make_requested_procedure,
    make_series,
    make_study,
    make_user,
)
from tests.integrations.webhook_receiver import make_webhook
from worklist.models import Reading, ReadingState, StudyCompletion
from worklist.services import priors
from worklist.services.reading import ReadingFilter, readings
from worklist.services.reconciliation import link
from worklist.services.reconciliation_decisions import mark_wrong_patient, undo
from worklist.signals import study_completed

pytestmark = pytest.mark.django_db
TEXT = {"findings": "Nodul di lobus kanan.", "impression": "Nodul."}


@pytest.fixture
def radiologist() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def chief() -> User:
    return make_user("chief", is_superuser=True)


@pytest.fixture
def procedure() -> RequestedProcedure:
    return make_reading(make_patient("1", "LESTARI^AYU")).requested_procedure_ref


def study_of(procedure: RequestedProcedure) -> Study:
    return Study.objects.get(requested_procedure_ref=procedure)


def reported(procedure: RequestedProcedure, who: User, status: str = "final") -> Report:
    report = write_draft(procedure=procedure, sections=TEXT, who=who)
    if status != "draft":
        sign_report(report=report, version=report.version, status=ReportStatus(status), who=who)
    report.refresh_from_db()
    return report


def assign(study: Study, patient: Any, who: User) -> Correction:
    study.refresh_from_db()
    return corrections.assign_patient(who=who, study=study, version=study.version, patient=patient)


@pytest.mark.parametrize("status", ["draft", "preliminary", "final"])
def test_a_report_is_held_when_its_images_become_another_patients(
    procedure: RequestedProcedure, radiologist: User, chief: User, status: str
) -> None:
    report = reported(procedure, radiologist, status)
    study = study_of(procedure)
    made = assign(study, make_patient("2", "SANTOSO^BUDI"), chief)
    hold = ReportHold.objects.get()
    assert (hold.kind, hold.report_ref, hold.agent) == (HoldKind.PATIENT, report, "chief")
    report.refresh_from_db()
    assert report.held_at is not None
    write = write_draft(procedure=procedure, sections={"findings": "y"}, version=report.version, who=radiologist)
    for act in (
        lambda: sign_report(report=write, version=write.version, reason="x", who=radiologist),
        lambda: add_addendum(report=write, version=write.version, text="x", who=radiologist),
    ):
        with pytest.raises(Conflict):
            act()
    corrections.undo(who=chief, correction=made)
    hold.refresh_from_db()
    assert hold.moved_back_at is not None and hold.ended_at is None
    report.refresh_from_db()
    with pytest.raises(InvalidValue):
        report_holds.release(report=report, version=report.version, reason="", who=radiologist)
    report_holds.release(report=report, version=report.version, reason="Sudah benar", who=radiologist)
    report.refresh_from_db()
    assert report.held_at is None
    sign_report(report=report, version=report.version, reason="x", who=radiologist)
    told = AuditEvent.objects.filter(event="report", detail__has_key="held")
    assert told.count() == 1


def test_linked_to_another_order_it_says_where_the_images_are_and_goes_along(
    procedure: RequestedProcedure, radiologist: User, chief: User
) -> None:
    report = reported(procedure, radiologist)
    other = make_requested_procedure(make_order(make_patient("2", "SANTOSO^BUDI")))
    decision = link(who=chief, case=make_case(study_of(procedure), other), procedure=other)
    hold = ReportHold.objects.get()
    assert (hold.kind, hold.linked_to) == (HoldKind.PATIENT, other)
    undo(who=chief, decision=decision)
    hold.refresh_from_db()
    assert hold.moved_back_at is not None and hold.linked_to is None
    study = study_of(procedure)
    link(who=chief, case=study.reconciliation_case, procedure=other)
    hold = ReportHold.objects.get()
    assert hold.moved_back_at is None and hold.linked_to == other
    report.refresh_from_db()
    assert report_holds.move_along(report=report, version=report.version, reason="Salah", who=radiologist) == other
    report.refresh_from_db()
    assert (report.status, report.held_at) == ("entered-in-error", None)
    moved = Report.objects.get(requested_procedure_ref=other)
    assert (moved.draft, moved.number, moved.draft_by) == (TEXT, 0, radiologist)


def test_key_images_go_along_and_addenda_are_not_lost(
    procedure: RequestedProcedure, radiologist: User, chief: User
) -> None:
    report = reported(procedure, radiologist)
    image = make_key_image(report, make_instance())
    other = make_requested_procedure(make_order(make_patient("2", "SANTOSO^BUDI")))
    link(who=chief, case=make_case(study_of(procedure), other), procedure=other)
    report.refresh_from_db()
    version = report.versions.get()
    ReportVersion.objects.filter(pk=version.pk).update(
        addenda=[{"text": "Juga kiri.", "by": "x", "at": report.created_at.isoformat()}]
    )
    with pytest.raises(Conflict):
        report_holds.move_along(report=report, version=report.version, reason="Salah", who=radiologist)
    ReportVersion.objects.filter(pk=version.pk).update(addenda=[])
    report_holds.move_along(report=report, version=report.version, reason="Salah", who=radiologist)
    moved = Report.objects.get(requested_procedure_ref=other)
    assert [each["id"] for each in moved.draft_key_images or []] == [image]


def test_a_draft_goes_along_as_it_is(procedure: RequestedProcedure, radiologist: User, chief: User) -> None:
    report = reported(procedure, radiologist, "draft")
    other = make_requested_procedure(make_order(procedure.order_ref.patient_ref))
    link(who=chief, case=make_case(study_of(procedure), other), procedure=other)
    assert ReportHold.objects.get().kind == HoldKind.ORDER
    report.refresh_from_db()
    report_holds.move_along(report=report, version=report.version, reason="Order lain", who=radiologist)
    report.refresh_from_db()
    assert (report.requested_procedure_ref, report.draft, report.held_at) == (other, TEXT, None)
    state = Reading.objects.get(requested_procedure_ref=other).state
    assert state == ReadingState.DRAFTED


def test_a_regular_merge_holds_nothing_one_that_is_taken_back_what_was_written_meanwhile(
    procedure: RequestedProcedure, radiologist: User, chief: User
) -> None:
    before = make_reading(procedure.order_ref.patient_ref).requested_procedure_ref
    reported(before, radiologist)
    survivor = make_patient("9", "LESTARI^AYU PUTRI")
    merge = merge_patients(merged=procedure.order_ref.patient_ref, survivor=survivor, reason="Dua nomor", who=chief)
    procedure.refresh_from_db()
    report = reported(RequestedProcedure.objects.get(pk=procedure.pk), radiologist)
    assert not ReportHold.objects.exists()
    undo_merge(merge=merge, who=chief)
    hold = ReportHold.objects.get()
    assert (hold.report_ref, hold.kind, hold.agent) == (report, HoldKind.UNMERGED, chief.username)
    assert AuditEvent.objects.filter(event="report", user=chief, detail__held="unmerged").exists()


def test_images_hidden_as_of_the_wrong_patient_hold_it(
    procedure: RequestedProcedure, radiologist: User, chief: User
) -> None:
    report = reported(procedure, radiologist)
    study = study_of(procedure)
    decision = mark_wrong_patient(who=chief, case=make_case(study, state="linked"), reason="Salah orang")
    assert ReportHold.objects.get().kind == HoldKind.HIDDEN
    undo(who=chief, decision=decision)
    assert ReportHold.objects.get().moved_back_at is not None
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="Salah", who=radiologist)
    assert ReportHold.objects.get().outcome == "withdrawn"


def test_images_that_become_their_orders_patients_hold_nothing(radiologist: User, chief: User) -> None:
    patient = make_patient("1", "LESTARI^AYU")
    procedure = make_requested_procedure(make_order(patient))
    study = make_study(make_patient("2", "AYU^LESTARI"), requested_procedure_ref=procedure)
    reported(procedure, radiologist)
    assign(study, patient, chief)
    assert not ReportHold.objects.exists()


def test_only_who_has_the_right_decides(procedure: RequestedProcedure, radiologist: User, chief: User) -> None:
    report = reported(procedure, radiologist)
    assign(study_of(procedure), make_patient("2", "SANTOSO^BUDI"), chief)
    report.refresh_from_db()
    resident = make_user("rudi", role=Role.RADIOLOGIST)
    Resident.objects.create(user=resident)
    for person in (resident, make_user("adm", role=Role.ADMINISTRATOR), make_user("dr", role=Role.DOCTOR)):
        for act in (report_holds.release, report_holds.move_along):
            with pytest.raises(NotAllowed):
                act(report=report, version=report.version, reason="x", who=person)
    with pytest.raises(Conflict):
        report_holds.move_along(report=report, version=report.version, reason="x", who=radiologist)


def test_programs_are_told_that_it_is_held_and_released(
    procedure: RequestedProcedure, radiologist: User, chief: User
) -> None:
    make_webhook("https://127.0.0.1:9/", events=["report.held"])
    report = reported(procedure, radiologist)
    assign(study_of(procedure), make_patient("2", "SANTOSO^BUDI"), chief)
    report.refresh_from_db()
    report_holds.release(report=report, version=report.version, reason="Benar", who=radiologist)
    said = [json.loads(each.body)["data"] for each in WebhookDelivery.objects.order_by("pk")]
    assert [(each["held"], each["kind"], each["outcome"]) for each in said] == [
        (True, "patient", ""),
        (False, "patient", "released"),
    ]


def test_a_held_report_is_no_former_report(procedure: RequestedProcedure, radiologist: User, chief: User) -> None:
    reported(procedure, radiologist)
    later = make_reading(procedure.order_ref.patient_ref).requested_procedure_ref
    Study.objects.filter(requested_procedure_ref=procedure).update(sort_at=timezone.now() - timedelta(days=90))
    [prior] = priors.priors_of(who=radiologist, procedure=later)
    assert prior.impression == "Nodul."
    report_holds.hold(procedures={procedure.pk}, kind=HoldKind.PATIENT)
    [prior] = priors.priors_of(who=radiologist, procedure=later)
    assert (prior.report, prior.impression) == (None, "")


def arrive(study: Study, number: int = 1, **fields: Any) -> None:
    make_series(study, instances=number, **fields)


def quiet(study: Study) -> None:
    made = StudyCompletion.objects.create(study_ref=study, how="quiet", number_of_instances=1)
    study_completed.send(sender=Study, study=study, performed=[], completion=made)
    made.delete()


def test_images_after_reading_are_told_once_a_batch_and_answered(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    make_webhook("https://127.0.0.1:9/", events=["report.late_images"])
    report = reported(procedure, radiologist)
    study = study_of(procedure)
    quiet(study)
    assert not LateImages.objects.exists()
    arrive(study, 3)
    assert not LateImages.objects.exists()  # not before it is quiet again
    quiet(study)
    quiet(study)
    late = LateImages.objects.get()
    assert (late.number_of_images, late.author, late.report_ref) == (3, radiologist, report)
    assert list(late_images.open_for(radiologist)) == [late]
    listed = readings(who=radiologist, wanted=ReadingFilter("late"))
    assert [(each.late_images, each.state) for each in listed] == [(3, ReadingState.DONE)]
    arrive(study, 2)
    quiet(study)
    late.refresh_from_db()
    assert late.number_of_images == 5 and WebhookDelivery.objects.count() == 2
    late_images.acknowledge(report=report, who=radiologist)
    with pytest.raises(Conflict):
        late_images.acknowledge(report=report, who=radiologist)
    late.refresh_from_db()
    assert (late.outcome, late.ended_by) == (LateOutcome.SEEN, radiologist)
    assert not readings(who=radiologist, wanted=ReadingFilter("late")).exists()
    quiet(study)
    assert LateImages.objects.count() == 1


@pytest.mark.parametrize("modality", ["SR", "DOC", "PR", "KO"])
def test_what_is_no_image_warns_nobody(procedure: RequestedProcedure, radiologist: User, modality: str) -> None:
    reported(procedure, radiologist)
    arrive(study_of(procedure), 2, modality=modality)
    quiet(study_of(procedure))
    assert not LateImages.objects.exists()


def test_an_addendum_answers_and_a_draft_is_not_warned(procedure: RequestedProcedure, radiologist: User) -> None:
    report = reported(procedure, radiologist, "draft")
    study = study_of(procedure)
    arrive(study)
    quiet(study)
    assert not LateImages.objects.exists()
    sign_report(report=report, version=report.version, who=radiologist)
    quiet(study)
    assert not LateImages.objects.exists()
    arrive(study)
    quiet(study)
    report.refresh_from_db()
    add_addendum(report=report, version=report.version, text="Seri baru tanpa kelainan.", who=radiologist)
    assert LateImages.objects.get().outcome == LateOutcome.AMENDED
    Instance.objects.filter(series_ref__study_ref=study).update(created_at=timezone.now())
    quiet(study)
    assert LateImages.objects.count() == 2


def test_an_answer_takes_the_right_to_sign(procedure: RequestedProcedure, radiologist: User) -> None:
    report = reported(procedure, radiologist)
    arrive(study_of(procedure))
    quiet(study_of(procedure))
    with pytest.raises(NotAllowed):
        late_images.acknowledge(report=report, who=make_user("dr", role=Role.DOCTOR))
