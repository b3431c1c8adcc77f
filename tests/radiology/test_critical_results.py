"""Critical results: raised, told, escalated until somebody knows, and all of it written down."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from radiology.errors import Conflict, InvalidValue, NotAllowed, RadiologyError
from radiology.models import (
    AcknowledgedHow,
    AuditEvent,
    CriticalPolicy,
    CriticalResult,
    CriticalResultEvent,
    Job,
    JobState,
    Role,
    User,
)
from radiology.services import critical_escalation, jobs
from radiology.services.critical_results import (
    acknowledge,
    note_read,
    open_results_for,
    raise_critical,
    results_of,
    withdraw,
)
from radiology.services.merges import merge_patients
from radiology.services.order_moves import mark_entered_in_error
from radiology.services.reports import discard_draft, sign_report, withdraw_report, write_draft
from tests.factories import make_order, make_patient, make_requested_procedure, make_site, make_user
from tests.radiology.critical import examination, let_the_time_run_out, log_of, people, raised, work

pytestmark = pytest.mark.django_db
READ, TELEPHONE = AcknowledgedHow.READ, AcknowledgedHow.TELEPHONE


@pytest.fixture
def radiologist() -> User:
    return people()[0]


@pytest.fixture
def doctor(radiologist: User) -> User:
    return User.objects.get(username="sari")


def state_of(result: CriticalResult) -> str:
    result.refresh_from_db()
    return result.state


def test_it_is_raised_told_read_and_acknowledged_and_each_step_stays(radiologist: User, doctor: User) -> None:
    result = raised(examination(doctor), radiologist, "  Pneumotoraks \n kanan ")
    assert (result.finding, result.recipient, result.recipient_name) == ("Pneumotoraks kanan", doctor, "Sari Dewi")
    assert list(open_results_for(doctor)) == list(open_results_for(radiologist)) == [result]
    note_read(result=result, who=doctor)
    note_read(result=result, who=doctor)
    note_read(result=result, who=radiologist)
    acknowledge(result=result, how=READ, who=doctor)
    acknowledge(result=result, how=READ, who=doctor)
    assert state_of(result) == "acknowledged" and result.acknowledged_by == doctor
    assert log_of(result) == [
        ("raised", "Rahmat Hidayat", ""),
        ("notified", "Sari Dewi", "here"),
        ("read", "Sari Dewi", "here"),
        ("acknowledged", "Sari Dewi", "here"),
    ]
    assert not open_results_for(doctor).exists()
    events = AuditEvent.objects.filter(event="critical_result")
    assert [each.action for each in events.order_by("id")] == ["C", "U"] and "Pneumo" not in str(
        events.values("detail")
    )


def test_the_same_open_finding_is_one(radiologist: User, doctor: User) -> None:
    procedure = examination(doctor)
    first = raised(procedure, radiologist)
    again, is_new = raise_critical(procedure=procedure, finding=" PNEUMOTORAKS", category="orange", who=radiologist)
    assert again == first and not is_new and raised(procedure, radiologist, "Perdarahan") != first
    withdraw(result=first, reason="Lipatan kulit", who=radiologist)
    assert raised(procedure, radiologist) != first and CriticalResult.objects.count() == 3


def test_who_raised_it_does_not_acknowledge_it_except_for_a_telephone_call(radiologist: User, doctor: User) -> None:
    result = raised(examination(doctor), radiologist)
    with pytest.raises(NotAllowed):
        acknowledge(result=result, how=READ, who=radiologist)
    with pytest.raises(InvalidValue) as refused:
        acknowledge(result=result, how=TELEPHONE, who=radiologist, told=" ")
    assert refused.value.field == "told"
    for moment in (result.raised_at - timedelta(minutes=1), timezone.now() + timedelta(minutes=5)):
        with pytest.raises(InvalidValue):
            acknowledge(result=result, how=TELEPHONE, who=radiologist, told="Ns. Ani", at=moment)
    with pytest.raises(NotAllowed):
        acknowledge(result=result, how=TELEPHONE, who=doctor, told="Ns. Ani")
    acknowledge(result=result, how=TELEPHONE, who=radiologist, told="Ns. Ani", read_back=True)
    result.refresh_from_db()
    assert (result.acknowledged_name, result.read_back, result.acknowledged_by) == ("Ns. Ani", True, radiologist)
    assert log_of(result)[-1] == ("acknowledged", "Ns. Ani", "telephone")


@pytest.mark.parametrize("given", [{"finding": " "}, {"finding": "x" * 501}, {"category": "blue"}, {"finding": 7}])
def test_what_makes_no_sense_is_refused(radiologist: User, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as refused:
        raise_critical(procedure=examination(), who=radiologist, **{"finding": "x", "category": "red", **given})
    assert refused.value.field == next(iter(given)) and not CriticalResult.objects.exists()


def test_who_may_not_write_reports_raises_and_withdraws_nothing(radiologist: User, doctor: User) -> None:
    procedure = examination(doctor)
    with pytest.raises(NotAllowed):
        raised(procedure, doctor)
    result = raised(procedure, radiologist)
    with pytest.raises(NotAllowed):
        withdraw(result=result, reason="x", who=doctor)
    stranger = make_user("luar", site=make_site(), role=Role.RADIOLOGIST)
    for forbidden in (
        lambda: acknowledge(result=result, how=READ, who=stranger),
        lambda: withdraw(result=result, reason="x", who=stranger),
    ):
        with pytest.raises(NotAllowed):
            forbidden()
    assert state_of(result) == "open" and not open_results_for(stranger).exists()


def test_the_first_who_acknowledges_is_who_knows(radiologist: User, doctor: User) -> None:
    result = raised(examination(doctor), radiologist)
    acknowledge(result=result, how=READ, who=make_user("lain"))
    with pytest.raises(Conflict):
        acknowledge(result=result, how=READ, who=doctor)
    result.refresh_from_db()
    assert result.acknowledged_name == "lain"


def test_it_goes_up_until_somebody_knows(radiologist: User, doctor: User) -> None:
    chief = make_user("kepala", first_name="Kepala", role=Role.ADMINISTRATOR)
    make_user("bekas", role=Role.ADMINISTRATOR, is_active=False)
    on_call = make_user("jaga", first_name="Jaga")
    policy = CriticalPolicy.objects.create(
        category="red", minutes=7, roles=[Role.ADMINISTRATOR.value], addresses=["igd@rs.example"]
    )
    policy.people.set([on_call])
    result = raised(examination(doctor), radiologist)
    assert result.next_escalation_at and abs(
        result.next_escalation_at - result.raised_at - timedelta(minutes=7)
    ) < timedelta(seconds=5)
    work()
    assert [kind for kind, *_ in log_of(result) if kind == "escalated"] == []
    let_the_time_run_out()
    assert [each for each in log_of(result) if each[0] == "escalated"] == [("escalated", "Sari Dewi", "here")]
    assert not open_results_for(on_call).exists()
    let_the_time_run_out()
    assert [name for kind, name, _ in log_of(result) if kind == "escalated"][1:] == [
        "Rahmat Hidayat",
        "Kepala",
        "Jaga",
        "igd@rs.example",
    ]
    assert list(open_results_for(on_call)) == list(open_results_for(chief)) == [result]
    let_the_time_run_out()
    result.refresh_from_db()
    assert result.level == 3
    acknowledge(result=result, how=READ, who=on_call)
    before = log_of(result)
    let_the_time_run_out()
    assert log_of(result) == before and result.next_escalation_at is not None
    result.refresh_from_db()
    assert result.next_escalation_at is None
    assert not Job.objects.filter(kind=critical_escalation.KIND, state=JobState.PENDING).exists()


def test_a_level_is_told_once_however_often_its_job_runs(radiologist: User, doctor: User) -> None:
    result = raised(examination(doctor), radiologist)
    job = Job.objects.get(kind=critical_escalation.KIND)
    for _again in range(3):
        critical_escalation.escalate(job)
    assert [kind for kind, *_ in log_of(result)].count("escalated") == 1
    assert Job.objects.filter(kind=critical_escalation.KIND).count() == 2


def test_a_worker_that_dies_in_the_middle_leaves_the_level_to_the_next(
    radiologist: User, doctor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = raised(examination(doctor), radiologist)
    job = Job.objects.get(kind=critical_escalation.KIND)

    def die(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(critical_escalation, "plan_next", die)
        with pytest.raises(SystemExit):
            critical_escalation.escalate(job)
    result.refresh_from_db()
    assert result.level == 0 and "escalated" not in [kind for kind, *_ in log_of(result)]
    critical_escalation.escalate(job)
    result.refresh_from_db()
    assert result.level == 1


def test_a_recipient_without_an_account_is_for_the_telephone_and_for_who_raised_it(radiologist: User) -> None:
    result = raised(examination(referring_physician_name="SARI^DEWI^^DR"), radiologist)
    assert result.recipient is None and "DEWI" in result.recipient_name.upper()
    assert log_of(result)[-1][0] == "failed"
    let_the_time_run_out()
    assert ("escalated", "Rahmat Hidayat", "here") in log_of(result)


def test_another_recipient_by_name_is_not_who_ordered(radiologist: User, doctor: User) -> None:
    result = raised(examination(doctor), radiologist, recipient_name="Ns. Ani, ICU")
    assert (result.recipient, result.recipient_name) == (None, "Ns. Ani, ICU")
    assert list(open_results_for(doctor)) == [result]  # it is their patient


def test_it_is_raised_before_there_is_a_report_and_outlives_a_draft(radiologist: User, doctor: User) -> None:
    procedure = examination(doctor)
    report = write_draft(procedure=procedure, sections={"impression": "x"}, who=radiologist)
    result = raised(procedure, radiologist)
    assert discard_draft(report=report, version=1, who=radiologist) is None
    assert results_of(procedure) == [result]


def test_a_report_entered_in_error_takes_with_it_what_nobody_knew(radiologist: User, doctor: User) -> None:
    procedure = examination(doctor)
    report = write_draft(procedure=procedure, sections={"impression": "x"}, who=radiologist)
    sign_report(report=report, version=1, who=radiologist)
    known, open_one = raised(procedure, radiologist, "Emboli"), raised(procedure, radiologist)
    acknowledge(result=known, how=READ, who=doctor)
    withdraw_report(report=report, version=None, reason="Pasien lain", who=radiologist)
    assert (state_of(known), state_of(open_one)) == ("acknowledged", "withdrawn")
    assert open_one.withdrawn_reason == "Pasien lain"
    with pytest.raises(Conflict):
        acknowledge(result=open_one, how=READ, who=doctor)


def test_it_follows_its_order_to_the_surviving_patient(radiologist: User, doctor: User) -> None:
    procedure = examination(doctor)
    result = raised(procedure, radiologist)
    merged, survivor = procedure.order_ref.patient_ref, make_patient("S-1", "LESTARI^AYU")
    earlier = make_user("lama")
    make_order(survivor, ordering_physician=earlier)
    merge_patients(survivor=survivor, merged=merged, reason="sama", who=make_user("bos", is_superuser=True))
    found = open_results_for(earlier).get()
    assert found == result and found.requested_procedure_ref.order_ref.patient_ref == survivor


def test_nothing_is_raised_of_an_order_that_never_was(radiologist: User) -> None:
    procedure = examination()
    mark_entered_in_error(order=procedure.order_ref, reason="salah", who=None)
    with pytest.raises(RadiologyError):
        raised(procedure, radiologist)


def test_the_log_is_never_changed(radiologist: User) -> None:
    raised(examination(), radiologist)
    table = CriticalResultEvent._meta.db_table
    for statement in (f"UPDATE {table} SET name = 'x'", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_the_list_of_one_person_costs_the_same_however_long_it_is(
    radiologist: User, doctor: User, django_assert_num_queries: Any
) -> None:
    for _number in range(20):
        raised(make_requested_procedure(make_order(ordering_physician=doctor)), radiologist)
    with django_assert_num_queries(1):
        rows = list(open_results_for(doctor))
        assert {str(each.requested_procedure_ref.order_ref.patient_ref) for each in rows} and len(rows) == 20
    assert critical_escalation.KIND in jobs.HANDLERS
