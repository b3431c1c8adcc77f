from django.urls import path

from worklist import query_pages

urlpatterns = [
    path("worklist/queries", query_pages.index, name="worklist-queries"),
    path("worklist/queries/try", query_pages.try_query, name="worklist-query-try"),
    path("worklist/queries/<uuid:public_id>", query_pages.query, name="worklist-query"),
]
