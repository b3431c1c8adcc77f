from typing import Any, Self

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import Removal, Study
from radiology.models import RequestedProcedure, Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class CaseState(models.TextChoices):
    OPEN = "open", _("Waiting for a decision")
    LINKED = "linked", _("Linked to an order")
    DISMISSED = "dismissed", _("Without an order")
    WRONG_PATIENT = "wrong_patient", _("Of the wrong patient: hidden")


class CaseReason(models.TextChoices):
    """Why a study was not linked by itself; the weightiest of what stood against it."""

    PATIENT_DIFFERS = "patient_differs", _("The order is another patient's")
    ORDERS_CONTRADICT = "orders_contradict", _("The images name several orders that contradict each other")
    ACCESSION_UNKNOWN = "accession_unknown", _("No order has this accession number")
    SOMEBODY_ELSE_ARRIVED = "somebody_else_arrived", _("Somebody else had arrived at this device")
    MODALITY_DIFFERS = "modality_differs", _("Another modality was ordered")
    BODY_PART_DIFFERS = "body_part_differs", _("Another part of the body was ordered")
    LATERALITY_DIFFERS = "laterality_differs", _("The other side was ordered")
    SEVERAL_PROCEDURES = "several_procedures", _("The order has several procedures that fit")
    SERVED_ALREADY = "served_already", _("The procedure has a study already")
    CALLED_OFF = "called_off", _("The order was called off")
    OTHER_TIME = "other_time", _("It was scheduled for another day")
    WRONG_ENTRY = "wrong_entry", _("The device says that the wrong worklist entry was chosen")
    NO_ACCESSION = "no_accession", _("The images name no order")
    NO_ORDER = "no_order", _("No order fits")
    TAKEN_BACK = "taken_back", _("A decision was taken back")


class CaseQuerySet(models.QuerySet["ReconciliationCase"]):
    def visible_to(self, who: Any) -> Self:
        """The cases of those who decide about them, of one's own site; of what was deleted, only where that can be
        taken back here."""
        if not (who.may("studies.read") and who.may("worklist.reconcile")):
            return self.none()
        found = self.filter(models.Q(study_ref__deleted_at=None) | models.Q(state=CaseState.WRONG_PATIENT))
        return found if who.sees_every_site else found.filter(site_id=who.site_id)

    def waiting(self) -> Self:
        """To be decided, of studies that are shown: what was deleted needs no order."""
        return self.filter(state=CaseState.OPEN, study_ref__deleted_at=None)


class ReconciliationCase(models.Model):
    """How a study found its order, or that it waits for somebody to say which.

    `candidates` are the requested procedures it may belong to, the best first: a list of
    `{"procedure": key, "score": n, "agrees": [evidence], "differs": [evidence]}`, worked out when the
    study, an order or a performed step changed. `decided_by_hand` once a person decided: from then on
    nothing is linked by itself.
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    study_ref = models.OneToOneField(Study, models.CASCADE, verbose_name=_("study"), related_name="reconciliation_case")
    state = models.CharField(_("state"), max_length=16, choices=CaseState, default=CaseState.OPEN)
    reason = models.CharField(_("why it waits"), max_length=24, choices=CaseReason, blank=True, default="")
    candidates = models.JSONField(_("candidates"), default=list, blank=True)
    also_serves = models.ManyToManyField(
        RequestedProcedure,
        verbose_name=_("also serves"),
        blank=True,
        related_name="reconciliation_cases",
        help_text=_("Other procedures that the same images were made for."),
    )
    rule = KeyField(_("rule"), max_length=32, help_text=_("By which it was linked by itself."))
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("decided by"), null=True, blank=True
    )
    decided_by_hand = models.BooleanField(_("decided by a person"), default=False)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, editable=False)

    objects = CaseQuerySet.as_manager()

    class Meta:
        verbose_name = _("reconciliation case")
        verbose_name_plural = _("reconciliation cases")
        indexes = [
            models.Index(fields=["site", "-id"], condition=Q(state=CaseState.OPEN), name="case_open"),
            models.Index(fields=["-id"], condition=Q(state=CaseState.OPEN), name="case_open_everywhere"),
            models.Index(fields=["site", "updated_at"], name="case_by_update"),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()} {self.created_at:%Y-%m-%d %H:%M}"


class DecisionKind(models.TextChoices):
    LINK = "link", _("Linked")
    DISMISS = "dismiss", _("Without an order")
    WRONG_PATIENT = "wrong_patient", _("Wrong patient")


class DecisionQuerySet(models.QuerySet["ReconciliationDecision"]):
    def visible_to(self, who: Any) -> Self:
        if not (who.may("studies.read") and who.may("worklist.reconcile")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class ReconciliationDecision(models.Model):
    """One decision about a case, and what it takes to undo it. Only `undone_at` is ever written again."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    case = models.ForeignKey(
        ReconciliationCase, models.CASCADE, verbose_name=_("case"), related_name="decisions", db_index=False
    )
    kind = models.CharField(_("decision"), max_length=16, choices=DecisionKind)
    procedure_ref = models.ForeignKey(
        RequestedProcedure, models.SET_NULL, verbose_name=_("requested procedure"), null=True, blank=True
    )
    removal = models.ForeignKey(Removal, models.SET_NULL, verbose_name=_("removal"), null=True, blank=True)
    rule = KeyField(_("rule"), max_length=32)
    before = models.JSONField(_("before"), default=dict, help_text=_("What stood there, and the corrections made."))
    reason = models.CharField(_("reason"), max_length=200, blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, verbose_name=_("by"), null=True, blank=True, related_name="+"
    )
    agent = models.CharField(_("by"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)
    undone_by = models.CharField(_("undone by"), max_length=200, blank=True, default="")

    objects = DecisionQuerySet.as_manager()

    class Meta:
        verbose_name = _("decision on a study's order")
        verbose_name_plural = _("decisions on studies' orders")
        indexes = [
            models.Index(fields=["case", "-id"], name="decision_of_case"),
            models.Index(fields=["site", "-id"], name="decision_by_site"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.created_at:%Y-%m-%d %H:%M}"


class WorklistSettings(models.Model):
    """How a site wants its studies matched with orders. A site without a row has the defaults."""

    site = models.OneToOneField(Site, models.CASCADE, verbose_name=_("site"), related_name="worklist_settings")
    links_by_itself = models.BooleanField(
        _("links by itself"),
        default=True,
        help_text=_("Studies whose order is beyond doubt are linked without asking. Otherwise every one is proposed."),
    )
    expects_orders = models.BooleanField(
        _("expects an order for every study"),
        default=False,
        help_text=_("Studies for which no order is found wait for a decision. Otherwise they count as unscheduled."),
    )
    claim_minutes = models.PositiveSmallIntegerField(
        _("a claim lapses after (minutes)"),
        default=60,
        validators=[MinValueValidator(5), MaxValueValidator(24 * 60)],
        help_text=_("Who claimed an examination on the reading list and does nothing for so long no longer has it."),
    )

    class Meta:
        verbose_name = _("worklist settings")
        verbose_name_plural = _("worklist settings")

    def __str__(self) -> str:
        return str(self.site)
