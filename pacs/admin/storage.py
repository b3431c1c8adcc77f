"""Volumes, and which file holds what."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from pydicom.uid import UID
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordInput

from pacs.models import (
    HeldDecision,
    HeldObject,
    HeldState,
    Location,
    Verification,
    VerificationFinding,
    Volume,
    VolumeKind,
)
from pacs.services.verification import enqueue_verification
from pacs.services.volumes import try_volume
from radiology.admin.model_admin import ScopedTabularInline, SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.admin.search import Matches, sites_of
from radiology.dicom import PersonName

MOST_TRIED = 5


class StoredBytes(SinarModelAdmin):
    """Figures of a stored object as people read them."""

    @admin.display(description=_("size"))
    def bytes(self, stored: Location | HeldObject) -> Any:
        return filesizeformat(stored.size)

    @admin.display(description=_("SHA-256 of the data set"))
    def digest(self, stored: Location | HeldObject) -> str:
        return bytes(stored.sha256).hex()

    @admin.display(description=_("transfer syntax"))
    def syntax(self, stored: Location | HeldObject) -> str:
        return UID(stored.transfer_syntax_uid).name


class VolumeForm(forms.ModelForm):
    """The secret key goes in and never comes out again."""

    secret_key = forms.CharField(
        label=_("Secret key"),
        required=False,
        strip=True,
        max_length=512,
        widget=UnfoldAdminPasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Is kept encrypted and never shown. Leave empty to keep the one that was entered."),
    )

    def clean(self) -> dict[str, Any] | None:
        """Give the model its secret before it validates itself: it wants both keys or none."""
        cleaned = super().clean()
        if self.cleaned_data.get("secret_key"):
            self.instance.secret = self.cleaned_data["secret_key"]
        elif not self.cleaned_data.get("access_key_id"):
            self.instance.secret = ""
        return cleaned


@admin.register(Volume)
class VolumeAdmin(SmallTable):
    form = VolumeForm
    list_display = ["name", "kind", "place", "is_active", "free_space_kept"]
    list_filter = ["is_active", "kind"]
    search_fields = ["name", "path", "bucket"]
    actions = ["try_selected"]
    actions_detail = ["try_this", "verify_this"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A place that holds images: a folder, or a bucket of an object store. The newest one that takes "
                    "new objects gets what arrives; the others go on being read. Press “Try it” after saving. To "
                    "move a folder: stop the daemons, move it, change the path here."
                ),
                "fields": ("name", "kind", "is_active", "reserve", "verify_days"),
            },
        ),
        (_("Folder on a disk"), {"fields": ("path",)}),
        (
            _("Bucket of an object store (S3)"),
            {
                "description": _(
                    "The credentials need the rights to read, write, list and delete in this bucket. A rule of the "
                    "bucket that ends incomplete uploads after a few days is a good idea."
                ),
                "fields": ("endpoint_url", "region", "bucket", "prefix", "access_key_id", "secret_key", "verify_tls"),
            },
        ),
    )

    @admin.display(description=_("place"))
    def place(self, volume: Volume) -> str:
        if volume.kind == VolumeKind.S3:
            return f"{volume.bucket}/{volume.prefix}"
        return volume.path or str(_("archive, among the data of this installation"))

    @admin.display(description=_("reserve"))
    def free_space_kept(self, volume: Volume) -> Any:
        return filesizeformat(volume.reserve)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A volume is retired by taking no new objects: what it holds is still read."""
        return False

    def has_try_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.change_volume")

    @admin.action(description=_("Try them: write, read, delete"), permissions=["try"])
    def try_selected(self, request: HttpRequest, queryset: QuerySet[Volume]) -> None:
        for volume in queryset[:MOST_TRIED]:
            for sign in try_volume(volume=volume):
                level = messages.SUCCESS if sign.well else messages.ERROR
                self.message_user(request, f"{volume}: {sign.sentence}", level)

    @action(description=_("Try it"), url_path="try", icon="network_check", permissions=["try"])
    def try_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on a volume's page: the volume as saved."""
        volume = self._volume(request, object_id)
        self.try_selected(request, Volume.objects.filter(pk=volume.pk))
        return redirect("admin:pacs_volume_change", object_id)

    @action(description=_("Verify now"), url_path="verify", icon="fact_check", permissions=["try"])
    def verify_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Begin to compare the volume with the index, in the background."""
        enqueue_verification(volume=self._volume(request, object_id))
        told = _("The volume is being verified; how far that is stands under Verifications.")
        self.message_user(request, told, messages.SUCCESS)
        return redirect("admin:pacs_volume_change", object_id)

    def _volume(self, request: HttpRequest, object_id: str) -> Volume:
        volume = self.get_object(request, object_id)
        if volume is None:
            raise Http404
        return volume


class FindingsInline(ViewOnly, ScopedTabularInline):
    model = VerificationFinding
    fields = ["kind", "volume", "path", "study_instance_uid", "sop_instance_uid", "detail", "repair"]
    readonly_fields = fields
    ordering = ["id"]


@admin.register(Verification)
class VerificationAdmin(ViewOnly, SinarModelAdmin):
    """Comparisons of the index with the bytes, and what they found."""

    list_display = ["started_at", "finished_at", "volume", "share", "objects_read", "bytes", "problems", "repaired"]
    list_filter = ["volume"]
    list_select_related = ["volume"]
    search_fields = ["=id"]
    fields = [
        "volume",
        "started_at",
        "finished_at",
        "share",
        "objects_read",
        "bytes",
        "files_seen",
        "problems",
        "repaired",
        "repairs",
        "since",
    ]
    inlines = [FindingsInline]

    @admin.display(description=_("done"))
    def share(self, verification: Verification) -> str:
        if verification.finished_at or not verification.bytes_total:
            return "100 %" if verification.finished_at else "0 %"
        return f"{min(99, 100 * verification.bytes_read // verification.bytes_total)} %"

    @admin.display(description=_("bytes read"))
    def bytes(self, verification: Verification) -> Any:
        return filesizeformat(verification.bytes_read)


@admin.register(VerificationFinding)
class VerificationFindingAdmin(ViewOnly, SinarModelAdmin):
    list_display = ["created_at", "kind", "volume", "path", "sop_instance_uid", "detail", "repair"]
    list_filter = ["kind"]
    list_select_related = ["volume"]
    search_fields = ["=sop_instance_uid", "=study_instance_uid"]
    search_help_text = _("Study or SOP Instance UID")
    fields = [
        "verification",
        "kind",
        "volume",
        "path",
        "study_instance_uid",
        "sop_instance_uid",
        "detail",
        "repair",
        "created_at",
    ]


@admin.register(Location)
class LocationAdmin(ViewOnly, StoredBytes):
    site_path = "instance_ref__site"
    list_display = ["path", "volume", "bytes", "syntax", "instance_ref", "is_current", "created_at"]
    list_filter = [("instance_ref", AutocompleteSelectFilter)]
    list_select_related = ["volume", "instance_ref"]
    search_fields = ["=instance_ref__sop_instance_uid"]
    search_help_text = _("SOP Instance UID, or the whole path")
    fields = [
        "instance_ref",
        "volume",
        "path",
        "data_set_offset",
        "bytes",
        "digest",
        "syntax",
        "is_current",
        "created_at",
    ]

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        yield Location.objects.filter(volume__in=list(Volume.objects.all()), path=term)


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(HeldState.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[HeldObject]) -> QuerySet[HeldObject]:
        return queryset.filter(site__in=sites_of(request), state=self.value()) if self.value() else queryset


@admin.register(HeldObject)
class HeldObjectAdmin(ViewOnly, StoredBytes):
    site_path = "site"
    list_display = [
        "created_at",
        "reason",
        "shown_state",
        "name",
        "patient_id",
        "source_ae_title",
        "bytes",
    ]
    list_filter = [StateFilter, "site"]
    search_fields = ["=study_instance_uid", "=sop_instance_uid"]
    search_help_text = _("Study or SOP Instance UID")
    fields = [
        "reason",
        "state",
        "name",
        "patient_id",
        "study_instance_uid",
        "series_instance_uid",
        "sop_instance_uid",
        "sop_class_uid",
        "source_ae_title",
        "site",
        "volume",
        "path",
        "data_set_offset",
        "bytes",
        "digest",
        "syntax",
        "created_at",
    ]

    @display(
        description=_("state"),
        label={HeldState.WAITING: "warning", HeldState.ACCEPTED: "success", HeldState.REJECTED: "danger"},
    )
    def shown_state(self, held: HeldObject) -> tuple[str, str]:
        return held.state, held.get_state_display()

    @admin.display(description=_("name"))
    def name(self, held: HeldObject) -> str:
        return PersonName(held.patient_name).display


@admin.register(HeldDecision)
class HeldDecisionAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["created_at", "reason", "choice", "number_of_objects", "agent", "undone_at"]
    list_filter = ["site"]
    search_fields = ["=study_instance_uid"]
    search_help_text = _("Study Instance UID")
    fields = [
        "reason",
        "choice",
        "number_of_objects",
        "study_instance_uid",
        "study_ref",
        "source_ae_title",
        "patient_id",
        "why",
        "agent",
        "site",
        "created_at",
        "undone_at",
    ]
