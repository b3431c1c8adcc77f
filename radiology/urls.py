from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from radiology import health, views

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    # No mail goes out: whoever lost a password asks the administrator, as the sign-in page says.
    path("accounts/password/reset/", RedirectView.as_view(pattern_name="account_login")),
    path("accounts/", include("allauth.urls")),
    path("dicom-web/", include("pacs.dicomweb.urls")),
    path("dicomweb/", include("pacs.dicomweb.urls")),
    path("wado", include("pacs.dicomweb.wado_uri")),
    path("api/v1", RedirectView.as_view(pattern_name="api-docs")),
    path("api/v1/", include("radiology.api.urls")),
    path("orthanc", RedirectView.as_view(url="/orthanc/system")),
    path("orthanc/", include("integrations.orthanc.urls")),
    path("preferences", views.preferences, name="preferences"),
    path("", include("worklist.urls")),
    path("", include("integrations.desk_urls")),
    path("", include("radiology.patient_urls")),
    path("", include("radiology.page_urls")),
    path("", include("pacs.urls")),
]
