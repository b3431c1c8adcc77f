"""Reports that several people begin in the same moment."""

import threading

from radiology.errors import Conflict
from radiology.models import Report, Role
from radiology.services.reports import write_draft
from tests.factories import make_requested_procedure, make_user
from tests.parallel import at_once


def test_two_who_begin_at_once_make_one_report(committed_db: None) -> None:
    procedure = make_requested_procedure()
    people = [make_user(f"r{number}", role=Role.RADIOLOGIST) for number in range(4)]
    lock, outcomes = threading.Lock(), []

    def begin(number: int) -> None:
        try:
            write_draft(procedure=procedure, sections={"findings": "x"}, who=people[number])
            outcome = "written"
        except Conflict:
            outcome = "told"
        with lock:
            outcomes.append(outcome)

    at_once(begin, threads=4)
    assert sorted(outcomes) == ["told", "told", "told", "written"] and Report.objects.count() == 1
