"""What was done to patients: versions, merges with what they moved, and who may be the same person."""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.patient import Patient
from radiology.models.site import Site
from radiology.models.text import KeyField


class PatientVersion(models.Model):
    """One change of a patient: for each field that changed, what stood there before and after."""

    patient_ref = models.ForeignKey(
        Patient, models.CASCADE, verbose_name=_("patient"), related_name="versions", db_index=False
    )
    version = models.PositiveIntegerField(_("version"))
    changes = models.JSONField(_("changes"), default=dict, help_text=_("Before and after, by field."))
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("user"), null=True, related_name="+", db_index=False
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("version of a patient")
        verbose_name_plural = _("versions of patients")
        constraints = [models.UniqueConstraint(fields=["patient_ref", "version"], name="patient_version")]

    def __str__(self) -> str:
        return f"{self.patient_ref_id} · {self.version}"


class PatientMergeQuerySet(models.QuerySet["PatientMerge"]):
    def visible_to(self, who: Any) -> Self:
        if not (who.may("studies.read") or who.may("patients.merge")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class PatientMerge(models.Model):
    """The decision that `merged` is the same person as `survivor`, and how to take it back.

    What it moved stands in its items; so does what arrived under the merged number since.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"))
    survivor = models.ForeignKey(Patient, models.PROTECT, verbose_name=_("survivor"), related_name="merges_into")
    merged = models.ForeignKey(Patient, models.PROTECT, verbose_name=_("merged patient"), related_name="merges_away")
    moved = models.JSONField(_("moved"), default=dict, help_text=_("How many rows of each kind."))
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("user"), null=True, related_name="+", db_index=False
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)
    undone_by = models.CharField(_("undone by"), max_length=200, blank=True, default="")

    objects = PatientMergeQuerySet.as_manager()

    class Meta:
        verbose_name = _("merge of patients")
        verbose_name_plural = _("merges of patients")
        constraints = [
            models.UniqueConstraint(fields=["merged"], condition=Q(undone_at=None), name="patient_merged_once"),
        ]

    def __str__(self) -> str:
        return f"{self.merged_id} → {self.survivor_id}"


class PatientMergeItem(models.Model):
    """One row that a merge moved, with what stood in it before. `is_late`: it arrived under the merged number since."""

    merge = models.ForeignKey(
        PatientMerge, models.CASCADE, verbose_name=_("merge"), related_name="items", db_index=False
    )
    kind = KeyField(_("kind"), max_length=100, blank=False)
    row_id = models.BigIntegerField(_("row"))
    before = models.JSONField(_("before"), default=dict)
    is_late = models.BooleanField(_("arrived since"), default=False)

    class Meta:
        verbose_name = _("row that a merge moved")
        verbose_name_plural = _("rows that merges moved")
        constraints = [models.UniqueConstraint(fields=["merge", "kind", "row_id"], name="patient_merge_item")]

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id}"


class PatientDuplicate(models.Model):
    """Two patients who may be one person, until somebody merges them or says that they are two."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    one = models.ForeignKey(
        Patient, models.CASCADE, verbose_name=_("one patient"), related_name="duplicates_after", db_index=False
    )
    other = models.ForeignKey(
        Patient, models.CASCADE, verbose_name=_("other patient"), related_name="duplicates_before"
    )
    score = models.PositiveSmallIntegerField(_("score"))
    reasons = models.JSONField(_("reasons"), default=list)
    created_at = models.DateTimeField(_("found"), default=timezone.now)
    dismissed_at = models.DateTimeField(_("said to be two"), null=True, blank=True)
    dismissed_by = models.CharField(_("by"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("suspected duplicate")
        verbose_name_plural = _("suspected duplicates")
        constraints = [
            models.UniqueConstraint(fields=["one", "other"], name="patient_duplicate"),
            models.CheckConstraint(condition=Q(one__lt=F("other")), name="patient_duplicate_order"),
        ]
        indexes = [
            models.Index(
                F("site"), F("score").desc(), F("id").desc(), condition=Q(dismissed_at=None), name="duplicate_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.one_id} ≟ {self.other_id}"

    @property
    def patients(self) -> tuple[Patient, Patient]:
        return self.one, self.other


class PatientLink(models.Model):
    """Two numbers of what another system takes for one person, without being merged (HL7 ADT^A24; IHE PIX).

    Each stays a patient of its own, with its own studies; the page of each leads to the other. The rows stay with
    those whom they name when one of them is merged.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"))
    one = models.ForeignKey(
        Patient, models.CASCADE, verbose_name=_("one patient"), related_name="links_after", db_index=False
    )
    other = models.ForeignKey(Patient, models.CASCADE, verbose_name=_("other patient"), related_name="links_before")
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("link of patients")
        verbose_name_plural = _("links of patients")
        constraints = [
            models.UniqueConstraint(fields=["one", "other"], name="patient_link"),
            models.CheckConstraint(condition=Q(one__lt=F("other")), name="patient_link_order"),
        ]

    def __str__(self) -> str:
        return f"{self.one_id} = {self.other_id}"


class PatientNumberCounter(models.Model):
    """The last number that a site gave to a patient, one counter for each pattern."""

    site = models.ForeignKey(Site, models.CASCADE, verbose_name=_("site"), db_index=False)
    pattern = KeyField(_("pattern"), max_length=32, blank=False)
    last = models.BigIntegerField(_("last number"), default=0)

    class Meta:
        verbose_name = _("counter of patient numbers")
        verbose_name_plural = _("counters of patient numbers")
        constraints = [models.UniqueConstraint(fields=["site", "pattern"], name="patient_number_counter")]

    def __str__(self) -> str:
        return f"{self.pattern} {self.last}"
