"""What the report editor begins with, over `/api/v1`: templates that fit a procedure, and what one says."""

import uuid
from typing import Any

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.permissions import BasePermission

from pacs.api.access import ApiView
from pacs.api.report_access import procedure_to_report
from pacs.api.report_shapes import Sections
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotFound
from radiology.models import ReportLanguage, ReportTemplate
from radiology.services.report_templates import sections_of, templates_for

LISTED = [
    Parameter(
        "procedure",
        "The requested procedure that is reported, by its public id.",
        example="01930f5e-a0b3-7e21-9c43-5d9c3f2d7b44",
    ),
    Parameter(
        "language", "Templates in it come first.", choices=list(ReportLanguage.values), default=ReportLanguage.ID.value
    ),
]


class TemplateShape(serializers.Serializer):
    """A template that fits."""

    public_id = serializers.UUIDField()
    code = serializers.CharField(help_text="The same in every language.")
    name = serializers.CharField()
    language = serializers.CharField(help_text="`id` or `en`")
    is_personal = serializers.BooleanField(help_text="The caller's own.")


class FittingTemplate(TemplateShape):
    """A template among those for a procedure."""

    fits = serializers.CharField(help_text="`procedure` (bound to it), `body_part` or only `modality`")


class TemplateList(serializers.Serializer):
    """Templates, best first."""

    data = FittingTemplate(many=True)  # type: ignore[assignment]


class HtmlSections(Sections):
    """HTML of each section, of p, strong, ul and li only; square brackets stand for what is to be filled in."""


class FullTemplate(TemplateShape):
    """A template and what a report begins with."""

    modality = serializers.CharField()
    body_part_examined = serializers.CharField()
    patient_sex = serializers.CharField(help_text="`F` or `M`: only for such patients; empty: for all")
    version = serializers.IntegerField()
    blank = HtmlSections(help_text="With blanks.")
    normal = HtmlSections(help_text="With what is said of a normal examination.")


class MayReport(BasePermission):
    """`reports.write`, or the right to write templates."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        return bool(who and who.is_authenticated and (who.may("reports.write") or who.may("templates.write")))


class ReportTemplates(ApiView):
    """`GET /report-templates`."""

    permission_classes = [MayReport]

    @operation(
        tag="Reports",
        summary="Templates for a report",
        description="Best first, 200 at most: one's own that fit, those bound to the procedure, then those of its "
        "modality and body part, then of its modality; those in another language last. "
        "None for the other sex than the patient's.",
        parameters=LISTED,
        answers={200: TemplateList},
        errors=[404],
    )
    def get(self, request: Any) -> HttpResponse:
        if not self.asked["procedure"]:
            raise InvalidValue("Say which procedure is reported.", field="procedure")
        procedure = procedure_to_report(
            request.user,
            procedure=self.asked["procedure"],
            study_instance_uid="",
            accession_number="",
            requested_procedure_id="",
        )
        found: list[Any] = templates_for(who=request.user, procedure=procedure, language=self.asked["language"])
        return json_answer(request, {"data": [{**_entry(each), "fits": each.fits} for each in found]})


class OneReportTemplate(ApiView):
    """`GET /report-templates/{template}`."""

    permission_classes = [MayReport]

    @operation(
        tag="Reports",
        summary="What a template says",
        path=["template"],
        answers={200: FullTemplate},
        errors=[404],
    )
    def get(self, request: Any, template: uuid.UUID) -> HttpResponse:
        found = ReportTemplate.objects.visible_to(request.user).filter(public_id=template).first()
        if found is None:
            raise NotFound("There is no such template, or none that you may see.", field="template")
        entry = {
            **_entry(found),
            "modality": found.modality,
            "body_part_examined": found.body_part_examined,
            "patient_sex": found.patient_sex,
            "version": found.version,
            "blank": sections_of(found, normal=False),
            "normal": sections_of(found, normal=True),
        }
        return json_answer(request, entry, version=found.version)


def _entry(template: ReportTemplate) -> dict[str, Any]:
    return {
        "public_id": str(template.public_id),
        "code": template.code,
        "name": template.name,
        "language": template.language,
        "is_personal": template.owner_id is not None,
    }
