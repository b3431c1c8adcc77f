from typing import Any, Self

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from pacs.models import ApplicationEntity
from radiology.models import Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class RoomQuerySet(models.QuerySet["Room"]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def visible_to(self, who: Any) -> Self:
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class Room(models.Model):
    """Where examinations happen: what a calendar has a column for, and what is never booked twice."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    code = KeyField(
        _("code"), max_length=16, blank=False, help_text=_("Short and lasting, such as CT1; files and programs use it.")
    )
    name = models.CharField(_("name"), max_length=64, help_text=_("The heading of its column on the calendar."))
    location = models.CharField(_("location"), max_length=64, blank=True, default="", help_text=_("Floor, wing."))
    position = models.PositiveSmallIntegerField(_("position"), default=0, help_text=_("Order of the columns."))
    slot_minutes = models.PositiveSmallIntegerField(
        _("slot (minutes)"),
        default=15,
        validators=[MinValueValidator(5), MaxValueValidator(240)],
        help_text=_("Free times are offered in this step."),
    )
    is_active = models.BooleanField(_("in use"), default=True)

    objects = RoomQuerySet.as_manager()

    class Meta:
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        ordering = ["position", "name", "id"]
        constraints = [models.UniqueConstraint(fields=["site", "code"], name="room_code_of_site")]

    def __str__(self) -> str:
        return self.name


class OpeningHours(models.Model):
    """When a room takes patients, in the site's zone. A room without any is always open."""

    room = models.ForeignKey(Room, models.CASCADE, verbose_name=_("room"), related_name="opening_hours")
    weekday = models.PositiveSmallIntegerField(
        _("weekday"),
        choices=[
            (0, _("Monday")),
            (1, _("Tuesday")),
            (2, _("Wednesday")),
            (3, _("Thursday")),
            (4, _("Friday")),
            (5, _("Saturday")),
            (6, _("Sunday")),
        ],
    )
    opens = models.TimeField(_("opens"), help_text=_("In the site's time zone."))
    closes = models.TimeField(
        _("closes"),
        help_text=_("00:00 is midnight at the end of the day. Earlier than it opens: on the following day."),
    )

    class Meta:
        verbose_name = _("opening hours")
        verbose_name_plural = _("opening hours")
        ordering = ["weekday", "opens"]
        constraints = [models.UniqueConstraint(fields=["room", "weekday", "opens"], name="opening_hours_once")]

    def __str__(self) -> str:
        return f"{self.get_weekday_display()} {self.opens:%H:%M}–{self.closes:%H:%M}"


class RoomBlock(models.Model):
    """A time in which a room takes nobody: service, cleaning, a holiday."""

    room = models.ForeignKey(Room, models.CASCADE, verbose_name=_("room"), related_name="blocks")
    starts = models.DateTimeField(_("from"))
    ends = models.DateTimeField(_("until"))
    reason = models.CharField(_("reason"), max_length=100)

    class Meta:
        verbose_name = _("block of a room")
        verbose_name_plural = _("blocks of rooms")
        ordering = ["-starts"]
        constraints = [models.CheckConstraint(condition=Q(ends__gt=F("starts")), name="room_block_ends_later")]
        indexes = [models.Index(fields=["room", "ends"], name="room_block_by_end")]

    def __str__(self) -> str:
        return self.reason


class WorklistReach(models.TextChoices):
    """Which scheduled steps a device is told of."""

    STATION = "station", _("Steps of this device")
    ROOM = "room", _("Steps of its room")
    MODALITY = "modality", _("Steps of its modality")
    SITE = "site", _("All steps of the site")


class DeviceQuerySet(models.QuerySet["Device"]):
    def active(self) -> Self:
        """In use, in a room that is in use."""
        return self.filter(is_active=True, room__is_active=True)

    def visible_to(self, who: Any) -> Self:
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class Device(models.Model):
    """A modality: the station that steps are scheduled for. `node` is how it calls us and is sent to."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    room = models.ForeignKey(Room, models.PROTECT, verbose_name=_("room"), related_name="devices")
    name = models.CharField(_("name"), max_length=64)
    modality = KeyField(_("modality"), max_length=16, blank=False)
    station_ae_title = KeyField(
        _("AE title"), max_length=16, blank=False, help_text=_("As it asks for its worklist (0040,0001).")
    )
    station_name = KeyField(_("station name"), max_length=16, help_text=_("Scheduled Station Name (0040,0010)."))
    node = models.ForeignKey(
        ApplicationEntity, models.SET_NULL, verbose_name=_("DICOM node"), null=True, blank=True, related_name="devices"
    )
    worklist_reach = models.CharField(
        _("its worklist shows"), max_length=8, choices=WorklistReach, default=WorklistReach.MODALITY
    )
    worklist_days_back = models.PositiveSmallIntegerField(_("days back"), default=1)
    worklist_days_ahead = models.PositiveSmallIntegerField(_("days ahead"), default=7)
    sends_mpps = models.BooleanField(
        _("sends MPPS"), default=False, help_text=_("If not, started and completed are inferred from its images.")
    )
    quiet_minutes = models.PositiveSmallIntegerField(
        _("quiet minutes"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 60)],
        help_text=_("So long without a new image, and an examination without MPPS counts as completed."),
    )
    abandoned_after_hours = models.PositiveSmallIntegerField(
        _("abandoned after (hours)"),
        default=12,
        validators=[MinValueValidator(1), MaxValueValidator(14 * 24)],
        help_text=_("An examination whose end it never reports counts as completed so long after its last sign of it."),
    )
    is_active = models.BooleanField(_("in use"), default=True)

    objects = DeviceQuerySet.as_manager()

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["site", "station_ae_title"], name="device_title_of_site")]
        indexes = [models.Index(fields=["station_ae_title"], name="device_by_title")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.room_id and self.site_id and self.room.site_id != self.site_id:
            raise ValidationError({"room": _("This room belongs to another site.")})
