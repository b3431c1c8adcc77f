from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE, Site


class Role(models.TextChoices):
    """The Django groups that are the roles; made by a migration, rights given in the admin."""

    RADIOGRAPHER = "radiographer", _("Radiographer")
    RADIOLOGIST = "radiologist", _("Radiologist")
    DOCTOR = "doctor", _("Doctor")
    DESK = "desk", _("Front desk")
    ADMINISTRATOR = "administrator", _("Administrator")


class Theme(models.TextChoices):
    AUTO = "auto", _("As the system")
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


# The Django right that lets a person do what a scope names.
RIGHTS = {
    "studies.correct": "pacs.change_study",
    "studies.delete": "pacs.delete_study",
    "studies.share": "pacs.share_study",
    "measurements.write": "pacs.save_measurements",
    "tokens.revoke": "pacs.change_studytoken",
    "inbox.decide": "pacs.change_heldobject",
    "patients.write": "radiology.change_patient",
    "orders.write": "radiology.change_order",
    "reports.write": "radiology.change_report",
    "reports.sign": "radiology.sign_report",
    "reports.release": "radiology.release_report",
    "results.await": "radiology.view_personalresult",
    "templates.write": "radiology.change_reporttemplate",
    "catalogue.write": "radiology.change_procedure",
    "schedule.write": "worklist.add_scheduledprocedurestep",
    "schedule.anyway": "worklist.schedule_anyway",
    "steps.write": "worklist.change_scheduledprocedurestep",
    "worklist.reconcile": "worklist.reconcile_studies",
    "patients.merge": "radiology.merge_patient",
    "commitments.report": "pacs.change_storagecommitment",
    "worklist.diagnose": "worklist.view_worklistquery",
    "figures.read": "worklist.read_figures",
    "peer_review.manage": "worklist.manage_peer_review",
    "interfaces.read": "integrations.view_hl7message",
    "interfaces.replay": "integrations.change_hl7message",
    "webhooks.write": "integrations.change_webhook",
}


class User(AbstractUser):
    """A person who signs in. Roles are groups; `site` decides what is seen."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, related_name="users")
    theme = models.CharField(_("theme"), max_length=5, choices=Theme, default=Theme.AUTO)
    language = models.CharField(
        _("language"), max_length=5, choices=[("en", _("English")), ("id", _("Indonesian"))], blank=True, default=""
    )
    study_columns = ArrayField(
        models.CharField(max_length=24),
        verbose_name=_("columns of the study list"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Empty: those that everybody has at first."),
    )

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")

    @property
    def shown_name(self) -> str:
        """The name as people write it; of somebody without one, the user name."""
        return self.get_full_name() or self.get_username()

    @property
    def sees_every_site(self) -> bool:
        return self.is_superuser

    def may(self, scope: str) -> bool:
        """Staff of a site read and store its studies; whatever changes what is there needs a right of its own."""
        if not self.is_active:
            return False
        if scope in {"studies.read", "studies.write"}:
            return True
        return self.is_superuser or (scope in RIGHTS and self.has_perm(RIGHTS[scope]))


class SavedFilter(models.Model):
    """A search of the study list that somebody gave a name; one of them may be what the list opens with."""

    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"), related_name="saved_filters", db_index=False)
    name = models.CharField(_("name"), max_length=60)
    query = models.CharField(_("filter"), max_length=1000, help_text=_("As it stands in the list's address."))
    is_default = models.BooleanField(_("the list opens with it"), default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("saved filter")
        verbose_name_plural = _("saved filters")
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="saved_filter_name"),
            models.UniqueConstraint(fields=["user"], condition=Q(is_default=True), name="saved_filter_default"),
        ]

    def __str__(self) -> str:
        return self.name
