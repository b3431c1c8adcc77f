"""Addresses of the reading list; the page behind one of its examinations has its own."""

from django.urls import path

from worklist import reading_list_pages

EXAMINATION = "reading/<uuid:public_id>"

urlpatterns = [
    path("reading", reading_list_pages.reading_list, name="reading"),
    path("reading/head", reading_list_pages.head, name="reading-head"),
    path("reading/next", reading_list_pages.take_next, name="reading-next"),
    path(f"{EXAMINATION}/claim", reading_list_pages.claim, name="reading-claim"),
    path(f"{EXAMINATION}/release", reading_list_pages.release, name="reading-release"),
    path(f"{EXAMINATION}/assign", reading_list_pages.assign, name="reading-assign"),
]
