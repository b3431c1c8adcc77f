from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.report import ReportVersion
from radiology.models.site import Site
from radiology.models.text import KeyField


class Letterhead(models.Model):
    """What stands at the head of a site's letters beside its name."""

    site = models.OneToOneField(Site, models.CASCADE, verbose_name=_("site"), related_name="letterhead")
    address = models.TextField(
        _("address"),
        max_length=300,
        blank=True,
        default="",
        help_text=_("Four lines at most, as it stands on letters."),
    )
    telephone = models.CharField(_("telephone"), max_length=60, blank=True, default="")
    email = models.EmailField(_("e-mail address"), blank=True, default="")
    logo = models.BinaryField(_("logo"), null=True, editable=False)
    logo_media_type = models.CharField(max_length=16, blank=True, default="", editable=False)

    class Meta:
        verbose_name = _("letterhead")
        verbose_name_plural = _("letterheads")

    def __str__(self) -> str:
        return str(self.site)


class ReportSeal(models.Model):
    """By what somebody who holds a letter finds out whether it is genuine: one of each signed version.

    `sha256` is of what the version says, taken when it was signed; `token` is what the letter's QR code names.
    """

    version_ref = models.OneToOneField(
        ReportVersion, models.CASCADE, verbose_name=_("version of a report"), related_name="seal"
    )
    token = KeyField(_("token"), max_length=32, unique=True, blank=False, editable=False)
    sha256 = models.BinaryField(_("SHA-256"), max_length=32, editable=False)
    made_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("seal of a report")
        verbose_name_plural = _("seals of reports")

    def __str__(self) -> str:
        return str(self.version_ref_id)

    @property
    def code(self) -> str:
        """The first 64 bits, as people compare them."""
        digits = bytes(self.sha256).hex().upper()[:16]
        return " ".join(digits[at : at + 4] for at in range(0, 16, 4))
