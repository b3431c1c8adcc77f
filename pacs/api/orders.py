"""Orders and the procedure catalogue over `/api/v1`: find, place, look at, change."""

import uuid
from datetime import date, datetime
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from pacs.api import order_shapes as shapes
from pacs.api.access import CURSOR, LIMIT, linked
from pacs.api.order_access import IF_MATCH, OrderView, order_of, version_of
from pacs.api.order_bodies import client_key_of, flag, patient_of_order, procedures_of, require_known
from pacs.api.order_entries import order_entry, procedure_entry
from pacs.dicomweb.addresses import origin
from radiology.api.idempotency import HEADER
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.pages import cursor_of, place_of, with_cursor
from radiology.api.parameters import Parameter
from radiology.dicom import parse_da
from radiology.errors import InvalidValue
from radiology.models import AuditAction, OrderOrigin, OrderStatus, Priority, Procedure, Site
from radiology.services import audit, order_search
from radiology.services.catalogue import MOST_WORDS, catalogue_of, words_of
from radiology.services.order_fields import FIELDS, NUMBERS
from radiology.services.orders import change_order, place_order

NEWEST_FIRST = ["-pk"]
FOUND = 20
OF_NEW = ("patient", "procedures", "accession_number", "issuer_of_accession_number", "client_key", "accept_warnings")
LISTED = [
    Parameter("patient_id", "Medical record number, exactly.", example="001234"),
    Parameter("accession_number", "Exactly.", example="24012500001"),
    Parameter("placer_order_number", "The hospital system's own number, exactly.", example="RM-2024-0815"),
    Parameter("status", "One or several, separated by commas.", example="active,on-hold", pattern=r"[a-z, -]+"),
    Parameter("priority", "One of them.", choices=list(Priority.values)),
    Parameter("modality", "Of one of its procedures.", example="CT", pattern=r"[A-Za-z0-9_]{1,16}"),
    Parameter(
        "ordered", "The day of the order, or a range of days, both included; in the site's zone.",
        example="20240101-20240131", pattern=r"\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}",
    ),
    Parameter("updated_since", "A moment (ISO 8601): what changed then or later.", example="2024-01-25T08:00:00Z"),
    LIMIT,
    CURSOR,
]  # fmt: skip


class SearchOrders(OrderView):
    """`GET /orders`."""

    @operation(
        tag="Orders",
        summary="Search for orders",
        description="The orders for which all parameters hold, newest first.",
        parameters=LISTED,
        answers={200: shapes.OrderList},
    )
    def get(self, request: Any) -> HttpResponse:
        cursor = self.asked["cursor"]
        before = _key(place_of(cursor=cursor, order=NEWEST_FIRST)[0]) if cursor else None
        page = order_search.find_orders(who=request.user, asked=_asked(self.asked), size=self.limit, before=before)
        here = origin(request)
        links = {}
        if page.older is not None:
            links["next"] = with_cursor(
                address=here + request.path,
                asked=self.asked,
                cursor=cursor_of(order=NEWEST_FIRST, values=[page.older], backwards=False),
            )
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "order", "answers": len(page.orders)},
        )
        body = {"data": [order_entry(order, here) for order in page.orders], **links}
        return json_answer(request, body, headers=linked(links))


class PlaceOrder(OrderView):
    """`POST /orders`."""

    @operation(
        tag="Orders",
        summary="Place an order",
        description="An order with one procedure or several, under one accession number. The same key, in the header "
        "or as `client_key`, makes one order: sent again it answers 200 with that order and "
        "`Idempotency-Replayed: true`. Who is not known yet is registered with the order, which needs the scope "
        "`patients.write` too, and is refused as at `POST /patients`: with `existing`, whose number it is, or "
        "`candidates`, who is likely the same person, unless `patient` says `despite_duplicates` and a `reason`. "
        "A number that was merged away stands for the survivor. 409 tells the order that is there already as "
        "`existing`, or `warnings` that the sender must accept with `accept_warnings`; 400 tells all answers that are "
        "missing as `fields`.",
        headers={HEADER: "A key of your own for this order, such as a UUID; at most 128 characters."},
        body=shapes.NewOrder,
        answers={201: shapes.OrderShape, 200: shapes.OrderShape},
        errors=[409],
        examples=shapes.NEW,
    )
    def post(self, request: Any) -> HttpResponse:
        given = json_body(request)
        require_known(given, (*OF_NEW, *FIELDS, *NUMBERS), "")
        site = Site.objects.get(pk=request.user.site_id)
        key = client_key_of(request, given)
        began = timezone.now()
        with transaction.atomic():  # who is registered with an order that is refused is not registered
            made = place_order(
                site=site,
                patient=patient_of_order(request, site, given),
                procedures=procedures_of(given),
                values={name: given[name] for name in (*FIELDS, *NUMBERS) if name in given},
                who=request.user,
                origin=OrderOrigin.REST,
                client_key=key,
                accession_number=text_of(given, "accession_number", most=64),
                issuer_of_accession_number=text_of(given, "issuer_of_accession_number", most=64),
                accept_warnings=flag(given, "accept_warnings"),
                address=audit.address_of(request),
            )
        order = order_of(request.user, made.public_id)
        entry = order_entry(order, origin(request))
        headers = {"Location": entry["links"]["self"]}
        if key and order.created_at < began:
            return json_answer(
                request, entry, headers={**headers, "Idempotency-Replayed": "true"}, version=order.version
            )
        return json_answer(request, entry, status=201, headers=headers, version=order.version)


class OneOrder(OrderView):
    """`GET` and `PATCH /orders/{order}`."""

    @operation(
        tag="Orders",
        summary="One order",
        description="The `ETag` of the answer is what `PATCH` wants in `If-Match`.",
        path=["order"],
        answers={200: shapes.OrderShape},
        errors=[404],
    )
    def get(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        audit.record(
            event="api.read",
            action=AuditAction.READ,
            who=request.user,
            address=audit.address_of(request),
            site_id=found.site_id,
            patient_id=found.patient_ref_id,
            detail={"order": str(found.public_id)},
        )
        return json_answer(request, order_entry(found, origin(request)), version=found.version)

    @operation(
        tag="Orders",
        summary="Change an order",
        description="Only what is named is changed; what it was before is kept in the history.",
        path=["order"],
        headers={"If-Match": "Required. " + IF_MATCH["If-Match"]},
        body=shapes.OrderChanges,
        answers={200: shapes.OrderShape},
        errors=[404, 409, 412, 428],
        examples=shapes.CHANGED,
    )
    def patch(self, request: Any, order: uuid.UUID) -> HttpResponse:
        found = order_of(request.user, order)
        version = version_of(request)
        given = json_body(request)
        require_known(given, (*FIELDS, "reason", "accept_warnings"), "")
        change_order(
            order=found,
            version=version or 0,
            changes={name: given[name] for name in FIELDS if name in given},
            reason=text_of(given, "reason"),
            who=request.user,
            accept_warnings=flag(given, "accept_warnings"),
            address=audit.address_of(request),
        )
        changed = order_of(request.user, order)
        return json_answer(request, order_entry(changed, origin(request)), version=changed.version)


class SearchProcedures(OrderView):
    """`GET /procedures`."""

    @operation(
        tag="Orders",
        summary="Search the procedure catalogue",
        description=f"What can be ordered, by name; {FOUND} at most. `code` or `text` says what.",
        parameters=[
            Parameter("text", "Beginnings of words of the name, the code or the modality.", example="tho ct"),
            Parameter("code", "The site's own code, exactly.", example="DXTHXPA"),
            Parameter("modality", "Of one modality.", example="DX", pattern=r"[A-Za-z0-9_]{1,16}"),
        ],
        answers={200: shapes.ProcedureList},
    )
    def get(self, request: Any) -> HttpResponse:
        found = catalogue_of(who=request.user).prefetch_related("codes")
        words = words_of(self.asked["text"])[:MOST_WORDS]
        if self.asked["text"] and not words:
            found = Procedure.objects.none()
        elif words:
            found = found.found_by(words)
        if self.asked["code"]:
            found = found.filter(code=self.asked["code"])
        if self.asked["modality"]:
            found = found.filter(modality=self.asked["modality"].upper())
        return json_answer(request, {"data": [procedure_entry(each) for each in found.order_by("name", "pk")[:FOUND]]})


def _asked(asked: dict[str, str]) -> order_search.Asked:
    statuses = [each.strip() for each in asked["status"].split(",") if each.strip()]
    for each in statuses:
        if each not in OrderStatus.values:
            raise InvalidValue(f"status must be among {', '.join(OrderStatus.values)}.", field="status")
    begin, dash, end = asked["ordered"].partition("-")
    return order_search.Asked(
        patient_id=asked["patient_id"],
        accession_number=asked["accession_number"],
        placer_order_number=asked["placer_order_number"],
        statuses=tuple(statuses),
        priority=asked["priority"],
        modality=asked["modality"].upper(),
        start=_day(begin),
        end=_day(end if dash else begin),
        updated_since=_moment(asked["updated_since"]),
    )


def _day(text: str) -> date | None:
    found = parse_da(text) if text else None
    if text and (found is None or found.year < 2):
        raise InvalidValue("ordered must be a date (YYYYMMDD) or a range of dates.", field="ordered")
    return found


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1 < found.year < 9999:
        raise InvalidValue(
            "updated_since must be a moment with its zone, such as 2024-01-25T08:00:00Z.", field="updated_since"
        )
    return found


def _key(values: list[Any]) -> int:
    return int(values[0])
