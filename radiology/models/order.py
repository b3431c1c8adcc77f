from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.patient import Patient
from radiology.models.procedure import Laterality, Procedure
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField


class OrderStatus(models.TextChoices):
    """Values of FHIR R4 request-status that an imaging order takes."""

    DRAFT = "draft", _("Draft")
    ACTIVE = "active", _("Active")
    ON_HOLD = "on-hold", _("On hold")
    COMPLETED = "completed", _("Completed")
    REVOKED = "revoked", _("Revoked")
    ENTERED_IN_ERROR = "entered-in-error", _("Entered in error")


class ProcedureStatus(models.TextChoices):
    """How far one requested procedure is."""

    REQUESTED = "requested", _("Requested")
    IN_PROGRESS = "in-progress", _("In progress")
    COMPLETED = "completed", _("Completed")
    DISCONTINUED = "discontinued", _("Discontinued")
    CANCELLED = "cancelled", _("Cancelled")


class OrderOrigin(models.TextChoices):
    """Which door an order came through."""

    DESK = "desk", _("Desk")
    WARD = "ward", _("Ward")
    REST = "rest", _("REST")
    HL7 = "hl7", _("HL7")
    FHIR = "fhir", _("FHIR")
    IMAGES = "images", _("Unscheduled images")


class PregnancyStatus(models.TextChoices):
    """Pregnancy Status (0010,21C0), US 1 to 4."""

    NOT_ASKED = "", _("Not asked")
    NO = "1", _("Not pregnant")
    POSSIBLE = "2", _("Possibly pregnant")
    YES = "3", _("Pregnant")
    UNKNOWN = "4", _("Unknown")


class Answer(models.TextChoices):
    """What somebody answered to a question of safety; not asked is not the same as not known."""

    NOT_ASKED = "", _("Not asked")
    NO = "no", _("No")
    YES = "yes", _("Yes")
    UNKNOWN = "unknown", _("Not known")


class Priority(models.TextChoices):
    """Requested Procedure Priority (0040,1003)."""

    STAT = "STAT", _("Stat")
    HIGH = "HIGH", _("High")
    ROUTINE = "ROUTINE", _("Routine")
    MEDIUM = "MEDIUM", _("Medium")
    LOW = "LOW", _("Low")


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, who: Any) -> Self:
        if not (who.may("studies.read") or who.may("orders.write")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class Order(models.Model):
    """An imaging service request; the accession number is its own, several procedures may share it."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE)
    patient_ref = models.ForeignKey(Patient, models.PROTECT, verbose_name=_("patient"), related_name="orders")
    accession_number = KeyField(_("accession number"), max_length=16)
    issuer_of_accession_number = KeyField(_("issuer of accession number"), max_length=64)
    placer_order_number = KeyField(_("placer order number"), max_length=64)
    filler_order_number = KeyField(_("filler order number"), max_length=64)
    status = models.CharField(_("status"), max_length=16, choices=OrderStatus, default=OrderStatus.ACTIVE)
    priority = models.CharField(_("priority"), max_length=16, choices=Priority, default=Priority.ROUTINE)
    referring_physician_name = models.CharField(_("referring physician"), max_length=324, blank=True, default="")
    referring_physician_identifier = KeyField(
        _("referring physician's number"), max_length=64, help_text=_("As the hospital knows them (XCN.1 of PV1-8).")
    )
    requesting_physician = models.CharField(_("requesting physician"), max_length=324, blank=True, default="")
    requesting_physician_identifier = KeyField(
        _("requesting physician's number"), max_length=64, help_text=_("As the hospital knows them (XCN.1 of OBR-16).")
    )
    ordering_physician = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("ordered by"), null=True, blank=True
    )
    reason_for_the_requested_procedure = models.TextField(_("clinical question"), blank=True, default="")
    status_reason = models.CharField(
        _("reason of the status"), max_length=200, blank=True, default="", help_text=_("Why it was cancelled or held.")
    )
    origin = models.CharField(_("came by"), max_length=8, choices=OrderOrigin, default=OrderOrigin.DESK)
    entered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("entered by"),
        null=True,
        blank=True,
        related_name="entered_orders",
    )
    requesting_service = models.CharField(_("requesting service"), max_length=64, blank=True, default="")
    current_patient_location = models.CharField(_("patient's location"), max_length=64, blank=True, default="")
    admission_id = KeyField(_("admission ID"), max_length=64)
    patient_transport_arrangements = models.CharField(_("transport"), max_length=64, blank=True, default="")
    requested_start = models.DateTimeField(_("wanted at"), null=True, blank=True)
    clinical_history = models.TextField(_("clinical history"), blank=True, default="")
    pregnancy_status = models.CharField(
        _("pregnancy"), max_length=1, choices=PregnancyStatus, blank=True, default=PregnancyStatus.NOT_ASKED
    )
    last_menstrual_date = models.DateField(_("last menstrual period"), null=True, blank=True)
    patient_weight = models.DecimalField(_("weight (kg)"), max_digits=5, decimal_places=1, null=True, blank=True)
    patient_size = models.DecimalField(_("height (m)"), max_digits=4, decimal_places=2, null=True, blank=True)
    contrast_allergy = models.CharField(
        _("allergic to contrast media"), max_length=7, choices=Answer, blank=True, default=Answer.NOT_ASKED
    )
    contrast_allergies = models.CharField(
        _("contrast allergies"),
        max_length=200,
        blank=True,
        default="",
        help_text=_("To which medium, and what happened."),
    )
    egfr = models.DecimalField(_("eGFR (ml/min/1.73 m²)"), max_digits=5, decimal_places=1, null=True, blank=True)
    egfr_date = models.DateField(_("eGFR measured on"), null=True, blank=True)
    takes_metformin = models.CharField(
        _("takes metformin"), max_length=7, choices=Answer, blank=True, default=Answer.NOT_ASKED
    )
    special_needs = models.CharField(_("special needs"), max_length=64, blank=True, default="")
    patient_state = models.CharField(
        _("patient state"), max_length=64, blank=True, default="", help_text=_("Dangers for staff, such as isolation.")
    )
    client_key = KeyField(
        _("client's key"), max_length=128, help_text=_("Under which a program made it: the same key makes it once.")
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, editable=False)

    objects = OrderQuerySet.as_manager()

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        constraints = [
            models.UniqueConstraint(
                fields=["site", "issuer_of_accession_number", "accession_number"],
                condition=~Q(accession_number=""),
                name="order_accession_number",
            ),
            models.UniqueConstraint(
                fields=["site", "client_key"], condition=~Q(client_key=""), name="order_client_key"
            ),
        ]
        indexes = [
            models.Index(fields=["site", "accession_number"], name="order_by_accession"),
            models.Index(fields=["site", "status", "-id"], name="order_by_status"),
            models.Index(fields=["placer_order_number"], name="order_by_placer"),
            models.Index(fields=["filler_order_number"], name="order_by_filler"),
            models.Index(fields=["site", "created_at"], name="order_by_day"),
            models.Index(fields=["site", "updated_at"], name="order_by_change"),
            models.Index(fields=["site", "-id"], name="order_newest"),
        ]

    def __str__(self) -> str:
        return self.accession_number or str(self.public_id)


class OrderAttachment(models.Model):
    """A paper that came with an order, such as the referral letter. Its bytes lie in the database, with the backups."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    order_ref = models.ForeignKey(Order, models.CASCADE, verbose_name=_("order"), related_name="attachments")
    name = models.CharField(_("file name"), max_length=200)
    content_type = KeyField(_("type"), max_length=64)
    size = models.PositiveIntegerField(_("bytes"))
    sha256 = models.BinaryField(_("SHA-256"), max_length=32, editable=False)
    content = models.BinaryField(_("content"), editable=False)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("added by"), null=True, blank=True
    )
    created_at = models.DateTimeField(_("added"), default=timezone.now, editable=False)
    removed_at = models.DateTimeField(_("removed"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("attachment of an order")
        verbose_name_plural = _("attachments of orders")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class OrderVersion(models.Model):
    """What an order was before a change, who changed it and why. Append-only."""

    order_ref = models.ForeignKey(Order, models.CASCADE, verbose_name=_("order"), related_name="versions")
    version = models.PositiveIntegerField(_("version"))
    changes = models.JSONField(_("changes"), default=dict, help_text=_("By field: what it was and what it became."))
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("user"), null=True, blank=True)
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("version of an order")
        verbose_name_plural = _("versions of orders")
        ordering = ["-version", "-id"]
        indexes = [models.Index(fields=["order_ref", "-version"], name="order_version")]

    def __str__(self) -> str:
        return f"{self.order_ref_id} {self.version}"


class AccessionCounter(models.Model):
    """The last accession number that a site gave out in a period of its pattern."""

    site = models.ForeignKey(Site, models.CASCADE, verbose_name=_("site"), db_index=False)
    period = KeyField(_("period"), max_length=16)
    last = models.PositiveBigIntegerField(_("last number"), default=0)

    class Meta:
        verbose_name = _("counter of accession numbers")
        verbose_name_plural = _("counters of accession numbers")
        constraints = [models.UniqueConstraint(fields=["site", "period"], name="accession_counter")]

    def __str__(self) -> str:
        return f"{self.period} {self.last}"


class RequestedProcedure(models.Model):
    """One procedure of an order; its study carries `study_instance_uid`."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    order_ref = models.ForeignKey(Order, models.CASCADE, verbose_name=_("order"), related_name="requested_procedures")
    requested_procedure_id = KeyField(_("requested procedure ID"), max_length=16)
    requested_procedure_description = models.CharField(_("description"), max_length=64, blank=True, default="")
    procedure_code_value = KeyField(_("code"), max_length=64)
    procedure_coding_scheme = KeyField(_("coding scheme"), max_length=16)
    modality = KeyField(_("modality"), max_length=16)
    procedure_ref = models.ForeignKey(
        Procedure,
        models.PROTECT,
        verbose_name=_("procedure"),
        null=True,
        blank=True,
        help_text=_("Of the catalogue."),
    )
    body_part_examined = KeyField(_("body part"), max_length=16)
    laterality = models.CharField(_("side"), max_length=1, choices=Laterality, blank=True, default="")
    duration = models.PositiveSmallIntegerField(_("duration (minutes)"), default=15)
    status = models.CharField(
        _("status"), max_length=16, choices=ProcedureStatus, default=ProcedureStatus.REQUESTED, editable=False
    )
    requested_procedure_comments = models.TextField(_("comments"), blank=True, default="")
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64, unique=True, blank=False)

    class Meta:
        verbose_name = _("requested procedure")
        verbose_name_plural = _("requested procedures")
        constraints = [
            models.UniqueConstraint(
                fields=["order_ref", "requested_procedure_id"],
                condition=~Q(requested_procedure_id=""),
                name="requested_procedure_identity",
            )
        ]

    def __str__(self) -> str:
        return self.requested_procedure_description or self.requested_procedure_id or str(self.public_id)
