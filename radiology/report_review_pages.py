"""What became of a report after somebody wrote it: what a supervisor changed, images that moved, images that came."""

import uuid
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import AuditAction, Report, ReportHold
from radiology.notices import say
from radiology.pages import next_address, refusal
from radiology.services import audit, co_signatures, late_images, report_holds
from radiology.services.access import require_password
from radiology.services.report_differences import chosen_versions, difference_of
from radiology.services.report_versions import is_withheld, record
from radiology.services.reports import withdraw_report

PAGE = 50
ON_HOME = 99
KEYS = [("j", gettext_lazy("Next report")), ("k", gettext_lazy("Previous report")), ("Enter", gettext_lazy("Open it"))]
_RELATED = ("report_ref__requested_procedure_ref__order_ref__patient_ref",)


@require_safe
@never_cache
@signed_in
def differences(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /reports/<public id>/differences: two versions, word by word (`from`, `to`: their numbers).

    Otherwise what the supervisor made of the resident's version, else the last change.
    """
    try:
        report = report_of(request, public_id)
        before, after = chosen_versions(report, _asked(request, "from"), _asked(request, "to"))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    co_signatures.note_seen(report, request.user)
    record(
        report, request.user, audit.address_of(request), AuditAction.READ, {"compared": [before.number, after.number]}
    )
    procedure = report.requested_procedure_ref
    context = {
        "report": report,
        "before": before,
        "after": after,
        "difference": difference_of(before, after),
        "versions": list(report.versions.defer("pdf", "sections", "markup")[:PAGE]),
        "co": co_signatures.latest_of(report) if request.user.may("reports.write") else None,
        "procedure": procedure,
        "patient": procedure.order_ref.patient_ref,
        "keys": [("r", _("The report"))],
    }
    return render(request, "radiology/report_differences.html", context)


@require_safe
@never_cache
@signed_in
def changed(request: PageRequest) -> HttpResponse:
    """GET /reports/changed: of one's own reports, those that a supervisor changed or sent back."""
    if not request.user.may("reports.write"):
        return refusal(request, 403, _("This list is for those who write reports."))
    found = co_signatures.told_to(request.user).select_related(*_RELATED)
    return _listed(request, "radiology/reports_changed.html", found)


@require_safe
@never_cache
@signed_in
def held(request: PageRequest) -> HttpResponse:
    """GET /reports/held: reports that wait until somebody has looked whose they are."""
    if not request.user.may("reports.write"):
        return refusal(request, 403, _("This list is for those who write reports."))
    found = ReportHold.objects.visible_to(request.user).open().select_related(*_RELATED, "linked_to__order_ref")
    return _listed(request, "radiology/reports_held.html", found.order_by("-pk"))


@require_POST
@never_cache
@signed_in
def decide(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /reports/<public id>/hold: `do` is release, move or withdraw, with `reason`, `version` and `password`."""
    address = audit.address_of(request)
    given: dict[str, Any] = {"reason": request.POST.get("reason", ""), "who": request.user, "address": address}
    try:
        report = report_of(request, public_id, drafts=True)
        report_holds.require_right(request.user)
        require_password(user=request.user, password=request.POST.get("password", ""), address=address)
        given |= {"report": report, "version": _number(request.POST.get("version", ""), "version")}
        match request.POST.get("do"):
            case "release":
                report_holds.release(**given)
                say(request, _("The report is released: it stands for this patient."))
            case "move":
                target = report_holds.move_along(**given)
                say(request, _("The report went along: read it again there, and sign it."))
                return redirect("reading-view", target.public_id)
            case "withdraw":
                withdraw_report(**given)
                say(request, _("The report is withdrawn."))
            case _:
                raise InvalidValue(_("Choose what becomes of the report."), field="do")
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    return redirect(next_address(request, reverse("reports-held")))


@require_POST
@never_cache
@signed_in
def images_seen(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /reports/<public id>/images-seen: the late images change nothing."""
    try:
        report = report_of(request, public_id)
        late_images.acknowledge(report=report, who=request.user, address=audit.address_of(request))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("Noted: you have seen the images, and the report stands."))
    return redirect(next_address(request, reverse("report", args=[public_id])))


def find_report(request: PageRequest, public_id: uuid.UUID, *, drafts: bool = False) -> Report | None:
    """A published report that the person may see, held ones too; with `drafts` any, for who writes reports."""
    found = Report.objects.visible_to(request.user)
    if not (drafts and request.user.may("reports.write")):
        found = found.exclude(number=0)
    related = found.select_related("requested_procedure_ref__order_ref__patient_ref", "site")
    return related.filter(public_id=public_id).first()


def report_of(request: PageRequest, public_id: uuid.UUID, *, drafts: bool = False) -> Report:
    """The same; held ones only who writes reports. Raises NotFound."""
    report = find_report(request, public_id, drafts=drafts)
    if report is None or is_withheld(report, request.user):
        raise NotFound(_("This report is not here, or not for you to see."))
    return report


def shown_on_report(request: PageRequest, report: Report) -> dict[str, Any]:
    """What the report's page says beside the text, for its template."""
    writes = request.user.may("reports.write")
    return {
        "hold": report_holds.open_hold_of(report),
        "withheld": is_withheld(report, request.user),
        "late": late_images.open_of(report),
        "co": co_signatures.latest_of(report) if writes else None,
        "may_release": report_holds.may_decide(request.user) if report.held_at else False,
    }


def of_person(request: PageRequest) -> dict[str, int]:
    """How many notices the home page shows of each kind, counted to one more than `ON_HOME`."""
    who = request.user
    if not who.may("reports.write"):
        return {}
    parts = {
        "changed": co_signatures.told_to(who).filter(seen_at=None),
        "late": late_images.open_for(who),
        "held": ReportHold.objects.visible_to(who).open() if who.may(report_holds.RIGHT) else ReportHold.objects.none(),
    }
    return {name: count for name, found in parts.items() if (count := len(found.values_list("pk")[: ON_HOME + 1]))}


def _listed(request: PageRequest, template: str, found: Any) -> HttpResponse:
    try:
        before = _number(request.GET["before"], "before") if "before" in request.GET else None
    except InvalidValue:
        return refusal(request, 400, _("This page does not exist."))
    rows = list((found if before is None else found.filter(pk__lt=before))[: PAGE + 1])
    context = {
        "rows": rows[:PAGE],
        "next": rows[PAGE - 1].pk if len(rows) > PAGE else None,
        "is_first": before is None,
        "keys": KEYS,
    }
    return render(request, template, context)


def _asked(request: PageRequest, name: str) -> int | None:
    return _number(request.GET[name], name) if request.GET.get(name) else None


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidValue(_("The address is incomplete."), field=field)
    return int(text)
