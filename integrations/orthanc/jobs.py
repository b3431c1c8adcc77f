"""`/jobs`: what is on its way to or from other nodes, as Orthanc tells of its jobs."""

import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone

from integrations.orthanc.access import NotDone, OrthancView, answer, flag
from integrations.orthanc.resources import stamp
from pacs.models import Transfer, TransferDirection, TransferState
from pacs.services import transfers
from radiology.errors import NotFound
from radiology.services import audit

MOST = 1000
STATES = {
    TransferState.WAITING: "Pending",
    TransferState.RUNNING: "Running",
    TransferState.DONE: "Success",
    TransferState.FAILED: "Failure",
    TransferState.CANCELLED: "Failure",
}


class Jobs(OrthancView):
    """`GET /jobs`: the newest thousand, with `?expand` in full."""

    def get(self, request: Any) -> HttpResponse:
        rows = visible(self.here).order_by("-id")[:MOST]
        return answer([described(row) if flag(request, "expand") else str(row.public_id) for row in rows])


class Job(OrthancView):
    """`GET /jobs/{id}`, and `/cancel`, `/resubmit`."""

    needs = {"POST": "studies.read"}
    action = ""

    def get(self, request: Any, orthanc_job: str) -> HttpResponse:
        if self.action:
            return self.http_method_not_allowed(request)
        return answer(described(job_of(self.here, orthanc_job)))

    def post(self, request: Any, orthanc_job: str) -> HttpResponse:
        row = job_of(self.here, orthanc_job)
        common = {"who": request.user, "transfer": row, "address": audit.address_of(request)}
        if self.action == "cancel":
            transfers.cancel(**common)
        elif self.action == "resubmit":
            transfers.retry(**common)
        elif self.action:
            raise NotDone("Transfers are not halted here: cancel one, and resubmit it later; what came across stays.")
        else:
            return self.http_method_not_allowed(request)
        return answer({})


def visible(here: Any) -> QuerySet[Transfer]:
    return Transfer.objects.visible_to(here).select_related("job", "node")


def job_of(here: Any, text: str) -> Transfer:
    """Raises NotFound."""
    try:
        key = uuid.UUID(text)
    except ValueError:
        key = uuid.UUID(int=0)
    found = visible(here).filter(public_id=key).first()
    if found is None:
        raise NotFound("There is no such job, or none that you may see.")
    return found


def described(row: Transfer) -> dict[str, Any]:
    state = row.state
    failed = state in {TransferState.FAILED, TransferState.CANCELLED} or row.has_failures
    error = row.job.error if row.job is not None else ""
    sends = row.direction == TransferDirection.SEND
    content = {
        "Description": "REST API",
        "FailedInstancesCount": row.failed,
        "InstancesCount": row.total,
        "LocalAet": settings.DIMSE["AE_TITLE"],
        "RemoteAet": row.node_title,
        "StudyInstanceUID": row.study_instance_uid,
    }
    found: dict[str, Any] = {
        "Content": content,
        "CreationTime": stamp(row.created_at),
        "EffectiveRuntime": row.took.total_seconds() if row.took else 0.0,
        "ErrorCode": (9 if state == TransferState.FAILED else 37 if state == TransferState.CANCELLED else 0)
        or (9 if row.has_failures else 0),
        "ErrorDescription": "Error in the network protocol" if failed else "Success",
        "ErrorDetails": error[:300],
        "ID": str(row.public_id),
        "Priority": 0,
        "Progress": row.percent or (100 if state == TransferState.DONE else 0),
        "State": "Failure" if row.has_failures else STATES[state],
        "Timestamp": stamp(timezone.now()),
        "Type": "DicomModalityStore" if sends else "DicomMoveScu",
    }
    if row.finished_at is not None:
        found["CompletionTime"] = stamp(row.finished_at)
    if state == TransferState.CANCELLED:
        found["ErrorDescription"] = "Canceled job"
    return found
