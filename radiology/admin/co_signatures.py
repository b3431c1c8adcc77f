"""Whose reports need a second signature is said here; what became of each is only shown."""

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.models import CoSignature, LateImages, ReportHold, Resident


@admin.register(Resident)
class ResidentAdmin(SinarModelAdmin):
    site_path = "user__site"
    list_display = ["user", "created_at"]
    list_select_related = ["user"]
    search_fields = ["=user__username"]
    search_help_text = _("User name")
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "What a resident signs is preliminary until a supervisor has signed it too. Delete the entry when "
                    "somebody signs alone; what waits by then still needs its second signature."
                ),
                "fields": ("user", "supervisors"),
            },
        ),
    )


class OfReport(ViewOnly, SinarModelAdmin):
    """Rows about reports, to be looked at."""

    site_path = "site"
    list_filter: ClassVar[Any] = ["site"]
    list_select_related: ClassVar[Any] = ["report_ref", "site"]
    search_fields: ClassVar[Any] = ["=report_ref__public_id"]
    search_help_text = _("The report's public id")


@admin.register(CoSignature)
class CoSignatureAdmin(OfReport):
    list_display = ["report_ref", "number", "state", "resident_name", "decided_name", "requested_at", "site"]


@admin.register(ReportHold)
class ReportHoldAdmin(OfReport):
    list_display = ["report_ref", "kind", "held_at", "moved_back_at", "outcome", "ended_at", "site"]


@admin.register(LateImages)
class LateImagesAdmin(OfReport):
    list_display = ["report_ref", "number_of_images", "last_at", "outcome", "ended_at", "site"]
