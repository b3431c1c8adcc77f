"""One procedure more in an order over `/api/v1`, or one less."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpResponse

from pacs.api import order_shapes as shapes
from pacs.api.order_access import IF_MATCH, OrderView, order_of, version_of
from pacs.api.order_bodies import flag, procedures_of, require_known
from pacs.api.order_entries import order_entry
from pacs.dicomweb.addresses import origin
from radiology.api.idempotency import DOCUMENTED, key_of, replayed
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.errors import NotFound
from radiology.models import Order
from radiology.services import audit
from radiology.services.idempotency import Outcome, make_once
from radiology.services.orders import add_procedures, remove_procedure, restore_procedure


class OrderProcedures(OrderView):
    """`POST /orders/{order}/procedures`."""

    @operation(
        tag="Orders",
        summary="Add procedures to an order",
        description="They get the order's accession number and a step on the worklist each. If-Match is looked at when "
        "it is sent. 409 tells the order as it is in `existing`: it was called off or completed, or the same "
        "procedure, of the same side, stands in it already, which is told in `procedure`; or `warnings` that the "
        "sender must accept with `accept_warnings`. 400 tells all answers that are missing as `fields`: give them to "
        "the order first.",
        path=["order"],
        headers={**DOCUMENTED, **IF_MATCH},
        body=shapes.MoreProcedures,
        answers={201: shapes.OrderShape},
        errors=[404, 409, 412],
        examples=shapes.MORE,
    )
    def post(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        given = json_body(request)
        require_known(given, ("procedures", "reason", "accept_warnings"), "")
        values: dict[str, Any] = {
            "version": version_of(request, required=False),
            "procedures": procedures_of(given),
            "reason": text_of(given, "reason"),
            "accept_warnings": flag(given, "accept_warnings"),
        }

        def make() -> None:
            add_procedures(order=found, who=request.user, address=audit.address_of(request), **values)

        outcome = _once(request, found, f"order-procedures:{found.public_id}", given, make)
        return _answer(request, order, outcome, status=201)


class CancelProcedure(OrderView):
    """`POST /orders/{order}/procedures/{procedure}/cancel`."""

    @operation(
        tag="Orders",
        summary="Cancel a procedure of an order",
        description="Needs a reason. It stays in the order as cancelled, and its steps on the worklist are called off; "
        "an order of which nothing is left is revoked. Again changes nothing. If-Match is looked at when it is sent. "
        "409 tells the order as it is in `existing`: the procedure has begun.",
        path=["order", "procedure"],
        headers={**DOCUMENTED, **IF_MATCH},
        body=shapes.ProcedureReason,
        answers={200: shapes.OrderShape},
        errors=[404, 409, 412],
        examples=shapes.WHY,
    )
    def post(self, request: Any, order: uuid.UUID, procedure: uuid.UUID) -> HttpResponse:
        return _moved(request, order, procedure, "cancel", remove_procedure)


class ReinstateProcedure(OrderView):
    """`POST /orders/{order}/procedures/{procedure}/reinstate`."""

    @operation(
        tag="Orders",
        summary="Reinstate a procedure of an order",
        description="Takes back that it was cancelled; an order that had ended with it goes on, and its steps are on "
        "the worklist again. Again changes nothing. If-Match is looked at when it is sent. 409 tells the order as it "
        "is in `existing`: the procedure has begun, or the same one was added anew, which is told in `procedure`.",
        path=["order", "procedure"],
        headers={**DOCUMENTED, **IF_MATCH},
        body=shapes.OrderReason,
        answers={200: shapes.OrderShape},
        errors=[404, 409, 412],
        examples=shapes.WHY,
    )
    def post(self, request: Any, order: uuid.UUID, procedure: uuid.UUID) -> HttpResponse:
        return _moved(request, order, procedure, "reinstate", restore_procedure)


def _moved(
    request: Any, order: uuid.UUID, procedure: uuid.UUID, name: str, service: Callable[..., Order]
) -> HttpResponse:
    """One procedure of the order called off, or that taken back."""
    found = order_of(request.user, order)
    row = next((each for each in found.requested_procedures.all() if each.public_id == procedure), None)
    if row is None:
        raise NotFound("There is no such procedure in this order.", field="procedure")
    given = json_body(request)
    require_known(given, ("reason",), "")
    values: dict[str, Any] = {"version": version_of(request, required=False), "reason": text_of(given, "reason")}

    def make() -> None:
        service(procedure=row, who=request.user, address=audit.address_of(request), **values)

    return _answer(request, order, _once(request, found, f"order-procedure-{name}:{row.public_id}", given, make))


def _once(
    request: Any, order: Order, operation_name: str, given: Mapping[str, Any], make: Callable[[], None]
) -> Outcome:
    def made() -> str:
        make()
        return str(order.public_id)

    return make_once(
        who=request.user,
        site_id=request.user.site_id,
        key=key_of(request),
        operation=operation_name,
        request=given,
        make=made,
    )


def _answer(request: Any, order: uuid.UUID, outcome: Outcome, *, status: int = 200) -> HttpResponse:
    """The order as it is now."""
    after = order_of(request.user, order)
    entry = order_entry(after, origin(request))
    headers = replayed(outcome)
    if status == 201:
        headers |= {"Location": entry["links"]["self"], "ETag": f'"{after.version}"'}
    return json_answer(request, entry, status=status, headers=headers, version=after.version)
