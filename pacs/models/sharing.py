"""What opens images to somebody who is not signed in: tokens of studies, and systems that sign links."""

import re
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models.secrets import decrypt, encrypt
from pacs.models.study import Study
from radiology.models import ApiClient, Patient
from radiology.models.text import KeyField

# An origin (RFC 6454) as a policy's frame-ancestors takes it: no path, no wildcard, nothing that ends a directive.
ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?::\d{1,5})?")


class StudyToken(models.Model):
    """The lasting token of a study. Its text follows from the study and `generation`; only a digest is kept.

    Raising `generation` revokes the text that was handed out: there is another one from then on. `patient_ref` is whose
    study it was when it was handed out: a token in that patient's record must not open another's images.
    """

    study_ref = models.OneToOneField(Study, models.CASCADE, verbose_name=_("study"), related_name="token")
    patient_ref = models.ForeignKey(
        Patient, models.SET_NULL, verbose_name=_("patient"), null=True, editable=False, related_name="study_tokens"
    )
    generation = models.PositiveIntegerField(_("generation"), default=1, editable=False)
    token_sha256 = models.BinaryField(_("SHA-256"), max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(_("first asked for"), default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("study token")
        verbose_name_plural = _("study tokens")
        permissions = [("share_study", _("Can hand out tokens and links that open studies"))]

    def __str__(self) -> str:
        return f"study token {bytes(self.token_sha256).hex()[:8]}"


class LinkSigner(models.Model):
    """A system that signs links with a secret that it shares with us, and the pages that may show them in a frame.

    It stands where a user stands: it reads the studies of its client's site.
    """

    client = models.OneToOneField(ApiClient, models.CASCADE, verbose_name=_("client"), related_name="link_signer")
    secret_encrypted = models.TextField(_("secret"), blank=True, default="", editable=False)
    secret_version = models.PositiveIntegerField(_("secrets so far"), default=0, editable=False)
    secret_changed_at = models.DateTimeField(_("secret made"), null=True, blank=True, editable=False)
    frame_ancestors = ArrayField(
        KeyField(max_length=200, blank=False),
        verbose_name=_("pages that may embed"),
        default=list,
        blank=True,
        help_text=_(
            "Origins of the pages that may show what these links open inside of them, separated by commas: "
            "https://emr.hospital.com, https://10.1.2.3:8443. Empty: none."
        ),
    )

    is_authenticated = True
    is_superuser = False
    sees_every_site = False

    class Meta:
        verbose_name = _("signer of links")
        verbose_name_plural = _("signers of links")
        ordering = ["client__name"]

    def __str__(self) -> str:
        return str(self.client)

    def clean(self) -> None:
        self.frame_ancestors = list(dict.fromkeys(each.strip().lower() for each in self.frame_ancestors or []))
        for origin in self.frame_ancestors:
            if not ORIGIN.fullmatch(origin):
                told = _("%(origin)s is no origin, such as https://emr.hospital.com or https://10.1.2.3:8443.")
                raise ValidationError({"frame_ancestors": ValidationError(told, params={"origin": origin})})

    @property
    def site_id(self) -> Any:
        return self.client.site_id

    def may(self, scope: str) -> bool:
        return self.client.is_active and scope == "studies.read"

    @property
    def secret(self) -> str:
        """What it signs with. Raises OutOfResources when it cannot be decrypted."""
        return decrypt(self.secret_encrypted)

    @secret.setter
    def secret(self, text: str) -> None:
        self.secret_encrypted = encrypt(text)
