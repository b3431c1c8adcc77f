"""Findings that cannot wait: what was seen, who must know of it, and who knew what when."""

from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.order import RequestedProcedure
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.user import Role, User

LONGEST_FINDING = 500
DAY_OF_MINUTES = 24 * 60


class CriticalCategory(models.TextChoices):
    """How soon somebody who can act must know: the three levels of ACR's and RCR's policies."""

    RED = "red", _("Red: within minutes")
    ORANGE = "orange", _("Orange: within hours")
    YELLOW = "yellow", _("Yellow: within days")


# How long each waits for an acknowledgement where a site says nothing else.
USUAL_MINUTES = {CriticalCategory.RED: 15, CriticalCategory.ORANGE: 120, CriticalCategory.YELLOW: DAY_OF_MINUTES}


class CriticalState(models.TextChoices):
    OPEN = "open", _("Not acknowledged")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class AcknowledgedHow(models.TextChoices):
    READ = "read", _("read here")
    TELEPHONE = "telephone", _("by telephone")
    API = "api", _("over the API")


class CriticalEventKind(models.TextChoices):
    RAISED = "raised", _("Raised")
    NOTIFIED = "notified", _("Told")
    FAILED = "failed", _("Could not be told")
    READ = "read", _("Read")
    ESCALATED = "escalated", _("Escalated")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class CriticalChannel(models.TextChoices):
    """By what somebody was told."""

    HERE = "here", _("in Sinar")
    MAIL = "mail", _("by e-mail")
    TELEPHONE = "telephone", _("by telephone")
    API = "api", _("over the API")


class CriticalPolicy(models.Model):
    """How long results of one category may wait at a site, and who is told then."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    category = models.CharField(_("category"), max_length=8, choices=CriticalCategory)
    minutes = models.PositiveIntegerField(
        _("minutes until escalation"),
        validators=[MinValueValidator(1), MaxValueValidator(30 * DAY_OF_MINUTES)],
        help_text=_(
            "So long without an acknowledgement: the recipient is told again; then each time the people below."
        ),
    )
    roles = ArrayField(
        models.CharField(max_length=16, choices=Role),
        verbose_name=_("roles"),
        default=list,
        blank=True,
        help_text=_("Everybody of the site with one of these roles."),
    )
    people = models.ManyToManyField(User, verbose_name=_("people"), blank=True, related_name="critical_policies")
    addresses = ArrayField(
        models.EmailField(max_length=254),
        verbose_name=_("e-mail addresses"),
        default=list,
        blank=True,
        help_text=_("Of people without an account, or of a ward; separated by commas."),
    )

    class Meta:
        verbose_name = _("policy of critical results")
        verbose_name_plural = _("policies of critical results")
        ordering = ["site", "category"]
        constraints = [models.UniqueConstraint(fields=["site", "category"], name="critical_policy")]

    def __str__(self) -> str:
        return str(self.get_category_display())

    def clean(self) -> None:
        if len(self.addresses or []) > 50:
            raise ValidationError({"addresses": _("50 addresses at most.")})


class CriticalResultQuerySet(models.QuerySet["CriticalResult"]):
    def visible_to(self, who: Any) -> Self:
        """Those of one's own site; the call goes out before the report is signed, so drafts count too."""
        if not (who.may("studies.read") or who.may("reports.write")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def open(self) -> Self:
        return self.filter(state=CriticalState.OPEN)


class CriticalResult(models.Model):
    """A finding of one requested procedure that somebody must know of and say so.

    It stands with the procedure, not with a report: it is told before there is one, outlives a draft that is thrown
    away, and goes along when the order moves to another patient or the patient is merged.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    requested_procedure_ref = models.ForeignKey(
        RequestedProcedure, models.PROTECT, verbose_name=_("requested procedure"), related_name="critical_results"
    )
    finding = models.CharField(_("finding"), max_length=LONGEST_FINDING)
    category = models.CharField(_("category"), max_length=8, choices=CriticalCategory)
    raised_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("raised by"),
        null=True,
        blank=True,
        related_name="raised_critical_results",
    )
    raised_by_name = models.CharField(_("name of who raised it"), max_length=324, blank=True, default="")
    raised_at = models.DateTimeField(_("raised"), default=timezone.now)
    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("recipient"),
        null=True,
        blank=True,
        related_name="received_critical_results",
    )
    recipient_name = models.CharField(_("name of the recipient"), max_length=324, blank=True, default="")
    state = models.CharField(_("state"), max_length=12, choices=CriticalState, default=CriticalState.OPEN)
    level = models.PositiveIntegerField(_("escalations"), default=0)
    next_escalation_at = models.DateTimeField(_("next escalation"), null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("acknowledged by"),
        null=True,
        blank=True,
        related_name="acknowledged_critical_results",
        help_text=_("By telephone: who made the call."),
    )
    acknowledged_name = models.CharField(
        _("who knows"), max_length=324, blank=True, default="", help_text=_("The name of who said that they know.")
    )
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)
    acknowledged_how = models.CharField(_("how"), max_length=9, choices=AcknowledgedHow, blank=True, default="")
    read_back = models.BooleanField(_("read back"), default=False)
    withdrawn_reason = models.CharField(_("reason of the withdrawal"), max_length=200, blank=True, default="")
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = CriticalResultQuerySet.as_manager()

    class Meta:
        verbose_name = _("critical result")
        verbose_name_plural = _("critical results")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                F("requested_procedure_ref"),
                Lower("finding"),
                condition=Q(state=CriticalState.OPEN.value),
                name="critical_result_open",
            ),
            models.CheckConstraint(
                condition=~Q(state=CriticalState.ACKNOWLEDGED.value)
                | (Q(acknowledged_at__isnull=False) & ~Q(acknowledged_how="") & ~Q(acknowledged_name="")),
                name="critical_result_acknowledged",
            ),
        ]
        indexes = [
            models.Index(fields=["site", "-id"], condition=Q(state="open"), name="critical_open"),
            models.Index(fields=["recipient", "-id"], condition=Q(state="open"), name="critical_open_of_recipient"),
            models.Index(fields=["site", "-id"], name="critical_newest"),
            models.Index(fields=["site", "updated_at", "id"], name="critical_by_change"),
            models.Index(fields=["site", "raised_at"], name="critical_by_day"),
        ]

    def __str__(self) -> str:
        return str(self.public_id)

    @property
    def is_open(self) -> bool:
        return self.state == CriticalState.OPEN


class CriticalResultEvent(models.Model):
    """What happened to a critical result. Append-only: the database refuses to change or delete one."""

    critical_result = models.ForeignKey(
        CriticalResult, models.PROTECT, verbose_name=_("critical result"), related_name="events", db_index=False
    )
    kind = models.CharField(_("what"), max_length=12, choices=CriticalEventKind)
    at = models.DateTimeField(_("at"), default=timezone.now)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("user"),
        null=True,
        blank=True,
        related_name="critical_result_events",
        help_text=_("Whom it concerns: who was told, who read, who acknowledged."),
    )
    name = models.CharField(_("whom"), max_length=324, blank=True, default="")
    channel = models.CharField(_("by"), max_length=9, choices=CriticalChannel, blank=True, default="")
    level = models.PositiveIntegerField(_("escalation"), default=0)
    detail = models.CharField(_("detail"), max_length=300, blank=True, default="")
    agent = models.CharField(_("noted by"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("event of a critical result")
        verbose_name_plural = _("events of critical results")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["critical_result", "user"],
                condition=Q(kind=CriticalEventKind.READ.value),
                name="critical_event_first_read",
            )
        ]
        indexes = [models.Index(fields=["critical_result", "id"], name="critical_event_of_result")]

    def __str__(self) -> str:
        return f"{self.kind} {self.critical_result_id}"
