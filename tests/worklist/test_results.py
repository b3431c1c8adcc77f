"""Whose a result is, when it is new, and how it stops being so."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from radiology.models import AcknowledgedHow, CriticalResult, Job, Order, PersonalResult, ReportStatus, Role, User
from radiology.models.practitioner import tie_key
from radiology.services import jobs
from radiology.services.critical_results import acknowledge, open_results_for, proposed_recipient, raise_critical
from radiology.services.order_moves import cancel_order
from radiology.services.orders import change_order
from radiology.services.personal_results import SWEEP, match_soon, refresh_results
from radiology.services.practitioners import physician_of
from radiology.services.reports import withdraw_report
from radiology.services.result_list import ResultFilter, counts_of, mark_seen, note_opened, results_for, unmark_seen
from tests.factories import make_order, make_procedure, make_report, make_requested_procedure, make_site, make_user
from tests.worklist.results import added, awaited, doctor, long_ago, radiologist, row_of, signed, tie

pytestmark = pytest.mark.django_db


@pytest.fixture
def sari() -> User:
    return doctor()


@pytest.fixture
def rahmat() -> User:
    return radiologist()


def new(user: User) -> int:
    return counts_of(who=user)["new"]


def test_a_number_of_somebody_at_another_site_does_not_hide_who_is_named_here(sari: User, rahmat: User) -> None:
    tie(doctor("elsewhere", site=make_site()), "identifier", "1001")
    tie(sari, "name", "Sari Dewi")
    procedure = awaited(referring_physician_identifier="1001", referring_physician_name="DEWI^SARI")
    assert row_of(sari, procedure).by_order
    assert physician_of(procedure.order_ref) == sari


@pytest.mark.parametrize(
    ("kind", "value", "order"),
    [
        ("identifier", "D123", {"requesting_physician_identifier": "d123"}),
        ("identifier", "D123", {"referring_physician_identifier": "D123", "referring_physician_name": "X^Y"}),
        ("name", "Sari Dewi", {"referring_physician_name": "DEWI^SARI^^dr"}),
        ("name", "dr. Sari Dewi, Sp.PD", {"requesting_physician": "Dewi^Sari"}),
        ("place", "Melati 2", {"current_patient_location": "MELATI  2"}),
        ("place", "Poli Paru", {"requesting_service": "Poli Paru"}),
        ("place", "W3", {"current_patient_location": "W3 12 1"}),
    ],
)
def test_an_order_is_whose_number_name_or_ward_it_carries(
    sari: User, rahmat: User, kind: str, value: str, order: dict[str, str]
) -> None:
    tie(sari, kind, value)
    procedure = awaited(**order)
    row = row_of(sari, procedure)
    assert (row.by_order, row.by_place, row.state, row.is_new) == (kind != "place", kind == "place", "awaited", False)
    signed(procedure, rahmat)
    row.refresh_from_db()
    assert (row.state, row.is_new) == ("final", True)


@pytest.mark.parametrize(
    ("kind", "value", "order"),
    [
        ("identifier", "D123", {"requesting_physician_identifier": "D1234"}),
        ("name", "Sari Dewi", {"referring_physician_name": "DEWI^SARI^AYU"}),
        ("place", "W3", {"current_patient_location": "W30 1"}),
        ("place", "W3 12", {"current_patient_location": "W3"}),
        ("identifier", "W3", {"current_patient_location": "W3"}),
    ],
)
def test_what_is_only_similar_is_not_theirs(sari: User, kind: str, value: str, order: dict[str, str]) -> None:
    tie(sari, kind, value)
    awaited(**order)
    assert not PersonalResult.objects.exists()


def test_a_number_that_somebody_has_decides_and_a_name_that_is_shared_does_not_matter_then(sari: User) -> None:
    other = doctor("sari2")
    for each in (sari, other):
        tie(each, "name", "Sari Dewi")
    tie(other, "identifier", "D2")
    both = awaited(requesting_physician="DEWI^SARI", requesting_physician_identifier="D9")
    one = awaited(requesting_physician="DEWI^SARI", requesting_physician_identifier="D2")
    assert {row.user for row in PersonalResult.objects.filter(requested_procedure_ref=both)} == {sari, other}
    assert {row.user for row in PersonalResult.objects.filter(requested_procedure_ref=one)} == {other}
    assert proposed_recipient(one)[0] == other
    assert proposed_recipient(both) == (None, "SARI DEWI"), "of two nobody is the one who must know"


def test_who_ordered_in_the_form_has_the_result_and_the_desk_that_typed_it_has_not(sari: User) -> None:
    desk = make_user("desk", role=Role.DESK)
    assert row_of(sari, awaited(entered_by=sari)).by_order
    assert not PersonalResult.objects.filter(requested_procedure_ref=awaited(entered_by=desk)).exists()


def test_people_of_another_site_and_those_who_left_get_nothing(sari: User) -> None:
    tie(doctor("far", site=make_site()), "identifier", "D1")
    tie(doctor("gone", is_active=False), "identifier", "D1")
    tie(sari, "identifier", "D1")
    procedure = awaited(requesting_physician_identifier="D1")
    assert [row.user for row in PersonalResult.objects.filter(requested_procedure_ref=procedure)] == [sari]


def test_each_published_version_is_new_until_that_person_opens_it(sari: User, rahmat: User) -> None:
    tie(nurse := doctor("nurse"), "place", "Melati 2")
    procedure = awaited(ordering_physician=sari, current_patient_location="Melati 2")
    version = signed(procedure, rahmat, ReportStatus.PRELIMINARY)
    assert (new(sari), new(nurse)) == (1, 1)
    assert note_opened(who=sari, procedure=procedure, version=version.pk)
    assert not note_opened(who=sari, procedure=procedure, version=version.pk), "twice is once"
    assert (new(sari), new(nurse)) == (0, 1)
    final = signed(procedure, rahmat, impression="Pneumonia, left.")
    assert new(sari) == 1
    assert not note_opened(who=sari, procedure=procedure, version=version.pk), "who shows the former has seen that"
    assert new(sari) == 1
    note_opened(who=sari, procedure=procedure, version=final.pk)
    added(final.report_ref, "Nodule as well.", rahmat)
    row = row_of(sari, procedure)
    assert (row.is_new, row.state, row.seen_version) == (True, "appended", final.pk)


def test_a_report_entered_in_error_is_told_and_the_one_written_anew_takes_its_place(sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari)
    version = signed(procedure, rahmat)
    note_opened(who=sari, procedure=procedure, version=version.pk)
    report = version.report_ref
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="wrong side", who=rahmat)
    row = row_of(sari, procedure)
    assert (row.state, row.is_new) == ("entered-in-error", True)
    signed(procedure, rahmat, impression="Right one.")
    row.refresh_from_db()
    assert (row.state, row.is_new, row.version_ref.sections["impression"]) == ("final", True, "Right one.")


def test_who_signs_it_has_nothing_new_and_what_was_signed_years_ago_elsewhere_neither(rahmat: User, sari: User) -> None:
    own = awaited(ordering_physician=rahmat)
    signed(own, rahmat)
    assert not row_of(rahmat, own).is_new
    old = awaited(ordering_physician=sari)
    report = make_report(old)
    PersonalResult.objects.all().delete()
    long = timezone.now() - timedelta(days=400)
    report.versions.update(at=long)
    refresh_results([old.pk])
    row = row_of(sari, old)
    assert (row.is_new, row.state, row.at) == (False, "final", long)


def test_an_order_of_another_doctor_leaves_and_a_cancelled_one_is_not_awaited(
    sari: User, django_capture_on_commit_callbacks: Any
) -> None:
    make_procedure()
    tie(sari, "identifier", "D1")
    tie(other := doctor("tono"), "name", "Tono Wijaya")
    procedure = awaited(requesting_physician="DEWI^SARI", requesting_physician_identifier="D1")
    order = procedure.order_ref
    with django_capture_on_commit_callbacks(execute=True):
        change_order(order=order, version=order.version, changes={"requesting_physician": "WIJAYA^TONO"}, who=None)
    assert Order.objects.get().requesting_physician_identifier == "", "a number goes with the name that it was of"
    assert [row.user for row in PersonalResult.objects.all()] == [other]
    order.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        cancel_order(order=order, version=order.version, reason="not needed", who=None)
    assert row_of(other, procedure).state == "called-off"
    assert counts_of(who=other)["awaited"] == 0


def test_all_new_ones_are_marked_as_they_stood_and_that_is_taken_back(sari: User, rahmat: User) -> None:
    procedures = [awaited(ordering_physician=sari) for _ in range(4)]
    for each in procedures:
        signed(each, rahmat)
    now = timezone.now()
    assert mark_seen(who=sari, until=now)[1] == 0, "a transaction of this minute may have ended after the list was made"
    assert mark_seen(who=sari, until=now, results=[procedures[3].public_id])[1] == 1, "what was shown was there"
    long_ago(*PersonalResult.objects.all())
    raise_critical(procedure=procedures[0], finding="Pneumothorax", category="red", who=rahmat)
    mark, marked = mark_seen(who=sari, until=now)
    assert (marked, new(sari)) == (2, 1), "what is critical stays new"
    note_opened(who=sari, procedure=procedures[1], version=row_of(sari, procedures[1]).version_ref_id or 0)
    assert unmark_seen(who=doctor("other"), mark=mark) == 0
    assert unmark_seen(who=sari, mark=mark) == 1, "what was opened since stays seen"
    assert unmark_seen(who=sari, mark=mark) == 0
    assert new(sari) == 2


def test_a_critical_result_stands_at_the_examination_until_somebody_knows(sari: User, rahmat: User) -> None:
    tie(sari, "name", "Sari Dewi")
    procedure = awaited(referring_physician_name="DEWI^SARI")
    raised, _ = raise_critical(procedure=procedure, finding="Pneumothorax", category="red", who=rahmat)
    assert raised.recipient == sari, "the same way as results find their doctor"
    assert counts_of(who=sari)["critical"] == 1
    acknowledge(result=CriticalResult.objects.get(), how=AcknowledgedHow.READ, who=sari)
    assert counts_of(who=sari)["critical"] == 0
    later = awaited(patient=procedure.order_ref.patient_ref)
    raise_critical(procedure=later, finding="Bleeding", category="red", who=rahmat)
    assert [each.finding for each in open_results_for(sari)] == ["Bleeding"], "of a patient of one's own"


def test_who_is_tied_later_finds_what_was_there_before(sari: User, rahmat: User) -> None:
    old, young = (awaited(referring_physician_name="DEWI^SARI", referring_physician_identifier="D7") for _ in range(2))
    for each in (old, young):
        signed(each, rahmat)
    report = old.reports.get()
    report.published_at = timezone.now() - timedelta(days=20)
    report.save()
    made = tie(sari, "identifier", "D7")
    tie(sari, "name", "Sari Dewi")
    assert Job.objects.filter(kind="radiology.match_results").count() == 1, "one look for all that changed"
    jobs.run_due()
    assert (row_of(sari, old).is_new, row_of(sari, young).is_new) == (False, True)
    PersonalResult.objects.filter(requested_procedure_ref=old).delete()
    for each in (made, *sari.ties.all()):
        each.delete()
    jobs.run_due()
    assert not PersonalResult.objects.exists()


def test_whoever_is_tied_to_nothing_has_what_they_ordered_and_no_other_order_is_looked_at(sari: User) -> None:
    awaited(ordering_physician=sari)
    for order in (make_order(entered_by=sari), *(make_order() for _ in range(3))):
        make_requested_procedure(order)
    match_soon(sari.pk)
    with CaptureQueriesContext(connection) as queries:
        jobs.run_due()
    assert PersonalResult.objects.filter(user=sari).count() == 2
    assert Job.objects.get(kind="radiology.match_results").progress == 2
    locked = [each for each in queries if "personalresult" in each["sql"] and "FOR NO KEY UPDATE" in each["sql"]]
    assert len(locked) == 2, "each row is worked out once"
    tie(sari, "identifier", "D1")
    jobs.run_due()
    assert Job.objects.order_by("pk").last().progress == 5


def test_the_daily_look_finds_what_was_missed(sari: User, rahmat: User) -> None:
    procedure = make_requested_procedure(make_order(ordering_physician=sari))
    jobs.enqueue(kind=SWEEP)
    jobs.run_due()
    assert row_of(sari, procedure).state == "awaited"
    make_report(procedure)
    PersonalResult.objects.update(version_ref=None, state="awaited", is_new=False)
    jobs.enqueue(kind=SWEEP)
    jobs.run_due()
    assert row_of(sari, procedure).is_new


def test_what_it_costs_does_not_grow_with_those_whom_it_concerns(sari: User, rahmat: User) -> None:
    for number in range(6):
        tie(doctor(f"ward{number}"), "place", "Melati 2")
    few = awaited(ordering_physician=sari)
    many = awaited(ordering_physician=sari, current_patient_location="Melati 2")
    costs = []
    for procedure in (few, many):
        make_report(procedure)
        PersonalResult.objects.filter(requested_procedure_ref=procedure).update(version_ref=None)
        with CaptureQueriesContext(connection) as queries:
            refresh_results([procedure.pk])
        costs.append(len(queries))
    assert costs[1] <= costs[0] + 1 <= 13


@pytest.mark.parametrize(
    "wanted",
    [
        ResultFilter(),
        ResultFilter("new"),
        ResultFilter("critical"),
        ResultFilter("awaited"),
        ResultFilter(whose="ordered"),
        ResultFilter(whose="place"),
        ResultFilter(modality="CT"),
    ],
)
def test_a_page_of_each_view_begins_in_an_index(sari: User, wanted: ResultFilter) -> None:
    """Of a doctor with very many results too: no sort, no row of theirs is looked at that is not shown."""
    rows = results_for(who=sari, wanted=wanted).order_by("-at", "-id")[:50]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        sql, params = rows.query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "using result_" in plan and "Sort" not in plan, plan


def test_names_are_compared_without_titles_and_in_any_order() -> None:
    same = {tie_key("name", text) for text in ("dr. Sari Dewi, Sp.PD", "DEWI^SARI^^dr", "Dewi Sari", "dewi^sari=x^y")}
    assert same == {"dewi sari"}
    assert tie_key("name", "dr.") == ""
