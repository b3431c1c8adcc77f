"""Which reports are reviewed, and by whom: drawn once a month, by chance that nobody can foresee.

The order of a draw follows from the server's secret key, the site, the month and the report: the same again gives the
same, and nobody who writes a report can know whether it will be drawn.
"""

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from radiology.models import SIGNED, AuditAction, Job, ReportOrigin, ReportVersion, Site, User
from radiology.services import audit
from radiology.services.jobs import extend_lease, handles
from worklist.models import (
    ExaminationFigures,
    PeerReview,
    PeerReviewDraw,
    PeerReviewPolicy,
    PeerReviewState,
)
from worklist.services.board import day_of
from worklist.services.figures_rows import count_changes

DRAW = "worklist.draw_peer_reviews"
BACKEND = "django.contrib.auth.backends.ModelBackend"
MOST_AT_ONCE = 500
REVIEW = "radiology.sign_report"


@handles(DRAW, daily=True)
def draw_last_month(job: Job | None = None) -> None:
    """Draw each site's sample of the month that has ended, where none was drawn yet."""
    count_changes()
    for site in Site.objects.filter(peerreviewpolicy__isnull=False).distinct().order_by("pk"):
        last = day_of(site).replace(day=1) - timedelta(days=1)
        draw(site=site, month=last)
        assign_the_rest(site)
        if job is not None:
            extend_lease(job=job)


@transaction.atomic
def draw(*, site: Site, month: date) -> list[PeerReview]:
    """The reviews of the month in which that day is; none when they were drawn before."""
    first = month.replace(day=1)
    row, is_new = PeerReviewDraw.objects.get_or_create(site=site, month=first)
    if not is_new:
        return []
    sample = _sample(site, first)
    reviewers = Reviewers(site, [version for version, _ in sample])
    reviews = [each for version, policy in sample for each in _assigned(version, policy.reviewers, row, reviewers)]
    PeerReview.objects.bulk_create(reviews)
    audit.record(
        event="peer_review.drawn",
        action=AuditAction.CREATE,
        site_id=site.pk,
        detail={"month": f"{first:%Y-%m}", "reviews": len(reviews)},
    )
    return reviews


def assign_the_rest(site: Site) -> int:
    """Find a reviewer for what nobody could review until now, or whose reviewer has left; for how many one was found.

    What may never find one (a site of one radiologist) does not keep others waiting: all are looked at.
    """
    waiting = PeerReview.objects.filter(site=site, state=PeerReviewState.WAITING)
    waiting.exclude(reviewer__in=reviewers_of(site)).update(reviewer=None, state=PeerReviewState.UNASSIGNED)
    done, last = 0, 0
    while batch := _unassigned(site, last):
        done += _assign(site, batch)
        last = batch[-1]
    return done


def _unassigned(site: Site, after: int) -> list[int]:
    found = PeerReview.objects.filter(site=site, reviewer=None, state=PeerReviewState.UNASSIGNED, pk__gt=after)
    return list(found.order_by("pk").values_list("pk", flat=True)[:MOST_AT_ONCE])


@transaction.atomic
def _assign(site: Site, batch: Sequence[int]) -> int:
    done = 0
    found = PeerReview.objects.filter(pk__in=batch, state=PeerReviewState.UNASSIGNED).select_for_update(of=("self",))
    reviews = list(found.select_related("report_version__report_ref").order_by("pk"))
    lock_reports([review.report_version_id for review in reviews])
    reviewers = Reviewers(site, [review.report_version for review in reviews])
    for review in reviews:
        reviewer = reviewers.next_for(review.report_version)
        if reviewer is not None:
            review.reviewer, review.state = reviewer, PeerReviewState.WAITING
            review.save(update_fields=["reviewer", "state"])
            done += 1
    return done


def lock_reports(keys: Iterable[int]) -> None:
    """Until the end of the transaction nobody else chooses reviewers of these report versions."""
    found = ReportVersion.objects.select_for_update(no_key=True).filter(pk__in=list(keys)).order_by("pk")
    list(found.values_list("pk", flat=True))


def reviewers_of(site: Site) -> list[User]:
    """Who may sign reports at a site."""
    found = User.objects.with_perm(REVIEW, include_superusers=False, backend=BACKEND)
    return list(found.filter(site=site, is_active=True).order_by("pk"))


class Reviewers:
    """Who may review these report versions of a site: read once, and counted on with what each is given.

    Two at once would choose the same one: `lock_reports` first.
    """

    def __init__(self, site: Site, versions: Sequence[ReportVersion]) -> None:
        self._site, self._people = site, reviewers_of(site)
        waiting = PeerReview.objects.filter(state=PeerReviewState.WAITING, site=site).exclude(reviewer=None)
        self._load = Counter(dict(waiting.values_list("reviewer_id").annotate(Count("pk"))))
        self._out = involved(versions)

    def next_for(self, version: ReportVersion) -> User | None:
        """Somebody who has nothing to do with the report, and the fewest to review; None where nobody is left."""
        out, key = self._out[version.pk], str(version.pk)
        free = [each for each in self._people if each.pk not in out]
        order = {each.pk: (self._load[each.pk], chance(self._site, key, str(each.pk))) for each in free}
        found = min(free, key=lambda each: order[each.pk], default=None)
        if found is not None:
            self._load[found.pk] += 1
            out.add(found.pk)
        return found


def involved(versions: Sequence[ReportVersion]) -> dict[int, set[int]]:
    """By report version (id) everybody who wrote, or writes, something of the report, or was to review it."""
    drafts = {each.pk: each.report_ref.draft_by_id for each in versions}
    found = {key: set[int]() if by is None else {by} for key, by in drafts.items()}
    wrote: dict[int, set[int]] = defaultdict(set)
    same = ReportVersion.objects.filter(report_ref__in={each.report_ref_id for each in versions}).exclude(author=None)
    for report, author in same.values_list("report_ref_id", "author_id"):
        wrote[report].add(author)
    for each in versions:
        found[each.pk] |= wrote[each.report_ref_id]
    chosen = PeerReview.objects.filter(report_version__in=list(found)).exclude(reviewer=None)
    for version, reviewer in chosen.values_list("report_version_id", "reviewer_id"):
        found[version].add(reviewer)
    return found


def chance(site: Site, *parts: str) -> str:
    """By what is drawn: nobody without the secret key can foresee it."""
    text = "|".join(("peer review", site.code, *parts))
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def size_of_sample(policy: PeerReviewPolicy, signed: int) -> int:
    """How many of so many."""
    if policy.percent is not None:
        return -(-policy.percent * signed // 100)
    return min(policy.number or 0, signed)


def _sample(site: Site, first: date) -> list[tuple[ReportVersion, PeerReviewPolicy]]:
    """Of each radiologist and policy so many signed reports of the month, in the order of chance."""
    policies = {each.modality: each for each in PeerReviewPolicy.objects.filter(site=site)}
    after = (first + timedelta(days=32)).replace(day=1)
    signed = ExaminationFigures.objects.filter(
        site=site,
        signed_on__gte=first,
        signed_on__lt=after,
        radiologist__isnull=False,
        requested_procedure_ref__reading__study_ref__deleted_at=None,
        requested_procedure_ref__reading__study_ref__isnull=False,
        requested_procedure_ref__reports__origin=ReportOrigin.HERE,
        requested_procedure_ref__reports__status__in=SIGNED,
    ).values_list("radiologist_id", "modality", "requested_procedure_ref_id", "requested_procedure_ref__public_id")
    groups: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
    for radiologist, modality, procedure, public_id in signed.iterator():
        assert radiologist is not None
        group = radiologist, modality if modality in policies else ""
        groups[group].append((chance(site, f"{first:%Y-%m}", str(public_id)), procedure))
    chosen: dict[int, PeerReviewPolicy] = {}
    for (_radiologist, modality), found in sorted(groups.items()):
        policy = policies.get(modality)
        if policy is not None:
            chosen.update({key: policy for _, key in sorted(found)[: size_of_sample(policy, len(found))]})
    return [(version, chosen[version.report_ref.requested_procedure_ref_id]) for version in _first_signed(chosen)]


def _first_signed(procedures: Iterable[int]) -> list[ReportVersion]:
    """What each radiologist signed: what was changed afterwards is not what is looked at."""
    versions = ReportVersion.objects.filter(
        report_ref__requested_procedure_ref__in=list(procedures),
        report_ref__status__in=SIGNED,
        status__in=SIGNED,
        author__isnull=False,
    ).select_related("report_ref__requested_procedure_ref__figures")
    first: dict[int, ReportVersion] = {}
    for version in versions.order_by("report_ref", "number"):
        first.setdefault(version.report_ref_id, version)
    return list(first.values())


def _assigned(version: ReportVersion, wanted: int, row: PeerReviewDraw, reviewers: Reviewers) -> list[PeerReview]:
    """The reviews of one report, by those who have the fewest; by nobody yet where too few are left."""
    assert version.author_id is not None
    chosen = [reviewers.next_for(version) for _ in range(wanted)]
    return [
        PeerReview(
            site_id=row.site_id,
            draw=row,
            report_version=version,
            modality=version.report_ref.requested_procedure_ref.figures.modality,
            author_id=version.author_id,
            reviewer=reviewer,
            state=PeerReviewState.WAITING if reviewer else PeerReviewState.UNASSIGNED,
        )
        for reviewer in chosen
    ]
