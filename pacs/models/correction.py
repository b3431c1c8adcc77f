from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.study import Study
from radiology.models import Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class CorrectionKind(models.TextChoices):
    PATIENT = "patient", _("Other patient")
    ATTRIBUTES = "attributes", _("Attributes corrected")
    SPLIT = "split", _("Series moved to another study")
    MERGE = "merge", _("Study merged into another")


class Correction(models.Model):
    """A decision of a person that a study, as received, is wrong, and how to take it back.

    `after` says what is laid over, in words of DICOM keywords; `before` holds what stood in the rows,
    enough to undo it. The bytes of the objects never change.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    study_ref = models.ForeignKey(Study, models.CASCADE, verbose_name=_("study"), related_name="corrections")
    other_study_ref = models.ForeignKey(
        Study,
        models.CASCADE,
        verbose_name=_("other study"),
        null=True,
        related_name="corrections_from_other",
        help_text=_("Where series came from or went to."),
    )
    kind = models.CharField(_("kind"), max_length=16, choices=CorrectionKind)
    before = models.JSONField(_("before"), default=dict)
    after = models.JSONField(_("after"), default=dict)
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    study_version = models.PositiveIntegerField(
        _("study version"), default=0, help_text=_("The study's version after the correction, or after its undoing.")
    )
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)

    class Meta:
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")
        indexes = [models.Index(fields=["study_ref", "-id"], name="correction_of_study")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.created_at:%Y-%m-%d %H:%M}"


class RemovalCode(models.TextChoices):
    """Why objects are shown no longer; numbers are codes of DCM (CID 7011), titles of rejection notes."""

    DELETED = "deleted", _("Deleted")
    IMAGES = "images", _("Images deleted")
    QUALITY = "113001", _("Rejected for quality reasons")
    PATIENT_SAFETY = "113037", _("Rejected for patient safety reasons")
    WORKLIST_ENTRY = "113038", _("Incorrect modality worklist entry")
    EXPIRED = "113039", _("Data retention policy expired")


class Removal(models.Model):
    """Objects that no door shows any longer, and why; restorable until it is purged."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    study_ref = models.ForeignKey(Study, models.SET_NULL, verbose_name=_("study"), null=True, related_name="removals")
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    code = models.CharField(_("why"), max_length=16, choices=RemovalCode)
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    hides = models.BooleanField(
        _("hides"), default=True, help_text=_("No: the site shows what was rejected for quality.")
    )
    note_sop_instance_uid = KeyField(_("rejection note"), max_length=64)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    restored_at = models.DateTimeField(_("restored"), null=True, blank=True)

    class Meta:
        verbose_name = _("removal")
        verbose_name_plural = _("removals")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "note_sop_instance_uid"],
                condition=~models.Q(note_sop_instance_uid=""),
                name="removal_of_note",
            )
        ]
        indexes = [
            models.Index(fields=["study_ref", "-id"], name="removal_of_study"),
            models.Index(fields=["site", "-id"], name="removal_by_site"),
            models.Index(fields=["site", "created_at"], name="removal_by_day"),
        ]

    def __str__(self) -> str:
        return f"{self.get_code_display()} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_deletion(self) -> bool:
        """Whether a person deleted it, a study or images of one, rather than rejected it."""
        return self.code in {RemovalCode.DELETED, RemovalCode.IMAGES}


class RemovedInstance(models.Model):
    """One object of a removal. It may name an object that has not arrived yet, which then stays hidden."""

    removal = models.ForeignKey(Removal, models.CASCADE, verbose_name=_("removal"), related_name="instances")
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64, blank=False)

    class Meta:
        verbose_name = _("removed object")
        verbose_name_plural = _("removed objects")
        constraints = [models.UniqueConstraint(fields=["removal", "sop_instance_uid"], name="removed_once")]
        indexes = [models.Index(fields=["sop_instance_uid", "site"], name="removed_by_uid")]

    def __str__(self) -> str:
        return self.sop_instance_uid
