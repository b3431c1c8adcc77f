"""Key images on pages: the picture of one, and what a page tells of those of a report."""

import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from radiology.accounts import PageRequest, signed_in
from radiology.errors import RadiologyError, outcome_of
from radiology.models import Report, ReportVersion
from radiology.report_review_pages import report_of
from radiology.services.key_images import (
    ArchivedImage,
    KeyImage,
    find_key_image,
    located,
    picture_of,
    place_of,
    same_key,
    window_of,
)

SIDE, SMALL = 800, 200


@require_safe
@never_cache
@signed_in
def key_image(request: PageRequest, public_id: uuid.UUID, image: uuid.UUID) -> HttpResponse:
    """GET /reports/<public id>/key-images/<image>: a JPEG, with `small` a small one; those of drafts for who writes."""
    try:
        report = report_of(request, public_id, drafts=True)
        found = find_key_image(report, image, drafts=request.user.may("reports.write"))
        picture = picture_of(report, found, side=SMALL if "small" in request.GET else SIDE)
    except RadiologyError as error:
        return HttpResponse(error.message, status=outcome_of(error).http, content_type="text/plain; charset=utf-8")
    return HttpResponse(picture, content_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})


def entries_of(report: Report, images: Iterable[KeyImage]) -> list[dict[str, Any]]:
    """What a page tells of key images: one query, none where there are none."""
    images = list(images)
    here = located(report, images)
    return [_entry(report, image, here.get(image["id"])) for image in images]


def images_by_version(report: Report, versions: Iterable[ReportVersion]) -> dict[int, list[dict[str, Any]]]:
    """What a page tells of the key images of each version, by its number and with its own captions; one query."""
    versions = list(versions)
    each_once = {image["id"]: image for version in versions for image in version.key_images}
    entries = {entry["id"]: entry for entry in entries_of(report, each_once.values())}
    return {
        version.number: [{**entries[image["id"]], "caption": image["caption"]} for image in version.key_images]
        for version in versions
    }


def _entry(report: Report, image: KeyImage, here: ArchivedImage | None) -> dict[str, Any]:
    viewer = {
        "StudyInstanceUIDs": here.study if here else image["study"],
        "initialSeriesInstanceUID": here.series if here else image["series"],
        "initialSOPInstanceUID": image["instance"],
    }
    return {
        **{name: image[name] for name in ("id", "instance", "frame", "window", "inverted", "caption")},
        "key": same_key(image),
        "place": place_of(image),
        "shown": window_of(image),
        "isGone": here is None,
        "picture": reverse("report-key-image", args=[report.public_id, image["id"]]),
        "viewer": f"{reverse('viewer')}?{urlencode(viewer)}",
    }
