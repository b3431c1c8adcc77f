"""The radiologist's reading list: what hurts most comes first; one key claims, one takes the next one."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR, INFO
from django.http import HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import replace_url

from pacs.forms import MODALITY_NAMES
from pacs.pages import etag, next_address, page_address, place_in, refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import NotFound, RadiologyError, outcome_of
from radiology.models import Priority, RequestedProcedure, User
from radiology.models.user import RIGHTS
from radiology.notices import say
from radiology.services import audit
from worklist import reading_words
from worklist.models import Reading
from worklist.services import reading as reading_service
from worklist.services.reading import ORDER, ReadingFilter
from worklist.services.reading_list import COUNTED, ReadingPage, line_of, reading_page

VIEWS = {
    "unread": gettext_lazy("Unread"),
    "mine": gettext_lazy("Mine"),
    "areas": gettext_lazy("My areas"),
    "drafts": gettext_lazy("Drafts"),
    "cosign": gettext_lazy("To co-sign"),
    "preliminary": gettext_lazy("Preliminary"),
    "late": gettext_lazy("Images after reading"),
}
KEYS = [
    ("j", gettext_lazy("Next examination")),
    ("k", gettext_lazy("Previous examination")),
    ("Enter", gettext_lazy("Read it")),
    ("n", gettext_lazy("Read the next one that nobody has")),
    ("c", gettext_lazy("Claim it")),
    ("u", gettext_lazy("Let it go")),
    ("a", gettext_lazy("Give it to a colleague, or take it over")),
    ("v", gettext_lazy("View its images")),
    ("p", gettext_lazy("Open the patient")),
]
PAGE = 50
HEAD = 5
MOST_COLLEAGUES = 200
# Which of the ways to sign in knows of rights.
BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_safe
@never_cache
@signed_in
def reading_list(request: PageRequest) -> HttpResponseBase:
    """GET /reading. A part that asks again with the version it shows gets 304 when nothing happened."""
    if not request.user.may(reading_service.RIGHT):
        return refusal(request, 403, _("The reading list is for those who write reports."))
    wanted = _wanted(request.GET)
    page = reading_page(who=request.user, wanted=wanted, place=place_in(request, ORDER), size=PAGE)
    version = etag(request, page.version)
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    here = _address(wanted)
    context: dict[str, Any] = {
        **_shown(page),
        "wanted": wanted,
        "tabs": [
            (name, label, page.counts[name], _address(ReadingFilter(name, wanted.modality, wanted.priority)))
            for name, label in VIEWS.items()
        ],
        "modalities": MODALITY_NAMES.items(),
        "priorities": Priority.choices,
        "etag": version,
        "address": request.get_full_path(),
        "here": here,
        "everything": _address(ReadingFilter(wanted.view)),
        "is_filtered": bool(wanted.modality or wanted.priority),
        "older": page_address(here, ORDER, page.page.next),
        "newer": page_address(here, ORDER, page.page.previous),
        "keys": KEYS,
    }
    if request.htmx and request.htmx.trigger == "reading-filter":
        return replace_url(render(request, "worklist/_reading_list.html", {**context, "address": here}), here)
    if request.htmx:
        return render(request, "worklist/_reading_list.html", context)
    return render(request, "worklist/reading_list.html", context)


@require_safe
@never_cache
@signed_in
def head(request: PageRequest) -> HttpResponseBase:
    """GET /reading/head: the first of the list, for the home page, which shows it."""
    if not request.user.may(reading_service.RIGHT):
        return HttpResponse(status=204)
    card = head_of_list(request)
    if request.headers.get("If-None-Match") == card["etag"]:
        return HttpResponseNotModified()
    response = render(request, "worklist/_reading_head.html", {"reading": card})
    response["ETag"] = card["etag"]
    return response


def head_of_list(request: PageRequest) -> dict[str, Any]:
    """What the home page shows of the list."""
    page = reading_page(who=request.user, wanted=ReadingFilter(), size=HEAD, views=("unread", "mine"))
    return {**_shown(page), "counts": page.counts, "etag": etag(request, page.version)}


@require_POST
@never_cache
@signed_in
def take_next(request: PageRequest) -> HttpResponseBase:
    """POST /reading/next: the next examination of the view that nobody has, claimed and opened.

    `after` names the one that one comes from.
    """
    wanted = _wanted(request.POST)
    try:
        after = None
        if key := _uuid(request.POST.get("after", "")):
            after = RequestedProcedure.objects.filter(public_id=key).first()
        found = reading_service.next_for(who=request.user, after=after, wanted=wanted)
    except RadiologyError as error:
        return _back_with(request, error)
    if found is None:
        say(request, _("Nothing waits here that nobody has."), level=INFO)
        return redirect(_address(wanted))
    return redirect(view_address(found.requested_procedure_ref))


@require_POST
@never_cache
@signed_in
def claim(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /reading/<uuid>/claim: have it to oneself; of another's with `take_over`."""
    try:
        reading = reading_service.claim(
            who=request.user,
            procedure=procedure_of(request, public_id),
            take_over=request.POST.get("take_over") == "1",
            address=audit.address_of(request),
        )
    except RadiologyError as error:
        return _back_with(request, error, public_id)
    return _done(request, public_id, _("%(patient)s is yours to read.") % _named(reading))


@require_POST
@never_cache
@signed_in
def release(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /reading/<uuid>/release: let it go."""
    try:
        reading = reading_service.release(who=request.user, procedure=procedure_of(request, public_id))
    except RadiologyError as error:
        return _back_with(request, error, public_id)
    return _done(request, public_id, _("%(patient)s is anybody's to read again.") % _named(reading))


@never_cache
@signed_in
def assign(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """GET /reading/<uuid>/assign: who is to read it, asked in a dialog; POST: `to` whom, empty for anybody."""
    try:
        procedure = procedure_of(request, public_id)
        reading_service.require_right(request.user)
        if request.method != "POST":
            return _ask_whom(request, procedure)
        to = _colleague(request, request.POST.get("to", ""))
        reading = reading_service.assign(
            who=request.user, procedure=procedure, to=to, address=audit.address_of(request)
        )
    except RadiologyError as error:
        return _back_with(request, error, public_id)
    if to is None:
        return _done(request, public_id, _("%(patient)s is anybody's to read again.") % _named(reading))
    names = {**_named(reading), "who": to.shown_name}
    return _done(request, public_id, _("%(who)s is to read %(patient)s.") % names)


def view_address(procedure: RequestedProcedure) -> str:
    """Where an examination is read."""
    return f"{reverse('reading')}/{procedure.public_id}"


def procedure_of(request: PageRequest, public_id: uuid.UUID) -> RequestedProcedure:
    """The procedure of an examination that is, or was, to be read. Raises NotFound."""
    rows = Reading.objects.visible_to(request.user).select_related("requested_procedure_ref__order_ref__patient_ref")
    found = rows.filter(requested_procedure_ref__public_id=public_id).first()
    if found is None:
        raise NotFound(_("This examination has no images to read, or is not for you to see."))
    return found.requested_procedure_ref


def _shown(page: ReadingPage) -> dict[str, Any]:
    now = timezone.now()
    return {
        "lines": [
            {
                "line": line,
                "due": reading_words.due_in(line.reading.due_at, now),
                "address": view_address(line.procedure),
                "is_urgent": line.reading.urgency < 2,
            }
            for line in page.lines
        ],
        "words": reading_words.words(),
        "soon": int(reading_words.SOON.total_seconds() // 60),
        "counted": COUNTED,
    }


def _wanted(values: Any) -> ReadingFilter:
    view, priority = values.get("view", ""), values.get("priority", "")
    return ReadingFilter(
        view=view if view in VIEWS else "unread",
        modality=values.get("modality", "").strip().upper()[:16].replace("\x00", ""),
        priority=priority if priority in Priority.values else "",
    )


def _address(wanted: ReadingFilter) -> str:
    given = {"modality": wanted.modality, "priority": wanted.priority}
    kept = {name: value for name, value in given.items() if value}
    if wanted.view != "unread":
        kept = {"view": wanted.view, **kept}
    return f"{reverse('reading')}?{urlencode(kept)}" if kept else reverse("reading")


def _ask_whom(request: PageRequest, procedure: RequestedProcedure) -> HttpResponseBase:
    line = line_of(who=request.user, reading=procedure.reading)
    context = {"line": line, "colleagues": _colleagues(request)}
    template = "worklist/_reading_assign.html" if request.htmx else "worklist/reading_assign.html"
    return render(request, template, context)


def _colleagues(request: PageRequest) -> list[User]:
    """Those who may write reports at this site, by name; not oneself."""
    rows = User.objects.with_perm(RIGHTS[reading_service.RIGHT], include_superusers=False, backend=BACKEND)
    found = rows.filter(site=request.user.site, is_active=True).exclude(pk=request.user.pk)
    return list(found.order_by("last_name", "first_name", "username")[:MOST_COLLEAGUES])


def _colleague(request: PageRequest, text: str) -> User | None:
    if not text:
        return None
    key = _uuid(text)
    found = User.objects.filter(public_id=key, is_active=True).first() if key else None
    if found is None:
        raise NotFound(_("There is no such colleague."), field="to")
    return found


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _named(reading: Reading) -> dict[str, str]:
    return {"patient": reading.requested_procedure_ref.order_ref.patient_ref.display_name}


def _done(request: PageRequest, public_id: uuid.UUID, words: str) -> HttpResponseBase:
    """Where one came from, at the same row."""
    say(request, words)
    return redirect(f"{next_address(request, reverse('reading'))}#read-{public_id}")


def _back_with(request: PageRequest, error: RadiologyError, public_id: uuid.UUID | None = None) -> HttpResponseBase:
    """The same, with what went wrong."""
    if request.method == "POST" and (address := next_address(request, "")):
        say(request, error.message, level=ERROR)
        return redirect(f"{address}#read-{public_id}" if public_id else address)
    return refusal(request, outcome_of(error).http, error.message)
