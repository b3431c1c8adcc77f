"""What the Orthanc-shaped door must remember: identifiers that lead to rows, and what came of late.

Rows of the archive are named by level and key, without foreign keys: objects come by the million, and an
identifier whose row is gone leads nowhere.
"""

import secrets
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from integrations.models.webhook import require_address
from pacs.models import ApplicationEntity
from pacs.models.secrets import decrypt, encrypt
from radiology.models import ApiToken, Job, Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
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


class OrthancPeer(models.Model):
    """An Orthanc, or another Sinar, that takes objects over its REST API. Its password is kept encrypted."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    name = KeyField(_("name"), max_length=64, blank=False, help_text=_("As programs name it in addresses."))
    url = models.CharField(
        _("address"), max_length=500, help_text=_("Where its REST API begins: https://pacs.hospital.com/orthanc/")
    )
    username = models.CharField(_("user name"), max_length=150, blank=True, default="")
    password_encrypted = models.TextField(blank=True, default="", editable=False)
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("Orthanc peer")
        verbose_name_plural = _("Orthanc peers")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["site", "name"], name="orthanc_peer_name")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.url = self.url.rstrip("/") + "/"
        require_address(self.url, "url")
        if "?" in self.url:
            raise ValidationError({"url": _("An address without user name, password and #.")})
        if ":" in self.username:
            raise ValidationError({"username": _("A user name has no colon.")})
        if "/" in self.name:
            raise ValidationError({"name": _("A name has no slash: it stands in addresses.")})

    @property
    def password(self) -> str:
        """Raises OutOfResources when it cannot be read."""
        return decrypt(self.password_encrypted)

    @password.setter
    def password(self, text: str) -> None:
        self.password_encrypted = encrypt(text)


class OrthancJobQuerySet(models.QuerySet["OrthancJob"]):
    def visible_to(self, who: Any) -> Self:
        """The jobs of one's own site."""
        if not who.may("studies.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class OrthancJob(models.Model):
    """A request that makes new objects of stored ones, brings them to a peer, or has a node send them to another.

    It is kept for as long as its job.

    `selections`: a study's UID, UIDs of series, and of instances of it; none of both means the whole study. New
    identifiers follow from `secret`, so that a job that was cut short goes on with the same. `reached`: the number of
    the selection and the key of the instance after which it goes on.
    """

    class Kind(models.TextChoices):
        ANONYMIZE = "anonymize", _("Anonymize")
        MODIFY = "modify", _("Modify")
        MERGE = "merge", _("Merge into a study")
        MOVE = "move", _("Have sent on")
        PEER = "peer", _("Send to a peer")
        SPLIT = "split", _("Split off a study")

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    level = KeyField(_("level"), max_length=8, help_text=_("Of the one resource; empty where there are several."))
    changed_level = KeyField(_("level of the changes"), max_length=8)
    node = models.ForeignKey(ApplicationEntity, models.SET_NULL, verbose_name=_("node"), null=True, related_name="+")
    target = KeyField(_("target AE title"), max_length=16)
    study_instance_uid = KeyField(
        _("Study Instance UID"), max_length=64, help_text=_("Of the study that copies are merged or split into.")
    )
    peer = models.ForeignKey("OrthancPeer", models.SET_NULL, verbose_name=_("peer"), null=True, related_name="+")
    request = models.JSONField(_("request"), default=dict)
    resources = models.JSONField(_("resources"), default=list)
    selections = models.JSONField(_("selections"), default=list)
    secret = models.CharField(max_length=64, default=secrets.token_hex, editable=False)
    keeps_source = models.BooleanField(_("keeps the source"), default=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, related_name="+"
    )
    token = models.ForeignKey(ApiToken, models.SET_NULL, verbose_name=_("token"), null=True, related_name="+")
    job = models.OneToOneField(Job, models.CASCADE, verbose_name=_("job"), related_name="orthanc_job")
    total = models.PositiveIntegerField(_("objects"), default=0)
    done = models.PositiveIntegerField(_("completed"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    reached = models.JSONField(_("reached"), default=list)
    created = models.JSONField(_("created"), default=list)
    created_at = models.DateTimeField(_("asked for"), default=timezone.now)

    objects = OrthancJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("Orthanc job")
        verbose_name_plural = _("Orthanc jobs")
        indexes = [models.Index(fields=["site", "-id"], name="orthanc_jobs_newest")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def by(self) -> Any:
        """Who asked for it, None where that user or token is no more."""
        return self.user or self.token


class OrthancOrigin(models.Model):
    """Of which resource another was made: `AnonymizedFrom` and `ModifiedFrom` of Orthanc's metadata.

    The new one is named by level and key, the source by the identifier that it had then.
    """

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    level = models.PositiveSmallIntegerField(_("level"), choices=OrthancLevel)
    row = models.BigIntegerField(_("row"))
    anonymized = models.BooleanField(_("anonymized"))
    source = models.CharField(_("source"), max_length=44)

    class Meta:
        verbose_name = _("Orthanc origin")
        verbose_name_plural = _("Orthanc origins")
        constraints = [models.UniqueConstraint(fields=["level", "row"], name="orthanc_origin")]

    def __str__(self) -> str:
        return self.source
