"""The answers of the API about reports described for its documentation; tests hold every answer against them."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.order_shapes import OrderPatientShape, RequestedProcedureShape
from pacs.api.report_watch_shapes import CoSignatureShape, HeldShape, LateImagesShape
from pacs.api.shapes import PageShape
from radiology.models import ReportOrigin, ReportStatus

Text = serializers.CharField
STATUSES = ", ".join(f"`{value}`" for value in ReportStatus.values)


class Sections(serializers.Serializer):
    """The text of each section; line ends are `\\n`."""

    indication = Text(required=False)
    technique = Text(required=False)
    comparison = Text(required=False)
    findings = Text(required=False)
    impression = Text(required=False)


class Addendum(serializers.Serializer):
    """A text added after signing."""

    text = Text()
    by = Text(help_text="FAMILY^GIVEN")
    at = serializers.DateTimeField()


class KeyImage(serializers.Serializer):
    """An image of the archive that shows what the report says, as it was shown when it was chosen."""

    public_id = serializers.UUIDField(help_text="Names it in addresses; the same in later versions that keep it.")
    study_instance_uid = Text(help_text="Of the examination, or of an earlier one of the patient.")
    series_instance_uid = Text()
    sop_instance_uid = Text()
    sop_class_uid = Text()
    frame = serializers.IntegerField(allow_null=True, help_text="From 1; null where the image has but one.")
    window_center = serializers.FloatField(allow_null=True, help_text="null: as the image itself says.")
    window_width = serializers.FloatField(allow_null=True)
    inverted = serializers.BooleanField(help_text="Shown black for white.")
    series_number = serializers.IntegerField(allow_null=True)
    instance_number = serializers.IntegerField(allow_null=True)
    caption = Text(help_text="At most 200 characters; may be empty.")
    picture = Text(help_text="A JPEG of it; 404 once the image is deleted or another patient's.")


class ReportLinks(serializers.Serializer):
    self = Text()
    versions = Text()
    order = Text()
    viewer = Text(help_text="The images.")
    pdf = Text(required=False, help_text="Once something is published.")


class ReportShape(serializers.Serializer):
    """A report as it holds now."""

    public_id = serializers.UUIDField(help_text="Names the report in addresses.")
    status = Text(help_text=STATUSES)
    number = serializers.IntegerField(help_text="Of the version that holds; 0 while nothing is published.")
    version = serializers.IntegerField(help_text="Rises with each change, of the draft too.")
    origin = Text(help_text=", ".join(f"`{value}`" for value in ReportOrigin.values))
    external_id = Text(help_text="Under which its writer knows it.")
    order = serializers.UUIDField()
    accession_number = Text()
    placer_order_number = Text()
    patient = OrderPatientShape()
    procedure = RequestedProcedureShape()
    sections = Sections()
    addenda = Addendum(many=True)
    author_name = Text(help_text="FAMILY^GIVEN")
    writer_name = Text(help_text="FAMILY^GIVEN of the resident who wrote it, where `author_name` co-signed it.")
    by = Text(help_text="The account that published it.")
    at = serializers.DateTimeField(allow_null=True, help_text="When it was signed.")
    key_images = KeyImage(many=True, help_text="Of the version that holds, in their order; 20 at most.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    links = ReportLinks()
    held = HeldShape(
        allow_null=True, help_text="While it is held, its text is given to nobody but who writes reports, and no PDF."
    )
    late_images = LateImagesShape(allow_null=True)
    co_signature = CoSignatureShape(required=False, allow_null=True, help_text="For who writes reports.")
    draft = Sections(required=False, allow_null=True, help_text="What is being written; for who writes reports.")
    draft_by = Text(required=False)


class ReportList(PageShape):
    """Reports, newest first."""

    data = ReportShape(many=True)  # type: ignore[assignment]


class ReportVersionShape(serializers.Serializer):
    """A report as it was published."""

    number = serializers.IntegerField()
    status = Text(help_text=STATUSES)
    sections = Sections()
    addenda = Addendum(many=True)
    author_name = Text()
    writer_name = Text(help_text="Of the resident who wrote it, where `author_name` co-signed it.")
    by = Text()
    at = serializers.DateTimeField()
    key_images = KeyImage(many=True)
    reason = Text(help_text="Why it was amended or withdrawn.")


class ReportVersionList(serializers.Serializer):
    """Every version, newest first."""

    data = ReportVersionShape(many=True)  # type: ignore[assignment]


class NewReport(serializers.Serializer):
    """What is reported, named by `procedure`, by `study_instance_uid`, or by `accession_number`; and what it says.

    With `status` it is a report that was written elsewhere; without, a draft that a person goes on writing here.
    """

    procedure = serializers.UUIDField(required=False)
    study_instance_uid = Text(required=False)
    accession_number = Text(required=False)
    requested_procedure_id = Text(required=False, help_text="Where the accession number has several procedures.")
    sections = Sections(required=False)
    status = Text(required=False, help_text="`preliminary`, `final`, `amended`, `appended` or `entered-in-error`.")
    pdf = Text(required=False, help_text="Base64, at most 10 MB.")
    author_name = Text(required=False, help_text="FAMILY^GIVEN of whoever signed it there.")
    external_id = Text(required=False, help_text="Under which its writer knows it.")
    at = serializers.DateTimeField(required=False, help_text="When it was signed there.")


class Draft(serializers.Serializer):
    """What is being written."""

    sections = Sections()


class Signature(serializers.Serializer):
    """Who signs says the password again."""

    password = Text()
    status = Text(required=False, help_text="`final` (otherwise) or `preliminary`; of a resident `preliminary`.")
    supervisor = serializers.UUIDField(required=False, help_text="Whom a resident asks to co-sign; otherwise any.")
    reason = Text(required=False, help_text="Why, when something signed is changed.")


class NewAddendum(serializers.Serializer):
    """What is added."""

    text = Text()
    password = Text()


class Withdrawal(serializers.Serializer):
    """Why it should never have been; a person says the password again."""

    reason = Text()
    password = Text(required=False)


WRITTEN_ELSEWHERE = [
    OpenApiExample(
        "Written elsewhere",
        value={
            "accession_number": "24012500001",
            "status": "final",
            "author_name": "WIBOWO^BUDI",
            "external_id": "RAD-2024-7781",
            "sections": {"findings": "Cor dan pulmo dalam batas normal.", "impression": "Tidak tampak kelainan."},
        },
        request_only=True,
    )
]
SIGNED_HERE = [OpenApiExample("Final", value={"password": "…", "status": "final"}, request_only=True)]
