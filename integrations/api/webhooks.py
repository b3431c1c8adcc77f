"""Webhooks over `/api/v1`: a program subscribes to events, tries them out, and sees what was sent."""

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.permissions import BasePermission

from integrations.api import shapes
from integrations.models import Webhook, WebhookDelivery
from integrations.webhooks import services
from integrations.webhooks.deliver import send_test
from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.errors import InvalidValue, NotFound, TooManyRequests, Unreachable
from radiology.models import JobState
from radiology.services import audit
from radiology.services.rates import Buckets

NEWEST_FIRST = ["-pk"]
TESTS_A_MINUTE = 6
TESTS = Buckets(60)


class MayUseWebhooks(BasePermission):
    """Everything about webhooks needs the scope `webhooks.write`."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        return bool(who and who.is_authenticated and who.may("webhooks.write"))


class WebhookView(ApiView):
    permission_classes = [MayUseWebhooks]

    def webhook_of(self, request: Any, public_id: uuid.UUID) -> Webhook:
        found = Webhook.objects.visible_to(request.user).select_related("client").filter(public_id=public_id).first()
        if found is None:
            raise NotFound("There is no such webhook, or none that you may see.", field="webhook")
        return found


class Webhooks(WebhookView):
    """`GET` and `POST /webhooks`."""

    @operation(
        tag="Webhooks",
        summary="Webhooks",
        description="Those of this client; of a person, those of the site. Newest first.",
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.WebhooksShape},
    )
    def get(self, request: Any) -> HttpResponse:
        found = Webhook.objects.visible_to(request.user)
        page = keyset.page(found=found, size=self.limit, order=NEWEST_FIRST, place=self.place(NEWEST_FIRST))
        here = origin(request)
        links = self.neighbours(page, order=NEWEST_FIRST, address=here + request.path)
        body = {"data": [webhook_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))

    @operation(
        tag="Webhooks",
        summary="Subscribe to events",
        description="Every event is one signed POST request to `url` (Standard Webhooks), tried again until it is "
        "answered with 2xx. The `secret` of the answer is shown this once. Addresses inside the hospital must be "
        "allowed by an administrator. The links in events begin with the address that this request was sent to.",
        body=shapes.NewWebhook,
        answers={201: shapes.WebhookWithSecret},
        errors=[409],
        examples=shapes.NEW,
    )
    def post(self, request: Any) -> HttpResponse:
        given = json_body(request)
        if unknown := sorted(given.keys() - {"url", "events", "name"}):
            raise InvalidValue(f"{unknown[0][:40]} is not known here.", field="")
        url, events = text_of(given, "url", most=500), given.get("events")
        if not isinstance(events, list) or len(events) > 20 or not all(isinstance(each, str) for each in events):
            raise InvalidValue("events must be a list of names of events.", field="events")
        here = origin(request)
        webhook, secret = services.subscribe(
            who=request.user,
            name=text_of(given, "name", most=100) or _name_of(url, request.user),
            url=url,
            events=events,
            base_url=here,
            address=audit.address_of(request),
        )
        entry = {**webhook_entry(webhook, here), "secret": secret}
        return json_answer(request, entry, status=201, headers={"Location": entry["links"]["self"]})


class OneWebhook(WebhookView):
    """`GET` and `DELETE /webhooks/{webhook}`."""

    @operation(
        tag="Webhooks",
        summary="One webhook",
        path=["webhook"],
        answers={200: shapes.WebhookShape},
        errors=[404],
    )
    def get(self, request: Any, webhook: uuid.UUID) -> HttpResponse:
        return json_answer(request, webhook_entry(self.webhook_of(request, webhook), origin(request)))

    @operation(
        tag="Webhooks",
        summary="End a webhook",
        description="Nothing more is sent; what waits is called off.",
        path=["webhook"],
        answers={204: None},
        errors=[404],
    )
    def delete(self, request: Any, webhook: uuid.UUID) -> HttpResponse:
        found = self.webhook_of(request, webhook)
        services.end(webhook=found, who=request.user, address=audit.address_of(request))
        return HttpResponse(status=204)


class TestWebhook(WebhookView):
    """`POST /webhooks/{webhook}/test`."""

    @operation(
        tag="Webhooks",
        summary="Test a webhook",
        description="Sends the event `webhook.test` once, now, and tells what was answered. At most "
        f"{TESTS_A_MINUTE} a minute.",
        path=["webhook"],
        answers={200: shapes.TestShape},
        errors=[404],
    )
    def post(self, request: Any, webhook: uuid.UUID) -> HttpResponse:
        found = self.webhook_of(request, webhook)
        allowance = TESTS.take(str(found.pk), TESTS_A_MINUTE)
        if not allowance.is_granted:  # each may hold a thread of this server for as long as its target is silent
            raise TooManyRequests(
                f"A webhook is tested {TESTS_A_MINUTE} times a minute at most: go on in {allowance.wait} s.",
                retry_after=allowance.wait,
            )
        try:
            answer = send_test(found)
        except Unreachable as error:
            body: dict[str, Any] = {"taken": False, "status": None, "milliseconds": None, "answer": error.message}
        else:
            body = {
                "taken": answer.is_success,
                "status": answer.status,
                "milliseconds": answer.milliseconds,
                "answer": answer.excerpt,
            }
        return json_answer(request, body)


class WebhookSecret(WebhookView):
    """`POST /webhooks/{webhook}/secret`."""

    @operation(
        tag="Webhooks",
        summary="Give a webhook a new secret",
        description="For 24 hours the old one signs as well: each request carries both signatures.",
        path=["webhook"],
        answers={201: shapes.WebhookWithSecret},
        errors=[404],
    )
    def post(self, request: Any, webhook: uuid.UUID) -> HttpResponse:
        found = self.webhook_of(request, webhook)
        secret = services.rotate_secret(webhook=found, who=request.user, address=audit.address_of(request))
        return json_answer(request, {**webhook_entry(found, origin(request)), "secret": secret}, status=201)


class Deliveries(WebhookView):
    """`GET /webhooks/{webhook}/deliveries`."""

    @operation(
        tag="Webhooks",
        summary="What a webhook was sent",
        description="Events, newest first, for thirty days after they got through.",
        path=["webhook"],
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.DeliveriesShape},
        errors=[404],
    )
    def get(self, request: Any, webhook: uuid.UUID) -> HttpResponse:
        found = WebhookDelivery.objects.filter(webhook=self.webhook_of(request, webhook)).select_related("job")
        page = keyset.page(found=found, size=self.limit, order=NEWEST_FIRST, place=self.place(NEWEST_FIRST))
        links = self.neighbours(page, order=NEWEST_FIRST, address=origin(request) + request.path)
        body = {"data": [delivery_entry(each) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


def webhook_entry(webhook: Webhook, here: str) -> dict[str, Any]:
    key = [webhook.public_id]
    return {
        "public_id": str(webhook.public_id),
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events,
        "active": webhook.is_active,
        "failures": webhook.failures,
        "rests_until": _moment(webhook.down_until if webhook.is_down else None),
        "last_success_at": _moment(webhook.last_success_at),
        "last_error": webhook.last_error if webhook.failures else "",
        "created_at": _moment(webhook.created_at),
        "links": {
            "self": here + reverse("api-webhook", args=key),
            "test": here + reverse("api-webhook-test", args=key),
            "secret": here + reverse("api-webhook-secret", args=key),
            "deliveries": here + reverse("api-webhook-deliveries", args=key),
        },
    }


def delivery_entry(delivery: WebhookDelivery) -> dict[str, Any]:
    job = delivery.job
    return {
        "public_id": str(delivery.public_id),
        "event": delivery.event,
        "subject": delivery.subject,
        "happened_at": _moment(delivery.created_at),
        "state": job.state,
        "attempts": delivery.attempts,
        "status": delivery.status_code,
        "error": job.error,
        "next_attempt_at": _moment(job.next_attempt_at if job.state == JobState.PENDING else None),
        "delivered_at": _moment(delivery.delivered_at),
    }


def _name_of(url: str, who: Any) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return f"{who} {host} {uuid.uuid4().hex[:6]}"[:100]


def _moment(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
