"""What the reading list answers, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import PageShape, Text


class ReaderShape(serializers.Serializer):
    """Somebody who reads."""

    public_id = serializers.UUIDField()
    name = Text(help_text="As people write it.")


class ReadingLinks(serializers.Serializer):
    page = Text(help_text="Where it is read, for people.")
    study = Text(help_text="Its images; missing while there are none.", required=False)


class ReadingShape(serializers.Serializer):
    """An examination whose images are there and whose report nobody has signed."""

    procedure = serializers.UUIDField(help_text="`public_id` of the requested procedure.")
    accession_number = Text()
    study_instance_uid = Text(help_text="Empty while no images are shown.")
    patient_id = Text()
    patient_name = Text()
    description = Text()
    modality = Text()
    regions = serializers.ListField(child=Text(), help_text="Such as `chest`; empty where nothing is known.")
    priority = Text(help_text="Requested Procedure Priority (0040,1003): `STAT`, `HIGH`, `ROUTINE`, `MEDIUM`, `LOW`.")
    state = Text(help_text="`unread`, `drafted` or `preliminary`; once there is nothing to read, `done` or `gone`.")
    images = serializers.IntegerField()
    images_complete_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(help_text="The agreed turnaround ends then.")
    holder = ReaderShape(allow_null=True, help_text="Who has it: by a claim, or by a draft.")
    claimed_at = serializers.DateTimeField(allow_null=True)
    assigned_to = ReaderShape(allow_null=True)
    resident = ReaderShape(allow_null=True, help_text="Who signed it and waits for a supervisor.")
    late_images = serializers.IntegerField(allow_null=True, help_text="That came after reading.")
    links = ReadingLinks()


class ReadingListShape(PageShape):
    """What is to be read, what hurts most first."""

    data = ReadingShape(many=True)  # type: ignore[assignment]


class ClaimBody(serializers.Serializer):
    """How it is claimed."""

    take_over = serializers.BooleanField(
        required=False, help_text="Also when somebody else has it. That is written into the audit trail."
    )


CLAIM = [OpenApiExample("From somebody who is away", value={"take_over": True}, request_only=True)]
