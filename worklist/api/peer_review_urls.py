"""Peer review's part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import peer_review

ONE = "peer-reviews/<uuid:review>"

urlpatterns = [
    path("peer-reviews", peer_review.Reviews.as_view(), name="api-peer-reviews"),
    path("peer-reviews/figures", peer_review.ReviewFigures.as_view(), name="api-peer-review-figures"),
    path(ONE, peer_review.OneReview.as_view(), name="api-peer-review"),
    path(f"{ONE}/score", peer_review.ScoreReview.as_view(), name="api-peer-review-score"),
    path(f"{ONE}/decline", peer_review.DeclineReview.as_view(), name="api-peer-review-decline"),
]
