from typing import Any, Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models import Site
from radiology.models.keys import uuid7
from radiology.models.text import KeyField


class HeldReason(models.TextChoices):
    STUDY_OF_OTHER_PATIENT = "study-of-other-patient", _("Its study belongs to another patient")
    SERIES_OF_OTHER_STUDY = "series-of-other-study", _("Its series belongs to another study")
    INSTANCE_ELSEWHERE = "instance-elsewhere", _("Its instance UID is taken in another series")
    OTHER_HEADER = "other-header", _("Same image, other header: may be a correction")
    OTHER_PIXELS = "other-pixels", _("Same UID, other pixels")


class HeldChoice(models.TextChoices):
    REPLACE = "replace", _("The new one replaces the first")
    JOIN = "join", _("It belongs where the first is")
    APART = "apart", _("It is kept apart from the first")
    REJECT = "reject", _("The first stays, the new one is rejected")


class HeldDecisionQuerySet(models.QuerySet["HeldDecision"]):
    def visible_to(self, who: Any) -> Self:
        """The decisions that `who` may take back."""
        if not who.may("inbox.decide"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class HeldDecision(models.Model):
    """What a person decided about held objects of one case, and enough to take it back.

    `undo` lists, by held object, what was made and what stood there before.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), db_index=False)
    reason = models.CharField(_("conflict"), max_length=32, choices=HeldReason)
    choice = models.CharField(_("decision"), max_length=10, choices=HeldChoice)
    study_instance_uid = KeyField(_("Study Instance UID"), max_length=64)
    source_ae_title = KeyField(_("sent by"), max_length=16)
    patient_id = KeyField(_("patient ID (MRN)"), max_length=64)
    number_of_objects = models.PositiveIntegerField(_("objects"), default=0)
    study_ref = models.ForeignKey(
        "pacs.Study",
        models.SET_NULL,
        verbose_name=_("study"),
        null=True,
        related_name="held_decisions",
        help_text=_("Where the objects went, or where the first ones are."),
    )
    why = models.CharField(_("reason"), max_length=200, blank=True, default="")
    undo = models.JSONField(_("to take it back"), default=dict, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)

    objects = HeldDecisionQuerySet.as_manager()

    class Meta:
        verbose_name = _("decision on held objects")
        verbose_name_plural = _("decisions on held objects")
        indexes = [
            models.Index(fields=["site", "-id"], name="held_decision_by_site"),
            models.Index(fields=["study_instance_uid", "-id"], name="held_decision_by_uid"),
        ]

    def __str__(self) -> str:
        return f"{self.get_choice_display()} {self.created_at:%Y-%m-%d %H:%M}"
