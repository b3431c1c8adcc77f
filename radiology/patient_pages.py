"""Pages about patients: finding, registering, changing, and what was done."""

import uuid
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.errors import PreconditionFailed, RadiologyError, outcome_of
from radiology.models import Patient, PatientMerge
from radiology.notices import say
from radiology.pages import next_address, refusal
from radiology.patient_form import PatientForm, initial_of
from radiology.services import audit, duplicates, registration
from radiology.services.idempotency import make_once
from radiology.services.patient_search import Found, find_patients
from radiology.services.registration import LikelyDuplicate
from radiology.services.survivors import former_numbers, survivor_of
from radiology.templatetags.sinar import dicom_date, person_name, sex_name

RECENT = 20
HISTORY = 100
KEYS_OF_LIST = [
    ("j", gettext_lazy("Next patient")),
    ("k", gettext_lazy("Previous patient")),
    ("Enter", gettext_lazy("Open the patient")),
    ("n", gettext_lazy("Register a patient")),
]
# How fields of the history are called.
FIELD_NAMES = {
    "issuer_of_patient_id": gettext_lazy("issuer of patient ID"),
    "identifiers": gettext_lazy("Other numbers"),
    "is_temporary": gettext_lazy("temporary identity"),
}
SHOWN_AS: dict[str, Callable[[str], str]] = {
    "patient_name": person_name,
    "patient_mother_birth_name": person_name,
    "patient_birth_date": dicom_date,
    "patient_sex": sex_name,
}


def patient_for_page(request: PageRequest, public_id: uuid.UUID) -> Patient | None:
    """The patient that this person may see, also one who was merged away."""
    rows = Patient.objects.visible_to(request.user).select_related("site", "merged_into__site")
    return rows.filter(public_id=public_id).first()


def not_here(request: PageRequest) -> HttpResponse:
    return refusal(request, 404, _("This patient is not here, or not for you to see."))


@require_safe
@never_cache
@signed_in
def patients(request: PageRequest) -> HttpResponse:
    """Search while typing; before anything is typed, who was registered last."""
    text = request.GET.get("q", "")[:200]
    if text.strip():
        found = find_patients(who=request.user, text=text)
    else:
        visible = Patient.objects.visible_to(request.user).filter(merged_into=None, provisional_for="")
        found = [Found(each) for each in visible.select_related("site").order_by("-pk")[:RECENT]]
    context: dict[str, Any] = {"found": found, "text": text, "asked": bool(text.strip())}
    if request.htmx:
        return render(request, "radiology/patients/_rows.html", context)
    return render(request, "radiology/patients/list.html", {**context, "keys": KEYS_OF_LIST})


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def register(request: PageRequest) -> HttpResponse:
    """A new patient. Whoever is likely the same is shown while typing, and once more before saving."""
    if not request.user.may("patients.write"):
        return refusal(request, 403, _("Your role does not register patients."))
    if request.method != "POST":
        form = PatientForm()
        if name := request.GET.get("name", "")[:200]:
            form.initial["patient_name"] = name
        return _form_page(request, form, {})
    form = PatientForm(request.POST)
    despite = "despite_duplicates" in request.POST
    context: dict[str, Any] = {}
    status = 200
    if form.is_valid():
        try:
            outcome = make_once(
                who=request.user,
                site_id=cast(int, request.user.site_id),
                key=str(form.cleaned_data["key"] or ""),
                operation="patient",
                request=request.POST.dict() | {"csrfmiddlewaretoken": ""},
                make=lambda: str(
                    registration.register_patient(
                        who=request.user,
                        values=form.values(),
                        identifiers=form.identifiers(),
                        despite_duplicates=despite,
                        reason=form.cleaned_data["reason"],
                        address=audit.address_of(request),
                    ).public_id
                ),
            )
            return _registered(request, uuid.UUID(outcome.reference), is_repeated=outcome.is_repeated)
        except LikelyDuplicate as error:
            status = outcome_of(error).http
            context = {"candidates": error.facts["candidates"], "must_say_why": True, "stopped": error.message}
        except RadiologyError as error:
            status = outcome_of(error).http
            form.add(error)
            context = {"existing": error.facts.get("existing"), "must_say_why": error.field == "reason" or despite}
    else:
        status = 400
    return _form_page(request, form, context, status)


@require_POST
@never_cache
@signed_in
def register_unknown(request: PageRequest) -> HttpResponse:
    """Somebody whom nobody knows: one press, a temporary name and number."""
    if not request.user.may("patients.write"):
        return refusal(request, 403, _("Your role does not register patients."))
    sex = request.POST.get("patient_sex", "")[:1]

    def make() -> str:
        made = registration.register_unknown(who=request.user, patient_sex=sex, address=audit.address_of(request))
        return str(made.public_id)

    try:
        outcome = make_once(
            who=request.user,
            site_id=cast(int, request.user.site_id),
            key=request.POST.get("key", "")[:100],
            operation="unknown patient",
            request={"patient_sex": sex},
            make=make,
        )
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    return _registered(request, uuid.UUID(outcome.reference), is_repeated=outcome.is_repeated)


@require_POST
@never_cache
@signed_in
def candidates(request: PageRequest) -> HttpResponse:
    """The part that shows, while somebody types, who is here already."""
    if not request.user.may("patients.write"):
        return refusal(request, 403, _("Your role does not register patients."))
    form = PatientForm(request.POST)
    form.is_valid()
    found = []
    if form.cleaned_data.get("patient_name") or any(request.POST.get(name) for name in ("nik", "bpjs", "passport")):
        person = registration.person_as_typed(
            site=request.user.site,
            values=form.values() if "patient_name" in form.cleaned_data else {},
            identifiers=form.identifiers(),
        )
        found = duplicates.candidates_for(who=request.user, person=person)
    return render(request, "radiology/patients/_candidates.html", {"candidates": found})


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def edit(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Change a patient. Who saves later than another sees what stands there now beside what was typed."""
    found = patient_for_page(request, public_id)
    if found is None:
        return not_here(request)
    if found.merged_into is not None:
        return redirect("patient-edit", survivor_of(found).public_id)
    if not request.user.may("patients.write"):
        return refusal(request, 403, _("Your role does not change patients."))
    if request.method != "POST":
        return _form_page(request, PatientForm(patient=found), {"patient": found})
    form = PatientForm(request.POST, patient=found)
    context: dict[str, Any] = {"patient": found}
    status = 400
    if form.is_valid():
        try:
            registration.change_patient(
                who=request.user,
                patient=found,
                version=form.cleaned_data["version"] or 0,
                values=form.values(),
                identifiers=form.identifiers(),
                reason=form.cleaned_data["reason"],
                address=audit.address_of(request),
            )
        except PreconditionFailed as error:
            status = outcome_of(error).http
            now = initial_of(error.facts["existing"])
            context |= {"stopped": error.message, "now": _differing(form, now), "version": now["version"]}
        except RadiologyError as error:
            status = outcome_of(error).http
            form.add(error)
            context["existing"] = error.facts.get("existing")
        else:
            say(request, _("The patient is changed."))
            return redirect(next_address(request, reverse("patient", args=[found.public_id])))
    return _form_page(request, form, context, status)


@require_safe
@never_cache
@signed_in
def history(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """What was done to a patient, newest first: changes before and after, merges with how to take them back."""
    found = patient_for_page(request, public_id)
    if found is None:
        return not_here(request)
    merges = (
        PatientMerge.objects.visible_to(request.user)
        .filter(Q(survivor=found) | Q(merged=found))
        .select_related("survivor", "merged")
        .order_by("-pk")[:HISTORY]
    )
    labels = {name: field.label for name, field in PatientForm.base_fields.items()} | FIELD_NAMES
    versions = [
        {
            "row": version,
            "changes": [
                (label, _told(name, version.changes[name][0]), _told(name, version.changes[name][1]))
                for name, label in labels.items()
                if name in version.changes
            ],
        }
        for version in found.versions.order_by("-version")[:HISTORY]
    ]
    context = {
        "patient": found,
        "survivor": survivor_of(found),
        "former": former_numbers(found),
        "merges": merges,
        "versions": [each for each in versions if each["changes"]],
        "may_merge": request.user.may("patients.merge"),
    }
    return render(request, "radiology/patients/history.html", context)


def _told(name: str, value: Any) -> str:
    """A value of the history as pages show it."""
    if value and name in SHOWN_AS:
        return SHOWN_AS[name](value)
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value or "")


def _differing(form: PatientForm, now: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    """What stands there now and differs from what was typed: label, now, typed."""
    return [
        (form.fields[name].label, value or "—", form.cleaned_data.get(name) or "—")
        for name, value in now.items()
        if name != "version" and str(value or "") != str(form.cleaned_data.get(name) or "")
    ]


def _form_page(request: PageRequest, form: PatientForm, context: dict[str, Any], status: int = 200) -> HttpResponse:
    address = request.POST.get("next", request.GET.get("next", ""))[:500]
    return render(request, "radiology/patients/form.html", {"form": form, "next": address, **context}, status=status)


def _registered(request: PageRequest, public_id: uuid.UUID, *, is_repeated: bool) -> HttpResponse:
    """On to the patient, or back to where somebody was needed; that page is told who it is."""
    made = Patient.objects.get(public_id=public_id)
    if not is_repeated:
        text = _("%(name)s is registered with the number %(number)s.")
        say(request, text % {"name": made.display_name, "number": made.patient_id})
    onward = next_address(request, "")
    if onward:
        return redirect(f"{onward}{'&' if '?' in onward else '?'}{urlencode({'patient': str(public_id)})}")
    return redirect("patient", public_id)
