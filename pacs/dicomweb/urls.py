"""The DICOMweb root (PS3.18): mounted at `/dicom-web/` and `/dicomweb/`."""

from django.urls import path

from pacs.dicomweb import search
from pacs.dicomweb.bulk_data import RetrieveAllBulkData, RetrieveBulkData, RetrievePixelData
from pacs.dicomweb.frames import RetrieveFrames
from pacs.dicomweb.metadata import RetrieveMetadata
from pacs.dicomweb.rendered import RetrieveRendered, RetrieveThumbnail
from pacs.dicomweb.retrieve import RetrieveObjects
from pacs.dicomweb.store import StoreInstances

STUDY = "studies/<str:study>"
SERIES = f"{STUDY}/series/<str:series>"
INSTANCE = f"{SERIES}/instances/<str:instance>"


class Studies(StoreInstances, search.SearchStudies):
    """`/studies`: search and store."""


class Study(StoreInstances, RetrieveObjects):
    """`/studies/{study}`: retrieve and store."""


# QIDO-RS (PS3.18 10.6)
urlpatterns = [
    path("studies", Studies.as_view(), name="qido-studies"),
    path("series", search.SearchSeries.as_view(), name="qido-series"),
    path("instances", search.SearchInstances.as_view(), name="qido-instances"),
    path(f"{STUDY}/series", search.SearchSeries.as_view(), name="qido-study-series"),
    path(f"{STUDY}/instances", search.SearchInstances.as_view(), name="qido-study-instances"),
    path(f"{SERIES}/instances", search.SearchInstances.as_view(), name="qido-series-instances"),
]

# WADO-RS (PS3.18 10.4) and STOW-RS (10.5)
urlpatterns += [
    path(STUDY, Study.as_view(), name="wado-study"),
    path(SERIES, RetrieveObjects.as_view(), name="wado-series"),
    path(INSTANCE, RetrieveObjects.as_view(), name="wado-instance"),
    path(f"{INSTANCE}/bulkdata/<path:path>", RetrieveBulkData.as_view(), name="wado-bulkdata"),
    path(f"{INSTANCE}/frames/<str:frames>", RetrieveFrames.as_view(), name="wado-frames"),
]
for level, resource in (("study", STUDY), ("series", SERIES), ("instance", INSTANCE)):
    urlpatterns += [
        path(f"{resource}/metadata", RetrieveMetadata.as_view(), name=f"wado-{level}-metadata"),
        path(f"{resource}/bulkdata", RetrieveAllBulkData.as_view(), name=f"wado-{level}-bulkdata"),
        path(f"{resource}/pixeldata", RetrievePixelData.as_view(), name=f"wado-{level}-pixeldata"),
        path(f"{resource}/rendered", RetrieveRendered.as_view(), name=f"wado-{level}-rendered"),
        path(f"{resource}/thumbnail", RetrieveThumbnail.as_view(), name=f"wado-{level}-thumbnail"),
    ]
urlpatterns += [
    path(f"{INSTANCE}/frames/<str:frames>/rendered", RetrieveRendered.as_view(), name="wado-frames-rendered"),
    path(f"{INSTANCE}/frames/<str:frames>/thumbnail", RetrieveThumbnail.as_view(), name="wado-frames-thumbnail"),
]
