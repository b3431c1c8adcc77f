from typing import Any, Self

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField


class ContrastUse(models.TextChoices):
    NONE = "none", _("Without contrast")
    OPTIONAL = "optional", _("Contrast if needed")
    REQUIRED = "required", _("With contrast")


class Laterality(models.TextChoices):
    """(0020,0060) and (0020,0062)."""

    RIGHT = "R", _("Right")
    LEFT = "L", _("Left")
    BOTH = "B", _("Both sides")
    UNPAIRED = "U", _("Unpaired")


# Words as they stand in `search`; its index and the search must say the same.
WORDS = SearchVector("search", config="simple")


class ProcedureQuerySet(models.QuerySet["Procedure"]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def visible_to(self, who: Any) -> Self:
        """The catalogue of one's own site."""
        if not (who.may("studies.read") or who.may("orders.write") or who.may("catalogue.write")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def found_by(self, words: list[str]) -> Self:
        """Those that have, for each of `words` (folded), a word that begins with it. One index answers it."""
        query = " & ".join(f"{word}:*" for word in words)
        return self.annotate(_words=WORDS).filter(_words=SearchQuery(query, search_type="raw", config="simple"))


class Procedure(models.Model):
    """What can be ordered: an entry of a site's procedure catalogue (requested procedure type, IHE RAD TF-1 2.4)."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    code = KeyField(
        _("code"), max_length=16, blank=False, help_text=_("The site's own, lasting; it stands in orders and messages.")
    )
    name = models.CharField(_("name"), max_length=64, help_text=_("As orders and devices show it, such as CT Thorax."))
    modality = KeyField(_("modality"), max_length=16, blank=False, help_text=_("CT, MR, DX, US …"))
    body_part_examined = KeyField(_("body part"), max_length=16, help_text=_("DICOM's word, such as CHEST."))
    asks_laterality = models.BooleanField(
        _("asks for the side"), default=False, help_text=_("The order form asks: right, left or both?")
    )
    duration = models.PositiveSmallIntegerField(
        _("duration (minutes)"), default=15, validators=[MinValueValidator(1), MaxValueValidator(24 * 60)]
    )
    contrast = models.CharField(_("contrast"), max_length=8, choices=ContrastUse, default=ContrastUse.NONE)
    is_ionising = models.BooleanField(
        _("ionising radiation"), default=False, help_text=_("The order form asks about pregnancy.")
    )
    preparation = models.TextField(
        _("preparation"), blank=True, default="", help_text=_("What the patient must do before; it stands on the slip.")
    )
    price_code = KeyField(_("price code"), max_length=32, help_text=_("Under which the hospital system bills it."))
    is_active = models.BooleanField(_("can be ordered"), default=True)
    search = models.CharField(max_length=400, editable=False, default="", db_collation="C")
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, editable=False)

    objects = ProcedureQuerySet.as_manager()

    class Meta:
        verbose_name = _("procedure")
        verbose_name_plural = _("procedure catalogue")
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["site", "code"], name="procedure_code_of_site")]
        indexes = [
            models.Index(fields=["site", "is_active", "modality", "name"], name="procedure_by_modality"),
            GinIndex(WORDS, name="procedure_words"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def uses_contrast(self) -> bool:
        """Whether contrast medium is, or may be, given."""
        return self.contrast != ContrastUse.NONE


class ProcedureCode(models.Model):
    """The same procedure in another coding scheme: LOINC (LN), SNOMED CT (SCT), KPTL …"""

    procedure_ref = models.ForeignKey(Procedure, models.CASCADE, verbose_name=_("procedure"), related_name="codes")
    coding_scheme_designator = KeyField(
        _("coding scheme"), max_length=16, blank=False, help_text=_("LN (LOINC), SCT (SNOMED CT), KPTL, …")
    )
    code_value = KeyField(_("code"), max_length=64, blank=False)
    code_meaning = models.CharField(_("meaning"), max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("code of a procedure")
        verbose_name_plural = _("codes of procedures")
        constraints = [
            models.UniqueConstraint(
                fields=["procedure_ref", "coding_scheme_designator", "code_value"], name="procedure_code"
            )
        ]
        indexes = [models.Index(fields=["coding_scheme_designator", "code_value"], name="procedure_by_code")]

    def __str__(self) -> str:
        return f"{self.coding_scheme_designator} {self.code_value}"


class ProcedureProtocol(models.Model):
    """A protocol that the device gets with the step: an item of Scheduled Protocol Code Sequence (0040,0008)."""

    procedure_ref = models.ForeignKey(Procedure, models.CASCADE, verbose_name=_("procedure"), related_name="protocols")
    position = models.PositiveSmallIntegerField(_("position"), default=1)
    code_value = KeyField(_("code"), max_length=16, blank=False)
    coding_scheme_designator = KeyField(_("coding scheme"), max_length=16, default="99SINAR", blank=False)
    code_meaning = models.CharField(_("meaning"), max_length=64)

    class Meta:
        verbose_name = _("protocol of a procedure")
        verbose_name_plural = _("protocols of procedures")
        ordering = ["position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["procedure_ref", "coding_scheme_designator", "code_value"], name="procedure_protocol"
            )
        ]

    def __str__(self) -> str:
        return self.code_meaning
