"""Orthanc peers as they are called: asked what they are, and given objects over their REST API."""

import base64
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from integrations.models import OrthancJob, OrthancPeer
from integrations.orthanc.selection import objects_left
from integrations.webhooks.addresses import Allowed
from integrations.webhooks.sending import called, target_of
from pacs.models import Location
from pacs.services.outgoing import part10_blocks
from radiology.dicom import clean
from radiology.errors import NotFound, Unreachable
from radiology.models import AuditAction, Job
from radiology.services import audit, jobs
from radiology.services.jobs import handles

KIND = "integrations.orthanc_peer_store"
ASKS_SECONDS = 10.0
# One object may take a minute, and longer at so many bytes a second.
STORES_SECONDS, SLOWEST = 60.0, 50_000
EVERY_SECONDS = 5.0
IN_MEMORY = 8 * 1024 * 1024
LARGEST_ANSWER = 256 * 1024


def system_of(peer: OrthancPeer) -> dict[str, Any]:
    """What `GET /system` of a peer answers. Raises Unreachable."""
    return request(peer, "GET", "system", seconds=ASKS_SECONDS)


def request(
    peer: OrthancPeer, method: str, path: str, *, seconds: float, body: Any = None, size: int = 0
) -> dict[str, Any]:
    """The JSON object that a peer answers; `body` is read as a file is. Raises Unreachable, also for another answer."""
    url = peer.url + path
    headers = {"Accept": "application/json", "Connection": "close"}
    if peer.username:
        password = base64.b64encode(f"{peer.username}:{peer.password}".encode()).decode("ascii")
        headers["Authorization"] = f"Basic {password}"
    if body is not None:
        headers |= {"Content-Type": "application/dicom", "Content-Length": str(size)}
    with called(url=url, allowed=Allowed.at(peer.site_id), seconds=seconds) as (connection, is_late):
        connection.request(method, target_of(url), body, headers)
        response = connection.getresponse()
        content = response.read(LARGEST_ANSWER)
        if is_late.is_set():
            raise TimeoutError
    found: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(content)
    if response.status != 200 or not isinstance(found, dict):
        told = found.get("Details") or found.get("Message") if isinstance(found, dict) else ""
        raise Unreachable(f"{peer.name} answers {response.status}: {clean(str(told or response.reason))[:200]}")
    return found


@handles(KIND)
def store_at_peer(job: Job) -> None:
    """Give a peer the objects of a job, one after the other; after a failure it goes on where it was."""
    row = OrthancJob.objects.select_related("peer", "user", "token__client").get(job=job)
    if row.peer is None or not row.peer.is_active:
        raise NotFound("The peer is registered no more, or not active.")
    if not row.reached:
        row.done = 0
    for place, location in objects_left(row.site_id, row.selections, row.reached):
        _give(row.peer, location, lambda: jobs.keep(job=job, progress=row.done, total=row.total))
        row.done += 1
        row.reached = place
        row.save(update_fields=["done", "reached"])
        jobs.extend_lease(job=job, progress=row.done, total=row.total)
    audit.record(
        event="orthanc.peer.done",
        action=AuditAction.READ,
        who=row.by,
        site_id=row.site_id,
        detail={"job": str(row.public_id), "peer": row.peer.name, "instances": row.done},
    )


def _give(peer: OrthancPeer, location: Location, beat: Callable[[], object]) -> None:
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        for block in part10_blocks(location=location):
            file.write(block)
        size = file.tell()
        file.seek(0)
        seconds = STORES_SECONDS + size / SLOWEST
        request(peer, "POST", "instances", seconds=seconds, body=_Kept(cast(BinaryIO, file), beat), size=size)


class _Kept:
    """A file that keeps its job while it is read: one object may take longer than a job is left alone."""

    def __init__(self, file: BinaryIO, beat: Callable[[], object]) -> None:
        self._file = file
        self._beat = beat
        self._next = time.monotonic() + EVERY_SECONDS

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + EVERY_SECONDS
            self._beat()
        return self._file.read(size)
