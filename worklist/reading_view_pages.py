"""The reading view: the images, and beside them the report, written and signed without leaving the page.

What is typed comes here every half second; the answer says at which version the draft stands now, or what somebody
else wrote meanwhile. Nothing of it is refused because of the browser: what it sends is made safe
(radiology/services/report_markup.py).
"""

import json
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from pacs.models import Study
from pacs.pages import refusal
from radiology.accounts import PageRequest, sign_in_url, signed_in
from radiology.errors import Conflict, InvalidValue, NotFound, PreconditionFailed, RadiologyError, TooLarge, outcome_of
from radiology.key_image_pages import entries_of
from radiology.models import AuditAction, Report, ReportOrigin, ReportSection, ReportStatus, RequestedProcedure
from radiology.services import audit
from radiology.services.access import require_password
from radiology.services.co_signatures import supervisor_of
from radiology.services.key_images import key_images_of
from radiology.services.report_markup import markup_of_text
from radiology.services.report_templates import macros_for
from radiology.services.report_versions import newest_version
from radiology.services.report_warnings import warnings_of
from radiology.services.reports import add_addendum, discard_draft, sign_report, write_draft
from worklist import reading_review
from worklist.services.priors import priors_of
from worklist.services.procedure_images import studies_of
from worklist.services.reading import claim, require_right, touch

LARGEST_BODY = 4 << 20
COMPARE = "@ohif/hpCompare"
KEYS = [
    ("Ctrl ↵", gettext_lazy("Sign")),
    ("Alt ↑ ↓", gettext_lazy("From section to section")),
    ("Tab", gettext_lazy("To the next blank")),
    ("Alt T", gettext_lazy("Choose a template")),
    ("Alt N", gettext_lazy("Normal findings")),
    ("Alt M", gettext_lazy("Insert the newest measurement")),
    ("Alt K", gettext_lazy("The image that is shown becomes a key image")),
    ("Alt D", gettext_lazy("Dictate, or stop")),
    ("Alt C", gettext_lazy("Critical result")),
    ("Alt B", gettext_lazy("Send a resident's report back")),
    ("Alt W", gettext_lazy("Images on the second screen")),
]


@require_safe
@never_cache
@ensure_csrf_cookie
@signed_in
def view(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """GET /reading/<requested procedure>: who opens it has it, unless somebody else does."""
    try:
        procedure = procedure_of(request, public_id)
        if not request.user.may("reports.write"):
            return _for_readers(request, procedure)
        reading, held = _claimed(request, procedure)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    study = studies_of(procedure, request.user).first()
    order = procedure.order_ref
    report = report_at(procedure)
    version = newest_version(report) if report else None
    is_elsewhere = report is not None and report.origin != ReportOrigin.HERE
    state = {
        "procedure": str(procedure.public_id),
        "study": study.study_instance_uid if study else "",
        "user": str(request.user.public_id),
        "readOnly": bool(held) or is_elsewhere,
        "macros": macros_for(request.user, translation.get_language()[:2]),
        **_state(report),
    }
    beside = reading_review.shown(request, report, study)
    state |= beside.pop("state")
    _record_read(request, procedure)
    priors = priors_of(who=request.user, procedure=procedure)
    context = {
        **beside,
        "procedure": procedure,
        "order": order,
        "patient": order.patient_ref,
        "study": study,
        "viewer": _viewer([study.study_instance_uid]) if study else "",
        "priors": [(prior, _prior_addresses(study, prior)) for prior in priors],
        "report": report,
        "version": version,
        "is_signed": report is not None and report.is_signed,
        "elsewhere": is_elsewhere,
        "held": held,
        "reading": reading,
        "sections": list(ReportSection),
        "state": state,
        "words": _words(),
        "warnings": warnings_of(procedure=procedure, sections=report.draft or {}) if report else [],
        "may_sign": request.user.may("reports.sign"),
        "keys": KEYS,
    }
    return render(request, "worklist/reading_view.html", context)


@require_safe
@never_cache
@signed_in
def reading_of(request: PageRequest) -> HttpResponseBase:
    """GET /reading/of?study=: the reading view of a study."""
    study = Study.objects.visible_to(request.user).filter(study_instance_uid=request.GET.get("study", "")).first()
    if study is None or study.requested_procedure_ref is None:
        return refusal(request, 404, _("There is no examination to be read in this study."))
    return HttpResponseRedirect(reverse("reading-view", args=[study.requested_procedure_ref.public_id]))


@require_safe
@never_cache
@signed_in
def screen(request: PageRequest) -> HttpResponse:
    """GET /reading/screen: a window for the images alone, kept in step with the report's."""
    return render(request, "worklist/reading_screen.html", {})


def answers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """JSON for the page's own script: whoever is no longer signed in, or refused, is told why in the answer."""

    @wraps(view)
    def wrapped(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
        if not request.user.is_authenticated:
            where = sign_in_url(reverse("reading-view", args=[public_id]))
            return JsonResponse({"signIn": where}, status=401)
        try:
            require_right(request.user)
            return view(request, public_id)
        except PreconditionFailed as error:
            there = error.facts.get("report")
            return JsonResponse({"message": error.message, "there": _state(there)}, status=412)
        except RadiologyError as error:
            return JsonResponse({"message": error.message, "field": error.field}, status=outcome_of(error).http)

    return wrapped


@method_decorator([never_cache, answers], name="dispatch")
class Draft(View):
    """`/reading/<requested procedure>/draft`: the report as it is being written."""

    def get(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        return JsonResponse(_state(report_at(procedure_of(request, public_id))))

    def put(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        """Keep what was typed: `sections` (markup by name), the `version` it was typed on, and by whom (`user`)."""
        procedure = procedure_of(request, public_id)
        given = body_of(request)
        report = report_at(procedure)
        if report is None and given.get("version"):
            raise Conflict(_("This report is gone: somebody threw it away."), field="version")
        if report is not None and report.version != given.get("version"):
            raise PreconditionFailed(
                _("Somebody else, or another window of yours, changed this report meanwhile."), report=report
            )
        written = write_draft(
            procedure=procedure,
            markup=given.get("sections", {}),
            version=report.version if report else None,
            who=request.user,
            address=audit.address_of(request),
        )
        touch(who=request.user, procedure=procedure)
        warnings = warnings_of(procedure=procedure, sections=written.draft or {})
        return JsonResponse({"version": written.version, "warnings": warnings})

    def delete(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        """Throw away what is being written; what was signed before stands."""
        report = report_at(procedure_of(request, public_id))
        version = body_of(request).get("version")
        if report is not None:
            report = discard_draft(
                report=report, version=version or 0, who=request.user, address=audit.address_of(request)
            )
        return JsonResponse(_state(report))


draft = Draft.as_view()


@require_POST
@never_cache
@answers
def sign(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST …/sign: `status`, `version` and `password`; once it is signed a `reason`, or an `addendum`.

    A resident may name a `supervisor`.
    """
    procedure = procedure_of(request, public_id)
    given = body_of(request)
    report = report_at(procedure)
    if report is None:
        raise NotFound(_("There is nothing to sign: write the report first."), field="report")
    address = audit.address_of(request)
    require_password(user=request.user, password=str(given.get("password", "")), address=address)
    version = version_in(given)
    if "addendum" in given:
        made = add_addendum(report=report, version=version, text=given["addendum"], who=request.user, address=address)
    else:
        status = given.get("status")
        made = sign_report(
            report=report,
            version=version,
            status=ReportStatus(status) if status in ReportStatus.values else ReportStatus.DRAFT,
            reason=str(given.get("reason", "")),
            supervisor=supervisor_of(given.get("supervisor")),
            who=request.user,
            address=address,
        )
    return JsonResponse({"status": made.status, "report": reverse("report", args=[report.public_id])})


def body_of(request: PageRequest) -> dict[str, Any]:
    """What the page's script sends; whoever it was written by must be whoever sends it."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise TooLarge(_("This is more than a report holds."))
    try:
        given = json.loads(request.read(LARGEST_BODY))
    except (ValueError, RecursionError) as error:
        raise InvalidValue(_("The body is no JSON.")) from error
    if not isinstance(given, dict):
        raise InvalidValue(_("The body is no JSON."))
    if given.get("user") != str(request.user.public_id):
        raise Conflict(
            _("Somebody else has signed in on this computer: sign in again as who wrote this."), field="user"
        )
    return given


def version_in(given: dict[str, Any]) -> int:
    """At which version a report was changed. Raises InvalidValue."""
    version = given.get("version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidValue(_("The version is a number."), field="version")
    return version


def procedure_of(request: PageRequest, public_id: uuid.UUID) -> RequestedProcedure:
    found = RequestedProcedure.objects.select_related("order_ref__patient_ref", "order_ref__site", "procedure_ref")
    if not request.user.sees_every_site:
        found = found.filter(order_ref__site=request.user.site)
    procedure = found.filter(public_id=public_id).first() if request.user.may("studies.read") else None
    if procedure is None:
        raise NotFound(_("This examination is not here, or not for you to see."))
    return procedure


def report_at(procedure: RequestedProcedure) -> Report | None:
    """The living report of the procedure."""
    return living_reports(procedure).select_related("draft_by").first()


def living_reports(procedure: RequestedProcedure) -> QuerySet[Report]:
    """One, or none."""
    return Report.objects.filter(requested_procedure_ref=procedure).exclude(status=ReportStatus.ENTERED_IN_ERROR)


def _claimed(request: PageRequest, procedure: RequestedProcedure) -> tuple[Any, str]:
    """The examination, claimed; else who has it, for the page to tell."""
    try:
        return claim(who=request.user, procedure=procedure), ""
    except Conflict as error:
        # What is signed can be amended by whoever may; what another has, only read.
        return None, error.message if error.facts.get("holder") else ""
    except NotFound:
        return None, ""


def _for_readers(request: PageRequest, procedure: RequestedProcedure) -> HttpResponseBase:
    """Who may not write goes to what is published."""
    report = report_at(procedure)
    if report is None or not report.number:
        raise NotFound(_("Nothing of this report is published yet."))
    return HttpResponseRedirect(reverse("report", args=[report.public_id]))


def _state(report: Report | None) -> dict[str, Any]:
    """What the page's script works with: the texts as markup, and the version at which they stand."""
    if report is None:
        return {"version": 0, "status": "", "sections": {}, "keyImages": [], "isDraft": False, "by": ""}
    if report.draft is not None:
        texts, markup = report.draft, report.draft_markup or {}
    else:
        version = newest_version(report)
        texts, markup = (version.sections, version.markup) if version else ({}, {})
    return {
        "version": report.version,
        "status": report.status if report.number else "",
        "sections": {name: markup.get(name) or markup_of_text(text) for name, text in texts.items()},
        "keyImages": entries_of(report, key_images_of(report)),
        "isDraft": report.draft is not None,
        "by": report.draft_by.shown_name if report.draft_by else "",
        "at": timezone.localtime(report.updated_at).strftime("%H:%M"),
    }


def _viewer(uids: list[str], **how: str) -> str:
    return f"{reverse('viewer')}?{urlencode({'StudyInstanceUIDs': ','.join(uids), **how}, safe=',@/')}"


def _words() -> dict[str, str]:
    """What the page's script says."""
    return {
        "saved": _("Saved"),
        "saving": _("Saving …"),
        "notSaved": _("Not saved. Your text is kept on this computer; open this page again."),
        "offline": _("No connection to the server. Your text is kept here and sent as soon as there is one."),
        "signedOut": _("You are signed out. Your text is kept here and saved as soon as you have signed in again."),
        "signIn": _("Sign in"),
        "restored": _("Your text of last time had not arrived: here it is."),
        "elsewhere": _("This report goes on in another window of yours."),
        "goOnHere": _("Go on here"),
        "draftOf": _("Draft by %s"),
        "readOnly": _("To read only"),
        "nothingMeasured": _("Nothing has been measured yet."),
        "noTemplates": _("There are no templates for this examination."),
        "kept": _("Kept among my templates: %s"),
        "notKept": _("The template could not be kept: try again when there is a connection."),
        "newImages": _("%s new images arrived."),
        "showThem": _("Show them"),
        "heldNow": _("The images were moved meanwhile: this report is held."),
        "notHeard": _("The browser could not listen: allow it the microphone."),
    }


def _prior_addresses(study: Study | None, prior: Any) -> dict[str, str]:
    """Where a former study is seen: alone, and beside the one that is read."""
    uid = prior.study.study_instance_uid
    beside = _viewer([study.study_instance_uid, uid], hangingprotocolid=COMPARE) if study else ""
    return {"alone": _viewer([uid]), "beside": beside}


def _record_read(request: PageRequest, procedure: RequestedProcedure) -> None:
    audit.record(
        event="reading",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=procedure.order_ref.site_id,
        patient_id=procedure.order_ref.patient_ref_id,
        study_instance_uid=procedure.study_instance_uid,
        detail={"procedure": str(procedure.public_id)},
    )
