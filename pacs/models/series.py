from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.study import Study
from radiology.guest import Guest
from radiology.models import Site
from radiology.models.text import KeyField

# Modalities of what is written of images: no device is at work when it comes.
WRITTEN = ("KO", "PR", "SR", "DOC")


class SeriesQuerySet(models.QuerySet["Series"]):
    def images(self) -> Self:
        """What is read: shown, and nothing that is written of images (WRITTEN)."""
        return self.filter(removed_at=None).exclude(modality__in=WRITTEN)

    def visible_to(self, who: Any) -> Self:
        """The series of the studies that `who` may see."""
        if isinstance(who, Guest):
            return self.filter(who.of_studies("study_ref__"), removed_at=None, study_ref__deleted_at=None)
        if not who.may("studies.read"):
            return self.none()
        found = self.filter(removed_at=None, study_ref__deleted_at=None)
        return found if who.sees_every_site else found.filter(site_id=who.site_id, study_ref__site_id=who.site_id)


class Series(models.Model):
    """A series as received (PS3.3 C.7.3)."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    study_ref = models.ForeignKey(Study, models.CASCADE, verbose_name=_("study"), related_name="series")
    series_instance_uid = KeyField(_("Series Instance UID"), max_length=64, blank=False)
    modality = KeyField(_("modality"), max_length=16)
    series_number = models.IntegerField(_("number"), null=True, blank=True)
    series_description = models.CharField(_("description"), max_length=256, blank=True, default="")
    series_date = KeyField(_("series date"), max_length=16)
    series_time = KeyField(_("series time"), max_length=16)
    body_part_examined = KeyField(_("body part"), max_length=64)
    laterality = KeyField(_("laterality"), max_length=16)
    station_name = KeyField(_("station"), max_length=64)
    protocol_name = models.CharField(_("protocol"), max_length=256, blank=True, default="")
    performed_procedure_step_start_date = KeyField(_("performed on"), max_length=16)
    performed_procedure_step_start_time = KeyField(_("performed at"), max_length=16)
    source_ae_title = KeyField(_("sent by"), max_length=16)
    number_of_series_related_instances = models.PositiveIntegerField(_("images"), default=0)
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    attributes = models.JSONField(
        _("other attributes"), default=dict, help_text=_("DICOM JSON (PS3.18 F), as first received.")
    )
    overlay = models.JSONField(
        _("corrected attributes"),
        default=dict,
        editable=False,
        help_text=_("DICOM JSON laid over what was received, in all objects of the series."),
    )
    received_study_instance_uid = KeyField(
        _("received in study"),
        max_length=64,
        editable=False,
        help_text=_("Study Instance UID that its objects carry, where the series was moved to another study."),
    )
    version = models.PositiveIntegerField(_("version"), default=1)
    created_at = models.DateTimeField(_("received"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)
    removed_at = models.DateTimeField(
        _("removed"), null=True, editable=False, help_text=_("Since when all its objects are removed.")
    )

    objects = SeriesQuerySet.as_manager()

    class Meta:
        verbose_name = _("series")
        verbose_name_plural = _("series")
        constraints = [models.UniqueConstraint(fields=["site", "series_instance_uid"], name="series_identity")]
        indexes = [
            models.Index(fields=["series_instance_uid"], name="series_by_uid"),
            models.Index(fields=["site", "modality", "-id"], name="series_by_modality"),
        ]

    def __str__(self) -> str:
        return self.series_description or self.series_instance_uid


class RequestAttributes(models.Model):
    """One item of a series' Request Attributes Sequence (0040,0275): the orders that it serves."""

    series_ref = models.ForeignKey(Series, models.CASCADE, verbose_name=_("series"), related_name="request_attributes")
    scheduled_procedure_step_id = KeyField(_("scheduled procedure step ID"), max_length=64)
    requested_procedure_id = KeyField(_("requested procedure ID"), max_length=64)
    accession_number = KeyField(_("accession number"), max_length=64)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)

    class Meta:
        verbose_name = _("request attributes")
        verbose_name_plural = _("request attributes")
        indexes = [
            models.Index(fields=["scheduled_procedure_step_id"], name="request_by_step"),
            models.Index(fields=["requested_procedure_id"], name="request_by_procedure"),
            models.Index(fields=["accession_number"], name="request_by_accession"),
        ]

    def __str__(self) -> str:
        return self.requested_procedure_id or self.accession_number
