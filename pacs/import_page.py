"""The import page: files dropped on it, folders of the server, and how far all of it is."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from django.http import HttpResponse, HttpResponseNotModified, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.models import ImportRun, Study
from pacs.pages import etag, refusal
from pacs.services import imports
from pacs.services.imports_journal import Fate, Handled
from pacs.services.imports_report import report_lines
from pacs.services.imports_upload import end_upload, start_upload, take_file, upload_of
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, RadiologyError, outcome_of
from radiology.services import audit

RECENT = 20
SHOWN = 100
# A sender that vanished must not hold a thread for good.
SILENCE = 60.0


@require_safe
@never_cache
@signed_in
def page(request: PageRequest) -> HttpResponse:
    """Where files are dropped; below, the imports of late."""
    if not request.user.may("studies.write") or not request.user.has_perm("pacs.add_importrun"):
        return refusal(request, 403, _("You may not import: ask your administrator for the right."))
    folders = request.user.has_perm("pacs.import_folder")
    context = {
        "runs": ImportRun.objects.visible_to(request.user).order_by("-id")[:RECENT],
        "may_import_folders": folders,
        "folders": imports.offered_folders() if folders else [],
        "roots": imports.import_roots() if folders else [],
    }
    return render(request, "pacs/import.html", context)


@require_safe
@never_cache
@signed_in
def run(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """One import: how far it is, what came in, what did not and why."""
    try:
        found = imports.run_of(who=request.user, public_id=public_id)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    job = found.job
    version = etag(request, f"{found.pk}-{found.version}-{found.state}-{job.state if job else ''}")
    if request.htmx and request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified()
    studies = list(found.studies.order_by("-id")[: SHOWN + 1])
    refusals = list(found.refusals.order_by("-outcome", "-id")[: SHOWN + 1])
    visible = {
        study.study_instance_uid: study
        for study in Study.objects.visible_to(request.user)
        .filter(site=found.site_id, study_instance_uid__in=[each.study_instance_uid for each in studies])
        .select_related("patient_ref", "site")
    }
    context = {
        "run": found,
        "etag": version,
        "studies": [(each, visible.get(each.study_instance_uid)) for each in studies[:SHOWN]],
        "more_studies": len(studies) > SHOWN,
        "refusals": refusals[:SHOWN],
        "more_refusals": len(refusals) > SHOWN,
        "percent": min(100, 100 * found.handled // found.found) if found.found else None,
        "may_control": request.user.has_perm("pacs.import_folder"),
        "may_decide": request.user.has_perm("pacs.view_heldobject"),
    }
    return render(request, "pacs/_import_run.html" if request.htmx else "pacs/import_run.html", context)


@require_safe
@never_cache
@signed_in
def report(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """The refused and held files of an import as CSV."""
    try:
        found = imports.run_of(who=request.user, public_id=public_id)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    response = StreamingHttpResponse(report_lines(run=found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="import-{found.public_id}.csv"'
    return response


@require_POST
@signed_in
def start_folder(request: PageRequest) -> HttpResponse:
    """Begin to import a folder of the server."""
    try:
        started = imports.start_folder_import(
            who=request.user, path=request.POST.get("path", "").strip(), address=audit.address_of(request)
        )
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    return redirect("import-run", started.public_id)


@require_POST
@signed_in
def control(request: PageRequest, public_id: uuid.UUID, action: str) -> HttpResponse:
    """Stop an import, or have it go on."""
    service = {"cancel": imports.cancel, "resume": imports.resume}[action]
    try:
        found = imports.run_of(who=request.user, public_id=public_id)
        service(who=request.user, run=found, address=audit.address_of(request))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    return redirect("import-run", public_id)


def for_script(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view that the page's script calls: it answers every error in JSON."""

    @wraps(view)
    def wrapped(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return JsonResponse({"detail": _("Your session has ended: sign in again.")}, status=401)
        try:
            return view(request, *args, **kwargs)
        except RadiologyError as error:
            return JsonResponse({"detail": error.message}, status=outcome_of(error).http)

    return never_cache(require_POST(wrapped))


@for_script
def upload(request: PageRequest) -> HttpResponse:
    """Begin an upload: where its files go to."""
    started = start_upload(who=request.user)
    return JsonResponse({"id": str(started.public_id)}, status=201)


@for_script
def upload_file(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """One file, as the body; its name stands in X-File-Name, percent-encoded."""
    found = upload_of(who=request.user, public_id=public_id)
    if request.content_type != "application/octet-stream":
        raise InvalidValue(_("Send the file as application/octet-stream."), field="Content-Type")
    try:
        size = int(request.META["CONTENT_LENGTH"])
    except (KeyError, ValueError) as error:
        raise InvalidValue(_("The length of the body must be told."), field="Content-Length") from error
    if connection := request.META.get("gunicorn.socket"):
        connection.settimeout(SILENCE)
    try:
        handled = take_file(
            run=found,
            name=unquote(request.headers.get("X-File-Name", "")) or _("(no name)"),
            size=size,
            read=request.read,
            address=audit.address_of(request),
        )
    except (UnreadablePostError, OSError) as error:
        raise InvalidValue(_("The file did not arrive whole: send it again.")) from error
    return JsonResponse(_told(handled))


@for_script
def upload_end(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """Nothing more comes. `skipped` says how many files the page did not send: they were no DICOM."""
    skipped = request.POST.get("skipped", "0")
    if not (skipped.isascii() and skipped.isdigit() and len(skipped) < 10):
        raise InvalidValue(_("This is no number of files."), field="skipped")
    end_upload(run=upload_of(who=request.user, public_id=public_id), skipped=int(skipped))
    return JsonResponse({})


def _told(handled: list[Handled]) -> dict[str, Any]:
    problems = [each for each in handled if each.fate in {Fate.REFUSED, Fate.HELD}]
    return {
        **{fate.value: sum(each.fate is fate for each in handled) for fate in Fate},
        "problems": [{"name": each.name, "fate": each.fate.value, "reason": each.reason} for each in problems[:SHOWN]],
    }
