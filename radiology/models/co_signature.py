"""Reports of residents: who needs a second signature, who gave it, and what became of it."""

from typing import Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.report import Report
from radiology.models.report_watch import OfSite
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.user import User


class Resident(models.Model):
    """Somebody whose reports a supervisor signs too; without this row one's own signature makes a report final."""

    user = models.OneToOneField(User, models.CASCADE, verbose_name=_("user"), related_name="resident")
    supervisors = models.ManyToManyField(
        User,
        verbose_name=_("usual supervisors"),
        blank=True,
        related_name="usual_residents",
        help_text=_("Offered first when the resident signs. Anybody else who signs reports may co-sign too."),
    )
    created_at = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("resident")
        verbose_name_plural = _("residents")
        ordering = ["user"]

    def __str__(self) -> str:
        return self.user.shown_name

    def clean(self) -> None:
        if self.user_id is not None and not self.user.may("reports.write"):
            raise ValidationError({"user": _("This person may not write reports: give them a role that does.")})


class CoSignatureState(models.TextChoices):
    WAITING = "waiting", _("To co-sign")
    COSIGNED = "cosigned", _("Co-signed")
    RETURNED = "returned", _("Sent back")
    ENDED = "ended", _("Ended")


class CoSignatureQuerySet(OfSite):
    def waiting(self) -> Self:
        return self.filter(state=CoSignatureState.WAITING)


class CoSignature(models.Model):
    """One signature of a resident, and what a supervisor made of it.

    `number` is the version that the resident signed, `final_number` the one that both did.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    report_ref = models.ForeignKey(Report, models.CASCADE, verbose_name=_("report"), related_name="co_signatures")
    number = models.PositiveIntegerField(_("the resident's version"))
    resident = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("resident"),
        null=True,
        related_name="+",
        db_index=False,
    )
    resident_name = models.CharField(_("name of the resident"), max_length=324)
    supervisor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("chosen supervisor"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("Empty: any supervisor."),
    )
    state = models.CharField(
        _("state"), max_length=8, choices=CoSignatureState, default=CoSignatureState.WAITING, editable=False
    )
    requested_at = models.DateTimeField(_("signed by the resident"), default=timezone.now)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("decided by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    decided_name = models.CharField(_("name of who decided"), max_length=324, blank=True, default="")
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    final_number = models.PositiveIntegerField(_("co-signed version"), null=True, blank=True)
    is_changed = models.BooleanField(_("changed by the supervisor"), default=False)
    comment = models.CharField(_("comment"), max_length=1000, blank=True, default="")
    seen_at = models.DateTimeField(_("seen by the resident"), null=True, blank=True)

    objects = CoSignatureQuerySet.as_manager()

    class Meta:
        verbose_name = _("co-signature")
        verbose_name_plural = _("co-signatures")
        constraints = [
            models.UniqueConstraint(
                fields=["report_ref"], condition=Q(state=CoSignatureState.WAITING.value), name="co_signature_waiting"
            )
        ]
        indexes = [
            models.Index(fields=["site", "-id"], name="co_signature_newest"),
            models.Index(
                fields=["resident", "-id"],
                condition=Q(state=CoSignatureState.RETURNED.value)
                | Q(state=CoSignatureState.COSIGNED.value, is_changed=True),
                name="co_signature_told",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.report_ref_id} {self.number} {self.state}"
