"""What patients' changes take and answer, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import IdentifierShape, PageShape, PatientShape, Text


class MergedFrom(serializers.Serializer):
    """A patient who was merged into another."""

    public_id = serializers.UUIDField()
    patient_id = Text()
    patient_name = Text()
    merged_at = serializers.DateTimeField(allow_null=True)


class PatientDetail(PatientShape):
    """A patient with contact, cautions and other numbers."""

    patient_address = Text()
    patient_telephone_numbers = Text()
    patient_mother_birth_name = Text()
    allergies = Text()
    medical_alerts = Text()
    patient_comments = Text()
    is_temporary = serializers.BooleanField(help_text="An unknown patient, until somebody finds out who it is.")
    version = serializers.IntegerField(help_text="Rises with each change.")
    identifiers = IdentifierShape(many=True)
    merged_patients = MergedFrom(many=True, help_text="Who was merged into this patient, the latest first.")
    asked_for = MergedFrom(
        allow_null=True, help_text="Where the address names a patient who was merged into this one: that patient."
    )


class PatientValues(serializers.Serializer):
    """What a patient may be given. What is not named stays; an empty text empties the field."""

    patient_name = Text(required=False, max_length=194, help_text="FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX")
    patient_id = Text(required=False, max_length=64, help_text="Empty when registering: the site's next number.")
    issuer_of_patient_id = Text(required=False, max_length=64, help_text="Without it, the site's own.")
    patient_birth_date = Text(required=False, max_length=40, help_text="YYYYMMDD, 1970-01-31 or 31/01/1970.")
    patient_sex = Text(required=False, help_text="M, F, O or empty.")
    patient_address = Text(required=False, max_length=300)
    patient_telephone_numbers = Text(required=False, max_length=100)
    patient_mother_birth_name = Text(required=False, max_length=194)
    allergies = Text(required=False, max_length=500)
    medical_alerts = Text(required=False, max_length=500)
    patient_comments = Text(required=False, max_length=2000)
    identifiers = IdentifierShape(many=True, required=False, help_text="All other numbers; replaces those there are.")
    reason = Text(required=False, max_length=200, help_text="Why; kept in the history.")


class NewPatient(PatientValues):
    """Who is to be registered."""

    unknown = serializers.BooleanField(
        required=False, help_text="Nobody knows who it is: a temporary name and number are given."
    )
    despite_duplicates = serializers.BooleanField(
        required=False, help_text="Register although somebody likely the same is here; needs a `reason`."
    )


NEW = [
    OpenApiExample(
        "A patient",
        value={
            "patient_name": "SARI^DEWI",
            "patient_birth_date": "19700131",
            "patient_sex": "F",
            "identifiers": [{"kind": "NIK", "value": "3171234567890001", "issuer": ""}],
        },
        request_only=True,
    )
]
CHANGE = [OpenApiExample("An allergy", value={"allergies": "Iodine contrast", "reason": "told at the desk"})]


class CandidateShape(serializers.Serializer):
    """Somebody who may be the same person."""

    patient = PatientShape()
    score = serializers.IntegerField()
    likely = serializers.BooleanField(help_text="Nobody is registered beside them without a reason.")
    reasons = serializers.ListField(child=Text(), help_text="What speaks for it, and `sex` against it.")


class Candidates(serializers.Serializer):
    """Who may be the same person, the likeliest first."""

    data = CandidateShape(many=True)  # type: ignore[assignment]


class PairShape(serializers.Serializer):
    """Two patients who may be one."""

    public_id = serializers.UUIDField()
    score = serializers.IntegerField()
    reasons = serializers.ListField(child=Text())
    found_at = serializers.DateTimeField()
    one = PatientShape()
    other = PatientShape()


class Pairs(PageShape):
    """Suspected duplicates, the likeliest first."""

    data = PairShape(many=True)  # type: ignore[assignment]


class MergeRequest(serializers.Serializer):
    """Who is merged into the patient of the address."""

    merged = serializers.UUIDField(help_text="`public_id` of the patient who is the same person.")
    reason = Text(required=False, max_length=200)
    dry_run = serializers.BooleanField(required=False, help_text="Only tell what would move.")


MERGE = [
    OpenApiExample(
        "What would move",
        value={"merged": "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e22", "dry_run": True},
        request_only=True,
    )
]


class MovingShape(serializers.Serializer):
    """What of one kind moves."""

    kind = Text()
    count = serializers.IntegerField()
    rows = serializers.ListField(child=Text(), help_text="The latest, in a few words.")


class MergePreview(serializers.Serializer):
    """What a merge would do."""

    survivor = PatientShape()
    merged = PatientShape()
    moving = MovingShape(many=True)
    differing = serializers.ListField(child=Text(), help_text="Fields in which the two differ.")
    warnings = serializers.ListField(child=Text())


class MergeLinks(serializers.Serializer):
    undo = Text()


class MergeShape(serializers.Serializer):
    """A merge, and what it moved."""

    public_id = serializers.UUIDField()
    survivor = PatientShape()
    merged = PatientShape()
    moved = serializers.DictField(child=serializers.IntegerField())
    reason = Text()
    by = Text()
    at = serializers.DateTimeField()
    undone_at = serializers.DateTimeField(allow_null=True)
    undone_by = Text()
    links = MergeLinks()


class VersionShape(serializers.Serializer):
    """One change of a patient."""

    version = serializers.IntegerField()
    changes = serializers.DictField(help_text="Before and after, by field.")
    reason = Text()
    by = Text()
    at = serializers.DateTimeField()


class PatientHistory(serializers.Serializer):
    """What was done to a patient, newest first."""

    versions = VersionShape(many=True)
    merges = MergeShape(many=True)
