"""What the figures of the department are made of, to be looked at."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from worklist.models import ExaminationFigures, FiguresChange


@admin.register(ExaminationFigures)
class ExaminationFiguresAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["requested_procedure_ref", "day", "modality", "signed_on", "to_final", "site"]
    list_filter = ["site"]
    list_select_related = ["requested_procedure_ref", "site"]
    ordering = ["-requested_procedure_ref_id"]
    search_fields = ["=requested_procedure_ref__study_instance_uid"]
    search_help_text = _("Study Instance UID")


@admin.register(FiguresChange)
class FiguresChangeAdmin(ViewOnly, SinarModelAdmin):
    list_display = ["procedure_key"]
    ordering = ["id"]
    search_fields = ["=procedure_key"]
    search_help_text = _("Number of the requested procedure")
