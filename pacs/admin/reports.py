"""What published reports became in the archive: to be looked at."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from pacs.models import ReportObject
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly


@admin.register(ReportObject)
class ReportObjectAdmin(ViewOnly, SinarModelAdmin):
    site_path = "study_ref__site"
    list_display = ["report", "number", "kind", "study_ref", "created_at", "removal"]
    list_filter = ["kind"]
    list_select_related = ["version_ref__report_ref", "study_ref", "removal"]
    search_fields = ["=sop_instance_uid", "=version_ref__report_ref__public_id", "=study_ref__study_instance_uid"]
    search_help_text = _("A UID, or the report's public id")

    @admin.display(description=_("report"))
    def report(self, stored: ReportObject) -> str:
        return str(stored.version_ref.report_ref)

    @admin.display(description=_("number"))
    def number(self, stored: ReportObject) -> int:
        return int(stored.version_ref.number)
