from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.errors import InvalidValue
from radiology.models.keys import uuid7
from radiology.models.procedure import Procedure
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField
from radiology.models.user import User
from radiology.template_content import are_brackets_closed, checked

LONGEST_MACRO = 4000


class ReportLanguage(models.TextChoices):
    """In which a report is written; ISO 639-1."""

    ID = "id", _("Indonesian")
    EN = "en", _("English")


class TemplateSex(models.TextChoices):
    """Of patients that a template is for, as DICOM's Patient's Sex (PS3.3 C.7.1.1)."""

    FEMALE = "F", _("female")
    MALE = "M", _("male")


def require_owner(owner: User | None, site_id: Any) -> None:
    """Raises ValidationError for somebody of another site."""
    if owner is not None and owner.site_id != site_id:
        raise ValidationError({"owner": _("This person belongs to another site.")})


class OwnedQuerySet(models.QuerySet[Any]):
    """What belongs to a site, or to one of its people alone."""

    def visible_to(self, who: Any) -> Self:
        """The site's and one's own; nobody sees another person's."""
        if not (who.may("reports.write") or who.may("templates.write")):
            return self.none()
        found = self if who.sees_every_site else self.filter(site_id=who.site_id)
        return found.filter(Q(owner=None) | Q(owner=who.pk) if isinstance(who, User) else Q(owner=None))


class ReportTemplate(models.Model):
    """What a report begins with: texts and fields by section, in one language (`template_content`)."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("owner"),
        null=True,
        blank=True,
        related_name="report_templates",
        help_text=_("Whose own it is; empty: of the whole site."),
    )
    code = KeyField(
        _("code"),
        max_length=32,
        blank=False,
        validators=[RegexValidator(r"^[A-Za-z0-9._-]+$", _("Letters, digits, dot, hyphen and underscore."))],
        help_text=_("Short and lasting. The same template in another language has the same code."),
    )
    name = models.CharField(_("name"), max_length=120, help_text=_("As the list beside a report shows it."))
    language = KeyField(_("language"), max_length=2, choices=ReportLanguage, default=ReportLanguage.ID, blank=False)
    modality = KeyField(_("modality"), max_length=16, blank=False, help_text=_("CT, MR, DX, US …"))
    body_part_examined = KeyField(_("body part"), max_length=16, help_text=_("DICOM's word, such as CHEST."))
    patient_sex = KeyField(
        _("patient's sex"),
        max_length=1,
        choices=TemplateSex,
        help_text=_("Only patients of this sex; empty: any. Nobody of the other sex is offered it."),
    )
    procedures = models.ManyToManyField(
        Procedure,
        verbose_name=_("procedures"),
        blank=True,
        related_name="report_templates",
        help_text=_("Of the catalogue: there this template comes first. Empty: it fits by modality and body part."),
    )
    content = models.JSONField(_("content"), help_text=_("Paragraphs and fields by section."))
    is_active = models.BooleanField(_("offered"), default=True)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, editable=False)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("report template")
        verbose_name_plural = _("report templates")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "code", "language", "owner"], name="report_template_code", nulls_distinct=False
            )
        ]
        indexes = [models.Index(fields=["site", "modality", "body_part_examined"], name="report_template_by_part")]

    def __str__(self) -> str:
        return f"{self.name} ({self.language})"

    def clean(self) -> None:
        """`content` in its one shape, whatever was left out of it."""
        require_owner(self.owner, self.site_id)
        try:
            self.content = checked(self.content)
        except InvalidValue as error:
            raise ValidationError({"content": error.message}) from error


class ReportMacro(models.Model):
    """A word that becomes a text while a report is written: `.paru` and a space."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        verbose_name=_("owner"),
        null=True,
        blank=True,
        related_name="report_macros",
        help_text=_("Whose own it is; empty: of the whole site."),
    )
    abbreviation = KeyField(
        _("abbreviation"),
        max_length=24,
        blank=False,
        validators=[RegexValidator(r"^[a-z0-9_-]+$", _("Small letters, digits, hyphen and underscore."))],
        help_text=_("Without the dot: “paru” is typed as “.paru”."),
    )
    language = KeyField(_("language"), max_length=2, choices=ReportLanguage, default=ReportLanguage.ID, blank=False)
    text = models.TextField(
        _("text"),
        max_length=LONGEST_MACRO,
        help_text=_("What stands there instead. [  ] is to be filled in, [right|left] to be chosen, [mm] a number."),
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, editable=False)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("report macro")
        verbose_name_plural = _("report macros")
        ordering = ["abbreviation", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "language", "abbreviation", "owner"], name="report_macro_word", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f".{self.abbreviation} ({self.language})"

    def clean(self) -> None:
        require_owner(self.owner, self.site_id)
        self.text = self.text.replace("\r\n", "\n").replace("\r", "\n").strip()
        if len(self.text) > LONGEST_MACRO or any(ord(sign) < 32 and sign != "\n" for sign in self.text):
            raise ValidationError({"text": _("At most 4,000 characters, and none that cannot be seen.")})
        if not are_brackets_closed(self.text):
            raise ValidationError({"text": _("A bracket is empty, not closed, or within another.")})
