"""Report templates and macros: written here, added as the usual ones, or imported."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from radiology.admin.catalogue import site_of, sites_of_person
from radiology.admin.model_admin import SinarModelAdmin
from radiology.admin.patients import VersionedForm
from radiology.admin.search import Matches, sites_of
from radiology.errors import InvalidValue, RadiologyError
from radiology.models import ReportLanguage, ReportMacro, ReportSection, ReportTemplate
from radiology.services import audit
from radiology.services.mrrt import MODALITIES, import_template
from radiology.services.mrrt_document import LARGEST
from radiology.services.report_templates import save_checked, sections_of
from radiology.services.usual_templates import add_usual_templates
from radiology.template_content import checked


class ContentField(forms.JSONField):
    """Indented and in the order of a report, so that a person can read it; the database keeps no order."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 30, "spellcheck": "false", "class": "font-mono"})

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return super().prepare_value(value)
        with suppress(InvalidValue):
            value = {name: paragraphs for name, paragraphs in checked(value).items() if paragraphs}
        return json.dumps(value, ensure_ascii=False, indent=1)


class TemplateForm(VersionedForm):
    content = ContentField(
        label=_("Content"),
        help_text=_(
            "By section (indication, technique, comparison, findings, impression) a list of paragraphs. A paragraph is "
            '{"text": "…"} or a field: {"field": "lungs", "label": "Lungs", "kind": "text", "normal": "what is said '
            'when it is normal", "default": "with blanks"}. Of the kind choice it has choices, of the kind number a '
            "unit. In texts [  ] is to be filled in, [right|left] to be chosen, [mm] a number. A text that begins with "
            "“- ” is an item of a list."
        ),
    )

    def clean(self) -> dict[str, Any] | None:
        values = super().clean()
        site, procedures = self.cleaned_data.get("site"), self.cleaned_data.get("procedures") or []
        if site is not None and any(each.site_id != site.pk for each in procedures):
            raise ValidationError({"procedures": _("A template is bound to procedures of its own site.")})
        return values


class ImportForm(forms.Form):
    file = forms.FileField(label=_("File"), widget=UnfoldAdminFileFieldWidget)
    language = forms.ChoiceField(
        label=_("Language"),
        choices=[("", _("As the file says")), *ReportLanguage.choices],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    modality = forms.ChoiceField(
        label=_("Modality"),
        choices=[("", _("As the file says")), *((name, name) for name in MODALITIES)],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    body_part = forms.CharField(
        label=_("Body part"),
        max_length=16,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("DICOM's word, such as CHEST. Empty: as the file says."),
    )
    replaces = forms.BooleanField(
        label=_("Replace a template of the same code"), required=False, widget=UnfoldBooleanSwitchWidget
    )


class ModalityFilter(admin.SimpleListFilter):
    """The modalities that the templates have."""

    title = _("modality")
    parameter_name = "modality"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        found = ReportTemplate.objects.filter(site__in=sites_of(request)).order_by("modality")
        return [(name, name) for name in found.values_list("modality", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(site__in=sites_of(request), modality=self.value()) if self.value() else queryset


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("site", _("The site's")), ("personal", _("Personal"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(owner__isnull=self.value() == "site") if self.value() else queryset


@admin.register(ReportTemplate)
class ReportTemplateAdmin(SinarModelAdmin):
    form = TemplateForm
    site_path = "site"
    list_display = ["name", "code", "language", "modality", "body_part_examined", "is_active", "owner", "site"]
    list_filter = [ModalityFilter, "language", "is_active", OwnerFilter, "site"]
    list_select_related = ["site", "owner"]
    ordering = ["modality", "code", "language", "id"]
    search_fields = ["^code", "^body_part_examined", "=public_id"]
    search_help_text = _("A part of the name, or the beginning of the code or the body part")
    actions_list = ["more_page"]
    readonly_fields = ["preview", "public_id", "version", "created_at", "updated_at"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What a report begins with. The editor offers templates that are bound to the procedure first, "
                    "then those of its modality and body part."
                ),
                "fields": (
                    "name",
                    "code",
                    "language",
                    "modality",
                    "body_part_examined",
                    "patient_sex",
                    "procedures",
                    "is_active",
                ),
            },
        ),
        (_("How it reads"), {"fields": ("preview",)}),
        (_("What it says"), {"fields": ("content",)}),
        (_("Whose it is"), {"fields": ("site", "owner")}),
        (_("History"), {"fields": ("public_id", "version", "seen_version", "created_at", "updated_at")}),
    )

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        yield ReportTemplate.objects.filter(site_id__in=sites, name__icontains=term)

    def save_model(self, request: HttpRequest, obj: ReportTemplate, form: Any, change: bool) -> None:
        save_checked(obj)

    @admin.display(description=_("preview"))
    def preview(self, obj: ReportTemplate) -> SafeString | str:
        """Both renderings side by side, as they are stored."""
        if obj.pk is None:
            return gettext("It stands here once the template is saved.")
        normal, blank = sections_of(obj, normal=True), sections_of(obj, normal=False)
        # Rendered with every text escaped: template_content.rendered.
        rows = [
            (section.label, mark_safe(normal[section]), mark_safe(blank[section]))  # noqa: S308
            for section in ReportSection
            if normal[section] or blank[section]
        ]
        return render_to_string("radiology/admin/report_template_preview.html", {"rows": rows})

    def has_more_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return user.has_perm("radiology.add_reporttemplate") and user.may("templates.write")

    @action(description=_("Usual templates and import"), url_path="more", icon="library_add", permissions=["more"])
    def more_page(self, request: HttpRequest) -> HttpResponse:
        """`usual` adds what comes with the product; `file` is a template of IHE MRRT."""
        if not self.has_more_permission(request):
            raise PermissionDenied
        site, form = site_of(request), ImportForm()
        given: dict[str, Any] = {"who": request.user, "address": audit.address_of(request)}
        if request.method == "POST" and "usual" in request.POST:
            added = add_usual_templates(site, **given)
            told = gettext("%(templates)d templates and %(macros)d macros were added.")
            messages.success(request, told % {"templates": added.templates, "macros": added.macros})
            return redirect("admin:radiology_reporttemplate_changelist")
        if request.method == "POST":
            form = ImportForm(request.POST, request.FILES)
            if form.is_valid():
                values = form.cleaned_data
                try:
                    template, is_changed = import_template(
                        site=site,
                        raw=values["file"].read(LARGEST + 1),
                        language=values["language"],
                        modality=values["modality"],
                        body_part_examined=values["body_part"].upper(),
                        replaces=values["replaces"],
                        **given,
                    )
                except RadiologyError as error:
                    form.add_error(error.field if error.field in form.fields else "file", error.message)
                else:
                    done = gettext("The template was imported: look at how it reads.")
                    messages.success(request, done if is_changed else gettext("The template says so already."))
                    return redirect("admin:radiology_reporttemplate_change", template.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Report templates: usual ones and import"),
            "form": form,
            "site_of_templates": site,
            "sites": sites_of_person(request),
        }
        return render(request, "radiology/admin/report_templates.html", context, status=400 if form.errors else 200)


@admin.register(ReportMacro)
class ReportMacroAdmin(SinarModelAdmin):
    form = VersionedForm
    site_path = "site"
    list_display = ["abbreviation", "language", "beginning", "owner", "site"]
    list_filter = ["language", OwnerFilter, "site"]
    list_select_related = ["site", "owner"]
    ordering = ["abbreviation", "language", "id"]
    search_fields = ["^abbreviation", "=public_id"]
    search_help_text = _("The beginning of the abbreviation")
    readonly_fields = ["public_id", "version", "created_at", "updated_at"]
    fieldsets = (
        (
            None,
            {
                "description": _("Typed with a dot before it, such as “.paru”, the abbreviation becomes the text."),
                "fields": ("abbreviation", "language", "text", "site", "owner"),
            },
        ),
        (_("History"), {"fields": ("public_id", "version", "seen_version", "created_at", "updated_at")}),
    )

    @admin.display(description=_("text"))
    def beginning(self, obj: ReportMacro) -> str:
        return Truncator(obj.text).chars(160)

    def save_model(self, request: HttpRequest, obj: ReportMacro, form: Any, change: bool) -> None:
        save_checked(obj)
