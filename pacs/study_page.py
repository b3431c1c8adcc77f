"""The page of a study: its series with pictures, its headers, its history; what may be done with it."""

from typing import Any

from django.db.models import F, Q, QuerySet
from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs.models import Instance, Location, Series, Study
from pacs.pages import etag, refusal
from pacs.services import headers
from pacs.services.history import history, removals_of
from radiology.accounts import PageRequest, signed_in
from radiology.critical_pages import beside_of
from radiology.errors import CannotUnderstand, OutOfResources
from radiology.models import Report

SERIES = 100
IMAGES = 60


@require_safe
@never_cache
@signed_in
def study(request: PageRequest, study_instance_uid: str) -> HttpResponse:
    """GET /studies/<uid>: its series with pictures, its facts. Counts up while images arrive."""
    visible = Study.objects.visible_to(request.user).filter(study_instance_uid=study_instance_uid)
    if request.htmx:
        version = visible.values_list("pk", "version").first()
        if version and request.headers.get("If-None-Match") == etag(request, f"{version}"):
            return HttpResponseNotModified()
    found = visible.select_related("patient_ref", "site", "requested_procedure_ref").first()
    if found is None:
        return refusal(request, 404, _("This study is not here, or not for you to see."))
    series = _series(request, found)
    after = _whole(request.GET.get("series", ""))
    rows = list(series[after : after + SERIES + 1])
    shown = history(who=request.user, study=found, size=8)
    context = {
        "study": found,
        "patient": found.patient_ref,
        "series": rows[:SERIES],
        "more_series": after + SERIES if len(rows) > SERIES else 0,
        "less_series": after > 0,
        "reports": list(_reports(request, found)),
        "may_correct": request.user.may("studies.correct"),
        "may_share": request.user.may("studies.share") and found.number_of_study_related_instances > 0,
        "may_delete": request.user.may("studies.delete"),
        "removals": removals_of(found),
        "history": shown.entries,
        "more_history": shown.older is not None,
        "etag": etag(request, f"{(found.pk, found.version)}"),
        "address": request.get_full_path(),
        **({} if request.htmx else beside_of(request, found.patient_ref)),
        "keys": [
            ("j", _("Next series")),
            ("k", _("Previous series")),
            ("v", _("View the images")),
            *([("r", _("Read and report"))] if request.user.may("reports.write") else []),
            ("i", _("Images of the series")),
            ("h", _("Header of the series")),
            ("c", _("Correct the study")),
        ],
    }
    return render(request, "pacs/_study.html" if request.htmx else "pacs/study.html", context)


def _reports(request: PageRequest, found: Study) -> QuerySet[Report]:
    """The published reports of what the study was made for."""
    if found.requested_procedure_ref_id is None:
        return Report.objects.none()
    published = Report.objects.visible_to(request.user).exclude(number=0)
    return published.filter(requested_procedure_ref=found.requested_procedure_ref_id).order_by("-pk")


@require_safe
@never_cache
@signed_in
def images(request: PageRequest, study_instance_uid: str, pk: int) -> HttpResponse:
    """GET /studies/<uid>/series/<pk>/images: thumbnails of a series' images, a page at a time."""
    series = (
        Series.objects.visible_to(request.user)
        .filter(study_ref__study_instance_uid=study_instance_uid, pk=pk)
        .select_related("study_ref__patient_ref", "study_ref__site")
        .first()
    )
    if series is None:
        return refusal(request, 404, _("This series is not here, or not for you to see."))
    rows = Instance.objects.visible_to(request.user).filter(series_ref=series)
    place = request.GET.get("after", "")
    number, _dot, key = place.partition(".")
    if key.isascii() and key.isdigit() and len(key) < 19:
        after = int(key)
        if number.lstrip("-").isdigit() and len(number) < 12:
            later = Q(instance_number__gt=int(number)) | Q(instance_number=None)
            rows = rows.filter(later | Q(instance_number=int(number), pk__gt=after))
        else:
            rows = rows.filter(instance_number=None, pk__gt=after)
    found = list(rows.order_by(F("instance_number").asc(nulls_last=True), "pk")[: IMAGES + 1])
    last = found[IMAGES - 1] if len(found) > IMAGES else None
    context = {
        "study": series.study_ref,
        "patient": series.study_ref.patient_ref,
        "series": series,
        "images": found[:IMAGES],
        "after": f"{'' if last.instance_number is None else last.instance_number}.{last.pk}" if last else "",
        "may_correct": request.user.may("studies.correct"),
        "keys": [("j", _("Next image")), ("k", _("Previous image"))],
    }
    return render(request, "pacs/_series_images.html" if request.htmx else "pacs/series_images.html", context)


@require_safe
@never_cache
@signed_in
def header(request: PageRequest, study_instance_uid: str) -> HttpResponse:
    """GET /studies/<uid>/headers: every attribute of one image (`?instance=`, `?series=`, else the first)."""
    found = (
        Study.objects.visible_to(request.user)
        .filter(study_instance_uid=study_instance_uid)
        .select_related("patient_ref", "site")
        .first()
    )
    if found is None:
        return refusal(request, 404, _("This study is not here, or not for you to see."))
    wanted = Instance.objects.visible_to(request.user).filter(series_ref__study_ref=found)
    if name := request.GET.get("instance", ""):
        wanted = wanted.filter(sop_instance_uid=name[:64])
    elif series := _whole(request.GET.get("series", "")):
        wanted = wanted.filter(series_ref=series)
    instance = (
        wanted.select_related("series_ref")
        .order_by("series_ref__series_number", "series_ref_id", "instance_number", "pk")
        .first()
    )
    if instance is None:
        return refusal(request, 404, _("This image is not here, or not for you to see."))
    location = (
        Location.objects.current()
        .filter(instance_ref=instance)
        .select_related("instance_ref__series_ref__study_ref", "volume")
        .first()
    )
    rows: list[headers.Row] = []
    problem = ""
    try:
        if location is None:
            raise OutOfResources(_("The object's file is missing from the archive."))
        rows = headers.header_rows(location=location)
    except (CannotUnderstand, OutOfResources) as error:
        problem = error.message
    siblings = Instance.objects.visible_to(request.user).filter(series_ref=instance.series_ref)
    number = instance.instance_number
    context = {
        "study": found,
        "patient": found.patient_ref,
        "instance": instance,
        "series": instance.series_ref,
        "rows": rows,
        "corrected": sum(1 for row in rows if row.original is not None),
        "problem": problem,
        "previous": _neighbour(siblings, number, instance.pk, forward=False),
        "next": _neighbour(siblings, number, instance.pk, forward=True),
        "keys": [("n", _("Next image")), ("b", _("Previous image"))],
    }
    return render(request, "pacs/headers.html", context)


@require_safe
@never_cache
@signed_in
def study_history(request: PageRequest, study_instance_uid: str) -> HttpResponse:
    """GET /studies/<uid>/history: who did what, newest first, a page at a time."""
    found = (
        Study.objects.visible_to(request.user)
        .filter(study_instance_uid=study_instance_uid)
        .select_related("patient_ref", "site")
        .first()
    )
    if found is None:
        return refusal(request, 404, _("This study is not here, or not for you to see."))
    page = history(who=request.user, study=found, before=_whole(request.GET.get("before", "")) or None)
    context = {
        "study": found,
        "patient": found.patient_ref,
        "history": page.entries,
        "older": page.older,
        "address": reverse("study-history", args=[found.study_instance_uid]),
    }
    return render(request, "pacs/history.html", context)


def _series(request: PageRequest, found: Study) -> Any:
    return (
        Series.objects.visible_to(request.user)
        .filter(study_ref=found, removed_at=None)
        .defer("attributes")
        .order_by("series_number", "pk")
    )


def _neighbour(siblings: Any, number: int | None, pk: int, *, forward: bool) -> str:
    """The SOP Instance UID of the image before or after one, in the order of their numbers."""
    way, sign = ("gt", "") if forward else ("lt", "-")
    same = Q(instance_number=number, **{f"pk__{way}": pk})
    if number is None:
        beyond = same if forward else same | Q(instance_number__isnull=False)
    else:
        beyond = same | Q(**{f"instance_number__{way}": number})
        if forward:
            beyond |= Q(instance_number=None)
    order = F("instance_number")
    ordered = order.asc(nulls_last=True) if forward else order.desc(nulls_first=True)
    found = siblings.filter(beyond).order_by(ordered, f"{sign}pk").values_list("sop_instance_uid", flat=True).first()
    return found or ""


def _whole(text: str) -> int:
    """A number of an address; 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
