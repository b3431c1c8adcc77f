"""Peer review: a sample of what was signed, looked at again by colleagues who do not know whose it is."""

from typing import Any, Self

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.models import ReportVersion, Site
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE
from radiology.models.text import KeyField


class PeerReviewState(models.TextChoices):
    WAITING = "waiting", _("To be reviewed")
    SCORED = "scored", _("Reviewed")
    DECLINED = "declined", _("Declined")
    UNASSIGNED = "unassigned", _("Nobody to review it")


class RadpeerScore(models.TextChoices):
    """RADPEER as revised in 2016, which has no 4 any more (Goldberg-Stein et al., J Am Coll Radiol 2017;14:1080-1086).

    Of a discrepancy, `a` is unlikely and `b` likely to be clinically significant.
    """

    CONCUR = "1", _("1: concur with the interpretation")
    MISS_A = "2a", _("2a: understandable miss, unlikely to matter clinically")
    MISS_B = "2b", _("2b: understandable miss, likely to matter clinically")
    ERROR_A = "3a", _("3a: should be made most of the time, unlikely to matter clinically")
    ERROR_B = "3b", _("3b: should be made most of the time, likely to matter clinically")


# Of these the author hears.
DISCREPANCIES = (RadpeerScore.ERROR_A, RadpeerScore.ERROR_B)
# These who leads the department looks at (acr.org, RADPEER Instructions and FAQ).
ARBITRATED = (RadpeerScore.MISS_B, *DISCREPANCIES)


class PeerReviewPolicy(models.Model):
    """How many reports of each radiologist are reviewed each month, of one modality or of all others."""

    site = models.ForeignKey(Site, models.CASCADE, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    modality = KeyField(_("modality"), max_length=16, help_text=_("CT, MR, DX, US …; empty for all others."))
    percent = models.PositiveSmallIntegerField(
        _("share (%)"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text=_("Of what each radiologist signed in the month; rounded up. Or give a number."),
    )
    number = models.PositiveSmallIntegerField(
        _("number"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(1000)],
        help_text=_("So many of each radiologist a month, as far as there are so many. Or give a share."),
    )
    reviewers = models.PositiveSmallIntegerField(
        _("reviewers"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(3)],
        help_text=_("How many look at the same report, each without knowing of the others."),
    )

    class Meta:
        verbose_name = _("peer review policy")
        verbose_name_plural = _("peer review policies")
        ordering = ["site", "modality"]
        constraints = [
            models.UniqueConstraint(fields=["site", "modality"], name="peer_review_policy"),
            models.CheckConstraint(
                condition=Q(percent=None, number__isnull=False) | Q(percent__isnull=False, number=None),
                name="peer_review_share_or_number",
                violation_error_message=_("Give either a share or a number."),
            ),
        ]

    def __str__(self) -> str:
        return self.modality or str(_("All other modalities"))


class PeerReviewDraw(models.Model):
    """The sample of a month was drawn: once, for good."""

    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    month = models.DateField(_("month"), help_text=_("Its first day."))
    drawn_at = models.DateTimeField(_("drawn"), default=timezone.now)

    class Meta:
        verbose_name = _("drawn sample")
        verbose_name_plural = _("drawn samples")
        constraints = [models.UniqueConstraint(fields=["site", "month"], name="peer_review_draw")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class PeerReviewQuerySet(models.QuerySet["PeerReview"]):
    def of_reviewer(self, who: Any) -> Self:
        """What somebody is to review, or has reviewed."""
        if not who.may("reports.sign"):
            return self.none()
        found = self.filter(reviewer_id=who.pk)
        return found if who.sees_every_site else found.filter(site_id=who.site_id)

    def about(self, who: Any) -> Self:
        """Discrepancies in what somebody signed, as far as its author may know of them."""
        return self.filter(author_id=who.pk, state=PeerReviewState.SCORED, score__in=DISCREPANCIES)

    def managed_by(self, who: Any) -> Self:
        """All of the site, for who leads the department."""
        if not who.may("peer_review.manage"):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)


class PeerReview(models.Model):
    """One report to be looked at by one reviewer. `score` is that of the newest row of `scores`."""

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE, db_index=False)
    draw = models.ForeignKey(PeerReviewDraw, models.PROTECT, verbose_name=_("sample"), related_name="reviews")
    report_version = models.ForeignKey(
        ReportVersion, models.PROTECT, verbose_name=_("report"), related_name="peer_reviews", db_index=False
    )
    modality = KeyField(_("modality"), max_length=16)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, verbose_name=_("author"), related_name="+")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        verbose_name=_("reviewer"),
        null=True,
        blank=True,
        related_name="peer_reviews",
        db_index=False,
    )
    state = models.CharField(_("state"), max_length=12, choices=PeerReviewState, default=PeerReviewState.WAITING)
    score = models.CharField(_("score"), max_length=2, choices=RadpeerScore, blank=True, default="")
    scored_at = models.DateTimeField(_("scored"), null=True, blank=True)
    declined_reason = models.CharField(_("reason of declining"), max_length=200, blank=True, default="")
    author_seen_at = models.DateTimeField(_("seen by the author"), null=True, blank=True)
    author_answer = models.CharField(_("answer of the author"), max_length=1000, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = PeerReviewQuerySet.as_manager()

    class Meta:
        verbose_name = _("peer review")
        verbose_name_plural = _("peer reviews")
        permissions = [("manage_peer_review", _("Can see all peer reviews, with authors and reviewers"))]
        constraints = [
            models.UniqueConstraint(
                fields=["report_version", "reviewer"],
                condition=Q(reviewer__isnull=False),
                name="peer_review_once",
            ),
            models.CheckConstraint(
                condition=Q(reviewer=None) | ~Q(reviewer=models.F("author")), name="peer_review_never_ones_own"
            ),
            models.CheckConstraint(
                condition=~Q(state=PeerReviewState.SCORED.value) | (~Q(score="") & Q(scored_at__isnull=False)),
                name="peer_review_scored",
            ),
        ]
        indexes = [
            models.Index(fields=["reviewer", "state", "id"], name="peer_review_queue"),
            models.Index(
                fields=["author", "-scored_at"], condition=Q(score__in=["3a", "3b"]), name="peer_review_about_author"
            ),
            models.Index(
                fields=["site", "-scored_at", "-id"], condition=Q(state="scored"), name="peer_review_by_score"
            ),
        ]

    def __str__(self) -> str:
        return str(self.public_id)

    @property
    def is_discrepancy(self) -> bool:
        return self.score in DISCREPANCIES


class PeerReviewScore(models.Model):
    """What a reviewer said, and when. Append-only: the database refuses to change or delete one."""

    review = models.ForeignKey(
        PeerReview, models.PROTECT, verbose_name=_("peer review"), related_name="scores", db_index=False
    )
    score = models.CharField(_("score"), max_length=2, choices=RadpeerScore)
    comment = models.CharField(_("comment"), max_length=1000, blank=True, default="")
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("score of a peer review")
        verbose_name_plural = _("scores of peer reviews")
        ordering = ["-id"]
        indexes = [models.Index(fields=["review", "-id"], name="peer_review_scores")]

    def __str__(self) -> str:
        return self.score
