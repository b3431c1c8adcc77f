"""Peer review as pages: what waits for one's review, a report beside its images, what colleagues said of one's own.

The page of a review is blind: neither its text nor its addresses say whose report it is.
"""

import uuid
from datetime import date, timedelta
from urllib.parse import urlencode

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from pacs.pages import refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, RadiologyError, outcome_of
from radiology.notices import say
from radiology.services import audit
from worklist.figures_words import csv_of, shown
from worklist.models import ARBITRATED, PeerReview, PeerReviewState, RadpeerScore
from worklist.services import peer_review as reviews
from worklist.services.figures_tables import Table
from worklist.services.peer_review_figures import tables

PAGE = 50
KEYS = [
    ("1", gettext_lazy("I concur")),
    ("2", gettext_lazy("2a, again: 2b")),
    ("3", gettext_lazy("3a, again: 3b")),
    ("c", gettext_lazy("To the comment")),
    ("Ctrl ↵", gettext_lazy("Send the score")),
    ("d", gettext_lazy("Decline it")),
]
LIST_KEYS = [
    ("j", gettext_lazy("Next report")),
    ("k", gettext_lazy("Previous report")),
    ("Enter", gettext_lazy("Open it")),
]
SHOWN = {
    "discrepancies": gettext_lazy("Discrepancies"),
    "all": gettext_lazy("All scores"),
    "declined": gettext_lazy("Declined"),
    "unassigned": gettext_lazy("Nobody to review it"),
}


@require_safe
@never_cache
@signed_in
def queue(request: PageRequest) -> HttpResponseBase:
    """GET /peer-review: what is to be reviewed, and what was said of one's own reports."""
    if not (request.user.may(reviews.RIGHT) or request.user.may(reviews.MANAGE)):
        return refusal(request, 403, _("Peer review is for those who sign reports."))
    mine = list(reviews.queue_of(request.user)[:PAGE])
    done = PeerReview.objects.of_reviewer(request.user).filter(state=PeerReviewState.SCORED)
    about = PeerReview.objects.about(request.user).select_related(*reviews.RELATED).prefetch_related("scores")
    context = {
        "mine": mine,
        "done": done.select_related(*reviews.RELATED).order_by("-scored_at", "-pk")[:PAGE],
        "about": about.order_by("-scored_at")[:PAGE],
        "unseen": about.filter(author_seen_at=None).count(),
        "leads": request.user.may(reviews.MANAGE),
        "keys": LIST_KEYS,
        "tab": "queue",
    }
    return render(request, "worklist/peer_review.html", context)


@never_cache
@signed_in
def review(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """GET /peer-review/<uuid>: a report beside its images; POST `score` and `comment`, then the next one."""
    address = audit.address_of(request)
    error = None
    try:
        found = reviews.review_of(who=request.user, public_id=public_id)
        if request.method == "POST":
            try:
                score, comment = request.POST.get("score", ""), request.POST.get("comment", "")
                reviews.score(review=found, who=request.user, score=score, comment=comment, address=address)
            except InvalidValue as raised:
                error = raised
            else:
                say(request, _("Your score is kept."))
                return _next(request)
        else:
            reviews.note_opened(review=found, who=request.user, address=address)
    except RadiologyError as raised:
        return refusal(request, outcome_of(raised).http, raised.message)
    procedure = found.report_version.report_ref.requested_procedure_ref
    last = found.scores.first()
    study, series = reviews.images_of(who=request.user, review=found)
    open_series = series[: reviews.MOST_SERIES]
    context = {
        "review": found,
        "report": reviews.blinded(found.report_version),
        "procedure": procedure,
        "order": procedure.order_ref,
        "patient": procedure.order_ref.patient_ref,
        "signed_on": found.report_version.at,
        "viewer": viewer_address(study.study_instance_uid, open_series) if study is not None and series else "",
        "series": len(open_series),
        "left_out": len(series) - len(open_series),
        "scores": RadpeerScore.choices,
        "chosen": request.POST.get("score") or (last.score if last else ""),
        "comment": request.POST.get("comment") or (last.comment if last else ""),
        "others": reviews.scores_of_others(found),
        "error": error,
        "keys": KEYS,
    }
    return render(request, "worklist/peer_review_one.html", context, status=400 if error else 200)


@require_POST
@never_cache
@signed_in
def decline(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /peer-review/<uuid>/decline with a `reason`: somebody else reviews it."""
    try:
        found = reviews.review_of(who=request.user, public_id=public_id)
        reason = request.POST.get("reason", "")
        reviews.decline(review=found, who=request.user, reason=reason, address=audit.address_of(request))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("Declined: somebody else reviews it."))
    return _next(request)


@require_POST
@never_cache
@signed_in
def answer(request: PageRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """POST /peer-review/<uuid>/answer: the author has seen a discrepancy; `answer` goes to who leads."""
    try:
        found = PeerReview.objects.about(request.user).filter(public_id=public_id).first()
        if found is None:
            return refusal(request, 404, _("There is no such review, or it is not about a report of yours."))
        text = request.POST.get("answer", "")
        reviews.answer(review=found, who=request.user, text=text, address=audit.address_of(request))
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    say(request, _("Noted."))
    return redirect("peer-review")


@require_safe
@never_cache
@signed_in
def everything(request: PageRequest) -> HttpResponseBase:
    """GET /peer-review/all?shown=&before=: for who leads; of reviews of one's own reports not who reviewed.

    Nothing of a report that waits for one's own review.
    """
    if not request.user.may(reviews.MANAGE):
        return refusal(request, 403, _("This list is for those who lead the department."))
    what = request.GET.get("shown", "")
    what = what if what in SHOWN else "discrepancies"
    found = reviews.overseen_by(request.user).select_related(*reviews.RELATED, "author", "reviewer", "draw")
    if what == "unassigned":
        found = reviews.wanting_a_reviewer(found)
    else:
        found = found.filter(state=PeerReviewState.DECLINED if what == "declined" else PeerReviewState.SCORED)
    if what == "discrepancies":
        found = found.filter(score__in=ARBITRATED)
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and len(before) < 19:
        found = found.filter(pk__lt=int(before))
    rows = list(found.prefetch_related("scores").order_by("-pk")[: PAGE + 1])
    reviews.note_read(what="all", who=request.user, address=audit.address_of(request), shown=what)
    context = {
        "rows": rows[:PAGE],
        "older": f"?{urlencode({'shown': what, 'before': rows[PAGE - 1].pk})}" if len(rows) > PAGE else "",
        "shown": what,
        "choices": [(name, label, f"?shown={name}") for name, label in SHOWN.items()],
        "leads": True,
        "tab": "all",
    }
    return render(request, "worklist/peer_review_all.html", context)


@require_safe
@never_cache
@signed_in
def figures(request: PageRequest) -> HttpResponseBase:
    """GET /peer-review/figures?from=2026-01&to=2026-11: months of samples; with `table` that one as CSV."""
    first, last = months(request.GET.get("from", ""), request.GET.get("to", ""))
    found = tables(who=request.user, first=first, last=last)
    if not found:
        return refusal(request, 403, _("Peer review is for those who sign reports."))
    reviews.note_read(what="figures", who=request.user, address=audit.address_of(request))
    if "table" in request.GET:
        table = next((each for each in found if each.name == request.GET["table"]), None)
        return refusal(request, 404, _("There is no such table.")) if table is None else csv_answer(table, first, last)
    context = {
        "tables": [
            {
                "table": table,
                "rows": [
                    [
                        (shown(value, column), column.kind != "text")
                        for value, column in zip(row, table.columns, strict=True)
                    ]
                    for row in table.rows
                ],
                "csv": f"?{urlencode({'from': f'{first:%Y-%m}', 'to': f'{last:%Y-%m}', 'table': table.name})}",
            }
            for table in found
        ],
        "first": first,
        "last": last,
        "scores": RadpeerScore.choices,
        "leads": request.user.may(reviews.MANAGE),
        "tab": "figures",
    }
    return render(request, "worklist/peer_review_figures.html", context)


def csv_answer(table: Table, first: date, last: date) -> HttpResponse:
    name = f"peer-review-{table.name}-{first:%Y%m}-{last:%Y%m}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(csv_of(table), content_type="text/csv; charset=utf-8", headers=headers)


def months(first: str, last: str) -> tuple[date, date]:
    """The first days of the months asked for; what is no month, the last twelve."""
    until = _month(last) or timezone.localdate().replace(day=1)
    from_ = _month(first) or (until - timedelta(days=335)).replace(day=1)
    return (from_, until) if from_ <= until else (until, from_)


def viewer_address(study: str, series: list[str]) -> str:
    """The viewer on the images alone: objects that are made of reports name their authors."""
    query = urlencode({"StudyInstanceUIDs": study, "SeriesInstanceUIDs": ",".join(series)}, safe=",")
    return f"{reverse('viewer')}?{query}"


def _month(text: str) -> date | None:
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return found if 1990 <= found.year <= 2200 else None


def _next(request: PageRequest) -> HttpResponseBase:
    following = reviews.queue_of(request.user).first()
    return redirect("peer-review-one", following.public_id) if following is not None else redirect("peer-review")
