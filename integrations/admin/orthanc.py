"""What the Orthanc-shaped REST remembers, to be looked at."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from integrations.models import OrthancArrival, OrthancQuery, OrthancResource, OrthancUnsettled
from integrations.orthanc.identifiers import as_digest
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly


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
