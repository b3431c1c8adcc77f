from typing import Any, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models import Job, Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class ImportKind(models.TextChoices):
    FILES = "files", _("Files of the server")
    UPLOAD = "upload", _("Files from a browser")
    NODE = "node", _("DICOM node")
    DICOMWEB = "dicomweb", _("DICOMweb server")
    ORTHANC = "orthanc", _("Orthanc")


class ImportState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    STOPPED = "stopped", _("Stopped")
    FAILED = "failed", _("Failed")


class ImportRunQuerySet(models.QuerySet["ImportRun"]):
    def visible_to(self, who: Any) -> Self:
        """Those of one's own site, for who may look at imports at all."""
        if not who.may("studies.write") or not who.has_perm("pacs.view_importrun"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class ImportRun(models.Model):
    """One moving-in of objects from elsewhere: what was read, and what became of it.

    A run that was stopped or killed goes on in the same row, so that its figures are those of the
    whole.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    kind = models.CharField(_("from"), max_length=10, choices=ImportKind)
    places = models.JSONField(_("places"), default=list, help_text=_("Folders and files, or the server and a search."))
    places_sha256 = KeyField(_("SHA-256 of the places"), max_length=64, editable=False)
    fresh = models.BooleanField(
        _("reads everything"), default=False, help_text=_("Also what an earlier import was done with.")
    )
    state = models.CharField(_("state"), max_length=10, choices=ImportState, default=ImportState.WAITING)
    error = models.TextField(_("error"), blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, blank=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    job = models.ForeignKey(Job, models.SET_NULL, verbose_name=_("job"), null=True, blank=True, related_name="+")
    found = models.PositiveBigIntegerField(_("files found"), null=True, blank=True, help_text=_("Empty: not counted."))
    found_bytes = models.PositiveBigIntegerField(_("bytes found"), null=True, blank=True)
    done_before = models.PositiveBigIntegerField(_("done in an earlier import"), default=0)
    stored = models.PositiveBigIntegerField(_("stored"), default=0)
    unchanged = models.PositiveBigIntegerField(_("there already"), default=0)
    held = models.PositiveBigIntegerField(_("held"), default=0)
    skipped = models.PositiveBigIntegerField(_("no DICOM"), default=0)
    refused = models.PositiveBigIntegerField(_("refused"), default=0)
    bytes_read = models.PositiveBigIntegerField(_("bytes read"), default=0)
    version = models.PositiveIntegerField(_("version"), default=0, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects = ImportRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        permissions = [("import_folder", "Can import from folders of the server")]
        indexes = [
            models.Index(fields=["site", "-id"], name="import_by_site"),
            models.Index(fields=["site", "state", "-id"], name="import_by_state"),
            models.Index(fields=["site", "places_sha256", "-id"], name="import_by_places"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def handled(self) -> int:
        """Files whose fate is known."""
        return self.done_before + self.stored + self.unchanged + self.held + self.skipped + self.refused

    @property
    def is_unfinished(self) -> bool:
        return self.state in {ImportState.WAITING, ImportState.RUNNING}

    @property
    def can_resume(self) -> bool:
        """Whether somebody may have it go on: uploads go on by sending again."""
        return self.kind == ImportKind.FILES and self.state in {ImportState.STOPPED, ImportState.FAILED}


class ImportedStudy(models.Model):
    """How many objects of a study one run brought."""

    run = models.ForeignKey(ImportRun, models.CASCADE, verbose_name=_("import"), db_index=False, related_name="studies")
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    stored = models.PositiveIntegerField(_("stored"), default=0)
    unchanged = models.PositiveIntegerField(_("there already"), default=0)
    held = models.PositiveIntegerField(_("held"), default=0)

    class Meta:
        verbose_name = _("imported study")
        verbose_name_plural = _("imported studies")
        constraints = [models.UniqueConstraint(fields=["run", "study_instance_uid"], name="imported_study_once")]
        indexes = [
            models.Index(fields=["study_instance_uid"], name="imported_study_by_uid"),
            models.Index(fields=["run", "-id"], name="imported_study_by_run"),
        ]

    def __str__(self) -> str:
        return self.study_instance_uid


class ImportedAs(models.TextChoices):
    HELD = "held", _("Held")
    REFUSED = "refused", _("Refused")


class ImportRefusal(models.Model):
    """A file that did not simply go in, and why. At most a fixed number of each run is kept."""

    run = models.ForeignKey(
        ImportRun, models.CASCADE, verbose_name=_("import"), db_index=False, related_name="refusals"
    )
    outcome = models.CharField(_("outcome"), max_length=8, choices=ImportedAs)
    name = models.TextField(_("file"))
    reason = models.TextField(_("reason"))
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)

    class Meta:
        verbose_name = _("file not taken in")
        verbose_name_plural = _("files not taken in")
        indexes = [
            models.Index(fields=["run", "outcome", "-id"], name="import_refusal_by_run"),
            models.Index(fields=["study_instance_uid"], name="import_refusal_by_study"),
        ]

    def __str__(self) -> str:
        return self.name


class ImportedFile(models.Model):
    """The journal: a file that a run is done with, so that nobody reads it again.

    `digest` is of its name, size and time of change. Forgotten some weeks after the run.
    """

    run = models.ForeignKey(ImportRun, models.CASCADE, verbose_name=_("import"), related_name="+")
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    digest = KeyField(_("digest"), max_length=32, blank=False)

    class Meta:
        verbose_name = _("file in an import’s journal")
        verbose_name_plural = _("files in the imports’ journal")
        constraints = [models.UniqueConstraint(fields=["site", "digest"], name="imported_file_once")]

    def __str__(self) -> str:
        return self.digest
