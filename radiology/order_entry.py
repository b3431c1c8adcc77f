"""Placing an order, and changing one: the form of the desk and of the ward."""

import uuid
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.errors import NeedsConfirmation, PreconditionFailed, RadiologyError, outcome_of
from radiology.models import Order, OrderOrigin, Patient, ProcedureStatus, Site
from radiology.notices import say
from radiology.order_form import SIDES, TRANSPORT, Draft, OrderForm
from radiology.pages import refusal
from radiology.services import audit, catalogue
from radiology.services.orders import add_procedures, change_order, place_order
from radiology.services.patient_search import find_patients
from radiology.services.survivors import survivor_of

ORIGINS = {OrderOrigin.DESK.value, OrderOrigin.WARD.value}
# Of patients, while one types.
CHOICES = 10
# The buttons that change the form and do not send it.
STEPS = ("add", "remove", "find")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def new(request: PageRequest) -> HttpResponse:
    """The form of a new order. Sent twice it makes one order: the form carries a key of its own."""
    if not request.user.may("orders.write"):
        return refusal(request, 403, _("You may not place orders: ask your administrator for the right."))
    asked = request.POST.get("patient") or request.GET.get("patient") or ""
    patient = _patient(request, asked)
    if patient is None:
        found = _found_patients(request)
        return render(request, "radiology/orders/choose.html", found, status=404 if asked else 200)
    draft = Draft(site=patient.site, patient=patient)
    draft.take(request.POST)
    is_step = any(name in request.POST for name in STEPS)
    form = OrderForm(request.POST or None, site=patient.site)
    context: dict[str, Any] = {"key": _key(request), "origin": _origin(request)}
    if request.method != "POST" or is_step:
        form = form if request.method != "POST" else _unbound(form)
        return _form(request, draft, form, context)
    form.full_clean()
    try:
        order = place_order(
            site=patient.site,
            patient=patient,
            procedures=draft.requests,
            values=form.values(),
            who=request.user,
            origin=OrderOrigin(context["origin"]),
            client_key=context["key"],
            accept_warnings="accept" in request.POST,
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _form(request, draft, form, {**context, **_told(draft, form, error)}, status=outcome_of(error).http)
    say(request, _("Ordered: %(number)s.") % {"number": order.accession_number})
    return redirect("order", order.public_id)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def edit(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """The same form for an order that is there: other values, more procedures."""
    if not request.user.may("orders.write"):
        return refusal(request, 403, _("You may not change orders: ask your administrator for the right."))
    order = (
        Order.objects.visible_to(request.user).select_related("patient_ref", "site").filter(public_id=public_id).first()
    )
    if order is None:
        return refusal(request, 404, _("This order is not here, or not for you to see."))
    rows = [
        each
        for each in order.requested_procedures.select_related("procedure_ref").order_by("pk")
        if each.status != ProcedureStatus.CANCELLED
    ]
    draft = Draft(site=order.site, patient=order.patient_ref, there=[each.procedure_ref for each in rows])
    draft.take(request.POST)
    form = OrderForm(request.POST or None, site=order.site, order=order)
    version = request.POST.get("version", "")
    context: dict[str, Any] = {
        "order": order,
        "rows": rows,
        "version": version if version.isascii() and version.isdigit() and len(version) < 9 else str(order.version),
        "reason": request.POST.get("reason", "")[:200],
    }
    if request.method != "POST" or any(name in request.POST for name in STEPS):
        return _form(request, draft, form if request.method != "POST" else _unbound(form), context)
    form.full_clean()
    try:
        _change(request, order, draft, form, context)
    except RadiologyError as error:
        told = _told(draft, form, error)
        if isinstance(error, PreconditionFailed):
            told["now"], context["version"] = _differences(order, form), str(order.version)
        return _form(request, draft, form, {**context, **told}, status=outcome_of(error).http)
    say(request, _("Saved."))
    return redirect("order", order.public_id)


@require_safe
@never_cache
@signed_in
def procedures(request: PageRequest) -> HttpResponse:
    """What the catalogue has for the letters that were typed: a part of the form."""
    if not request.user.may("orders.write"):
        return HttpResponse(status=403)
    text = request.GET.get("procedure_text", "")[:100]
    patient = _patient(request, request.GET.get("patient", "")) if request.user.sees_every_site else None
    site = patient.site if patient else request.user.site
    context = {**_found(request, text, site), "action": _action(_uuid(request.GET.get("order", "")))}
    return render(request, "radiology/orders/_found_procedures.html", context)


@require_safe
@never_cache
@signed_in
def patients(request: PageRequest) -> HttpResponse:
    """Whom somebody who types may mean: a part of the page on which the patient is chosen."""
    if not request.user.may("orders.write"):
        return HttpResponse(status=403)
    return render(request, "radiology/orders/_found_patients.html", _found_patients(request))


@transaction.atomic
def _change(request: PageRequest, order: Order, draft: Draft, form: OrderForm, context: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "reason": context["reason"],
        "who": request.user,
        "accept_warnings": "accept" in request.POST,
        "address": audit.address_of(request),
    }
    changed = change_order(order=order, version=int(context["version"]), changes=form.values(), **common)
    if draft.chosen:
        add_procedures(order=changed, version=changed.version, procedures=draft.requests, **common)


def _form(
    request: PageRequest, draft: Draft, form: OrderForm, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    order = context.get("order")
    text = request.POST.get("procedure_text", "")[:100] if "find" in request.POST else ""
    whole = {
        "draft": draft,
        "patient": draft.patient,
        "form": form,
        "asked": draft.asked,
        "sides": SIDES,
        "transports": TRANSPORT,
        "action": _action(order.public_id if order else None),
        "is_ward": context.get("origin") == OrderOrigin.WARD or bool(order and order.origin == OrderOrigin.WARD),
        "text": text,
        **(_found(request, text, draft.site) if text else {}),
        **context,
    }
    # A part that tells of mistakes is swapped in too; htmx leaves answers with an error's status alone.
    if request.htmx:
        return render(request, "radiology/orders/_form.html", whole)
    return render(request, "radiology/orders/form.html", whole, status=status)


def _told(draft: Draft, form: OrderForm, error: RadiologyError) -> dict[str, Any]:
    """What the service refused: beside its field, beside its procedure, or above the form."""
    if isinstance(error, NeedsConfirmation):
        return {"warnings": error.facts["warnings"]}
    if error.field == "procedures":
        return {"procedures_error": error.message}
    if draft.add(error) or ((error.field or error.facts.get("fields")) and form.add(error)):
        return {"has_errors": True}
    return {"stopped": error.message, "existing": error.facts.get("order")}


def _unbound(form: OrderForm) -> OrderForm:
    """What was typed, before anybody judged it."""
    form.full_clean()
    form.errors.clear()
    return form


def _differences(order: Order, form: OrderForm) -> list[tuple[str, Any, Any]]:
    """What somebody else wrote meanwhile, beside what was typed here."""
    order.refresh_from_db()
    there = OrderForm(None, site=order.site, order=order).initial
    return [
        (str(form.fields[name].label), there.get(name) or "—", typed or "—")
        for name, typed in form.cleaned_data.items()
        if name in form.data and str(there.get(name) or "") != str(typed or "")
    ]


def _found(request: PageRequest, text: str, site: Site) -> dict[str, Any]:
    words = catalogue.words_of(text)
    enough = bool(words) and max(map(len, words)) >= 2
    found = catalogue.find_procedures(who=request.user, text=text, site=site) if enough else []
    return {"text": text, "found": found, "enough": enough}


def _found_patients(request: PageRequest) -> dict[str, Any]:
    text = request.GET.get("q", "")[:100].strip()
    return {"text": text, "found": find_patients(who=request.user, text=text, limit=CHOICES) if text else []}


def _action(order: uuid.UUID | None) -> str:
    """Where the form is sent to."""
    return reverse("order-edit", args=[order]) if order else reverse("order-new")


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _patient(request: PageRequest, public_id: str) -> Patient | None:
    wanted = _uuid(public_id)
    if wanted is None:
        return None
    rows = Patient.objects.visible_to(request.user).select_related("site", "merged_into__site")
    found = rows.filter(public_id=wanted).first()
    return survivor_of(found) if found else None


def _key(request: PageRequest) -> str:
    """The form's own key: that of the form that was sent, or a new one."""
    try:
        return f"form-{uuid.UUID(request.POST.get('key', '').removeprefix('form-'))}"
    except ValueError:
        return f"form-{uuid.uuid4()}"


def _origin(request: PageRequest) -> str:
    """Desk or ward: as chosen, else by whether one registers patients."""
    asked = request.POST.get("from") or request.GET.get("from") or ""
    if asked in ORIGINS:
        return asked
    return OrderOrigin.DESK.value if request.user.may("patients.write") else OrderOrigin.WARD.value
