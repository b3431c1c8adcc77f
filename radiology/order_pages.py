"""Orders on pages: the list, one order with everything about it, its slip and its papers."""

import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from radiology import code128
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import AuditAction, Order, OrderStatus, Priority, ProcedureStatus, Report
from radiology.notices import say
from radiology.order_form import label_of
from radiology.pages import next_address, refusal
from radiology.services import audit, order_attachments, order_moves, order_search
from radiology.services.order_fields import FIELDS
from radiology.services.orders import OPEN, remove_procedure, restore_procedure
from radiology.templatetags.sinar import person_name

VERSIONS = 50
PERSONS = {"referring_physician_name", "requesting_physician"}
# Status of the list's chips: what is open is what people look for.
SHOWN: dict[str, tuple[Any, tuple[str, ...]]] = {
    "open": (gettext_lazy("Open"), (OrderStatus.DRAFT, OrderStatus.ACTIVE, OrderStatus.ON_HOLD)),
    "on-hold": (gettext_lazy("On hold"), (OrderStatus.ON_HOLD,)),
    "completed": (gettext_lazy("Completed"), (OrderStatus.COMPLETED,)),
    "revoked": (gettext_lazy("Called off"), (OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR)),
}
DAYS: dict[str, tuple[Any, int]] = {
    "today": (gettext_lazy("Today"), 0),
    "yesterday": (gettext_lazy("Since yesterday"), 1),
    "week": (gettext_lazy("7 days"), 6),
}
# Each move: its service, the status it can be made from, what is said afterwards, the move that takes it back.
MOVES: dict[str, tuple[Any, set[str], Any, str]] = {
    "cancel": (
        order_moves.cancel_order, {"draft", "active", "on-hold"}, gettext_lazy("The order is cancelled."), "reinstate",
    ),
    "discontinue": (
        order_moves.discontinue_order, {"active", "on-hold"}, gettext_lazy("The order is discontinued."), "reinstate",
    ),
    "hold": (order_moves.hold_order, {"active"}, gettext_lazy("The order is on hold."), "release"),
    "release": (order_moves.release_order, {"on-hold", "draft"}, gettext_lazy("The order goes on."), ""),
    "reinstate": (order_moves.reinstate_order, {"revoked"}, gettext_lazy("The order is wanted again."), ""),
    "error": (
        order_moves.mark_entered_in_error, {"draft", "active", "on-hold", "revoked"},
        gettext_lazy("The order is marked as entered in error."), "",
    ),
}  # fmt: skip
BEGUN = {ProcedureStatus.IN_PROGRESS, ProcedureStatus.COMPLETED, ProcedureStatus.DISCONTINUED}


@require_safe
@never_cache
@signed_in
def orders(request: PageRequest) -> HttpResponse:
    """The list, newest first, filtered; a part of it while one types."""
    filters = {name: request.GET.get(name, "").strip()[:100] for name in ("q", "status", "priority", "day")}
    filters["status"] = filters["status"] if filters["status"] in SHOWN else ""
    filters["priority"] = filters["priority"] if filters["priority"] in Priority.values else ""
    filters["day"] = filters["day"] if filters["day"] in DAYS else ""
    before = request.GET.get("before", "")
    place = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    start = timezone.localdate() - timedelta(days=DAYS[filters["day"]][1]) if filters["day"] else None
    asked = order_search.Asked(
        text=filters["q"],
        statuses=SHOWN[filters["status"]][1] if filters["status"] else (),
        priority=filters["priority"],
        start=start,
    )
    page = order_search.find_orders(who=request.user, asked=asked, before=place)
    address = f"{reverse('orders')}?{urlencode({name: value for name, value in filters.items() if value})}"
    context = {
        "page": page,
        "filters": filters,
        "statuses": [(name, label) for name, (label, _values) in SHOWN.items()],
        "priorities": [(each.value, each.label) for each in (Priority.STAT, Priority.HIGH, Priority.ROUTINE)],
        "days": [(name, label) for name, (label, _count) in DAYS.items()],
        "is_filtered": not asked.is_empty,
        "first_page": address if place is not None else "",
        "older": f"{address}&before={page.older}" if page.older else "",
        "keys": [("j", _("Next")), ("k", _("Previous")), ("Enter", _("Open the order")), ("o", _("New order"))],
    }
    return render(request, "radiology/orders/_list.html" if request.htmx else "radiology/orders/list.html", context)


@require_safe
@never_cache
@signed_in
def order(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Everything about one order."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    _record_read(request, found)
    return render(request, "radiology/orders/order.html", _context(request, found))


@require_safe
@never_cache
@signed_in
def slip(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """What the patient gets in the hand, to be printed on A5 or A4."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    _record_read(request, found)
    rows = [each for each in found.requested_procedures.all() if each.status != ProcedureStatus.CANCELLED]
    preparations = dict.fromkeys(
        each.procedure_ref.preparation for each in rows if each.procedure_ref and each.procedure_ref.preparation
    )
    context = {
        "order": found,
        "patient": found.patient_ref,
        "rows": rows,
        "preparations": list(preparations),
        "barcode": code128.svg(found.accession_number) if found.accession_number.isascii() else "",
    }
    return render(request, "radiology/orders/slip.html", context)


@require_POST
@never_cache
@signed_in
def move(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: call off, hold, release, take back. What was typed stays when it is refused."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    name = request.GET.get("undo") or request.POST.get("move", "")
    try:
        if name not in MOVES:
            raise InvalidValue(_("Choose what is to be done."), field="move")
        service, _from, told, back = MOVES[name]
        reason = request.POST.get("reason", "") or (_("undone") if "undo" in request.GET else "")
        with transaction.atomic():
            service(order=found, version=_version(request), reason=reason, who=request.user)
    except RadiologyError as error:
        return _refused(request, found, error, action=name)
    undo = f"{reverse('order-move', args=[public_id])}?undo={back}" if back else ""
    say(request, str(told), undo=undo)
    return redirect(next_address(request, reverse("order", args=[public_id])))


@require_POST
@never_cache
@signed_in
def remove(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: call one procedure of an order off; the bar at the bottom takes it back."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    is_undo = "undo" in request.GET
    key = request.GET["undo"] if is_undo else request.POST.get("procedure", "")
    row = next((each for each in found.requested_procedures.all() if str(each.public_id) == key), None)
    try:
        if row is None:
            raise NotFound(_("This procedure is not in the order."))
        common: dict[str, Any] = {"procedure": row, "who": request.user, "address": audit.address_of(request)}
        if is_undo:
            restore_procedure(version=None, reason=_("undone"), **common)
        else:
            remove_procedure(version=_version(request), reason=request.POST.get("reason", ""), **common)
    except RadiologyError as error:
        return _refused(request, found, error, action="remove", row=row.pk if row else 0)
    if is_undo:
        say(request, _("%(procedure)s is wanted again.") % {"procedure": row})
    else:
        undo = f"{reverse('order-remove-procedure', args=[public_id])}?undo={row.public_id}"
        say(request, _("%(procedure)s is called off.") % {"procedure": row}, undo=undo)
    return redirect(next_address(request, reverse("order", args=[public_id])))


@require_POST
@never_cache
@signed_in
def attach(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: a paper for the order."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    file = request.FILES.get("file")
    try:
        if file is None:
            raise InvalidValue(_("Choose a file."), field="file")
        content = file.read(order_attachments.LARGEST + 1)
        order_attachments.add_attachment(
            order=found,
            name=file.name or "",
            content=content,
            who=request.user,
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _refused(request, found, error, action="attach")
    return redirect("order", public_id)


@require_safe
@never_cache
@signed_in
def attachment(request: PageRequest, public_id: uuid.UUID, attachment: uuid.UUID) -> HttpResponse:
    """The paper itself, to be saved: it is never shown within a page of ours."""
    found = _order(request, public_id)
    if found is None:
        return _missing(request)
    try:
        paper = order_attachments.attachment_of(
            order=found, public_id=attachment, who=request.user, address=audit.address_of(request)
        )
    except NotFound as error:
        return refusal(request, 404, error.message)
    headers = {
        "Content-Disposition": content_disposition_header(True, paper.name) or "attachment",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return HttpResponse(bytes(paper.content), content_type=paper.content_type, headers=headers)


@require_POST
@never_cache
@signed_in
def detach(request: PageRequest, public_id: uuid.UUID, attachment: uuid.UUID) -> HttpResponse:
    """POST: take a paper away; the bar at the bottom brings it back."""
    return _with_paper(request, public_id, attachment, is_there=True)


@require_POST
@never_cache
@signed_in
def reattach(request: PageRequest, public_id: uuid.UUID, attachment: uuid.UUID) -> HttpResponse:
    """POST: bring a paper back."""
    return _with_paper(request, public_id, attachment, is_there=False)


def _with_paper(request: PageRequest, public_id: uuid.UUID, attachment: uuid.UUID, *, is_there: bool) -> HttpResponse:
    found = _order(request, public_id)
    paper = (
        found.attachments.filter(public_id=attachment, removed_at__isnull=is_there).defer("content").first()
        if found
        else None
    )
    if found is None or paper is None:
        return _missing(request)
    common: dict[str, Any] = {"attachment": paper, "who": request.user, "address": audit.address_of(request)}
    try:
        if is_there:
            order_attachments.remove_attachment(**common)
        else:
            order_attachments.restore_attachment(**common)
    except RadiologyError as error:
        return _refused(request, found, error, action="attach")
    if is_there:
        undo = reverse("order-reattach", args=[public_id, attachment])
        say(request, _("%(name)s is taken away.") % {"name": paper.name}, undo=undo)
    return redirect("order", public_id)


def _order(request: PageRequest, public_id: uuid.UUID) -> Order | None:
    found = (
        Order.objects.visible_to(request.user)
        .select_related("patient_ref", "site", "entered_by", "ordering_physician")
        .prefetch_related("requested_procedures__procedure_ref")
        .filter(public_id=public_id)
    )
    return found.first()


def _context(request: PageRequest, found: Order, **more: Any) -> dict[str, Any]:
    rows = sorted(found.requested_procedures.all(), key=lambda each: each.pk)
    has_begun = any(each.status in BEGUN for each in rows)
    may = request.user.may("orders.write")
    moves = [name for name, (_service, statuses, _told, _back) in MOVES.items() if may and found.status in statuses]
    hidden = {"cancel", "error"} if has_begun else {"discontinue"}
    return {
        "order": found,
        "patient": found.patient_ref,
        "rows": rows,
        "reports": list(reports_of(request.user, rows)),
        "facts": [
            (label_of(name), value)
            for name, value in ((name, _shown(found, name)) for name in FIELDS if name != "priority")
            if value
        ],
        "moves": [name for name in moves if name not in hidden],
        "may_write": may,
        "may_change": may and found.status not in {OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR},
        "may_add": may and found.status in OPEN,
        "papers": list(found.attachments.filter(removed_at=None).defer("content").select_related("added_by")),
        "versions": [
            (each, [(_field_name(name), *_both(change)) for name, change in each.changes.items()])
            for each in found.versions.select_related("user")[:VERSIONS]
        ],
        "keys": [("a", _("Add a procedure")), ("e", _("Change")), ("p", _("Print the slip")), ("o", _("New order"))],
        **more,
    }


def reports_of(who: Any, rows: list[Any]) -> QuerySet[Report]:
    """The published reports of procedures, as far as somebody may see them."""
    found = Report.objects.visible_to(who).filter(requested_procedure_ref__in=rows).exclude(number=0)
    return found.select_related("requested_procedure_ref").order_by("requested_procedure_ref", "-pk")


def _refused(request: PageRequest, found: Order, error: RadiologyError, *, action: str, row: int = 0) -> HttpResponse:
    """The page again, the error beside what it is about, what was typed still there."""
    if "undo" in request.GET:
        say(request, error.message, level=ERROR)
        return redirect("order", found.public_id)
    fresh = _order(request, found.public_id) or found
    context = _context(
        request, fresh, error=error.message, error_at=action, error_row=row, typed=request.POST.get("reason", "")[:200]
    )
    return render(request, "radiology/orders/order.html", context, status=outcome_of(error).http)


def _missing(request: PageRequest) -> HttpResponse:
    return refusal(request, 404, _("This order is not here, or not for you to see."))


def _record_read(request: PageRequest, found: Order) -> None:
    audit.record(
        event="order.read",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=found.site_id,
        patient_id=found.patient_ref_id,
        detail={"order": str(found.public_id)},
    )


def _version(request: PageRequest) -> int | None:
    text = request.POST.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _shown(found: Order, name: str) -> Any:
    if name in PERSONS:
        return person_name(getattr(found, name))
    display = getattr(found, f"get_{name}_display", None)
    return display() if display and getattr(found, name) else getattr(found, name)


def _field_name(name: str) -> str:
    if name in FIELDS:
        return label_of(name)
    names = {"status": _("Status"), "attachment": _("File")}
    return names.get(name, _("Procedure %(id)s") % {"id": name.removeprefix("procedure ")})


def _both(change: Any) -> tuple[str, str]:
    """Before and after, as a page shows them."""
    pair = change if isinstance(change, list) and len(change) == 2 else [None, change]
    words: dict[str, Any] = {**dict(OrderStatus.choices), **dict(ProcedureStatus.choices), **dict(Priority.choices)}
    before, after = (str(words.get(each, each)) if each not in (None, "") else "—" for each in pair)
    return before, after
