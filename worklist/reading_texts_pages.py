"""Texts of one's own: the words that stand for sentences, and reports that were kept as templates."""

import uuid
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from pacs.pages import refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import ReportLanguage, ReportMacro, ReportSection, ReportTemplate
from radiology.notices import say
from radiology.services import audit
from radiology.services.personal_templates import change_template, has_fields, keep_as_template, lines_of
from radiology.services.report_markup import markup_of, text_of_markup
from radiology.services.report_templates import delete_macro, delete_template, write_macro
from worklist.reading_view_pages import answers, body_of, procedure_of
from worklist.services.reading import require_right

MOST = 500


@require_safe
@never_cache
@signed_in
def texts(request: PageRequest) -> HttpResponseBase:
    """GET /reading/texts."""
    return _page(request)


@require_POST
@never_cache
@signed_in
def macro(request: PageRequest, public_id: uuid.UUID | None = None) -> HttpResponseBase:
    """POST /reading/texts/macros[/<macro>]: a word of one's own, new, changed, or with `do` = `delete` gone."""
    given: dict[str, Any] = {"who": request.user, "address": audit.address_of(request)}
    typed = {name: request.POST.get(name, "") for name in ("abbreviation", "language", "text")}
    try:
        require_right(request.user)
        if request.POST.get("do") == "delete":
            found = _own(request, ReportMacro, public_id)
            delete_macro(macro=found, version=_version(request), **given)
            say(request, _("Deleted: .%s") % found.abbreviation)
        else:
            old: dict[str, Any] = {}
            if public_id:
                old = {"macro": _own(request, ReportMacro, public_id), "version": _version(request)}
            values = {**typed, "abbreviation": typed["abbreviation"].strip().lstrip(".").lower()}
            written = write_macro(values=values, is_personal=True, **old, **given)
            say(request, _("Kept: .%s") % written.abbreviation)
    except RadiologyError as error:
        return _page(request, status=outcome_of(error).http, error=error, typed={**typed, "of": public_id})
    return redirect("reading-texts")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def template(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """/reading/texts/templates/<template>: its lines, changed or with `do` = `delete` gone."""
    try:
        require_right(request.user)
        found = _own(request, ReportTemplate, public_id)
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    lines = {} if has_fields(found) else lines_of(found)
    context = {"template": found, "name": found.name, "version": found.version, "has_fields": not lines}
    status = 200
    if request.method == "POST":
        given: dict[str, Any] = {"who": request.user, "template": found, "address": audit.address_of(request)}
        context["name"] = request.POST.get("name", "")
        context["version"] = request.POST.get("version", "")
        try:
            if request.POST.get("do") == "delete":
                delete_template(version=_version(request), **given)
                say(request, _("Deleted: %s") % found.name)
            else:
                lines = {each.value: request.POST.get(each.value, "") for each in ReportSection}
                change_template(version=_version(request), name=context["name"], sections=lines, **given)
                say(request, _("Kept: %s") % found.name)
            return redirect("reading-texts")
        except RadiologyError as error:
            status, context["error"] = outcome_of(error).http, error
    context["sections"] = [(each, lines.get(each.value, "")) for each in ReportSection]
    return render(request, "worklist/reading_text_template.html", context, status=status)


@require_POST
@never_cache
@answers
def keep(request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
    """POST /reading/<requested procedure>/template: keep what stands there (`sections`, as markup) under a `name`."""
    procedure = procedure_of(request, public_id)
    given = body_of(request)
    sections = {name: text_of_markup(markup) for name, markup in markup_of(given.get("sections", {})).items()}
    kept = keep_as_template(
        who=request.user,
        procedure=procedure,
        sections=sections,
        name=str(given.get("name", "")),
        language=_language(),
        address=audit.address_of(request),
    )
    return JsonResponse({"public_id": str(kept.public_id), "name": kept.name}, status=201)


def _page(request: PageRequest, *, status: int = 200, error: Any = None, typed: Any = None) -> HttpResponseBase:
    try:
        require_right(request.user)
    except RadiologyError as refused:
        return refusal(request, outcome_of(refused).http, refused.message)
    context = {
        "macros": list(ReportMacro.objects.filter(owner=request.user).order_by("abbreviation", "pk")[:MOST]),
        "templates": list(
            ReportTemplate.objects.filter(owner=request.user).defer("content").order_by("name", "pk")[:MOST]
        ),
        "languages": ReportLanguage,
        "language": _language(),
        "error": error,
        "typed": typed,
    }
    return render(request, "worklist/reading_texts.html", context, status=status)


def _own(request: PageRequest, model: Any, public_id: uuid.UUID | None) -> Any:
    found = model.objects.filter(owner=request.user, public_id=public_id).first()
    if found is None:
        raise NotFound(_("This text is not yours, or no longer there."))
    return found


def _version(request: PageRequest) -> int:
    try:
        return int(request.POST.get("version", ""))
    except ValueError as error:
        raise InvalidValue(_("The version is a number."), field="version") from error


def _language() -> str:
    return "id" if (translation.get_language() or "")[:2] == "id" else "en"
