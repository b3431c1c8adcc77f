"""Who somebody is in the hospital's messages: by which numbers, names and places their orders are known."""

from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from radiology.dicom import PersonName
from radiology.models.text import KeyField


class TieKind(models.TextChoices):
    """What of an order is compared."""

    IDENTIFIER = "identifier", _("Number of the practitioner")
    NAME = "name", _("Name of the practitioner")
    PLACE = "place", _("Ward or clinic")


# Stand before names and are not part of them.
TITLES = frozenset({"dr", "drg", "dra", "drs", "prof", "ir", "ns"})


def tie_key(kind: str, value: str) -> str:
    """What is compared: names by their words in any order without titles, the rest without regard to case."""
    if kind == TieKind.NAME:
        family, given, middle, _prefix, _suffix = PersonName(value.partition(",")[0]).components()
        words = PersonName(" ".join((family, given, middle))).words
        return " ".join(sorted(word for word in words if word not in TITLES))[:324]
    return " ".join(value.split()).casefold()[:324]


class PractitionerTieQuerySet(models.QuerySet["PractitionerTie"]):
    def visible_to(self, who: Any) -> Self:
        """Those of the people of one's own site."""
        return self if who.sees_every_site else self.filter(user__site_id=who.site_id)


class PractitionerTie(models.Model):
    """One number, name or place under which orders are a user's: as XCN.1 and the name of PV1-8 and OBR-16 say it,
    or as the ward of PV1-3 and the service of ORC-17."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"), related_name="ties", db_index=False
    )
    kind = models.CharField(_("what"), max_length=10, choices=TieKind)
    value = models.CharField(
        _("as the messages have it"),
        max_length=324,
        help_text=_("The number, the name (FAMILY^GIVEN or as people write it), or the ward as it stands in orders."),
    )
    key = KeyField(_("key"), max_length=324, editable=False)

    objects = PractitionerTieQuerySet.as_manager()

    class Meta:
        verbose_name = _("name in messages")
        verbose_name_plural = _("names in messages")
        ordering = ["kind", "value"]
        constraints = [models.UniqueConstraint(fields=["user", "kind", "key"], name="practitioner_tie")]
        indexes = [models.Index(fields=["kind", "key"], name="practitioner_tie_by_key")]

    def __str__(self) -> str:
        return self.value

    def clean(self) -> None:
        self.key = tie_key(self.kind, self.value)
        if not self.key:
            raise ValidationError({"value": _("This says nothing that could be compared.")})
        same = PractitionerTie.objects.filter(user_id=self.user_id, kind=self.kind, key=self.key).exclude(pk=self.pk)
        if self.user_id and same.exists():
            raise ValidationError({"value": _("This stands here already.")})
