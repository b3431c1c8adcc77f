"""Orders and their steps: made with the order, called off and taken up with it."""

from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from django.utils import timezone

from radiology.models import Order, OrderStatus, ProcedureProtocol, ProcedureStatus
from radiology.services.order_states import move_order
from radiology.signals import order_changed, order_placed
from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_procedure,
    make_requested_procedure,
    make_step,
    make_user,
)
from tests.threads import run_all
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.planning import follow_order
from worklist.services.steps import move_step

SCHEDULED, CANCELLED = StepStatus.SCHEDULED, StepStatus.CANCELLED


def place(order: Order) -> list[ScheduledProcedureStep]:
    order_placed.send(sender=Order, order=order, procedures=list(order.requested_procedures.all()))
    return list(ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order).order_by("pk"))


def statuses(order: Order) -> list[str]:
    steps = ScheduledProcedureStep.objects.filter(requested_procedure_ref__order_ref=order)
    return list(steps.order_by("pk").values_list("status", flat=True))


@pytest.mark.django_db
def test_an_order_gets_a_step_for_each_procedure() -> None:
    entry = make_procedure(duration=20)
    ProcedureProtocol.objects.create(procedure_ref=entry, code_value="THX1", code_meaning="Thorax, low dose")
    make_device("CT1"), make_device("CT2"), make_device("MR1", modality="MR")
    start = timezone.now().replace(microsecond=0) + timedelta(days=1)
    order = make_order(requested_start=start)
    first = make_requested_procedure(order, procedure_ref=entry, duration=20)
    make_requested_procedure(order, modality="US", requested_procedure_description="US Abdomen", duration=30)
    one, other = place(order)
    assert one.requested_procedure_ref == first
    assert (one.scheduled_procedure_step_description, one.modality) == ("CT Thorax", "CT")
    assert one.scheduled_protocol_codes == [["THX1", "99SINAR", "Thorax, low dose"]]
    assert one.scheduled_station_ae_titles == ["CT1", "CT2"] and one.scheduled_station_name == ""
    assert (one.scheduled_start, one.scheduled_end, one.room) == (start, start + timedelta(minutes=20), None)
    assert (other.scheduled_start, other.scheduled_end) == (one.scheduled_end, start + timedelta(minutes=50))
    assert other.scheduled_station_ae_titles == []
    assert len({one.scheduled_procedure_step_id, other.scheduled_procedure_step_id}) == 2
    assert place(order) == [one, other]


@pytest.mark.django_db
def test_a_step_id_that_another_system_used_is_left_out() -> None:
    known = place(make_order(procedures=1))[0]
    number = int(known.scheduled_procedure_step_id.removeprefix("SPS"))
    for further in range(1, 5):
        make_step(scheduled_procedure_step_id=f"SPS{number + further:08d}")
    made = place(make_order(procedures=2))
    assert len({each.scheduled_procedure_step_id for each in made}) == 2
    assert all(len(each.scheduled_procedure_step_id) <= 16 for each in made)


def test_orders_placed_at_once_get_steps_of_their_own(committed_db: None) -> None:
    patient = make_patient()
    orders = [make_order(patient, procedures=2) for _ in range(8)]
    together = Barrier(len(orders))

    def placing(order: Order) -> None:
        together.wait(30)
        place(order)

    run_all([partial(placing, order) for order in orders])
    ids = list(ScheduledProcedureStep.objects.values_list("scheduled_procedure_step_id", flat=True))
    assert len(ids) == len(set(ids)) == 16


@pytest.mark.django_db
def test_a_revoked_order_calls_its_steps_off_and_taken_up_brings_them_back() -> None:
    who, device = make_user(), make_device()
    order = make_order(procedures=2)
    begun, waiting = place(order)
    device_time = {"room": device.room, "device": device, "scheduled_start": timezone.now() + timedelta(hours=2)}
    ScheduledProcedureStep.objects.filter(pk=waiting.pk).update(
        **device_time, scheduled_end=timezone.now() + timedelta(hours=3)
    )
    move_step(step=begun, to=StepStatus.STARTED, who=who)
    move_order(order=order, to=OrderStatus.REVOKED, who=who, reason="ordered twice")
    assert statuses(order) == [StepStatus.DISCONTINUED, CANCELLED]
    waiting.refresh_from_db()
    assert waiting.status_reason == "ordered twice"
    order.refresh_from_db()
    assert order.status == OrderStatus.REVOKED
    move_order(order=order, to=OrderStatus.ACTIVE, who=who)
    assert statuses(order) == [StepStatus.DISCONTINUED, SCHEDULED]
    waiting.refresh_from_db()
    assert waiting.room == device.room and waiting.scheduled_start is not None
    assert list(order.requested_procedures.order_by("pk").values_list("status", flat=True)) == [
        ProcedureStatus.DISCONTINUED,
        ProcedureStatus.REQUESTED,
    ]


@pytest.mark.django_db
def test_what_is_taken_up_again_waits_anew_when_its_time_is_gone() -> None:
    device, start = make_device(), timezone.now() + timedelta(hours=2)
    order, late = make_order(procedures=1), make_order(procedures=1)
    step = make_step(order.requested_procedures.get(), device=device, scheduled_start=start)
    past = make_step(
        late.requested_procedures.get(), device=device, scheduled_start=timezone.now() - timedelta(hours=2)
    )
    for each in (order, late):
        move_order(order=each, to=OrderStatus.REVOKED)
    make_step(device=device, scheduled_start=start)
    for each in (order, late):
        move_order(order=each, to=OrderStatus.ACTIVE)
    for found in (step, past):
        found.refresh_from_db()
        assert (found.status, found.room, found.device, found.scheduled_start) == (SCHEDULED, None, None, None)


@pytest.mark.django_db
def test_a_step_called_off_by_hand_stays_so_and_its_order_is_not_asked_twice() -> None:
    order = make_order(procedures=1)
    (step,) = place(order)
    move_step(step=step, to=StepStatus.NO_SHOW)
    follow_order(order=order)
    assert statuses(order) == [StepStatus.NO_SHOW]
    move_step(step=step, to=SCHEDULED)
    move_step(step=step, to=CANCELLED)
    order.refresh_from_db()
    assert (order.status, statuses(order)) == (OrderStatus.REVOKED, [CANCELLED])


@pytest.mark.django_db
def test_steps_follow_what_is_changed_about_an_order() -> None:
    ct, mr = make_device("CT1"), make_device("MR1", modality="MR")
    order = make_order(procedures=1)
    (step,) = place(order)
    assert step.scheduled_start is None
    order.requested_start = timezone.now() + timedelta(days=2)
    order.save()
    changed = {"requested_start": [None, order.requested_start.isoformat()]}
    order_changed.send(sender=Order, order=order, procedures=[], changes=changed, who=None)
    step.refresh_from_db()
    assert step.scheduled_start == order.requested_start and step.version == 2
    ScheduledProcedureStep.objects.filter(pk=step.pk).update(room=ct.room, device=ct)
    order.requested_procedures.update(modality="MR", requested_procedure_description="MR Thorax")
    added = make_requested_procedure(order)
    order_changed.send(
        sender=Order, order=order, procedures=[added], changes={"procedures": ["CT Thorax", "MR Thorax"]}, who=None
    )
    step.refresh_from_db()
    assert (step.modality, step.scheduled_procedure_step_description) == ("MR", "MR Thorax")
    assert (step.room, step.scheduled_station_ae_titles) == (None, [mr.station_ae_title])
    assert added.scheduled_procedure_steps.count() == 1


@pytest.mark.django_db
def test_a_draft_gets_its_steps_when_it_is_signed() -> None:
    order = make_order(procedures=1, status=OrderStatus.DRAFT)
    assert place(order) == []
    move_order(order=order, to=OrderStatus.ACTIVE)
    assert statuses(order) == [SCHEDULED]
