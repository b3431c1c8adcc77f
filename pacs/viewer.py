"""The image viewer: links that others make (`/viewer`), its configuration, and its one page."""

import uuid
from functools import lru_cache
from pathlib import Path

from csp.constants import NONCE, SELF
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from pacs.guests import GuestRequest, embedders, may_embed, opened, welcomes_guests
from pacs.links import opens_links, viewer_address
from pacs.models import Study
from pacs.pages import refusal
from pacs.services import search
from radiology.dicom import is_uid
from radiology.models import AuditAction, Patient
from radiology.services import audit
from radiology.services.survivors import survivor_of

MOST_STUDIES = 20
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
@opens_links
@welcomes_guests
def open_viewer(request: GuestRequest) -> HttpResponse:
    """Finds what a link names (studies, an accession number, a patient) and goes on to the viewer."""
    if request.GET.getlist("StudyInstanceUIDs"):
        return redirect(viewer_address(request, _named_uids(request)))
    if "AccessionNumber" in request.GET:
        number = request.GET["AccessionNumber"]
        return _of_several(request, search.studies_of_accession(who=request.who, accession_number=number), number)
    if "patientId" in request.GET:
        number = request.GET["patientId"]
        patients = search.patients_of_id(who=request.who, patient_id=number)
        if len(patients) > 1:
            return render(request, "pacs/patients.html", {"patients": patients, "viewer": True})
        studies = search.studies_of_patient(who=request.who, patient=patients[0]) if patients else []
        return _of_several(request, studies, number)
    if "patient" in request.GET:
        return _of_several(request, _studies_of_public_id(request, request.GET["patient"]), "")
    return refusal(request, 404, _("Choose a study first: this address names none."))


@require_safe
@never_cache
@welcomes_guests
@ensure_csrf_cookie
def viewer_page(request: GuestRequest, path: str = "") -> HttpResponse:
    """The viewer's page for every address of its own; studies that it names must be there to see.

    Each study that is opened leaves an audit event.
    """
    if "." in path:
        raise Http404
    if path == "":
        return redirect("studies")
    uids = _named_uids(request)
    shown = []
    if path == "viewer" and not uids:
        return refusal(request, 404, _("Choose a study first: this address names none."))
    for uid in uids:
        studies = Study.objects.visible_to(request.who).filter(study_instance_uid=uid)
        study = studies.only("pk", "site_id", "patient_ref_id").first() if is_uid(uid) else None
        if study is None:
            message = _("This study is not here, or not for you to see.")
            if request.user.is_authenticated and opened(request):
                message = _("You are signed in, and may not see this study. Sign out to see what the link opens.")
            return refusal(request, 404, message, asked=uid)
        shown.append((study.pk, study.patient_ref_id))
        audit.record(
            event="study.opened",
            action=AuditAction.READ,
            who=request.who,
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
    may_embed(response, embedders(request, shown))
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


def _of_several(request: GuestRequest, studies: list[Study], asked: str) -> HttpResponse:
    """One study opens; of several, a person chooses; none is explained."""
    if len(studies) == 1:
        return redirect(viewer_address(request, [studies[0].study_instance_uid]))
    if studies:
        return render(request, "pacs/choice.html", {"studies": studies})
    return refusal(request, 404, _("Nothing with this number is here, or it is not for you to see."), asked=asked)


def _studies_of_public_id(request: GuestRequest, public_id: str) -> list[Study]:
    try:
        wanted = uuid.UUID(public_id)
    except ValueError:
        return []
    patient = Patient.objects.visible_to(request.who).filter(public_id=wanted).first()
    return search.studies_of_patient(who=request.who, patient=survivor_of(patient)) if patient else []


@lru_cache
def _page(data: Path) -> str:
    return (data / "ohif" / "index.html").read_text(encoding="utf-8")
