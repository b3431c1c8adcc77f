"""Has a node send studies to another one (C-MOVE to a third node): nothing of it comes by here."""

import contextlib
from typing import Any

from integrations.models import OrthancJob
from pacs.dimse import scu_query
from radiology.errors import NotFound, Unreachable
from radiology.models import AuditAction, Job
from radiology.services import audit, jobs
from radiology.services.jobs import handles

KIND = "integrations.orthanc_move"


@handles(KIND)
def have_sent(job: Job) -> None:
    """Ask for one study after the other, or some objects; what was done is not asked for again.

    What is under way is not broken off by a pause: asked for anew it would come twice.
    """
    row = OrthancJob.objects.select_related("node", "user", "token__client").get(job=job)
    node = row.node
    if node is None or not node.is_active:
        raise NotFound("The node is registered no more, or not active.")
    completed = 0

    def watch() -> bool:
        jobs.keep(job=job, progress=row.done, total=row.total)
        return False

    for study, series, instances in row.selections[row.done :]:
        last = scu_query.Counts()
        counts = scu_query.move(
            node=node,
            destination=row.target,
            study_instance_uid=study,
            series_instance_uids=series,
            sop_instance_uids=instances,
            watch=watch,
        )
        with contextlib.closing(counts):
            for counted in counts:
                last = counted
                watch()
        if last.failed:
            raise Unreachable(f"{last.failed} objects did not come from {node.title} to {row.target}.")
        completed += last.completed + last.warning
        row.done += 1
        row.save(update_fields=["done"])
        jobs.extend_lease(job=job, progress=row.done, total=row.total)
    _record(row, completed)


def _record(row: OrthancJob, completed: int) -> None:
    detail: dict[str, Any] = {"job": str(row.public_id), "target": row.target, "instances": completed}
    audit.record(event="orthanc.move.done", action=AuditAction.EXECUTE, who=row.by, site_id=row.site_id, detail=detail)
