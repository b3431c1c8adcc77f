from django.urls import path

from pacs import import_page

urlpatterns = [
    path("import", import_page.page, name="imports"),
    path("import/folders", import_page.start_folder, name="import-folder"),
    path("import/uploads", import_page.upload, name="import-upload"),
    path("import/uploads/<uuid:public_id>/files", import_page.upload_file, name="import-upload-file"),
    path("import/uploads/<uuid:public_id>/end", import_page.upload_end, name="import-upload-end"),
    path("import/<uuid:public_id>", import_page.run, name="import-run"),
    path("import/<uuid:public_id>/report.csv", import_page.report, name="import-report"),
    path("import/<uuid:public_id>/cancel", import_page.control, {"action": "cancel"}, name="import-cancel"),
    path("import/<uuid:public_id>/resume", import_page.control, {"action": "resume"}, name="import-resume"),
]
