"""Patients and their identifiers."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from radiology.admin.model_admin import NeverDeleted, ScopedTabularInline, SinarModelAdmin, ViewOnly
from radiology.admin.search import Matches
from radiology.dicom import PersonName
from radiology.models import Patient, PatientIdentifier, PatientNameWord
from radiology.services import audit, patients


class VersionedForm(forms.ModelForm):
    """Refuses to overwrite what somebody else saved while this form was open."""

    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "seen_version" in self.fields:
            self.fields["seen_version"].initial = self.instance.version

    def clean(self) -> dict[str, Any] | None:
        values = super().clean()
        if self.instance.pk is not None:
            unchanged = (
                type(self.instance)
                ._default_manager.select_for_update()
                .filter(pk=self.instance.pk, version=self.cleaned_data.get("seen_version"))
            )
            if not unchanged.exists():
                raise ValidationError(
                    _("Somebody else changed this meanwhile. Open it again to see it, then repeat your change.")
                )
        return values


class PatientForm(VersionedForm):
    def validate_unique(self) -> None:
        """Also what the form's own check leaves out, because the condition names a field that it does not offer."""
        super().validate_unique()
        try:
            self.instance.validate_constraints()
        except ValidationError:
            self.add_error("patient_id", _("This site knows another patient by this number and issuer."))


class IdentityFilter(admin.SimpleListFilter):
    """Patients whose objects gave no identity that could be trusted."""

    title = _("identity")
    parameter_name = "identity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("unconfirmed", _("To be confirmed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Patient]) -> QuerySet[Patient]:
        return queryset.exclude(provisional_for="") if self.value() else queryset


class PatientIdentifierInline(ScopedTabularInline):
    model = PatientIdentifier
    ordering = ["id"]


@admin.register(Patient)
class PatientAdmin(NeverDeleted, SinarModelAdmin):
    form = PatientForm
    site_path = "site"
    list_display = ["name", "patient_id", "issuer_of_patient_id", "birth_date", "patient_sex", "identity", "site"]
    list_filter = [IdentityFilter, "site"]
    list_select_related = ["site"]
    search_fields = ["^patient_id", "=provisional_for", "=public_id"]
    search_help_text = _("Words of the name, or the beginning of the MRN")
    inlines = [PatientIdentifierInline]
    fieldsets = (
        (None, {"fields": ("patient_name", "patient_id", "issuer_of_patient_id", "patient_birth_date", "patient_sex")}),
        (
            _("Safety and contact"),
            {
                "fields": (
                    "allergies",
                    "medical_alerts",
                    "patient_telephone_numbers",
                    "patient_address",
                    "patient_mother_birth_name",
                    "patient_comments",
                    "is_temporary",
                )
            },
        ),
        (_("Where"), {"fields": ("site", "provisional_for", "public_id", "seen_version")}),
        (_("History"), {"fields": ("version", "created_at", "updated_at")}),
    )
    readonly_fields = ["provisional_for", "public_id", "version", "created_at", "updated_at"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who was merged into another stays as it was, so that the merge can be taken back."""
        merged = isinstance(obj, Patient) and obj.merged_into_id is not None
        return not merged and super().has_change_permission(request, obj)

    @admin.display(description=_("name"))
    def name(self, patient: Patient) -> str:
        return patient.display_name

    @display(description=_("identity"), label={"provisional": "warning", "temporary": "warning", "merged": "info"})
    def identity(self, patient: Patient) -> tuple[str, Any] | None:
        if patient.merged_into_id is not None:
            return "merged", _("merged into another")
        if patient.is_temporary:
            return "temporary", _("unknown patient")
        return ("provisional", _("to be confirmed")) if patient.is_provisional else None

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        words = PersonName(term).words
        if words:
            yield Patient.objects.filter(site_id__in=sites).named(words)

    def save_model(self, request: HttpRequest, obj: Patient, form: Any, change: bool) -> None:
        patients.save_patient(patient=obj, who=request.user, address=audit.address_of(request))


@admin.register(PatientIdentifier)
class PatientIdentifierAdmin(SinarModelAdmin):
    site_path = "patient_ref__site"
    list_display = ["value", "kind", "issuer", "patient_ref"]
    list_filter = [("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["^value", "=patient_ref__patient_id"]
    search_help_text = _("Beginning of the number, or the whole MRN")


@admin.register(PatientNameWord)
class PatientNameWordAdmin(ViewOnly, SinarModelAdmin):
    """The index behind the search for names, to see why somebody is found or not."""

    site_path = "patient_ref__site"
    list_display = ["word", "patient_ref"]
    list_filter = [("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["^word"]
    search_help_text = _("Beginning of a word, in small letters without accents")
