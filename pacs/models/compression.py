"""Rules by which stored images are compressed without loss, and what was done to which object."""

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.storage import Location
from radiology.dicom import is_uid
from radiology.models import Site
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class NativeSyntax(models.TextChoices):
    """What is compressed: the transfer syntaxes that nearly every device sends its images in."""

    IMPLICIT = "1.2.840.10008.1.2", "Implicit VR Little Endian"
    EXPLICIT = "1.2.840.10008.1.2.1", "Explicit VR Little Endian"


class LosslessSyntax(models.TextChoices):
    """What images are compressed to, as PS3.6 A names it."""

    JPEG_LS = "1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"
    JPEG_2000 = "1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless"
    HTJ2K = "1.2.840.10008.1.2.4.201", "HTJ2K Lossless"
    RLE = "1.2.840.10008.1.2.5", "RLE Lossless"


class CompressionRuleQuerySet(models.QuerySet["CompressionRule"]):
    def active(self) -> Self:
        return self.filter(is_active=True).order_by("id")


class CompressionRule(models.Model):
    """Which images of a site are compressed, when, and how. Of several that fit, the first one made acts.

    `reached` is the last location that it has looked at: each is looked at once.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    name = models.CharField(_("name"), max_length=100)
    is_active = models.BooleanField(_("active"), default=False)
    modalities = ArrayField(
        KeyField(max_length=16, blank=False),
        verbose_name=_("modalities"),
        default=list,
        blank=True,
        help_text=_("Separated by commas, as CT, MR. Empty: all."),
    )
    sop_class_uids = ArrayField(
        KeyField(max_length=64, blank=False),
        verbose_name=_("SOP classes"),
        default=list,
        blank=True,
        help_text=_("UIDs, separated by commas. Empty: all."),
    )
    received_in = ArrayField(
        KeyField(max_length=64, blank=False, choices=NativeSyntax),
        verbose_name=_("received in"),
        default=list,
        blank=True,
        help_text=_("Transfer syntaxes. None chosen: both."),
    )
    older_than_days = models.PositiveSmallIntegerField(
        _("older than (days)"),
        default=30,
        help_text=_("Since they were received. 0: soon after nothing more came for their series."),
    )
    transfer_syntax_uid = models.CharField(
        _("compress to"),
        max_length=64,
        choices=LosslessSyntax,
        default=LosslessSyntax.JPEG_LS,
        help_text=_(
            "JPEG-LS is fast and small. JPEG 2000 is smaller for colour. HTJ2K is the fastest of them, and read by the"
            " newest stations alone. RLE is read by nearly everything."
        ),
    )
    reached = models.BigIntegerField(default=0, editable=False)
    objects_compressed = models.PositiveBigIntegerField(_("objects compressed"), default=0, editable=False)
    objects_left = models.PositiveBigIntegerField(_("objects left as they are"), default=0, editable=False)
    bytes_before = models.PositiveBigIntegerField(_("bytes before"), default=0, editable=False)
    bytes_after = models.PositiveBigIntegerField(_("bytes after"), default=0, editable=False)

    objects = CompressionRuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("compression rule")
        verbose_name_plural = _("compression rules")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["site", "name"], name="compression_rule_name")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        problems: dict[str, Any] = {}
        if wrong := [uid for uid in self.sop_class_uids if not is_uid(uid)]:
            problems["sop_class_uids"] = _("This is no UID: %(text)s.") % {"text": wrong[0]}
        if wrong := [text for text in self.modalities if not text.isascii() or text != text.strip().upper()]:
            problems["modalities"] = _("Modalities are written in capital letters, as CT: %(text)s.") % {
                "text": wrong[0]
            }
        if problems:
            raise ValidationError(problems)

    @property
    def saved(self) -> int:
        """Bytes that it has saved."""
        return self.bytes_before - self.bytes_after


class CompressionOutcome(models.TextChoices):
    COMPRESSED = "compressed", _("Compressed")
    NOT_SMALLER = "not-smaller", _("Not worth it")
    UNSUITABLE = "unsuitable", _("Cannot be compressed")
    DIFFERENT = "different", _("Would not come back the same")
    DAMAGED = "damaged", _("File damaged or missing")


class Compression(models.Model):
    """That an object was looked at, and what came of it: none is tried twice in vain.

    `received_…` say which bytes were received, so that a device that sends them again is told that they are here.
    """

    location = models.OneToOneField(Location, models.CASCADE, verbose_name=_("archive location"))
    outcome = models.CharField(_("outcome"), max_length=12, choices=CompressionOutcome)
    detail = models.CharField(_("detail"), max_length=300, blank=True, default="")
    transfer_syntax_uid = KeyField(_("compressed to"), max_length=64, choices=LosslessSyntax)
    received_size = models.PositiveBigIntegerField(_("bytes received"))
    received_sha256 = models.BinaryField(_("SHA-256 as received"), max_length=32)
    received_transfer_syntax_uid = KeyField(_("received in"), max_length=64, choices=NativeSyntax)
    created_at = models.DateTimeField(_("done"), default=timezone.now)

    class Meta:
        verbose_name = _("compressed object")
        verbose_name_plural = _("compressed objects")
        indexes = [models.Index(fields=["outcome", "-id"], name="compression_by_outcome")]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()}: {self.location_id}"
