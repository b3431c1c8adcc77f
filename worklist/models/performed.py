from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import ApplicationEntity, Study
from radiology.models import Patient, Site
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField
from worklist.models.step import ScheduledProcedureStep, StepStatus


class PerformedStatus(models.TextChoices):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS", _("In progress")
    COMPLETED = "COMPLETED", _("Completed")
    DISCONTINUED = "DISCONTINUED", _("Discontinued")


class PerformedWarning(models.TextChoices):
    """What about a performed step is not as it should be: somebody should look at it."""

    OTHER_PATIENT = "other-patient", _("It names an examination of another patient.")
    FORMER_NUMBER = "former-number", _("It names the patient by a number that was merged into another.")
    STEP_TAKEN = "step-taken", _("Another device was at work on the same examination.")
    CANCELLED = "cancelled", _("The examination was called off, and performed all the same.")
    ROOM_TAKEN = "room-taken", _("The room was given to another examination meanwhile.")
    CLOCK = "clock", _("The clock of the device is more than twelve hours off.")
    ABANDONED = "abandoned", _("The device never reported its end.")
    WRONG_ENTRY = "wrong-entry", _("The device had chosen the wrong entry of its worklist.")


class PerformedQuerySet(models.QuerySet["PerformedProcedureStep"]):
    def visible_to(self, who: Any) -> Self:
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class PerformedProcedureStep(models.Model):
    """What a modality says it does or did: an MPPS instance (PS3.3 B.17), all of it in `attributes`."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    node = models.ForeignKey(ApplicationEntity, models.SET_NULL, verbose_name=_("DICOM node"), null=True, blank=True)
    patient_ref = models.ForeignKey(
        Patient, models.PROTECT, verbose_name=_("patient"), null=True, blank=True, related_name="performed_steps"
    )
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64, blank=False)
    performed_procedure_step_id = KeyField(_("step ID"), max_length=64)
    performed_procedure_step_status = models.CharField(_("status"), max_length=16, choices=PerformedStatus)
    performed_procedure_step_description = models.CharField(_("description"), max_length=64, blank=True, default="")
    modality = KeyField(_("modality"), max_length=16)
    performed_station_ae_title = KeyField(_("AE title"), max_length=16)
    performed_station_name = KeyField(_("station name"), max_length=64)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    discontinuation_reason = models.JSONField(
        _("reason of discontinuation"), default=list, blank=True, help_text=_("Code, coding scheme and meaning.")
    )
    attributes = models.JSONField(_("attributes"), default=dict, help_text=_("DICOM JSON (PS3.18 F)."))
    is_unscheduled = models.BooleanField(_("unscheduled"), default=False)
    is_wrong_entry = models.BooleanField(
        _("wrong entry"),
        default=False,
        help_text=_("Discontinued because the wrong worklist entry was chosen: its images are another's."),
    )
    warnings = ArrayField(
        models.CharField(max_length=16, choices=PerformedWarning),
        verbose_name=_("warnings"),
        default=list,
        blank=True,
    )
    closed_at = models.DateTimeField(
        _("closed"), null=True, blank=True, help_text=_("When its end was reported, by this server's clock.")
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = PerformedQuerySet.as_manager()

    class Meta:
        verbose_name = _("performed procedure step")
        verbose_name_plural = _("performed procedure steps")
        constraints = [models.UniqueConstraint(fields=["site", "sop_instance_uid"], name="performed_step_identity")]
        indexes = [
            models.Index(fields=["sop_instance_uid"], name="performed_step_by_uid"),
            models.Index(fields=["study_instance_uid"], name="performed_step_by_study"),
            models.Index(fields=["site", "performed_procedure_step_status", "-id"], name="performed_step_by_status"),
            models.Index(fields=["site", "updated_at", "id"], name="performed_step_by_update"),
            models.Index(
                "site",
                Coalesce("ended_at", "created_at"),
                condition=Q(performed_procedure_step_status="DISCONTINUED"),
                name="performed_step_broken_off",
            ),
        ]

    def __str__(self) -> str:
        return self.performed_procedure_step_id or self.sop_instance_uid

    @property
    def has_ended(self) -> bool:
        return self.performed_procedure_step_status != PerformedStatus.IN_PROGRESS

    @property
    def is_abandoned(self) -> bool:
        """Whether it was given up: in progress, and nothing of it has come for hours."""
        return not self.has_ended and PerformedWarning.ABANDONED in self.warnings

    @property
    def is_at_work(self) -> bool:
        return not self.has_ended and not self.is_abandoned

    @property
    def warning_texts(self) -> list[str]:
        """Its warnings as people read them."""
        return [str(PerformedWarning(each).label) for each in self.warnings]


class PerformedStepReference(models.Model):
    """An item of Scheduled Step Attributes Sequence (0040,0270): what a performed step answers, known here or not."""

    performed_ref = models.ForeignKey(
        PerformedProcedureStep, models.CASCADE, verbose_name=_("performed step"), related_name="references"
    )
    scheduled_ref = models.ForeignKey(
        ScheduledProcedureStep,
        models.SET_NULL,
        verbose_name=_("scheduled step"),
        null=True,
        blank=True,
        related_name="performed_references",
    )
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    accession_number = KeyField(_("accession number"), max_length=64)
    requested_procedure_id = KeyField(_("requested procedure ID"), max_length=64)
    scheduled_procedure_step_id = KeyField(_("scheduled procedure step ID"), max_length=64)
    state_before = models.CharField(
        _("state before"),
        max_length=16,
        choices=StepStatus,
        blank=True,
        default="",
        help_text=_("Of the scheduled step, when this performed step began."),
    )

    class Meta:
        verbose_name = _("what a performed step answers")
        verbose_name_plural = _("what performed steps answer")
        indexes = [
            models.Index(fields=["study_instance_uid"], name="performed_ref_by_study"),
            models.Index(fields=["accession_number"], name="performed_ref_by_accession"),
        ]

    def __str__(self) -> str:
        return self.scheduled_procedure_step_id or self.study_instance_uid


class CompletedBy(models.TextChoices):
    """What says that a study is complete."""

    MPPS = "mpps", _("Reported by the device (MPPS)")
    COMMITMENT = "commitment", _("All images were committed to storage")
    QUIET = "quiet", _("No image for the quiet period")


class StudyCompletionQuerySet(models.QuerySet["StudyCompletion"]):
    def visible_to(self, who: Any) -> Self:
        return self.filter(study_ref__in=Study.objects.visible_to(who))

    def standing(self) -> Self:
        """Those that no later image has undone."""
        return self.filter(reopened_at=None)


class StudyCompletion(models.Model):
    """A study was complete at a moment. What arrives later reopens it, and it is completed anew in another row."""

    study_ref = models.ForeignKey(Study, models.CASCADE, verbose_name=_("study"), related_name="completions")
    at = models.DateTimeField(_("complete"), default=timezone.now)
    how = models.CharField(_("by"), max_length=16, choices=CompletedBy)
    number_of_instances = models.PositiveIntegerField(_("images"), default=0)
    performed_step_uids = ArrayField(
        KeyField(max_length=64, blank=False), verbose_name=_("performed steps"), default=list, blank=True
    )
    reopened_at = models.DateTimeField(_("reopened"), null=True, blank=True)

    objects = StudyCompletionQuerySet.as_manager()

    class Meta:
        verbose_name = _("completion of a study")
        verbose_name_plural = _("completions of studies")
        constraints = [
            models.UniqueConstraint(
                fields=["study_ref"], condition=Q(reopened_at=None), name="study_completion_standing"
            )
        ]
        indexes = [models.Index(fields=["study_ref", "-id"], name="study_completion")]

    def __str__(self) -> str:
        return f"{self.get_how_display()} {self.at:%Y-%m-%d %H:%M}"
