"""The answers and bodies of the schedule's API described for its documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.shapes import PageShape, Text
from worklist.models import StepStatus


class SelfLink(serializers.Serializer):
    self = Text()


class OpeningHoursShape(serializers.Serializer):
    """When a room takes patients, by the site's clock."""

    weekday = serializers.IntegerField(help_text="0 is Monday, 6 Sunday.")
    opens = Text(help_text="HH:MM")
    closes = Text(help_text="HH:MM; not later than `opens`: on the following day.")


class RoomShape(serializers.Serializer):
    """A room."""

    public_id = serializers.UUIDField()
    code = Text(help_text="Names the room in filters and bodies.")
    name = Text()
    location = Text()
    slot_minutes = serializers.IntegerField(help_text="Free times are offered in this step.")
    is_active = serializers.BooleanField()
    modalities = serializers.ListField(child=Text(), help_text="Of its devices in use.")
    opening_hours = OpeningHoursShape(many=True, help_text="None: always open.")
    links = SelfLink()


class RoomsShape(PageShape):
    """Rooms, in the order of the calendar's columns."""

    data = RoomShape(many=True)  # type: ignore[assignment]


class DeviceLinks(SelfLink):
    room = Text()


class DeviceShape(serializers.Serializer):
    """A modality in a room."""

    public_id = serializers.UUIDField()
    name = Text()
    modality = Text()
    station_ae_title = Text(help_text="Names the device in bodies.")
    station_name = Text()
    room = Text(help_text="The room's code.")
    sends_mpps = serializers.BooleanField()
    is_active = serializers.BooleanField()
    links = DeviceLinks()


class DevicesShape(PageShape):
    """Devices, by AE title."""

    data = DeviceShape(many=True)  # type: ignore[assignment]


class SlotShape(serializers.Serializer):
    """A free time in a room."""

    room = Text(help_text="The room's code.")
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class SlotsShape(serializers.Serializer):
    """Free times, the first ones first."""

    data = SlotShape(many=True)  # type: ignore[assignment]


class ProtocolShape(serializers.Serializer):
    code_value = Text()
    coding_scheme_designator = Text()
    code_meaning = Text()


class StepPatient(serializers.Serializer):
    public_id = serializers.UUIDField()
    patient_id = Text()
    issuer_of_patient_id = Text()
    patient_name = Text()
    patient_birth_date = Text()
    patient_sex = Text()


class StepLinks(SelfLink):
    patient = Text()


class StepShape(serializers.Serializer):
    """A scheduled procedure step: one examination."""

    public_id = serializers.UUIDField()
    scheduled_procedure_step_id = Text()
    scheduled_procedure_step_description = Text()
    scheduled_protocol_codes = ProtocolShape(many=True)
    modality = Text()
    room = Text(allow_null=True, help_text="The room's code; null: not on the calendar yet.")
    device = Text(allow_null=True, help_text="AE title of the device; null: any of the room.")
    scheduled_station_ae_titles = serializers.ListField(child=Text())
    scheduled_start = serializers.DateTimeField(allow_null=True)
    scheduled_end = serializers.DateTimeField(allow_null=True)
    status = serializers.ChoiceField(choices=StepStatus.values)
    status_reason = Text()
    arrived_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    is_inferred = serializers.BooleanField(help_text="Its status follows from images, since no MPPS came.")
    requested_procedure_id = Text()
    study_instance_uid = Text()
    accession_number = Text()
    priority = Text()
    patient = StepPatient()
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField(help_text="Rises with each change.")
    links = StepLinks()


class StepsShape(PageShape):
    """Scheduled procedure steps."""

    data = StepShape(many=True)  # type: ignore[assignment]


class Placing(serializers.Serializer):
    """Where the step is to be on the calendar. What is not named stays; `start` and `room` null take it off."""

    start = serializers.DateTimeField(required=False, allow_null=True, help_text="With its offset.")
    room = Text(required=False, allow_null=True, help_text="The room's code.")
    device = Text(required=False, allow_null=True, help_text="AE title; null: any device of the room.")
    duration = serializers.IntegerField(required=False, help_text="Minutes.")
    anyway = serializers.BooleanField(
        required=False, help_text="Also while the room is closed; needs a reason and the right `schedule.anyway`."
    )
    reason = Text(required=False, max_length=200, help_text="Why; kept in the order's history.")


class Moving(serializers.Serializer):
    """When and why."""

    at = serializers.DateTimeField(required=False, help_text="When it happened, with its offset; by default now.")
    reason = Text(required=False, max_length=200)


PLACING = [
    OpenApiExample(
        "Another time",
        value={"start": "2026-03-02T09:30:00+07:00", "room": "CT1", "reason": "patient asked"},
        request_only=True,
    )
]
