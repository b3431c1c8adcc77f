"""Where the bytes live: volumes and what opens, writes and removes objects on them."""

import os
import threading
import time
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from pacs.models import HeldObject, Location, Volume
from pacs.models.storage import VolumeKind
from pacs.storage.disk import Disk, Draft, sync_names
from pacs.storage.places import Expected, Placed, Published
from pacs.storage.protocol import Backend
from pacs.storage.waiting import WaitingDraft, unmark
from radiology.errors import OutOfResources

__all__ = [
    "Backend",
    "CurrentVolume",
    "Disk",
    "Draft",
    "Expected",
    "Placed",
    "Published",
    "WaitingDraft",
    "backend",
    "current_volume",
    "expected_of",
    "folder_of",
    "open_mapped_object",
    "open_object",
    "sync_names",
    "unmark",
]

VOLUME_SECONDS = 1.0

_backends: dict[tuple[object, ...], Backend] = {}
_lock = threading.Lock()


def folder_of(volume: Volume) -> Path:
    """The folder of a disk volume; of a bucket the one where this machine stages what goes there."""
    if volume.kind == VolumeKind.S3:
        return Path(settings.SINAR_DATA, "staging", str(volume.pk))
    return Path(volume.path) if volume.path else Path(settings.SINAR_DATA, "archive")


def backend(volume: Volume) -> Backend:
    """What reads and writes `volume`, one a process."""
    key: tuple[object, ...] = (volume.pk, volume.kind, volume.path, str(settings.SINAR_DATA), volume.reserve)
    if volume.kind == VolumeKind.S3:
        key += (
            os.getpid(),
            volume.name,
            volume.endpoint_url,
            volume.region,
            volume.bucket,
            volume.prefix,
            volume.access_key_id,
            volume.secret_encrypted,
            volume.verify_tls,
        )
    with _lock:
        if key not in _backends:
            _backends[key] = _made(volume)
        return _backends[key]


def _made(volume: Volume) -> Backend:
    if volume.kind == VolumeKind.S3:
        # 40 MB of memory and half a second, which only those pay who have such a volume.
        from pacs.storage.s3 import S3

        return S3(volume)
    return Disk(folder_of(volume), reserve=volume.reserve)


def current_volume() -> Volume:
    """The volume that takes new objects. Raises OutOfResources when there is none."""
    volume = Volume.objects.filter(is_active=True).order_by("-id").first()
    if volume is None:
        raise OutOfResources("No volume takes new objects: make one active under Volumes in the administration.")
    return volume


class CurrentVolume:
    """`current_volume` for who begins many objects: it is looked for once a second."""

    def __init__(self) -> None:
        self._found: Volume | None = None
        self._until = 0.0

    def __call__(self) -> Volume:
        """Raises OutOfResources when there is none."""
        found = self._found
        if found is None or time.monotonic() > self._until:
            found = self._found = current_volume()
            self._until = time.monotonic() + VOLUME_SECONDS
        return found


def open_object(*, location: Placed) -> BinaryIO:
    """The whole Part 10 file as a stream, at its beginning. Raises FileNotFoundError, OutOfResources."""
    try:
        return backend(location.volume).open(location.path)
    except FileNotFoundError:
        moved = _moved(location)
        if moved is None:
            raise
        return backend(moved.volume).open(moved.path)


def open_mapped_object(*, location: Placed) -> BinaryIO:
    """The whole Part 10 file as a local file that can be mapped. Raises FileNotFoundError, OutOfResources."""
    try:
        return backend(location.volume).open_mapped(location.path, expected=expected_of(location))
    except FileNotFoundError:
        moved = _moved(location)
        if moved is None:
            raise
        return backend(moved.volume).open_mapped(moved.path, expected=expected_of(moved))


def expected_of(location: Placed) -> Expected | None:
    """What the file of a Location, a HeldObject or the like must hold, as far as that is known."""
    size = getattr(location, "size", None)
    if size is None:
        return None
    return Expected(getattr(location, "data_set_offset", 0), size, bytes(getattr(location, "sha256", b"") or b""))


def _moved(location: Placed) -> Location | HeldObject | None:
    """The row anew, when the same bytes were moved to another place since it was read."""
    if not isinstance(location, Location | HeldObject) or location.pk is None:
        return None
    found = type(location).objects.select_related("volume").filter(pk=location.pk).first()
    if found is None or (found.volume_id, found.path) == (location.volume_id, location.path):
        return None
    if bytes(found.sha256) != bytes(location.sha256):
        return None  # compressed meanwhile: what was read of the row says nothing about this file
    return found
