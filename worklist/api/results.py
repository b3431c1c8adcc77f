"""The results of one's patients over `/api/v1`: listed, and said to be seen."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.permissions import BasePermission

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.api.order_bodies import require_known
from pacs.api.order_entries import patient_of_entry
from pacs.api.reports import moment_of
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotAllowed
from radiology.models import AuditAction, PersonalResult, ReportSection, User
from radiology.services import audit
from radiology.services.result_list import (
    ORDER,
    VIEWS,
    ResultFilter,
    mark_seen,
    results_for,
    shown_results,
    unmark_seen,
)
from worklist.api import result_shapes as shapes
from worklist.services.result_standing import Standing, standings_of

MOST_NAMED = 1000


class MayHaveResults(BasePermission):
    """Whoever may see reports; what one marks is one's own."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        return bool(who and who.is_authenticated and who.may("studies.read"))


class ResultsView(ApiView):
    permission_classes = [MayHaveResults]

    def person(self, request: Any) -> User:
        if not isinstance(request.user, User):
            raise NotAllowed("Results are seen by people: a program has none.")
        return request.user


class ResultList(ResultsView):
    """`GET /results`."""

    @operation(
        tag="Results",
        summary="Results of my patients",
        description="What was ordered or referred by the person who asks, or comes from their ward, newest first: "
        "what is published, or, by `view`, what is new, critical or awaited. A program has none: its list is empty.",
        parameters=[
            Parameter("view", "As the tabs of the page.", choices=VIEWS, default="reported"),
            Parameter("new", "`true`: only what this person has not seen.", choices=["true", "false"]),
            Parameter("whose", "`ordered` by the person, or of their `place`.", choices=["ordered", "place"]),
            Parameter("modality", "Exactly.", example="CT"),
            Parameter("patient", "`public_id` of a patient.", example="01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11"),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.ResultListShape},
    )
    def get(self, request: Any) -> HttpResponse:
        asked = self.asked
        wanted = ResultFilter(
            view=asked["view"],
            whose=asked["whose"],
            modality=asked["modality"],
            patient=_uuid(asked["patient"], "patient") if asked["patient"] else None,
        )
        found = results_for(who=request.user, wanted=wanted)
        if asked["new"]:
            found = found.filter(is_new=asked["new"] == "true")
        page = keyset.page(found=shown_results(found), size=self.limit, order=ORDER, place=self.place(ORDER))
        standings = standings_of(who=request.user, rows=page.rows)
        here = origin(request)
        links = self.neighbours(page, order=ORDER, address=here + request.path)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "result", "answers": len(page.rows)},
        )
        body = {"data": [_entry(each, standings.get(each.pk), here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class Seen(ResultsView):
    """`POST /results/seen`."""

    @operation(
        tag="Results",
        summary="Say that results are seen",
        description="They are not new any more to the person who says so; a version that is published later is. "
        "Reports that are opened over their page are seen by that.",
        body=shapes.SeenBody,
        answers={200: shapes.SeenShape},
        examples=shapes.SEEN,
    )
    def post(self, request: Any) -> HttpResponse:
        person = self.person(request)
        given = json_body(request)
        require_known(given, ("results", "until"), "")
        named = given.get("results", [])
        if not isinstance(named, list) or len(named) > MOST_NAMED:
            raise InvalidValue(f"results is a list of {MOST_NAMED} at most.", field="results")
        keys = [_uuid(each, "results") for each in named]
        until = text_of(given, "until", most=64)
        if not keys and not until:
            raise InvalidValue("Name results, or say until when.", field="results")
        moment = moment_of(until, "until") if until else None
        mark, marked = mark_seen(who=person, until=moment, results=keys)
        _record(request, mark, marked)
        return json_answer(request, {"mark": str(mark), "results": marked})


class Unseen(ResultsView):
    """`POST /results/unseen`."""

    @operation(
        tag="Results",
        summary="Take back that results are seen",
        description="New again is what was marked together, except what was opened since. The same again: nothing.",
        body=shapes.UnseenBody,
        answers={200: shapes.SeenShape},
    )
    def post(self, request: Any) -> HttpResponse:
        person = self.person(request)
        given = json_body(request)
        require_known(given, ("mark",), "")
        mark = _uuid(given.get("mark"), "mark")
        back = unmark_seen(who=person, mark=mark)
        _record(request, mark, back, undone=True)
        return json_answer(request, {"mark": str(mark), "results": back})


def _record(request: Any, mark: uuid.UUID, count: int, *, undone: bool = False) -> None:
    audit.record(
        event="results.seen",
        action=AuditAction.UPDATE,
        who=request.user,
        address=audit.address_of(request),
        detail={"mark": str(mark), "undone" if undone else "results": count},
    )


def _uuid(value: Any, field: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidValue(f"{field} is no public_id.", field=field) from error


def _entry(row: PersonalResult, standing: Standing | None, here: str) -> dict[str, Any]:
    procedure, version = row.requested_procedure_ref, row.version_ref
    order = procedure.order_ref
    links = {
        "page": here + reverse("result", args=[procedure.public_id]),
        "order": here + reverse("api-order", args=[order.public_id]),
        "viewer": f"{here}/viewer?{urlencode({'StudyInstanceUIDs': procedure.study_instance_uid})}",
    }
    if version is not None:
        links["report"] = here + reverse("api-report", args=[version.report_ref.public_id])
    return {
        "procedure": str(procedure.public_id),
        "state": row.state,
        "standing": standing.code if standing else "",
        "new": row.is_new,
        "critical": row.is_critical,
        "ordered": row.by_order,
        "of_place": row.by_place,
        "at": row.at.isoformat(),
        "version": version.number if version else 0,
        "impression": version.sections.get(ReportSection.IMPRESSION.value, "")
        if version and version.report_ref.held_at is None
        else "",
        "description": procedure.requested_procedure_description,
        "modality": row.modality,
        "accession_number": order.accession_number,
        "study_instance_uid": procedure.study_instance_uid,
        "patient": patient_of_entry(order.patient_ref),
        "links": links,
    }
