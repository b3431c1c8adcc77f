from django.urls import path

from worklist import reading_critical, reading_key_images
from worklist import reading_view_pages as pages

urlpatterns = [
    path("reading/of", pages.reading_of, name="reading-of"),
    path("reading/screen", pages.screen, name="reading-screen"),
    path("reading/<uuid:public_id>", pages.view, name="reading-view"),
    path("reading/<uuid:public_id>/draft", pages.draft, name="reading-draft"),
    path("reading/<uuid:public_id>/sign", pages.sign, name="reading-sign"),
    path("reading/<uuid:public_id>/critical", reading_critical.critical, name="reading-critical"),
    path("reading/<uuid:public_id>/key-images", reading_key_images.key_images, name="reading-key-images"),
]
