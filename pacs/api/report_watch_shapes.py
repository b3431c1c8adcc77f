"""What the API tells of a report beside its text, described for its documentation."""

from rest_framework import serializers

from radiology.models import CoSignatureState, HoldKind

Text = serializers.CharField


class HeldShape(serializers.Serializer):
    """Why a report is neither signed nor given out."""

    kind = Text(help_text=", ".join(f"`{value}`" for value in HoldKind.values))
    at = serializers.DateTimeField()
    moved_back_at = serializers.DateTimeField(allow_null=True, help_text="When its images came back, if they did.")
    linked_to = serializers.UUIDField(
        allow_null=True, help_text="The requested procedure that its images are linked to now."
    )


class LateImagesShape(serializers.Serializer):
    """Images that came after reading and that nobody has answered."""

    images = serializers.IntegerField()
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()


class CoSignatureShape(serializers.Serializer):
    """The last signature of a resident, and what a supervisor made of it."""

    state = Text(help_text=", ".join(f"`{value}`" for value in CoSignatureState.values))
    number = serializers.IntegerField(help_text="The version that the resident signed.")
    resident_name = Text(help_text="FAMILY^GIVEN")
    supervisor = serializers.UUIDField(allow_null=True, help_text="Who was asked; null: any supervisor.")
    requested_at = serializers.DateTimeField()
    decided_name = Text(help_text="FAMILY^GIVEN of who co-signed it or sent it back.")
    decided_at = serializers.DateTimeField(allow_null=True)
    final_number = serializers.IntegerField(allow_null=True, help_text="The version that both signed.")
    changed = serializers.BooleanField(help_text="Whether the supervisor changed the text.")
    comment = Text(help_text="Why it was sent back.")


class RunShape(serializers.Serializer):
    kind = Text(help_text="`same`, `removed` or `added`.")
    text = Text()


class SectionDifferenceShape(serializers.Serializer):
    section = Text()
    runs = RunShape(many=True)


class DifferenceAddendum(serializers.Serializer):
    """An addendum that the later version has more."""

    text = Text()
    by = Text(help_text="FAMILY^GIVEN")
    at = serializers.DateTimeField()


class DifferenceShape(serializers.Serializer):
    """What a later version says otherwise than an earlier one, word by word."""

    locals()["from"] = serializers.IntegerField(help_text="Number of the earlier version.")
    to = serializers.IntegerField(help_text="Number of the later version.")
    words_added = serializers.IntegerField()
    words_removed = serializers.IntegerField()
    sections = SectionDifferenceShape(many=True)
    addenda = DifferenceAddendum(many=True)


class Return(serializers.Serializer):
    """What the resident should change."""

    comment = Text(help_text="At most 1,000 characters.")


class HoldDecision(serializers.Serializer):
    """Why the report stands for the right patient; a person says the password again."""

    reason = Text()
    password = Text()
