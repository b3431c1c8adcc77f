from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.keys import uuid7
from radiology.models.order import RequestedProcedure
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField


class ReportStatus(models.TextChoices):
    """DiagnosticReport.status of FHIR R4; `draft` is what nobody but its writers sees."""

    DRAFT = "draft", _("Draft")
    PRELIMINARY = "preliminary", _("Preliminary")
    FINAL = "final", _("Final")
    AMENDED = "amended", _("Amended")
    APPENDED = "appended", _("With addendum")
    ENTERED_IN_ERROR = "entered-in-error", _("Entered in error")


# Of these a referring doctor may rely on every word.
SIGNED = (ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.APPENDED)


class ReportSection(models.TextChoices):
    """The parts of a report, in the order in which they are read."""

    INDICATION = "indication", _("Indication")
    TECHNIQUE = "technique", _("Technique")
    COMPARISON = "comparison", _("Comparison")
    FINDINGS = "findings", _("Findings")
    IMPRESSION = "impression", _("Impression")


class ReportOrigin(models.TextChoices):
    """Where a report is written."""

    HERE = "here", _("Here")
    REST = "rest", _("REST")
    HL7 = "hl7", _("HL7")


class ReportQuerySet(models.QuerySet["Report"]):
    def visible_to(self, who: Any) -> Self:
        """Those of one's own site; drafts for who writes reports."""
        if not (who.may("studies.read") or who.may("reports.write")):
            return self.none()
        found = self if who.sees_every_site else self.filter(site_id=who.site_id)
        return found if who.may("reports.write") else found.exclude(number=0)


class Report(models.Model):
    """What is reported of one requested procedure.

    What was published stands in immutable versions; what somebody is writing stands in `draft` until it is signed.
    Whose report it is, its order says: it goes along when the order moves to another patient.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE)
    requested_procedure_ref = models.ForeignKey(
        RequestedProcedure, models.PROTECT, verbose_name=_("requested procedure"), related_name="reports"
    )
    status = models.CharField(
        _("status"), max_length=16, choices=ReportStatus, default=ReportStatus.DRAFT, editable=False
    )
    origin = models.CharField(_("written"), max_length=4, choices=ReportOrigin, default=ReportOrigin.HERE)
    external_id = KeyField(_("number elsewhere"), max_length=64, help_text=_("Under which its writer knows it."))
    number = models.PositiveIntegerField(_("published version"), default=0, editable=False)
    draft = models.JSONField(_("draft"), null=True, blank=True, editable=False, help_text=_("By section."))
    draft_markup = models.JSONField(
        _("markup of the draft"), null=True, blank=True, editable=False, help_text=_("By section, where it has any.")
    )
    draft_key_images = models.JSONField(
        _("key images of the draft"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Nothing: those of the version before."),
    )
    draft_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("written by"),
        null=True,
        blank=True,
        editable=False,
        related_name="report_drafts",
    )
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)
    published_at = models.DateTimeField(_("published"), null=True, blank=True, editable=False)
    held_at = models.DateTimeField(
        _("held"), null=True, blank=True, editable=False, help_text=_("Neither signed nor given out until released.")
    )

    objects = ReportQuerySet.as_manager()

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        permissions = [("sign_report", _("Can sign reports"))]
        constraints = [
            models.UniqueConstraint(
                fields=["requested_procedure_ref"],
                condition=~Q(status=ReportStatus.ENTERED_IN_ERROR.value),
                name="report_of_procedure",
            )
        ]
        indexes = [
            models.Index(fields=["site", "-id"], name="report_newest"),
            models.Index(fields=["site", "status", "-id"], name="report_by_status"),
            models.Index(fields=["site", "updated_at"], name="report_by_change"),
            models.Index(fields=["external_id"], name="report_by_external_id"),
        ]

    def __str__(self) -> str:
        return str(self.public_id)

    @property
    def is_signed(self) -> bool:
        return self.status in SIGNED


class ReportVersion(models.Model):
    """A report as it was published, for good. The one with the highest number is what holds."""

    report_ref = models.ForeignKey(Report, models.CASCADE, verbose_name=_("report"), related_name="versions")
    number = models.PositiveIntegerField(_("number"))
    status = models.CharField(_("status"), max_length=16, choices=ReportStatus)
    sections = models.JSONField(_("sections"), default=dict, help_text=_("The text of each section, by its name."))
    markup = models.JSONField(
        _("markup"), default=dict, blank=True, help_text=_("The same as HTML, where it was written so.")
    )
    addenda = models.JSONField(
        _("addenda"), default=list, blank=True, help_text=_("Texts added after signing: text, by, at.")
    )
    key_images = models.JSONField(
        _("key images"),
        default=list,
        blank=True,
        help_text=_("Images that show what the text says: which ones, the window, the caption."),
    )
    pdf = models.BinaryField(_("PDF"), null=True, editable=False)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("signed by"), null=True, blank=True
    )
    author_name = models.CharField(_("name of the author"), max_length=324, blank=True, default="")
    writer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        verbose_name=_("written by"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("The resident whose text it was, where a supervisor signed it too."),
    )
    writer_name = models.CharField(_("name of the resident"), max_length=324, blank=True, default="")
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("version of a report")
        verbose_name_plural = _("versions of reports")
        ordering = ["-number", "-id"]
        constraints = [models.UniqueConstraint(fields=["report_ref", "number"], name="report_version")]

    def __str__(self) -> str:
        return f"{self.report_ref_id} {self.number}"

    @property
    def written_pdf(self) -> bytes | None:
        """The PDF that came from elsewhere."""
        return None if self.pdf is None else bytes(self.pdf)

    @property
    def texts(self) -> list[tuple[ReportSection, str]]:
        """The sections that say something, in order."""
        return [(each, self.sections[each.value]) for each in ReportSection if self.sections.get(each.value)]
