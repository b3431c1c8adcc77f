"""What the server says of itself: version, sizes, changes, little tools; and all that it does not do."""

import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Sum
from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils import timezone

from integrations.models import OrthancChange, OrthancResource
from integrations.orthanc import registrar
from integrations.orthanc.access import OrthancView, answer, flag, json_value, number, text
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.contents import MEGABYTE, require_plain
from integrations.orthanc.lookup import BY_NUMBER, COLLECTIONS, TYPES, find_any, rows_of
from integrations.orthanc.resources import stamp
from pacs.api.archives import zip_answer
from pacs.models import Instance, Location, Study
from pacs.services.attributes import Level
from radiology.dicom import new_uid
from radiology.errors import InvalidValue, NotDone, NotFound
from radiology.models import Site

# The API that is spoken here; clients look at it to know what they may ask for.
VERSION, API_VERSION = "1.12.4", 24
MOST_CHANGES = 1000
MOST_RESOURCES = 1000
SLOW, KEPT_SECONDS = 0.2, 300


class System(OrthancView):
    """`GET /system`."""

    def get(self, request: Any) -> HttpResponse:
        return answer(
            {
                "ApiVersion": API_VERSION,
                "CheckRevisions": False,
                "DatabaseBackendPlugin": None,
                "DatabaseServerIdentifier": "sinar",
                "DatabaseVersion": 6,
                "DicomAet": settings.DIMSE["AE_TITLE"],
                "DicomPort": int(settings.SINAR_DICOM_PORTS[0]),
                "HasExtendedChanges": False,
                "HasExtendedFind": False,
                "HasLabels": False,
                "HttpPort": settings.SINAR_ORTHANC_PORT,
                "IngestTranscoding": "",
                "IsHttpServerSecure": request.is_secure(),
                "MainDicomTags": {},
                "MaximumPatientCount": 0,
                "MaximumStorageMode": "Recycle",
                "MaximumStorageSize": 0,
                "Name": Site.objects.get(pk=self.here.site_id).name,
                "OverwriteInstances": False,
                "PatientsProtected": False,
                "PluginsEnabled": False,
                "ReadOnly": False,
                "StorageAreaPlugin": None,
                "StorageCompression": False,
                "UserMetadata": {},
                "Version": VERSION,
            }
        )


def totals(here: Any) -> dict[str, int]:
    """What a site holds, out of the counters that its studies keep; where that takes long, as of some minutes ago."""
    key = f"orthanc-totals:{here.site_id}"
    kept: dict[str, int] | None = cache.get(key) if here.may("studies.read") else None
    if kept is not None:
        return kept
    began = time.monotonic()
    found = _counted(here)
    if time.monotonic() - began > SLOW:
        cache.set(key, found, KEPT_SECONDS)
    return found


def _counted(here: Any) -> dict[str, int]:
    found = Study.objects.visible_to(here).aggregate(
        instances=Sum("number_of_study_related_instances"), series=Sum("number_of_study_related_series"),
        size=Sum("size"),
    )  # fmt: skip
    return {
        "CountInstances": found["instances"] or 0,
        "CountPatients": rows_of(here, Level.PATIENT).count(),
        "CountSeries": found["series"] or 0,
        "CountStudies": Study.objects.visible_to(here).count(),
        "size": found["size"] or 0,
    }


class Statistics(OrthancView):
    """`GET /statistics`."""

    def get(self, request: Any) -> HttpResponse:
        found = totals(self.here)
        size = found.pop("size")
        return answer(
            {
                **found,
                "TotalDiskSize": str(size),
                "TotalDiskSizeMB": size // MEGABYTE,
                "TotalUncompressedSize": str(size),
                "TotalUncompressedSizeMB": size // MEGABYTE,
            }
        )


class Metrics(OrthancView):
    """`GET /tools/metrics-prometheus`."""

    def get(self, request: Any) -> HttpResponse:
        found = totals(self.here)
        megabytes = found.pop("size") / MEGABYTE
        moment = int(timezone.now().timestamp() * 1000)
        named: dict[str, float] = {
            f"orthanc_count_{name.removeprefix('Count').lower()}": value for name, value in found.items()
        }
        named |= {"orthanc_disk_size_mb": megabytes, "orthanc_uncompressed_size_mb": megabytes}
        lines = "".join(f"{name} {value} {moment}\n" for name, value in sorted(named.items()))
        return HttpResponse(lines, content_type="text/plain; version=0.0.4")


class Changes(OrthancView):
    """`GET /changes`: what came since, and what became stable. Without `limit` the first hundred."""

    def get(self, request: Any) -> HttpResponse:
        registrar.catch_up()
        registrar.settle()
        rows = OrthancResource.objects.filter(site=self.here.site_id)
        if flag(request, "last"):
            page, done = list(rows.order_by("-id")[:1]), True
        else:
            since, limit = number(request, "since") or 0, number(request, "limit")
            size = min(limit or 100, MOST_CHANGES)
            found = list(rows.filter(pk__gt=min(since, 2**63 - 1)).order_by("id")[: size + 1])
            page, done = found[:size], len(found) <= size
        last = page[-1].pk if page else rows.order_by("-id").values_list("pk", flat=True).first() or 0
        return answer({"Changes": [_change(row) for row in page], "Done": done, "Last": last})

    def delete(self, request: Any) -> HttpResponse:
        raise NotDone("Changes are kept, for those who have not read them yet.")


def _change(row: OrthancResource) -> dict[str, Any]:
    level = BY_NUMBER[row.level]  # type: ignore[index]
    word = "New" if row.change == OrthancChange.NEW else "Stable"
    return {
        "ChangeType": f"{word}{TYPES[level]}",
        "Date": stamp(row.at),
        "ID": str(row),
        "Path": f"/{COLLECTIONS[level]}/{row}",
        "ResourceType": TYPES[level],
        "Seq": row.pk,
    }


class Constant(OrthancView):
    """An address whose answer is always the same."""

    body: Any = None

    def get(self, request: Any, **_: str) -> HttpResponse:
        return text(self.body) if isinstance(self.body, str) else answer(self.body)


class Now(OrthancView):
    """`GET /tools/now` (UTC) and `/tools/now-local`."""

    local = False

    def get(self, request: Any) -> HttpResponse:
        if not self.local:
            return text(stamp(timezone.now()))
        zone = Site.objects.get(pk=self.here.site_id).time_zone
        with timezone.override(zone):
            return text(timezone.localtime().strftime("%Y%m%dT%H%M%S"))


class GenerateUid(OrthancView):
    """`GET /tools/generate-uid?level=`."""

    def get(self, request: Any) -> HttpResponse:
        if request.GET.get("level", "").lower() not in {"patient", "study", "series", "instance"}:
            raise InvalidValue("The parameter level is patient, study, series or instance.", field="level")
        return text(new_uid())


class CreateArchive(OrthancView):
    """`POST /tools/create-archive` and `/tools/create-media`: a ZIP of several resources of any level."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any) -> HttpResponseBase:
        given = json_value(request)
        require_plain(given)
        names = given.get("Resources") if isinstance(given, dict) else given
        return self._zip(request, names)

    def get(self, request: Any) -> HttpResponseBase:
        return self._zip(request, request.GET.get("resources", "").split(","))

    def _zip(self, request: Any, names: Any) -> HttpResponseBase:
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InvalidValue("Name the Resources in a list.", field="Resources")
        if len(names) > MOST_RESOURCES:
            raise InvalidValue(f"Name {MOST_RESOURCES} resources at most.", field="Resources")
        keys: dict[Level, list[int]] = {}
        for name in names:
            level, row = find_any(self.here, name)
            keys.setdefault(level, []).append(row.pk)
        wanted = Instance.objects.none()
        for level, prefix in (
            (Level.PATIENT, "series_ref__study_ref__patient_ref"),
            (Level.STUDY, "series_ref__study_ref"),
            (Level.SERIES, "series_ref"),
            (Level.INSTANCE, "pk"),
        ):
            if level in keys:
                wanted |= Instance.objects.visible_to(self.here).filter(**{f"{prefix}__in": keys[level]})
        locations = Location.objects.current().filter(instance_ref__in=wanted)
        return zip_answer(request, locations, name="archive", site_id=self.here.site_id)


class Root(OrthancView):
    """`GET /`: what there is; a browser that signed in nowhere is led to the pages."""

    def get(self, request: Any) -> HttpResponseBase:
        return HttpResponseRedirect("system")


class ReportedAsNotDone(OrthancView):
    """An address of Orthanc's that has no counterpart here: 501, and why."""

    why = "This archive does not do that over the Orthanc REST API."

    def _refuse(self, request: Any, **_: str) -> HttpResponse:
        raise NotDone(self.why)

    get = post = put = delete = _refuse


class ResourceNotDone(ResourceView):
    """The same about a resource, which must be there to be told."""

    why = "This archive does not do that over the Orthanc REST API."

    def _refuse(self, request: Any, **_: str) -> HttpResponse:
        raise NotDone(self.why)

    post = put = delete = _refuse


class Nowhere(OrthancView):
    """Every other address."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is nothing at this address.")

    def get(self, request: Any) -> HttpResponse:
        raise NotFound("There is nothing at this address.")
