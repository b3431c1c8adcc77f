"""The procedure catalogue, and the page on which a table of it is read in or written out."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminFileFieldWidget

from radiology.admin.model_admin import NeverDeleted, ScopedTabularInline, SinarModelAdmin, ViewOnly
from radiology.admin.patients import VersionedForm
from radiology.admin.search import Matches, sites_of
from radiology.errors import InvalidValue
from radiology.models import Procedure, ProcedureCode, ProcedureProtocol, Site
from radiology.services import audit, catalogue, catalogue_csv, tables


class ProcedureCodeInline(ScopedTabularInline):
    model = ProcedureCode
    ordering = ["id"]


class ProcedureProtocolInline(ScopedTabularInline):
    model = ProcedureProtocol


class TableForm(forms.Form):
    file = forms.FileField(label=_("File"), widget=UnfoldAdminFileFieldWidget, required=False)

    def text(self) -> str:
        """The chosen file as text. Raises InvalidValue."""
        file = self.cleaned_data["file"]
        if file is None:
            raise InvalidValue(_now("Choose a file."), field="file")
        if file.size > tables.LARGEST:
            raise InvalidValue(_now("The file is larger than any catalogue: 2 MB at most."), field="file")
        return tables.decode(file.read())


@admin.register(Procedure)
class ProcedureAdmin(NeverDeleted, SinarModelAdmin):
    """An entry that is no longer ordered is made inactive: orders refer to it."""

    form = VersionedForm
    site_path = "site"
    list_display = ["name", "code", "modality", "body_part_examined", "duration", "contrast", "is_active", "site"]
    list_filter = ["is_active", "contrast", "is_ionising", "site"]
    list_select_related = ["site"]
    ordering = ["name", "id"]
    search_fields = ["^code", "^price_code", "=public_id"]
    search_help_text = _("Beginnings of words of the name, the code or the body part")
    inlines = [ProcedureCodeInline, ProcedureProtocolInline]
    actions_list = ["table_page"]
    readonly_fields = ["public_id", "version", "created_at", "updated_at"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What can be ordered. The code is the site's own and lasts: orders, messages and invoices name it. "
                    "An examination that you stop doing is not deleted but can no longer be ordered."
                ),
                "fields": ("name", "code", "modality", "body_part_examined", "duration", "is_active", "site"),
            },
        ),
        (
            _("What the order form asks"),
            {
                "description": _(
                    "Radiation asks women between 10 and 60 about pregnancy; contrast asks about allergies, eGFR and "
                    "metformin; sides ask right, left or both."
                ),
                "fields": ("is_ionising", "contrast", "asks_laterality"),
            },
        ),
        (_("For the patient and the invoice"), {"fields": ("preparation", "price_code")}),
        (_("History"), {"fields": ("public_id", "version", "seen_version", "created_at", "updated_at")}),
    )

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        words = catalogue.words_of(term)[: catalogue.MOST_WORDS]
        if words:
            yield Procedure.objects.filter(site_id__in=sites).found_by(words)

    def save_model(self, request: HttpRequest, obj: Procedure, form: Any, change: bool) -> None:
        catalogue.save_procedure(procedure=obj)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """An empty catalogue offers to begin with the usual procedures."""
        if not self.get_queryset(request).exists() and self.has_table_permission(request):
            messages.info(
                request, _("The catalogue is empty. “Import and export” offers the usual procedures to begin with.")
            )
        return super().changelist_view(request, extra_context)

    def has_table_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return user.has_perm("radiology.add_procedure") and user.may("catalogue.write")

    @action(description=_("Import and export"), url_path="table", icon="table", permissions=["table"])
    def table_page(self, request: HttpRequest) -> HttpResponse:
        """What is posted as `file` is compared; what is posted as `text`, having been seen, is read in."""
        if not self.has_table_permission(request):
            raise PermissionDenied
        site = site_of(request)
        if request.method != "POST" and "download" in request.GET:
            return _download(request, site)
        form = TableForm()
        context: dict[str, Any] = {}
        if request.method == "POST" and "text" in request.POST:
            return self._read_in(request, site)
        if request.method == "POST":
            form = TableForm(request.POST, request.FILES)
            if form.is_valid():
                try:
                    text = catalogue_csv.usual_procedures() if "usual" in request.POST else form.text()
                    context = {
                        "changes": catalogue_csv.plan(site=site, text=text),
                        "text": text,
                        "compared": True,
                    }
                except InvalidValue as error:
                    for line in error.facts.get("errors", [error.message]):
                        form.add_error("file", line)
        return render(
            request,
            "radiology/admin/catalogue.html",
            {
                **self.admin_site.each_context(request),
                "title": _now("Procedure catalogue: import and export"),
                "form": form,
                "site_of_table": site,
                "sites": sites_of_person(request),
                "is_empty": not Procedure.objects.filter(site=site).exists(),
                **context,
            },
            status=400 if form.errors else 200,
        )

    def _read_in(self, request: HttpRequest, site: Site) -> HttpResponse:
        try:
            changes = catalogue_csv.import_csv(
                site=site, text=request.POST["text"], who=request.user, address=audit.address_of(request)
            )
        except InvalidValue as error:
            messages.error(request, error.message)
        else:
            told = ngettext("%(count)d change was made.", "%(count)d changes were made.", len(changes))
            messages.success(request, told % {"count": len(changes)})
        return redirect("admin:radiology_procedure_changelist")


class OfProcedure(ViewOnly, SinarModelAdmin):
    """Rows that are edited with their procedure; here to be found by what stands in them."""

    site_path = "procedure_ref__site"
    list_select_related = ["procedure_ref"]
    list_filter = [("procedure_ref", AutocompleteSelectFilter)]


@admin.register(ProcedureCode)
class ProcedureCodeAdmin(OfProcedure):
    list_display = ["code_value", "coding_scheme_designator", "code_meaning", "procedure_ref"]
    search_fields = ["^code_value", "^procedure_ref__code"]
    search_help_text = _("Beginning of the code, or of the procedure's own")


@admin.register(ProcedureProtocol)
class ProcedureProtocolAdmin(OfProcedure):
    list_display = ["code_meaning", "code_value", "coding_scheme_designator", "procedure_ref"]
    search_fields = ["^code_value", "^procedure_ref__code"]
    search_help_text = _("Beginning of the code, or of the procedure's own")


def sites_of_person(request: HttpRequest) -> list[Site]:
    return list(Site.objects.filter(pk__in=sites_of(request)).order_by("id"))


def site_of(request: HttpRequest) -> Site:
    """The site whose catalogue is meant: one's own, or of somebody who sees all, the one that was chosen."""
    asked = request.POST.get("site") or request.GET.get("site") or ""
    user: Any = request.user
    known = {str(site.pk): site for site in sites_of_person(request)}
    return known.get(asked) or known.get(str(user.site_id)) or next(iter(known.values()))


def _download(request: HttpRequest, site: Site) -> HttpResponse:
    name = f"procedures-{site.code}-{timezone.localtime():%Y%m%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(catalogue_csv.export_csv(site=site), content_type="text/csv; charset=utf-8", headers=headers)
