"""What the Orthanc-shaped REST remembers, to be looked at."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action
from unfold.widgets import UnfoldAdminPasswordInput

from integrations.models import (
    OrthancArrival,
    OrthancJob,
    OrthancOrigin,
    OrthancPeer,
    OrthancQuery,
    OrthancResource,
    OrthancUnsettled,
)
from integrations.orthanc.identifiers import as_digest
from integrations.orthanc.peering import system_of
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.errors import RadiologyError


@admin.register(OrthancResource)
class OrthancResourceAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["id", "identifier", "level", "change", "row", "at"]
    search_fields = ["=id"]
    search_help_text = _("Identifier as Orthanc writes it, or number of the change")
    exclude = ["digest"]
    readonly_fields = ["identifier"]

    def matches(self, term: str, sites: list[int]) -> Iterator[Any]:
        digest = as_digest(term.lower())
        if digest is not None:
            yield OrthancResource.objects.filter(digest=digest, change=0, site__in=sites)
        yield from super().matches(term, sites)

    @admin.display(description=_("identifier"))
    def identifier(self, row: OrthancResource) -> str:
        return str(row)


@admin.register(OrthancArrival)
class OrthancArrivalAdmin(ViewOnly, SinarModelAdmin):
    list_display = ["id", "is_backlog", "at"]
    search_fields = ["=id"]


@admin.register(OrthancUnsettled)
class OrthancUnsettledAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["id", "series", "study", "patient", "at"]
    search_fields = ["=series", "=study"]


@admin.register(OrthancQuery)
class OrthancQueryAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["id", "public_id", "node", "level", "at"]
    list_select_related = ["node"]
    search_fields = ["=public_id"]
    search_help_text = _("Public id, in full")


@admin.register(OrthancJob)
class OrthancJobAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["created_at", "kind", "user", "token", "state", "done", "failed", "total"]
    list_filter = ["kind"]
    list_select_related = ["user", "token__client", "job"]
    search_fields = ["=public_id"]
    search_help_text = _("Public id, in full")
    exclude = ["secret"]

    @admin.display(description=_("state"))
    def state(self, row: OrthancJob) -> str:
        return row.job.get_state_display()


@admin.register(OrthancOrigin)
class OrthancOriginAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["id", "level", "row", "anonymized", "source"]
    search_fields = ["=id"]


class PeerForm(forms.ModelForm):
    """The password goes in and never comes out again."""

    password = forms.CharField(
        label=_("Password"),
        required=False,
        strip=False,
        max_length=512,
        widget=UnfoldAdminPasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Is kept encrypted and never shown. Leave empty to keep the one that was entered."),
    )

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.cleaned_data.get("password"):
            self.instance.password = self.cleaned_data["password"]
        elif not self.cleaned_data.get("username"):
            self.instance.password = ""
        return cleaned


@admin.register(OrthancPeer)
class OrthancPeerAdmin(SmallTable):
    form = PeerForm
    site_path = "site"
    list_display = ["name", "url", "username", "is_active", "site"]
    list_filter = ["is_active", "site"]
    list_select_related = ["site"]
    search_fields = ["name", "url"]
    ordering = ["name", "id"]
    actions_detail = ["try_this"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "An Orthanc, or another Sinar, that takes images over HTTP. Addresses on the internet are called "
                    "by https and nothing else; a network inside must stand under Networks of webhooks first."
                ),
                "fields": ("name", "url", "username", "password", "is_active", "site"),
            },
        ),
    )

    def has_try_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("integrations.change_orthancpeer")

    @action(description=_("Try it"), url_path="try", icon="send", permissions=["try"])
    def try_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask it what it is; what came of it."""
        peer = self.get_object(request, object_id)
        if peer is None:
            raise Http404
        try:
            found = system_of(peer)
        except RadiologyError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            told = _("It answers: %(name)s, version %(version)s.")
            values = {key.lower(): str(found.get(key, "–"))[:60] for key in ("Name", "Version")}
            self.message_user(request, told % values, messages.SUCCESS)
        return redirect("admin:integrations_orthancpeer_change", object_id)
