"""What the webhooks' part of the API takes and answers, described for the documentation."""

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from integrations.models import WebhookEvent
from pacs.api.shapes import PageShape, Text
from radiology.models import JobState


class NewWebhook(serializers.Serializer):
    """Where to send what."""

    url = Text(help_text="https://… that takes POST requests.")
    events = serializers.ListField(child=serializers.ChoiceField(WebhookEvent.choices), help_text="At least one.")
    name = Text(required=False, help_text="For people, unique in the site; by default the host of `url`.")


class WebhookLinks(serializers.Serializer):
    self = Text()
    test = Text(help_text="POST: send a test now.")
    secret = Text(help_text="POST: a new secret.")
    deliveries = Text()


class WebhookShape(serializers.Serializer):
    """A webhook, and how it goes with it."""

    public_id = serializers.UUIDField()
    name = Text()
    url = Text()
    events = serializers.ListField(child=Text())
    active = serializers.BooleanField()
    failures = serializers.IntegerField(help_text="In a row, until now.")
    rests_until = serializers.DateTimeField(allow_null=True, help_text="It did not answer; tried again then.")
    last_success_at = serializers.DateTimeField(allow_null=True)
    last_error = Text()
    created_at = serializers.DateTimeField()
    links = WebhookLinks()


class WebhookWithSecret(WebhookShape):
    """The same with its secret, which is shown this once."""

    secret = Text(help_text="`whsec_…`: with it the receiver checks signatures.")


class WebhooksShape(PageShape):
    """Webhooks, newest first."""

    data = WebhookShape(many=True)  # type: ignore[assignment]


class TestShape(serializers.Serializer):
    """What came of a test."""

    taken = serializers.BooleanField(help_text="Whether it was answered with 2xx.")
    status = serializers.IntegerField(allow_null=True, help_text="The answer's status; null when there was no answer.")
    milliseconds = serializers.IntegerField(allow_null=True)
    answer = Text(help_text="The beginning of the answer, or why there is none.")


class DeliveryShape(serializers.Serializer):
    """One event, and how it goes with it."""

    public_id = serializers.UUIDField(help_text="The event's id: `webhook-id`.")
    event = Text()
    subject = Text(help_text="An order's `public_id`, or a Study Instance UID.")
    happened_at = serializers.DateTimeField()
    state = Text(help_text=f"One of {', '.join(JobState.values)}.")
    attempts = serializers.IntegerField()
    status = serializers.IntegerField(allow_null=True, help_text="Of the last answer.")
    error = Text()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)


class DeliveriesShape(PageShape):
    """Deliveries, newest first."""

    data = DeliveryShape(many=True)  # type: ignore[assignment]


NEW = [
    OpenApiExample(
        "a hospital system",
        value={"url": "https://simrs.hospital.com/webhooks/sinar", "events": ["order.status", "study.complete"]},
        request_only=True,
    )
]
