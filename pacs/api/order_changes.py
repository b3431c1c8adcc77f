"""What becomes of orders over `/api/v1`: called off, held, released; its papers and its history."""

import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes

from pacs.api import order_shapes as shapes
from pacs.api.order_access import IF_MATCH, OrderView, order_of, version_of
from pacs.api.order_entries import attachment_entry, order_entry, version_entry
from pacs.dicomweb.addresses import origin
from radiology.api.operations import file_answer, json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.errors import NotFound, TooLarge
from radiology.models import Order
from radiology.services import audit, order_moves
from radiology.services.order_attachments import LARGEST, add_attachment, attachment_of, remove_attachment

SHOWN = 100
MOVES: dict[str, Callable[..., Order]] = {
    "cancel": order_moves.cancel_order,
    "discontinue": order_moves.discontinue_order,
    "hold": order_moves.hold_order,
    "release": order_moves.release_order,
    "reinstate": order_moves.reinstate_order,
}


class _Move(OrderView):
    """`POST /orders/{order}/…`: one move of the order. If-Match is looked at when it is sent."""

    move = ""

    def moved(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        reason = text_of(json_body(request), "reason")
        MOVES[self.move](order=found, version=version_of(request, required=False), reason=reason, who=request.user)
        after = order_of(request.user, order)
        return json_answer(request, order_entry(after, origin(request)), version=after.version)


def _moves(name: str, summary: str, description: str) -> type[_Move]:
    """The view of one move."""

    @operation(
        tag="Orders",
        summary=summary,
        description=description,
        path=["order"],
        headers=IF_MATCH,
        body=shapes.OrderReason,
        answers={200: shapes.OrderShape},
        errors=[404, 409, 412],
        examples=shapes.WHY,
    )
    def post(self: _Move, request: Any, order: uuid.UUID) -> HttpResponse:
        return self.moved(request, order)

    return type(
        f"{name.title()}Order", (_Move,), {"__doc__": f"`POST /orders/{{order}}/{name}`.", "move": name, "post": post}
    )


CancelOrder = _moves(
    "cancel", "Cancel an order", "Nothing of it has begun, and nothing will. Needs a reason; again changes nothing."
)
DiscontinueOrder = _moves(
    "discontinue",
    "Discontinue an order",
    "What is under way is discontinued, what has not begun cancelled. Needs a reason.",
)
HoldOrder = _moves("hold", "Hold an order", "Nobody is to perform it until it is released. Needs a reason.")
ReleaseOrder = _moves("release", "Release an order that is held", "It goes on.")
ReinstateOrder = _moves("reinstate", "Reinstate an order", "Takes back that it was cancelled or discontinued.")


class OrderHistory(OrderView):
    """`GET /orders/{order}/history`."""

    @operation(
        tag="Orders",
        summary="What was changed about an order",
        description=f"The latest {SHOWN} changes, newest first.",
        path=["order"],
        answers={200: shapes.OrderHistory},
        errors=[404],
    )
    def get(self, request: Any, order: uuid.UUID) -> HttpResponse:
        versions = order_of(request.user, order).versions.order_by("-version", "-pk")[:SHOWN]
        return json_answer(request, {"data": [version_entry(each) for each in versions]})


class OrderAttachments(OrderView):
    """`GET` and `POST /orders/{order}/attachments`."""

    @operation(
        tag="Orders",
        summary="The papers of an order",
        path=["order"],
        answers={200: shapes.Attachments},
        errors=[404],
    )
    def get(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        papers = found.attachments.filter(removed_at=None).defer("content").order_by("pk")[:SHOWN]
        here = origin(request)
        return json_answer(request, {"data": [attachment_entry(found, each, here) for each in papers]})

    @operation(
        tag="Orders",
        summary="Attach a paper to an order",
        description="The body is the file: a PDF, JPEG, PNG or TIFF of at most 10 MB. The same file again is answered "
        "with what is there.",
        path=["order"],
        parameters=[Parameter("name", "The file's name, for people.", example="rujukan.pdf")],
        body={"application/pdf": OpenApiTypes.BINARY, "image/jpeg": OpenApiTypes.BINARY},
        answers={201: shapes.AttachmentShape},
        errors=[404, 409, 413, 415],
    )
    def post(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        content = request._request.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise TooLarge("A file may have 10 MB at most.", field="file")
        made = add_attachment(
            order=found,
            name=self.asked["name"],
            content=content,
            who=request.user,
            address=audit.address_of(request),
        )
        entry = attachment_entry(found, made, origin(request))
        return json_answer(request, entry, status=201, headers={"Location": entry["links"]["self"]})


class OrderAttachment(OrderView):
    """`GET` and `DELETE /orders/{order}/attachments/{attachment}`."""

    @operation(
        tag="Orders",
        summary="A paper of an order",
        path=["order", "attachment"],
        answers={(200, "application/octet-stream"): file_answer("The file.")},
        errors=[404],
    )
    def get(self, request: Any, order: uuid.UUID, attachment: uuid.UUID) -> HttpResponse:
        found = attachment_of(
            order=order_of(request.user, order),
            public_id=attachment,
            who=request.user,
            address=audit.address_of(request),
        )
        headers = {
            "Content-Disposition": content_disposition_header(True, found.name) or "attachment",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        return HttpResponse(bytes(found.content), content_type="application/octet-stream", headers=headers)

    @operation(
        tag="Orders",
        summary="Take a paper away from an order",
        description="Again changes nothing: 404.",
        path=["order", "attachment"],
        answers={204: None},
        errors=[404],
    )
    def delete(self, request: Any, order: uuid.UUID, attachment: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        paper = found.attachments.filter(public_id=attachment, removed_at=None).defer("content").first()
        if paper is None:
            raise NotFound("There is no such file at this order.", field="attachment")
        remove_attachment(attachment=paper, who=request.user, address=audit.address_of(request))
        return HttpResponse(status=204)
