"""The webhooks' part of `/api/v1`: no trailing slashes."""

from django.urls import path

from integrations.api import webhooks

WEBHOOK = "webhooks/<uuid:webhook>"

urlpatterns = [
    path("webhooks", webhooks.Webhooks.as_view(), name="api-webhooks"),
    path(WEBHOOK, webhooks.OneWebhook.as_view(), name="api-webhook"),
    path(f"{WEBHOOK}/test", webhooks.TestWebhook.as_view(), name="api-webhook-test"),
    path(f"{WEBHOOK}/secret", webhooks.WebhookSecret.as_view(), name="api-webhook-secret"),
    path(f"{WEBHOOK}/deliveries", webhooks.Deliveries.as_view(), name="api-webhook-deliveries"),
]
