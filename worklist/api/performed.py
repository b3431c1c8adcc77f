"""Performed procedure steps: what the modalities report of what they do."""

import uuid
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse

from pacs.api.access import CURSOR, LIMIT, ApiView, linked
from pacs.dicomweb.addresses import origin
from pacs.services import keyset
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotFound
from radiology.models import AuditAction
from radiology.services import audit
from worklist.api import performed_shapes as shapes
from worklist.api.performed_entries import performed_entry
from worklist.models import PerformedProcedureStep, PerformedStatus, PerformedStepReference

PARAMETERS = [
    Parameter("study", "Study Instance UID.", example="1.2.840.113619.2.55.3.4271045733.996", pattern=r"[0-9.]{1,64}"),
    Parameter("accession", "Accession number of the order, exactly.", example="ACC12345"),
    Parameter("patient", "`public_id` of the patient.", example="01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11"),
    Parameter("status", "How far it is.", choices=PerformedStatus.values),
    Parameter(
        "updated_since",
        "Only what was reported at or after this moment, with its offset; the oldest first.",
        example="2026-03-02T09:30:00+07:00",
    ),
    LIMIT,
    CURSOR,
]
NEWEST_FIRST, BY_UPDATE = ["-updated_at", "-pk"], ["updated_at", "pk"]


class PerformedSteps(ApiView):
    """`GET /performed-procedure-steps`."""

    @operation(
        tag="Performed steps",
        summary="Search for performed steps",
        description="The performed procedure steps for which all parameters hold, the last reported first.",
        parameters=PARAMETERS,
        answers={200: shapes.PerformedStepsShape},
    )
    def get(self, request: Any) -> HttpResponse:
        order = BY_UPDATE if self.asked["updated_since"] else NEWEST_FIRST
        found = _filtered(_visible(request.user), self.asked)
        page = keyset.page(found=found, size=self.limit, order=order, place=self.place(order))
        here = origin(request)
        links = self.neighbours(page, order=order, address=here + request.path)
        audit.record(
            event="api.search",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            detail={"level": "PERFORMED", "answers": len(page.rows)},
        )
        body = {"data": [performed_entry(each, here) for each in page.rows], **links}
        return json_answer(request, body, headers=linked(links))


class OnePerformedStep(ApiView):
    """`GET /performed-procedure-steps/{performed}`."""

    @operation(
        tag="Performed steps",
        summary="One performed step",
        description="With its series, what it answers, and dose and exposure as the device reported them.",
        path=["performed"],
        answers={200: shapes.PerformedShape},
        errors=[404],
    )
    def get(self, request: Any, performed: str) -> HttpResponse:
        found = _visible(request.user).filter(sop_instance_uid=performed) if is_uid(performed) else None
        row = found.order_by("site_id").first() if found is not None else None
        if row is None:
            raise NotFound("There is no such performed step, or none that you may see.", field="performed")
        audit.record(
            event="api.read",
            action=AuditAction.READ,
            who=request.user,
            address=audit.address_of(request),
            site_id=row.site_id,
            patient_id=row.patient_ref_id,
            study_instance_uid=row.study_instance_uid,
        )
        return json_answer(request, performed_entry(row, origin(request)), version=row.version)


def _visible(who: Any) -> QuerySet[PerformedProcedureStep]:
    references = PerformedStepReference.objects.select_related("scheduled_ref").order_by("pk")
    return (
        PerformedProcedureStep.objects.visible_to(who)
        .select_related("patient_ref")
        .prefetch_related(Prefetch("references", queryset=references))
    )


def _filtered(found: QuerySet[PerformedProcedureStep], asked: dict[str, str]) -> QuerySet[PerformedProcedureStep]:
    if study := asked["study"]:
        named = PerformedStepReference.objects.filter(study_instance_uid=study)
        found = found.filter(pk__in=named.values("performed_ref"))
    if accession := asked["accession"]:
        named = PerformedStepReference.objects.filter(accession_number=accession)
        found = found.filter(pk__in=named.values("performed_ref"))
    if patient := asked["patient"]:
        found = found.filter(patient_ref__public_id=_public_id(patient))
    if status := asked["status"]:
        found = found.filter(performed_procedure_step_status=status)
    if since := asked["updated_since"]:
        found = found.filter(updated_at__gte=_moment(since))
    return found


def _public_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InvalidValue("patient must be the public_id of a patient.", field="patient") from error


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that nobody escaped
        if found.tzinfo is None or not 1900 < found.year < 2200:
            raise ValueError
    except ValueError as error:
        message = "updated_since must be a moment with its offset, such as 2026-03-02T09:30:00+07:00."
        raise InvalidValue(message, field="updated_since") from error
    return found
