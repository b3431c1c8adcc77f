"""Calling orders off, holding them and taking that back: each with a reason, each in the history."""

from typing import Any

from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict
from radiology.models import Order, OrderStatus, ProcedureStatus
from radiology.services.order_states import move_order
from radiology.services.orders import claim_order, require_reason, require_right
from radiology.services.whole import atomic

_BEGUN = {ProcedureStatus.IN_PROGRESS, ProcedureStatus.COMPLETED, ProcedureStatus.DISCONTINUED}


def cancel_order(*, order: Order, version: int | None = None, reason: str, who: Any = None) -> Order:
    """Revoke an order of which nothing has begun. Cancelling it again changes nothing.

    All of these raise NotAllowed, InvalidValue for a missing reason, PreconditionFailed when the order is no
    longer at `version`, Conflict for a move that is not allowed.
    """
    return _move(order, version, OrderStatus.REVOKED, require_reason(reason), who, begun=False)


def discontinue_order(*, order: Order, version: int | None = None, reason: str, who: Any = None) -> Order:
    """Stop an order, also one that has begun: what is under way is discontinued, what has not begun is cancelled."""
    return _move(order, version, OrderStatus.REVOKED, require_reason(reason), who)


def hold_order(*, order: Order, version: int | None = None, reason: str, who: Any = None) -> Order:
    """Nobody is to perform it until it is released."""
    return _move(order, version, OrderStatus.ON_HOLD, require_reason(reason), who)


def release_order(*, order: Order, version: int | None = None, reason: str = "", who: Any = None) -> Order:
    """Let an order that was held, or a draft, go on."""
    return _move(order, version, OrderStatus.ACTIVE, clean(reason), who, only={OrderStatus.ON_HOLD, OrderStatus.DRAFT})


def reinstate_order(*, order: Order, version: int | None = None, reason: str = "", who: Any = None) -> Order:
    """Take back that an order was called off: what was cancelled with it is wanted again, not what was before."""
    return _move(order, version, OrderStatus.ACTIVE, clean(reason), who, only={OrderStatus.REVOKED})


def mark_entered_in_error(*, order: Order, version: int | None = None, reason: str, who: Any = None) -> Order:
    """Say that the order should never have been: the wrong patient, above all. This cannot be taken back."""
    return _move(order, version, OrderStatus.ENTERED_IN_ERROR, require_reason(reason), who, begun=False)


@atomic()
def _move(
    order: Order,
    version: int | None,
    to: OrderStatus,
    reason: str,
    who: Any,
    *,
    begun: bool = True,
    only: set[OrderStatus] | None = None,
) -> Order:
    require_right(who)
    order = claim_order(order, version)
    if order.status == to:
        return order
    if not begun and order.requested_procedures.filter(status__in=_BEGUN).exists():
        raise Conflict(
            _("An examination of this order has begun: discontinue it instead."), field="status", order=order
        )
    if only is not None and order.status not in only:
        raise Conflict(
            _("An order that is %(before)s cannot become %(after)s.")
            % {"before": order.get_status_display(), "after": to.label},
            field="status",
            order=order,
        )
    return move_order(order=order, to=to, who=who, reason=reason)
