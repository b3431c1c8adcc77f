"""What a verification looks at: one file against its row, files that no row names, counters."""

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from django.db import connection

from pacs.models import FindingKind, HeldObject, Location, Volume, VolumeKind
from pacs.storage import Published, backend, folder_of
from radiology.errors import OutOfResources
from radiology.models import Job, JobState

BLOCK = 1024 * 1024
KEY = re.compile(r"(?:\d+/){5}([0-9a-f]{32})\.dcm")

Row = Location | HeldObject


class Pace:
    """Holds reading to `rate` bytes a second (0: as fast as it goes), and calls `tick` after every block."""

    def __init__(self, rate: float = 0, *, tick: Callable[[], None] = lambda: None) -> None:
        self.rate = rate
        self.tick = tick
        self.total = 0
        self._begun = time.monotonic()
        self._bytes = 0

    def spent(self, count: int) -> None:
        """So many bytes were read: wait until that was not too fast."""
        self.total += count
        self.tick()
        if not self.rate:
            return
        self._bytes += count
        ahead = self._bytes / self.rate - (time.monotonic() - self._begun)
        if ahead > 0:
            time.sleep(ahead)
        elif ahead < -1:  # a pause gives no right to hurry afterwards
            self._begun, self._bytes = time.monotonic(), 0


@dataclass(frozen=True)
class Problem:
    """What is wrong with one thing, in a sentence."""

    kind: FindingKind
    detail: str


def problem_of_file(row: Row, *, pace: Pace) -> Problem | None:
    """Reads the file of a row and compares it. Raises OutOfResources when its volume does not answer."""
    try:
        with backend(row.volume).open(row.path) as file:
            return _compared(row, file, pace)
    except FileNotFoundError:
        return Problem(FindingKind.MISSING, "There is no such file.")
    except OSError as error:
        return Problem(FindingKind.DAMAGED, f"It cannot be read: {os.strerror(error.errno or 0)}.")


def _compared(row: Row, file: BinaryIO, pace: Pace) -> Problem | None:
    read = file.read
    digest = hashlib.sha256()
    head = len(read(row.data_set_offset))
    left = row.size
    while left and (block := read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)
        pace.spent(len(block))
    if left or head < row.data_set_offset:
        end = head + row.size - left
        return Problem(
            FindingKind.DAMAGED, f"It ends after {end} bytes, where {row.data_set_offset + row.size} were stored."
        )
    if read(1):
        return Problem(FindingKind.DAMAGED, f"It is longer than the {row.data_set_offset + row.size} bytes stored.")
    if digest.digest() != bytes(row.sha256):
        return Problem(FindingKind.DAMAGED, f"Its SHA-256 is {digest.hexdigest()}, not the one it was stored with.")
    # What was read once to be verified must not drive out of memory what people look at.
    with contextlib.suppress(OSError):  # a stream from an object store has no descriptor
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return None


def is_unavailable(volume: Volume) -> str:
    """Why nothing on the volume can be looked at, or nothing: an unmounted disk is no loss of all its files."""
    if is_unused(volume):
        named = Location.objects.filter(volume=volume).exists() or HeldObject.objects.filter(volume=volume).exists()
        return f"The folder {folder_of(volume)} is not there: is its disk mounted?" if named else ""
    try:
        next(iter(backend(volume).walk()), None)
    except OutOfResources as error:
        return error.message
    return ""


def is_unused(volume: Volume) -> bool:
    """Whether the volume's folder is not there: nothing was ever written, or its disk is not mounted."""
    return volume.kind == VolumeKind.DISK and not folder_of(volume).is_dir()


def orphans_among(volume: Volume, files: Iterable[Published], *, before: datetime, since: datetime | None) -> list[str]:
    """Paths of those files that no row names: written before `before` (and since `since`), without a draft."""
    paths = [each.path for each in files if each.modified < before and (since is None or each.modified >= since)]
    unnamed = _unnamed(volume, paths)
    if not unnamed:
        return []
    drafts = backend(volume).drafts()
    return [path for path in unnamed if _key(path) not in drafts and not _is_to_be_removed(volume, path)]


def _is_to_be_removed(volume: Volume, path: str) -> bool:
    """Whether the file belonged to what was purged, and a job is about to remove it."""
    waiting = Job.objects.filter(kind="pacs.remove_files").exclude(state=JobState.DONE)
    return _is_text(path) and waiting.filter(arguments__files__contains=[[volume.pk, path]]).exists()


def still_orphans(volume: Volume, paths: list[str]) -> list[str]:
    """Those that were not moved, removed or named since: the files that are on their way are gone by now."""
    return [path for path in _unnamed(volume, paths) if backend(volume).size(path) is not None]


def _unnamed(volume: Volume, paths: list[str]) -> list[str]:
    asked = [path for path in paths if _is_text(path)]
    named: set[str] = set()
    for model in (Location, HeldObject):
        found = model._default_manager.filter(volume=volume, path__in=asked)
        named.update(found.values_list("path", flat=True))
    return [path for path in paths if path not in named]


def _is_text(path: str) -> bool:
    """Whether a row could name it; a file system may hold names that are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str) -> str:
    """A path as it can be written down."""
    return path.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _key(path: str) -> uuid.UUID | None:
    found = KEY.fullmatch(path)
    return uuid.UUID(hex=found[1]) if found else None


# What is counted is what is shown: as pacs.services.coercion.recount.
_SERIES = """
    SELECT series.id, study.id, series.series_instance_uid, study.study_instance_uid,
           series.number_of_series_related_instances, counted.instances, series.size, counted.bytes
      FROM pacs_series AS series
      JOIN pacs_study AS study ON study.id = series.study_ref_id
     CROSS JOIN LATERAL (
           SELECT count(DISTINCT instance.id) AS instances, coalesce(sum(location.size), 0) AS bytes
             FROM pacs_instance AS instance
             LEFT JOIN pacs_location AS location ON location.instance_ref_id = instance.id AND location.is_current
            WHERE instance.series_ref_id = series.id AND instance.removed_at IS NULL) AS counted
     WHERE series.study_ref_id = ANY(%s)
       AND (series.number_of_series_related_instances <> counted.instances OR series.size <> counted.bytes)
     ORDER BY series.id
"""
_STUDIES = """
    SELECT study.id, study.study_instance_uid, study.number_of_study_related_series, counted.series,
           study.number_of_study_related_instances, counted.instances
      FROM pacs_study AS study
     CROSS JOIN LATERAL (
           SELECT count(DISTINCT series.id) AS series, count(instance.id) AS instances
             FROM pacs_series AS series
             JOIN pacs_instance AS instance ON instance.series_ref_id = series.id AND instance.removed_at IS NULL
            WHERE series.study_ref_id = study.id AND series.removed_at IS NULL) AS counted
     WHERE study.id = ANY(%s)
       AND (study.number_of_study_related_series <> counted.series
            OR study.number_of_study_related_instances <> counted.instances)
     ORDER BY study.id
"""


@dataclass(frozen=True)
class WrongCount:
    """A study, or one of its series, whose counters are not what is there."""

    study: int
    series: int | None
    study_instance_uid: str
    detail: str


def wrong_counts(studies: list[int]) -> list[WrongCount]:
    """Among these studies; each statement sees one moment of the database."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(_SERIES, [studies])
        for pk, study, uid, study_uid, images, counted, size, counted_size in cursor.fetchall():
            detail = f"Series {uid}: says {images} images, {size} bytes; there are {counted}, {counted_size} bytes."
            found.append(WrongCount(study, pk, study_uid, detail))
        cursor.execute(_STUDIES, [studies])
        for pk, study_uid, series, counted_series, images, counted in cursor.fetchall():
            detail = f"Says {series} series, {images} images; there are {counted_series}, {counted}."
            found.append(WrongCount(pk, None, study_uid, detail))
    return found
