"""Programs that are told what happens: where they listen, what they want to know, and what was sent."""

import ipaddress
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.secrets import decrypt
from radiology.models import ApiClient, ApiToken, Job, Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField

WIDEST = {4: 8, 6: 16}
TEST = "webhook.test"


class WebhookEvent(models.TextChoices):
    """What a webhook may be told of."""

    ORDER_PLACED = "order.placed", _("An order was placed")
    ORDER_STATUS = "order.status", _("An order, a procedure or an examination moved to another state")
    STUDY_RECEIVED = "study.received", _("The first images of a study arrived")
    STUDY_COMPLETE = "study.complete", _("A study is complete")
    REPORT_FINAL = "report.final", _("A report was signed, amended or added to")
    REPORT_WITHDRAWN = "report.withdrawn", _("A report was withdrawn: it was entered in error")
    REPORT_CRITICAL = "report.critical", _("A critical result was raised, told further, acknowledged or withdrawn")
    REPORT_HELD = "report.held", _("A report is held because its images were moved, or was released")
    REPORT_LATE_IMAGES = "report.late_images", _("Images came after their study was reported")


# What a client must be allowed to read to be told of it: one of these scopes.
SCOPES_OF = {
    WebhookEvent.ORDER_PLACED: ("studies.read", "orders.write"),
    WebhookEvent.ORDER_STATUS: ("studies.read", "orders.write"),
    WebhookEvent.STUDY_RECEIVED: ("studies.read",),
    WebhookEvent.STUDY_COMPLETE: ("studies.read",),
    WebhookEvent.REPORT_FINAL: ("studies.read", "reports.write"),
    WebhookEvent.REPORT_WITHDRAWN: ("studies.read", "reports.write"),
    WebhookEvent.REPORT_CRITICAL: ("studies.read", "reports.write"),
    WebhookEvent.REPORT_HELD: ("studies.read", "reports.write"),
    WebhookEvent.REPORT_LATE_IMAGES: ("studies.read", "reports.write"),
}


class WebhookNetwork(models.Model):
    """A network that webhooks of a site may reach although it is inside, or is spoken to without TLS."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    network = KeyField(
        _("network"),
        max_length=43,
        blank=False,
        help_text=_("Such as 10.1.2.3 or 10.1.0.0/16; no wider than /8, or /16 of IPv6."),
    )
    plain_http = models.BooleanField(
        _("without TLS too"),
        default=False,
        help_text=_("Let http:// be used as well: who listens on the way reads what is sent."),
    )
    description = models.CharField(_("description"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("network of webhooks")
        verbose_name_plural = _("networks of webhooks")
        ordering = ["network"]
        constraints = [models.UniqueConstraint(fields=["site", "network"], name="webhook_network")]

    def __str__(self) -> str:
        return self.network

    def clean(self) -> None:
        try:
            found = ipaddress.ip_network(self.network.strip(), strict=False)
        except ValueError:
            told = _("%(address)s is no address, such as 10.1.2.3 or 10.1.0.0/16.")
            raise ValidationError({"network": ValidationError(told, params={"address": self.network})}) from None
        if found.prefixlen < WIDEST[found.version]:
            raise ValidationError({"network": _("This network is too wide: /8 at most, or /16 of IPv6.")})
        self.network = str(found)


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def visible_to(self, who: Any) -> Self:
        """A program sees its own; a person with the right, those of the site."""
        if not who.may("webhooks.write"):
            return self.none()
        found = self.filter(ended_at=None)
        if isinstance(who, ApiToken):
            return found.filter(client=who.client_id)
        return found if who.sees_every_site else found.filter(site_id=who.site_id)


class Webhook(models.Model):
    """An address that is told of events. Secrets are kept encrypted; `failures` in a row decide how long it rests."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    client = models.ForeignKey(
        ApiClient,
        models.PROTECT,
        verbose_name=_("API client"),
        null=True,
        blank=True,
        related_name="webhooks",
        help_text=_("Whose it is. When the client is not active, nothing is sent. Empty: the site's own."),
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("As people here call that system."))
    url = models.CharField(_("address"), max_length=500, help_text=_("https://… that takes POST requests."))
    events = ArrayField(models.CharField(max_length=32, choices=WebhookEvent), verbose_name=_("events"))
    base_url = models.CharField(
        _("this server's address"),
        max_length=200,
        help_text=_("With which links in events begin, as that system reaches us: https://pacs.hospital.com."),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Not active: nothing new is recorded, and what waits goes on waiting.")
    )
    secret_encrypted = models.TextField(blank=True, default="", editable=False)
    old_secret_encrypted = models.TextField(blank=True, default="", editable=False)
    old_secret_until = models.DateTimeField(_("old secret valid until"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True, editable=False)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    down_until = models.DateTimeField(_("rests until"), null=True, blank=True, editable=False)
    last_success_at = models.DateTimeField(_("last success"), null=True, blank=True, editable=False)
    last_failure_at = models.DateTimeField(_("last failure"), null=True, blank=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=500, blank=True, default="", editable=False)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["site", "name"], name="webhook_name")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        require_address(self.url, "url")
        self.base_url = self.base_url.rstrip("/")
        require_address(self.base_url, "base_url")
        if not self.events:
            raise ValidationError({"events": _("Choose at least one event.")})
        if self.client is not None and self.client.site_id != self.site_id:
            raise ValidationError({"client": _("This client belongs to another site.")})

    @property
    def is_at_work(self) -> bool:
        """Whether anything may be sent: it is active, its client too, and it has a secret to sign with."""
        return self.is_active and bool(self.secret_encrypted) and (self.client is None or self.client.is_active)

    @property
    def is_down(self) -> bool:
        """Whether it is left alone for a while because it does not answer."""
        return self.down_until is not None and self.down_until > timezone.now()

    @property
    def ordering_prefix(self) -> str:
        """With which the ordering keys of its jobs begin."""
        return f"webhook:{self.pk}:"

    def secrets_at(self, now: datetime) -> list[str]:
        """The secrets that sign, the newest first. Raises OutOfResources when they cannot be read."""
        kept = [self.secret_encrypted]
        if self.old_secret_until is not None and self.old_secret_until > now:
            kept.append(self.old_secret_encrypted)
        return [decrypt(each) for each in kept if each]


def require_address(url: str, field: str) -> None:
    """Raises ValidationError unless `url` is an http(s) address without credentials or a fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
        fine = bool(parts.hostname) and parts.scheme in {"http", "https"} and port != 0
        host = (parts.hostname or "").encode("idna")
    except (ValueError, UnicodeError):
        fine, host = False, b""
    if not fine or not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValidationError(
            {field: _("This is no address: it begins with https:// or http://, in plain characters.")}
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValidationError({field: _("An address without user name, password and #.")})


class WebhookDelivery(models.Model):
    """One event for one webhook, for as long as its job is kept: what is sent, and how it went.

    `public_id` is the event's id (`webhook-id`), the same however often it is sent; `body` is sent as it stands.
    """

    public_id = models.UUIDField(_("event id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, verbose_name=_("webhook"), db_index=False)
    job = models.OneToOneField(Job, models.CASCADE, verbose_name=_("job"), related_name="webhook_delivery")
    event = KeyField(_("event"), max_length=32, blank=False)
    subject = KeyField(_("about"), max_length=80, help_text=_("An order's public id, or a study's UID."))
    body = models.TextField(_("body"))
    created_at = models.DateTimeField(_("happened"), default=timezone.now)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    last_attempt_at = models.DateTimeField(_("last attempt"), null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(_("status"), null=True, blank=True)
    response_excerpt = models.TextField(_("answer"), blank=True, default="")
    milliseconds = models.PositiveIntegerField(_("milliseconds"), null=True, blank=True)
    delivered_at = models.DateTimeField(_("delivered"), null=True, blank=True)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        indexes = [
            models.Index(F("site"), F("id").desc(), name="webhook_delivery_by_site"),
            models.Index(F("webhook"), F("id").desc(), name="webhook_delivery_newest"),
            models.Index(fields=["subject"], name="webhook_delivery_subject"),
            models.Index(F("id").desc(), condition=Q(delivered_at=None), name="webhook_undelivered"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"
