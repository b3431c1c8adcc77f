from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.storage import Volume
from radiology.models.text import KeyField


class FindingKind(models.TextChoices):
    MISSING = "missing", _("Missing: no file where the database says")
    DAMAGED = "damaged", _("Damaged: other bytes than were stored")
    ORPHAN = "orphan", _("Orphan: a file that nothing in the database names")
    COUNTERS = "counters", _("Counters: a study or series counts wrongly")
    UNAVAILABLE = "unavailable", _("Unavailable: the volume does not answer")


class Verification(models.Model):
    """One comparison of the index with the bytes, and how far it has come: `position` is where to go on."""

    volume = models.ForeignKey(
        Volume, models.PROTECT, verbose_name=_("volume"), null=True, blank=True, help_text=_("Empty: all.")
    )
    repairs = models.BooleanField(_("repairs"), default=False)
    scheduled = models.BooleanField(_("by schedule"), default=False)
    since = models.DateTimeField(_("only what was stored since"), null=True, blank=True)
    position = models.JSONField(_("position"), default=dict, blank=True)
    objects_total = models.PositiveBigIntegerField(_("objects in all"), default=0)
    bytes_total = models.PositiveBigIntegerField(_("bytes in all"), default=0)
    objects_read = models.PositiveBigIntegerField(_("objects read"), default=0)
    bytes_read = models.PositiveBigIntegerField(_("bytes read"), default=0)
    files_seen = models.PositiveBigIntegerField(_("files seen"), default=0)
    problems = models.PositiveIntegerField(_("problems"), default=0)
    repaired = models.PositiveIntegerField(_("repaired"), default=0)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("verification")
        verbose_name_plural = _("verifications")
        indexes = [
            models.Index(fields=["-finished_at"], condition=Q(finished_at__isnull=False), name="verification_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"


class VerificationFinding(models.Model):
    """One thing that a verification found wrong."""

    verification = models.ForeignKey(
        Verification, models.CASCADE, verbose_name=_("verification"), related_name="findings", db_index=False
    )
    kind = models.CharField(_("kind"), max_length=12, choices=FindingKind)
    volume = models.ForeignKey(Volume, models.PROTECT, verbose_name=_("volume"), null=True, db_index=False)
    path = models.TextField(_("path"), blank=True, default="")
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64)
    detail = models.TextField(_("what is wrong"))
    repair = models.TextField(_("repaired"), blank=True, default="")
    created_at = models.DateTimeField(_("found"), default=timezone.now)

    class Meta:
        verbose_name = _("finding of a verification")
        verbose_name_plural = _("findings of verifications")
        indexes = [models.Index(fields=["verification", "id"], name="finding_of_verification")]

    def __str__(self) -> str:
        return f"{self.kind} {self.path or self.study_instance_uid}"
