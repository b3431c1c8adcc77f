"""The reading list over `/api/v1`: what is to be read, claimed and let go as on the page."""

import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.api.report_access import MayUseReports
from pacs.dicomweb.addresses import origin
from radiology.api.operations import json_answer, json_body, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Priority, RequestedProcedure, User
from radiology.services import audit
from worklist.api import reading_shapes as shapes
from worklist.models import Reading
from worklist.services import reading as reading_service
from worklist.services.reading import ORDER, VIEWS, ReadingFilter
from worklist.services.reading_list import Line, line_of, reading_page


class ReadingView(ApiView):
    """A view about what is to be read, for who writes reports."""

    permission_classes = [MayUseReports]

    def require_right(self, request: Any) -> None:
        if not request.user.may(reading_service.RIGHT):
            raise NotAllowed("The reading list is for those who write reports.")

    def act(self, request: Any, public_id: uuid.UUID, action: Callable[..., Reading], **more: Any) -> HttpResponse:
        """Do something about the examination that the request names; the entry after it."""
        self.require_right(request)
        if not isinstance(request.user, User):
            raise NotAllowed("People read: a program has nothing to claim.")
        found = Reading.objects.visible_to(request.user).filter(requested_procedure_ref__public_id=public_id)
        procedure = RequestedProcedure.objects.filter(reading__in=found).first()
        if procedure is None:
            raise NotFound("There is no such examination to be read, or none that you may see.", field="procedure")
        done = action(who=request.user, procedure=procedure, **more)
        return json_answer(request, entry(line_of(who=request.user, reading=done), origin(request)))


class ReadingList(ReadingView):
    """`GET /reading`."""

    @operation(
        tag="Reading",
        summary="What is to be read",
        description="Examinations whose images are there and whose report nobody has signed: stat first, then high, "
        "then all others, each by the end of the agreed turnaround. Needs the scope `reports.write`.",
        parameters=[
            Parameter("view", "As the tabs of the page; `mine` and `areas` are empty for a program.", choices=VIEWS),
            Parameter("modality", "Exactly.", example="CT"),
            Parameter("priority", "Exactly.", choices=Priority.values),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.ReadingListShape},
    )
    def get(self, request: Any) -> HttpResponse:
        self.require_right(request)
        asked = self.asked
        wanted = ReadingFilter(asked["view"] or "unread", asked["modality"], asked["priority"])
        page = reading_page(who=request.user, wanted=wanted, place=self.place(ORDER), size=self.limit, views=())
        here = origin(request)
        links = self.neighbours(page.page, order=ORDER, address=here + request.path)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "reading", "answers": len(page.lines)},
        )
        body = {"data": [entry(each, here) for each in page.lines], **links}
        return json_answer(request, body, headers=linked(links))


class Claim(ReadingView):
    """`POST /reading/{procedure}/claim`."""

    @operation(
        tag="Reading",
        summary="Claim an examination to read it",
        description="One's own again only renews the claim. 409 says who has it, or that there is nothing to read.",
        path=["procedure"],
        body=shapes.ClaimBody,
        answers={200: shapes.ReadingShape},
        errors=[404, 409],
        examples=shapes.CLAIM,
    )
    def post(self, request: Any, procedure: uuid.UUID) -> HttpResponse:
        take_over = json_body(request).get("take_over", False)
        if not isinstance(take_over, bool):
            raise InvalidValue("take_over must be true or false.", field="take_over")
        return self.act(
            request, procedure, reading_service.claim, take_over=take_over, address=audit.address_of(request)
        )


class Release(ReadingView):
    """`POST /reading/{procedure}/release`."""

    @operation(
        tag="Reading",
        summary="Let go of a claimed examination",
        description="A draft stays its writer's. What nobody has claimed stays as it is.",
        path=["procedure"],
        answers={200: shapes.ReadingShape},
        errors=[404, 409],
    )
    def post(self, request: Any, procedure: uuid.UUID) -> HttpResponse:
        return self.act(request, procedure, reading_service.release)


def entry(line: Line, here: str) -> dict[str, Any]:
    """One examination as the API tells it."""
    reading, order, study = line.reading, line.order, line.reading.study_ref
    links = {"page": f"{here}{reverse('reading')}/{line.procedure.public_id}"}
    if study is not None:
        links["study"] = here + reverse("api-study", args=[study.study_instance_uid])
    return {
        "procedure": str(line.procedure.public_id),
        "accession_number": order.accession_number,
        "study_instance_uid": study.study_instance_uid if study is not None else "",
        "patient_id": line.patient.patient_id,
        "patient_name": line.patient.patient_name,
        "description": line.procedure.requested_procedure_description,
        "modality": reading.modality,
        "regions": reading.regions,
        "priority": reading.priority,
        "state": reading.state,
        "images": line.images,
        "images_complete_at": reading.images_complete_at.isoformat() if reading.images_complete_at else None,
        "due_at": reading.due_at.isoformat(),
        "holder": _reader(line.holder),
        "claimed_at": line.since.isoformat() if line.since else None,
        "assigned_to": _reader(reading.assigned_to),
        "resident": _reader(reading.resident),
        "late_images": reading.late_images,
        "links": links,
    }


def _reader(user: User | None) -> dict[str, str] | None:
    return {"public_id": str(user.public_id), "name": user.shown_name} if user is not None else None
