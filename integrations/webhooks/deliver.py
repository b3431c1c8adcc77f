"""Delivering events: each is a job, tried until it gets through or a person must decide."""

from datetime import timedelta

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from integrations.models import Webhook, WebhookDelivery
from integrations.models.webhook import TEST
from integrations.webhooks import circuit
from integrations.webhooks.addresses import Allowed
from integrations.webhooks.events import KIND, body_of
from integrations.webhooks.sending import Answer, post
from integrations.webhooks.signing import headers_of
from radiology.errors import RadiologyError, Unreachable
from radiology.models import Job
from radiology.models.keys import uuid7
from radiology.services.jobs import handles

USER_AGENT = "Sinar-Webhooks/1"
# The target is not well (RFC 9110, RFC 6585), whatever it is told.
NOT_WELL = {408, 425, 429}
# An event that is refused so often is refused for itself.
MOST_REFUSED = 20


@handles(KIND)
def deliver(job: Job) -> None:
    """Send the event of this job. Raises Unreachable to be tried again, RadiologyError when a person must look."""
    found = WebhookDelivery.objects.select_related("webhook__client").filter(job=job.pk).first()
    if found is None:
        raise RadiologyError("There is no such delivery.")
    if found.delivered_at is not None:
        return  # it got through, and the worker ended before it could say so
    webhook = found.webhook
    if webhook.ended_at is not None:
        raise RadiologyError("The webhook was ended.")
    circuit.begin(webhook)
    mine = WebhookDelivery.objects.filter(pk=found.pk)
    mine.update(attempts=F("attempts") + 1, last_attempt_at=timezone.now())
    try:
        answer = send(webhook, event_id=str(found.public_id), body=found.body)
    except Unreachable as error:
        mine.update(status_code=None, response_excerpt="", milliseconds=None)
        circuit.failed(webhook, error=error.message, is_silent=True)
        raise
    told = {
        "status_code": answer.status,
        "response_excerpt": answer.excerpt,
        "milliseconds": answer.milliseconds,
    }
    if answer.is_success:
        mine.update(**told, delivered_at=timezone.now())
        circuit.succeeded(webhook, took=timedelta(milliseconds=answer.milliseconds))
        return
    mine.update(**told)
    refused = _("It answered %(status)d.") % {"status": answer.status}
    if answer.status >= 500 or answer.status in NOT_WELL:
        circuit.failed(webhook, error=refused, is_silent=False, asked=answer.retry_after)
    elif found.attempts + 1 >= MOST_REFUSED:
        raise RadiologyError(refused)
    else:
        circuit.refused(webhook, error=refused)
    raise Unreachable(refused)


def send(webhook: Webhook, *, event_id: str, body: str) -> Answer:
    """One attempt, signed now. Raises Unreachable when there is no answer, RadiologyError without a secret."""
    now, raw = timezone.now(), body.encode()
    secrets = webhook.secrets_at(now)
    if not secrets:
        raise RadiologyError(_("This webhook has no secret yet: give it one."))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        **headers_of(event_id=event_id, timestamp=int(now.timestamp()), body=raw, secrets=secrets),
    }
    return post(url=webhook.url, body=raw, headers=headers, allowed=Allowed.at(webhook.site_id))


def send_test(webhook: Webhook) -> Answer:
    """Send an event that means nothing, once, now. Raises Unreachable."""
    data = {"webhook": str(webhook.public_id), "message": "A test: nothing happened."}
    body = body_of(event=TEST, at=timezone.now(), data=data, links={}, base_url=webhook.base_url)
    return send(webhook, event_id=str(uuid7()), body=body)
