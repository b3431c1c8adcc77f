"""Studies, series and instances as received: to be looked at, never edited here."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, TextFilter

from pacs.admin.relocation import Relocates
from pacs.models import Instance, PatientModality, RequestAttributes, Series, Study
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.search import Matches, sites_of
from radiology.dicom import PersonName
from radiology.models import Patient


class ModalityOfStudy(TextFilter):
    """Studies that hold a series of this modality."""

    title = _("modality")
    parameter_name = "modality"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Study]) -> QuerySet[Study]:
        wanted = (self.value() or "").strip().upper()
        return queryset.filter(modalities_in_study__contains=[wanted]) if wanted else queryset


class ModalityOfSeries(TextFilter):
    title = _("modality")
    parameter_name = "modality"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Series]) -> QuerySet[Series]:
        wanted = (self.value() or "").strip().upper()
        return queryset.filter(site__in=sites_of(request), modality=wanted) if wanted else queryset


@admin.register(Study)
class StudyAdmin(Relocates, ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "__str__",
        "patient_ref",
        "modalities",
        "study_date",
        "accession_number",
        "number_of_study_related_series",
        "number_of_study_related_instances",
        "bytes",
        "created_at",
    ]
    list_filter = [ModalityOfStudy, "site", ("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["=study_instance_uid", "^accession_number", "=patient_ref__patient_id"]
    search_help_text = _("Study Instance UID, MRN, beginning of the accession number, words of the patient's name")

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        yield from super().matches(term, sites)
        words = PersonName(term).words
        if words:
            patients = Patient.objects.filter(site_id__in=sites).named(words)[:200]
            yield Study.objects.filter(patient_ref__in=patients)

    @admin.display(description=_("modalities"))
    def modalities(self, study: Study) -> str:
        return ", ".join(study.modalities_in_study)

    @admin.display(description=_("size"))
    def bytes(self, study: Study) -> Any:
        return filesizeformat(study.size)


@admin.register(Series)
class SeriesAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = [
        "__str__",
        "modality",
        "series_number",
        "body_part_examined",
        "number_of_series_related_instances",
        "source_ae_title",
        "study_ref",
        "created_at",
    ]
    list_filter = [ModalityOfSeries, ("study_ref", AutocompleteSelectFilter)]
    list_select_related = ["study_ref"]
    search_fields = ["=series_instance_uid", "=study_ref__study_instance_uid", "=study_ref__accession_number"]
    search_help_text = _("Series or Study Instance UID, or accession number")


@admin.register(Instance)
class InstanceAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["sop_instance_uid", "sop_class_uid", "instance_number", "frames", "series_ref", "created_at"]
    list_filter = [("series_ref", AutocompleteSelectFilter)]
    list_select_related = ["series_ref"]
    search_fields = ["=sop_instance_uid", "=series_ref__series_instance_uid"]
    search_help_text = _("SOP or Series Instance UID")

    @admin.display(description=_("frames"))
    def frames(self, instance: Instance) -> int:
        return instance.number_of_frames or 1


@admin.register(RequestAttributes)
class RequestAttributesAdmin(ViewOnly, SinarModelAdmin):
    """What a series says about the orders that it serves."""

    site_path = "series_ref__site"
    list_display = ["requested_procedure_id", "scheduled_procedure_step_id", "accession_number", "series_ref"]
    list_filter = [("series_ref", AutocompleteSelectFilter)]
    list_select_related = ["series_ref"]
    search_fields = ["^requested_procedure_id", "^scheduled_procedure_step_id", "^accession_number"]
    search_help_text = _("Beginning of a procedure, step or accession number")


@admin.register(PatientModality)
class PatientModalityAdmin(ViewOnly, SinarModelAdmin):
    """What patients were examined with, to see why a search for a name and a modality finds them or not."""

    site_path = "patient_ref__site"
    list_display = ["modality", "patient_ref"]
    list_filter = [("patient_ref", AutocompleteSelectFilter)]
    list_select_related = ["patient_ref"]
    search_fields = ["=modality"]
    search_help_text = _("Modality")
