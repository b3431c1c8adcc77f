"""Success first, rows within the second: objects that are acknowledged, and how they are filed.

A sender that waits for each answer would wait for the database each time. So an object may be acknowledged
as soon as its file and the file's name are synced; the name says who sent it, and that is all which its
rows need beyond its bytes. `Filing` writes the rows of many at once. Whatever dies in between, the file
stays under that name until its rows are committed, and is filed when somebody looks again: a thing that is
filed twice is the same object with the same bytes, which changes nothing.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from os.path import basename

import structlog

from pacs.models import ApplicationEntity, Volume
from pacs.models.storage import VolumeKind
from pacs.services.collect import has_row
from pacs.services.incoming import Incoming, Received, Source, read_keys
from pacs.services.part10 import HEAD_SIZE, MetaReader
from pacs.services.store import StoreOutcome, store_instances
from pacs.storage import Disk, WaitingDraft, backend, unmark
from radiology.errors import OutOfResources
from radiology.models import ResentDeleted, Site

log = structlog.get_logger(__name__)

TOGETHER = 128
REMEMBERED_SECONDS = 1.0
# What cannot be filed is tried again after so many seconds, and after twice as many each time, up to the longest.
AGAIN_SECONDS = 0.5
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 0.01
RECOVER_SECONDS = 60.0


def may_wait(incoming: Incoming) -> bool:
    """Whether an object may be acknowledged before it is filed: no answer but Success is possible if it is sound."""
    source = incoming.source
    return (
        incoming.may_be_acknowledged
        and not source.refuse_conflicts
        and source.site.resent_deleted != ResentDeleted.REFUSE
    )


def note_of(source: Source) -> str:
    """Who sends, as `Filing` will read it: what `Incoming.finish` takes of an object that is to be acknowledged."""
    return f"{source.site.pk}-{source.node or 0}"


def acknowledge(received: Received) -> str:
    """Make an object one that `Filing` will file, whatever happens; its file, which goes when that is done.

    Raises OutOfResources: then it may be filed or not.
    """
    return received.draft.acknowledge(note_of(received.source))


def wait_until_filed(*, seconds: float) -> bool:
    """Wait for what is acknowledged by now. Whether all of it is filed."""
    until = time.monotonic() + seconds
    waiting = [path for disk in _disks().values() for path in _waiting(disk)]
    while waiting:
        if not os.path.exists(waiting[-1]):
            waiting.pop()
        elif time.monotonic() > until:
            return False
        else:
            time.sleep(LOOK_SECONDS)
    return True


def overdue(*, seconds: float) -> int:
    """How many acknowledged objects have waited for longer than `seconds`; of volumes that answer."""
    before = time.time() - seconds
    return sum(_arrived(path) < before for disk in _disks().values() for path in _waiting(disk))


class Filing:
    """Files what is acknowledged, the oldest first. For one thread; others may do the same at the same time."""

    def __init__(self) -> None:
        self._volumes: dict[Volume, Disk] = {}
        self._sources: dict[tuple[str, str], Source] = {}
        self._until = 0.0
        self._recovered: dict[Volume, float] = {}
        self._again: dict[str, tuple[float, float]] = {}  # when, and after how long the time before

    def run(self) -> int:
        """One look at all volumes; how many objects were filed. A volume that does not answer keeps none waiting."""
        if time.monotonic() > self._until:
            self._volumes, self._sources = _disks(), {}
            self._until = time.monotonic() + REMEMBERED_SECONDS
        return sum(self._file_all(volume, disk) for volume, disk in self._volumes.items())

    def _file_all(self, volume: Volume, disk: Disk) -> int:
        if time.monotonic() > self._recovered.get(volume, -math.inf) + RECOVER_SECONDS:
            self._recover(volume, disk)
        paths = _waiting(disk)
        if self._again:
            there = set(paths)
            self._again = {
                path: again for path, again in self._again.items() if not _is_of(path, disk) or path in there
            }
        fresh = (path for path in paths if path not in self._again)
        filed = 0
        while batch := list(islice(fresh, TOGETHER)):
            filed += self._file(volume, disk, batch)
        for path, (moment, _) in list(self._again.items()):
            if _is_of(path, disk) and moment <= time.monotonic():
                filed += self._file(volume, disk, [path])
        return filed

    def _recover(self, volume: Volume, disk: Disk) -> None:
        """After a power cut; the disk's may have been another than this process's."""
        try:
            recovered = disk.recover(head_size=HEAD_SIZE)
        except OutOfResources as error:
            log.error("volume cannot be looked at", folder=str(disk.incoming), reason=error.message)
            return
        self._recovered[volume] = time.monotonic()
        if recovered:
            log.warning("acknowledged objects recovered", volume=volume.pk, count=recovered)

    def _file(self, volume: Volume, disk: Disk, paths: Sequence[str]) -> int:
        """File them together. One that fails is tried again by itself, and keeps nobody waiting."""
        drafts = list(self._open(disk, paths))
        try:
            unmark(drafts)
            stored = store_instances(received=[self._received(volume, draft) for draft in drafts])
        except Exception as error:
            for draft in drafts:
                draft.abandon()
                self._put_off(draft.waits_at)
            if len(paths) == 1 or isinstance(error, OutOfResources):
                log.error("acknowledged objects wait", count=len(paths), first=basename(paths[0]), exc_info=error)
            return 0
        done = 0
        for draft, outcome in zip(drafts, stored, strict=True):
            if outcome.outcome is StoreOutcome.REFUSED:
                log.error("acknowledged object is refused", file=basename(draft.waits_at), reason=outcome.reason)
                self._put_off(draft.waits_at)
                continue
            # Somebody's row: of these bytes under another name, or of one who died after the commit.
            draft.settle(published=outcome.outcome is not StoreOutcome.UNCHANGED or has_row(volume, draft.key))
            self._again.pop(draft.waits_at, None)
            done += 1
        return done

    def _open(self, disk: Disk, paths: Sequence[str]) -> Iterator[WaitingDraft]:
        for path in paths:
            try:
                yield WaitingDraft(disk, path, head_size=HEAD_SIZE)
            except FileNotFoundError:
                self._again.pop(path, None)
            except BlockingIOError:
                continue
            except (OSError, ValueError) as error:
                log.error("acknowledged object cannot be opened", file=basename(path), exc_info=error)
                self._put_off(path)

    def _received(self, volume: Volume, draft: WaitingDraft) -> Received:
        meta = MetaReader()
        meta.feed(draft.head)
        return read_keys(
            source=self._source(draft.note, meta.source_ae_title),
            volume=volume,
            draft=draft,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            sop_class_uid=meta.sop_class_uid,
        )

    def _source(self, note: str, ae_title: str) -> Source:
        key = note, ae_title
        if key not in self._sources:
            site, _, number = note.partition("-")
            node = ApplicationEntity.objects.select_related("site").filter(pk=int(number)).first()
            self._sources[key] = (
                Source.of_site(Site.objects.get(pk=int(site)), ae_title)
                if node is None or node.site_id != int(site)
                else Source.of_node(node)
            )
        return self._sources[key]

    def _put_off(self, path: str) -> None:
        _, pause = self._again.get(path, (0.0, 0.0))
        pause = min(max(AGAIN_SECONDS, 2 * pause), LONGEST_SECONDS)
        self._again[path] = time.monotonic() + pause, pause


def _disks() -> dict[Volume, Disk]:
    found = {volume: backend(volume) for volume in Volume.objects.filter(kind=VolumeKind.DISK).order_by("id")}
    return {volume: disk for volume, disk in found.items() if isinstance(disk, Disk)}


def _waiting(disk: Disk) -> list[str]:
    """What waits on a disk; nothing where it does not answer."""
    try:
        return disk.waiting()
    except OutOfResources as error:
        log.error("volume cannot be looked at", folder=str(disk.incoming), reason=error.message)
        return []


def _is_of(path: str, disk: Disk) -> bool:
    return os.path.dirname(path) == str(disk.incoming)


def _arrived(path: str) -> float:
    """When the object began to arrive, by its key (a UUIDv7), in seconds of the epoch."""
    return (int(basename(path).partition(".")[0], 16) >> 80) / 1000
