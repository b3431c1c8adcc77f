import ipaddress
from typing import cast

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField

REQUESTS_PER_MINUTE = 12_000


class Scope(models.TextChoices):
    """What a token opens."""

    STUDIES_READ = "studies.read", _("Search and retrieve studies")
    STUDIES_WRITE = "studies.write", _("Store studies")
    STUDIES_DELETE = "studies.delete", _("Delete studies")
    STUDIES_SHARE = "studies.share", _("Hand out tokens and links that open studies")
    PATIENTS_WRITE = "patients.write", _("Register and correct patients")
    PATIENTS_MERGE = "patients.merge", _("Merge patients")
    ORDERS_WRITE = "orders.write", _("Place, change and cancel orders")
    SCHEDULE_WRITE = "schedule.write", _("Schedule examinations")
    STEPS_WRITE = "steps.write", _("Report arrival, start and end of examinations")
    REPORTS_WRITE = "reports.write", _("Attach reports that were written elsewhere")
    WEBHOOKS_WRITE = "webhooks.write", _("Be told of events")
    FIGURES_READ = "figures.read", _("Read the figures of the department")


# What comes with a scope.
IMPLIED = {
    "studies.correct": Scope.STUDIES_WRITE,
    "worklist.reconcile": Scope.STUDIES_WRITE,
    "tokens.revoke": Scope.STUDIES_SHARE,
}


class ApiClient(models.Model):
    """A program that calls in: the hospital system, a viewer, a script."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE)
    is_active = models.BooleanField(_("active"), default=True)
    addresses = ArrayField(
        KeyField(max_length=43, blank=False),
        verbose_name=_("addresses"),
        blank=True,
        default=list,
        help_text=_(
            "From where its tokens work, separated by commas: 10.1.2.3, 10.1.0.0/16. Elsewhere they are refused. "
            "Empty: from anywhere."
        ),
    )
    requests_per_minute = models.PositiveIntegerField(
        _("requests a minute"),
        default=REQUESTS_PER_MINUTE,
        validators=[MinValueValidator(10)],
        help_text=_(
            "Each process of the web server lets it make so many, all at once or spread out; more are answered 429, "
            "with the seconds to wait. A viewer that fetches frames one by one makes thousands."
        ),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("API client")
        verbose_name_plural = _("API clients")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        for address in self.addresses or []:
            try:
                ipaddress.ip_network(address.strip(), strict=False)
            except ValueError:
                told = _("%(address)s is no address, such as 10.1.2.3 or 10.1.0.0/16.")
                raise ValidationError({"addresses": ValidationError(told, params={"address": address})}) from None

    def admits(self, address: str | None) -> bool:
        """Whether its tokens work from there."""
        if not self.addresses:
            return True
        try:
            caller = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        caller = getattr(caller, "ipv4_mapped", None) or caller
        return any(caller in ipaddress.ip_network(each.strip(), strict=False) for each in self.addresses)


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self) -> "ApiTokenQuerySet":
        """Neither revoked nor expired, of an active client."""
        return self.filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now()),
            revoked_at=None,
            client__is_active=True,
        )


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is kept; the text is shown once, when it is made.

    Requests that carry it act as this object: it stands where a user stands (`request.user`).
    """

    client = models.ForeignKey(ApiClient, models.CASCADE, verbose_name=_("client"), related_name="tokens")
    prefix = KeyField(_("begins with"), max_length=12, editable=False)
    token_sha256 = models.BinaryField(_("SHA-256"), max_length=32, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=32, choices=Scope), verbose_name=_("scopes"))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    is_authenticated = True
    is_anonymous = False
    is_superuser = False
    sees_every_site = False

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.client} ({self.prefix}…)"

    @property
    def site_id(self) -> int:
        return cast(int, self.client.site_id)

    def may(self, scope: str) -> bool:
        """Who may store may correct too: a hospital system puts right what it sent wrong, and for which order.

        Who may hand out may take back.
        """
        return IMPLIED.get(scope, scope) in self.scopes
