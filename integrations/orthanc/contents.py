"""What resources hold: attributes, metadata, sizes, files, archives."""

import re
from collections.abc import Iterator
from typing import Any

from django.db.models import Sum
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from integrations.orthanc.access import OfOneSite, answer, flag, json_value, text
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.identifiers import instance_identifier
from integrations.orthanc.lookup import below, item_of, location_of, object_of
from integrations.orthanc.resources import MAIN_TAGS, MAIN_TAGS_IN_FILES, origins_of, stamp
from integrations.orthanc.tags import Form, dashed, form_of, formatted, tag_of, tags_of, text_of
from pacs.api.archives import zip_answer
from pacs.dicomweb.retrieve import object_response
from pacs.models import Instance, Location
from pacs.services.attributes import Level
from pacs.services.metadata import bulk_data
from pacs.services.outgoing import syntax_as_stored
from pacs.services.retrieve import instances_of
from radiology.errors import NotDone, NotFound

MEGABYTE = 1024 * 1024
MOST_COMPARED = 1000
MODULES = {Level.PATIENT: "0010"}


class Tags(ResourceView):
    """`/instances/{id}/tags` and `/simplified-tags`."""

    level = Level.INSTANCE
    plain = Form.FULL

    def get(self, request: Any, **_: str) -> HttpResponse:
        form = form_of(request, plain=self.plain)
        self.record_read("tags")
        return answer(formatted(tags_of(location_of(self.here, self.row)), form))


class InstancesTags(ResourceView):
    """`/studies/{id}/instances-tags`: those of all objects below, by identifier."""

    def get(self, request: Any, **_: str) -> HttpResponseBase:
        form = form_of(request)
        self.record_read("tags")
        rows = below(self.here, self.level, self.row, Level.INSTANCE)

        def blocks() -> Iterator[str]:
            sign = "{"
            for instance in rows.iterator(200):
                found = formatted(tags_of(location_of(self.here, instance)), form)
                name = instance_identifier(instance)
                yield sign + answer({name: found}).content.decode().strip()[1:-1]
                sign = ","
            yield "{}" if sign == "{" else "}"

        return StreamingHttpResponse(blocks(), content_type="application/json; charset=utf-8")


class SharedTags(ResourceView):
    """`/studies/{id}/shared-tags`: attributes that have one value in all objects below."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        form = form_of(request)
        self.record_read("tags")
        rows = list(below(self.here, self.level, self.row, Level.INSTANCE)[: MOST_COMPARED + 1])
        if len(rows) > MOST_COMPARED:
            raise NotDone(f"More than {MOST_COMPARED} objects are not compared: ask for the series one by one.")
        shared: dict[str, Any] | None = None
        for instance in rows:
            found = tags_of(location_of(self.here, instance))
            if shared is None:
                shared = {tag: element for tag, element in found.items() if element["vr"] not in {"SQ", "OW", "OB"}}
            shared = {tag: element for tag, element in shared.items() if found.get(tag) == element}
        return answer(formatted(shared or {}, form))


class Module(ResourceView):
    """`/studies/{id}/module` and the like: the attributes of that level, of one of its objects."""

    of = Level.STUDY

    def get(self, request: Any, **_: str) -> HttpResponse:
        form = form_of(request)
        first = object_of(self.here, self.level, self.row)
        wanted = {tag_of(name) for name in (*MAIN_TAGS[self.of], *MAIN_TAGS_IN_FILES.get(self.of, ()))}
        found = tags_of(location_of(self.here, first))
        self.record_read("tags")
        return answer(formatted({tag: element for tag, element in found.items() if tag in wanted}, form))


class Content(ResourceView):
    """`/instances/{id}/content/...`: the tags there are, or the value of one, into sequences by number."""

    level = Level.INSTANCE

    def get(self, request: Any, orthanc_path: str = "", **_: str) -> HttpResponse:
        found: Any = tags_of(location_of(self.here, self.row))
        self.record_read("tags")
        parts = [part for part in orthanc_path.split("/") if part]
        for position, part in enumerate(parts):
            if position % 2:
                found = item_of(found.get("Value", []), part)
                continue
            found = found.get(tag_of(part))
            if found is None:
                raise NotFound("There is no such attribute in the object.")
            if found["vr"] != "SQ":
                if position + 1 < len(parts):
                    raise NotFound("There is nothing below this attribute.")
                return HttpResponse(text_of(found).encode(), content_type="application/octet-stream")
        if len(parts) % 2:
            return answer([str(number) for number in range(len(found.get("Value", [])))])
        return answer([dashed(tag, "-") for tag in found])


class Metadata(ResourceView):
    """`/studies/{id}/metadata`, with `?expand` the values, and `/metadata/{name}` one of them."""

    def get(self, request: Any, orthanc_metadata: str = "", **_: str) -> HttpResponse:
        found = self._values()
        self.record_read("metadata")
        if orthanc_metadata:
            if orthanc_metadata not in found:
                raise NotFound("There is no such metadata.")
            return text(found[orthanc_metadata])
        return answer(found if flag(request, "expand") else list(found))

    def _values(self) -> dict[str, str]:
        return metadata_of_rows(self.here, self.level, [self.row])[self.row.pk]


def metadata_of_rows(here: OfOneSite, level: Level, rows: list[Any]) -> dict[int, dict[str, str]]:
    """What is known of each row beside its attributes, by key. Raises NotFound for an instance without a file."""
    origins = origins_of(level, rows)
    locations = {}
    if level is Level.INSTANCE:
        uids = [row.sop_instance_uid for row in rows]
        found = instances_of(who=here, sop_instance_uids=uids).filter(instance_ref__in=rows)
        locations = {each.instance_ref_id: each for each in found}
    return {
        row.pk: dict(sorted({**_own_metadata(level, row, locations.get(row.pk)), **origins.get(row.pk, {})}.items()))
        for row in rows
    }


def _own_metadata(level: Level, row: Any, location: Location | None) -> dict[str, str]:
    if level is not Level.INSTANCE:
        found = {"LastUpdate": stamp(row.updated_at)}
        if level is Level.SERIES and row.source_ae_title:
            found["RemoteAET"] = row.source_ae_title
        return found
    if location is None:
        raise NotFound("There is no such instance, or none that you may see.")
    found = {
        "ReceptionDate": stamp(row.created_at),
        "RemoteAET": row.series_ref.source_ae_title,
        "SopClassUid": row.sop_class_uid,
        "TransferSyntax": syntax_as_stored(location),
    }
    if row.instance_number is not None:
        found["IndexInSeries"] = str(row.instance_number)
    return found


class Statistics(ResourceView):
    """`/studies/{id}/statistics`: how many there are below, and how large."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        found: dict[str, Any] = {}
        if self.level is Level.INSTANCE:
            size = location_of(self.here, self.row).size
        else:
            rows = below(self.here, self.level, self.row, Level.INSTANCE).order_by()
            size = Location.objects.current().filter(instance_ref__in=rows).aggregate(Sum("size"))["size__sum"] or 0
            found["CountInstances"] = rows.count()
        for level, name in ((Level.SERIES, "CountSeries"), (Level.STUDY, "CountStudies")):
            if level.depth > self.level.depth:
                found[name] = below(self.here, self.level, self.row, level).count()
        self.record_read("statistics")
        return answer({**found, **sizes(size)})


def sizes(size: int) -> dict[str, Any]:
    """A number of bytes in all the ways in which Orthanc says it. Nothing is compressed here but what came so."""
    names = ("DicomDiskSize", "DicomUncompressedSize", "DiskSize", "UncompressedSize")
    return {
        **{name: str(size) for name in names},
        **{f"{name}MB": size // MEGABYTE for name in names},
    }


class Archive(ResourceView):
    """`/studies/{id}/archive` and `/media`: a ZIP with a DICOMDIR, made while it is sent."""

    def get(self, request: Any, **_: str) -> HttpResponseBase:
        if request.GET.get("transcode"):
            raise NotDone("Archives hold the objects in the transfer syntax in which they are stored.")
        return self._zip(request)

    def post(self, request: Any, **_: str) -> HttpResponseBase:
        require_plain(json_value(request))
        return self._zip(request)

    def _zip(self, request: Any) -> HttpResponseBase:
        condition = {
            Level.PATIENT: "series_ref__study_ref__patient_ref",
            Level.STUDY: "series_ref__study_ref",
            Level.SERIES: "series_ref",
        }[self.level]
        wanted = Instance.objects.visible_to(self.here).filter(**{condition: self.row})
        study = None if self.level is Level.PATIENT else (self.row if self.level is Level.STUDY else self.row.study_ref)
        patient = self.row if study is None else study.patient_ref
        return zip_answer(
            request,
            Location.objects.current().filter(instance_ref__in=wanted),
            name=request.GET.get("filename", self.level.value.lower()).removesuffix(".zip"),
            site_id=patient.site_id,
            patient_id=patient.pk,
            study_instance_uid=study.study_instance_uid if study else "",
        )


def require_plain(given: Any) -> None:
    """Raises for what a request for an archive wants beyond one: to be made later, or transcoded."""
    if isinstance(given, dict):
        if given.get("Synchronous") is False or given.get("Asynchronous") is True:
            raise NotDone("Archives are made while they are sent: ask for them synchronously.")
        if given.get("Transcode"):
            raise NotDone("Archives hold the objects in the transfer syntax in which they are stored.")


class File(ResourceView):
    """`/instances/{id}/file` and its attachment: the DICOM file as it leaves, whatever Accept says."""

    level = Level.INSTANCE

    def get(self, request: Any, **_: str) -> HttpResponseBase:
        location = location_of(self.here, self.row)
        self.record_read("retrieve", instance=self.row.sop_instance_uid)
        return object_response(request, location, syntax_as_stored(location))


class Pdf(ResourceView):
    """`/instances/{id}/pdf`: the document of an Encapsulated PDF."""

    level = Level.INSTANCE

    def get(self, request: Any, **_: str) -> HttpResponseBase:
        location = location_of(self.here, self.row)
        document = bulk_data(location=location, path="00420011")
        self.record_read("retrieve", instance=self.row.sop_instance_uid)
        response = StreamingHttpResponse(document.blocks(0), content_type="application/pdf")
        response.headers["Content-Length"] = str(document.length)
        return response


class Attachments(ResourceView):
    """`/instances/{id}/attachments`: the file is the only one; other levels have none."""

    def get(self, request: Any, orthanc_attachment: str = "", orthanc_what: str = "", **_: str) -> HttpResponseBase:
        attachment, what = orthanc_attachment, orthanc_what
        if not attachment:
            return answer(["dicom"] if self.level is Level.INSTANCE else [])
        if attachment not in {"dicom", "0", "1"} or self.level is not Level.INSTANCE:
            raise NotFound("There is no such attachment.")
        location = location_of(self.here, self.row)
        if what in {"size", "compressed-size"}:
            return text(str(location.size + location.data_set_offset))
        if what == "is-compressed":
            return text("0")
        if what in {"data", "compressed-data"}:
            self.record_read("retrieve", instance=self.row.sop_instance_uid)
            return object_response(request, location, syntax_as_stored(location))
        if what:
            raise NotFound("There is nothing of this name about the attachment.")
        return answer(["compressed-data", "compressed-size", "data", "is-compressed", "size"])


class Labels(ResourceView):
    """`/studies/{id}/labels`: there are none here."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer([])


class Protected(ResourceView):
    """`/patients/{id}/protected`: nothing is ever recycled here, so nobody needs protection from it."""

    needs = {"PUT": "studies.write"}
    level = Level.PATIENT

    def get(self, request: Any, **_: str) -> HttpResponse:
        return text("0")

    def put(self, request: Any, **_: str) -> HttpResponse:
        raise NotDone("Patients are not protected here: nothing is recycled.")


class Reconstruct(ResourceView):
    """`/studies/{id}/reconstruct`: nothing is ever out of step with the files."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        return answer({})


def frame_number(value: str) -> int:
    """A number of a frame, counted from 0 as in Orthanc, as this archive counts: from 1. Raises NotFound."""
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise NotFound("There is no such frame.")
    return int(value) + 1
