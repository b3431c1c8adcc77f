"""`/jobs`: what is on its way to or from other nodes, as Orthanc tells of its jobs."""

import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone

from integrations.models import OrthancJob
from integrations.orthanc.access import OrthancView, answer, flag
from integrations.orthanc.joining import JOINING, target_of
from integrations.orthanc.lookup import COLLECTIONS, TYPES
from integrations.orthanc.resources import stamp
from integrations.orthanc.retrieval import query_of
from pacs.models import Transfer, TransferDirection, TransferState
from pacs.services import transfers
from pacs.services.attributes import Level
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, JobState
from radiology.services import audit, jobs
from radiology.tasks import ring

MOST = 1000
STATES = {
    TransferState.WAITING: "Pending",
    TransferState.RUNNING: "Running",
    TransferState.PAUSED: "Paused",
    TransferState.DONE: "Success",
    TransferState.FAILED: "Failure",
    TransferState.CANCELLED: "Failure",
}


TYPES_OF_JOBS = {
    OrthancJob.Kind.ANONYMIZE: "ResourceModification",
    OrthancJob.Kind.MODIFY: "ResourceModification",
    OrthancJob.Kind.MOVE: "DicomMoveScu",
    OrthancJob.Kind.PEER: "OrthancPeerStore",
    OrthancJob.Kind.MERGE: "MergeStudy",
    OrthancJob.Kind.SPLIT: "SplitStudy",
}
STATES_OF_JOBS = {
    JobState.PENDING: "Pending",
    JobState.RUNNING: "Running",
    JobState.PAUSED: "Paused",
    JobState.DONE: "Success",
    JobState.DEAD: "Failure",
    JobState.CANCELLED: "Failure",
}


class Jobs(OrthancView):
    """`GET /jobs`: the newest thousand, with `?expand` in full."""

    def get(self, request: Any) -> HttpResponse:
        both: list[Transfer | OrthancJob] = [*visible(self.here).order_by("-id")[:MOST]]
        both += makings(self.here).order_by("-id")[:MOST]
        rows = sorted(both, key=lambda row: row.created_at, reverse=True)[:MOST]
        return answer([told(row) if flag(request, "expand") else str(row.public_id) for row in rows])


class Job(OrthancView):
    """`GET /jobs/{id}`, and `/cancel`, `/pause`, `/resubmit`, `/resume`.

    As in Orthanc, what is over is neither cancelled nor paused, and nothing is said about it; what cannot be
    resumed or resubmitted is 400.
    """

    needs = {"POST": "studies.read"}
    action = ""

    def get(self, request: Any, orthanc_job: str) -> HttpResponse:
        if self.action:
            return self.http_method_not_allowed(request)
        return answer(told(job_of(self.here, orthanc_job)))

    def post(self, request: Any, orthanc_job: str) -> HttpResponse:
        row = job_of(self.here, orthanc_job)
        if not self.action:
            return self.http_method_not_allowed(request)
        if isinstance(row, OrthancJob):
            self._control(row)
        else:
            self._control_transfer(row)
        ring()
        return answer({})

    def _control_transfer(self, row: Transfer) -> None:
        act = {
            "cancel": transfers.cancel,
            "pause": transfers.pause,
            "resubmit": transfers.retry,
            "resume": transfers.resume,
        }[self.action]
        try:
            act(who=self.request.user, transfer=row, address=audit.address_of(self.request))
        except Conflict as error:
            raise InvalidValue(error.message) from error

    def _control(self, row: OrthancJob) -> None:
        if not self.here.may("studies.write"):
            raise NotAllowed("This job is not yours to control.")
        act = {"cancel": jobs.cancel, "pause": jobs.pause, "resubmit": jobs.retry, "resume": jobs.resume}[self.action]
        if not act(job=row.job) and self.action in {"resubmit", "resume"}:
            raise InvalidValue(
                "It is not paused." if self.action == "resume" else "It did not fail, nor was cancelled."
            )
        self.record(f"job.{self.action}", AuditAction.EXECUTE, detail={"job": str(row.public_id)})


def visible(here: Any) -> QuerySet[Transfer]:
    return Transfer.objects.visible_to(here).select_related("job", "node")


def makings(here: Any) -> QuerySet[OrthancJob]:
    return OrthancJob.objects.visible_to(here).select_related("job", "peer", "node")


def job_of(here: Any, text: str) -> Transfer | OrthancJob:
    """Raises NotFound."""
    try:
        key = uuid.UUID(text)
    except ValueError:
        key = uuid.UUID(int=0)
    found = visible(here).filter(public_id=key).first() or makings(here).filter(public_id=key).first()
    if found is None:
        raise NotFound("There is no such job, or none that you may see.")
    return found


def told(row: Transfer | OrthancJob) -> dict[str, Any]:
    return making(row) if isinstance(row, OrthancJob) else described(row)


def content_of(row: OrthancJob) -> dict[str, Any]:
    """What a job was asked for, and what came of it."""
    found: dict[str, Any] = {"Description": "REST API"}
    if row.kind == OrthancJob.Kind.MOVE:
        return {
            **found,
            "LocalAet": settings.DIMSE["AE_TITLE"],
            "Query": query_of(row.selections),
            "RemoteAet": row.node.title if row.node else "",
            "TargetAet": row.target,
        }
    if row.kind in JOINING:
        return {**found, "FailedInstancesCount": row.failed, "InstancesCount": row.total, **target_of(row)}
    found |= {"FailedInstancesCount": row.failed, "InstancesCount": row.total, "ParentResources": row.resources}
    if row.kind == OrthancJob.Kind.PEER:
        peer = [row.peer.url, *([row.peer.username, ""] if row.peer.username else [])] if row.peer else []
        return {**found, "Compress": False, "Peer": peer}
    if row.request.get("Transcode"):
        found["Transcode"] = row.request["Transcode"]
    return {**found, "IsAnonymization": row.kind == OrthancJob.Kind.ANONYMIZE, **_made(row)}


def _made(row: OrthancJob) -> dict[str, Any]:
    """The one resource that was made of the one that was named, or all that were made."""
    created = [(Level(level), name) for level, name in row.created]
    if not row.level:
        of_level = sorted(created, key=lambda each: -each[0].depth)
        return {"Resources": [_reference(level, name) for level, name in of_level]}
    if not created:
        return {}
    first = dict(reversed(created))
    return {**_reference(Level(row.level), first[Level(row.level)]), "PatientID": first[Level.PATIENT]}


def _reference(level: Level, name: str) -> dict[str, str]:
    return {"ID": name, "Path": f"/{COLLECTIONS[level]}/{name}", "Type": TYPES[level]}


def making(row: OrthancJob) -> dict[str, Any]:
    """A job of this door, as Orthanc tells of its own."""
    state, job = row.job.state, row.job
    failed = state in {JobState.DEAD, JobState.CANCELLED}
    words = {JobState.DEAD: "Error encountered", JobState.CANCELLED: "Canceled job"}
    found = {
        "Content": content_of(row),
        "CreationTime": stamp(row.created_at),
        "EffectiveRuntime": (job.finished_at - row.created_at).total_seconds() if job.finished_at else 0.0,
        "ErrorCode": (37 if state == JobState.CANCELLED else -1) if failed else 0,
        "ErrorDescription": words.get(JobState(state), "Success"),
        "ErrorDetails": job.error[:300],
        "ID": str(row.public_id),
        "Priority": 0,
        "Progress": 100 if state == JobState.DONE else min(100, (row.done + row.failed) * 100 // max(row.total, 1)),
        "State": "Running" if job.is_stopping else STATES_OF_JOBS[JobState(state)],
        "Timestamp": stamp(timezone.now()),
        "Type": TYPES_OF_JOBS[OrthancJob.Kind(row.kind)],
    }
    if job.finished_at is not None:
        found["CompletionTime"] = stamp(job.finished_at)
    return found


def _state(row: Transfer) -> str:
    if row.has_failures:
        return "Failure"
    return "Running" if row.job is not None and row.job.is_stopping else STATES[row.state]


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
        "State": _state(row),
        "Timestamp": stamp(timezone.now()),
        "Type": "DicomModalityStore" if sends else "DicomMoveScu",
    }
    if row.finished_at is not None:
        found["CompletionTime"] = stamp(row.finished_at)
    if state == TransferState.CANCELLED:
        found["ErrorDescription"] = "Canceled job"
    return found
