from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import Study
from radiology.models import Priority, RequestedProcedure, Site
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class ReadingState(models.TextChoices):
    """How far the report is of an examination whose images are there."""

    UNREAD = "unread", _("Unread")
    DRAFTED = "drafted", _("Draft")
    PRELIMINARY = "preliminary", _("Preliminary")
    DONE = "done", _("Signed")
    GONE = "gone", _("Nothing to read")


# On the list: nobody has signed a report yet.
TO_READ = (ReadingState.UNREAD, ReadingState.DRAFTED, ReadingState.PRELIMINARY)
_OPEN = Q(state__in=[state.value for state in TO_READ])


class Region(models.TextChoices):
    """The parts of the body that radiologists share among themselves."""

    HEAD = "head", _("Head")
    NECK = "neck", _("Neck")
    CHEST = "chest", _("Chest")
    BREAST = "breast", _("Breast")
    ABDOMEN = "abdomen", _("Abdomen and pelvis")
    SPINE = "spine", _("Spine")
    LIMBS = "limbs", _("Limbs")


class ReadingQuerySet(models.QuerySet["Reading"]):
    def visible_to(self, who: Any) -> Self:
        """Those of who writes reports, of one's own site."""
        if not who.may("reports.write"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def to_read(self) -> Self:
        return self.filter(_OPEN)


class Reading(models.Model):
    """An examination to be reported: its place on the reading list, and who is at it.

    What stands here of the order, its images and its report is copied by worklist.services.reading_rows in the
    transaction that changes them; the list is answered from this row alone. A claim holds as long as `active_at`
    is young enough (`WorklistSettings.claim_minutes`).
    """

    requested_procedure_ref = models.OneToOneField(
        RequestedProcedure, models.CASCADE, verbose_name=_("requested procedure"), related_name="reading"
    )
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    study_ref = models.ForeignKey(
        Study, models.SET_NULL, verbose_name=_("study"), null=True, blank=True, related_name="readings"
    )
    modality = KeyField(_("modality"), max_length=16)
    regions = ArrayField(models.CharField(max_length=8, choices=Region), verbose_name=_("regions"), default=list)
    priority = models.CharField(_("priority"), max_length=16, choices=Priority, default=Priority.ROUTINE)
    urgency = models.PositiveSmallIntegerField(
        _("urgency"), default=2, help_text=_("By which the list is sorted first: 0 stat, 1 high, 2 everything else.")
    )
    images_complete_at = models.DateTimeField(_("images complete"), null=True, blank=True)
    due_at = models.DateTimeField(_("due"))
    state = models.CharField(_("state"), max_length=12, choices=ReadingState, default=ReadingState.UNREAD)
    draft_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("draft by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    resident = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("resident"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("Who signed it and waits for a supervisor."),
    )
    late_images = models.PositiveIntegerField(
        _("images after reading"), null=True, blank=True, help_text=_("That nobody has answered.")
    )
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("assigned to"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("claimed by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    claimed_at = models.DateTimeField(_("claimed"), null=True, blank=True)
    active_at = models.DateTimeField(_("last active"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = ReadingQuerySet.as_manager()

    class Meta:
        verbose_name = _("reading")
        verbose_name_plural = _("readings")
        constraints = [
            models.CheckConstraint(
                condition=Q(claimed_by=None) | Q(claimed_at__isnull=False, active_at__isnull=False),
                name="reading_claim_has_times",
            )
        ]
        indexes = [
            models.Index(fields=["site", "urgency", "due_at", "id"], condition=_OPEN, name="reading_list"),
            models.Index(fields=["urgency", "due_at", "id"], condition=_OPEN, name="reading_list_everywhere"),
            models.Index(
                fields=["site", "modality", "urgency", "due_at", "id"], condition=_OPEN, name="reading_by_modality"
            ),
            models.Index(
                fields=["site", "state", "urgency", "due_at", "id"],
                condition=Q(state__in=["drafted", "preliminary"]),
                name="reading_begun",
            ),
            models.Index(
                fields=["site", "urgency", "due_at", "id"],
                condition=Q(state="preliminary", resident__isnull=False),
                name="reading_to_cosign",
            ),
            models.Index(
                fields=["site", "urgency", "due_at", "id"],
                condition=Q(late_images__isnull=False),
                name="reading_late_images",
            ),
            models.Index(fields=["assigned_to"], condition=_OPEN & Q(assigned_to__isnull=False), name="reading_theirs"),
            models.Index(fields=["claimed_by"], condition=_OPEN & Q(claimed_by__isnull=False), name="reading_claimed"),
            models.Index(fields=["draft_by"], condition=_OPEN & Q(draft_by__isnull=False), name="reading_drafted"),
        ]

    def __str__(self) -> str:
        return f"{self.requested_procedure_ref_id} {self.state}"


class Turnaround(models.Model):
    """Within how many minutes of the images a report is to be signed, as the site has agreed."""

    site = models.ForeignKey(Site, models.CASCADE, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    priority = models.CharField(_("priority"), max_length=16, choices=Priority, default=Priority.ROUTINE)
    modality = KeyField(_("modality"), max_length=16, help_text=_("CT, MR, DX, US …; empty for all others."))
    minutes = models.PositiveIntegerField(
        _("minutes"),
        validators=[MinValueValidator(1), MaxValueValidator(60 * 24 * 90)],
        help_text=_("From complete images to the signed report."),
    )
    cosign_minutes = models.PositiveIntegerField(
        _("minutes to co-sign"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(60 * 24 * 90)],
        help_text=_("From a resident's signature to the supervisor's; empty: as many again."),
    )

    class Meta:
        verbose_name = _("agreed turnaround")
        verbose_name_plural = _("agreed turnarounds")
        ordering = ["site", "priority", "modality"]
        constraints = [models.UniqueConstraint(fields=["site", "priority", "modality"], name="turnaround")]

    def __str__(self) -> str:
        return " ".join(part for part in (self.get_priority_display(), self.modality) if part)


class ReadingArea(models.Model):
    """What a radiologist reads by preference: a modality, a region of the body, or one in the other."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("user"),
        related_name="reading_areas",
        db_index=False,
    )
    modality = KeyField(_("modality"), max_length=16, help_text=_("CT, MR, DX, US …; empty for every modality."))
    region = models.CharField(
        _("region"), max_length=8, choices=Region, blank=True, default="", help_text=_("Empty for the whole body.")
    )

    class Meta:
        verbose_name = _("reading area")
        verbose_name_plural = _("reading areas")
        ordering = ["user", "modality", "region"]
        constraints = [
            models.UniqueConstraint(fields=["user", "modality", "region"], name="reading_area"),
            models.CheckConstraint(condition=~Q(modality="", region=""), name="reading_area_says_something"),
        ]

    def __str__(self) -> str:
        return " ".join(part for part in (self.modality, self.get_region_display()) if part)
