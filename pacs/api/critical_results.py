"""Critical results over `/api/v1`: find, and say that a person knows."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from rest_framework import serializers

from pacs.api.access import CURSOR, LIMIT, linked
from pacs.api.order_bodies import require_known
from pacs.api.order_entries import patient_of_entry
from pacs.api.order_shapes import OrderPatientShape
from pacs.api.report_access import ReportView
from pacs.api.reports import NEWEST_FIRST, moment_of
from pacs.api.shapes import PageShape
from pacs.dicomweb.addresses import origin
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.pages import cursor_of, place_of, with_cursor
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue, NotFound
from radiology.models import AcknowledgedHow, AuditAction, CriticalCategory, CriticalResult, CriticalState
from radiology.services import audit
from radiology.services.critical_results import RELATED, acknowledge

Text = serializers.CharField
LISTED = [
    Parameter("state", "`open`, `acknowledged` or `withdrawn`.", example="open", pattern=r"[a-z]+"),
    Parameter("updated_since", "A moment (ISO 8601): what changed then or later.", example="2024-01-25T08:00:00Z"),
    LIMIT,
    CURSOR,
]


class CriticalLinks(serializers.Serializer):
    page = Text(help_text="Where a person reads and acknowledges it.")
    order = Text()
    viewer = Text(help_text="The images.")


class CriticalResultShape(serializers.Serializer):
    """A finding that cannot wait, and whether somebody knows."""

    public_id = serializers.UUIDField()
    state = Text(help_text=", ".join(f"`{value}`" for value in CriticalState.values))
    category = Text(help_text="`red` within minutes, `orange` within hours, `yellow` within days.")
    finding = Text()
    raised_by = Text()
    raised_at = serializers.DateTimeField()
    recipient = Text(help_text="The name of who must know.")
    escalations = serializers.IntegerField(help_text="How often it was told again.")
    next_escalation_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = Text(help_text="The name of who knows.")
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_how = Text(help_text=", ".join(f"`{value}`" for value in AcknowledgedHow.values))
    withdrawn_reason = Text()
    order = serializers.UUIDField()
    accession_number = Text()
    requested_procedure_id = Text()
    study_instance_uid = Text()
    patient = OrderPatientShape()
    updated_at = serializers.DateTimeField()
    links = CriticalLinks()


class CriticalResultList(PageShape):
    """Critical results, newest first."""

    data = CriticalResultShape(many=True)  # type: ignore[assignment]


class Acknowledgement(serializers.Serializer):
    name = Text(help_text="Who knows, as people write the name.", max_length=324)


class SearchCriticalResults(ReportView):
    """`GET /critical-results`."""

    @operation(
        tag="Reports",
        summary="Search for critical results",
        description="The critical results for which all parameters hold, newest first.",
        parameters=LISTED,
        answers={200: CriticalResultList},
    )
    def get(self, request: Any) -> HttpResponse:
        found = _results_of(request.user)
        if state := self.asked["state"]:
            if state not in CriticalState.values:
                known = ", ".join(CriticalState.values)
                raise InvalidValue(f"There is no state {state}; there are: {known}.", field="state")
            found = found.filter(state=state)
        if since := self.asked["updated_since"]:
            found = found.filter(updated_at__gte=moment_of(since, "updated_since"))
        if cursor := self.asked["cursor"]:
            found = found.filter(pk__lt=place_of(cursor=cursor, order=NEWEST_FIRST)[0][0])
        rows = list(found.order_by("-pk")[: self.limit + 1])
        here, shown, links = origin(request), rows[: self.limit], {}
        if len(rows) > len(shown):
            cursor = cursor_of(order=NEWEST_FIRST, values=[shown[-1].pk], backwards=False)
            links["next"] = with_cursor(address=here + request.path, asked=self.asked, cursor=cursor)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "critical_result", "answers": len(shown)},
        )
        body = {"data": [_entry(each, here) for each in shown], **links}
        return json_answer(request, body, headers=linked(links))


class AcknowledgeCriticalResult(ReportView):
    """`POST /critical-results/{critical_result}/acknowledge`."""

    @operation(
        tag="Reports",
        summary="Say that a person knows a critical result",
        description="For a system in which people acknowledge: `name` is who knows. The same again changes nothing; "
        "409 for a result that somebody else acknowledged first, or that was withdrawn.",
        path=["critical_result"],
        body=Acknowledgement,
        answers={200: CriticalResultShape},
        errors=[404, 409],
    )
    def post(self, request: Any, critical_result: uuid.UUID) -> HttpResponse:
        found = _results_of(request.user).filter(public_id=critical_result).first()
        if found is None:
            raise NotFound("There is no such critical result, or none that you may see.", field="critical_result")
        given = json_body(request)
        require_known(given, ("name",), "")
        done = acknowledge(
            result=found,
            how=AcknowledgedHow.API,
            told=text_of(given, "name", most=324),
            who=request.user,
            address=audit.address_of(request),
        )
        return json_answer(request, _entry(done, origin(request)))


def _results_of(who: Any) -> Any:
    found = CriticalResult.objects.visible_to(who).select_related(*RELATED)
    return found.defer("requested_procedure_ref__order_ref__patient_ref__attributes")


def _entry(result: CriticalResult, here: str) -> dict[str, Any]:
    procedure = result.requested_procedure_ref
    order, uid = procedure.order_ref, procedure.study_instance_uid
    return {
        "public_id": str(result.public_id),
        "state": result.state,
        "category": CriticalCategory(result.category).value,
        "finding": result.finding,
        "raised_by": result.raised_by_name,
        "raised_at": result.raised_at.isoformat(),
        "recipient": result.recipient_name,
        "escalations": result.level,
        "next_escalation_at": result.next_escalation_at.isoformat() if result.next_escalation_at else None,
        "acknowledged_by": result.acknowledged_name,
        "acknowledged_at": result.acknowledged_at.isoformat() if result.acknowledged_at else None,
        "acknowledged_how": result.acknowledged_how,
        "withdrawn_reason": result.withdrawn_reason,
        "order": str(order.public_id),
        "accession_number": order.accession_number,
        "requested_procedure_id": procedure.requested_procedure_id,
        "study_instance_uid": uid,
        "patient": patient_of_entry(order.patient_ref),
        "updated_at": result.updated_at.isoformat(),
        "links": {
            "page": here + reverse("critical-result", args=[result.public_id]),
            "order": here + reverse("api-order", args=[order.public_id]),
            "viewer": f"{here}/viewer?{urlencode({'StudyInstanceUIDs': uid})}",
        },
    }
