from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.correction import Removal
from pacs.models.study import Study
from radiology.models import ReportVersion
from radiology.models.text import KeyField


class ReportObjectKind(models.TextChoices):
    """What a report becomes."""

    SR = "SR", _("Structured report")
    PDF = "DOC", _("Encapsulated PDF")
    MEASUREMENTS = "MEA", _("Measurements")

    @property
    def modality(self) -> str:
        """Of the series that holds it."""
        return "SR" if self is ReportObjectKind.MEASUREMENTS else str(self)


class ReportObject(models.Model):
    """An object that we made of a published report, and stored in the study that the report is about.

    `study_ref` is the study that it was made for, also when its series was moved since.
    """

    version_ref = models.ForeignKey(
        ReportVersion, models.CASCADE, verbose_name=_("version of a report"), related_name="stored_objects"
    )
    kind = models.CharField(_("kind"), max_length=3, choices=ReportObjectKind)
    study_ref = models.ForeignKey(Study, models.CASCADE, verbose_name=_("study"), related_name="report_objects")
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64, blank=False)
    created_at = models.DateTimeField(_("stored"), default=timezone.now)
    removal = models.ForeignKey(
        Removal,
        models.SET_NULL,
        verbose_name=_("removal"),
        null=True,
        related_name="+",
        help_text=_("By which it was taken out: the report was withdrawn, or the study turned out to be another one."),
    )

    class Meta:
        verbose_name = _("report in the archive")
        verbose_name_plural = _("reports in the archive")
        permissions = [("save_measurements", _("Can save measurements that were made in the viewer"))]
        constraints = [
            models.UniqueConstraint(fields=["version_ref", "kind", "study_ref"], name="report_object_once"),
        ]
        indexes = [models.Index(fields=["sop_instance_uid"], name="report_object_by_uid")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.sop_instance_uid}"
