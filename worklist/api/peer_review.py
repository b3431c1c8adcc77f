"""Peer review over `/api/v1`: blind as on the page. People review: a program sees figures only."""

import uuid
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from rest_framework.permissions import BasePermission

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.dicomweb.addresses import origin
from pacs.services.keyset import page as page_of_rows
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotAllowed
from radiology.models import User
from radiology.services import audit
from worklist.api import peer_review_shapes as shapes
from worklist.api.figures import table_entry
from worklist.models import PeerReview, PeerReviewState
from worklist.peer_review_pages import csv_answer, months
from worklist.services import peer_review as reviews
from worklist.services.peer_review_figures import tables

ORDER = ["pk"]
MONTH = r"\d{4}-\d\d"


class MayReview(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        return bool(isinstance(who, User) and (who.may(reviews.RIGHT) or who.may(reviews.MANAGE)))


class ReviewView(ApiView):
    permission_classes = [MayReview]

    def review(self, request: Any, public_id: uuid.UUID) -> PeerReview:
        return reviews.review_of(who=request.user, public_id=public_id)


class Reviews(ReviewView):
    """`GET /peer-reviews`."""

    @operation(
        tag="Peer review",
        summary="What is for one's review",
        description="For people who sign reports. Nothing says whose report it is.",
        parameters=[Parameter("state", "Which ones.", choices=["waiting", "scored"], default="waiting"), LIMIT, CURSOR],
        answers={200: shapes.ReviewListShape},
    )
    def get(self, request: Any) -> HttpResponse:
        found = reviews.queue_of(request.user)
        if self.asked["state"] == "scored":
            done = PeerReview.objects.of_reviewer(request.user).filter(state=PeerReviewState.SCORED)
            found = done.select_related(*reviews.RELATED)
        page = page_of_rows(found=found.order_by(), order=ORDER, place=self.place(ORDER), size=self.limit)
        links = self.neighbours(page, order=ORDER, address=origin(request) + request.path)
        return json_answer(request, {"data": [entry(each) for each in page.rows], **links}, headers=linked(links))


class OneReview(ReviewView):
    """`GET /peer-reviews/{review}`."""

    @operation(
        tag="Peer review",
        summary="A report to be reviewed",
        description="Its text with the names of who wrote it covered, and its series of images.",
        path=["review"],
        answers={200: shapes.ReviewReportShape},
        errors=[404],
    )
    def get(self, request: Any, review: uuid.UUID) -> HttpResponse:
        found = self.review(request, review)
        reviews.note_opened(review=found, who=request.user, address=audit.address_of(request))
        return json_answer(request, whole_entry(request, found))


class ScoreReview(ReviewView):
    """`POST /peer-reviews/{review}/score`."""

    @operation(
        tag="Peer review",
        summary="Score a report",
        description="Another score later stands beside the first one and counts from then on; none is ever changed.",
        path=["review"],
        body=shapes.ScoreBody,
        answers={200: shapes.ReviewReportShape},
        errors=[404, 409],
    )
    def post(self, request: Any, review: uuid.UUID) -> HttpResponse:
        given = json_body(request)
        done = reviews.score(
            review=self.review(request, review),
            who=request.user,
            score=text_of(given, "score"),
            comment=text_of(given, "comment", most=reviews.LONGEST_COMMENT),
            address=audit.address_of(request),
        )
        return json_answer(request, whole_entry(request, self.review(request, done.public_id)))


class DeclineReview(ReviewView):
    """`POST /peer-reviews/{review}/decline`."""

    @operation(
        tag="Peer review",
        summary="Decline a review",
        description="Somebody else reviews it, who has nothing to do with the report.",
        path=["review"],
        body=shapes.DeclineBody,
        answers={200: shapes.DeclinedShape},
        errors=[404, 409],
    )
    def post(self, request: Any, review: uuid.UUID) -> HttpResponse:
        other = reviews.decline(
            review=self.review(request, review),
            who=request.user,
            reason=text_of(json_body(request), "reason"),
            address=audit.address_of(request),
        )
        return json_answer(request, {"reassigned": other is not None})


class ReviewFigures(ApiView):
    """`GET /peer-reviews/figures`."""

    permission_classes = [MayReview]

    @operation(
        tag="Peer review",
        summary="How reviews came out",
        description="Scores by modality, and for who leads the department by radiologist; for everybody else of their "
        "own reports.",
        parameters=[
            Parameter("from", "First month.", example="2026-01", pattern=MONTH),
            Parameter("to", "Last month.", example="2026-11", pattern=MONTH),
            Parameter("table", "Only the table of this name.", choices=["by-modality", "by-radiologist"]),
            Parameter("format", "`csv` gives the table as a file.", choices=["json", "csv"], default="json"),
        ],
        answers={200: shapes.ReviewFiguresShape},
    )
    def get(self, request: Any) -> HttpResponse:
        first, last = months(self.asked["from"], self.asked["to"])
        name = self.asked["table"]
        found = [each for each in tables(who=request.user, first=first, last=last) if not name or each.name == name]
        if not found:
            raise NotAllowed("Figures by radiologist are for those who lead the department.", field="table")
        if self.asked["format"] == "csv":
            if not name:
                raise InvalidValue("A CSV file holds one table: name it by table.", field="table")
            reviews.note_read(what="figures", who=request.user, address=audit.address_of(request))
            return csv_answer(found[0], first, last)
        reviews.note_read(what="figures", who=request.user, address=audit.address_of(request))
        body = {"first": first.isoformat(), "last": last.isoformat(), "tables": [table_entry(each) for each in found]}
        return json_answer(request, body)


def entry(review: PeerReview) -> dict[str, Any]:
    """A review as the API tells it."""
    version = review.report_version
    return {
        "review": str(review.public_id),
        "state": review.state,
        "modality": review.modality,
        "description": version.report_ref.requested_procedure_ref.requested_procedure_description,
        "signed_on": version.at.astimezone(ZoneInfo(review.site.time_zone)).date().isoformat(),
        "score": review.score,
        "scored_at": review.scored_at.isoformat() if review.scored_at else None,
    }


def whole_entry(request: Any, review: PeerReview) -> dict[str, Any]:
    last = review.scores.first()
    study, series = reviews.images_of(who=request.user, review=review)
    return {
        **entry(review),
        "sections": {section.value: text for section, text in reviews.blinded(review.report_version).sections},
        "comment": last.comment if last else "",
        "study_instance_uid": study.study_instance_uid if study is not None else "",
        "series_instance_uids": series,
        "others": [{"score": each.score, "comment": each.comment} for each in reviews.scores_of_others(review)],
    }
