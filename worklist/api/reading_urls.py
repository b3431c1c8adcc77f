"""The reading list's part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import reading

urlpatterns = [
    path("reading", reading.ReadingList.as_view(), name="api-reading"),
    path("reading/<uuid:procedure>/claim", reading.Claim.as_view(), name="api-reading-claim"),
    path("reading/<uuid:procedure>/release", reading.Release.as_view(), name="api-reading-release"),
]
