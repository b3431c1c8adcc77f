"""Who sends HL7 v2, from where, and what is done with what they send."""

import ipaddress
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from integrations.models.character_set import CharacterSet
from integrations.models.destination import Hl7Destination
from radiology.models import Scope, Site
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField

# What a hospital's messages may do here, in the words of `Scope`.
SCOPES = {
    Scope.STUDIES_READ,
    Scope.PATIENTS_WRITE,
    Scope.PATIENTS_MERGE,
    Scope.ORDERS_WRITE,
    Scope.SCHEDULE_WRITE,
    Scope.REPORTS_WRITE,
}


class UnknownPatient(models.TextChoices):
    CREATE = "create", _("Register the patient")
    HOLD = "hold", _("Hold the message")


class UnknownProcedure(models.TextChoices):
    CREATE = "create", _("Order it as it is said")
    HOLD = "hold", _("Hold the message")


class ReplyType(models.TextChoices):
    ACK = "ack", _("Plain acknowledgment (ACK)")
    ORDER_RESPONSE = "orr", _("Order response (ORR, ORG, ORI)")


class AcknowledgmentMode(models.TextChoices):
    MESSAGE = "message", _("As the message says (MSH-15, MSH-16)")
    ORIGINAL = "original", _("Original mode, whatever the message says")


class Hl7PeerQuerySet(models.QuerySet["Hl7Peer"]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def receiving(self) -> Self:
        """Those to which messages are sent."""
        return self.active().exclude(destination_host="")


class Hl7Peer(Hl7Destination):
    """A system that sends HL7 v2 messages, receives them, or both.

    Services know it as whoever acts: it stands where a user stands.
    """

    name = models.CharField(_("name"), max_length=100, unique=True, help_text=_("As people here call that system."))
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE)
    sending_application = KeyField(
        _("sending application"), max_length=227, help_text=_("What stands in MSH-3. Empty: whatever stands there.")
    )
    sending_facility = KeyField(
        _("sending facility"), max_length=227, help_text=_("What stands in MSH-4. Empty: whatever stands there.")
    )
    addresses = ArrayField(
        KeyField(max_length=43, blank=False),
        verbose_name=_("addresses"),
        blank=True,
        default=list,
        help_text=_(
            "From where it may connect, separated by commas: 10.1.2.3, 10.1.0.0/16. All others are refused; 0.0.0.0/0 "
            "lets anybody in. Empty: it only receives."
        ),
    )
    character_set = models.CharField(
        _("character set"),
        max_length=16,
        choices=CharacterSet,
        blank=True,
        default=CharacterSet.GUESS,
        help_text=_("Of messages that name none themselves (MSH-18)."),
    )
    assigning_authority = KeyField(
        _("assigning authority"),
        max_length=64,
        help_text=_("Who hands out its patient numbers, where PID-3.4 is empty. Empty: the site's own issuer."),
    )
    unknown_patient = models.CharField(
        _("unknown patient"),
        max_length=8,
        choices=UnknownPatient,
        default=UnknownPatient.CREATE,
        help_text=_("A held message is answered AE; process it again when the patient is registered."),
    )
    unknown_procedure = models.CharField(
        _("unknown procedure"),
        max_length=8,
        choices=UnknownProcedure,
        default=UnknownProcedure.CREATE,
        help_text=_("A held message is answered AE; process it again when the procedure is in the catalogue."),
    )
    reply_type = models.CharField(
        _("answers to orders"), max_length=8, choices=ReplyType, default=ReplyType.ACK, help_text=_("What it expects.")
    )
    acknowledgment_mode = models.CharField(
        _("acknowledgment mode"),
        max_length=8,
        choices=AcknowledgmentMode,
        default=AcknowledgmentMode.MESSAGE,
        help_text=_("In enhanced mode it is told first that a message is kept (CA), then what became of it (AA, AE)."),
    )
    silent_after_minutes = models.PositiveIntegerField(
        _("silent after (minutes)"),
        default=0,
        help_text=_("So long without a message, and an alarm is raised. 0: it may be silent."),
    )
    queue_alarm = models.PositiveIntegerField(
        _("alarm at so many waiting"),
        default=100,
        help_text=_("So many messages of either direction that wait, and an alarm is raised. 0: never."),
    )
    may_request_tokens = models.BooleanField(
        _("may ask for study tokens"),
        default=False,
        help_text=_("A token opens the images of a study to whoever has it, without signing in."),
    )
    is_active = models.BooleanField(_("active"), default=True)
    last_message_at = models.DateTimeField(_("last message"), null=True, blank=True, editable=False)
    last_failure_at = models.DateTimeField(_("last failure"), null=True, blank=True, editable=False)

    objects = Hl7PeerQuerySet.as_manager()

    sees_every_site = False

    class Meta:
        verbose_name = _("HL7 peer")
        verbose_name_plural = _("HL7 peers")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["sending_application", "sending_facility", "addresses"],
                condition=~models.Q(addresses=[]),
                name="hl7_peer_identity",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        for address in self.addresses or []:
            try:
                ipaddress.ip_network(address.strip(), strict=False)
            except ValueError:
                told = _("%(address)s is no address, such as 10.1.2.3 or 10.1.0.0/16.")
                raise ValidationError({"addresses": ValidationError(told, params={"address": address})}) from None
        self.clean_destination()
        if not self.addresses and not self.receives:
            raise ValidationError({"addresses": _("Say from where it sends, or where it receives.")})

    def admits(self, address: str) -> bool:
        """Whether it may connect from there."""
        try:
            caller = ipaddress.ip_address(address)
        except ValueError:
            return False
        networks = (ipaddress.ip_network(each.strip(), strict=False) for each in self.addresses)
        return any(caller in network for network in networks)

    def means(self, *, sending_application: str, sending_facility: str) -> bool:
        """Whether a message that says so of its sender (MSH-3, MSH-4) is this peer's."""
        return self.sending_application in {"", sending_application} and self.sending_facility in {
            "",
            sending_facility,
        }

    def may(self, scope: str) -> bool:
        return self.is_active and scope in SCOPES

    @property
    def issuer_of_patient_id(self) -> str:
        """The issuer of numbers that name none."""
        return self.assigning_authority or self.site.issuer_of_patient_id
