"""What happens on the worklist when an order or the archive to the left of it changes."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.dispatch import receiver

from pacs.models import StorageCommitment, Study
from pacs.services import availability, report_objects
from pacs.signals import commitment_checked, studies_sought, studies_stored
from radiology.models import Order, RequestedProcedure
from radiology.signals import order_changed, order_placed
from worklist.models import CaseState, PerformedProcedureStep, ReconciliationCase
from worklist.services import inference
from worklist.services.performed import MPPS
from worklist.services.planning import follow_order, plan_order
from worklist.signals import study_completed, study_linked


@receiver(order_placed)
def plan_its_steps(order: Order, procedures: Sequence[RequestedProcedure], who: Any = None, **_: Any) -> None:
    """In the transaction of the order: there is none without its steps."""
    plan_order(order=order, new=procedures, who=who)


@receiver(order_changed)
def let_steps_follow(
    order: Order, changes: dict[str, Any] | None = None, who: Any = None, reason: str = "", **_: Any
) -> None:
    follow_order(order=order, changes=changes, who=who, reason=reason)


@receiver(studies_stored)
def watch_what_came(studies: Iterable[int], is_ours: bool = False, **_: Any) -> None:
    """Images say something about examinations whose device says nothing, and about completeness.

    What we make ourselves, of reports and rejections, says nothing of the kind.
    """
    if not is_ours:
        inference.watch_studies(studies=studies)


@receiver(commitment_checked)
def look_at_what_was_committed(commitment: StorageCommitment, **_: Any) -> None:
    """A device that has all its images committed has sent them all."""
    if not commitment.number_of_failed:
        inference.look_at_committed(commitment=commitment)


@receiver(study_linked)
def look_at_what_was_linked(study: Study, **_: Any) -> None:
    """Its images may have come long before."""
    inference.look_now(studies=[study.pk])


@receiver(study_linked)
def let_reports_follow(
    study: Study, procedures: Sequence[RequestedProcedure], before: Sequence[RequestedProcedure], **_: Any
) -> None:
    """A report that was published before its images came is stored with them now; one that is of others goes."""
    gone = {each.pk for each in before} - {each.pk for each in procedures}
    report_objects.watch_procedures(procedures=gone, left=study.pk)
    report_objects.watch_procedures(procedures={each.pk for each in procedures} - {each.pk for each in before})


@receiver(studies_sought)
def also_serves(procedure: RequestedProcedure, **_: Any) -> list[int]:
    """Images that were made for several procedures at once."""
    cases = ReconciliationCase.objects.filter(also_serves=procedure, state=CaseState.LINKED)
    return list(cases.values_list("study_ref", flat=True))


@receiver(study_completed)
def tell_that_it_is_complete(study: Study, performed: Sequence[PerformedProcedureStep], **_: Any) -> None:
    """Nodes that ask are told, with the performed steps behind it (PS3.4 Annex R)."""
    steps = [availability.PerformedStep(MPPS, each.sop_instance_uid) for each in performed]
    availability.study_completed(study=study, steps=steps)
