"""`/api/v1`: what each app adds to it. The last one answers for every other address too."""

from django.urls import include, path

urlpatterns = [
    path("", include("worklist.api.performed_urls")),
    path("", include("worklist.api.urls")),
    path("", include("worklist.api.reconciliation_urls")),
    path("", include("worklist.api.reading_urls")),
    path("", include("worklist.api.result_urls")),
    path("", include("worklist.api.figures_urls")),
    path("", include("worklist.api.peer_review_urls")),
    path("", include("integrations.api.urls")),
    path("", include("pacs.api.urls")),
]
