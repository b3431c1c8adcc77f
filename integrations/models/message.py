"""HL7 v2 messages, as they came and as they are sent: what was answered, and what became of them."""

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from integrations.models.peer import Hl7Peer
from radiology.models import Order, Patient, Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class Direction(models.TextChoices):
    IN = "in", _("Received")
    OUT = "out", _("Sent")


class MessageState(models.TextChoices):
    RECEIVED = "received", _("Received")
    WAITING = "waiting", _("Waiting")
    PROCESSED = "processed", _("Processed")
    FAILED = "failed", _("Failed")
    DUPLICATE = "duplicate", _("Came again")
    REJECTED = "rejected", _("Rejected")
    DEAD = "dead", _("Given up")


# Of messages that came in: what is kept and not yet processed.
UNDONE = (MessageState.RECEIVED, MessageState.WAITING)
# What a person is to look at.
FAULTY = (MessageState.FAILED, MessageState.REJECTED, MessageState.DEAD)
# Of messages that we send: what is still to be sent. One that failed is tried again at `due_at`.
QUEUED = (MessageState.WAITING, MessageState.FAILED)


class AcknowledgmentCode(models.TextChoices):
    """MSA-1 (HL7 table 0008), original and enhanced mode."""

    ACCEPT = "AA", _("Accepted")
    ERROR = "AE", _("Error")
    REJECT = "AR", _("Rejected")
    COMMIT_ACCEPT = "CA", _("Received")
    COMMIT_ERROR = "CE", _("Not received: error")
    COMMIT_REJECT = "CR", _("Not received: rejected")


class Hl7MessageQuerySet(models.QuerySet["Hl7Message"]):
    def visible_to(self, who: Any) -> Self:
        """The messages of one's own site, for who looks after the interfaces."""
        if not who.may("interfaces.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def open(self) -> Self:
        """What waits for a person: it failed, was refused, or was given up, and nobody put it aside."""
        return self.filter(state__in=FAULTY, closed_at=None)

    def queued(self) -> Self:
        """What is still to be sent."""
        return self.filter(direction=Direction.OUT, state__in=QUEUED)


class Hl7Message(models.Model):
    """One message. `raw` is what stands between the marks of MLLP, byte by byte, kept before anything was done.

    `changed` lists what it wrote: the model's label, the row's key, and what happened to it. Of one that we send,
    `acknowledgment` is the peer's answer, and `patients` are the keys of those whom it is about: of two messages
    that share one, the later is sent later.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    peer = models.ForeignKey(Hl7Peer, models.PROTECT, verbose_name=_("peer"), null=True, blank=True, db_index=False)
    direction = models.CharField(_("direction"), max_length=3, choices=Direction, default=Direction.IN)
    address = models.GenericIPAddressField(_("address"), null=True)
    received_at = models.DateTimeField(_("received, or made"), default=timezone.now)
    raw = models.BinaryField(_("message"), editable=False)
    size = models.PositiveIntegerField(_("bytes"))
    content_sha256 = models.BinaryField(_("SHA-256"), max_length=32, editable=False)
    message_control_id = KeyField(_("control ID"), max_length=199)
    sending_application = KeyField(_("sending application"), max_length=227)
    sending_facility = KeyField(_("sending facility"), max_length=227)
    message_code = KeyField(_("type"), max_length=16, help_text=_("MSH-9.1, such as ADT."))
    trigger_event = KeyField(_("event"), max_length=16, help_text=_("MSH-9.2, such as A08."))
    version_id = KeyField(_("version"), max_length=16)
    state = models.CharField(_("state"), max_length=9, choices=MessageState, default=MessageState.RECEIVED)
    acknowledgment_code = models.CharField(
        _("answer"), max_length=2, choices=AcknowledgmentCode, blank=True, default=""
    )
    is_enhanced = models.BooleanField(
        _("enhanced mode"), default=False, help_text=_("The sender is told that it is kept before it is processed.")
    )
    acknowledgment = models.BinaryField(_("answer as sent"), default=bytes, editable=False)
    error = models.TextField(_("error"), blank=True, default="")
    note = models.TextField(_("note"), blank=True, default="")
    reuses_control_id = models.BooleanField(
        _("control ID used before"), default=False, help_text=_("For another message, within thirty days.")
    )
    duplicate_of = models.ForeignKey(
        "self", models.SET_NULL, verbose_name=_("came first as"), null=True, blank=True, related_name="duplicates"
    )
    patient_ref = models.ForeignKey(Patient, models.SET_NULL, verbose_name=_("patient"), null=True, blank=True)
    order_ref = models.ForeignKey(Order, models.SET_NULL, verbose_name=_("order"), null=True, blank=True)
    changed = models.JSONField(_("changed"), default=list, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    processed_at = models.DateTimeField(_("processed"), null=True, blank=True)
    patients = ArrayField(models.BigIntegerField(), verbose_name=_("about"), default=list, blank=True, editable=False)
    due_at = models.DateTimeField(_("tried again at"), null=True, blank=True, editable=False)
    replay_of = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("replay of"),
        null=True,
        blank=True,
        related_name="replays",
        db_index=False,
    )
    replayed_by = models.CharField(_("replayed by"), max_length=200, blank=True, default="")
    closed_at = models.DateTimeField(_("put aside"), null=True, blank=True, editable=False)
    closed_by = models.CharField(_("put aside by"), max_length=200, blank=True, default="", editable=False)

    objects = Hl7MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("HL7 message")
        verbose_name_plural = _("HL7 messages")
        indexes = [
            models.Index(F("site"), F("id").desc(), name="hl7_by_site"),
            models.Index(F("site"), F("state"), F("id").desc(), name="hl7_by_state_of_site"),
            models.Index(F("state"), F("id").desc(), name="hl7_by_state"),
            models.Index(F("peer"), F("id").desc(), name="hl7_by_peer"),
            models.Index(F("message_code"), F("id").desc(), name="hl7_by_code"),
            models.Index(F("message_control_id"), F("received_at").desc(), name="hl7_by_control_id"),
            models.Index(F("direction"), F("id").desc(), name="hl7_by_direction"),
            models.Index(F("id").desc(), condition=Q(reuses_control_id=True), name="hl7_reused_id"),
            models.Index(F("peer"), F("id"), condition=Q(direction="out", state__in=QUEUED), name="hl7_queue"),
            models.Index(F("site"), F("id").desc(), condition=Q(state__in=FAULTY, closed_at=None), name="hl7_open"),
            models.Index(F("peer"), F("id"), condition=Q(direction="in", state__in=UNDONE), name="hl7_undone"),
            models.Index(F("replay_of"), condition=~Q(replay_of=None), name="hl7_replays"),
            BrinIndex(fields=["received_at"], name="hl7_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.message_control_id}".strip()

    @property
    def is_open(self) -> bool:
        """Whether it waits for a person."""
        return self.state in FAULTY and self.closed_at is None

    @property
    def state_name(self) -> str:
        """Its state in a word; what was processed elsewhere was sent."""
        is_sent = self.direction == Direction.OUT and self.state == MessageState.PROCESSED
        return str(_("Sent")) if is_sent else str(self.get_state_display())

    @property
    def character_set(self) -> str:
        """How it is written where it does not say so itself (MSH-18); empty without a peer."""
        if self.peer is None:
            return ""
        return self.peer.sent_character_set if self.direction == Direction.OUT else self.peer.character_set

    @property
    def kind(self) -> str:
        """Type and event as HL7 writes them: ADT^A08."""
        return "^".join(part for part in (self.message_code, self.trigger_event) if part) or "?"
