"""Clears away what a crash left of objects that nobody was told are stored."""

import uuid

import structlog

from pacs.models import HeldObject, Location, Volume
from pacs.services.part10 import HEAD_SIZE
from pacs.storage import Disk, backend
from pacs.storage.disk import path_of
from radiology.errors import OutOfResources
from radiology.models import Job
from radiology.services.jobs import handles

log = structlog.get_logger(__name__)


@handles("pacs.collect_unfinished", daily=True)
def run_collection(job: Job) -> None:
    """The daily job."""
    collect_unfinished()


def collect_unfinished() -> int:
    """Remove drafts whose writer is gone; how many.

    A draft with a row was committed: only its second link goes. Safe while others write, for a
    writer holds a lock on its draft. A volume that does not answer is left for the next time.
    """
    collected = 0
    for volume in Volume.objects.order_by("id"):
        try:
            there = backend(volume)
            if isinstance(there, Disk):
                there.recover(head_size=HEAD_SIZE)  # somebody was told that these are stored
            for key in there.abandoned():
                there.clear(key, published=has_row(volume, key))
                collected += 1
        except OutOfResources as error:
            log.warning("volume cannot be cleared of unfinished objects", volume=volume.pk, reason=error.message)
    if collected:
        log.info("unfinished objects collected", count=collected)
    return collected


def has_row(volume: Volume, key: uuid.UUID) -> bool:
    """Whether the published file of a draft is somebody's."""
    path = path_of(key)
    return (
        Location.objects.filter(volume=volume, path=path).exists()
        or HeldObject.objects.filter(volume=volume, path=path).exists()
    )
