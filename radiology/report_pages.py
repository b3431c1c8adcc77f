"""A report on its page: what it means first, then what was seen, then the rest; and the letter."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.critical_pages import of_report
from radiology.errors import RadiologyError, outcome_of
from radiology.key_image_pages import images_by_version
from radiology.models import AuditAction, Report, ReportSection, RequestedProcedure
from radiology.pages import refusal
from radiology.report_review_pages import find_report, shown_on_report
from radiology.services import audit, report_pdf
from radiology.services.report_markup import shown
from radiology.services.result_list import note_opened, open_critical_of

VERSIONS = 50


@require_safe
@never_cache
@signed_in
def report(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /reports/<public id>: the version that holds; the former ones below."""
    found = find_report(request, public_id)
    if found is None:
        return _missing(request)
    procedure = found.requested_procedure_ref
    order = procedure.order_ref
    asked = {"AccessionNumber": order.accession_number} if order.accession_number else {}
    keys = [("v", _("View the images")), ("p", _("The letter (PDF)")), ("o", _("The order"))]
    if request.user.may("reports.write"):
        keys.append(("r", _("Amend or add")))
        keys.append(("d", _("The differences between versions")))
    context = {
        **shown_of(request, found),
        **critical_beside(request, procedure),
        "procedure": procedure,
        "order": order,
        "patient": order.patient_ref,
        "viewer": f"{reverse('viewer')}?{urlencode(asked or {'StudyInstanceUIDs': procedure.study_instance_uid})}",
        "keys": keys,
    }
    return render(request, "radiology/report.html", context)


@require_safe
@never_cache
@signed_in
def letter(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET /reports/<public id>/pdf: the letter, shown by the browser."""
    found = find_report(request, public_id)
    if found is None:
        return _missing(request)
    if found.held_at is not None:
        return refusal(request, 409, _("This report is held because its images were moved: there is no letter of it."))
    _record_read(request, found)
    version = found.versions.first()
    try:
        pdf = report_pdf.pdf_of(report=found, version=version, origin=f"{request.scheme}://{request.get_host()}")
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    if version is not None:
        note_opened(who=request.user, procedure=found.requested_procedure_ref, version=version.pk)
    headers = {
        "Content-Disposition": content_disposition_header(False, report_pdf.file_name(found)) or "inline",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(pdf, content_type="application/pdf", headers=headers)


def shown_of(request: PageRequest, found: Report) -> dict[str, Any]:
    """What a page shows of a published report, and `was_new`: who is shown it has opened it, and that is recorded."""
    versions = list(found.versions.defer("pdf")[:VERSIONS])
    version = versions[0]
    watched = shown_on_report(request, found)
    _record_read(request, found)
    was_new = False
    if watched["withheld"]:
        versions = []
    else:
        was_new = note_opened(who=request.user, procedure=found.requested_procedure_ref, version=version.pk)
    images = images_by_version(found, versions)
    sections = dict(shown(versions[0])) if versions else {}
    impression = sections.pop(ReportSection.IMPRESSION, "")
    return {
        **watched,
        "report": found,
        "version": version,
        "was_new": was_new,
        "impression": impression,
        "sections": sections.items(),
        "has_text": bool(version.texts or version.addenda),
        "key_images": images.get(version.number, []),
        "former": [(each, shown(each), images[each.number]) for each in versions[1:]],
    }


def critical_beside(request: PageRequest, procedure: RequestedProcedure) -> dict[str, Any]:
    """The critical result of a procedure, and the open ones of other examinations of its patient."""
    patient = procedure.order_ref.patient_ref
    return {
        "critical": of_report(request, procedure),
        "beside": open_critical_of(who=request.user, patient=patient, but=procedure),
    }


def _missing(request: PageRequest) -> HttpResponse:
    return refusal(request, 404, _("This report is not here, or not for you to see."))


def _record_read(request: PageRequest, found: Report) -> None:
    procedure: Any = found.requested_procedure_ref
    audit.record(
        event="report",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=found.site_id,
        patient_id=procedure.order_ref.patient_ref_id,
        study_instance_uid=procedure.study_instance_uid,
        detail={"report": str(found.public_id)},
    )
