"""The image viewer: links that others make (`/viewer`), its configuration, and its one page."""

import re
import uuid
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

from csp.constants import NONCE, SELF
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from pacs.models import Study
from pacs.pages import refusal
from pacs.services import search
from radiology.accounts import PageRequest, signed_in
from radiology.dicom import is_uid
from radiology.models import AuditAction, Patient
from radiology.services import audit
from radiology.services.survivors import survivor_of

VIEWER = "/ohif/viewer"
MOST_STUDIES = 20
# Parameters of the viewer's own address that a link may carry.
PASSED_ON = {
    "SeriesInstanceUIDs": r"[0-9.,]{1,2000}",
    "initialSeriesInstanceUID": r"[0-9.]{1,64}",
    "initialSOPInstanceUID": r"[0-9.]{1,64}",
    "hangingprotocolid": r"[@A-Za-z0-9/_-]{1,64}",
    "stageid": r"[A-Za-z0-9_-]{1,64}",
}
# The viewer compiles code for segmentations, starts workers from blobs and styles inline; nothing else here may.
POLICY = {
    "default-src": [SELF],
    "script-src": [SELF, NONCE, "'wasm-unsafe-eval'", "'unsafe-eval'"],
    "worker-src": [SELF, "blob:"],
    "connect-src": [SELF, "blob:", "data:"],
    "img-src": [SELF, "data:", "blob:"],
    "media-src": [SELF, "blob:"],
    "style-src": [SELF, "'unsafe-inline'"],
    "font-src": [SELF, "data:"],
    "object-src": [SELF, "blob:"],
    "frame-src": [SELF, "blob:"],
    "base-uri": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [SELF],
}


@require_safe
@never_cache
@signed_in
def open_viewer(request: PageRequest) -> HttpResponse:
    """Finds what a link names (studies, an accession number, a patient) and goes on to the viewer."""
    if request.GET.getlist("StudyInstanceUIDs"):
        return redirect(_viewer_address(request, _named_uids(request)))
    if "AccessionNumber" in request.GET:
        number = request.GET["AccessionNumber"]
        return _of_several(request, search.studies_of_accession(who=request.user, accession_number=number), number)
    if "patientId" in request.GET:
        number = request.GET["patientId"]
        patients = search.patients_of_id(who=request.user, patient_id=number)
        if len(patients) > 1:
            return render(request, "pacs/patients.html", {"patients": patients, "viewer": True})
        studies = search.studies_of_patient(who=request.user, patient=patients[0]) if patients else []
        return _of_several(request, studies, number)
    if "patient" in request.GET:
        return _of_several(request, _studies_of_public_id(request, request.GET["patient"]), "")
    return refusal(request, 404, _("Choose a study first: this address names none."))


@require_safe
@never_cache
@signed_in
@ensure_csrf_cookie
def viewer_page(request: PageRequest, path: str = "") -> HttpResponse:
    """The viewer's page for every address of its own; studies that it names must be there to see.

    Each study that is opened leaves an audit event.
    """
    if "." in path:
        raise Http404
    if path == "":
        return redirect("studies")
    uids = _named_uids(request)
    if path == "viewer" and not uids:
        return refusal(request, 404, _("Choose a study first: this address names none."))
    for uid in uids:
        studies = Study.objects.visible_to(request.user).filter(study_instance_uid=uid)
        study = studies.only("pk", "site_id", "patient_ref_id").first() if is_uid(uid) else None
        if study is None:
            return refusal(request, 404, _("This study is not here, or not for you to see."), asked=uid)
        audit.record(
            event="study.opened",
            action=AuditAction.READ,
            who=request.user,
            address=audit.address_of(request),
            site_id=study.site_id,
            patient_id=study.patient_ref_id,
            study_instance_uid=uid,
        )
    try:
        page = _page(settings.SINAR_DATA)
    except FileNotFoundError:
        message = _("The viewer is not installed on this server: an administrator types “make run” once.")
        return refusal(request, 503, message)
    page = page.replace("{{ nonce }}", str(request.csp_nonce)).replace("{{ language }}", translation.get_language())
    response = HttpResponse(page)
    # As csp.decorators.csp_replace does, but only for this page: refusals keep the strict policy.
    response._csp_replace = POLICY  # type: ignore[attr-defined]
    return response


@require_safe
def viewer_config(request: HttpRequest) -> HttpResponse:
    """/ohif/app-config.js: the same for everybody but for the language."""
    context = {
        "language": "id" if translation.get_language() == "id" else "en-US",
        "csrf_cookie": settings.CSRF_COOKIE_NAME,
    }
    response = render(request, "pacs/app-config.js", context, content_type="text/javascript; charset=utf-8")
    response["Cache-Control"] = "private, no-cache"
    return response


def _named_uids(request: HttpRequest) -> list[str]:
    """The studies that an address names: separated by commas, repeated, or both."""
    named = ",".join(request.GET.getlist("StudyInstanceUIDs")).split(",")
    return list(dict.fromkeys(uid.strip() for uid in named if uid.strip()))[:MOST_STUDIES]


def _viewer_address(request: HttpRequest, uids: list[str]) -> str:
    passed = {
        name: request.GET[name]
        for name, pattern in PASSED_ON.items()
        if name in request.GET and re.fullmatch(pattern, request.GET[name], re.ASCII)
    }
    return f"{VIEWER}?{urlencode({'StudyInstanceUIDs': ','.join(uids), **passed}, safe=',')}"


def _of_several(request: PageRequest, studies: list[Study], asked: str) -> HttpResponse:
    """One study opens; of several, a person chooses; none is explained."""
    if len(studies) == 1:
        return redirect(_viewer_address(request, [studies[0].study_instance_uid]))
    if studies:
        return render(request, "pacs/choice.html", {"studies": studies})
    return refusal(request, 404, _("Nothing with this number is here, or it is not for you to see."), asked=asked)


def _studies_of_public_id(request: PageRequest, public_id: str) -> list[Study]:
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        return []
    patient = Patient.objects.visible_to(request.user).filter(public_id=wanted).first()
    return search.studies_of_patient(who=request.user, patient=survivor_of(patient)) if patient else []


@lru_cache
def _page(data: Path) -> str:
    return (data / "ohif" / "index.html").read_text(encoding="utf-8")
