from typing import Any, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import Removal, Study
from radiology.models import Site, User
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField
from worklist.models.step import ScheduledProcedureStep


class QualityOutcome(models.TextChoices):
    ACCEPTED = "accepted", _("Accepted")
    REJECTED = "rejected", _("Rejected")


class RejectReason(models.TextChoices):
    """Why images are made again: the categories of repeat analysis (AAPM TG 305, table 2)."""

    POSITIONING = "positioning", _("Positioning")
    CLIPPED = "clipped", _("Anatomy cut off")
    UNDEREXPOSED = "underexposed", _("Exposure too low")
    OVEREXPOSED = "overexposed", _("Exposure too high")
    MOTION = "motion", _("Motion")
    ARTEFACT = "artefact", _("Artefact")
    MARKER = "marker", _("Side marker wrong or missing")
    PROTOCOL = "protocol", _("Wrong protocol")
    EQUIPMENT = "equipment", _("Equipment failed")
    TEST = "test", _("Test image")
    OTHER = "other", _("Other")


class QualityCheckQuerySet(models.QuerySet["QualityCheck"]):
    def visible_to(self, who: Any) -> Self:
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def standing(self) -> Self:
        """Those that nobody took back."""
        return self.filter(undone_at=None)


class QualityCheck(models.Model):
    """What a radiographer said of images: accepted, or rejected and why. Rejected ones are hidden by `removal`."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    study_ref = models.ForeignKey(Study, models.CASCADE, verbose_name=_("study"), related_name="quality_checks")
    step = models.ForeignKey(
        ScheduledProcedureStep, models.SET_NULL, verbose_name=_("examination"), null=True, related_name="quality_checks"
    )
    outcome = models.CharField(_("outcome"), max_length=8, choices=QualityOutcome)
    reason = models.CharField(_("reason"), max_length=16, choices=RejectReason, blank=True, default="")
    comment = models.CharField(_("comment"), max_length=200, blank=True, default="")
    images = models.PositiveIntegerField(_("images"), default=0)
    modality = KeyField(_("modality"), max_length=16)
    source_ae_title = KeyField(_("device"), max_length=16)
    removal = models.OneToOneField(
        Removal, models.SET_NULL, verbose_name=_("removal"), null=True, blank=True, related_name="quality_check"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("user"), null=True)
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("taken back"), null=True, blank=True)

    objects = QualityCheckQuerySet.as_manager()

    class Meta:
        verbose_name = _("quality check")
        verbose_name_plural = _("quality checks")
        indexes = [models.Index(fields=["site", "-at"], name="quality_check_by_time")]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {self.at:%Y-%m-%d %H:%M}"


class BoardPreference(models.Model):
    """How somebody last looked at the board; it opens like that again."""

    user = models.OneToOneField(User, models.CASCADE, verbose_name=_("user"), related_name="board_preference")
    query = models.CharField(_("filter"), max_length=500, blank=True, default="")

    class Meta:
        verbose_name = _("filter of the board")
        verbose_name_plural = _("filters of the board")

    def __str__(self) -> str:
        return self.query
