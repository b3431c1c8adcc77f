from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from integrations.models.peer import Hl7Peer


class AlarmKind(models.TextChoices):
    SILENT = "silent", _("Sends nothing")
    UNREACHABLE = "unreachable", _("Cannot be reached")
    QUEUE = "queue", _("Messages pile up")


class Hl7AlarmQuerySet(models.QuerySet["Hl7Alarm"]):
    def visible_to(self, who: Any) -> Self:
        if not who.may("interfaces.read"):
            return self.none()
        return self if who.sees_every_site else self.filter(peer__site_id=who.site_id)

    def ringing(self) -> Self:
        return self.filter(ended_at=None)


class Hl7Alarm(models.Model):
    """Something is wrong with a peer, from when until when. It ends by itself when it is no longer so."""

    peer = models.ForeignKey(Hl7Peer, models.CASCADE, verbose_name=_("peer"), related_name="alarms", db_index=False)
    kind = models.CharField(_("kind"), max_length=12, choices=AlarmKind)
    since = models.DateTimeField(_("since"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    objects = Hl7AlarmQuerySet.as_manager()

    class Meta:
        verbose_name = _("alarm of an HL7 peer")
        verbose_name_plural = _("alarms of HL7 peers")
        ordering = ["-since"]
        constraints = [
            models.UniqueConstraint(fields=["peer", "kind"], condition=Q(ended_at=None), name="hl7_alarm_once")
        ]

    def __str__(self) -> str:
        return f"{self.peer}: {self.get_kind_display()}"
