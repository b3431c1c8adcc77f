"""How many reports are reviewed by peers is set here; reviews themselves have pages that keep them blind."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from radiology.admin.model_admin import SinarModelAdmin
from worklist.models import PeerReviewPolicy


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
