"""Series and instances, and what an instance holds: its file, a picture, its header."""

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from pacs.api import shapes
from pacs.api.access import CURSOR, LIMIT, ApiView, instance_of, linked, series_of
from pacs.api.entries import DICOMWEB, instance_entry, series_entry
from pacs.dicomweb.addresses import origin
from pacs.dicomweb.retrieve import object_response
from pacs.models import Instance, Location
from pacs.services.attributes import Level
from pacs.services.frames import HasNoPixels
from pacs.services.metadata import metadata_of
from pacs.services.outgoing import syntax_as_stored
from pacs.services.query import Search
from pacs.services.render import render_frame
from pacs.services.retrieve import instances_of
from radiology.api.operations import etag_of, file_answer, json_answer, matches, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotAcceptable, NotFound
from radiology.models import AuditAction
from radiology.services import audit

BY_NUMBER = ["instance_number", "pk"]
FRAME = Parameter("frame", "Number of the frame, from 1; without it the one that stands for the object.",
                  example="1", whole_number=True)  # fmt: skip
SIZE = Parameter("size", "The picture fits into a square of so many pixels, 16 to 4096.",
                 example="512", whole_number=True)  # fmt: skip


class OneSeries(ApiView):
    """`GET /series/{series}`."""

    @operation(
        tag="Series and instances",
        summary="One series",
        path=["series"],
        answers={200: shapes.SeriesShape},
        errors=[404],
    )
    def get(self, request: Any, series: str) -> HttpResponse:
        return json_answer(request, series_entry(series_of(request.user, series), origin(request)))


class InstancesOfSeries(ApiView):
    """`GET /series/{series}/instances`."""

    @operation(
        tag="Series and instances",
        summary="The instances of a series",
        description="In the order of their numbers.",
        path=["series"],
        parameters=[LIMIT, CURSOR],
        answers={200: shapes.Instances},
        errors=[404],
    )
    def get(self, request: Any, series: str) -> HttpResponse:
        found = series_of(request.user, series)
        keys = {
            "StudyInstanceUID": found.study_ref.study_instance_uid,
            "SeriesInstanceUID": found.series_instance_uid,
        }
        search = Search(who=request.user, level=Level.INSTANCE, keys=keys)
        page = search.page(size=self.limit, order=BY_NUMBER, place=self.place(BY_NUMBER))
        here = origin(request)
        links = self.neighbours(page, order=BY_NUMBER, address=here + request.path)
        body = {"data": [instance_entry(instance, here) for instance in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class OneInstance(ApiView):
    """`GET /instances/{instance}`."""

    @operation(
        tag="Series and instances",
        summary="One instance",
        path=["instance"],
        answers={200: shapes.InstanceShape},
        errors=[404],
    )
    def get(self, request: Any, instance: str) -> HttpResponse:
        return json_answer(request, instance_entry(instance_of(request.user, instance), origin(request)))


class InstanceFile(ApiView):
    """`GET /instances/{instance}/file`."""

    @operation(
        tag="Series and instances",
        summary="The DICOM file",
        description="The object as a DICOM file (PS3.10): as received, with what was corrected here laid over. One "
        "that was not corrected can be had in parts (`Range`).",
        path=["instance"],
        headers={"Range": "`bytes=1000000-`: from that byte on (206)."},
        answers={
            (200, "application/dicom"): file_answer("A DICOM file."),
            (206, "application/dicom"): file_answer("The part of it that was asked for."),
        },
        errors=[404, 507],
    )
    def get(self, request: Any, instance: str) -> HttpResponseBase:
        location = location_of(request.user, instance)
        record_retrieval(request, location.instance_ref)
        return object_response(request, location, syntax_as_stored(location))


class InstancePreview(ApiView):
    """`GET /instances/{instance}/preview`."""

    @operation(
        tag="Series and instances",
        summary="A picture of it",
        description="A JPEG, windowed as the object says. Reports and other objects without pixels have none: 406.",
        path=["instance"],
        parameters=[FRAME, SIZE],
        answers={(200, "image/jpeg"): file_answer("A JPEG.")},
        errors=[404, 406, 507],
    )
    def get(self, request: Any, instance: str) -> HttpResponse:
        frame, viewport = _frame(self.asked["frame"]), _viewport(self.asked["size"])
        location = location_of(request.user, instance)
        tag = etag_of(f"{location.pk} {frame} {viewport}".encode())
        if matches(request.headers.get("If-None-Match", ""), tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        try:
            picture = render_frame(location=location, frame=frame, viewport=viewport)
        except HasNoPixels as error:
            raise NotAcceptable("This object has no picture.") from error
        return HttpResponse(picture, content_type="image/jpeg", headers={"ETag": tag})


class InstanceTags(ApiView):
    """`GET /instances/{instance}/tags`."""

    @operation(
        tag="Series and instances",
        summary="Its header",
        description="All attributes but the pixels, in the DICOM JSON model (PS3.18 F). Large values are links.",
        path=["instance"],
        answers={200: dict},
        errors=[404, 507],
    )
    def get(self, request: Any, instance: str) -> HttpResponse:
        location = location_of(request.user, instance)
        record_retrieval(request, location.instance_ref)
        return json_answer(request, metadata_of(location=location, base_url=origin(request) + DICOMWEB))


def location_of(who: Any, uid: str) -> Location:
    """Where the bytes of an instance are. Raises NotFound."""
    instance = instance_of(who, uid)
    found = instances_of(who=who, sop_instance_uids=[uid]).filter(instance_ref=instance).first()
    if found is None:
        raise NotFound("There is no such instance, or none that you may see.", field="instance")
    return found


def record_retrieval(request: Any, instance: Instance) -> None:
    study = instance.series_ref.study_ref
    audit.record(
        event="api.retrieve",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={"instance": instance.sop_instance_uid},
    )


def _frame(text: str) -> int | None:
    if text and not 1 <= int(text) < 2**31:
        raise InvalidValue("frame is a number from 1.", field="frame")
    return int(text) if text else None


def _viewport(text: str) -> tuple[float, ...] | None:
    if text and not 16 <= int(text) <= 4096:
        raise InvalidValue("size is a number of pixels from 16 to 4096.", field="size")
    return (float(text), float(text)) if text else None
