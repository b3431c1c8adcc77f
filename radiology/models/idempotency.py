from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.site import Site
from radiology.models.text import KeyField


class IdempotencyKey(models.Model):
    """What a caller's own key made, so that the same request sent again makes nothing twice."""

    site = models.ForeignKey(Site, models.CASCADE, verbose_name=_("site"))
    caller = KeyField(_("caller"), max_length=64, blank=False)
    key = KeyField(_("key"), max_length=255, blank=False)
    operation = KeyField(_("operation"), max_length=64, blank=False)
    request_sha256 = models.BinaryField(_("SHA-256 of the request"), max_length=32, editable=False)
    reference = KeyField(_("what it made"), max_length=255)
    created_at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = [models.UniqueConstraint(fields=["key", "caller"], name="idempotency_key")]

    def __str__(self) -> str:
        return self.key
