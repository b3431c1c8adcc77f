from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import ApplicationEntity
from radiology.models import Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField
from worklist.models.room import Device


class WorklistQueryQuerySet(models.QuerySet["WorklistQuery"]):
    def visible_to(self, who: Any) -> Self:
        """The queries of the devices of one's own site, for those who look after devices."""
        if not who.may("worklist.diagnose"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class WorklistQuery(models.Model):
    """What a device asks the modality worklist for. The same question again is the same row."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    node = models.ForeignKey(ApplicationEntity, models.SET_NULL, verbose_name=_("DICOM node"), null=True, blank=True)
    device = models.ForeignKey(Device, models.SET_NULL, verbose_name=_("device"), null=True, blank=True)
    calling_ae_title = KeyField(_("calling AE title"), max_length=16, blank=False)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    keys = models.JSONField(_("keys"), default=dict, help_text=_("By tag; of a sequence those of its item."))
    timezone_offset_from_utc = KeyField(_("time zone"), max_length=16)
    digest = KeyField(_("digest of the question"), max_length=64, blank=False, editable=False)
    answered = models.PositiveIntegerField(_("answers, the last time"), default=0)
    error = models.CharField(_("why it was refused"), max_length=200, blank=True, default="")
    error_field = KeyField(_("key that was refused"), max_length=64)
    times = models.PositiveIntegerField(_("times asked"), default=1)
    first_at = models.DateTimeField(_("first asked"), default=timezone.now)
    last_at = models.DateTimeField(_("last asked"), default=timezone.now)

    objects = WorklistQueryQuerySet.as_manager()

    class Meta:
        verbose_name = _("worklist query")
        verbose_name_plural = _("worklist queries")
        constraints = [
            models.UniqueConstraint(fields=["site", "calling_ae_title", "digest"], name="worklist_query_identity")
        ]
        indexes = [
            models.Index(fields=["site", "-last_at", "-id"], name="worklist_query_latest"),
            models.Index(fields=["site", "calling_ae_title", "-last_at"], name="worklist_query_of_title"),
            models.Index(fields=["last_at"], name="worklist_query_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.calling_ae_title} {self.last_at:%Y-%m-%d %H:%M:%S}"
