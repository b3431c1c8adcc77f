"""What a peer is told, and what not: decided and written in the transaction of what happened, so that it tells of
that moment, and sent later (queue)."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.db.models import Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from integrations.hl7 import peers
from integrations.hl7.outgoing import orders, patients, queue, reports
from integrations.hl7.outgoing.orders import Group
from integrations.models import QUEUED, Direction, Hl7Message, Hl7OrderState, Hl7Peer, MessageState, ReportEvents
from radiology.errors import NotInstalled
from radiology.models import (
    SIGNED,
    HoldOutcome,
    Order,
    OrderOrigin,
    OrderStatus,
    Patient,
    ProcedureStatus,
    Report,
    ReportHold,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
)
from radiology.services import report_pdf
from worklist.models import ScheduledProcedureStep, StepStatus

log = structlog.get_logger(__name__)

# ORC-5 (HL7 table 0038).
SCHEDULED, BEGUN, COMPLETED, CANCELLED, DISCONTINUED, ON_HOLD = "SC", "IP", "CM", "CA", "DC", "HD"
STATES = {
    ProcedureStatus.REQUESTED: SCHEDULED,
    ProcedureStatus.IN_PROGRESS: BEGUN,
    ProcedureStatus.COMPLETED: COMPLETED,
    ProcedureStatus.DISCONTINUED: DISCONTINUED,
    ProcedureStatus.CANCELLED: CANCELLED,
}
CALLED_OFF = {CANCELLED, DISCONTINUED}


def tell_order(
    *, orders: QuerySet[Order], site_id: int | None, who: Any, is_placed: bool = False, only_known: bool = False
) -> None:
    """Tell the peers of the site what is new about these orders, each what it wants to hear and does not know.

    The orders are looked at only when there is such a peer.

    `is_placed`: it was made just now. `only_known`: nobody is told who never heard of it (its steps are made before
    anybody hears that it was placed).
    """
    told = [peer for peer in peers.receiving(site_id=site_id) if peer.sends_orders or peer.sends_order_status]
    if not told:
        return
    for order in orders.select_related("patient_ref", "site").order_by("pk"):
        _tell_peers(told, order, who, is_placed, only_known)


def tell_patient(*, patient: Patient, is_new: bool, changes: Mapping[str, Any], who: Any) -> None:
    """A patient was registered or changed by somebody: a person, a program, another system."""
    if not _has_number(patient) or not changes.keys() & patients.SAID:
        return
    # Who had no number until now was nobody that others knew.
    is_named = not is_new and not changes.get("patient_id", [patient.patient_id])[0]
    is_new = is_new or is_named
    for peer in _told_of_patients(patient.site_id, who):
        if not is_new and changes.keys() & set(patients.NUMBER):
            queue.put(peer, patients.renumbered(peer, patient, changes), patient=patient)
        if is_new:
            queue.put(peer, patients.registered(peer, patient), patient=patient)
        elif changes.keys() & (patients.SAID - set(patients.NUMBER)):
            queue.put(peer, patients.changed(peer, patient, changes), patient=patient)
    if is_named:
        _tell_what_waited(Order.objects.filter(patient_ref=patient), patient.site_id, who)


def tell_report(*, report: Report, version: ReportVersion, who: Any) -> None:
    """A version of a report was published. One that was withdrawn is told to who was told of it before."""
    order = report.requested_procedure_ref.order_ref
    told = [peer for peer in peers.receiving(site_id=report.site_id) if peer.sends_reports and not _is_own(peer, who)]
    if not told or not _has_number(order.patient_ref) or report.held_at is not None:
        return
    concerned = {version.status}
    if version.status == ReportStatus.ENTERED_IN_ERROR:
        concerned = set(report.versions.filter(number__lt=version.number).values_list("status", flat=True))
        knowing = _who_know_results_of(order)
        told = [peer for peer in told if peer.pk in knowing]
    if not concerned & set(SIGNED):
        told = [peer for peer in told if peer.sends_reports == ReportEvents.ALL]
    if not told:
        return
    pdf = _pdf(report, version) if any(peer.report_pdf for peer in told) else None
    content = reports.content_of(report, version)
    for peer in told:
        written = reports.result(peer, content, pdf if peer.report_pdf else None)
        queue.put(peer, written, patient=order.patient_ref, order=order)


def _who_know_results_of(order: Order) -> set[int | None]:
    """Peers (ids) to whom a result of an order was sent, or waits to be, and those that sent one."""
    living = Q(direction=Direction.OUT, state__in=[*QUEUED, MessageState.PROCESSED])
    theirs = Q(direction=Direction.IN, state=MessageState.PROCESSED)
    results = Hl7Message.objects.filter(living | theirs, order_ref=order, message_code="ORU")
    return set(results.values_list("peer", flat=True))


def tell_released(*, report: Report, hold: ReportHold, who: Any) -> None:
    """A report is held no longer: what waited is sent, and what was published meanwhile is told."""
    order = report.requested_procedure_ref.order_ref
    others = Report.objects.filter(requested_procedure_ref__order_ref=order, number__gt=0).exclude(pk=report.pk)
    if hold.outcome != HoldOutcome.RELEASED and not others.exists():
        waiting = list(Hl7Message.objects.queued().filter(order_ref=order, message_code="ORU").only("pk"))
        queue.give_up(waiting, _("The report was of another patient, which was found before it was sent."))
    for peer in peers.receiving(site_id=report.site_id):
        if peer.sends_reports:
            queue.wake(peer)
    # By when it came: what was signed elsewhere says when it was signed.
    came_meanwhile = report.published_at is not None and report.published_at >= hold.held_at
    newest = report.versions.filter(number=report.number).first() if came_meanwhile else None
    if hold.outcome == HoldOutcome.RELEASED and newest is not None:
        tell_report(report=report, version=newest, who=who)


def tell_merge(*, survivor: Patient, merged: Patient, who: Any) -> None:
    """One patient was merged into another. Of one without a number nobody else knows; its orders are told now."""
    if not _has_number(survivor):
        return
    if not _has_number(merged):
        made_of_images = Order.objects.filter(patient_ref=survivor, origin=OrderOrigin.IMAGES)
        _tell_what_waited(made_of_images, survivor.site_id, who)
        return
    for peer in _told_of_patients(survivor.site_id, who):
        queue.put(peer, patients.merged(peer, survivor, merged), patient=survivor, also=[merged])


def _tell_what_waited(orders: QuerySet[Order], site_id: int | None, who: Any) -> None:
    """Orders, and reports of them, that could not be told while nobody could know whose they are."""
    tell_order(orders=orders.filter(hl7_states=None), site_id=site_id, who=who, is_placed=True)
    heard = Hl7Message.objects.filter(order_ref__in=orders, direction=Direction.OUT, message_code="ORU")
    reported = Report.objects.filter(requested_procedure_ref__order_ref__in=orders, number__gt=0)
    reported = reported.exclude(status=ReportStatus.ENTERED_IN_ERROR).exclude(
        requested_procedure_ref__order_ref__in=heard.values("order_ref")
    )
    for report in list(reported.order_by("pk")):  # all of them, before the first is told
        tell_report(report=report, version=report.versions.get(number=report.number), who=who)


def _tell_peers(told: Sequence[Hl7Peer], order: Order, who: Any, is_placed: bool, only_known: bool) -> None:
    if order.status == OrderStatus.DRAFT or not _has_number(order.patient_ref):
        return
    known = {
        each.peer_id: each for each in Hl7OrderState.objects.select_for_update().filter(order_ref=order, peer__in=told)
    }
    groups: list[Group] | None = None
    for peer in told:
        state = known.get(peer.pk)
        if state is None and only_known:
            continue
        groups = _groups(order) if groups is None else groups
        _tell_order(peer, order, who, state or Hl7OrderState(peer=peer, order_ref=order), groups, is_placed)


def _tell_order(
    peer: Hl7Peer, order: Order, who: Any, state: Hl7OrderState, groups: Sequence[Group], is_placed: bool
) -> None:
    now = {str(each.procedure.pk): _said(each) for each in groups}
    if now == state.told:
        return
    new = [each for each in groups if str(each.procedure.pk) not in state.told and each.status != CANCELLED]
    changed = [each for each in groups if state.told.get(str(each.procedure.pk), _said(each)) != _said(each)]
    is_known = state.pk is not None or is_placed
    if not _is_own(peer, who):
        if new and _is_for_it_to_place(peer, order, state):
            queue.put(peer, orders.filler_order(peer, order, new), patient=order.patient_ref, order=order)
            state.is_announced = True
        elif not is_known:
            # It was here before the peer was, and this is the first that the peer hears of it.
            changed = list(groups)
        told = [each for each in changed if _is_wanted(peer, state, each)]
        if told:
            queue.put(peer, orders.order_status(peer, order, told), patient=order.patient_ref, order=order)
    state.told = now
    state.save()


def _is_for_it_to_place(peer: Hl7Peer, order: Order, state: Hl7OrderState) -> bool:
    """Whether the new procedures of an order are sent to the peer as an order: it was made here and has no placer.

    So are those that somebody here adds to an order of the peer's own.
    """
    if not peer.sends_orders:
        return False
    if state.is_announced:
        return True
    if order.origin == OrderOrigin.HL7:
        return state.pk is not None and order.client_key.startswith(f"hl7 {peer.pk} ")
    return not order.placer_order_number


def _is_wanted(peer: Hl7Peer, state: Hl7OrderState, group: Group) -> bool:
    """Whoever was sent an order is told in any case that it was called off."""
    return peer.sends_order_status or (state.is_announced and group.status in CALLED_OFF)


def _said(group: Group) -> list[str]:
    """A state as it is compared: the time counts while it is still to come."""
    start = group.start.isoformat() if group.start and group.status == SCHEDULED else ""
    return [group.status, start]


def _groups(order: Order) -> list[Group]:
    steps = Prefetch("scheduled_procedure_steps", ScheduledProcedureStep.objects.order_by("pk"))
    return [_group(order, each) for each in order.requested_procedures.order_by("pk").prefetch_related(steps)]


def _group(order: Order, procedure: RequestedProcedure) -> Group:
    steps = list(procedure.scheduled_procedure_steps.all())
    living = [each for each in steps if each.status not in {StepStatus.CANCELLED, StepStatus.NO_SHOW}]
    step = next(iter(living or steps), None)
    status = STATES[ProcedureStatus(procedure.status)]
    if order.status == OrderStatus.ENTERED_IN_ERROR:
        status = CANCELLED
    elif order.status == OrderStatus.ON_HOLD and status == SCHEDULED:
        status = ON_HOLD
    return Group(procedure, status, step.scheduled_start if step else None, step)


def _told_of_patients(site_id: int | None, who: Any) -> list[Hl7Peer]:
    return [peer for peer in peers.receiving(site_id=site_id) if peer.sends_patients and not _is_own(peer, who)]


def _pdf(report: Report, version: ReportVersion) -> bytes | None:
    """The letter; on a server that cannot make one the text goes alone."""
    try:
        return report_pdf.pdf_of(report=report, version=version)
    except NotInstalled as error:
        log.warning("report sent without its PDF", report=str(report.public_id), why=error.message)
        return None


def _is_own(peer: Hl7Peer, who: Any) -> bool:
    """Whether the peer itself asked for it, and does not want to hear that again."""
    return isinstance(who, Hl7Peer) and who.pk == peer.pk and not peer.sends_echoes


def _has_number(patient: Patient) -> bool:
    """Whether others can know who it is."""
    return bool(patient.patient_id) and not patient.is_provisional
