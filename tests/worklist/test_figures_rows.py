"""The figures follow whatever happens to an examination, and a rebuild gives the same."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from pacs.services import removal
from radiology.errors import RadiologyError
from radiology.models import (
    CriticalResult,
    Order,
    Report,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    Role,
    Site,
)
from radiology.models.critical_result import AcknowledgedHow
from radiology.services.critical_results import acknowledge, raise_critical
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import (
    make_device,
    make_patient,
    make_performed,
    make_reading,
    make_step,
    make_user,
)
from worklist.models import (
    CompletedBy,
    ExaminationFigures,
    FiguresChange,
    QualityCheck,
    QualityOutcome,
    Reading,
    ScheduledProcedureStep,
    StepStatus,
    StudyCompletion,
    Turnaround,
)
from worklist.services.figures_rows import count_changes, rebuild
from worklist.services.reading_rows import refresh_readings

pytestmark = pytest.mark.django_db
BY_DEWI = {"00400340": {"vr": "SQ", "Value": [{"00081070": {"vr": "PN", "Value": [{"Alphabetic": "SARI^DEWI"}]}}]}}
NOW = timezone.now().replace(microsecond=0)


def figures() -> dict[int, Any]:
    return {row["requested_procedure_ref_id"]: row for row in ExaminationFigures.objects.values()}


def complete(reading: Reading, at: Any = NOW) -> Reading:
    """Its images are all there."""
    assert reading.study_ref is not None
    StudyCompletion.objects.create(study_ref=reading.study_ref, at=at, how=CompletedBy.MPPS)
    refresh_readings([reading.requested_procedure_ref_id])
    return reading


def the_one() -> ExaminationFigures:
    count_changes()
    return ExaminationFigures.objects.get()


def test_an_examination_is_counted_with_the_time_between_its_steps() -> None:
    rahmat = make_user("rahmat", role=Role.RADIOLOGIST)
    Turnaround.objects.create(priority="ROUTINE", minutes=60)
    reading = complete(make_reading(), NOW - timedelta(hours=5))
    procedure = reading.requested_procedure_ref
    Order.objects.update(created_at=NOW - timedelta(hours=8), requesting_service="IGD")
    device = make_device("CT7")
    step = make_step(
        procedure,
        device=device,
        scheduled_start=NOW - timedelta(hours=6),
        status=StepStatus.COMPLETED,
        arrived_at=NOW - timedelta(hours=6, minutes=10),
        started_at=NOW - timedelta(hours=5, minutes=40),
        ended_at=NOW - timedelta(hours=5),
    )
    make_performed(step, attributes=BY_DEWI)
    report = write_draft(procedure=procedure, sections={"impression": "Normal."}, who=rahmat)
    Report.objects.update(created_at=NOW - timedelta(hours=4, minutes=30))
    sign_report(report=report, version=report.version, who=rahmat)
    ReportVersion.objects.update(at=NOW - timedelta(hours=4))
    row = the_one()
    minutes = {
        name: getattr(row, name) and getattr(row, name) / 60
        for name in [
            "agreed",
            "to_appointment",
            "to_arrival",
            "to_start",
            "to_images",
            "to_draft",
            "to_preliminary",
            "to_final",
            "order_to_final",
        ]
    }
    assert minutes == {
        "agreed": 60,
        "to_appointment": 120,
        "to_arrival": -10,
        "to_start": 30,
        "to_images": 40,
        "to_draft": 30,
        "to_preliminary": None,
        "to_final": 60,
        "order_to_final": 240,
    }
    assert (row.radiologist, row.device, row.operators_name) == (rahmat, device, "SARI^DEWI")
    assert (row.requesting_service, row.modality, row.station_ae_title) == ("IGD", "CT", "CT1")
    assert row.began_at == NOW - timedelta(hours=5, minutes=40)


def test_what_was_only_ordered_or_never_happened_is_not_counted() -> None:
    make_step()
    make_step(status=StepStatus.NO_SHOW)
    make_step(status=StepStatus.ARRIVED, arrived_at=NOW)
    count_changes()
    assert figures() == {}


def test_a_withdrawn_report_and_deleted_images_are_counted_no_longer() -> None:
    chief = make_user("chief", is_superuser=True)
    reading = complete(make_reading())
    report = write_draft(procedure=reading.requested_procedure_ref, sections={"impression": "x"}, who=chief)
    report = sign_report(report=report, version=report.version, who=chief).report_ref
    assert the_one().signed_on is not None
    withdraw_report(report=report, version=None, reason="wrong patient", who=chief)
    assert the_one().signed_on is None
    removal.delete_study(who=chief, study=reading.study_ref, reason="by mistake")
    count_changes()
    assert figures() == {}


def test_another_time_zone_moves_the_days_of_a_site() -> None:
    reading = make_reading()
    Reading.objects.update(images_complete_at=timezone.now().replace(hour=23, minute=30))
    before = the_one()
    assert before.hour == 6
    site = reading.site
    site.time_zone = "UTC"
    site.save()
    after = the_one()
    assert (after.hour, before.day - after.day) == (23, timedelta(days=1))


def test_nothing_is_marked_by_what_the_figures_do_not_count() -> None:
    reading = make_reading()
    rahmat = make_user("rahmat", role=Role.RADIOLOGIST)
    report = write_draft(procedure=reading.requested_procedure_ref, sections={"impression": "x"}, who=rahmat)
    count_changes()
    write_draft(procedure=report.requested_procedure_ref, sections={"impression": "xy"}, who=rahmat)
    reading.study_ref.save()
    assert not FiguresChange.objects.exists()


class Chance:
    """Something that happens to some examination: what exactly, the seed says."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.people = [make_user(f"r{n}", is_superuser=True) for n in range(3)]
        self.patients = [make_patient() for _ in range(4)]
        self.devices = [make_device(f"D{n}") for n in range(3)]
        self.acts = [
            self.order, self.order, self.step, self.step, self.report, self.report, self.withdraw, self.move,
            self.check, self.critical, self.perform, self.rename, self.call_off, self.delete_study, self.forget_step,
            self.forget_report, self.time, self.hide,
        ]  # fmt: skip

    def one(self, rows: Any) -> Any:
        found = list(rows.order_by("pk"))
        return self.random.choice(found) if found else None

    def moment(self) -> Any:
        return NOW - timedelta(minutes=self.random.randrange(60 * 24 * 20))

    def happen(self) -> None:
        act = self.random.choice(self.acts)
        try:
            with transaction.atomic():
                act()
        except RadiologyError:
            pass

    def order(self) -> None:
        reading = make_reading(
            self.random.choice(self.patients),
            priority=self.random.choice(["STAT", "ROUTINE"]),
            ago=NOW - self.moment(),
            modality=self.random.choice(["CT", "MR"]),
        )
        complete(reading, self.moment())

    def step(self) -> None:
        procedure = self.one(RequestedProcedure.objects.all())
        if procedure is not None:
            began = self.moment()
            make_step(
                procedure,
                device=self.random.choice(self.devices),
                status=self.random.choice([StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELLED]),
                arrived_at=began - timedelta(minutes=20),
                started_at=began,
                ended_at=began + timedelta(minutes=15),
                scheduled_start=began,
            )

    def report(self) -> None:
        procedure = self.one(RequestedProcedure.objects.all())
        if procedure is not None:
            who = self.random.choice(self.people)
            report = write_draft(procedure=procedure, sections={"impression": str(self.random.random())}, who=who)
            sign_report(
                report=report,
                version=report.version,
                who=who,
                status=self.random.choice([ReportStatus.PRELIMINARY, ReportStatus.FINAL]),
                reason="more",
            )

    def withdraw(self) -> None:
        report = self.one(Report.objects.exclude(number=0).exclude(status="entered-in-error"))
        if report is not None:
            withdraw_report(report=report, version=None, reason="wrong", who=self.people[0])

    def move(self) -> None:
        order = self.one(Order.objects.all())
        if order is not None:
            Order.objects.filter(pk=order.pk).update(
                patient_ref=self.random.choice(self.patients), priority=self.random.choice(["HIGH", "LOW"])
            )

    def check(self) -> None:
        step = self.one(ScheduledProcedureStep.objects.all())
        reading = self.one(Reading.objects.exclude(study_ref=None))
        if step is not None and reading is not None:
            QualityCheck.objects.create(
                study_ref=reading.study_ref,
                step=step,
                outcome=QualityOutcome.ACCEPTED,
                user=self.random.choice(self.people),
                at=self.moment(),
                undone_at=self.random.choice([None, NOW]),
            )

    def critical(self) -> None:
        procedure = self.one(RequestedProcedure.objects.all())
        if procedure is not None:
            finding = str(self.random.random())
            result, _ = raise_critical(procedure=procedure, finding=finding, category="red", who=self.people[0])
            CriticalResult.objects.filter(pk=result.pk).update(raised_at=self.moment())
            acknowledge(result=result, how=AcknowledgedHow.READ, who=self.people[1])

    def perform(self) -> None:
        step = self.one(ScheduledProcedureStep.objects.all())
        if step is not None:
            make_performed(step, performed_station_ae_title=f"AE{self.random.randrange(9)}")

    def rename(self) -> None:
        procedure = self.one(RequestedProcedure.objects.all())
        if procedure is not None:
            procedure.procedure_code_value = self.random.choice(["A", "B", ""])
            procedure.save()

    def call_off(self) -> None:
        procedure = self.one(RequestedProcedure.objects.all())
        if procedure is not None:
            RequestedProcedure.objects.filter(pk=procedure.pk).update(
                status=self.random.choice(["cancelled", "completed"])
            )

    def delete_study(self) -> None:
        reading = self.one(Reading.objects.exclude(study_ref=None).filter(study_ref__deleted_at=None))
        if reading is not None:
            removal.delete_study(who=self.people[0], study=reading.study_ref, reason="by mistake")

    def forget_step(self) -> None:
        step = self.one(ScheduledProcedureStep.objects.filter(performed_references=None))
        if step is not None:
            step.delete()

    def forget_report(self) -> None:
        report = self.one(Report.objects.all())
        if report is not None:
            report.delete()

    def time(self) -> None:
        version = self.one(ReportVersion.objects.all())
        if version is not None:
            ReportVersion.objects.filter(pk=version.pk).update(at=self.moment())

    def hide(self) -> None:
        Site.objects.filter(users=self.people[0]).update(
            time_zone=self.random.choice(["Asia/Jakarta", "Asia/Jayapura"])
        )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_following_changes_and_counting_everything_anew_give_the_same(seed: int) -> None:
    chance = Chance(seed)
    for number in range(160):
        chance.happen()
        if number % 7 == 0:
            count_changes(most=5)
    count_changes()
    followed = figures()
    assert len(followed) > 5
    rebuild()
    assert figures() == followed
    ExaminationFigures.objects.all().delete()
    call_command("figures", "--rebuild")
    assert figures() == followed


def test_a_rebuild_takes_away_what_should_not_be_there() -> None:
    step = make_step()
    ExaminationFigures.objects.create(
        requested_procedure_ref=step.requested_procedure_ref, patient_key=1, began_at=NOW, day=NOW.date(), hour=1
    )
    rebuild()
    assert figures() == {}
