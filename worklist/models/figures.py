"""What the figures of the department are made of: one narrow row for each examination that took place."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from radiology.models import Priority, RequestedProcedure, Site
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField
from worklist.models.room import Device


class ExaminationFigures(models.Model):
    """An examination as the figures count it; all of it follows from other rows (worklist.services.figures_rows).

    `day` and `hour` are those of its beginning by the clock of its site. Times between two steps are in whole seconds;
    empty where one of the two is not known.
    """

    requested_procedure_ref = models.OneToOneField(
        RequestedProcedure,
        models.CASCADE,
        verbose_name=_("requested procedure"),
        primary_key=True,
        related_name="figures",
    )
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    patient_key = models.BigIntegerField(_("patient"), help_text=_("To find what is made again."))
    began_at = models.DateTimeField(_("began"))
    day = models.DateField(_("day"))
    hour = models.PositiveSmallIntegerField(_("hour"))
    modality = KeyField(_("modality"), max_length=16)
    procedure = KeyField(_("procedure"), max_length=90, help_text=_("Code and side, else the description."))
    priority = models.CharField(_("priority"), max_length=16, choices=Priority, default=Priority.ROUTINE)
    requesting_service = KeyField(_("requesting service"), max_length=64)
    device = models.ForeignKey(
        Device, models.SET_NULL, verbose_name=_("device"), null=True, blank=True, related_name="+", db_index=False
    )
    station_ae_title = KeyField(_("AE title"), max_length=16, help_text=_("Of the device that reported it."))
    radiographer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("radiographer"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("Who checked the images first."),
    )
    operators_name = models.CharField(
        _("operators' name"), max_length=324, blank=True, default="", help_text=_("As the device reported it.")
    )
    radiologist = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("radiologist"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("Who signed the report first."),
    )
    signed_on = models.DateField(_("signed on"), null=True, blank=True)
    signed_hour = models.PositiveSmallIntegerField(_("hour of signing"), null=True, blank=True)
    agreed = models.IntegerField(_("agreed turnaround"), null=True, blank=True)
    to_appointment = models.IntegerField(_("ordered to scheduled time"), null=True, blank=True)
    to_arrival = models.IntegerField(_("scheduled time to arrival"), null=True, blank=True)
    to_start = models.IntegerField(_("arrival to start"), null=True, blank=True)
    to_images = models.IntegerField(_("start to complete images"), null=True, blank=True)
    to_draft = models.IntegerField(_("complete images to draft"), null=True, blank=True)
    to_preliminary = models.IntegerField(_("complete images to preliminary report"), null=True, blank=True)
    preliminary_to_final = models.IntegerField(_("preliminary to signed report"), null=True, blank=True)
    to_final = models.IntegerField(_("complete images to signed report"), null=True, blank=True)
    order_to_final = models.IntegerField(_("ordered to signed report"), null=True, blank=True)
    to_acknowledgement = models.IntegerField(_("critical result to acknowledgement"), null=True, blank=True)

    class Meta:
        verbose_name = _("figures of an examination")
        verbose_name_plural = _("figures of examinations")
        permissions = [("read_figures", _("Can see the figures of the department"))]
        indexes = [
            models.Index(fields=["site", "day"], name="figures_by_day"),
            models.Index(fields=["site", "signed_on"], condition=Q(signed_on__isnull=False), name="figures_by_signing"),
        ]

    def __str__(self) -> str:
        return f"{self.requested_procedure_ref_id} {self.day}"


class FiguresChange(models.Model):
    """An examination something happened to since its figures were worked out; written by triggers of the database."""

    procedure_key = models.BigIntegerField(_("requested procedure"))

    class Meta:
        verbose_name = _("change that figures follow")
        verbose_name_plural = _("changes that figures follow")

    def __str__(self) -> str:
        return str(self.procedure_key)
