from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.guest import Guest
from radiology.models import Patient, RequestedProcedure, Site
from radiology.models.text import KeyField

CURRENT = Q(deleted_at=None)


class StudyQuerySet(models.QuerySet["Study"]):
    def visible_to(self, who: Any) -> Self:
        """The studies that `who` may see: of one's own site, not deleted."""
        if isinstance(who, Guest):
            return self.filter(who.of_studies(), CURRENT)
        if not who.may("studies.read"):
            return self.none()
        found = self.filter(CURRENT)
        return found if who.sees_every_site else found.filter(site_id=who.site_id)


class Study(models.Model):
    """A study as received (PS3.3 C.7.2). What decides who sees it stands on this row.

    Counters and the sets of modalities and SOP classes are kept by the store service, in the
    transaction that adds or removes instances. `version` rises with each change.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    patient_ref = models.ForeignKey(
        Patient, models.PROTECT, verbose_name=_("patient"), related_name="studies", db_index=False
    )
    requested_procedure_ref = models.ForeignKey(
        RequestedProcedure,
        models.SET_NULL,
        verbose_name=_("requested procedure"),
        null=True,
        blank=True,
        related_name="studies",
    )
    ordering_physician = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("ordered by"), null=True, blank=True
    )
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64, blank=False)
    study_date = KeyField(_("study date"), max_length=16)
    study_time = KeyField(_("study time"), max_length=16)
    timezone_offset_from_utc = KeyField(_("time zone offset"), max_length=5)
    study_datetime = models.DateTimeField(_("study time (instant)"), null=True, blank=True)
    accession_number = KeyField(_("accession number"), max_length=64)
    issuer_of_accession_number = KeyField(_("issuer of accession number"), max_length=64)
    study_id = KeyField(_("study ID"), max_length=64)
    study_description = models.CharField(_("description"), max_length=256, blank=True, default="")
    referring_physician_name = models.CharField(_("referring physician"), max_length=324, blank=True, default="")
    referring_physician_name_search = KeyField(max_length=512, editable=False)
    modalities_in_study = ArrayField(KeyField(max_length=16, blank=False), verbose_name=_("modalities"), default=list)
    sop_classes_in_study = ArrayField(KeyField(max_length=64, blank=False), verbose_name=_("SOP classes"), default=list)
    number_of_study_related_series = models.PositiveIntegerField(_("series"), default=0)
    number_of_study_related_instances = models.PositiveIntegerField(_("images"), default=0)
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    attributes = models.JSONField(
        _("other attributes"), default=dict, help_text=_("DICOM JSON (PS3.18 F), as first received.")
    )
    overlay = models.JSONField(
        _("corrected attributes"),
        default=dict,
        editable=False,
        help_text=_("DICOM JSON laid over what was received, in all objects of the study."),
    )
    merged_into = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("merged into"),
        null=True,
        editable=False,
        related_name="merged_studies",
        help_text=_("What still arrives for this study joins that one."),
    )
    sort_at = models.DateTimeField(
        _("sorted by"), default=timezone.now, help_text=_("Study time, else the time of arrival.")
    )
    version = models.PositiveIntegerField(_("version"), default=1)
    created_at = models.DateTimeField(_("received"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True)
    deletion_reason = models.CharField(_("reason of deletion"), max_length=200, blank=True, default="")

    objects = StudyQuerySet.as_manager()

    class Meta:
        verbose_name = _("study")
        verbose_name_plural = _("studies")
        constraints = [models.UniqueConstraint(fields=["site", "study_instance_uid"], name="study_identity")]
        indexes = [
            models.Index(fields=["study_instance_uid"], name="study_by_uid"),
            models.Index(F("site"), F("sort_at").desc(), F("id").desc(), condition=CURRENT, name="study_newest"),
            models.Index(F("sort_at").desc(), F("id").desc(), condition=CURRENT, name="study_newest_everywhere"),
            models.Index(F("site"), F("created_at").desc(), F("id").desc(), condition=CURRENT, name="study_arrived"),
            models.Index(F("created_at").desc(), F("id").desc(), condition=CURRENT, name="study_arrived_everywhere"),
            models.Index(
                F("patient_ref"), F("sort_at").desc(), F("id").desc(), condition=CURRENT, name="study_of_patient"
            ),
            models.Index(fields=["patient_ref"], name="study_patient"),
            models.Index(fields=["site", "accession_number", "id"], name="study_by_accession"),
            models.Index(fields=["site", "study_date", "id"], name="study_by_date"),
            models.Index(fields=["site", "updated_at"], name="study_by_update"),
            models.Index(
                fields=["referring_physician_name_search"], name="study_by_referrer", opclasses=["text_pattern_ops"]
            ),
            GinIndex(fields=["modalities_in_study"], name="study_by_modalities"),
        ]

    def __str__(self) -> str:
        return self.study_description or self.study_instance_uid


class PatientModality(models.Model):
    """That a patient has studies of a modality: so that of thousands with a common name, those are known who were
    examined so.

    The database itself keeps these rows, with each study that is added, moved or gets another modality. None is taken
    away, and some may stand twice: they narrow, and the studies are asked themselves.
    """

    patient_ref = models.ForeignKey(Patient, models.CASCADE, verbose_name=_("patient"), related_name="+")
    modality = KeyField(_("modality"), max_length=16, blank=False)

    class Meta:
        verbose_name = _("modality of a patient")
        verbose_name_plural = _("modalities of patients")
        indexes = [models.Index(fields=["modality", "patient_ref"], name="patient_by_modality")]

    def __str__(self) -> str:
        return self.modality
