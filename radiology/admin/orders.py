"""Orders with their procedures, and what is kept about them."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from radiology.admin.model_admin import NeverDeleted, ScopedStackedInline, SinarModelAdmin, ViewOnly
from radiology.admin.patients import VersionedForm
from radiology.admin.search import sites_of
from radiology.dicom import is_uid, new_uid
from radiology.models import (
    AccessionCounter,
    Order,
    OrderAttachment,
    OrderStatus,
    OrderVersion,
    RequestedProcedure,
)
from radiology.services.accession import next_accession_number
from radiology.services.order_fields import as_text
from radiology.services.order_states import record_version


class RequestedProcedureForm(forms.ModelForm):
    """Leaves the UID of the study to come to the server, as a modality worklist will hand it out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "study_instance_uid" in self.fields:
            self.fields["study_instance_uid"].required = False
            self.fields["study_instance_uid"].help_text = _("Empty: a new one is made.")
        if "duration" in self.fields:
            self.fields["duration"].required = False

    def clean_duration(self) -> int:
        """Empty: as long as most."""
        known = RequestedProcedure._meta.get_field("duration").default
        return self.cleaned_data.get("duration") or known

    def clean_study_instance_uid(self) -> str:
        uid = self.cleaned_data.get("study_instance_uid") or new_uid()
        if not is_uid(uid):
            raise ValidationError(_("A UID has digits and dots, at most 64 characters."))
        return uid


# What the form may change, as it stands in the history.
CHANGED = (
    "priority",
    "reason_for_the_requested_procedure",
    "accession_number",
    "issuer_of_accession_number",
    "placer_order_number",
    "filler_order_number",
    "referring_physician_name",
    "requesting_physician",
)


class RequestedProcedureInline(ScopedStackedInline):
    model = RequestedProcedure
    ordering = ["id"]
    form = RequestedProcedureForm


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(OrderStatus.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        return queryset.filter(site__in=sites_of(request), status=self.value()) if self.value() else queryset


@admin.register(Order)
class OrderAdmin(NeverDeleted, SinarModelAdmin):
    form = VersionedForm
    site_path = "site"
    list_display = ["accession", "patient_ref", "status", "priority", "placer_order_number", "created_at", "site"]
    list_filter = [
        StatusFilter,
        "site",
        ("patient_ref", AutocompleteSelectFilter),
        ("ordering_physician", AutocompleteSelectFilter),
    ]
    list_select_related = ["patient_ref", "site"]
    search_fields = [
        "^accession_number",
        "^placer_order_number",
        "^filler_order_number",
        "=public_id",
        "=patient_ref__patient_id",
    ]
    search_help_text = _("Beginning of an accession or order number, or the whole MRN")
    inlines = [RequestedProcedureInline]
    fieldsets = (
        (None, {"fields": ("patient_ref", "status", "priority", "reason_for_the_requested_procedure")}),
        (
            _("Numbers"),
            {
                "description": _(
                    "The accession number ties order, images and report together; modalities get it from the worklist."
                ),
                "fields": (
                    "accession_number",
                    "issuer_of_accession_number",
                    "placer_order_number",
                    "filler_order_number",
                ),
            },
        ),
        (
            _("Who asks"),
            {"fields": ("referring_physician_name", "requesting_physician", "ordering_physician", "site")},
        ),
        (_("History"), {"fields": ("public_id", "version", "seen_version", "created_at", "updated_at")}),
    )
    readonly_fields = ["public_id", "version", "created_at", "updated_at"]

    @admin.display(description=_("accession number"))
    def accession(self, order: Order) -> str:
        return str(order)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The status moves on the order's own page, where reasons are asked; a patient is not exchanged."""
        return [*self.readonly_fields, "status", *(["patient_ref", "site"] if obj is not None else [])]

    def save_model(self, request: HttpRequest, obj: Order, form: Any, change: bool) -> None:
        """An order without a number gets the next one; a change is kept with what was before."""
        if not obj.accession_number:
            obj.accession_number = next_accession_number(site=obj.site)
        if not change:
            super().save_model(request, obj, form, change)
            return
        before = Order.objects.select_for_update().values(*CHANGED).get(pk=obj.pk)
        changes = {
            name: [as_text(before[name]), as_text(getattr(obj, name))]
            for name in CHANGED
            if before[name] != getattr(obj, name)
        }
        super().save_model(request, obj, form, change)
        if changes:
            record_version(order=obj, changes=changes, who=request.user)


@admin.register(RequestedProcedure)
class RequestedProcedureAdmin(NeverDeleted, SinarModelAdmin):
    form = RequestedProcedureForm
    site_path = "order_ref__site"
    list_display = ["__str__", "requested_procedure_id", "modality", "order_ref", "study_instance_uid"]
    list_filter = [("order_ref", AutocompleteSelectFilter)]
    list_select_related = ["order_ref"]
    search_fields = ["=study_instance_uid", "=public_id", "^order_ref__accession_number"]
    search_help_text = _("Study Instance UID, or the beginning of the accession number")


class OfOrder(ViewOnly, SinarModelAdmin):
    """What the order's own page wrote; to be looked at."""

    site_path = "order_ref__site"
    list_select_related = ["order_ref"]
    list_filter = [("order_ref", AutocompleteSelectFilter)]
    search_fields = ["^order_ref__accession_number", "=order_ref__public_id"]
    search_help_text = _("Beginning of the accession number")


@admin.register(OrderAttachment)
class OrderAttachmentAdmin(OfOrder):
    list_display = ["name", "content_type", "size", "order_ref", "created_at", "removed_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderAttachment]:
        return super().get_queryset(request).defer("content")


@admin.register(OrderVersion)
class OrderVersionAdmin(OfOrder):
    list_display = ["order_ref", "version", "reason", "agent", "at"]


@admin.register(AccessionCounter)
class AccessionCounterAdmin(ViewOnly, SinarModelAdmin):
    """How far the numbers of a day, month or year have come."""

    site_path = "site"
    list_display = ["period", "last", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    search_fields = ["^period"]
    search_help_text = _("Beginning of the period: 2026, 202603, 20260309")
