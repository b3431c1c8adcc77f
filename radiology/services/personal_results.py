"""What each doctor awaits and has new follows from orders, reports and critical results: worked out anew when one
of these changes.

A report that is published tells it in its own transaction; what an order changes is told after its commit. What was
missed all the same (a server that died between) the daily sweep finds.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from radiology.models import (
    CriticalResult,
    Job,
    JobState,
    Order,
    OrderStatus,
    PersonalResult,
    ProcedureStatus,
    Report,
    ReportStatus,
    ReportVersion,
    RequestedProcedure,
    ResultState,
    Site,
    User,
)
from radiology.services.jobs import enqueue, extend_lease, handles
from radiology.services.practitioners import Concerned, concerned_by

MATCH = "radiology.match_results"
SWEEP = "radiology.sweep_results"
# So many orders are looked at in one transaction.
BATCH = 500
# Of what was published before somebody was tied to it, so much is told as new.
STILL_NEW = timedelta(days=7)
# What was signed so long before it came here is an old report that was brought along.
BROUGHT_ALONG = timedelta(days=30)
SWEPT = timedelta(days=3)
_OVER = {OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR}
_NOT_MADE = {ProcedureStatus.CANCELLED, ProcedureStatus.DISCONTINUED}
_DERIVED = ("site_id", "by_order", "by_place", "modality", "state", "version_ref_id", "at", "is_critical")
_WRITTEN = [*(name.removesuffix("_id") for name in _DERIVED), "is_new", "marked", "updated_at"]


@transaction.atomic
def refresh_results(procedures: Iterable[int]) -> None:
    """Bring the rows of these requested procedures (ids) up to date, for everybody whom they concern.

    Rows are made before they are locked, and locked before anything is worked out: of two who do this at once, the
    second sees what the first has committed.
    """
    keys = sorted(set(procedures))
    if not keys:
        return
    rows = list(RequestedProcedure.objects.filter(pk__in=keys).select_related("order_ref__site"))
    concerned = concerned_by({each.order_ref_id: each.order_ref for each in rows}.values())
    wanted = {(user, each.pk): each for each in rows for user in sorted(concerned[each.order_ref_id].everybody)}
    there = set(
        PersonalResult.objects.filter(requested_procedure_ref__in=keys).values_list(
            "user_id", "requested_procedure_ref_id"
        )
    )
    if not wanted and not there:
        return
    missing = [
        PersonalResult(
            user_id=user, requested_procedure_ref=each, site=each.order_ref.site, at=each.order_ref.created_at
        )
        for (user, _key), each in wanted.items()
        if (user, each.pk) not in there
    ]
    if missing:
        PersonalResult.objects.bulk_create(missing, ignore_conflicts=True)
    locked = list(
        PersonalResult.objects.filter(requested_procedure_ref__in=keys).select_for_update(no_key=True).order_by("pk")
    )
    _bring_up_to_date(locked, {each.pk: each for each in rows}, concerned)


def refresh_order(order: int) -> None:
    """The same for all procedures of an order (id)."""
    refresh_results(RequestedProcedure.objects.filter(order_ref=order).values_list("pk", flat=True))


@transaction.atomic
def refresh_critical(procedure: int) -> None:
    """Whether somebody still must say that they know; a result that turns critical comes to the top by that alone."""
    rows = PersonalResult.objects.filter(requested_procedure_ref=procedure)
    keys = list(rows.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    if keys:
        is_open = CriticalResult.objects.open().filter(requested_procedure_ref=procedure).exists()
        rows = PersonalResult.objects.filter(pk__in=keys).exclude(is_critical=is_open)
        rows.update(is_critical=is_open, updated_at=timezone.now())


def match_soon(user: int) -> None:
    """Leave a job that looks for what is a user's: what they are called in messages changed."""
    waiting = Job.objects.filter(kind=MATCH, state=JobState.PENDING, arguments={"user": user})
    if not waiting.exists():
        enqueue(kind=MATCH, arguments={"user": user})


@handles(MATCH)
def match_results(job: Job) -> None:
    """Look at what the user has, then at the orders that may be theirs, the newest first.

    Numbers, names and places are looked for in all orders of the site; whoever has none of these has only what they
    ordered or entered.
    """
    user = User.objects.filter(pk=job.arguments["user"]).first()
    if user is None:
        return
    mine = PersonalResult.objects.filter(user=user)
    last = 0
    while rows := list(mine.filter(pk__gt=last).order_by("pk").values_list("pk", "requested_procedure_ref")[:BATCH]):
        last = rows[-1][0]
        refresh_results(key for _pk, key in rows)
        extend_lease(job=job)
    orders = Order.objects.all() if user.is_superuser else Order.objects.filter(site=user.site_id)
    if not user.ties.exists():
        orders = orders.filter(Q(ordering_physician=user) | Q(entered_by=user))
    _look_at(job, orders, only=user.pk)


@handles(SWEEP, daily=True)
def sweep(job: Job) -> None:
    """Look at what changed lately; at all orders where there is no row at all yet."""
    if not PersonalResult.objects.exists():
        _look_at(job, Order.objects.all())
        return
    since = timezone.now() - SWEPT
    for site in Site.objects.all():  # indexes begin with the site
        reports = Report.objects.filter(site=site, updated_at__gte=since).values("requested_procedure_ref__order_ref")
        _look_at(job, Order.objects.filter(pk__in=reports))
        _look_at(job, Order.objects.filter(site=site, updated_at__gte=since))


def _look_at(job: Job, orders: Any, only: int | None = None) -> None:
    """Refresh what concerns somebody, some hundreds of orders at a time, the newest first.

    With `only` a user: what concerns that user, and is not among their results yet.
    """
    before: int | None = None
    seen = 0
    while True:
        found = orders if before is None else orders.filter(pk__lt=before)
        batch = list(found.order_by("-pk")[:BATCH])
        if not batch:
            return
        concerned = concerned_by(batch)
        keys = [key for key, each in concerned.items() if (only in each.everybody if only else each.everybody)]
        procedures = RequestedProcedure.objects.filter(order_ref__in=keys)
        if only:
            procedures = procedures.exclude(
                pk__in=PersonalResult.objects.filter(user=only).values("requested_procedure_ref")
            )
        refresh_results(procedures.values_list("pk", flat=True))
        before = batch[-1].pk
        seen += len(batch)
        extend_lease(job=job, progress=seen)


def _bring_up_to_date(
    rows: Sequence[PersonalResult], procedures: dict[int, RequestedProcedure], concerned: dict[int, Concerned]
) -> None:
    keys = list(procedures)
    published = _published(keys)
    critical = set(
        CriticalResult.objects.open()
        .filter(requested_procedure_ref__in=keys)
        .values_list("requested_procedure_ref_id", flat=True)
    )
    now = timezone.now()
    changed: list[PersonalResult] = []
    over: list[int] = []
    for row in rows:
        procedure = procedures[row.requested_procedure_ref_id]
        whom = concerned[procedure.order_ref_id]
        if row.user_id not in whom.everybody:
            over.append(row.pk)
            continue
        before = [getattr(row, name) for name in _DERIVED]
        version, at = published.get(procedure.pk, (None, procedure.order_ref.created_at))
        is_other = version is not None and version.pk != row.version_ref_id
        row.site, row.modality = procedure.order_ref.site, procedure.modality
        row.by_order, row.by_place = row.user_id in whom.by_order, row.user_id in whom.by_place
        row.state, row.at = _state(procedure, version), at
        row.version_ref_id = version.pk if version else None
        row.is_critical = procedure.pk in critical
        if version is not None and is_other:
            row.is_new, row.marked = _is_news(version, row, now), None
        if before != [getattr(row, name) for name in _DERIVED]:
            row.updated_at = now
            changed.append(row)
    if changed:
        PersonalResult.objects.bulk_update(changed, _WRITTEN)
    if over:
        PersonalResult.objects.filter(pk__in=over).delete()


def _is_news(version: ReportVersion, row: PersonalResult, now: datetime) -> bool:
    """Whoever signed it, or opened it before their row knew of it, has nothing new."""
    return version.author_id != row.user_id and version.pk != row.seen_version and row.at >= now - STILL_NEW


def _state(procedure: RequestedProcedure, version: ReportVersion | None) -> str:
    if version is not None:
        return version.status
    if procedure.order_ref.status in _OVER or procedure.status in _NOT_MADE:
        return ResultState.CALLED_OFF
    return ResultState.AWAITED


def _published(procedures: Sequence[int]) -> dict[int, tuple[ReportVersion, datetime]]:
    """By procedure the version that holds, of the living report, else of one entered in error; and since when."""
    reports = Report.objects.filter(requested_procedure_ref__in=procedures).exclude(number=0).order_by("pk")
    of_procedure: dict[int, Report] = {}
    for report in reports.defer("draft", "draft_markup"):
        there = of_procedure.get(report.requested_procedure_ref_id)
        if there is None or report.status != ReportStatus.ENTERED_IN_ERROR or there.status == report.status:
            of_procedure[report.requested_procedure_ref_id] = report
    if not of_procedure:
        return {}
    known = {report.pk: report for report in of_procedure.values()}
    versions = ReportVersion.objects.filter(report_ref__in=known).defer("pdf", "sections", "markup", "addenda")
    found: dict[int, tuple[ReportVersion, datetime]] = {}
    for each in versions:
        report = known[each.report_ref_id]
        if each.number == report.number:
            came = report.published_at or each.at
            at = each.at if each.at < came - BROUGHT_ALONG else came
            found[report.requested_procedure_ref_id] = (each, at)
    return found
