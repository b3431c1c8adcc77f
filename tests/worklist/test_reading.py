"""Who reads what: claims, their end, assignments, and the next examination."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditEvent, Role, User
from radiology.services.reports import write_draft
from tests.factories import make_reading, make_report, make_requested_procedure, make_site, make_user
from worklist.models import Reading, ReadingArea, WorklistSettings
from worklist.services.reading import (
    ORDER,
    ReadingFilter,
    assign,
    claim,
    holder_of,
    next_for,
    readings,
    release,
    silent_since,
    touch,
)

pytestmark = pytest.mark.django_db
NEXT_WEEK = timedelta(days=7)


@pytest.fixture
def rahmat() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def sri() -> User:
    return make_user("sri", role=Role.RADIOLOGIST, first_name="Sri", last_name="Wahyuni")


def keep_silent(reading: Reading, minutes: int) -> None:
    Reading.objects.filter(pk=reading.pk).update(active_at=timezone.now() - timedelta(minutes=minutes))


def refused(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as told:
        call()
    return str(told.value)


def test_the_second_is_told_who_has_it_and_since_when_and_ones_own_again_is_harmless(rahmat: User, sri: User) -> None:
    procedure = make_reading().requested_procedure_ref
    first = claim(who=rahmat, procedure=procedure)
    again = claim(who=rahmat, procedure=procedure)
    assert again.claimed_at == first.claimed_at
    said = refused(Conflict, lambda: claim(who=sri, procedure=procedure))
    assert first.claimed_at is not None
    since = f"{timezone.localtime(first.claimed_at):%H:%M}"
    assert said == f"Rahmat Hidayat has been reading this since {since}."
    assert not AuditEvent.objects.filter(event__startswith="reading.").exists()


def test_taking_over_is_deliberate_and_audited(rahmat: User, sri: User) -> None:
    reading = make_reading()
    claim(who=rahmat, procedure=reading.requested_procedure_ref)
    taken = claim(who=sri, procedure=reading.requested_procedure_ref, take_over=True, address="10.0.0.9")
    assert taken.claimed_by == sri
    event = AuditEvent.objects.get(event="reading.taken_over")
    assert (event.user_id, event.address, event.detail["from"]) == (sri.pk, "10.0.0.9", rahmat.pk)
    assert event.patient_ref_id == reading.requested_procedure_ref.order_ref.patient_ref_id
    assert event.study_instance_uid == reading.requested_procedure_ref.study_instance_uid
    assert not touch(who=rahmat, procedure=reading.requested_procedure_ref)


def test_what_is_let_go_is_anybodys_and_only_ones_own_can_be(rahmat: User, sri: User) -> None:
    procedure = make_reading().requested_procedure_ref
    release(who=rahmat, procedure=procedure)
    claim(who=rahmat, procedure=procedure)
    refused(Conflict, lambda: release(who=sri, procedure=procedure))
    assert release(who=rahmat, procedure=procedure).claimed_by is None
    assert claim(who=sri, procedure=procedure).claimed_by == sri


def test_a_silent_claim_lapses_and_a_touch_keeps_it(rahmat: User, sri: User) -> None:
    reading = make_reading()
    procedure = reading.requested_procedure_ref
    claim(who=rahmat, procedure=procedure)
    keep_silent(reading, 59)
    refused(Conflict, lambda: claim(who=sri, procedure=procedure))
    assert touch(who=rahmat, procedure=procedure) and touch(who=rahmat, procedure=procedure)
    reading.refresh_from_db()
    assert reading.active_at is not None and timezone.now() - reading.active_at < timedelta(minutes=1)
    keep_silent(reading, 61)
    assert claim(who=sri, procedure=procedure).claimed_by == sri
    WorklistSettings.objects.create(site=sri.site, claim_minutes=5)
    keep_silent(reading, 6)
    assert release(who=rahmat, procedure=procedure).claimed_by is None


def test_a_draft_stays_its_writers_when_the_claim_has_lapsed(rahmat: User, sri: User) -> None:
    reading = make_reading()
    procedure = reading.requested_procedure_ref
    claim(who=rahmat, procedure=procedure)
    write_draft(procedure=procedure, sections={"findings": "x"}, who=rahmat)
    keep_silent(reading, 600)
    reading.refresh_from_db()
    assert holder_of(reading, silent_since(who=sri)) == rahmat.pk
    said = refused(Conflict, lambda: claim(who=sri, procedure=procedure))
    assert said.startswith("Rahmat Hidayat has")
    assert next_for(who=sri) is None and next_for(who=sri, wanted=ReadingFilter("drafts")) is None
    found = next_for(who=rahmat, wanted=ReadingFilter("drafts"))
    assert found is not None and found.requested_procedure_ref == procedure
    claim(who=sri, procedure=procedure, take_over=True)
    reading.refresh_from_db()
    assert holder_of(reading, silent_since(who=sri)) == sri.pk


def test_what_is_signed_or_was_never_imaged_cannot_be_claimed(rahmat: User) -> None:
    procedure = make_reading().requested_procedure_ref
    make_report(procedure)
    refused(Conflict, lambda: claim(who=rahmat, procedure=procedure))
    refused(NotFound, lambda: claim(who=rahmat, procedure=make_requested_procedure()))


def test_only_who_writes_reports_at_this_site_has_a_list(rahmat: User) -> None:
    procedure = make_reading().requested_procedure_ref
    elsewhere = make_user("else", role=Role.RADIOLOGIST, site=make_site())
    doctor = make_user("doctor", role=Role.DOCTOR)
    for act in (claim, release):
        refused(NotFound, partial(act, who=elsewhere, procedure=procedure))
        refused(NotAllowed, partial(act, who=doctor, procedure=procedure))
    refused(NotFound, lambda: assign(who=elsewhere, procedure=procedure, to=elsewhere))
    refused(NotAllowed, lambda: next_for(who=doctor))
    assert not touch(who=doctor, procedure=procedure) and not touch(who=elsewhere, procedure=procedure)
    assert not readings(who=elsewhere) and not readings(who=doctor) and next_for(who=elsewhere) is None


def test_an_assigned_examination_is_on_that_colleagues_list_and_nobodys_next_one(rahmat: User, sri: User) -> None:
    procedure = make_reading().requested_procedure_ref
    claim(who=rahmat, procedure=procedure)
    given = assign(who=rahmat, procedure=procedure, to=sri)
    assert (given.assigned_to, given.claimed_by) == (sri, None)
    assert AuditEvent.objects.get(event="reading.assigned").detail["to"] == sri.pk
    assert [each.pk for each in readings(who=sri, wanted=ReadingFilter("mine"))] == [given.pk]
    assert not readings(who=rahmat, wanted=ReadingFilter("mine")) and next_for(who=rahmat) is None
    found = next_for(who=sri, wanted=ReadingFilter("mine"))
    assert found is not None and found.pk == given.pk
    refused(Conflict, lambda: assign(who=rahmat, procedure=procedure, to=rahmat))
    assert assign(who=sri, procedure=procedure, to=None).assigned_to is None
    for to in (make_user("doctor", role=Role.DOCTOR), make_user("e", role=Role.RADIOLOGIST, site=make_site())):
        refused(InvalidValue, partial(assign, who=sri, procedure=procedure, to=to))


def test_what_hurts_most_comes_first_and_next_takes_it_in_that_order(rahmat: User) -> None:
    routine, late = make_reading(), make_reading(ago=timedelta(days=2))
    high, stat = make_reading(priority="HIGH"), make_reading(priority="STAT")
    wanted = [stat, high, late, routine]
    assert list(readings(who=rahmat).order_by(*ORDER)) == wanted
    assert [next_for(who=rahmat) for _ in range(5)] == [*wanted, None]
    release(who=rahmat, procedure=stat.requested_procedure_ref)
    assert next_for(who=rahmat, after=stat.requested_procedure_ref) is None
    assert next_for(who=rahmat, after=high.requested_procedure_ref) == stat


def test_the_views_and_the_filters(rahmat: User, sri: User) -> None:
    chest = make_reading(priority="HIGH")
    head = make_reading(body_part_examined="HEAD", modality="MR")
    knee = make_reading(body_part_examined="KNEE", modality="DX")
    both = make_reading(body_part_examined="CHESTABDPELVIS")
    make_report(make_reading().requested_procedure_ref)
    write_draft(procedure=head.requested_procedure_ref, sections={"findings": "x"}, who=sri)

    def shown(who: User, **wanted: str) -> set[int]:
        return {each.pk for each in readings(who=who, wanted=ReadingFilter(**wanted))}

    assert shown(rahmat) == {chest.pk, head.pk, knee.pk, both.pk}
    assert shown(rahmat, modality="DX") == {knee.pk} and shown(rahmat, priority="HIGH") == {chest.pk}
    assert shown(rahmat, view="drafts") == {head.pk} and shown(rahmat, view="preliminary") == set()
    assert shown(sri, view="mine") == {head.pk} and shown(rahmat, view="mine") == set()
    assert shown(rahmat, view="areas") == set()
    ReadingArea.objects.create(user=rahmat, modality="CT", region="abdomen")
    assert shown(rahmat, view="areas") == {both.pk}
    ReadingArea.objects.create(user=rahmat, modality="DX")
    ReadingArea.objects.create(user=rahmat, region="head")
    assert shown(rahmat, view="areas") == {both.pk, knee.pk, head.pk}


def test_the_next_one_costs_the_same_however_many_wait(rahmat: User, django_assert_max_num_queries: Any) -> None:
    make_reading()
    for _ in range(6):
        claim(who=make_user(f"r{_}", role=Role.RADIOLOGIST), procedure=make_reading().requested_procedure_ref)
    next_for(who=rahmat)
    with django_assert_max_num_queries(6):
        next_for(who=rahmat)
