from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.site import Site
from radiology.models.text import KeyField


class JobState(models.TextChoices):
    PENDING = "pending", _("Waiting")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    DONE = "done", _("Done")
    DEAD = "dead", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class JobPriority(models.IntegerChoices):
    """Of the jobs that are due, those of the lowest number go first."""

    FIRST = 0, _("First")
    NORMAL = 1, _("Normal")
    BULK = 2, _("When there is room")


class Job(models.Model):
    """Something that must happen later, written in the transaction that made it necessary.

    Claimed with `FOR UPDATE SKIP LOCKED` and a lease: a worker that dies gives the job back when
    its lease runs out. Jobs with the same `ordering_key` run one after the other, in order, whatever
    their priority. A paused one holds nothing up; as long as it has a lease, its worker is about to stop.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), null=True, blank=True, db_index=False)
    kind = KeyField(_("kind"), max_length=64, blank=False)
    arguments = models.JSONField(_("arguments"), default=dict, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=JobState, default=JobState.PENDING)
    priority = models.PositiveSmallIntegerField(_("priority"), choices=JobPriority, default=JobPriority.NORMAL)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("most attempts"), default=20)
    next_attempt_at = models.DateTimeField(_("next attempt"), default=timezone.now)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    progress = models.PositiveIntegerField(_("progress"), default=0)
    progress_total = models.PositiveIntegerField(_("of"), default=0)
    error = models.TextField(_("error"), blank=True, default="")
    idempotency_key = models.CharField(_("idempotency key"), max_length=128, null=True, blank=True, unique=True)
    ordering_key = KeyField(_("ordering key"), max_length=128)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        indexes = [
            models.Index(fields=["priority", "next_attempt_at", "id"], condition=Q(state="pending"), name="job_due"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="job_leased"),
            models.Index(
                fields=["ordering_key", "id"],
                condition=Q(state__in=["pending", "running"]) & ~Q(ordering_key=""),
                name="job_ordering",
            ),
            models.Index(fields=["state", "-id"], name="job_by_state"),
            models.Index(fields=["kind", "-id"], name="job_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def is_stopping(self) -> bool:
        """Whether it was paused, and its worker has not let go of it yet."""
        return self.state == JobState.PAUSED and self.lease_until is not None and self.lease_until > timezone.now()
