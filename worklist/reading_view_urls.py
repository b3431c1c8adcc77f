from django.urls import path

from worklist import reading_critical, reading_key_images, reading_review_pages
from worklist import reading_texts_pages as texts
from worklist import reading_view_pages as pages

urlpatterns = [
    path("reading/of", pages.reading_of, name="reading-of"),
    path("reading/screen", pages.screen, name="reading-screen"),
    path("reading/texts", texts.texts, name="reading-texts"),
    path("reading/texts/macros", texts.macro, name="reading-texts-macros"),
    path("reading/texts/macros/<uuid:public_id>", texts.macro, name="reading-texts-macro"),
    path("reading/texts/templates/<uuid:public_id>", texts.template, name="reading-texts-template"),
    path("reading/<uuid:public_id>", pages.view, name="reading-view"),
    path("reading/<uuid:public_id>/draft", pages.draft, name="reading-draft"),
    path("reading/<uuid:public_id>/sign", pages.sign, name="reading-sign"),
    path("reading/<uuid:public_id>/template", texts.keep, name="reading-keep"),
    path("reading/<uuid:public_id>/difference", reading_review_pages.difference, name="reading-difference"),
    path("reading/<uuid:public_id>/return", reading_review_pages.send_back, name="reading-return"),
    path("reading/<uuid:public_id>/news", reading_review_pages.news, name="reading-news"),
    path("reading/<uuid:public_id>/critical", reading_critical.critical, name="reading-critical"),
    path("reading/<uuid:public_id>/key-images", reading_key_images.key_images, name="reading-key-images"),
]
