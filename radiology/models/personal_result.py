"""What a doctor awaits, has new, and has seen: one row for each person and examination."""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models.order import RequestedProcedure
from radiology.models.report import ReportStatus, ReportVersion
from radiology.models.site import Site
from radiology.models.text import KeyField
from radiology.models.user import User


class ResultState(models.TextChoices):
    """How far the result is: that of the published report, or why there is none."""

    AWAITED = "awaited", _("Not reported yet")
    CALLED_OFF = "called-off", _("Called off")
    PRELIMINARY = ReportStatus.PRELIMINARY.value, ReportStatus.PRELIMINARY.label
    FINAL = ReportStatus.FINAL.value, ReportStatus.FINAL.label
    AMENDED = ReportStatus.AMENDED.value, ReportStatus.AMENDED.label
    APPENDED = ReportStatus.APPENDED.value, ReportStatus.APPENDED.label
    ENTERED_IN_ERROR = ReportStatus.ENTERED_IN_ERROR.value, ReportStatus.ENTERED_IN_ERROR.label


REPORTED = Q(version_ref__isnull=False)


class PersonalResultQuerySet(models.QuerySet["PersonalResult"]):
    def visible_to(self, who: Any) -> Self:
        """One's own, as long as one is of the site whose patients they are."""
        if not isinstance(who, User) or not who.may("studies.read"):
            return self.none()
        found = self.filter(user_id=who.pk)
        return found if who.sees_every_site else found.filter(site_id=who.site_id)


class PersonalResult(models.Model):
    """The result of one requested procedure, for one person who ordered it or works where its patient lies.

    Copied by radiology.services.personal_results from orders, reports and critical results; the list is answered from
    these rows alone. `is_new` holds until that person opens the version that is published, or says that it is seen;
    the next version makes it new again.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"), related_name="results", db_index=False
    )
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    requested_procedure_ref = models.ForeignKey(
        RequestedProcedure, models.CASCADE, verbose_name=_("requested procedure"), related_name="personal_results"
    )
    by_order = models.BooleanField(_("ordered or referred"), default=False)
    by_place = models.BooleanField(_("of the ward or clinic"), default=False)
    modality = KeyField(_("modality"), max_length=16)
    state = models.CharField(_("state"), max_length=16, choices=ResultState, default=ResultState.AWAITED)
    version_ref = models.ForeignKey(
        ReportVersion,
        models.SET_NULL,
        verbose_name=_("published version"),
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    at = models.DateTimeField(_("at"), help_text=_("When it was published; before that, when it was ordered."))
    is_critical = models.BooleanField(_("critical, not acknowledged"), default=False)
    is_new = models.BooleanField(_("new"), default=False)
    seen_version = models.BigIntegerField(_("version that was opened"), null=True, blank=True)
    seen_at = models.DateTimeField(_("opened"), null=True, blank=True)
    marked = models.UUIDField(_("seen together with"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = PersonalResultQuerySet.as_manager()

    class Meta:
        verbose_name = _("result for a person")
        verbose_name_plural = _("results for people")
        constraints = [models.UniqueConstraint(fields=["user", "requested_procedure_ref"], name="personal_result")]
        indexes = [
            models.Index(fields=["user", "-at", "-id"], condition=REPORTED, name="result_newest"),
            models.Index(fields=["user", "modality", "-at", "-id"], condition=REPORTED, name="result_by_modality"),
            models.Index(
                fields=["user", "-at", "-id"], condition=REPORTED & Q(by_order=True), name="result_newest_ordered"
            ),
            models.Index(
                fields=["user", "-at", "-id"], condition=REPORTED & Q(by_place=True), name="result_newest_of_place"
            ),
            models.Index(fields=["user", "-at", "-id"], condition=Q(is_new=True), name="result_new"),
            models.Index(fields=["user", "-at", "-id"], condition=Q(is_critical=True), name="result_critical"),
            models.Index(fields=["user", "-at", "-id"], condition=Q(state="awaited"), name="result_awaited"),
            models.Index(fields=["marked"], condition=Q(marked__isnull=False), name="result_marked"),
        ]

    def __str__(self) -> str:
        return f"{self.requested_procedure_ref_id} {self.state}"
