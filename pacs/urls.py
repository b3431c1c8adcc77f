from django.urls import include, path, re_path

from pacs import links, preferences, selection, viewer, views

urlpatterns = [
    path("", views.home, name="home"),  # worklist.urls puts the day before it
    path("worklist", views.studies, name="studies"),  # the list alone: worklist.urls puts the board before it
    path("worklist/columns", preferences.columns, name="studies-columns"),
    path("worklist/filters", preferences.save_filter, name="studies-save-filter"),
    path("worklist/filters/<int:pk>", preferences.change_filter, name="studies-change-filter"),
    path("studies/view", selection.view, name="studies-view"),
    path("studies/archive", selection.archive, name="studies-archive"),
    path("studies/deletion", selection.delete, name="studies-deletion"),
    re_path(r"^studies/restoration/(?P<removals>[0-9a-f,-]{36,2000})$", selection.restore, name="studies-restore"),
    path("patients/<uuid:public_id>", views.patient, name="patient"),
    path("", include("pacs.study_urls")),
    path("", include("pacs.transfer_urls")),
    path("", include("pacs.import_urls")),
    path("viewer", viewer.open_viewer, name="viewer"),
    path("download", links.download, name="download"),
    path("ohif/app-config.js", viewer.viewer_config, name="viewer-config"),
    path("ohif/", viewer.viewer_page, name="viewer-root"),
    path("ohif/<path:path>", viewer.viewer_page, name="viewer-page"),
]
