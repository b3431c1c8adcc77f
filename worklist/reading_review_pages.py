"""The reading view's own door to the second signature and to what happens to the images meanwhile."""

import uuid

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from radiology.accounts import PageRequest
from radiology.errors import NotFound
from radiology.services import audit, co_signatures
from worklist.reading_review import difference_to_sign, news_of
from worklist.reading_view_pages import answers, body_of, living_reports, procedure_of, report_at, version_in
from worklist.services.procedure_images import studies_of


@require_safe
@never_cache
@answers
def difference(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET …/difference: the resident's version and what stands there now, word by word, for the dialog that signs."""
    report = report_at(procedure_of(request, public_id))
    found = difference_to_sign(report) if report is not None else None
    if found is None:
        raise NotFound(_("No resident waits for a signature here."), field="report")
    return render(request, "radiology/_difference.html", {"difference": found[1]})


@require_POST
@never_cache
@answers
def send_back(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST …/return: the report goes back to the resident, with a `comment`."""
    report = report_at(procedure_of(request, public_id))
    given = body_of(request)
    if report is None:
        raise NotFound(_("No resident waits for a signature here."), field="report")
    co_signatures.send_back(
        report=report,
        version=version_in(given),
        comment=str(given.get("comment", "")),
        who=request.user,
        address=audit.address_of(request),
    )
    return JsonResponse({"returned": True})


@require_safe
@never_cache
@answers
def news(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """GET …/news: how many images there are now, and whether the report is held: asked every half minute."""
    procedure = procedure_of(request, public_id)
    study = studies_of(procedure, request.user).values_list("pk", flat=True).first()
    return JsonResponse(news_of(study, living_reports(procedure).values_list("held_at", flat=True).first()))
