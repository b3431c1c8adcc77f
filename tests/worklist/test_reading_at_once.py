"""The reading list under many hands at once."""

from django.db import transaction

from pacs.models import Study
from radiology.errors import Conflict
from radiology.models import Role
from radiology.services.reports import write_draft
from tests.factories import make_reading, make_requested_procedure, make_series, make_study, make_user
from tests.parallel import at_once
from tests.threads import run_all
from worklist.models import Reading, ReadingState
from worklist.services.reading import claim, next_for
from worklist.services.reading_rows import refresh_readings, refresh_studies


def test_images_linked_while_a_draft_begins_end_as_both_say(committed_db: None) -> None:
    """Neither transaction sees the other's: who commits last puts it right."""
    procedure, who = make_requested_procedure(), make_user("r", role=Role.RADIOLOGIST)
    study = make_study(procedure.order_ref.patient_ref)
    make_series(study, instances=1)
    with transaction.atomic():
        Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
        refresh_studies([study.pk])
        begun = run_all([lambda: write_draft(procedure=procedure, sections={"findings": "x"}, who=who)])
        assert begun[0].status == "draft"
        assert Reading.objects.get().state == ReadingState.UNREAD
    assert Reading.objects.get().state == ReadingState.DRAFTED


def test_many_who_change_the_same_examination_at_once_leave_one_row(committed_db: None) -> None:
    procedure = make_requested_procedure()
    make_study(procedure.order_ref.patient_ref, requested_procedure_ref=procedure)
    assert run_all([lambda: refresh_readings([procedure.pk])] * 6) == [None] * 6
    assert Reading.objects.get().state == ReadingState.UNREAD


def test_of_several_who_claim_the_same_at_once_one_has_it(committed_db: None) -> None:
    procedure = make_reading().requested_procedure_ref
    people = [make_user(f"r{number}", role=Role.RADIOLOGIST) for number in range(6)]

    def press(number: int) -> str:
        try:
            return f"mine: {claim(who=people[number], procedure=procedure).claimed_by == people[number]}"
        except Conflict as told:
            return "told" if " has been reading this since " in told.message else told.message

    assert sorted(at_once(press, threads=6)) == ["mine: True", *["told"] * 5]


def test_twenty_who_ask_for_the_next_one_at_once_get_twenty(committed_db: None) -> None:
    waiting = {make_reading().pk for _ in range(20)}
    people = [make_user(f"r{number}", role=Role.RADIOLOGIST) for number in range(20)]
    found = at_once(lambda number: next_for(who=people[number]), threads=20)
    assert {each.pk for each in found if each is not None} == waiting
    assert Reading.objects.filter(claimed_by__in=people).values("claimed_by").distinct().count() == 20
    assert next_for(who=people[0]) is None
