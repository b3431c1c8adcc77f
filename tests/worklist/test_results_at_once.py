"""Results of which several people make or see something in the same moment."""

from datetime import timedelta

from django.utils import timezone

from radiology.models import PersonalResult, Report
from radiology.services.orders import change_order
from radiology.services.report_versions import newest_version
from radiology.services.result_list import mark_seen, note_opened
from tests.factories import make_order, make_requested_procedure
from tests.parallel import at_once
from tests.worklist.results import added, doctor, radiologist, row_of, signed, tie


def test_a_report_and_a_change_of_its_order_at_once_leave_each_doctor_what_is_theirs(committed_db: None) -> None:
    rahmat, sari, tono = radiologist(), doctor(), doctor("tono")
    tie(sari, "name", "Sari Dewi")
    tie(tono, "name", "Tono Wijaya")
    for _ in range(5):
        procedure = make_requested_procedure(make_order(referring_physician_name="DEWI^SARI"))
        order = procedure.order_ref

        def act(number: int, procedure=procedure, order=order) -> None:
            if number:
                signed(procedure, rahmat)
            else:
                changes = {"referring_physician_name": "WIJAYA^TONO"}
                change_order(order=order, version=order.version, changes=changes, who=None)

        at_once(act, threads=2)
        rows = PersonalResult.objects.filter(requested_procedure_ref=procedure)
        assert [(row.user, row.state, row.is_new) for row in rows] == [(tono, "final", True)]


def test_an_addendum_while_somebody_opens_or_marks_what_was_before_stays_new(committed_db: None) -> None:
    rahmat, sari = radiologist(), doctor()
    for _ in range(5):
        procedure = make_requested_procedure(make_order(ordering_physician=sari))
        first = signed(procedure, rahmat)
        PersonalResult.objects.update(at=timezone.now() - timedelta(hours=1))

        def act(number: int, procedure=procedure, first=first) -> None:
            if number == 0:
                added(first.report_ref, "A nodule as well.", rahmat)
            elif number == 1:
                note_opened(who=sari, procedure=procedure, version=first.pk)
            else:
                mark_seen(who=sari, until=timezone.now())

        at_once(act, threads=3)
        row, report = row_of(sari, procedure), Report.objects.get(requested_procedure_ref=procedure)
        newest = newest_version(report)
        assert newest is not None and (row.version_ref_id, row.is_new) == (newest.pk, True)
