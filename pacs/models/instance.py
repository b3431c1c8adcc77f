from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.series import WRITTEN, Series
from radiology.guest import Guest
from radiology.models import Site
from radiology.models.text import KeyField


class InstanceQuerySet(models.QuerySet["Instance"]):
    def images(self) -> Self:
        """What is read: shown, and nothing that is written of images (WRITTEN)."""
        shown = self.filter(removed_at=None, series_ref__removed_at=None)
        return shown.exclude(series_ref__modality__in=WRITTEN)

    def visible_to(self, who: Any) -> Self:
        """The instances of the studies that `who` may see."""
        if isinstance(who, Guest):
            return self.filter(
                who.of_studies("series_ref__study_ref__"), removed_at=None, series_ref__study_ref__deleted_at=None
            )
        if not who.may("studies.read"):
            return self.none()
        found = self.filter(removed_at=None, series_ref__study_ref__deleted_at=None)
        return found if who.sees_every_site else found.filter(site_id=who.site_id)


class Instance(models.Model):
    """A SOP instance: its identity and the few keys that are searched. Its header is in its file."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    series_ref = models.ForeignKey(
        Series, models.CASCADE, verbose_name=_("series"), related_name="instances", db_index=False
    )
    sop_instance_uid = KeyField(_("SOP Instance UID"), max_length=64, blank=False)
    sop_class_uid = KeyField(_("SOP Class UID"), max_length=64, blank=False)
    instance_number = models.IntegerField(_("number"), null=True, blank=True)
    rows = models.PositiveIntegerField(_("rows"), null=True, blank=True)
    columns = models.PositiveIntegerField(_("columns"), null=True, blank=True)
    bits_allocated = models.PositiveSmallIntegerField(_("bits allocated"), null=True, blank=True)
    number_of_frames = models.PositiveIntegerField(_("frames"), null=True, blank=True)
    content_date = KeyField(_("content date"), max_length=16)
    content_time = KeyField(_("content time"), max_length=16)
    created_at = models.DateTimeField(_("received"), default=timezone.now)
    removed_at = models.DateTimeField(_("removed"), null=True, editable=False)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        constraints = [models.UniqueConstraint(fields=["site", "sop_instance_uid"], name="instance_identity")]
        indexes = [
            models.Index(fields=["sop_instance_uid"], name="instance_by_uid"),
            models.Index(fields=["series_ref", "instance_number", "id"], name="instance_of_series"),
        ]

    def __str__(self) -> str:
        return self.sop_instance_uid
