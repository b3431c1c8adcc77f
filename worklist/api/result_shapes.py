"""What the list of results answers, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.order_shapes import OrderPatientShape
from pacs.api.shapes import PageShape, Text
from radiology.models import ResultState


class ResultLinks(serializers.Serializer):
    page = Text(help_text="The report and the images on one page, for people.")
    report = Text(help_text="The published report; missing while there is none.", required=False)
    order = Text()
    viewer = Text(help_text="The images.")


class ResultShape(serializers.Serializer):
    """What became of one examination, for the person who asks."""

    procedure = serializers.UUIDField(help_text="`public_id` of the requested procedure.")
    state = Text(help_text=", ".join(f"`{value}`" for value in ResultState.values))
    standing = Text(
        help_text="How far it is while it is awaited: `ordered`, `scheduled`, `arrived`, `in-progress`, "
        "`to-be-reported`, `on-hold`, `no-show`, `discontinued`, `called-off`; else empty."
    )
    new = serializers.BooleanField(help_text="Nobody has opened this version on this account.")
    critical = serializers.BooleanField(help_text="A critical result of it waits for an acknowledgement.")
    ordered = serializers.BooleanField(help_text="The person ordered or referred.")
    of_place = serializers.BooleanField(help_text="It is of the person's ward or clinic.")
    at = serializers.DateTimeField(help_text="When it was published; before that, when it was ordered.")
    version = serializers.IntegerField(help_text="Number of the published version; 0 while there is none.")
    impression = Text(help_text="Of the published version; empty where it has none.")
    description = Text()
    modality = Text()
    accession_number = Text()
    study_instance_uid = Text()
    patient = OrderPatientShape()
    links = ResultLinks()


class ResultListShape(PageShape):
    """Results of one's patients, newest first."""

    data = ResultShape(many=True)  # type: ignore[assignment]


class SeenBody(serializers.Serializer):
    """What was seen: named results, or all that were published until a moment."""

    results = serializers.ListField(
        child=serializers.UUIDField(), required=False, help_text="Their `procedure`, 1000 at most."
    )
    until = serializers.DateTimeField(
        required=False,
        help_text="All new ones as the list stood then. What is critical stays new, and what was published in the "
        "minute before now, unless `results` names it too.",
    )


class UnseenBody(serializers.Serializer):
    """What is to be new again."""

    mark = serializers.UUIDField(help_text="As the answer named it.")


class SeenShape(serializers.Serializer):
    """What came of it."""

    mark = serializers.UUIDField(help_text="By which it is taken back.")
    results = serializers.IntegerField(help_text="How many it concerned.")


SEEN = [OpenApiExample("All until now", value={"until": "2026-03-02T09:30:00+07:00"}, request_only=True)]
