"""Letterheads, to be edited; and the seals by which letters are verified, to be looked at."""

import base64
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldBooleanWidget

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.errors import RadiologyError
from radiology.models import Letterhead, ReportSeal
from radiology.services.letterhead import LARGEST_FILE, MOST_LINES, logo_of


class LetterheadForm(forms.ModelForm):
    logo_file = forms.FileField(
        label=_("Logo"),
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": "image/png,image/jpeg"}),
        help_text=_("PNG or JPEG, 1 MB and 4000 pixels a side at most; no SVG. It is shown 20 mm high at most."),
    )
    remove_logo = forms.BooleanField(label=_("Take the logo away"), required=False, widget=UnfoldBooleanWidget)

    def clean_address(self) -> str:
        lines = [line.strip() for line in self.cleaned_data["address"].splitlines() if line.strip()]
        if len(lines) > MOST_LINES:
            raise ValidationError(_("An address may have %(most)d lines."), params={"most": MOST_LINES})
        return "\n".join(lines)

    def clean_logo_file(self) -> tuple[bytes, str] | None:
        """The picture that is kept of the file, and its media type."""
        file = self.cleaned_data["logo_file"]
        if not file:
            return None
        try:
            return logo_of(file.read(LARGEST_FILE + 1))
        except RadiologyError as error:
            raise ValidationError(error.message) from error

    def save(self, commit: bool = True) -> Letterhead:
        made: Letterhead = self.instance
        if self.cleaned_data["logo_file"]:
            made.logo, made.logo_media_type = self.cleaned_data["logo_file"]
        elif self.cleaned_data["remove_logo"]:
            made.logo, made.logo_media_type = None, ""
        saved: Letterhead = super().save(commit)
        return saved


@admin.register(Letterhead)
class LetterheadAdmin(SmallTable):
    form = LetterheadForm
    site_path = "site"
    list_display = ["site", "telephone", "email", "has_logo"]
    list_select_related = ["site"]
    ordering = ["site"]
    search_fields = ["site__name", "site__code", "address"]
    readonly_fields = ["shown_logo"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What stands at the head of the letters of reports, beside the name of the site. Letters that are "
                    "in the archive already stay as they are."
                ),
                "fields": ("site", "address", "telephone", "email"),
            },
        ),
        (_("Logo"), {"fields": ("shown_logo", "logo_file", "remove_logo")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["shown_logo", "site"] if obj else ["shown_logo"]

    @admin.display(description=_("logo"), boolean=True)
    def has_logo(self, letterhead: Letterhead) -> bool:
        return bool(letterhead.logo_media_type)

    @admin.display(description=_("As it is now"))
    def shown_logo(self, letterhead: Letterhead) -> SafeString | str:
        if not letterhead.logo:
            return "—"
        content = base64.b64encode(bytes(letterhead.logo)).decode()
        return format_html('<img src="data:{};base64,{}" alt="" height="76">', letterhead.logo_media_type, content)


@admin.register(ReportSeal)
class ReportSealAdmin(ViewOnly, SinarModelAdmin):
    """Without the tokens: whoever has one can look at what it leads to."""

    site_path = "version_ref__report_ref__site"
    list_display = ["version_ref", "code", "made_at"]
    list_select_related = ["version_ref"]
    search_fields = ["=version_ref__report_ref__public_id"]
    search_help_text = _("The report's public id")

    @admin.display(description=_("Code of this version"))
    def code(self, seal: ReportSeal) -> str:
        return seal.code
