"""Where a peer receives HL7 v2 messages, which ones, and how it wants them written."""

import re

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from integrations.models.character_set import CharacterSet
from radiology.models.text import KeyField


class SentVersion(models.TextChoices):
    """MSH-12."""

    V2_3 = "2.3", "2.3"
    V2_3_1 = "2.3.1", "2.3.1"
    V2_4 = "2.4", "2.4"
    V2_5 = "2.5", "2.5"
    V2_5_1 = "2.5.1", "2.5.1"


class OrderMessage(models.TextChoices):
    """MSH-9 of what is said of orders."""

    ORM = "ORM^O01", _("General order (ORM^O01)")
    OMG = "OMG^O19", _("General clinical order (OMG^O19), since 2.4")
    OMI = "OMI^O23", _("Imaging order (OMI^O23), since 2.5")


class FillerOrder(models.TextChoices):
    """ORC-1 (HL7 table 0119) of an order that was made here."""

    SEND_NUMBER = "SN", _("SN: it answers with its own number")
    NEW = "NW", _("NW: a new order")


class PatientEvents(models.TextChoices):
    """MSH-9.2 of a patient who is new, and of one who was changed."""

    PERSON = "A28 A31", _("A28 and A31, of persons")
    VISIT = "A04 A08", _("A04 and A08, of visits")


class ReportEvents(models.TextChoices):
    """Which versions of reports are sent."""

    NONE = "", _("None")
    SIGNED = "signed", _("Those that are signed, and what becomes of them")
    ALL = "all", _("Preliminary ones too")


class ReportText(models.TextChoices):
    """OBX-2 of a section."""

    FORMATTED = "FT", _("FT: a section in one OBX, lines by \\.br\\")
    LINES = "TX", _("TX: an OBX for each line")


class ExpectedAnswer(models.TextChoices):
    """MSH-15 and MSH-16 (HL7 2.5.1 chapter 2.9)."""

    ORIGINAL = "original", _("Original mode: one answer (AA, AE, AR)")
    COMMIT = "commit", _("Enhanced mode, receipt only (CA, CE, CR)")
    APPLICATION = "application", _("Enhanced mode, receipt (CA) and then answer (AA)")


# Since when each kind of message is in the standard.
_SINCE: dict[str, str] = {OrderMessage.OMG: SentVersion.V2_4, OrderMessage.OMI: SentVersion.V2_5}


class Hl7Destination(models.Model):
    """The part of a peer that receives. Without a host it receives nothing.

    `next_try_at` is set while it cannot be reached: until then nobody tries.
    """

    destination_host = KeyField(
        _("host"), max_length=253, help_text=_("Name or address where it takes messages. Empty: nothing is sent to it.")
    )
    destination_port = models.PositiveIntegerField(
        _("port"), default=2575, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    destination_tls = models.BooleanField(
        _("encrypted (TLS)"),
        default=False,
        help_text=_("Its certificate is checked: SINAR_HL7_SENDER_TLS_CA says whom this server trusts."),
    )
    sends_orders = models.BooleanField(
        _("orders made here"),
        default=False,
        help_text=_("At the desk, over REST, and for images that nobody ordered: so that it bills them."),
    )
    sends_order_status = models.BooleanField(
        _("state of orders"), default=False, help_text=_("Scheduled, on hold, begun, completed, called off.")
    )
    sends_patients = models.BooleanField(
        _("patients"), default=False, help_text=_("Registered, changed, merged, and given another number here.")
    )
    sends_reports = models.CharField(
        _("reports"), max_length=6, choices=ReportEvents, blank=True, default=ReportEvents.NONE, help_text=_("ORU^R01.")
    )
    sends_echoes = models.BooleanField(
        _("also what it said itself"),
        default=False,
        help_text=_("What it asks for in a message of its own is otherwise not told back to it."),
    )
    sent_version = models.CharField(
        _("version"), max_length=5, choices=SentVersion, default=SentVersion.V2_5_1, help_text=_("MSH-12.")
    )
    order_message = models.CharField(
        _("messages about orders"), max_length=7, choices=OrderMessage, default=OrderMessage.ORM
    )
    filler_order = models.CharField(
        _("orders made here are"), max_length=2, choices=FillerOrder, default=FillerOrder.SEND_NUMBER
    )
    patient_events = models.CharField(
        _("messages about patients"), max_length=7, choices=PatientEvents, default=PatientEvents.PERSON
    )
    report_text = models.CharField(_("text of reports"), max_length=2, choices=ReportText, default=ReportText.FORMATTED)
    report_pdf = models.BooleanField(
        _("reports as PDF too"), default=True, help_text=_("In base64, in an OBX of type ED.")
    )
    link_base = models.CharField(
        _("this server's address"),
        max_length=200,
        blank=True,
        default="",
        help_text=_(
            "With which the link to the images begins, as that system's people reach us: https://pacs.hospital.com. "
            "Empty: no link is sent."
        ),
    )
    sent_application = KeyField(
        _("our application"), max_length=227, help_text=_("What we write in MSH-3. Empty: SINAR.")
    )
    sent_facility = KeyField(
        _("our facility"), max_length=227, help_text=_("What we write in MSH-4. Empty: the site's code.")
    )
    receiving_application = KeyField(_("receiving application"), max_length=227, help_text=_("What we write in MSH-5."))
    receiving_facility = KeyField(_("receiving facility"), max_length=227, help_text=_("What we write in MSH-6."))
    sent_character_set = models.CharField(
        _("character set of what is sent"),
        max_length=16,
        choices=[choice for choice in CharacterSet.choices if choice[0]],
        default=CharacterSet.UTF_8,
        help_text=_("MSH-18. What it has no characters for is spelt in those that it has."),
    )
    expected_answer = models.CharField(
        _("how it answers"), max_length=11, choices=ExpectedAnswer, default=ExpectedAnswer.ORIGINAL
    )
    unreachable_since = models.DateTimeField(_("unreachable since"), null=True, blank=True, editable=False)
    next_try_at = models.DateTimeField(_("tried again at"), null=True, blank=True, editable=False)
    failures = models.PositiveSmallIntegerField(_("failures in a row"), default=0, editable=False)
    last_sent_at = models.DateTimeField(_("last sent"), null=True, blank=True, editable=False)
    destination_error = models.TextField(_("why it cannot be reached"), blank=True, default="", editable=False)

    class Meta:
        abstract = True

    @property
    def receives(self) -> bool:
        return bool(self.destination_host)

    def clean_destination(self) -> None:
        """Raises ValidationError for what no version of HL7 has, and for events that have nowhere to go."""
        since = _SINCE.get(self.order_message)
        if since is not None and self.sent_version < since:
            told = _("Version %(version)s has no such message: choose another, or a later version.")
            raise ValidationError({"order_message": ValidationError(told, params={"version": self.sent_version})})
        if any(each.isspace() or not each.isprintable() for each in self.destination_host or ""):
            raise ValidationError({"destination_host": _("A host has no spaces.")})
        self.link_base = (self.link_base or "").rstrip("/")
        if self.link_base and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", self.link_base):
            raise ValidationError({"link_base": _("An address begins with https://.")})
        wants = (self.sends_orders, self.sends_order_status, self.sends_patients, self.sends_reports)
        if not self.receives and any(wants):
            raise ValidationError({"destination_host": _("Say where the messages go.")})
