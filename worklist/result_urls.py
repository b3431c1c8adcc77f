"""Addresses of the results of one's patients."""

from django.urls import path

from worklist import result_pages, result_view_pages

urlpatterns = [
    path("results", result_pages.results, name="results"),
    path("results/head", result_pages.head, name="results-head"),
    path("results/count", result_pages.count, name="results-count"),
    path("results/seen", result_pages.mark_seen, name="results-seen"),
    path("results/seen/<uuid:mark>/undo", result_pages.unmark_seen, name="results-unseen"),
    path("results/<uuid:public_id>", result_view_pages.result, name="result"),
]
