"""The list of a patient's studies as a guest sees it: pictures, and a way into the viewer."""

import uuid
import zoneinfo
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from pacs import guests
from pacs.services import search
from radiology.guest import Guest
from radiology.models import AuditAction, Patient
from radiology.services import audit
from radiology.services.survivors import survivor_of


def lists_for_guests(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """An address that shows the studies of `?patient=` to a guest whose link is about that patient."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if "patient" not in request.GET:
            return view(request, *args, **kwargs)
        if not request.user.is_authenticated:
            guest = guests.guest_of(request)
            patient = _patient(guest, request.GET["patient"]) if guest else None
            if guest and patient:
                return _studies(request, guest, patient)
            if guests.is_over(request):
                return guests.over(request)
        return view(request, *args, **kwargs)

    return wrapped


def _patient(guest: Guest, public_id: str) -> Patient | None:
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        return None
    found = Patient.objects.visible_to(guest).filter(public_id=wanted).select_related("merged_into", "site").first()
    return survivor_of(found) if found else None


def _studies(request: HttpRequest, guest: Guest, patient: Patient) -> HttpResponse:
    cursor = search.Cursor.parse(request.GET.get("older", ""))
    studies = search.studies_of_patient(who=guest, patient=patient, cursor=cursor, size=search.PAGE + 1)
    last = studies[search.PAGE - 1] if len(studies) > search.PAGE else None
    audit.record(
        event="patient.studies",
        action=AuditAction.READ,
        who=guest,
        address=audit.address_of(request),
        site_id=patient.site_id,
        patient_id=patient.pk,
    )
    context = {
        "patient": patient,
        "studies": studies[: search.PAGE],
        "older": search.Cursor(last.sort_at, last.pk) if last else None,
        "newest": cursor is not None,
    }
    with timezone.override(zoneinfo.ZoneInfo(patient.site.time_zone)):
        response = render(request, "pacs/guest_studies.html", context)
    guests.may_embed(response, guests.embedders(request, [(0, patient.pk)]))
    return response
