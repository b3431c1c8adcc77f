"""The states of orders and of their procedures, and the only code that moves them."""

from collections.abc import Mapping
from typing import Any

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict
from radiology.models import AuditAction, Order, OrderStatus, OrderVersion, ProcedureStatus, RequestedProcedure, User
from radiology.services import audit
from radiology.services.rows import Sought
from radiology.services.whole import atomic
from radiology.signals import order_changed

# FHIR R4 request state machine. What was revoked by mistake may be taken up again.
ORDER_MOVES: dict[str, set[str]] = {
    OrderStatus.DRAFT: {OrderStatus.ACTIVE, OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR},
    OrderStatus.ACTIVE: {
        OrderStatus.ON_HOLD,
        OrderStatus.COMPLETED,
        OrderStatus.REVOKED,
        OrderStatus.ENTERED_IN_ERROR,
    },
    OrderStatus.ON_HOLD: {OrderStatus.ACTIVE, OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR},
    OrderStatus.COMPLETED: {OrderStatus.ACTIVE, OrderStatus.ENTERED_IN_ERROR},
    OrderStatus.REVOKED: {OrderStatus.ACTIVE, OrderStatus.ENTERED_IN_ERROR},
    OrderStatus.ENTERED_IN_ERROR: set(),
}
_NOT_BEGUN = {ProcedureStatus.REQUESTED, ProcedureStatus.CANCELLED}
PROCEDURE_MOVES: dict[str, set[str]] = {
    ProcedureStatus.REQUESTED: {
        ProcedureStatus.IN_PROGRESS,
        ProcedureStatus.COMPLETED,
        ProcedureStatus.DISCONTINUED,
        ProcedureStatus.CANCELLED,
    },
    ProcedureStatus.IN_PROGRESS: {
        ProcedureStatus.REQUESTED,
        ProcedureStatus.COMPLETED,
        ProcedureStatus.DISCONTINUED,
    },
    ProcedureStatus.COMPLETED: {ProcedureStatus.IN_PROGRESS, ProcedureStatus.REQUESTED, ProcedureStatus.DISCONTINUED},
    ProcedureStatus.DISCONTINUED: {
        ProcedureStatus.IN_PROGRESS,
        ProcedureStatus.REQUESTED,
        ProcedureStatus.COMPLETED,
    },
    ProcedureStatus.CANCELLED: {ProcedureStatus.REQUESTED, ProcedureStatus.IN_PROGRESS},
}
_WAITING = {OrderStatus.DRAFT, OrderStatus.ON_HOLD}
_LOCKED = Sought(Order, "id = %s FOR UPDATE")
_ENDED = {ProcedureStatus.COMPLETED, ProcedureStatus.DISCONTINUED, ProcedureStatus.CANCELLED}


@atomic()
def move_procedure(*, procedure: RequestedProcedure, to: ProcedureStatus, who: Any = None, reason: str = "") -> Order:
    """Move one procedure, and its order along with it.

    The order is done when all its procedures have ended, revoked when all are cancelled. Taken up again, a procedure
    brings its order back to what it was, a draft or on hold too.

    Moving to the state that it has changes nothing. Raises Conflict for a move that is not allowed.
    """
    (order,) = _LOCKED(procedure.order_ref_id)
    procedures = {each.pk: each for each in order.requested_procedures.order_by("pk")}
    mine = procedures[procedure.pk]
    if mine.status != to:
        if to not in PROCEDURE_MOVES[mine.status]:
            raise Conflict(
                _("A procedure that is %(before)s cannot become %(after)s.")
                % {"before": mine.get_status_display(), "after": ProcedureStatus(to).label},
                field="status",
                order=order,
            )
        before, mine.status = mine.status, to
        RequestedProcedure.objects.filter(pk=mine.pk).update(status=to)
        changes = {name_in_history(mine): [before, to]}
        status = _status_of(order, [each.status for each in procedures.values()])
        _write(order, status, changes=changes, procedures=[mine], who=who, reason=reason)
    procedure.status = mine.status
    return order


@atomic()
def move_order(
    *, order: Order, to: OrderStatus, who: Any = None, reason: str = "", version: int | None = None
) -> Order:
    """Move a whole order; revoking it cancels what has not begun and discontinues what has.

    Taking a revoked order up again brings back what was cancelled in the same step of its history as the order,
    not what had been called off by itself before; of an order without such a step, all that is cancelled.

    Raises Conflict for a move that is not allowed, or when the order is no longer at `version`.
    """
    (order,) = _LOCKED(order.pk)
    if version is not None and version != order.version:
        raise Conflict(_("Somebody else changed this order meanwhile: look at it again, then repeat your change."))
    if order.status == to:
        return order
    if to not in ORDER_MOVES[order.status]:
        raise Conflict(
            _("An order that is %(before)s cannot become %(after)s.")
            % {"before": order.get_status_display(), "after": OrderStatus(to).label},
            field="status",
            order=order,
        )
    changes: dict[str, Any] = {}
    concerned = []
    revoked = _revocation(order) if to == OrderStatus.ACTIVE else None
    for procedure in order.requested_procedures.order_by("pk"):
        name = name_in_history(procedure)
        was_revoked = order.status == OrderStatus.REVOKED and (revoked is None or name in revoked)
        status = _along(procedure.status, to, was_revoked=was_revoked)
        if status != procedure.status:
            changes[name] = [procedure.status, status]
            procedure.status = status
            RequestedProcedure.objects.filter(pk=procedure.pk).update(status=status)
            concerned.append(procedure)
    _write(order, to, changes=changes, procedures=concerned, who=who, reason=reason)
    return order


def record_version(
    *,
    order: Order,
    changes: dict[str, Any],
    who: Any = None,
    reason: str = "",
    written: Mapping[str, Any] | None = None,
) -> None:
    """Raise the order's version and keep what changed. The caller holds the row's lock, and has written the fields or
    has them written along (`written`).
    """
    Order.objects.filter(pk=order.pk).update(version=F("version") + 1, updated_at=timezone.now(), **(written or {}))
    order.version += 1
    OrderVersion.objects.create(
        order_ref=order,
        version=order.version,
        changes=changes,
        reason=reason[:200],
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
    )
    audit.record(
        event="order",
        action=AuditAction.UPDATE,
        who=who,
        site_id=order.site_id,
        patient_id=order.patient_ref_id,
        detail={"order": str(order.public_id), "changed": sorted(changes)},
    )


def name_in_history(procedure: RequestedProcedure) -> str:
    """What a procedure is called in the history of its order."""
    return f"procedure {procedure.requested_procedure_id or procedure.pk}"


def _revocation(order: Order) -> dict[str, Any] | None:
    """What changed when a revoked order was revoked; None where the history does not tell."""
    if order.status != OrderStatus.REVOKED:
        return None
    found = order.versions.filter(changes__status__1=OrderStatus.REVOKED.value).order_by("-version", "-pk").first()
    return found.changes if found is not None else None


def _along(status: str, to: OrderStatus, *, was_revoked: bool) -> str:
    """What becomes of a procedure when its order moves; `was_revoked`: it was cancelled with its order."""
    if to in {OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR} and status not in _ENDED:
        return ProcedureStatus.CANCELLED if status in _NOT_BEGUN else ProcedureStatus.DISCONTINUED
    if to == OrderStatus.ACTIVE and status == ProcedureStatus.CANCELLED and was_revoked:
        return ProcedureStatus.REQUESTED
    return status


def _status_of(order: Order, procedures: list[str]) -> OrderStatus:
    """What an order is, judged by its procedures."""
    if order.status in _WAITING and all(status == ProcedureStatus.CANCELLED for status in procedures):
        return OrderStatus.REVOKED
    if order.status not in {OrderStatus.ACTIVE, OrderStatus.COMPLETED, OrderStatus.REVOKED}:
        return OrderStatus(order.status)
    if not all(status in _ENDED for status in procedures):
        before = (_revocation(order) or {}).get("status", [""])[0]
        has_begun = ProcedureStatus.IN_PROGRESS in procedures
        return OrderStatus(before) if before in _WAITING and not has_begun else OrderStatus.ACTIVE
    return OrderStatus.COMPLETED if ProcedureStatus.COMPLETED in procedures else OrderStatus.REVOKED


def _write(
    order: Order,
    status: OrderStatus,
    *,
    changes: dict[str, Any],
    procedures: list[RequestedProcedure],
    who: Any,
    reason: str,
) -> None:
    written: dict[str, Any] = {}
    if status != order.status:
        changes["status"] = [order.status, status]
        order.status = status
        order.status_reason = reason[:200]
        written = {"status": status, "status_reason": order.status_reason}
    record_version(order=order, changes=changes, who=who, reason=reason, written=written)
    order_changed.send(sender=Order, order=order, procedures=procedures, changes=changes, who=who, reason=reason[:200])
