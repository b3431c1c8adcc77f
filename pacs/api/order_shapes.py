"""The answers of the API about orders described for its documentation; tests hold every answer against them."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import PageShape
from radiology.models import Answer, Laterality, OrderStatus, PregnancyStatus, Priority, ProcedureStatus

Text = serializers.CharField


def _values(choices: object) -> str:
    return ", ".join(f"`{value}`" for value in choices.values if value)  # type: ignore[attr-defined]


class CodeShape(serializers.Serializer):
    """A code of another scheme."""

    coding_scheme_designator = Text(help_text="LN (LOINC), SCT (SNOMED CT), KPTL …")
    code_value = Text()
    code_meaning = Text()


class ProcedureShape(serializers.Serializer):
    """What can be ordered."""

    public_id = serializers.UUIDField()
    code = Text(help_text="By which it is ordered.")
    name = Text()
    modality = Text()
    body_part_examined = Text()
    asks_laterality = serializers.BooleanField(help_text="An order must say which side.")
    duration = serializers.IntegerField(help_text="Minutes.")
    contrast = Text(help_text="`none`, `optional` or `required`. With contrast, an order answers about allergies.")
    is_ionising = serializers.BooleanField(help_text="An order for who can be pregnant must answer about it.")
    preparation = Text()
    price_code = Text()
    codes = CodeShape(many=True)


class ProcedureList(serializers.Serializer):
    """Entries of the catalogue, by name; 20 at most."""

    data = ProcedureShape(many=True)  # type: ignore[assignment]


class OrderPatientShape(serializers.Serializer):
    """Whose order it is."""

    public_id = serializers.UUIDField()
    patient_id = Text()
    issuer_of_patient_id = Text()
    patient_name = Text()
    patient_birth_date = Text(help_text="YYYYMMDD")
    patient_sex = Text()


class RequestedProcedureShape(serializers.Serializer):
    """One procedure of an order; its images are a study with `study_instance_uid`."""

    public_id = serializers.UUIDField()
    requested_procedure_id = Text()
    code = Text()
    coding_scheme = Text()
    description = Text()
    modality = Text()
    body_part_examined = Text()
    laterality = Text(help_text=_values(Laterality) + " or empty.")
    duration = serializers.IntegerField()
    status = Text(help_text=_values(ProcedureStatus))
    comments = Text()
    study_instance_uid = Text()


class OrderLinks(serializers.Serializer):
    self = Text()
    history = Text()
    attachments = Text()
    page = Text(help_text="The order's page, for people.")
    slip = Text(help_text="To be printed for the patient.")


class OrderValues(serializers.Serializer):
    """What is said about an order. All of it may be left out; a text that is empty takes a value away."""

    priority = Text(required=False, help_text=_values(Priority))
    reason_for_the_requested_procedure = Text(required=False, help_text="The clinical question.")
    clinical_history = Text(required=False)
    referring_physician_name = Text(required=False, help_text="FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX")
    referring_physician_identifier = Text(
        required=False, help_text="As the hospital knows them; results go to the user who has this number."
    )
    requesting_physician = Text(required=False)
    requesting_physician_identifier = Text(required=False, help_text="The same of the requesting physician.")
    requesting_service = Text(required=False, help_text="Ward or clinic that asks.")
    current_patient_location = Text(required=False)
    admission_id = Text(required=False)
    patient_transport_arrangements = Text(required=False)
    requested_start = serializers.DateTimeField(required=False, allow_null=True, help_text="When it is wanted.")
    pregnancy_status = Text(required=False, help_text=_values(PregnancyStatus) + " as in DICOM (0010,21C0).")
    last_menstrual_date = serializers.DateField(required=False, allow_null=True)
    patient_weight = Text(required=False, allow_null=True, help_text="Kilograms.")
    patient_size = Text(required=False, allow_null=True, help_text="Metres.")
    contrast_allergy = Text(required=False, help_text=_values(Answer))
    contrast_allergies = Text(required=False, help_text="To which medium, and what happened.")
    egfr = Text(required=False, allow_null=True, help_text="ml/min/1.73 m².")
    egfr_date = serializers.DateField(required=False, allow_null=True)
    takes_metformin = Text(required=False, help_text=_values(Answer))
    special_needs = Text(required=False)
    patient_state = Text(required=False, help_text="Dangers for staff, such as isolation.")


class OrderShape(OrderValues):
    """An order with its procedures."""

    public_id = serializers.UUIDField(help_text="Names the order in addresses.")
    accession_number = Text()
    issuer_of_accession_number = Text()
    placer_order_number = Text()
    filler_order_number = Text()
    status = Text(help_text=_values(OrderStatus))
    status_reason = Text()
    origin = Text()
    client_key = Text()
    version = serializers.IntegerField(help_text="Rises with each change.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    patient = OrderPatientShape()
    procedures = RequestedProcedureShape(many=True)
    links = OrderLinks()


class OrderList(PageShape):
    """Orders, newest first."""

    data = OrderShape(many=True)  # type: ignore[assignment]


class OrderPatient(serializers.Serializer):
    """The patient: by `public_id`, or by number, also one that was merged away: the order is the survivor's then.

    Who is not known yet is registered with name, birth date and sex.
    """

    public_id = serializers.UUIDField(required=False)
    patient_id = Text(required=False)
    issuer_of_patient_id = Text(required=False)
    patient_name = Text(required=False)
    patient_birth_date = Text(required=False)
    patient_sex = Text(required=False)
    despite_duplicates = serializers.BooleanField(
        required=False, help_text="Register the patient though somebody here is likely the same person."
    )
    reason = Text(required=False, help_text="Why it is another person.")


class OrderedProcedure(serializers.Serializer):
    """What is wanted: a code of the catalogue, or of another `scheme`; others need `description` and `modality`."""

    code = Text(required=False)
    scheme = Text(required=False, help_text="Empty: the site's own; else LN, SCT, KPTL …")
    description = Text(required=False)
    modality = Text(required=False)
    body_part_examined = Text(required=False)
    laterality = Text(required=False)
    comments = Text(required=False)
    requested_procedure_id = Text(required=False)
    study_instance_uid = Text(required=False, help_text="Where the hospital system gives it out itself.")


class NewOrder(OrderValues):
    """A new order."""

    patient = OrderPatient()
    procedures = OrderedProcedure(many=True)
    accession_number = Text(required=False, help_text="Empty: the next number is given.")
    issuer_of_accession_number = Text(required=False)
    placer_order_number = Text(required=False, help_text="The hospital system's own number.")
    filler_order_number = Text(required=False)
    client_key = Text(required=False, help_text="The same key makes one order; the header Idempotency-Key likewise.")
    accept_warnings = serializers.BooleanField(required=False, help_text="Order in spite of `warnings`.")


class OrderChanges(OrderValues):
    """What becomes different about an order."""

    reason = Text(required=False, help_text="Why; it is kept.")
    accept_warnings = serializers.BooleanField(required=False)


class MoreProcedures(serializers.Serializer):
    """What is wanted too."""

    procedures = OrderedProcedure(many=True)
    reason = Text(required=False, help_text="Why; it is kept.")
    accept_warnings = serializers.BooleanField(required=False, help_text="Order in spite of `warnings`.")


class ProcedureReason(serializers.Serializer):
    """Why; it is kept."""

    reason = Text()


class OrderReason(serializers.Serializer):
    """Why; required to cancel, discontinue and hold."""

    reason = Text(required=False)


class OrderVersionShape(serializers.Serializer):
    """One change."""

    version = serializers.IntegerField()
    at = serializers.DateTimeField()
    by = Text()
    reason = Text()
    changes = serializers.DictField(help_text="By field: what it was and what it became.")


class OrderHistory(serializers.Serializer):
    """The latest 100 changes, newest first."""

    data = OrderVersionShape(many=True)  # type: ignore[assignment]


class AttachmentShape(serializers.Serializer):
    """A paper of the order."""

    public_id = serializers.UUIDField()
    name = Text()
    content_type = Text()
    bytes = serializers.IntegerField()
    sha256 = Text()
    added_at = serializers.DateTimeField()
    links = serializers.DictField()


class Attachments(serializers.Serializer):
    """The papers of an order."""

    data = AttachmentShape(many=True)  # type: ignore[assignment]


NEW = [
    OpenApiExample(
        "A chest X-ray",
        value={
            "patient": {"patient_id": "001234"},
            "procedures": [{"code": "DXTHXPA"}],
            "priority": "ROUTINE",
            "reason_for_the_requested_procedure": "Batuk 3 minggu",
            "placer_order_number": "RM-2024-0815",
        },
        request_only=True,
    )
]
CHANGED = [
    OpenApiExample("Moved", value={"current_patient_location": "ICU 3", "reason": "dipindah"}, request_only=True)
]
MORE = [
    OpenApiExample("One more", value={"procedures": [{"code": "CTTHX"}], "reason": "curiga massa"}, request_only=True)
]
WHY = [OpenApiExample("Why", value={"reason": "pasien pulang"}, request_only=True)]
