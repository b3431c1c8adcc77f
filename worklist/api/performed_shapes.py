"""Answers about performed steps, described for the API's documentation."""

from rest_framework import serializers

from pacs.api.shapes import PageShape, Text
from worklist.models import PerformedStatus, PerformedWarning, StepStatus


class CodeShape(serializers.Serializer):
    """A coded concept (PS3.3 8.8)."""

    code_value = Text()
    coding_scheme_designator = Text()
    code_meaning = Text()


class WarningShape(serializers.Serializer):
    """Something that somebody should look at."""

    code = serializers.ChoiceField(choices=PerformedWarning.values)
    text = Text()


class ReferenceShape(serializers.Serializer):
    """What it answers: an item of Scheduled Step Attributes Sequence, and the scheduled step if it is known here."""

    study_instance_uid = Text()
    accession_number = Text()
    requested_procedure_id = Text()
    scheduled_procedure_step_id = Text()
    scheduled_step = serializers.UUIDField(allow_null=True, help_text="`public_id` of the scheduled step.")
    scheduled_step_status = serializers.ChoiceField(choices=StepStatus.values, allow_null=True)
    scheduled_step_is_inferred = serializers.BooleanField(allow_null=True)


class PerformedSeriesShape(serializers.Serializer):
    """A series that it made."""

    series_instance_uid = Text()
    series_description = Text()
    protocol_name = Text()
    performing_physician_name = Text()
    operators_name = Text()
    number_of_instances = serializers.IntegerField()


class ExposureShape(serializers.Serializer):
    """One exposure."""

    radiation_mode = Text()
    kvp = serializers.FloatField(allow_null=True, help_text="kV")
    x_ray_tube_current = serializers.FloatField(allow_null=True, help_text="mA")
    exposure_time = serializers.FloatField(allow_null=True, help_text="ms")
    exposure = serializers.FloatField(allow_null=True, help_text="mAs")
    filter_type = Text()
    filter_material = Text()
    comments = Text()


class DoseShape(serializers.Serializer):
    """Radiation dose as the device reported it; null where it said nothing."""

    anatomic_structure = Text()
    total_number_of_exposures = serializers.IntegerField(allow_null=True)
    total_time_of_fluoroscopy = serializers.FloatField(allow_null=True, help_text="seconds")
    image_and_fluoroscopy_area_dose_product = serializers.FloatField(allow_null=True, help_text="dGy·cm²")
    entrance_dose = serializers.FloatField(allow_null=True, help_text="dGy")
    entrance_dose_in_mgy = serializers.FloatField(allow_null=True, help_text="mGy")
    exposed_area = serializers.ListField(child=serializers.FloatField(), help_text="mm")
    distance_source_to_detector = serializers.FloatField(allow_null=True, help_text="mm")
    distance_source_to_entrance = serializers.FloatField(allow_null=True, help_text="mm")
    comments_on_radiation_dose = Text()
    exposures = ExposureShape(many=True)


class PerformedLinks(serializers.Serializer):
    self = Text()
    patient = Text(required=False)


class PerformedShape(serializers.Serializer):
    """A performed procedure step."""

    sop_instance_uid = Text()
    performed_procedure_step_id = Text()
    performed_procedure_step_status = serializers.ChoiceField(choices=PerformedStatus.values)
    performed_procedure_step_description = Text()
    modality = Text()
    performed_station_ae_title = Text()
    performed_station_name = Text()
    study_instance_uid = Text()
    started_at = serializers.DateTimeField(allow_null=True, help_text="By the device's clock.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="By the device's clock.")
    received_at = serializers.DateTimeField(help_text="When its beginning was reported, by this server's clock.")
    closed_at = serializers.DateTimeField(allow_null=True, help_text="When its end was reported.")
    discontinuation_reason = CodeShape(allow_null=True)
    is_unscheduled = serializers.BooleanField(help_text="It answers no order that was known here.")
    is_wrong_entry = serializers.BooleanField(help_text="The device had chosen the wrong entry of its worklist.")
    warnings = WarningShape(many=True)
    patient = serializers.UUIDField(allow_null=True, help_text="`public_id` of the patient.")
    references = ReferenceShape(many=True)
    series = PerformedSeriesShape(many=True)
    dose = DoseShape(allow_null=True)
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField(help_text="Rises with each report.")
    links = PerformedLinks()


class PerformedStepsShape(PageShape):
    """Performed procedure steps."""

    data = PerformedShape(many=True)  # type: ignore[assignment]
