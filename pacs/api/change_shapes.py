"""What changes take and answer, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import PageShape, Text


class Changes(serializers.Serializer):
    """What to correct. What is not named stays; an empty text empties the attribute."""

    accession_number = Text(required=False, max_length=16)
    study_description = Text(required=False, max_length=64)
    study_id = Text(required=False, max_length=16)
    study_date = Text(required=False, help_text="YYYYMMDD")
    study_time = Text(required=False, help_text="HHMM or HHMMSS")
    referring_physician_name = Text(required=False, max_length=194, help_text="FAMILY^GIVEN")
    patient = serializers.UUIDField(required=False, help_text="`public_id` of the patient whose study it is.")
    reason = Text(required=False, max_length=200, help_text="Why; kept with the correction.")


CHANGES = [
    OpenApiExample(
        "Another accession number",
        value={"accession_number": "ACC12346", "reason": "mistyped at the console"},
        request_only=True,
    )
]


class CorrectionLinks(serializers.Serializer):
    undo = Text()


class CorrectionShape(serializers.Serializer):
    """One correction."""

    public_id = serializers.UUIDField()
    kind = Text(help_text="`attributes`, `patient`, `split` or `merge`.")
    changes = serializers.DictField(help_text="What is laid over.")
    reason = Text()
    by = Text()
    at = serializers.DateTimeField()
    undone_at = serializers.DateTimeField(allow_null=True)
    links = CorrectionLinks()


class RemovalShape(serializers.Serializer):
    """Something that no service shows any longer, or did not for a while."""

    public_id = serializers.UUIDField()
    study_instance_uid = Text()
    code = Text(
        help_text="`deleted`, `images` (images of it deleted), or the code of a rejection note: 113001, 113037, "
        "113038, 113039."
    )
    reason = Text()
    by = Text()
    at = serializers.DateTimeField()
    restored_at = serializers.DateTimeField(allow_null=True)
    restorable_until = serializers.DateTimeField(allow_null=True, help_text="Then the files are removed for good.")


class Removals(PageShape):
    """Deleted studies, latest first."""

    data = RemovalShape(many=True)  # type: ignore[assignment]


class StudyHistory(serializers.Serializer):
    """What was changed about a study."""

    corrections = CorrectionShape(many=True)
    removals = RemovalShape(many=True)
