"""The page that the QR code of a letter leads to: whether what is printed is what was signed, for whoever holds it.

It asks nobody to sign in and says nothing that the letter does not say: who signed, when, where, and of the patient so
much that the letter can be laid beside it. It never says what was found.
"""

import re

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from radiology.dicom import PersonName
from radiology.models import AuditAction, Patient, ReportSeal
from radiology.services import audit, rates
from radiology.services.report_seals import is_unchanged, is_withdrawn, later_version

# From one address: so many a minute, and in five minutes so many that lead nowhere.
MOST, MOST_WRONG = 60, 50
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,32}")


@require_safe
@never_cache
def verify(request: HttpRequest, token: str) -> HttpResponse:
    """GET /verify/<token>."""
    address = str(audit.address_of(request))
    allowance = rates.VERIFIED.take(address, MOST)
    found = _seal(token) if allowance.is_granted else None
    if found is None and allowance.is_granted:
        allowance = rates.WRONG_SEALS.take(address, MOST_WRONG)
    if not allowance.is_granted:
        response = _refused(request, 429, _("Too many letters were asked for from your address. Wait a minute."))
        response["Retry-After"] = str(allowance.wait)
        return response
    if found is None:
        return _refused(
            request,
            404,
            _("This code is of no letter that was signed here. If it was scanned from one, ask the hospital."),
        )
    version = found.version_ref
    report = version.report_ref
    order = report.requested_procedure_ref.order_ref
    later = later_version(version)
    _record(request, found)
    context = {
        "state": _state(found, superseded=later is not None),
        "seal": found,
        "version": version,
        "later": later,
        "site": report.site,
        "accession_number": order.accession_number,
        "initials": initials_of(order.patient_ref),
        "patient_id": ending_of(order.patient_ref.patient_id),
        "sha256": bytes(found.sha256).hex(),
    }
    return _with_no_trace(render(request, "radiology/verify.html", context))


def initials_of(patient: Patient) -> str:
    """The first letters of a name, in the order in which people write it; five at most."""
    alphabetic, _, others = patient.patient_name.partition("=")
    words = re.findall(r"\w+", PersonName(alphabetic or others).display)
    return " ".join(f"{word[0].upper()}." for word in words[:5]) or "—"


def ending_of(patient_id: str) -> str:
    """The last three characters of a number; of a short one only the last, of a shorter one nothing."""
    shown = 3 if len(patient_id) > 5 else 1 if len(patient_id) > 2 else 0
    return f"…{patient_id[len(patient_id) - shown :]}" if patient_id else "—"


def _seal(token: str) -> ReportSeal | None:
    if not TOKEN.fullmatch(token):
        return None
    found = ReportSeal.objects.filter(token=token).select_related(
        "version_ref__report_ref__site", "version_ref__report_ref__requested_procedure_ref__order_ref__patient_ref"
    )
    return found.defer("version_ref__pdf").first()


def _state(found: ReportSeal, *, superseded: bool) -> str:
    if not is_unchanged(found):
        return "differs"
    if is_withdrawn(found.version_ref):
        return "withdrawn"
    if found.version_ref.report_ref.held_at is not None:
        return "held"
    return "superseded" if superseded else "holds"


def _refused(request: HttpRequest, status: int, message: str) -> HttpResponse:
    return _with_no_trace(render(request, "radiology/verify.html", {"message": message}, status=status))


def _with_no_trace(response: HttpResponse) -> HttpResponse:
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _record(request: HttpRequest, found: ReportSeal) -> None:
    report = found.version_ref.report_ref
    procedure = report.requested_procedure_ref
    audit.record(
        event="report.verify",
        action=AuditAction.READ,
        who=request.user if request.user.is_authenticated else "letter",
        address=audit.address_of(request),
        site_id=report.site_id,
        patient_id=procedure.order_ref.patient_ref_id,
        study_instance_uid=procedure.study_instance_uid,
        detail={"report": str(report.public_id), "number": found.version_ref.number},
    )
