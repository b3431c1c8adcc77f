import re

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from integrations.models.peer import Hl7Peer
from radiology.models.text import KeyField

PLACE = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,2}))?(?:\.(\d{1,2}))?")
# Of the header only what a message is may be read differently: the rest says who sent it and how to answer.
HEADER = {"9", "11", "12"}


class Hl7FieldMapping(models.Model):
    """Where a peer's messages say something else than the standard: what is read instead, before anything is done.

    Rows are applied one after the other. `values` turns one word into another; a word that is not among them leaves
    the target as it is, unless `*` is.
    """

    peer = models.ForeignKey(Hl7Peer, models.CASCADE, verbose_name=_("peer"), related_name="mappings", db_index=False)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    message_code = KeyField(
        _("in messages"), max_length=32, help_text=_("Such as ORM or ORM^O01. Empty: in all messages.")
    )
    source = KeyField(_("take"), max_length=32, help_text=_("Such as ZPI-3 or PID-4.1. Empty: the text below."))
    constant = models.CharField(_("or this text"), max_length=200, blank=True, default="")
    values = models.JSONField(
        _("turn into"),
        blank=True,
        default=dict,
        help_text=_('What becomes of each word: {"1": "M", "2": "F"}.'),
    )
    target = KeyField(_("put into"), max_length=32, blank=False, help_text=_("Such as PID-8 or OBR-24."))

    class Meta:
        verbose_name = _("field mapping")
        verbose_name_plural = _("field mappings")
        ordering = ["position", "id"]
        indexes = [models.Index(F("peer"), F("position"), name="hl7_mappings_of_peer")]

    def __str__(self) -> str:
        return f"{self.source or repr(self.constant)} → {self.target}"

    def clean(self) -> None:
        for name in ("source", "target"):
            place = getattr(self, name)
            if place and PLACE.fullmatch(place) is None:
                told = _("%(place)s is no field, such as PID-8 or OBR-4.2.")
                raise ValidationError({name: ValidationError(told, params={"place": place})})
        found = PLACE.fullmatch(self.target)
        if found is not None and found[1] == "MSH" and found[2] not in HEADER:
            raise ValidationError({"target": _("Of MSH only the fields 9, 11 and 12 may be read differently.")})
        if not isinstance(self.values, dict) or not all(isinstance(each, str) for each in self.values.values()):
            raise ValidationError({"values": _('Write words with what becomes of each: {"1": "M", "2": "F"}.')})
