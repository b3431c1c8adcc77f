"""The results' part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import results

urlpatterns = [
    path("results", results.ResultList.as_view(), name="api-results"),
    path("results/seen", results.Seen.as_view(), name="api-results-seen"),
    path("results/unseen", results.Unseen.as_view(), name="api-results-unseen"),
]
