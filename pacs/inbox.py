"""The inboxes: images that contradict what is there, and images of nobody known; both sides, one click."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.models import HeldChoice, HeldDecision, HeldObject, HeldReason
from pacs.pages import etag, next_address, refusal
from pacs.services import corrections, held, held_cases, held_picture, history, unknown_patients
from pacs.services.held_admission import CaseKey
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import Patient
from radiology.notices import say
from radiology.services import audit

TABS = ("conflicts", "quarantine", "unknown")
COUNTED = 999


@dataclass(frozen=True)
class ChoiceButton:
    """One answer to a conflict: its words, what it will do, and its key."""

    choice: HeldChoice
    label: str
    hint: str
    key: str
    needs_reason: bool


@require_safe
@never_cache
@signed_in
def inbox(request: PageRequest) -> HttpResponse:
    """GET /inbox: what waits for a decision. A part that asks again gets 304 when nothing happened."""
    if not request.user.may("inbox.decide"):
        return refusal(request, 403, _("Your role does not decide about conflicting images."))
    version = etag(request, str(_version(request)))
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    template = "pacs/_inbox_list.html" if request.htmx else "pacs/inbox.html"
    return render(request, template, _context(request, version))


@require_POST
@never_cache
@signed_in
def decide(request: PageRequest) -> HttpResponse:
    """POST /inbox/decide: one answer to one case; the bar at the bottom takes it back."""
    try:
        case = _case_key(request)
        choice = _choice(request)
        decision = held.decide(
            who=request.user,
            case=case,
            choice=choice,
            why=request.POST.get("why", ""),
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, card=f"case-{request.POST.get('newest', '')}")
    words = ngettext(
        "%(decision)s: %(count)d image.", "%(decision)s: %(count)d images.", decision.number_of_objects
    ) % {"decision": decision.get_choice_display(), "count": decision.number_of_objects}
    say(request, words, undo=reverse("inbox-undo", args=[decision.public_id]))
    return _done(request)


@require_POST
@never_cache
@signed_in
def undo(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: take a decision back."""
    decision = HeldDecision.objects.visible_to(request.user).filter(public_id=public_id).first()
    try:
        if decision is None:
            raise NotFound(_("There is no such decision."))
        held.undo(who=request.user, decision=decision, address=audit.address_of(request))
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        say(request, _("Taken back: they wait for a decision again."))
    tab = "quarantine" if decision and decision.reason in held_cases.QUARANTINE else "conflicts"
    return redirect(_address(tab, None))


@require_POST
@never_cache
@signed_in
def assign(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: the provisional patient's study is that of a known patient."""
    try:
        unknown = _unknown(request, public_id)
        patient = _patient(request, request.POST.get("patient", ""))
        correction = unknown_patients.assign(
            who=request.user,
            unknown=unknown,
            patient=patient,
            version=_number(request, "version"),
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, card=f"unknown-{public_id}")
    say(
        request,
        _("The study is %(name)s's now.") % {"name": patient.display_name},
        undo=reverse("inbox-undo-patient", args=[correction.public_id]),
    )
    return _done(request)


@require_POST
@never_cache
@signed_in
def register(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: the provisional patient is a new patient, with a number of its own."""
    names = ("patient_id", "patient_name", "patient_birth_date", "patient_sex")
    try:
        unknown = _unknown(request, public_id)
        correction = unknown_patients.register(
            who=request.user,
            unknown=unknown,
            version=_number(request, "version"),
            values={name: request.POST[name] for name in names if name in request.POST},
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _failed(request, error, card=f"unknown-{public_id}")
    say(
        request,
        _("A new patient with the number %(number)s.") % {"number": request.POST["patient_id"].strip()},
        undo=reverse("inbox-undo-patient", args=[correction.public_id]),
    )
    return _done(request)


@require_POST
@never_cache
@signed_in
def undo_patient(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST: take back whose a study is."""
    try:
        if not request.user.may("inbox.decide"):
            raise NotFound(_("There is no such decision."))
        correction = history.correction_of(who=request.user, public_id=public_id)
        corrections.undo(who=request.user, correction=correction, address=audit.address_of(request))
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        say(request, _("Taken back: the patient is unknown again."))
    return redirect(_address("unknown", None))


@require_safe
@signed_in
def picture(request: PageRequest, pk: int) -> HttpResponse:
    """GET: a thumbnail of a held object, for those who decide about it."""
    found = HeldObject.objects.visible_to(request.user).select_related("volume").filter(pk=pk).first()
    if found is None:
        return HttpResponse(status=404)
    tag = f'"{hashlib.sha256(bytes(found.sha256)).hexdigest()[:24]}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified()
    return HttpResponse(
        held_picture.thumbnail(held=found),
        content_type="image/jpeg",
        headers={"ETag": tag, "Cache-Control": "private, no-cache"},
    )


def _context(request: PageRequest, version: str, **more: Any) -> dict[str, Any]:
    who = request.user
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else TABS[0]
    before = request.GET.get("before", "")
    place = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    context: dict[str, Any] = {
        "tab": tab,
        "tabs": _tabs(request),
        "etag": version,
        "address": _address(tab, place),
        "paged": place is not None,
        "keys": [
            ("j", _("Next")),
            ("k", _("Previous")),
            ("a", _("Accept the proposal")),
            ("r", _("Reject, or keep the first")),
            ("u", _("Undo")),
            ("Enter", _("Open the study")),
        ],
    }
    if tab == "unknown":
        page = unknown_patients.unknown_patients(who=who, before=place)
        context |= {"unknown": page.unknown, "older": page.older}
    else:
        reasons = held_cases.QUARANTINE if tab == "quarantine" else held_cases.CONFLICTS
        found = held_cases.cases(who=who, reasons=reasons, before=place)
        context |= {"cases": [(case, _buttons(case)) for case in found.cases], "older": found.older}
    return {**context, "newest_address": _address(tab, None), "older_address": _address(tab, context["older"]), **more}


def _tabs(request: PageRequest) -> list[tuple[str, str, int]]:
    """Key, label and how many wait, counted no further than shown."""
    waiting = HeldObject.objects.visible_to(request.user).waiting()
    return [
        ("conflicts", _("Conflicts"), waiting.filter(reason__in=held_cases.CONFLICTS)[: COUNTED + 1].count()),
        ("quarantine", _("Quarantine"), waiting.filter(reason__in=held_cases.QUARANTINE)[: COUNTED + 1].count()),
        ("unknown", _("Unknown patients"), unknown_patients.waiting(who=request.user)[: COUNTED + 1].count()),
    ]


def _version(request: PageRequest) -> tuple[Any, ...]:
    who = request.user
    return held_cases.waiting_version(who=who) + unknown_patients.waiting_version(who=who)


def _address(tab: str, before: int | None) -> str:
    query = {"tab": tab} | ({"before": str(before)} if before is not None else {})
    return f"{reverse('inbox')}?{urlencode(query)}"


def _buttons(case: held_cases.Case) -> list[ChoiceButton]:
    name = case.study.patient_ref.display_name if case.study else ""
    count = {"count": case.count, "name": name}
    labels = {
        (HeldReason.OTHER_HEADER, HeldChoice.REPLACE): (
            _("Accept as correction"),
            _("The new header stands from now on; the first is kept for undo."),
        ),
        (HeldReason.OTHER_HEADER, HeldChoice.REJECT): (_("Keep the first"), _("Nothing changes.")),
        (HeldReason.OTHER_PIXELS, HeldChoice.REJECT): (_("Keep the first"), _("Nothing changes.")),
        (HeldReason.OTHER_PIXELS, HeldChoice.REPLACE): (
            _("Replace by the new one"),
            ngettext(
                "%(count)d image that people may have read is replaced.",
                "%(count)d images that people may have read are replaced.",
                case.count,
            )
            % count,
        ),
        (HeldReason.STUDY_OF_OTHER_PATIENT, HeldChoice.JOIN): (
            _("The same person"),
            ngettext(
                "%(count)d image joins this study and is %(name)s's.",
                "%(count)d images join this study and are %(name)s's.",
                case.count,
            )
            % count,
        ),
        (HeldReason.STUDY_OF_OTHER_PATIENT, HeldChoice.APART): (
            _("Another person"),
            ngettext(
                "%(count)d image gets a study of its own under the patient that it names.",
                "%(count)d images get a study of their own under the patient that they name.",
                case.count,
            )
            % count,
        ),
        (HeldReason.SERIES_OF_OTHER_STUDY, HeldChoice.JOIN): (
            _("File it with its series"),
            ngettext(
                "%(count)d image joins the study of %(name)s where its series is.",
                "%(count)d images join the study of %(name)s where their series is.",
                case.count,
            )
            % count,
        ),
        (HeldReason.SERIES_OF_OTHER_STUDY, HeldChoice.APART): (
            _("Keep apart"),
            ngettext(
                "%(count)d image stays in the study that it names, as a series of its own.",
                "%(count)d images stay in the study that they name, as a series of their own.",
                case.count,
            )
            % count,
        ),
        (HeldReason.INSTANCE_ELSEWHERE, HeldChoice.REPLACE): (
            _("Move to where the new one says"),
            ngettext(
                "%(count)d image leaves the study where it is now.",
                "%(count)d images leave the study where they are now.",
                case.count,
            )
            % count,
        ),
        (HeldReason.INSTANCE_ELSEWHERE, HeldChoice.REJECT): (_("Keep the first"), _("Nothing changes.")),
    }
    reject = (_("Reject"), _("They are shown nowhere; undo brings the question back."))
    buttons = []
    for number, choice in enumerate(case.choices):
        label, hint = labels.get((case.key.reason, choice), reject)
        key = "a" if number == 0 else "r" if choice == HeldChoice.REJECT else ""
        buttons.append(ChoiceButton(choice, label, hint, key, (case.key.reason, choice) in held.NEEDS_REASON))
    return buttons


def _done(request: PageRequest) -> HttpResponse:
    """The list as it is now: as a part, or as the page."""
    if not request.htmx:
        return redirect(next_address(request, reverse("inbox")))
    return render(
        request, "pacs/_inbox_list.html", {**_context(request, etag(request, str(_version(request)))), "notices": True}
    )


def _failed(request: PageRequest, error: RadiologyError, *, card: str) -> HttpResponse:
    """The list again, the error beside what it is about, what was typed still there."""
    typed = {name: value for name, value in request.POST.items() if name != "csrfmiddlewaretoken"}
    context = _context(
        request, etag(request, str(_version(request))), error=error, error_card=card, typed=typed, notices=True
    )
    if request.htmx:
        return render(request, "pacs/_inbox_list.html", context)
    return render(request, "pacs/inbox.html", context, status=outcome_of(error).http)


def _case_key(request: PageRequest) -> CaseKey:
    reason = request.POST.get("reason", "")
    if reason not in HeldReason.values:
        raise InvalidValue(_("There is no such conflict."), field="reason")
    return CaseKey(
        site_id=_number(request, "site"),
        reason=HeldReason(reason),
        study_instance_uid=request.POST.get("study_instance_uid", "")[:64],
        source_ae_title=request.POST.get("source_ae_title", "")[:16],
        patient_id=request.POST.get("patient_id", "")[:64],
        newest=_number(request, "newest"),
    )


def _choice(request: PageRequest) -> HeldChoice:
    choice = request.POST.get("choice", "")
    if choice not in HeldChoice.values:
        raise InvalidValue(_("Choose one of the answers."), field="choice")
    return HeldChoice(choice)


def _number(request: PageRequest, name: str) -> int:
    text = request.POST.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidValue(_("This page is out of date: load it again."), field=name)
    return int(text)


def _unknown(request: PageRequest, public_id: uuid.UUID) -> Patient:
    found = Patient.objects.visible_to(request.user).select_related("site").filter(public_id=public_id).first()
    if found is None:
        raise NotFound(_("This patient is not here, or not for you to see."))
    return found


def _patient(request: PageRequest, public_id: str) -> Patient:
    try:
        wanted = uuid.UUID(public_id)
    except ValueError as error:
        raise InvalidValue(_("Choose a patient."), field="patient") from error
    found = Patient.objects.visible_to(request.user).filter(public_id=wanted, provisional_for="").first()
    if found is None:
        raise NotFound(_("This patient is not here, or not for you to see."))
    return found
