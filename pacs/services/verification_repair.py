"""What can be put right of what a verification found. The last copy of anything is never deleted.

What is damaged, or cannot be indexed, is moved to SINAR_DATA/lost+found with a note beside it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import structlog
from django.conf import settings
from django.utils import timezone

from pacs.models import HeldObject, Instance, Location, Study, Volume
from pacs.services.coercion import recount
from pacs.services.compression import adopt
from pacs.services.part10 import HEAD_SIZE, MetaReader
from pacs.services.relocation import copy_of, put_in_place, remove_unnamed
from pacs.services.store import Received, Source, StoreOutcome, receive_part10, store_instance
from pacs.services.verification_checks import Pace, Row, WrongCount, problem_of_file, shown
from pacs.storage import backend, current_volume
from pacs.storage.disk import sync_folder
from radiology.errors import OutOfResources, RadiologyError
from radiology.models import Site

log = structlog.get_logger(__name__)

BLOCK = 1024 * 1024
LONGEST_NAME = 200


def restore_file(*, row: Row, pace: Pace) -> str:
    """Put another intact file of the same bytes in the place of one that is missing or damaged; what was done."""
    for other in _same_bytes(row):
        if problem_of_file(other, pace=pace) is None:
            to = current_volume()
            if not put_in_place(row=row, draft=copy_of(row=other, to=to), to=to):
                return ""
            _set_aside_unnamed(
                row.volume, row.path, "Its bytes were damaged; the object was restored from another file."
            )
            return f"Restored from {other.path} on {other.volume}."
    return ""


def _same_bytes(row: Row) -> Iterator[Row]:
    """Rows of other files that hold the same data set of the same instance."""
    uid, site = _identity(row)
    same = {"size": row.size, "sha256": bytes(row.sha256), "transfer_syntax_uid": row.transfer_syntax_uid}
    locations = Location.objects.filter(instance_ref__sop_instance_uid=uid, instance_ref__site=site, **same)
    held = HeldObject.objects.filter(sop_instance_uid=uid, site=site, **same)
    for found in (locations, held):
        for each in found.select_related("volume"):
            if (each.volume_id, each.path) != (row.volume_id, row.path):
                yield each


def _identity(row: Row) -> tuple[str, int]:
    if isinstance(row, HeldObject):
        return row.sop_instance_uid, row.site_id
    return row.instance_ref.sop_instance_uid, row.instance_ref.site_id


def take_in(*, volume: Volume, path: str, pace: Pace) -> str:
    """Index a file that no row names, or set it aside; what was done.

    Where its object is known and its own file is missing or damaged, it takes that one's place; where
    that one is intact, this one is one too many and goes.
    """
    try:
        received = _received(volume, path)
    except FileNotFoundError:
        return ""
    except OutOfResources:
        raise
    except RadiologyError as error:
        return _set_aside(volume, path, f"It cannot be indexed: {error.message}")
    try:
        rows = list(_rows_of(received))
        for row in rows:
            if problem_of_file(row, pace=pace) is None:
                return _drop(volume, path, f"Removed: the same bytes are stored intact as {row.path} on {row.volume}.")
        for row in rows:
            old_volume, old_path = row.volume, row.path
            if not put_in_place(row=row, draft=received.draft, to=received.volume):
                return ""  # its row went elsewhere this very moment
            _set_aside_unnamed(old_volume, old_path, "Its bytes were damaged; another file took its place.")
            return _drop(volume, path, f"Took the place of {old_path}, which was missing or damaged.")
        if done := _take_compressed(volume, path, received, pace):
            return done
        stored = store_instance(received=received)
        if stored.outcome in {StoreOutcome.STORED, StoreOutcome.HELD}:
            return _drop(volume, path, f"Indexed: {stored.outcome.value} {stored.reason}".rstrip() + ".")
        return _set_aside(volume, path, f"Not indexed: {stored.outcome.value}. {stored.reason}".rstrip())
    finally:
        received.discard()


def _received(volume: Volume, path: str) -> Received:
    """The file as if somebody sent it: into the study's site where that is known."""
    source = Source.of_site(Site.objects.default())
    with backend(volume).open(path) as file, receive_part10(source=source) as incoming:
        while block := file.read(BLOCK):
            incoming.write(block)
        received = incoming.finish()
    study = Study.objects.filter(study_instance_uid=received.study_instance_uid).select_related("site").first()
    if study is not None:
        received.source = Source.of_site(study.site)
    return received


def _rows_of(received: Received) -> Iterator[Row]:
    same = {"size": received.size, "sha256": received.sha256, "transfer_syntax_uid": received.transfer_syntax_uid}
    instances = Instance.objects.filter(sop_instance_uid=received.sop_instance_uid)
    yield from Location.objects.filter(instance_ref__in=instances, **same).select_related("volume")
    yield from HeldObject.objects.filter(sop_instance_uid=received.sop_instance_uid, **same).select_related("volume")


def _take_compressed(volume: Volume, path: str, received: Received, pace: Pace) -> str:
    """A file that says it is the compressed form of one that is missing or damaged takes that one's place."""
    meta = MetaReader()
    with backend(volume).open(path) as file:
        meta.feed(file.read(2 * HEAD_SIZE))
    if not meta.compressed_from:
        return ""
    same = {"instance_ref__sop_instance_uid": received.sop_instance_uid, "sha256": meta.compressed_from}
    row = Location.objects.select_related("volume").filter(**same).first()
    if row is None or problem_of_file(row, pace=pace) is None:
        return ""
    if not adopt(location=row, volume=volume, path=path, received=received):
        return ""
    _set_aside_unnamed(row.volume, row.path, "Its bytes were damaged; the compressed form of them took its place.")
    return f"Took the place of {row.path}, which it is the compressed form of."


def _drop(volume: Volume, path: str, done: str) -> str:
    remove_unnamed(volume=volume, path=path)
    return done


def _set_aside_unnamed(volume: Volume, path: str, reason: str) -> None:
    """Set a replaced file aside, where there is one and it can be read."""
    if backend(volume).size(path) is None:
        return
    try:
        _set_aside(volume, path, reason)
    except (OSError, OutOfResources) as error:
        log.warning("replaced file stays behind", volume=volume.pk, path=shown(path), error=type(error).__name__)


def _set_aside(volume: Volume, path: str, reason: str) -> str:
    """Move a file to lost+found, with a note; the original goes once the copy is synced and compared."""
    target = Path(settings.SINAR_DATA, "lost+found", str(volume.pk), *safe_parts(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with backend(volume).open(path) as source, target.open("wb") as file:
        while block := source.read(BLOCK):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    copied = hashlib.sha256()
    with target.open("rb") as file:
        while block := file.read(BLOCK):
            copied.update(block)
    if copied.digest() != digest.digest():
        raise OutOfResources("What was copied to lost+found is not the same: the file stays where it was.")
    note = {"volume": volume.name, "path": shown(path), "reason": reason, "moved_at": timezone.now().isoformat()}
    target.with_name(f"{target.name}.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    sync_folder(target.parent)
    remove_unnamed(volume=volume, path=path)
    return f"{reason} Moved to {target}."


def safe_parts(path: str) -> list[str]:
    """The path's parts as names that lead nowhere else, whatever the store's keys hold."""
    parts = [quote(os.fsencode(part), safe="").replace("..", "%2E%2E") for part in path.split("/")]
    return [
        part if 0 < len(part) <= LONGEST_NAME and part != "." else hashlib.sha256(os.fsencode(part)).hexdigest()
        for part in parts
    ]


def recount_wrong(wrong: list[WrongCount]) -> str:
    """Count these series and studies anew; what was done."""
    recount(series={each.series for each in wrong if each.series is not None}, studies={each.study for each in wrong})
    return "Counted anew."
