"""How many reports are reviewed by peers is set here; reviews themselves have pages that keep them blind."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import PeerReview, PeerReviewDraw, PeerReviewPolicy, PeerReviewScore


@admin.register(PeerReviewPolicy)
class PeerReviewPolicyAdmin(SinarModelAdmin):
    site_path = "site"
    list_display = ["__str__", "percent", "number", "reviewers", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    search_fields = ["=modality"]
    search_help_text = _("Modality")
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "At the beginning of each month a sample of what each radiologist signed in the month before is "
                    "drawn by chance, and given to colleagues who do not see whose it is. A modality without a policy "
                    "of its own has that of all others; without that, nothing of it is reviewed."
                ),
                "fields": ("site", "modality", "percent", "number", "reviewers"),
            },
        ),
    )


@admin.register(PeerReviewDraw)
class PeerReviewDrawAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["month", "drawn_at", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    ordering = ["-id"]
    search_fields = ["=month"]
    search_help_text = _("First day of the month")


@admin.register(PeerReview)
class PeerReviewAdmin(ViewOnly, SinarModelAdmin):
    """Neither whose the report is nor who reviews it: that is for who leads the department, on a page of its own."""

    site_path = "site"
    list_display = ["public_id", "modality", "state", "score", "scored_at", "site"]
    list_filter = ["site"]
    list_select_related = ["site"]
    ordering = ["-id"]
    search_fields = ["=public_id"]
    search_help_text = _("Public id")
    fields = ["public_id", "site", "modality", "state", "score", "scored_at", "created_at"]


@admin.register(PeerReviewScore)
class PeerReviewScoreAdmin(ViewOnly, SinarModelAdmin):
    site_path = "review__site"
    list_display = ["review", "score", "at"]
    list_select_related = ["review"]
    ordering = ["-id"]
    search_fields = ["=review__public_id"]
    search_help_text = _("The review's public id")
    fields = ["review", "score", "at"]
