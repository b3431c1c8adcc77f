"""What is on the reading list: put there and taken off with the images, the order and the report."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from pacs.models import Removal, Study
from pacs.services.corrections import merge_studies
from pacs.services.corrections import undo as undo_correction
from pacs.services.removal import delete_study, restore
from radiology.models import Job, JobState, Order, ProcedureStatus, Report, RequestedProcedure, Role, User
from radiology.services.jobs import run_due
from radiology.services.merges import merge_patients
from radiology.services.order_moves import mark_entered_in_error
from radiology.services.orders import change_order
from radiology.services.reports import add_addendum, discard_draft, sign_report, withdraw_report, write_draft
from radiology.signals import order_changed
from tests.factories import (
    default_site,
    make_case,
    make_order,
    make_patient,
    make_reading,
    make_report,
    make_requested_procedure,
    make_series,
    make_study,
    make_user,
)
from worklist.demo import list_readings
from worklist.models import CaseState, Reading, ReadingState, StudyCompletion, Turnaround
from worklist.services.reading_rows import SWEEP, refresh_studies, sweep_soon
from worklist.services.reconciliation import link
from worklist.services.reconciliation_decisions import undo
from worklist.signals import study_completed

pytestmark = pytest.mark.django_db
TEXT = {"findings": "Cor dan pulmo normal.", "impression": "Normal."}


@pytest.fixture
def chief() -> User:
    return make_user("chief", is_superuser=True)


def state(procedure: RequestedProcedure | None) -> str | None:
    return Reading.objects.filter(requested_procedure_ref=procedure).values_list("state", flat=True).first()


def unlinked(procedure: RequestedProcedure, **fields: Any) -> Study:
    study = make_study(procedure.order_ref.patient_ref, **fields)
    make_series(study, instances=1)
    return study


def test_an_examination_comes_with_its_link_and_goes_when_that_is_taken_back(chief: User) -> None:
    procedure = make_requested_procedure()
    study = unlinked(procedure)
    assert state(procedure) is None
    decision = link(who=chief, case=make_case(study, procedure), procedure=procedure)
    row = Reading.objects.get(requested_procedure_ref=procedure)
    assert (row.state, row.study_ref, row.modality, row.regions) == ("unread", study, "CT", ["chest"])
    undo(who=chief, decision=decision)
    assert state(procedure) == ReadingState.GONE
    study.refresh_from_db()
    link(who=chief, case=study.reconciliation_case, procedure=procedure)
    assert state(procedure) == ReadingState.UNREAD


def test_what_the_same_images_also_serve_is_read_too(chief: User) -> None:
    first = make_requested_procedure()
    also = make_requested_procedure(make_order(first.order_ref.patient_ref), body_part_examined="ABDOMEN")
    study = unlinked(first)
    decision = link(who=chief, case=make_case(study, first), procedure=first, also=[also])
    assert state(also) == ReadingState.UNREAD and Reading.objects.get(requested_procedure_ref=also).study_ref == study
    undo(who=chief, decision=decision)
    assert state(also) == ReadingState.GONE


def test_a_report_takes_it_off_and_a_withdrawn_one_puts_it_back() -> None:
    reading = make_reading()
    procedure, who = reading.requested_procedure_ref, make_user("r", role=Role.RADIOLOGIST)
    report = write_draft(procedure=procedure, sections=TEXT, who=who)
    reading.refresh_from_db()
    assert (reading.state, reading.draft_by) == ("drafted", who)
    discard_draft(report=report, version=report.version, who=who)
    assert state(procedure) == ReadingState.UNREAD
    report = write_draft(procedure=procedure, sections=TEXT, who=who)
    sign_report(report=report, version=report.version, status="preliminary", who=who)
    assert state(procedure) == ReadingState.PRELIMINARY
    report.refresh_from_db()
    sign_report(report=report, version=report.version, who=who)
    assert state(procedure) == ReadingState.DONE
    report.refresh_from_db()
    add_addendum(report=report, version=report.version, text="Lihat juga hepar.", who=who)
    assert state(procedure) == ReadingState.DONE
    report.refresh_from_db()
    write_draft(procedure=procedure, sections={"impression": "Other."}, version=report.version, who=who)
    assert state(procedure) == ReadingState.DONE
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="wrong patient", who=who)
    assert state(procedure) == ReadingState.UNREAD


def test_a_signed_report_ends_the_claim_and_a_report_from_elsewhere_does_too() -> None:
    reading, now = make_reading(), timezone.now()
    Reading.objects.update(claimed_by=make_user("r"), claimed_at=now, active_at=now)
    make_report(reading.requested_procedure_ref)
    reading.refresh_from_db()
    assert (reading.state, reading.claimed_by, reading.active_at) == ("done", None, None)


def test_a_report_that_came_before_its_images_keeps_them_off_the_list(chief: User) -> None:
    procedure = make_requested_procedure()
    make_report(procedure)
    assert state(procedure) is None
    link(who=chief, case=make_case(unlinked(procedure), procedure), procedure=procedure)
    assert state(procedure) == ReadingState.DONE


def test_deleted_images_take_it_off_and_restored_ones_put_it_back(chief: User) -> None:
    reading = make_reading()
    assert reading.study_ref is not None
    delete_study(who=chief, study=reading.study_ref, reason="phantom")
    assert state(reading.requested_procedure_ref) == ReadingState.GONE
    restore(who=chief, removal=Removal.objects.get())
    assert state(reading.requested_procedure_ref) == ReadingState.UNREAD


def test_images_that_were_merged_into_another_study_are_read_there(chief: User) -> None:
    reading = make_reading()
    procedure, study = reading.requested_procedure_ref, reading.study_ref
    assert study is not None
    other = unlinked(procedure, study_instance_uid="2.25.1")
    correction = merge_studies(who=chief, study=study, version=study.version, into=other)
    reading.refresh_from_db()
    assert (reading.state, reading.study_ref) == ("unread", other)
    undo_correction(who=chief, correction=correction)
    reading.refresh_from_db()
    assert (reading.state, reading.study_ref) == ("unread", study)


def test_an_order_that_was_an_error_is_not_read_and_one_that_got_urgent_is_due_sooner(chief: User) -> None:
    reading = make_reading(ago=timedelta(minutes=30))
    order = reading.requested_procedure_ref.order_ref
    assert reading.due_at - timezone.now() > timedelta(hours=23)
    changed = change_order(order=order, version=order.version, changes={"priority": "STAT"}, accept_warnings=True)
    reading.refresh_from_db()
    assert (reading.urgency, reading.priority) == (0, "STAT")
    assert timedelta(minutes=29) < reading.due_at - timezone.now() < timedelta(minutes=31)
    mark_entered_in_error(order=changed, reason="wrong patient")
    assert state(reading.requested_procedure_ref) == ReadingState.GONE


def test_a_cancelled_procedure_comes_back_when_it_is_wanted_again() -> None:
    procedure = make_reading().requested_procedure_ref
    for status, wanted in ((ProcedureStatus.CANCELLED, "gone"), (ProcedureStatus.COMPLETED, "unread")):
        RequestedProcedure.objects.update(status=status)
        order_changed.send(sender=Order, order=procedure.order_ref, procedures=[procedure], changes={}, who=None)
        assert state(procedure) == wanted


def test_merged_patients_and_moved_orders_stay_on_the_list(chief: User) -> None:
    reading = make_reading()
    survivor, merged = make_patient("S"), reading.requested_procedure_ref.order_ref.patient_ref
    merge_patients(who=chief, survivor=survivor, merged=merged, reason="twice")
    reading = Reading.objects.get()
    assert reading.state == "unread" and reading.requested_procedure_ref.order_ref.patient_ref == survivor


def test_the_time_runs_from_the_first_time_that_the_images_were_complete() -> None:
    reading = make_reading(ago=timedelta(hours=2), priority="STAT")
    study = reading.study_ref
    assert study is not None
    at = timezone.now() - timedelta(minutes=20)
    for reopened_at, moment in ((at + timedelta(minutes=5), at), (None, timezone.now())):
        made = StudyCompletion.objects.create(study_ref=study, how="quiet", at=moment, reopened_at=reopened_at)
        study_completed.send(sender=Study, study=study, performed=[], completion=made)
        reading.refresh_from_db()
        assert (reading.images_complete_at, reading.due_at) == (at, at + timedelta(minutes=60))


def test_agreed_turnarounds_hold_for_what_waits_already() -> None:
    ct, dx = make_reading(), make_reading(modality="DX")
    begun = {each.pk: each.due_at for each in (ct, dx)}
    Turnaround.objects.create(site=default_site(), priority="ROUTINE", minutes=120)
    Turnaround.objects.create(site=default_site(), priority="ROUTINE", modality="CT", minutes=30)
    run_due()
    for each, minutes in ((ct, 30), (dx, 120)):
        each.refresh_from_db()
        assert begun[each.pk] - each.due_at == timedelta(minutes=24 * 60 - minutes)


def test_what_was_written_behind_our_back_is_found_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worklist.services.reading_rows.SWEEP_BATCH", 2)
    kept = [make_reading() for _ in range(3)]
    missed = make_reading().requested_procedure_ref
    Reading.objects.filter(requested_procedure_ref=missed).delete()
    signed = make_reading().requested_procedure_ref
    make_report(signed)
    Report.objects.filter(requested_procedure_ref=signed).update(status="entered-in-error")
    gone, hidden = make_reading(), make_reading()
    Study.objects.filter(readings=gone).update(deleted_at=timezone.now())
    Reading.objects.filter(pk=hidden.pk).update(state="gone")
    also = make_requested_procedure()
    make_case(kept[0].study_ref, state=CaseState.LINKED).also_serves.add(also)
    sweep_soon()
    run_due()
    found = dict(Reading.objects.values_list("requested_procedure_ref", "state"))
    assert found == {
        **{each.requested_procedure_ref_id: "unread" for each in (*kept, hidden)},
        missed.pk: "unread",
        signed.pk: "unread",
        also.pk: "unread",
        gone.requested_procedure_ref_id: "gone",
    }
    assert Job.objects.get(kind=SWEEP).state == JobState.DONE


def test_what_is_right_already_is_not_written(django_assert_max_num_queries: Any) -> None:
    readings = [make_reading() for _ in range(5)]
    before = set(Reading.objects.values_list("pk", "updated_at"))
    with django_assert_max_num_queries(9):
        refresh_studies([each.study_ref_id for each in readings if each.study_ref_id])
    assert set(Reading.objects.values_list("pk", "updated_at")) == before


def test_the_demonstration_has_a_list() -> None:
    procedure = make_requested_procedure()
    make_study(procedure.order_ref.patient_ref, requested_procedure_ref=procedure)
    for _again in range(2):
        list_readings(site=default_site())
        assert state(procedure) == ReadingState.UNREAD
