"""Moves files from one volume to another, while both are read and written.

A file is copied (by the object store itself where it holds both volumes), the copy is compared with
the SHA-256 in its row, the row is switched, and after the commit the old file goes. A crash leaves a
draft, which the collector clears, or an old file that no row names, which a verification finds.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Model, Sum
from django.utils.translation import gettext as _

from pacs.models import HeldObject, Location, Study, Volume
from pacs.storage import Backend, Draft, backend
from radiology.errors import CannotUnderstand, NotAllowed, NotFound, OutOfResources, RadiologyError
from radiology.models import AuditAction, Job
from radiology.services import audit
from radiology.services.jobs import enqueue, extend_lease, handles

log = structlog.get_logger(__name__)

KIND = "pacs.relocate_study"
BLOCK = 1024 * 1024
BATCH = 200
SIGN_OF_LIFE_EVERY = 5.0

# Called within the copying of a file, with the bytes that were copied since: it may raise to end everything.
Alive = Callable[[int], None]
Row = Location | HeldObject


@dataclass
class Relocated:
    """What came of it. `failed` are files that stay where they are: their path and why."""

    files: int = 0
    bytes: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def files_of(study: Study, *, to: Volume) -> tuple[int, int]:
    """How many files and bytes of `study` lie elsewhere than on `to`."""
    rows = [(each.count(), each.aggregate(Sum("size"))["size__sum"] or 0) for each in _elsewhere(study, to)]
    return sum(count for count, _size in rows), sum(size for _count, size in rows)


def relocate_study(*, study: Study, to: Volume, alive: Alive | None = None) -> Relocated:
    """Move all files of `study` to `to`, removed and held ones included. Doing it again goes on where it ended.

    A file that is missing or damaged stays as it is and is reported. Raises OutOfResources when a volume
    or the database does not answer, or `to` is full; what was moved until then stays moved.
    """
    done = Relocated()
    for rows in _elsewhere(study, to):
        last = 0
        while batch := list(rows.filter(pk__gt=last).select_related("volume").order_by("pk")[:BATCH]):
            for row in batch:
                last = row.pk
                try:
                    if move_file(row=row, to=to, alive=alive):
                        done.files += 1
                        done.bytes += row.size
                except (FileNotFoundError, CannotUnderstand) as error:
                    reason = error.message if isinstance(error, RadiologyError) else "The file is missing."
                    done.failed.append((row.path, reason))
    return done


def _elsewhere(study: Study, to: Volume) -> list[Any]:
    locations = Location.objects.filter(instance_ref__series_ref__study_ref=study)
    held = HeldObject.objects.filter(site=study.site_id, study_instance_uid=study.study_instance_uid)
    return [locations.exclude(volume=to), held.exclude(volume=to)]


def move_file(*, row: Row, to: Volume, alive: Alive | None = None) -> bool:
    """Move the file of one row; False when the row went elsewhere or away meanwhile.

    Raises FileNotFoundError, CannotUnderstand when the file is not what the row says, OutOfResources.
    """
    draft = copy_of(row=row, to=to, alive=alive)
    if not put_in_place(row=row, draft=draft, to=to):
        return False
    remove_unnamed(volume=row.volume, path=row.path)
    return True


def copy_of(*, row: Row, to: Volume, alive: Alive | None = None) -> Draft:
    """A complete copy of the row's file on `to`, compared with its SHA-256, that no row names yet."""
    source, target = backend(row.volume), backend(to)
    draft = target.draft(head_size=row.data_set_offset)
    try:
        if draft.copy_from(source, row.path):
            path = draft.publish()
            _compare(row, _digest(target, path, row, alive))
            draft.retract()
        else:
            _write(row, source, draft, alive)
    except BaseException:
        draft.retract()
        draft.discard()
        raise
    return draft


def put_in_place(*, row: Row, draft: Draft, to: Volume) -> bool:
    """Publish the draft, let every row that named the old file name the new one, and end the draft."""
    try:
        path = draft.publish()
        backend(to).sync([path])
        with transaction.atomic():
            named = {"volume": row.volume_id, "path": row.path}
            changed = [
                model._default_manager.filter(**named).update(volume=to, path=path, data_set_offset=draft.head_size)
                for model in (Location, HeldObject)
            ]
            if not any(changed):
                draft.retract()
        return any(changed)
    except (OperationalError, InterfaceError) as error:
        draft.abandon()  # the commit's outcome is not known: the collector looks at the rows
        raise OutOfResources(_("The database does not answer: the file was not moved.")) from error
    except BaseException:
        draft.retract()
        raise
    finally:
        draft.discard()


def remove_unnamed(*, volume: Volume, path: str) -> None:
    """Remove a file that no row names any more. What cannot be removed is an orphan for a verification to find."""
    models: tuple[type[Model], ...] = (Location, HeldObject)
    try:
        if any(model._default_manager.filter(volume=volume, path=path).exists() for model in models):
            return
    except UnicodeEncodeError:
        pass  # a name that is no text: no row holds it
    try:
        backend(volume).remove(path)
    except (OutOfResources, OSError) as error:
        log.warning("old file stays behind", volume=volume.pk, path=path, error=type(error).__name__)


def _write(row: Row, source: Backend, draft: Draft, alive: Alive | None) -> None:
    with source.open(row.path) as file:
        head = file.read(row.data_set_offset)
        left = row.size
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                break
            draft.write(block)
            left -= len(block)
            if alive is not None:
                alive(len(block))
    _compare(row, b"" if left or len(head) < row.data_set_offset else draft.sha256())
    draft.seal(head)


def _digest(target: Backend, path: str, row: Row, alive: Alive | None) -> bytes:
    digest, left = hashlib.sha256(), row.size
    with target.open(path) as file:
        file.seek(row.data_set_offset)
        while left and (block := file.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
            if alive is not None:
                alive(len(block))
    return b"" if left else digest.digest()


def _compare(row: Row, digest: bytes) -> None:
    if digest != bytes(row.sha256):
        raise CannotUnderstand(_("The file is damaged: it is not what was stored. It stays where it is."))


def enqueue_relocation(*, who: Any, studies: Iterable[Study], to: Volume, address: str | None = None) -> list[Job]:
    """A job for each study, by a person's wish. Raises NotAllowed."""
    may_move = getattr(who, "has_perm", None)  # programs have scopes, none of which is for this
    if not who.may("studies.write") or may_move is None or not may_move("pacs.change_volume"):
        raise NotAllowed(_("You may not move files to another volume."))
    jobs = []
    for study in studies:
        if not Study.objects.visible_to(who).filter(pk=study.pk).exists():
            raise NotFound(_("There is no such study, or none that you may see."))
        with transaction.atomic():
            jobs.append(
                enqueue(
                    kind=KIND,
                    arguments={"study": study.pk, "volume": to.pk},
                    ordering_key=f"relocate:{study.pk}",
                    max_attempts=10,
                    site=study.site,
                )
            )
            audit.record(
                event="study.relocated",
                action=AuditAction.UPDATE,
                who=who,
                address=address,
                site_id=study.site_id,
                patient_id=study.patient_ref_id,
                study_instance_uid=study.study_instance_uid,
                detail={"volume": to.name},
            )
    return jobs


@handles(KIND)
def run_relocation(job: Job) -> None:
    """Move one study; progress is in MB. A cancelled one ends at its next sign of life, between two blocks."""
    study = Study.objects.filter(pk=job.arguments["study"]).first()
    to = Volume.objects.filter(pk=job.arguments["volume"]).first()
    if study is None or to is None:
        return
    _files, size = files_of(study, to=to)
    sign = SignOfLife(job, total=size)
    done = relocate_study(study=study, to=to, alive=sign)
    log.info("study relocated", study=study.pk, volume=to.pk, files=done.files, bytes=done.bytes)
    if done.failed:
        path, reason = done.failed[0]
        raise RadiologyError(
            _(
                "%(files)d files were moved, %(failed)d were not, the first %(path)s: %(reason)s "
                "`manage.py verifyarchive` names them all."
            )
            % {"files": done.files, "failed": len(done.failed), "path": path, "reason": reason}
        )


class SignOfLife:
    """Keeps a job's lease and shows megabytes, every few seconds; raises when the job was cancelled."""

    def __init__(self, job: Job, *, total: int) -> None:
        self._job, self._total = job, total
        self._bytes = 0
        self._shown = 0.0

    def __call__(self, count: int) -> None:
        self._bytes += count
        if time.monotonic() - self._shown < SIGN_OF_LIFE_EVERY:
            return
        self._shown = time.monotonic()
        megabyte = 1024 * 1024
        extend_lease(job=self._job, progress=self._bytes // megabyte, total=max(self._bytes, self._total) // megabyte)
