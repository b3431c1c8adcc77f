from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.patient import Patient
from radiology.models.site import Site
from radiology.models.text import KeyField


class AuditAction(models.TextChoices):
    """AuditEvent.action of FHIR R4."""

    CREATE = "C", _("Create")
    READ = "R", _("Read")
    UPDATE = "U", _("Update")
    DELETE = "D", _("Delete")
    EXECUTE = "E", _("Execute")


class AuditEvent(models.Model):
    """Who did what to whom, when, from where. Append-only; the table is partitioned by month of `at`."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("at"), default=timezone.now)
    site = models.ForeignKey(Site, models.DO_NOTHING, verbose_name=_("site"), null=True, db_constraint=False)
    event = KeyField(_("event"), max_length=64, blank=False)
    action = models.CharField(_("action"), max_length=1, choices=AuditAction)
    succeeded = models.BooleanField(_("succeeded"), default=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.DO_NOTHING, verbose_name=_("user"), null=True, db_constraint=False
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    address = models.GenericIPAddressField(_("address"), null=True)
    patient_ref = models.ForeignKey(
        Patient, models.DO_NOTHING, verbose_name=_("patient"), null=True, db_constraint=False
    )
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    detail = models.JSONField(_("detail"), default=dict)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(fields=["-id"], name="audit_by_id"),
            models.Index(fields=["site", "-id"], name="audit_by_site"),
            models.Index(fields=["user", "-id"], name="audit_by_user"),
            models.Index(fields=["patient_ref", "-id"], name="audit_by_patient"),
            models.Index(fields=["study_instance_uid", "-id"], name="audit_by_study"),
            models.Index(fields=["event", "-id"], name="audit_by_event"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.at:%Y-%m-%d %H:%M:%S}"
