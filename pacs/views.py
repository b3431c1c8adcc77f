"""Pages about studies: home, the live list, a patient."""

import itertools
import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import replace_url

from pacs import study_list
from pacs.forms import StudySearchForm
from pacs.models import HeldObject, ImportRun, ImportState, Study, Transfer, TransferState
from pacs.pages import etag, refusal
from pacs.services import health, search, unknown_patients
from pacs.services.held_cases import CONFLICTS, QUARANTINE
from radiology.accounts import PageRequest, signed_in
from radiology.critical_pages import beside_of, of_person
from radiology.models import Job, JobState, Order, Patient, PatientIdentifier, User
from radiology.notices import say
from radiology.services.links import is_linked, linked_patients
from radiology.services.survivors import survivor_of
from radiology.templatetags.sinar import moment_of

RECENT = 8
RUNNING = 5
COUNTED = 999
CARDS = 24
ORDERS = 10
KEYS_OF_PATIENT = [
    ("j", gettext_lazy("Next study")),
    ("k", gettext_lazy("Previous study")),
    ("Enter", gettext_lazy("Open the study")),
    ("v", gettext_lazy("View its images")),
    ("x", gettext_lazy("Mark the study")),
    ("Esc", gettext_lazy("Unmark all")),
]
KEYS_OF_LIST = [
    ("j", gettext_lazy("Next study")),
    ("k", gettext_lazy("Previous study")),
    ("Enter", gettext_lazy("Open the study")),
    ("v", gettext_lazy("View its images")),
    ("p", gettext_lazy("Open the patient")),
    ("x", gettext_lazy("Mark the study")),
    ("Esc", gettext_lazy("Unmark all")),
]


@require_safe
@never_cache
@signed_in
def home(request: PageRequest, lead: dict[str, Any] | None = None) -> HttpResponse:
    """What comes next for one's role: search, the newest studies, what waits for a decision, what runs, health.

    `lead` is what an app to the right puts before all that: a `template`, and what it is rendered with.
    """
    page = search.search_studies(who=request.user, criteria=search.Criteria(), size=RECENT)
    context: dict[str, Any] = {
        "studies": page.studies,
        "inboxes": inboxes(request.user),
        "imports": running_imports(request.user),
        "transfers": running_transfers(request.user),
        "health": health.signs() if request.user.is_staff else [],
        "keys": [("j", _("Next study")), ("k", _("Previous study")), ("v", _("View its images"))],
        **of_person(request),
        **(lead or {}),
    }
    return render(request, "pacs/home.html", context)


def inboxes(who: User) -> list[dict[str, Any]]:
    """What waits for a decision of this person, each with where it is decided. Counted no further than shown."""
    waiting: list[tuple[str, QuerySet[Any], str]] = []
    if who.may("inbox.decide"):
        held = HeldObject.objects.visible_to(who).waiting()
        inbox = reverse("inbox")
        waiting = [
            (_("Images that contradict what is there"), held.filter(reason__in=CONFLICTS), f"{inbox}?tab=conflicts"),
            (_("Images in quarantine"), held.filter(reason__in=QUARANTINE), f"{inbox}?tab=quarantine"),
            (
                _("Patients whose identity could not be trusted"),
                unknown_patients.waiting(who=who),
                f"{inbox}?tab=unknown",
            ),
        ]
    if who.is_superuser or (who.is_staff and who.has_perm("radiology.view_job")):
        jobs = reverse("admin:radiology_job_changelist") + f"?state__exact={JobState.DEAD}"
        waiting.append((_("Jobs that failed for good"), Job.objects.filter(state=JobState.DEAD), jobs))
    return [{"label": label, "count": rows[: COUNTED + 1].count(), "url": url} for label, rows, url in waiting]


def running_imports(who: User) -> list[ImportRun]:
    """The imports that run now, for those who may look at them."""
    states = [ImportState.WAITING, ImportState.RUNNING]
    return list(ImportRun.objects.visible_to(who).filter(state__in=states).order_by("-pk")[:RUNNING])


def running_transfers(who: User) -> list[Transfer]:
    """The transfers that run now."""
    found = Transfer.objects.visible_to(who).in_state(TransferState.RUNNING)
    return list(found.order_by("-pk")[:RUNNING])


@require_safe
@never_cache
@signed_in
def studies(request: PageRequest) -> HttpResponse:
    """The live list. A part that asks again with the version it shows gets 304 when nothing happened."""
    if "patientId" in request.GET:
        return _of_patient_id(request, request.GET["patientId"])
    saved = [] if request.htmx else study_list.saved_filters(request.user)
    if not set(request.GET) - {"view"}:
        for first in saved:
            if first.is_default:
                return redirect(f"{reverse('studies')}?{first.query}")
    form = StudySearchForm(request.GET)
    criteria = form.criteria
    columns = study_list.columns_of(request.user)
    names = ",".join(column.name for column in columns)
    version = etag(request, search.studies_version(who=request.user), names)
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    cursor = _cursor(request)
    patient = None
    if criteria.patient:
        patient = Patient.objects.visible_to(request.user).filter(public_id=criteria.patient).first()
        if patient is not None and patient.merged_into is not None:
            return redirect(f"{reverse('studies')}?{urlencode({'patient': str(survivor_of(patient).public_id)})}")
    if criteria.patient and not patient:
        return refusal(request, 404, _("This patient is not here, or not for you to see."))
    page = search.search_studies(who=request.user, criteria=criteria, cursor=cursor)
    filters = {name: str(value) for name, value in request.GET.items() if name in form.fields and value}
    address = study_list.list_address(filters)
    context: dict[str, Any] = {
        "form": form,
        "criteria": criteria,
        "page": page,
        "patient": patient,
        "etag": version,
        "address": study_list.list_address({**filters, **_place(cursor)}),
        "newest": address,
        "everything": study_list.list_address({}),
        "columns": study_list.headers(columns, page.order, filters),
        "shown": {column.name for column in columns},
        "chips": study_list.chips(criteria, filters),
        "notes": study_list.notes(criteria, page.order, filters),
    }
    if request.htmx:
        response = render(request, "pacs/_studies.html", context)
        if request.htmx.trigger != "studies":
            replace_url(response, address)
        return response
    context |= {
        "column_choice": study_list.column_choice(request.user),
        "saved": saved,
        "may_delete": request.user.may("studies.delete"),
        "query": study_list.query_of(urlencode(filters), form.fields),
        "keys": KEYS_OF_LIST,
    }
    return render(request, "pacs/studies.html", context)


@require_safe
@never_cache
@signed_in
def patient(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """A patient: who it is, and what was acquired, newest first."""
    identifiers = Prefetch("identifiers", PatientIdentifier.objects.order_by("kind", "value"))
    visible = Patient.objects.visible_to(request.user).select_related("merged_into")
    found = visible.filter(public_id=public_id).annotate(is_linked=is_linked()).prefetch_related(identifiers).first()
    if found is None:
        return refusal(request, 404, _("This patient is not here, or not for you to see."))
    if found.merged_into is not None:
        return _of_survivor(request, found)
    criteria = search.Criteria(patient=found.public_id)
    page = search.search_studies(who=request.user, criteria=criteria, cursor=_cursor(request), size=CARDS)
    orders = Order.objects.visible_to(request.user).filter(patient_ref=found).prefetch_related("requested_procedures")
    context = {
        "patient": found,
        "page": page,
        "years": _by_year(page.studies),
        "several": len(page.studies) > 1,
        "orders": orders.order_by("-pk")[:ORDERS],
        "linked": linked_patients(who=request.user, patient=found) if found.is_linked else [],
        "may_delete": request.user.may("studies.delete"),
        **beside_of(request, found),
        "keys": KEYS_OF_PATIENT,
    }
    return render(request, "pacs/patient.html", context)


def _of_survivor(request: PageRequest, merged: Patient) -> HttpResponse:
    """Who was merged into another is shown as that other."""
    survivor = survivor_of(merged)
    text = _("%(merged)s (%(number)s) was merged into this patient.")
    say(request, text % {"merged": merged.display_name, "number": merged.patient_id or "—"}, level=messages.INFO)
    return redirect("patient", survivor.public_id)


def _by_year(studies: list[Study]) -> list[tuple[str, list[Study]]]:
    """Studies in their order, under the year of their day in their site's zone."""
    return [
        (year, list(group)) for year, group in itertools.groupby(studies, key=lambda study: str(moment_of(study).year))
    ]


def _cursor(request: PageRequest) -> search.Cursor | None:
    return search.Cursor.parse(request.GET.get("older", "")) or search.Cursor.parse(
        request.GET.get("newer", ""), newer=True
    )


def _of_patient_id(request: PageRequest, patient_id: str) -> HttpResponse:
    """`?patientId=` names a patient as other systems know them; the address that follows does not."""
    found = search.patients_of_id(who=request.user, patient_id=patient_id)
    if len(found) == 1:
        return redirect(f"{reverse('studies')}?{urlencode({'patient': str(found[0].public_id)})}")
    if found:
        return render(request, "pacs/patients.html", {"patients": found})
    message = _("No patient with this number has images here, or they are not for you to see.")
    return refusal(request, 404, message, asked=patient_id)


def _place(cursor: search.Cursor | None) -> dict[str, str]:
    return {"newer" if cursor.newer else "older": str(cursor)} if cursor else {}
