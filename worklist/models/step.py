from datetime import datetime, timedelta
from typing import Any, Self

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models import RequestedProcedure, Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField
from worklist.models.ranges import KeyRange, TimeRange
from worklist.models.room import Device, Room


class StepStatus(models.TextChoices):
    """Scheduled Procedure Step Status (0040,0020), and how a step may end."""

    SCHEDULED = "SCHEDULED", _("Scheduled")
    ARRIVED = "ARRIVED", _("Arrived")
    READY = "READY", _("Ready")
    STARTED = "STARTED", _("In progress")
    COMPLETED = "COMPLETED", _("Completed")
    DISCONTINUED = "DISCONTINUED", _("Discontinued")
    CANCELLED = "CANCELLED", _("Cancelled")
    NO_SHOW = "NO SHOW", _("Did not come")


OPEN = (StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY, StepStatus.STARTED)
ENDED = (StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELLED, StepStatus.NO_SHOW)
LONGEST = timedelta(days=1)
# What takes a room: a step that has ended, or will not happen, gives its time back.
TAKES_ROOM = Q(status__in=OPEN, room__isnull=False, scheduled_start__isnull=False)


class StepQuerySet(models.QuerySet["ScheduledProcedureStep"]):
    def visible_to(self, who: Any) -> Self:
        """The steps of one's own site."""
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def open(self) -> Self:
        """Neither ended nor called off."""
        return self.filter(status__in=OPEN)

    def touching(self, start: datetime, end: datetime) -> Self:
        """Those whose time overlaps that from `start` to `end`; by start, since none is longer than `LONGEST`."""
        return self.filter(scheduled_start__gte=start - LONGEST, scheduled_start__lt=end, scheduled_end__gt=start)

    def waiting(self) -> Self:
        """Those that are to be put on the calendar, the ones with a wished time first."""
        return self.filter(room=None, status__in=OPEN).exclude(status=StepStatus.STARTED)

    def with_patient(self) -> Self:
        """Procedure, order, patient, room and device of each step come along."""
        return self.select_related(
            "requested_procedure_ref__order_ref__patient_ref",
            "requested_procedure_ref__procedure_ref",
            "room",
            "device",
        )


class ScheduledProcedureStep(models.Model):
    """What a modality shall do for a requested procedure, when and where (PS3.3 C.4.10).

    `scheduled_station_ae_titles` and `scheduled_station_name` follow from the device, else from the
    devices of the room, and are kept by the scheduling service. A step without `scheduled_start` waits
    to be put on the calendar.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    requested_procedure_ref = models.ForeignKey(
        RequestedProcedure,
        models.CASCADE,
        verbose_name=_("requested procedure"),
        related_name="scheduled_procedure_steps",
    )
    scheduled_procedure_step_id = KeyField(_("step ID"), max_length=16, blank=False)
    scheduled_procedure_step_description = models.CharField(_("description"), max_length=64, blank=True, default="")
    scheduled_protocol_codes = models.JSONField(
        _("protocol codes"), default=list, blank=True, help_text=_("Lists of code, coding scheme and meaning.")
    )
    modality = KeyField(_("modality"), max_length=16, blank=False)
    room = models.ForeignKey(Room, models.PROTECT, verbose_name=_("room"), null=True, blank=True, db_index=False)
    device = models.ForeignKey(Device, models.PROTECT, verbose_name=_("device"), null=True, blank=True)
    scheduled_station_ae_titles = ArrayField(
        KeyField(max_length=16, blank=False), verbose_name=_("AE titles"), default=list, blank=True
    )
    scheduled_station_name = KeyField(_("station name"), max_length=16)
    scheduled_start = models.DateTimeField(_("starts"), null=True, blank=True)
    scheduled_end = models.DateTimeField(_("ends"), null=True, blank=True)
    scheduled_performing_physician_name = models.CharField(
        _("performing physician"), max_length=324, blank=True, default=""
    )
    pre_medication = models.CharField(_("pre-medication"), max_length=64, blank=True, default="")
    requested_contrast_agent = models.CharField(_("contrast agent"), max_length=64, blank=True, default="")
    comments_on_the_scheduled_procedure_step = models.TextField(_("comments"), blank=True, default="")
    status = models.CharField(_("status"), max_length=16, choices=StepStatus, default=StepStatus.SCHEDULED)
    status_reason = models.CharField(_("reason of the status"), max_length=200, blank=True, default="")
    arrived_at = models.DateTimeField(_("arrived"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    is_inferred = models.BooleanField(
        _("inferred"), default=False, help_text=_("Its status follows from images, since no MPPS came.")
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = StepQuerySet.as_manager()

    class Meta:
        verbose_name = _("scheduled procedure step")
        verbose_name_plural = _("scheduled procedure steps")
        permissions = [
            ("reconcile_studies", _("Can decide which order a study belongs to")),
            ("schedule_anyway", _("Can schedule outside opening hours and in blocked times")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["site", "scheduled_procedure_step_id"], name="step_identity"),
            models.CheckConstraint(
                condition=Q(scheduled_start=None, scheduled_end=None) | Q(scheduled_end__gt=F("scheduled_start")),
                name="step_ends_later",
            ),
            ExclusionConstraint(
                name="step_room_never_twice",
                expressions=[
                    (KeyRange(F("room")), RangeOperators.OVERLAPS),
                    (TimeRange(F("scheduled_start"), F("scheduled_end")), RangeOperators.OVERLAPS),
                ],
                condition=TAKES_ROOM,
            ),
        ]
        indexes = [
            models.Index(fields=["site", "scheduled_start", "id"], name="step_by_start"),
            models.Index(
                fields=["site", "modality", "scheduled_start", "id"], condition=Q(status__in=OPEN), name="step_open"
            ),
            models.Index(
                fields=["site", "scheduled_start", "id"], condition=Q(status__in=OPEN, room=None), name="step_waiting"
            ),
            models.Index(fields=["site", "updated_at"], name="step_by_update"),
            models.Index(fields=["site", "status", "-id"], name="step_by_status"),
        ]

    def __str__(self) -> str:
        return self.scheduled_procedure_step_description or self.scheduled_procedure_step_id
