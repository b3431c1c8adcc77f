from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.application_entity import ApplicationEntity
from pacs.models.study import Study
from radiology.models import Job, JobState, Patient, Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class TransferDirection(models.TextChoices):
    SEND = "send", _("Send")
    FETCH = "fetch", _("Fetch")


class TransferMethod(models.TextChoices):
    """DIMSE services (PS3.4 Annexes B and C); a fetch without one takes what the node offers."""

    C_STORE = "C-STORE", "C-STORE"
    C_GET = "C-GET", "C-GET"
    C_MOVE = "C-MOVE", "C-MOVE"


class TransferState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


STATES = {
    JobState.PENDING.value: TransferState.WAITING,
    JobState.RUNNING.value: TransferState.RUNNING,
    JobState.PAUSED.value: TransferState.PAUSED,
    JobState.DONE.value: TransferState.DONE,
    JobState.DEAD.value: TransferState.FAILED,
    JobState.CANCELLED.value: TransferState.CANCELLED,
}


KINDS = {TransferDirection.SEND: "pacs.send", TransferDirection.FETCH: "pacs.fetch"}
MOST_RARE = 1000
# Cancelled so long ago that the job is gone; and over, though not one object came across, which is no success.
CALLED_OFF = Q(job=None, finished_at=None)
IN_VAIN = Q(finished_at__isnull=False, failed__gt=0, completed=0, warned=0)


class TransferQuerySet(models.QuerySet["Transfer"]):
    def visible_to(self, who: Any) -> Self:
        """The transfers of one's own site."""
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def in_state(self, state: str) -> Self:
        """Those in one TransferState; of the states that are rare, the newest thousand."""
        if state == TransferState.DONE:
            over = Q(job__state=JobState.DONE) | Q(job=None, finished_at__isnull=False)
            return self.filter(over & ~Q(failed__gt=0, completed=0, warned=0))
        # Each set is asked for by an index of its own: as one condition it would be looked for to the end of the table.
        states = [job for job, found in STATES.items() if found == state]
        jobs = Job.objects.filter(kind__in=KINDS.values(), state__in=states).order_by("-id")
        keys = set(self.model.objects.filter(job_id__in=list(jobs.values_list("id", flat=True)[:MOST_RARE])).pks())
        if state == TransferState.CANCELLED:
            keys |= set(self.filter(CALLED_OFF).pks())
        if state == TransferState.FAILED:
            keys |= set(self.filter(IN_VAIN).pks())
        return self.filter(pk__in=keys)

    def pks(self) -> list[int]:
        """The newest of them, a thousand at most."""
        return list(self.order_by("-id").values_list("pk", flat=True)[:MOST_RARE])


class Transfer(models.Model):
    """Objects of one study on their way to or from a DICOM node, carried by a job whose state is its state.

    Without series or instances the whole study is meant. Counts are of objects: `completed`, `warned` and
    `failed` make up what is settled of `total`, which is 0 until it is known. `rate` (bytes a second) and
    `pace` (objects a second) are those of the last moments of the run.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    direction = models.CharField(_("direction"), max_length=8, choices=TransferDirection)
    method = models.CharField(_("method"), max_length=8, choices=TransferMethod, blank=True, default="")
    node = models.ForeignKey(
        ApplicationEntity,
        models.SET_NULL,
        verbose_name=_("node"),
        null=True,
        db_index=False,
        related_name="transfers",
    )
    node_title = KeyField(_("AE title"), max_length=16, blank=False)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64, blank=False)
    series_instance_uids = ArrayField(KeyField(max_length=64, blank=False), verbose_name=_("series"), default=list)
    sop_instance_uids = ArrayField(KeyField(max_length=64, blank=False), verbose_name=_("instances"), default=list)
    description = models.CharField(_("description"), max_length=256, blank=True, default="")
    patient_ref = models.ForeignKey(
        Patient, models.SET_NULL, verbose_name=_("patient"), null=True, related_name="transfers"
    )
    study_ref = models.ForeignKey(Study, models.SET_NULL, verbose_name=_("study"), null=True, related_name="transfers")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    job = models.OneToOneField(Job, models.SET_NULL, verbose_name=_("job"), null=True, related_name="transfer")
    total = models.PositiveIntegerField(_("objects"), default=0)
    completed = models.PositiveIntegerField(_("completed"), default=0)
    warned = models.PositiveIntegerField(_("with warnings"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    rate = models.PositiveBigIntegerField(_("bytes a second"), default=0)
    pace = models.FloatField(_("objects a second"), default=0)
    created_at = models.DateTimeField(_("asked for"), default=timezone.now)
    started_at = models.DateTimeField(_("begun"), null=True)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True)

    objects = TransferQuerySet.as_manager()

    class Meta:
        verbose_name = _("transfer")
        verbose_name_plural = _("transfers")
        indexes = [
            models.Index(fields=["site", "-id"], name="transfer_newest"),
            models.Index(fields=["node", "-id"], name="transfer_of_node"),
            models.Index(fields=["study_instance_uid", "-id"], name="transfer_of_study"),
            models.Index(fields=["site", "-id"], condition=CALLED_OFF, name="transfer_called_off"),
            models.Index(fields=["site", "-id"], condition=IN_VAIN, name="transfer_in_vain"),
        ]

    def __str__(self) -> str:
        return f"{self.get_direction_display()} {self.node_title} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def state(self) -> TransferState:
        if self.job is not None:
            found = STATES[self.job.state]
        else:
            found = TransferState.DONE if self.finished_at else TransferState.CANCELLED
        if found == TransferState.DONE and self.failed and not self.completed and not self.warned:
            return TransferState.FAILED
        return found

    @property
    def is_finished(self) -> bool:
        return self.state not in (TransferState.WAITING, TransferState.RUNNING, TransferState.PAUSED)

    @property
    def has_failures(self) -> bool:
        """Whether it is over and not all came across."""
        return self.is_finished and self.failed > 0

    @property
    def may_be_retried(self) -> bool:
        return self.node_id is not None and (
            self.state in (TransferState.FAILED, TransferState.CANCELLED) or self.has_failures
        )

    @property
    def settled(self) -> int:
        return self.completed + self.warned + self.failed

    @property
    def percent(self) -> int | None:
        """How far it is; None while nobody knows how much there is."""
        return min(100, 100 * self.settled // self.total) if self.total else None

    @property
    def time_left(self) -> timedelta | None:
        """At the pace of the last moments; None when it is not running or nobody knows."""
        if self.state != TransferState.RUNNING or not self.pace or not self.total:
            return None
        return timedelta(seconds=round((self.total - self.settled) / self.pace))

    @property
    def took(self) -> timedelta | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return timedelta(seconds=max(1, round((self.finished_at - self.started_at).total_seconds())))


class TransferOutcome(models.IntegerChoices):
    """What became of one object, worst first."""

    FAILED = 0, _("Failed")
    WARNED = 1, _("With a warning")
    COMPLETED = 2, _("Completed")


class TransferResult(models.Model):
    """One object of a transfer. `status` is that of its C-STORE response, none when it never came to one."""

    transfer = models.ForeignKey(
        Transfer, models.CASCADE, verbose_name=_("transfer"), related_name="results", db_index=False
    )
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64, blank=False)
    outcome = models.SmallIntegerField(_("outcome"), choices=TransferOutcome)
    status = models.PositiveIntegerField(_("status"), null=True)
    error = models.CharField(_("error"), max_length=300, blank=True, default="")
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("result of a transfer")
        verbose_name_plural = _("results of transfers")
        constraints = [models.UniqueConstraint(fields=["transfer", "sop_instance_uid"], name="transfer_result_once")]
        indexes = [
            models.Index(fields=["sop_instance_uid"], name="transfer_result_by_uid"),
            models.Index(fields=["transfer", "outcome", "id"], name="transfer_result_worst_first"),
        ]

    def __str__(self) -> str:
        return self.sop_instance_uid
