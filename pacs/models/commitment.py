from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.application_entity import ApplicationEntity
from radiology.models import Job, Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class CommitmentState(models.TextChoices):
    REQUESTED = "requested", _("Being checked")
    CHECKED = "checked", _("To be reported")
    REPORTED = "reported", _("Reported")
    UNREPORTED = "unreported", _("Nobody to report to")


class ReportedOver(models.TextChoices):
    SAME_ASSOCIATION = "same", _("The association of the request")
    NEW_ASSOCIATION = "new", _("An association of ours")


class StorageCommitmentQuerySet(models.QuerySet["StorageCommitment"]):
    def claimable(self) -> Self:
        """Those with results that nobody is reporting at this moment."""
        free = Q(reporting_until=None) | Q(reporting_until__lte=timezone.now())
        return self.filter(free, state=CommitmentState.CHECKED)


class StorageCommitment(models.Model):
    """A request that we answer for objects (PS3.4 Annex J), what the check found, and whether the requester knows.

    `requested` lists pairs of SOP class and SOP instance UID, `failures` those among them that are not
    safe here, as [SOP class, SOP instance, failure reason, detail]. The same objects asked for again
    under the same transaction are the same row.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    transaction_uid = KeyField(_("Transaction UID"), max_length=64, blank=False)
    node = models.ForeignKey(
        ApplicationEntity, models.SET_NULL, verbose_name=_("node"), null=True, related_name="commitments"
    )
    calling_ae_title = KeyField(_("asked for by"), max_length=16)
    called_ae_title = KeyField(_("called as"), max_length=16)
    address = models.GenericIPAddressField(_("address"), null=True)
    requested = models.JSONField(_("objects"), default=list, editable=False)
    requested_sha256 = models.BinaryField(_("SHA-256 of the objects' UIDs"), max_length=32)
    failures = models.JSONField(_("not committed"), default=list, editable=False)
    number_of_requested = models.PositiveIntegerField(_("objects"), default=0)
    number_of_failed = models.PositiveIntegerField(_("not committed"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=CommitmentState, default=CommitmentState.REQUESTED)
    job = models.ForeignKey(
        Job,
        models.SET_NULL,
        verbose_name=_("job"),
        null=True,
        related_name="+",
        help_text=_("What checks or reports it; its error says why a report has not come through."),
    )
    association_until = models.DateTimeField(
        _("reported over its association until"),
        null=True,
        help_text=_("Until then the report goes over the association of the request, as long as that stands."),
    )
    reporting_until = models.DateTimeField(_("being reported until"), null=True, editable=False)
    reported_over = models.CharField(_("reported over"), max_length=4, choices=ReportedOver, blank=True, default="")
    remark = models.CharField(_("remark"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("asked for"), default=timezone.now)
    checked_at = models.DateTimeField(_("checked"), null=True)
    reported_at = models.DateTimeField(_("reported"), null=True)

    objects = StorageCommitmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("storage commitment")
        verbose_name_plural = _("storage commitments")
        constraints = [
            models.UniqueConstraint(
                fields=["transaction_uid", "site", "calling_ae_title", "requested_sha256"],
                name="storage_commitment_once",
            )
        ]
        indexes = [
            models.Index(fields=["site", "-id"], name="storage_commitment_newest"),
            models.Index(fields=["state", "-id"], name="storage_commitment_by_state"),
            models.Index(fields=["node", "-id"], name="storage_commitment_of_node"),
        ]

    def __str__(self) -> str:
        return f"{self.calling_ae_title} {self.created_at:%Y-%m-%d %H:%M}"
