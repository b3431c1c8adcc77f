"""What happens to the images of a report after it was begun: they turn out to be another's, or more of them come."""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.order import RequestedProcedure
from radiology.models.report import Report
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField


class HoldKind(models.TextChoices):
    """Why nobody may rely on whose report it is."""

    PATIENT = "patient", _("The images were moved to another patient.")
    ORDER = "order", _("The images were linked to another order.")
    UNLINKED = "unlinked", _("The images were taken away from this order.")
    HIDDEN = "hidden", _("The images were hidden: they are of another patient than they name.")
    UNMERGED = "unmerged", _("Two patients had been merged when it was written; that merge was taken back.")


class HoldOutcome(models.TextChoices):
    RELEASED = "released", _("Released: it stands for the right patient")
    WITHDRAWN = "withdrawn", _("Withdrawn")
    MOVED = "moved", _("Moved along with the images")


class OfSite(models.QuerySet[Any]):
    def visible_to(self, who: Any) -> Self:
        """Those of one's own site, for who writes reports."""
        if not who.may("reports.write"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class WatchQuerySet(OfSite):
    def open(self) -> Self:
        return self.filter(ended_at=None)


class ReportHold(models.Model):
    """A report that is neither signed nor given out until somebody has looked whose it is."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    report_ref = models.ForeignKey(Report, models.CASCADE, verbose_name=_("report"), related_name="holds")
    kind = models.CharField(_("what happened"), max_length=8, choices=HoldKind)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    linked_to = models.ForeignKey(
        RequestedProcedure,
        models.SET_NULL,
        verbose_name=_("where the images are now"),
        null=True,
        blank=True,
        related_name="+",
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    held_at = models.DateTimeField(_("held"), default=timezone.now)
    moved_back_at = models.DateTimeField(_("images moved back"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("ended by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    outcome = models.CharField(_("outcome"), max_length=9, choices=HoldOutcome, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")

    objects = WatchQuerySet.as_manager()

    class Meta:
        verbose_name = _("held report")
        verbose_name_plural = _("held reports")
        permissions = [("release_report", _("Can release reports that are held"))]
        constraints = [
            models.UniqueConstraint(fields=["report_ref"], condition=Q(ended_at=None), name="report_hold_open")
        ]
        indexes = [
            models.Index(fields=["site", "-id"], condition=Q(ended_at=None), name="report_hold_of_site"),
            models.Index(fields=["study_instance_uid"], condition=Q(ended_at=None), name="report_hold_of_study"),
        ]

    def __str__(self) -> str:
        return f"{self.report_ref_id} {self.kind}"


class LateOutcome(models.TextChoices):
    SEEN = "seen", _("Seen, no change")
    AMENDED = "amended", _("Amended or added to")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class LateImages(models.Model):
    """Images that came after their study was reported, and whether somebody has looked at them since."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    report_ref = models.ForeignKey(Report, models.CASCADE, verbose_name=_("report"), related_name="late_images")
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    number_of_images = models.PositiveIntegerField(_("images"))
    first_at = models.DateTimeField(_("first image"))
    last_at = models.DateTimeField(_("last image"))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("signed by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    writer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("written by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField(_("noticed"), default=timezone.now)
    ended_at = models.DateTimeField(_("answered"), null=True, blank=True)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("answered by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    outcome = models.CharField(_("outcome"), max_length=9, choices=LateOutcome, blank=True, default="")

    objects = WatchQuerySet.as_manager()

    class Meta:
        verbose_name = _("images after reading")
        verbose_name_plural = _("images after reading")
        constraints = [
            models.UniqueConstraint(fields=["report_ref"], condition=Q(ended_at=None), name="late_images_open")
        ]
        indexes = [
            models.Index(fields=["site", "-id"], name="late_images_newest"),
            models.Index(fields=["author"], condition=Q(ended_at=None), name="late_images_of_author"),
            models.Index(fields=["writer"], condition=Q(ended_at=None), name="late_images_of_writer"),
        ]

    def __str__(self) -> str:
        return f"{self.report_ref_id} +{self.number_of_images}"
