"""Studies and their orders: what waits, and the same decisions as on the page."""

import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.api.parameters import Parameter
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionRequired
from radiology.models import RequestedProcedure
from radiology.services import audit
from worklist.api import reconciliation_shapes as shapes
from worklist.models import CaseState, ReconciliationCase
from worklist.services import reconciliation, reconciliation_decisions

NEWEST_FIRST = ["-pk"]
IF_MATCH = {"If-Match": 'Required: the ETag of the case as it was read, or its version in quotes (`"3"`).'}


class CaseView(ApiView):
    """A view about one case: who may not decide is told so; a case of another site is not there."""

    def case_of(self, request: Any, public_id: uuid.UUID) -> ReconciliationCase:
        if not request.user.may("worklist.reconcile"):
            raise NotAllowed("You may not decide which order a study belongs to.")
        found = ReconciliationCase.objects.visible_to(request.user).filter(public_id=public_id)
        row = found.select_related("study_ref__patient_ref", "study_ref__requested_procedure_ref").first()
        if row is None:
            raise NotFound("There is no such case, or none that you may see.", field="case")
        return row

    def decide(self, request: Any, public_id: uuid.UUID, decision: Callable[..., Any]) -> HttpResponse:
        """Make a decision about the case that the request names, at the version that it names; the case after it."""
        case = self.case_of(request, public_id)
        version = _version(request.headers.get("If-Match", ""))
        decision(who=request.user, case=case, version=version, address=audit.address_of(request))
        case = self.case_of(request, public_id)
        return json_answer(request, entries(request, [case])[0], version=case.version)


class Cases(CaseView):
    """`GET /reconciliation-cases`."""

    @operation(
        tag="Reconciliation",
        summary="Search for reconciliation cases",
        description="Studies that wait to be told which order they belong to, newest first; or those that were linked, "
        "dismissed or hidden.",
        parameters=[
            Parameter("state", "Which cases.", default="open", choices=tuple(CaseState.values)),
            LIMIT,
            CURSOR,
        ],
        answers={200: shapes.CasesShape},
    )
    def get(self, request: Any) -> HttpResponse:
        if not request.user.may("worklist.reconcile"):
            raise NotAllowed("You may not decide which order a study belongs to.")
        found = ReconciliationCase.objects.visible_to(request.user).filter(state=self.asked["state"])
        if self.asked["state"] != CaseState.WRONG_PATIENT:
            found = found.filter(study_ref__deleted_at=None)
        found = found.select_related("study_ref__patient_ref", "study_ref__requested_procedure_ref")
        page = keyset.page(found=found, size=self.limit, order=NEWEST_FIRST, place=self.place(NEWEST_FIRST))
        links = self.neighbours(page, order=NEWEST_FIRST, address=origin(request) + request.path)
        return json_answer(request, {"data": entries(request, page.rows), **links}, headers=linked(links))


class OneCase(CaseView):
    """`GET /reconciliation-cases/{case}`."""

    @operation(
        tag="Reconciliation",
        summary="One reconciliation case",
        path=["case"],
        answers={200: shapes.CaseShape},
        errors=[404],
    )
    def get(self, request: Any, case: uuid.UUID) -> HttpResponse:
        found = self.case_of(request, case)
        return json_answer(request, entries(request, [found])[0], version=found.version)


class Link(CaseView):
    """`POST /reconciliation-cases/{case}/link`."""

    @operation(
        tag="Reconciliation",
        summary="Link a study to an order",
        description="Accession number and patient of the order are laid over the study; its files stay as received. "
        "`undo` takes it back.",
        path=["case"],
        headers=IF_MATCH,
        body=shapes.LinkBody,
        answers={200: shapes.CaseShape},
        errors=[404, 409, 412, 428],
        examples=shapes.LINK,
    )
    def post(self, request: Any, case: uuid.UUID) -> HttpResponse:
        def decide(**common: Any) -> None:
            procedure = _procedure(request.user, text_of(json_body(request), "procedure"))
            reconciliation.link(procedure=procedure, **common)

        return self.decide(request, case, decide)


class Dismiss(CaseView):
    """`POST /reconciliation-cases/{case}/dismiss`."""

    @operation(
        tag="Reconciliation",
        summary="Say that a study has no order",
        path=["case"],
        headers=IF_MATCH,
        body=shapes.DismissBody,
        answers={200: shapes.CaseShape},
        errors=[404, 409, 412, 428],
        examples=shapes.DISMISS,
    )
    def post(self, request: Any, case: uuid.UUID) -> HttpResponse:
        def decide(**common: Any) -> None:
            makes_order = json_body(request).get("makes_order", False)
            if not isinstance(makes_order, bool):
                raise InvalidValue("makes_order must be true or false.", field="makes_order")
            reconciliation_decisions.dismiss(makes_order=makes_order, **common)

        return self.decide(request, case, decide)


class WrongPatient(CaseView):
    """`POST /reconciliation-cases/{case}/wrong-patient`."""

    @operation(
        tag="Reconciliation",
        summary="Hide images of the wrong patient",
        description="Hides the study in every service at once, with what still arrives for it. Nothing is deleted; "
        "`undo` shows it again.",
        path=["case"],
        headers=IF_MATCH,
        body=shapes.WrongPatientBody,
        answers={200: shapes.CaseShape},
        errors=[404, 409, 412, 428],
        examples=shapes.WRONG,
    )
    def post(self, request: Any, case: uuid.UUID) -> HttpResponse:
        def decide(**common: Any) -> None:
            reason = text_of(json_body(request), "reason")
            reconciliation_decisions.mark_wrong_patient(reason=reason, **common)

        return self.decide(request, case, decide)


class Undo(CaseView):
    """`POST /reconciliation-cases/{case}/undo`."""

    @operation(
        tag="Reconciliation",
        summary="Take the latest decision about a study back",
        description="Study and case are as before it; a link that was made by itself is not made by itself again.",
        path=["case"],
        headers=IF_MATCH,
        answers={200: shapes.CaseShape},
        errors=[404, 409, 412, 428],
    )
    def post(self, request: Any, case: uuid.UUID) -> HttpResponse:
        def decide(*, case: ReconciliationCase, **common: Any) -> None:
            latest = case.decisions.filter(undone_at=None).order_by("-pk").first()
            if latest is None:
                raise Conflict("There is no decision to take back.")
            reconciliation_decisions.undo(decision=latest, **common)

        return self.decide(request, case, decide)


def entries(request: Any, cases: Sequence[ReconciliationCase]) -> list[dict[str, Any]]:
    """Cases with their candidates, the best first. One query more, however many they are."""
    keys = {entry["procedure"] for case in cases for entry in case.candidates}
    procedures = RequestedProcedure.objects.select_related("order_ref__patient_ref").in_bulk(keys) if keys else {}
    here = origin(request)
    found = []
    for case in cases:
        study = case.study_ref
        linked_to = study.requested_procedure_ref
        found.append(
            {
                "public_id": str(case.public_id),
                "state": case.state,
                "reason": case.reason,
                "study_instance_uid": study.study_instance_uid,
                "accession_number": study.accession_number,
                "study_description": study.study_description,
                "patient_id": study.patient_ref.patient_id,
                "patient_name": study.patient_ref.patient_name,
                "procedure": str(linked_to.public_id) if linked_to else None,
                "rule": case.rule,
                "decided_at": case.decided_at.isoformat() if case.decided_at else None,
                "version": case.version,
                "created_at": case.created_at.isoformat(),
                "updated_at": case.updated_at.isoformat(),
                "candidates": [
                    _candidate(entry, procedures[entry["procedure"]])
                    for entry in case.candidates
                    if entry["procedure"] in procedures
                ],
                "links": {
                    "self": here + reverse("api-case", args=[case.public_id]),
                    "page": here + reverse("reconciliation-case", args=[case.public_id]),
                },
            }
        )
    return found


def _candidate(entry: dict[str, Any], procedure: RequestedProcedure) -> dict[str, Any]:
    order = procedure.order_ref
    return {
        "procedure": str(procedure.public_id),
        "order": str(order.public_id),
        "accession_number": order.accession_number,
        "requested_procedure_id": procedure.requested_procedure_id,
        "description": procedure.requested_procedure_description,
        "modality": procedure.modality,
        "patient_id": order.patient_ref.patient_id,
        "patient_name": order.patient_ref.patient_name,
        "score": entry["score"],
        "agrees": entry["agrees"],
        "differs": entry["differs"],
    }


def _procedure(who: Any, text: str) -> RequestedProcedure:
    try:
        wanted = uuid.UUID(text)
    except ValueError as error:
        raise InvalidValue("procedure is the public_id of a requested procedure.", field="procedure") from error
    found = RequestedProcedure.objects.filter(public_id=wanted)
    if not who.sees_every_site:
        found = found.filter(order_ref__site=who.site_id)
    row = found.first()
    if row is None:
        raise NotFound("There is no such requested procedure, or none that you may see.", field="procedure")
    return row


def _version(header: str) -> int:
    """The version that an If-Match names. Raises PreconditionRequired."""
    found = re.fullmatch(r'(?:W/)?"?(\d{1,9})(?:-[0-9a-f]*)?"?', header.strip(), re.ASCII)
    if found is None:
        raise PreconditionRequired(
            "Send If-Match with the ETag of the case as you read it, so that nobody's decision is lost.",
            field="If-Match",
        )
    return int(found[1])
