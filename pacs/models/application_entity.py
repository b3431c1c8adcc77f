from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from radiology.models import Site, TimeZone
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class ConflictAnswer(models.TextChoices):
    ACCEPT = "accept", _("Accept and hold for review")
    REFUSE = "refuse", _("Refuse")


class NodePriority(models.TextChoices):
    """Who goes first where not everybody can: for places of the daemon, and in the line of what is stored."""

    DEVICE = "device", _("Device: first")
    NORMAL = "normal", _("Normal")
    BULK = "bulk", _("Bulk: last")


MOST_ASSOCIATIONS = 200
MOST_SIDE_BY_SIDE = 16
SLOWEST_RATE, FASTEST_RATE = 0.01, 100_000.0


def validate_rate(value: float) -> None:
    """Megabytes a second; 0: no limit. Slower than SLOWEST_RATE, peers would take us for dead."""
    if value != 0 and not SLOWEST_RATE <= value <= FASTEST_RATE:
        raise ValidationError(
            _("Megabytes a second: 0 for no limit, or from %(slowest)s to %(fastest)d."),
            params={"slowest": SLOWEST_RATE, "fastest": FASTEST_RATE},
        )


class ApplicationEntityQuerySet(models.QuerySet["ApplicationEntity"]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def destinations(self, title: str) -> Self:
        """Nodes of that title that we may send to, in the order they were made."""
        return self.active().filter(title=title, may_receive=True).order_by("id")


class ApplicationEntity(models.Model):
    """A DICOM node that we talk to: its title and address, and what it may do here (PS3.7 D.3, PS3.8)."""

    title = KeyField(
        _("AE title"),
        max_length=16,
        blank=False,
        validators=[RegexValidator(r"^[^\\\x00-\x1f]*[^\\\x00-\x20][^\\\x00-\x1f]*$")],
        help_text=_("Case matters. Several devices may share a title when their addresses differ."),
    )
    host = models.CharField(_("host"), max_length=255, help_text=_("Address or name."))
    port = models.PositiveIntegerField(
        _("port"), default=104, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    description = models.CharField(_("description"), max_length=200, blank=True, default="")
    site = models.ForeignKey(
        Site,
        models.PROTECT,
        verbose_name=_("site"),
        default=DEFAULT_SITE,
        help_text=_("What it sends belongs to this site, and it sees this site only."),
    )
    is_active = models.BooleanField(_("active"), default=True)
    tls = models.BooleanField(_("TLS"), default=False, help_text=_("Connect to it with TLS."))
    check_address = models.BooleanField(
        _("check address"), default=False, help_text=_("Accept its calls only from the host above.")
    )
    may_store = models.BooleanField(_("may send images (C-STORE)"), default=True)
    may_query = models.BooleanField(_("may search (C-FIND)"), default=True)
    may_retrieve = models.BooleanField(_("may retrieve (C-MOVE, C-GET)"), default=True)
    may_report_steps = models.BooleanField(
        _("may report what it performs (MPPS)"), default=True, help_text=_("It starts and completes examinations.")
    )
    may_ask_worklist = models.BooleanField(
        _("may ask for its worklist"), default=True, help_text=_("Modality Worklist C-FIND.")
    )
    may_receive = models.BooleanField(_("may be sent images"), default=True)
    may_commit = models.BooleanField(
        _("may ask for storage commitment"),
        default=True,
        help_text=_("Its images are checked on disk, and it is told at the address above which ones are safe here."),
    )
    specific_character_set = models.CharField(
        _("character set"),
        max_length=64,
        blank=True,
        default="",
        help_text=_(
            "Of answers to it, for example ISO_IR 100; what it lacks is transliterated. Empty: as it asks, else UTF-8."
        ),
    )
    transfer_syntaxes = ArrayField(
        KeyField(max_length=64, blank=False),
        verbose_name=_("transfer syntaxes"),
        default=list,
        blank=True,
        help_text=_("UIDs that it may use when it sends to us. Empty: all."),
    )
    issuer_of_patient_id = KeyField(
        _("issuer of patient IDs"), max_length=64, help_text=_("Where its images name none. Empty: the site's.")
    )
    time_zone = models.CharField(
        _("time zone"),
        max_length=32,
        choices=TimeZone,
        blank=True,
        default="",
        help_text=_("Of dates in its images that name none. Empty: the site's."),
    )
    empty_values_match = models.BooleanField(
        _("empty values match"),
        default=True,
        help_text=_("In its searches, a required key that the archive holds empty matches anything (PS3.4 C.2.2.1)."),
    )
    conflict_answer = models.CharField(
        _("answer to conflicting images"),
        max_length=8,
        choices=ConflictAnswer,
        default=ConflictAnswer.ACCEPT,
        help_text=_("When it sends an object whose UID is taken by other pixels. The first is kept either way."),
    )
    takes_rejection_notes = models.BooleanField(
        _("takes rejection notes"),
        default=True,
        help_text=_("When images that it was sent are rejected here, it is sent the note (IHE IOCM)."),
    )
    takes_availability = models.BooleanField(
        _("takes availability notifications"),
        default=False,
        help_text=_(
            "It is told when a study of its site is complete, and when images are deleted, restored or moved to "
            "another study (Instance Availability Notification)."
        ),
    )

    priority = models.CharField(
        _("priority"),
        max_length=8,
        choices=NodePriority,
        default=NodePriority.NORMAL,
        help_text=_(
            "Device: a modality, whose images never wait for others. Bulk: another archive or a migration, which gets "
            "what the others leave."
        ),
    )
    most_associations_from = models.PositiveSmallIntegerField(
        _("most associations from it"),
        default=0,
        validators=[MaxValueValidator(MOST_ASSOCIATIONS)],
        help_text=_("At once; one more is refused for the moment (local limit exceeded). 0: no limit."),
    )
    most_associations_to = models.PositiveSmallIntegerField(
        _("most associations to it"),
        default=0,
        validators=[MaxValueValidator(MOST_ASSOCIATIONS)],
        help_text=_("At once; what more there is to do waits. 0: no limit."),
    )
    associations_per_transfer = models.PositiveSmallIntegerField(
        _("associations of one transfer"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_SIDE_BY_SIDE)],
        help_text=_("A study is sent to it over so many associations side by side, where the limit above allows."),
    )
    receive_rate = models.FloatField(
        _("most MB a second from it"), default=0, validators=[validate_rate], help_text=_("Megabytes. 0: no limit.")
    )
    send_rate = models.FloatField(
        _("most MB a second to it"), default=0, validators=[validate_rate], help_text=_("Megabytes. 0: no limit.")
    )
    # Until when its rate is spent, whichever process spent it (pacs.dimse.throttle).
    received_until = models.DateTimeField(null=True, editable=False)
    sent_until = models.DateTimeField(null=True, editable=False)

    objects = ApplicationEntityQuerySet.as_manager()

    sees_every_site = False

    class Meta:
        verbose_name = _("DICOM node")
        verbose_name_plural = _("DICOM nodes")
        ordering = ["title", "id"]
        constraints = [
            models.UniqueConstraint(fields=["title", "host", "port"], name="application_entity_address"),
            models.CheckConstraint(condition=Q(port__gte=1) & Q(port__lte=65535), name="application_entity_port"),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.host}:{self.port})"

    def may(self, scope: str) -> bool:
        return {"studies.read": self.may_query or self.may_retrieve, "studies.write": self.may_store}.get(scope, False)
