"""The addresses of peer review."""

from django.urls import path

from worklist import peer_review_pages

urlpatterns = [
    path("peer-review", peer_review_pages.queue, name="peer-review"),
    path("peer-review/all", peer_review_pages.everything, name="peer-review-all"),
    path("peer-review/figures", peer_review_pages.figures, name="peer-review-figures"),
    path("peer-review/<uuid:public_id>", peer_review_pages.review, name="peer-review-one"),
    path("peer-review/<uuid:public_id>/decline", peer_review_pages.decline, name="peer-review-decline"),
    path("peer-review/<uuid:public_id>/answer", peer_review_pages.answer, name="peer-review-answer"),
]
