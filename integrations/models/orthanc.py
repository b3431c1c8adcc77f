"""What the Orthanc-shaped door must remember: identifiers that lead to rows, and what came of late.

Rows of the archive are named by level and key, without foreign keys: objects come by the million, and an
identifier whose row is gone leads nowhere.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import ApplicationEntity
from radiology.models import Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class OrthancLevel(models.IntegerChoices):
    """The levels of Orthanc's resources."""

    PATIENT = 1, _("Patient")
    STUDY = 2, _("Study")
    SERIES = 3, _("Series")
    INSTANCE = 4, _("Instance")


class OrthancChange(models.IntegerChoices):
    """What happened to a resource, as `/changes` tells it."""

    NEW = 0, _("New")
    STABLE = 1, _("Stable")


class OrthancResource(models.Model):
    """One change of one resource, its key the sequence number of `/changes`.

    A NEW one also says that the identifier leads to that row, from now on and for good: after a correction
    the same row has a further one, and the former still leads to it. Written by one process at a time, so
    that who reads on from a number misses nothing.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    change = models.PositiveSmallIntegerField(_("change"), choices=OrthancChange, default=OrthancChange.NEW)
    level = models.PositiveSmallIntegerField(_("level"), choices=OrthancLevel)
    digest = models.BinaryField(_("SHA-1"), max_length=20)
    row = models.BigIntegerField(_("row"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("Orthanc identifier")
        verbose_name_plural = _("Orthanc identifiers")
        constraints = [
            models.UniqueConstraint(
                fields=["digest", "site", "level", "row"], condition=Q(change=0), name="orthanc_identifier"
            )
        ]
        indexes = [models.Index(fields=["site", "id"], name="orthanc_changes")]

    def __str__(self) -> str:
        text = bytes(self.digest).hex()
        return "-".join(text[start : start + 8] for start in range(0, 40, 8))


class OrthancArrival(models.Model):
    """Objects that came, or studies that were corrected, whose identifiers nobody has written down yet.

    One row for a batch, in the transaction that stores it. `is_backlog`: what was there before this table.
    """

    instances = ArrayField(models.BigIntegerField(), verbose_name=_("instances"), default=list)
    studies = ArrayField(models.BigIntegerField(), verbose_name=_("studies"), default=list)
    is_backlog = models.BooleanField(_("from before"), default=False)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("arrival without Orthanc identifier")
        verbose_name_plural = _("arrivals without Orthanc identifier")
        indexes = [models.Index(fields=["is_backlog", "id"], name="orthanc_arrivals")]

    def __str__(self) -> str:
        return str(self.pk)


class OrthancUnsettled(models.Model):
    """A series to which objects came a moment ago: it is stable when none has come for a minute."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    series = models.BigIntegerField(_("series"), unique=True)
    study = models.BigIntegerField(_("study"), db_index=True)
    patient = models.BigIntegerField(_("patient"), db_index=True)
    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("series not yet stable")
        verbose_name_plural = _("series not yet stable")

    def __str__(self) -> str:
        return str(self.series)


class OrthancQuery(models.Model):
    """A search at another node and what it answered, kept for a day so that answers can be retrieved."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"))
    node = models.ForeignKey(ApplicationEntity, models.CASCADE, verbose_name=_("node"))
    level = KeyField(_("level"), max_length=8)
    keys = models.JSONField(_("keys"), default=dict)
    answers = models.JSONField(_("answers"), default=list)
    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("Orthanc query")
        verbose_name_plural = _("Orthanc queries")

    def __str__(self) -> str:
        return f"{self.level} {self.at:%Y-%m-%d %H:%M}"
