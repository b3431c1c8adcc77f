"""Critical results and what happened to them, to be looked at; and the policy that says who is told."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.models import CriticalPolicy, CriticalResult, CriticalResultEvent, Role


class PolicyForm(forms.ModelForm):
    roles = forms.MultipleChoiceField(
        label=_("Roles"),
        choices=Role.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,
        help_text=_("Everybody of the site with one of these roles."),
    )
    addresses = SimpleArrayField(
        forms.EmailField(max_length=254),
        label=_("E-mail addresses"),
        widget=UnfoldAdminTextInputWidget,
        required=False,
        help_text=_("Of people without an account, or of a ward; separated by commas."),
    )

    def clean(self) -> dict[str, Any] | None:
        values = super().clean()
        site, people = self.cleaned_data.get("site"), self.cleaned_data.get("people") or []
        if site is not None and any(each.site_id != site.pk for each in people):
            raise ValidationError({"people": _("This person belongs to another site.")})
        return values


@admin.register(CriticalPolicy)
class CriticalPolicyAdmin(SmallTable):
    form = PolicyForm
    site_path = "site"
    list_display = ["category", "minutes", "roles", "addresses", "site"]
    list_filter = ["category", "site"]
    list_select_related = ["site"]
    ordering = ["site", "category"]
    search_fields = ["category"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What cannot wait is told to who ordered the examination, at once. When nobody says in time that "
                    "they know, they are told again; then, each time as long after, these people and whoever raised "
                    "it, until somebody does. Without a policy: 15 minutes (red), 2 hours (orange), a day (yellow), "
                    "and then who raised it."
                ),
                "fields": ("site", "category", "minutes", "roles", "people", "addresses"),
            },
        ),
    )


@admin.register(CriticalResult)
class CriticalResultAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["public_id", "requested_procedure_ref", "category", "state", "raised_by_name", "raised_at", "site"]
    list_select_related = ["requested_procedure_ref", "site"]
    search_fields = ["=public_id", "=requested_procedure_ref__order_ref__accession_number"]
    search_help_text = _("The whole accession number, or the result's public id")


@admin.register(CriticalResultEvent)
class CriticalResultEventAdmin(ViewOnly, SinarModelAdmin):
    site_path = "critical_result__site"
    list_display = ["critical_result", "kind", "name", "channel", "level", "agent", "at"]
    list_select_related = ["critical_result"]
    search_fields = ["=critical_result__public_id"]
    search_help_text = _("The critical result's public id")
