"""Pages on which two patients become one, or are said to be two."""

import uuid
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.dicom import PersonName
from radiology.errors import InvalidValue, RadiologyError, outcome_of
from radiology.models import Patient, PatientDuplicate, PatientMerge
from radiology.notices import say
from radiology.pages import next_address, refusal
from radiology.patient_form import initial_of
from radiology.patient_pages import not_here, patient_for_page
from radiology.services import audit, duplicates, merges
from radiology.services.patient_search import find_patients
from radiology.services.survivors import survivor_of
from radiology.templatetags.sinar import dicom_date, sex_name

PAIRS = 20
ROWS = [
    (gettext_lazy("Name"), "patient_name"),
    (gettext_lazy("Birth date"), "patient_birth_date"),
    (gettext_lazy("Sex"), "patient_sex"),
    (gettext_lazy("MRN"), "patient_id"),
    (gettext_lazy("Issuer"), "issuer_of_patient_id"),
    (gettext_lazy("NIK"), "nik"),
    (gettext_lazy("BPJS number"), "bpjs"),
    (gettext_lazy("Telephone"), "patient_telephone_numbers"),
    (gettext_lazy("Address"), "patient_address"),
    (gettext_lazy("Mother's birth name"), "patient_mother_birth_name"),
    (gettext_lazy("Allergies"), "allergies"),
    (gettext_lazy("Alerts"), "medical_alerts"),
    (gettext_lazy("Comments"), "patient_comments"),
]


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def merge(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Find the other one, see both face to face and what moves, then merge. `with` names the one that is merged."""
    survivor = patient_for_page(request, public_id)
    if survivor is None:
        return not_here(request)
    if not request.user.may("patients.merge"):
        return refusal(request, 403, _("Your role does not merge patients."))
    if survivor.merged_into is not None:
        return redirect("patient-merge", survivor_of(survivor).public_id)
    context: dict[str, Any] = {"patient": survivor}
    status = 200
    try:
        merged = _other(request)
        if merged is None:
            return _choose(request, survivor)
        if request.method == "POST":
            return _merge(request, survivor, merged)
        preview = merges.preview_merge(who=request.user, survivor=survivor, merged=merged)
        context |= {"preview": preview, "merged": merged, "rows": _compared(survivor, merged)}
    except RadiologyError as error:
        context["stopped"] = error.message
        status = outcome_of(error).http
    return render(request, "radiology/patients/merge.html", context, status=status)


@require_POST
@never_cache
@signed_in
def undo(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Take a merge back; what it moved goes back."""
    found = PatientMerge.objects.visible_to(request.user).filter(public_id=public_id).first()
    if found is None:
        return refusal(request, 404, _("There is no such merge."))
    try:
        done = merges.undo_merge(who=request.user, merge=found, address=audit.address_of(request))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("The merge is taken back: %(name)s is a patient again.") % {"name": done.merged.display_name})
    return redirect(next_address(request, reverse("patient", args=[done.merged.public_id])))


@require_safe
@never_cache
@signed_in
def suspected(request: PageRequest) -> HttpResponse:
    """Pairs of patients who may be one, the likeliest first."""
    if not request.user.may("patients.merge"):
        return refusal(request, 403, _("Your role does not merge patients."))
    pairs = list(duplicates.suspected(who=request.user)[: PAIRS + 1])
    shown = [
        {"pair": pair, "reasons": [duplicates.REASONS.get(each, each) for each in pair.reasons]}
        for pair in pairs[:PAIRS]
    ]
    return render(request, "radiology/patients/duplicates.html", {"shown": shown, "more": len(pairs) > PAIRS})


@require_POST
@never_cache
@signed_in
def dismiss(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Say that a pair are two people; with `undo`, that they may be one after all."""
    pair = PatientDuplicate.objects.filter(public_id=public_id).first()
    taking_back = "undo" in request.GET
    try:
        if pair is None:
            raise InvalidValue(_("There is no such pair."))
        duplicates.dismiss(who=request.user, pair=pair, address=audit.address_of(request), undo=taking_back)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    address = reverse("patient-duplicate-dismiss", args=[public_id])
    if taking_back:
        say(request, _("The pair is in the list again."))
    else:
        say(request, _("They are two people: the pair is gone from the list."), undo=f"{address}?undo=1")
    return redirect("patient-duplicates")


def _other(request: PageRequest) -> Patient | None:
    """Who is to be merged. Raises InvalidValue for somebody who is not here."""
    given = request.POST.get("with") or request.GET.get("with", "")
    if not given:
        return None
    try:
        found = patient_for_page(request, uuid.UUID(given))
    except ValueError:
        found = None
    if found is None:
        raise InvalidValue(_("This patient is not here, or not for you to see."), field="with")
    return found


def _choose(request: PageRequest, survivor: Patient) -> HttpResponse:
    """Who is the same person: likely ones first, or whoever is searched for."""
    text = request.GET.get("q", "")[:200]
    found = find_patients(who=request.user, text=text, sites=[survivor.site.pk]) if text.strip() else []
    likely = duplicates.candidates_for(who=request.user, person=duplicates.Person.of(survivor))
    context = {
        "patient": survivor,
        "text": text,
        "asked": bool(text.strip()),
        "found": [each for each in found if each.patient.pk != survivor.pk],
        "candidates": likely,
    }
    if request.htmx:
        return render(request, "radiology/patients/_merge_choices.html", context)
    return render(request, "radiology/patients/merge_choose.html", context)


def _merge(request: PageRequest, survivor: Patient, merged: Patient) -> HttpResponse:
    done = merges.merge_patients(
        who=request.user,
        survivor=survivor,
        merged=merged,
        reason=request.POST.get("reason", ""),
        address=audit.address_of(request),
    )
    text = _("%(merged)s (%(number)s) is merged into %(name)s.") % {
        "merged": merged.display_name,
        "number": merged.patient_id or "—",
        "name": survivor.display_name,
    }
    say(request, text, undo=reverse("patient-merge-undo", args=[done.public_id]))
    return redirect(next_address(request, reverse("patient", args=[survivor.public_id])))


def _compared(survivor: Patient, merged: Patient) -> list[dict[str, Any]]:
    """Both sides, row by row; what neither has is left out."""
    sides = [_shown(patient) for patient in (survivor, merged)]
    return [
        {"label": label, "stays": sides[0][name], "goes": sides[1][name], "differs": sides[0][name] != sides[1][name]}
        for label, name in ROWS
        if sides[0][name] or sides[1][name]
    ]


def _shown(patient: Patient) -> dict[str, str]:
    return {
        **initial_of(patient),
        "issuer_of_patient_id": patient.issuer_of_patient_id,
        "patient_name": PersonName(patient.patient_name).display,
        "patient_birth_date": dicom_date(patient.patient_birth_date),
        "patient_sex": sex_name(patient.patient_sex),
    }
