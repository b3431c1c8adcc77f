"""Reports that several people begin in the same moment."""

import contextlib
import threading

from radiology.errors import Conflict, PreconditionFailed
from radiology.models import CoSignature, HoldKind, Report, Resident, Role
from radiology.services import report_holds
from radiology.services.reports import sign_report, write_draft
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


def test_of_supervisors_who_co_sign_at_once_one_is_first_and_the_others_are_told(committed_db: None) -> None:
    resident = make_user("resident", role=Role.RADIOLOGIST)
    Resident.objects.create(user=resident)
    people = [make_user(f"s{number}", role=Role.RADIOLOGIST) for number in range(4)]
    report = write_draft(procedure=make_requested_procedure(), sections={"findings": "x"}, who=resident)
    sign_report(report=report, version=report.version, who=resident)
    report.refresh_from_db()
    lock, outcomes = threading.Lock(), []

    def co_sign(number: int) -> None:
        try:
            sign_report(report=report, version=report.version, who=people[number])
            outcome = "signed"
        except PreconditionFailed as error:
            outcome = "told" if "co-signed this report" in error.message else error.message
        with lock:
            outcomes.append(outcome)

    at_once(co_sign, threads=4)
    assert sorted(outcomes) == ["signed", "told", "told", "told"]
    assert report.versions.count() == 2 and CoSignature.objects.get().state == "cosigned"


def test_a_report_that_is_held_and_signed_at_once_is_held_after_all(committed_db: None) -> None:
    person = make_user("r", role=Role.RADIOLOGIST)
    report = write_draft(procedure=make_requested_procedure(), sections={"findings": "x"}, who=person)

    def act(number: int) -> None:
        if number:
            report_holds.hold(procedures={report.requested_procedure_ref_id}, kind=HoldKind.PATIENT)
            return
        with contextlib.suppress(Conflict, PreconditionFailed):
            sign_report(report=report, version=report.version, who=person)

    at_once(act, threads=2)
    held = Report.objects.get()
    assert held.held_at is not None and held.holds.open().count() == 1
