"""Scheduled steps: rooms that are never booked twice, and states that procedure and order follow."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from radiology.errors import Conflict, PreconditionFailed
from radiology.models import OrderStatus, ProcedureStatus
from tests.factories import make_device, make_order, make_requested_procedure, make_step, make_user
from worklist.models import StepStatus
from worklist.services.steps import MOVES, move_step

pytestmark = pytest.mark.django_db


def test_a_room_is_never_booked_twice_until_a_step_gives_its_time_back() -> None:
    device = make_device()
    start = timezone.now().replace(microsecond=0)
    first = make_step(device=device, scheduled_start=start)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_step(device=device, scheduled_start=start + timedelta(minutes=5))
    make_step(device=device, scheduled_start=first.scheduled_end)
    make_step(device=make_device("CT2"), scheduled_start=start)
    move_step(step=first, to=StepStatus.CANCELLED)
    make_step(device=device, scheduled_start=start)


def test_procedure_and_order_follow_their_steps() -> None:
    order = make_order(procedures=2)
    one, other = [make_step(each) for each in order.requested_procedures.order_by("pk")]
    who = make_user()
    move_step(step=one, to=StepStatus.ARRIVED, who=who)
    move_step(step=one, to=StepStatus.STARTED, who=who)
    one.requested_procedure_ref.refresh_from_db()
    assert one.requested_procedure_ref.status == ProcedureStatus.IN_PROGRESS
    move_step(step=one, to=StepStatus.COMPLETED, who=who)
    order.refresh_from_db()
    assert order.status == OrderStatus.ACTIVE
    done = move_step(step=other, to=StepStatus.COMPLETED, who=who)
    order.refresh_from_db()
    assert order.status == OrderStatus.COMPLETED
    assert done.arrived_at == done.started_at == done.ended_at
    again = move_step(step=other, to=StepStatus.STARTED, who=who)
    order.refresh_from_db()
    assert (order.status, again.ended_at) == (OrderStatus.ACTIVE, None)
    assert order.versions.count() == order.version - 1


def test_an_order_whose_steps_are_all_called_off_is_revoked() -> None:
    procedure = make_requested_procedure()
    step = make_step(procedure)
    move_step(step=step, to=StepStatus.NO_SHOW)
    procedure.refresh_from_db()
    assert (procedure.status, procedure.order_ref.status) == (ProcedureStatus.REQUESTED, OrderStatus.ACTIVE)
    move_step(step=step, to=StepStatus.SCHEDULED)
    move_step(step=step, to=StepStatus.CANCELLED, reason="ordered twice")
    procedure.order_ref.refresh_from_db()
    assert (procedure.order_ref.status, procedure.order_ref.status_reason) == (OrderStatus.REVOKED, "ordered twice")


def test_moves_that_are_not_allowed_and_old_versions_are_refused() -> None:
    step = make_step()
    assert set(MOVES) == set(StepStatus)
    moved = move_step(step=step, to=StepStatus.STARTED, version=1)
    with pytest.raises(Conflict, match="In progress cannot become Cancelled"):
        move_step(step=step, to=StepStatus.CANCELLED)
    with pytest.raises(PreconditionFailed):
        move_step(step=step, to=StepStatus.COMPLETED, version=1)
    assert move_step(step=step, to=StepStatus.STARTED).version == moved.version == 2
