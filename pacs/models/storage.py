import re
from typing import Any, Self
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.held import HeldDecision, HeldReason
from pacs.models.instance import Instance
from pacs.models.secrets import decrypt, encrypt
from pacs.models.series import Series
from radiology.models import Site
from radiology.models.text import KeyField

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)+")


class VolumeKind(models.TextChoices):
    DISK = "disk", _("Folder on a disk")
    S3 = "s3", _("Bucket of an object store (S3)")


class Volume(models.Model):
    """A place where bytes live. The newest active one takes what arrives."""

    name = models.CharField(_("name"), max_length=64, unique=True)
    kind = models.CharField(_("kind"), max_length=8, choices=VolumeKind, default=VolumeKind.DISK)
    path = models.CharField(
        _("folder"),
        max_length=500,
        blank=True,
        default="",
        help_text=_("Absolute. Empty: the folder “archive” among the data of this installation (SINAR_DATA)."),
    )
    endpoint_url = models.CharField(
        _("endpoint"),
        max_length=300,
        blank=True,
        default="",
        help_text=_("Address of the object store, as https://s3.example.org:9000. Empty: Amazon's, by the region."),
    )
    region = models.CharField(
        _("region"), max_length=64, blank=True, default="", help_text=_("As ap-southeast-3. Empty: us-east-1.")
    )
    bucket = models.CharField(_("bucket"), max_length=63, blank=True, default="")
    prefix = models.CharField(
        _("prefix"),
        max_length=100,
        blank=True,
        default="",
        help_text=_("Begins every key, as sinar/archive/. Empty: the bucket holds nothing but this volume."),
    )
    access_key_id = models.CharField(
        _("access key"),
        max_length=128,
        blank=True,
        default="",
        help_text=_("Empty: the credentials of the machine (instance role, environment)."),
    )
    secret_encrypted = models.TextField(_("secret key"), blank=True, default="", editable=False)
    verify_tls = models.BooleanField(
        _("verify the certificate"),
        default=True,
        help_text=_("Off only for an object store with a certificate of its own making, on your own network."),
    )
    is_active = models.BooleanField(_("takes new objects"), default=True)
    reserve = models.PositiveBigIntegerField(
        _("reserve"),
        default=512 * 1024**2,
        help_text=_(
            "Bytes that stay free: below, nothing more is taken in. Of a bucket: on the disk where objects are "
            "staged and cached."
        ),
    )
    verify_days = models.PositiveSmallIntegerField(
        _("verify every (days)"),
        default=0,
        help_text=_("All files are read and compared with their checksums, a part each night. 0: never by itself."),
    )

    class Meta:
        verbose_name = _("volume")
        verbose_name_plural = _("volumes")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=~Q(kind="s3") | ~Q(bucket=""), name="volume_s3_has_a_bucket"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def secret(self) -> str:
        """The secret key of an object store. Raises OutOfResources when it cannot be decrypted."""
        return decrypt(self.secret_encrypted)

    @secret.setter
    def secret(self, text: str) -> None:
        self.secret_encrypted = encrypt(text)

    def clean(self) -> None:
        problems = self._problems_of_bucket() if self.kind == VolumeKind.S3 else self._problems_of_folder()
        if problems:
            raise ValidationError(problems)

    def _problems_of_folder(self) -> dict[str, Any]:
        if self.path and not self.path.startswith("/"):
            return {"path": _("Give the whole path, from / on.")}
        return {}

    def _problems_of_bucket(self) -> dict[str, Any]:
        problems: dict[str, Any] = {}
        if self.path:
            problems["path"] = _("A bucket has no folder: leave this empty.")
        if self.endpoint_url and not _is_endpoint(self.endpoint_url):
            problems["endpoint_url"] = _("Give an address as https://host:port, without anything behind it.")
        if not BUCKET.fullmatch(self.bucket):
            problems["bucket"] = _("Give the bucket's name: small letters, digits, dots and hyphens, 3 to 63 of them.")
        if self.prefix and not PREFIX.fullmatch(self.prefix):
            problems["prefix"] = _("Letters, digits, _ . - in parts that end with /, as sinar/archive/.")
        if bool(self.access_key_id) != bool(self.secret_encrypted):
            problems["access_key_id"] = _("Give both the access key and the secret key, or neither.")
        return problems


def _is_endpoint(address: str) -> bool:
    try:
        parts = urlsplit(address)
        found = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return found and parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)


class LocationManager(models.Manager["Location"]):
    """The index of the pixels is long where there are many frames: it is read only by who asks for frames."""

    def get_queryset(self) -> models.QuerySet["Location"]:
        return super().get_queryset().defer("pixels")


class LocationQuerySet(models.QuerySet["Location"]):
    def current(self) -> Self:
        """One a living instance: the bytes that stand for it. All that reads begins with these."""
        return self.filter(is_current=True)

    def with_shared_parents(self) -> Self:
        """With what is needed to send them: instances, and each series with its study and each volume once for all."""
        series = models.Prefetch("instance_ref__series_ref", Series.objects.select_related("study_ref"))
        return self.select_related("instance_ref").prefetch_related(series, "volume")


class Location(models.Model):
    """Where one instance's bytes are: a Part 10 file whose data set is as received, or compressed since without loss.

    One location of an instance is the current one; others are bytes that it replaced, kept so that
    this can be undone.

    `size` and `sha256` are of the data set alone (file meta excluded); `data_set_offset` is where it
    begins in the file. `path` is relative to the volume and made by the server. `pixels` is where the frames are
    (`pacs.services.pixel_index`), null until somebody looked.
    """

    instance_ref = models.ForeignKey(Instance, models.CASCADE, verbose_name=_("instance"), related_name="locations")
    volume = models.ForeignKey(Volume, models.PROTECT, verbose_name=_("volume"), db_index=False)
    path = KeyField(_("path"), max_length=200, blank=False)
    data_set_offset = models.PositiveIntegerField(_("data set begins at"))
    size = models.PositiveBigIntegerField(_("bytes"))
    sha256 = models.BinaryField(_("SHA-256"), max_length=32)
    transfer_syntax_uid = KeyField(_("transfer syntax"), max_length=64, blank=False)
    is_current = models.BooleanField(_("current"), default=True)
    created_at = models.DateTimeField(_("written"), default=timezone.now)
    pixels = models.BinaryField(_("index of the pixels"), null=True, editable=False)

    objects = LocationManager.from_queryset(LocationQuerySet)()

    class Meta:
        verbose_name = _("archive location")
        verbose_name_plural = _("archive locations")
        constraints = [
            models.UniqueConstraint(fields=["volume", "path"], name="location_path"),
            models.UniqueConstraint(fields=["instance_ref"], condition=Q(is_current=True), name="location_current"),
        ]

    def __str__(self) -> str:
        return self.path


class HeldState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    ACCEPTED = "accepted", _("Accepted")
    REJECTED = "rejected", _("Rejected")


class HeldObjectQuerySet(models.QuerySet["HeldObject"]):
    def visible_to(self, who: Any) -> Self:
        """The held objects that `who` may decide about: of one's own site."""
        if not who.may("inbox.decide"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def waiting(self) -> Self:
        return self.filter(state=HeldState.WAITING)


class HeldObject(models.Model):
    """An object that was received and kept, and that contradicts what is there: a person decides."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    reason = models.CharField(_("reason"), max_length=32, choices=HeldReason)
    state = models.CharField(_("state"), max_length=10, choices=HeldState, default=HeldState.WAITING)
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64)
    sop_class_uid = KeyField(_("SOP Class UID"), max_length=64)
    series_instance_uid = KeyField(_("Series Instance UID"), max_length=64)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    patient_id = KeyField(_("patient ID (MRN)"), max_length=64)
    patient_name = models.CharField(_("name"), max_length=324, blank=True, default="")
    source_ae_title = KeyField(_("sent by"), max_length=16)
    volume = models.ForeignKey(Volume, models.PROTECT, verbose_name=_("volume"), db_index=False)
    path = KeyField(_("path"), max_length=200, blank=False)
    data_set_offset = models.PositiveIntegerField(_("data set begins at"))
    size = models.PositiveBigIntegerField(_("bytes"))
    sha256 = models.BinaryField(_("SHA-256"), max_length=32)
    transfer_syntax_uid = KeyField(_("transfer syntax"), max_length=64)
    created_at = models.DateTimeField(_("received"), default=timezone.now)
    decision = models.ForeignKey(
        HeldDecision, models.SET_NULL, verbose_name=_("decision"), null=True, related_name="held_objects"
    )

    objects = HeldObjectQuerySet.as_manager()

    class Meta:
        verbose_name = _("held object")
        verbose_name_plural = _("held objects")
        constraints = [
            # The same bytes sent again are the same case.
            models.UniqueConstraint(fields=["site", "sop_instance_uid", "sha256"], name="held_once"),
            models.UniqueConstraint(fields=["volume", "path"], name="held_path"),
        ]
        indexes = [
            models.Index(fields=["site", "state", "-id"], name="held_waiting"),
            models.Index(fields=["study_instance_uid"], name="held_by_study"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.sop_instance_uid}"
