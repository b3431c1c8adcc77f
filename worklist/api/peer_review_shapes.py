"""What peer review answers, described for the documentation. Nothing in it says whose report it is."""

from rest_framework import serializers

from pacs.api.shapes import PageShape, Text
from worklist.api.figures_shapes import FiguresTable

SCORES = "RADPEER of 2016: `1`, `2a`, `2b`, `3a` or `3b`."


class ReviewShape(serializers.Serializer):
    """A report to be looked at again by the caller."""

    review = serializers.UUIDField(help_text="`public_id`.")
    state = Text(help_text="`waiting` or `scored`.")
    modality = Text()
    description = Text(help_text="Of the requested procedure.")
    signed_on = serializers.DateField()
    score = Text(help_text=f"{SCORES} Empty until it is scored.")
    scored_at = serializers.DateTimeField(allow_null=True)


class ReviewListShape(PageShape):
    """The caller's own reviews, the oldest first."""

    data = ReviewShape(many=True)  # type: ignore[assignment]


class OtherScore(serializers.Serializer):
    score = Text(help_text=SCORES)
    comment = Text()


class ReviewReportShape(ReviewShape):
    """The same with the report as it was signed, the names of who wrote it covered."""

    sections = serializers.DictField(child=Text(), help_text="The text of each section, by its name.")
    comment = Text(help_text="The caller's own.")
    study_instance_uid = Text(help_text="Empty when the images are not here any more.")
    series_instance_uids = serializers.ListField(child=Text(), help_text="Of images: not what was made of reports.")
    others = OtherScore(many=True, help_text="Without names; empty until the caller has scored.")


class ScoreBody(serializers.Serializer):
    """How far the caller agrees."""

    score = serializers.ChoiceField(choices=["1", "2a", "2b", "3a", "3b"], help_text=SCORES)
    comment = Text(required=False, help_text="Needed for all but `1`; at most 1000 characters.")


class DeclineBody(serializers.Serializer):
    """Why somebody else should review it."""

    reason = Text(help_text="At most 200 characters.")


class DeclinedShape(serializers.Serializer):
    reassigned = serializers.BooleanField(help_text="Whether somebody else was found to review it.")


class ReviewFiguresShape(serializers.Serializer):
    """Scores of the samples of some months."""

    first = serializers.DateField(help_text="First day of the first month.")
    last = serializers.DateField(help_text="First day of the last month.")
    tables = FiguresTable(many=True)
