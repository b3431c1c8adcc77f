"""What reconciliation takes and answers, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import PageShape, Text


class OrderCandidateShape(serializers.Serializer):
    """A requested procedure that the study may belong to."""

    procedure = serializers.UUIDField(help_text="`public_id` of the requested procedure; what `link` takes.")
    order = serializers.UUIDField(help_text="`public_id` of the order.")
    accession_number = Text()
    requested_procedure_id = Text()
    description = Text()
    modality = Text()
    patient_id = Text()
    patient_name = Text()
    score = serializers.IntegerField(help_text="The higher, the likelier; of no meaning between studies.")
    agrees = serializers.ListField(child=Text(), help_text="What agrees, such as `accession` or `birth_date`.")
    differs = serializers.ListField(child=Text())


class CaseLinks(serializers.Serializer):
    self = Text()
    page = Text(help_text="The case's page, for people.")


class CaseShape(serializers.Serializer):
    """How a study found its order, or that it waits for a decision."""

    public_id = serializers.UUIDField()
    state = Text(help_text="`open`, `linked`, `dismissed` or `wrong_patient`.")
    reason = Text(help_text="Why it waits, such as `accession_unknown`; empty when it was linked by itself.")
    study_instance_uid = Text()
    accession_number = Text(help_text="Of the study, as it stands now.")
    study_description = Text()
    patient_id = Text()
    patient_name = Text()
    procedure = serializers.UUIDField(allow_null=True, help_text="The requested procedure that it is linked to.")
    rule = Text(help_text="By which it was linked by itself; empty when somebody decided.")
    decided_at = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField(help_text="For If-Match.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    candidates = OrderCandidateShape(many=True)
    links = CaseLinks()


class CasesShape(PageShape):
    """Cases, newest first."""

    data = CaseShape(many=True)  # type: ignore[assignment]


class LinkBody(serializers.Serializer):
    """Which requested procedure the study belongs to."""

    procedure = serializers.UUIDField(help_text="`public_id` of a requested procedure of the same site.")


class DismissBody(serializers.Serializer):
    """That the study has no order."""

    makes_order = serializers.BooleanField(
        required=False, help_text="Make an order for what was done, so that it is reported and billed."
    )


class WrongPatientBody(serializers.Serializer):
    """That the images are of somebody else."""

    reason = Text(required=False, max_length=200)


LINK = [OpenApiExample("A candidate", value={"procedure": "01930f5e-cc10-7e3b-9c44-2f5e2d7a6b55"}, request_only=True)]
DISMISS = [OpenApiExample("With an order of its own", value={"makes_order": True}, request_only=True)]
WRONG = [OpenApiExample("Why", value={"reason": "two newborns mixed up"}, request_only=True)]
