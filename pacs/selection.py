"""What the bar under a list does with the marked studies: view, compare, download, delete, and take that back."""

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib.messages import ERROR
from django.http import HttpResponse
from django.http.response import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from pacs.models import Study
from pacs.pages import next_address, refusal
from pacs.services import selections
from pacs.services.archive_zip import ZipStream, zip_of
from pacs.study_list import list_address
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotAllowed, RadiologyError, outcome_of
from radiology.notices import say
from radiology.services import audit

MOST_VIEWED = 20
COMPARE = "@ohif/hpCompare"


@require_POST
@never_cache
@signed_in
def view(request: PageRequest) -> HttpResponse:
    """The marked studies in the viewer; two of them side by side if that is asked for."""
    try:
        studies = _marked(request, MOST_VIEWED)
    except RadiologyError as error:
        return _back_with(request, error)
    query = {"StudyInstanceUIDs": ",".join(study.study_instance_uid for study in studies)}
    if "compare" in request.POST and len(studies) == 2:
        query["hangingprotocolid"] = COMPARE
    return redirect(f"{reverse('viewer')}?{urlencode(query, safe=',@/')}")


@require_POST
@never_cache
@signed_in
def archive(request: PageRequest) -> HttpResponseBase:
    """POST /studies/archive: the marked studies as one ZIP, made while it is sent."""
    try:
        studies = _marked(request, selections.MOST_DOWNLOADED)
        locations = selections.locations_to_download(
            who=request.user, studies=studies, address=audit.address_of(request)
        )
        stream = zip_of(locations=locations, name=f"studies-{len(studies)}" if len(studies) > 1 else "study")
    except RadiologyError as error:
        return _back_with(request, error)
    blocks = _read_through(stream)
    try:
        first = next(blocks, b"")  # what is wrong with the first object can still be said on a page
    except RadiologyError as error:
        return _back_with(request, error)
    headers = {"Content-Disposition": f'attachment; filename="{stream.filename}"'}
    if stream.size is not None:
        headers["Content-Length"] = str(stream.size)
    return StreamingHttpResponse(_all(first, blocks), content_type="application/zip", headers=headers)


@require_POST
@never_cache
@signed_in
def delete(request: PageRequest) -> HttpResponse:
    """Says what deleting the marked studies would take away and asks why; with a reason, does it."""
    if not request.user.may("studies.delete"):
        return _back_with(request, NotAllowed(_("Your role does not delete studies.")))
    try:
        studies = _marked(request, selections.MOST_DELETED)
    except RadiologyError as error:
        return _back_with(request, error)
    context: dict[str, Any] = {
        "studies": studies,
        "images": sum(study.number_of_study_related_instances for study in studies),
        "keeps": min(study.site.keeps_deleted_for for study in studies),
        "next": _next(request),
    }
    reason = request.POST.get("reason")
    if reason is None:
        return render(request, "pacs/_deletion.html" if request.htmx else "pacs/deletion.html", context)
    try:
        removed = selections.delete_studies(
            who=request.user, studies=studies, reason=reason, address=audit.address_of(request)
        )
    except InvalidValue as error:
        context |= {"error": _("Say why: it stands in the history."), "reason": reason}
        return render(request, "pacs/deletion.html", context, status=outcome_of(error).http)
    except RadiologyError as error:
        return _back_with(request, error)
    text = ngettext("%(count)d study deleted.", "%(count)d studies deleted.", len(removed)) % {"count": len(removed)}
    names = ",".join(str(removal.public_id) for removal in removed)
    say(request, text, undo=reverse("studies-restore", args=[names]))
    return redirect(_next(request))


@require_POST
@never_cache
@signed_in
def restore(request: PageRequest, removals: str) -> HttpResponse:
    """Brings back what was deleted a moment ago."""
    try:
        count = selections.restore_removals(
            who=request.user, public_ids=_uuids(removals), address=audit.address_of(request)
        )
    except RadiologyError as error:
        return _back_with(request, error)
    say(request, ngettext("%(count)d study restored.", "%(count)d studies restored.", count) % {"count": count})
    return redirect(_next(request))


def _marked(request: PageRequest, most: int) -> list[Study]:
    uids = request.POST.getlist("StudyInstanceUIDs")
    return selections.marked_studies(who=request.user, uids=uids, most=most)


def _uuids(text: str) -> list[uuid.UUID]:
    try:
        return [uuid.UUID(part) for part in text.split(",")]
    except ValueError:
        return []


def _back_with(request: PageRequest, error: RadiologyError) -> HttpResponse:
    """Where one came from, with what went wrong; a part of a page says it on a page of its own."""
    if request.htmx:
        say(request, error.message, level=ERROR)
        return render(request, "radiology/_notices.html", {"oob": True})
    if next_address(request, ""):
        say(request, error.message, level=ERROR)
        return redirect(_next(request))
    return refusal(request, outcome_of(error).http, error.message)


def _next(request: PageRequest) -> str:
    return next_address(request, list_address({}))


def _read_through(stream: ZipStream) -> Iterator[bytes]:
    try:
        yield from stream.blocks()
    finally:
        stream.close()


def _all(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks
