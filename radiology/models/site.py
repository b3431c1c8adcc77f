import re

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from radiology.accession_pattern import require_pattern
from radiology.errors import InvalidValue
from radiology.models.text import KeyField


class TimeZone(models.TextChoices):
    WIB = "Asia/Jakarta", _("WIB (Jakarta, UTC+7)")
    WITA = "Asia/Makassar", _("WITA (Makassar, UTC+8)")
    WIT = "Asia/Jayapura", _("WIT (Jayapura, UTC+9)")
    UTC = "UTC", _("UTC")


class ResentDeleted(models.TextChoices):
    RESTORE = "restore", _("Restore them")
    REFUSE = "refuse", _("Refuse them")


class ReportObjects(models.TextChoices):
    """What of a published report is stored among the images."""

    BOTH = "both", _("Structured report and PDF")
    SR = "sr", _("Structured report")
    PDF = "pdf", _("PDF")
    NONE = "none", _("Nothing")


def validate_number_pattern(pattern: str) -> None:
    """One run of at least three # and nothing that means something in DICOM or is no character."""
    if len(re.findall(r"#+", pattern)) != 1 or "###" not in pattern:
        raise ValidationError(_("Write one row of at least three #, such as RM######."))
    if re.search(r"[\\*?^=]|[^ -~]", pattern):
        raise ValidationError(_("Use letters, digits and simple signs; no backslash, *, ?, ^ or =."))


# Made by the first migration; what names no site belongs to it.
DEFAULT_SITE = 1


class SiteQuerySet(models.QuerySet["Site"]):
    def default(self) -> "Site":
        """The site that owns what names no other."""
        return self.get(pk=DEFAULT_SITE)


class Site(models.Model):
    """One hospital or clinic. Every patient, order, study and user belongs to one."""

    code = KeyField(
        _("code"),
        max_length=16,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9-]+$")],
        blank=False,
        help_text=_("Short and lasting, such as “rsud”: small letters, digits and hyphens."),
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("As it stands on reports and pages."))
    time_zone = models.CharField(
        _("time zone"),
        max_length=32,
        choices=TimeZone,
        default=TimeZone.WIB,
        help_text=_("Times are shown in it, and dates of devices that name no zone are read in it."),
    )
    issuer_of_patient_id = KeyField(
        _("issuer of patient IDs"),
        max_length=64,
        help_text=_("Who hands out the medical record numbers here. Empty matches any issuer."),
    )
    accession_pattern = models.CharField(
        _("pattern of accession numbers"),
        max_length=32,
        default="{yy}{mm}{dd}{n:05}",
        help_text=_(
            "At most 16 characters when filled in. {yyyy} {yy} {mm} {dd} stand for the day, {n:05} for a number of "
            "five digits that starts again when the day beside it changes."
        ),
    )
    mrn_pattern = KeyField(
        _("numbers for new patients"),
        max_length=32,
        default="RM######",
        validators=[validate_number_pattern],
        blank=False,
        help_text=_(
            "What patients get as their number when the desk leaves it empty: # are the digits of a number that rises, "
            "{YY} and {MM} the year and month."
        ),
    )
    temporary_mrn_pattern = KeyField(
        _("numbers for unknown patients"),
        max_length=32,
        default="TMP######",
        validators=[validate_number_pattern],
        blank=False,
        help_text=_("The same for patients whose identity nobody knows yet."),
    )
    temporary_name_pattern = models.CharField(
        _("names of unknown patients"),
        max_length=60,
        default="UNKNOWN {sex} {date} {time}",
        help_text=_("{sex}, {date} and {time} are filled in when such a patient is registered."),
    )
    shows_rejected_for_quality = models.BooleanField(
        _("shows what was rejected for quality"),
        default=False,
        help_text=_("Images rejected with code 113001 stay visible, with their rejection note. All other codes hide."),
    )
    resent_deleted = models.CharField(
        _("deleted studies that are sent again"),
        max_length=8,
        choices=ResentDeleted,
        default=ResentDeleted.RESTORE,
        help_text=_("What a modality or archive sends again after somebody deleted it here."),
    )
    keeps_deleted_for = models.PositiveSmallIntegerField(
        _("keeps deleted studies for (days)"),
        default=30,
        validators=[MinValueValidator(1)],
        help_text=_("So long they can be restored; then their files are removed for good."),
    )
    report_objects = models.CharField(
        _("stores reports with the images"),
        max_length=4,
        choices=ReportObjects,
        default=ReportObjects.BOTH,
        help_text=_(
            "What a published report becomes in its study, so that viewers and other archives find it there: a "
            "DICOM structured report, an encapsulated PDF. For reports that are published from now on."
        ),
    )

    objects = SiteQuerySet.as_manager()

    class Meta:
        verbose_name = _("site")
        verbose_name_plural = _("sites")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.time_zone not in TimeZone.values:
            raise ValidationError({"time_zone": _("This time zone is not known.")})
        try:
            require_pattern(self.accession_pattern)
        except InvalidValue as error:
            raise ValidationError({"accession_pattern": error.message}) from error
