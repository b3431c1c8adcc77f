"""Metadata of whole series, prepared once and kept compressed until the series changes.

A file a series and version under SINAR_DATA/cache: what is there can be removed at any time and is
made again.
"""

import gzip
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog
from django.conf import settings

from pacs.models import Series
from pacs.services.metadata import metadata_or_identity
from pacs.services.retrieve import instances_of

log = structlog.get_logger(__name__)

BATCH = 200
COMPRESSION = 5


def open_series_metadata(*, who: Any, series: Series, base_url: str) -> BinaryIO:
    """The gzipped JSON array of a series' instances, at its beginning."""
    path = _path(series, base_url)
    try:
        return path.open("rb")
    except OSError:
        pass
    try:
        return _prepare(who, series, base_url, path)
    except OSError as error:
        # A full or broken disk costs the speed, not the images.
        log.warning("metadata cannot be kept prepared", series=series.pk, reason=str(error.strerror))
        packed = io.BytesIO()
        _write(packed, who, series, base_url)
        packed.seek(0)
        return packed


def _path(series: Series, base_url: str) -> Path:
    folder = settings.SINAR_DATA / "cache" / "metadata" / f"{series.pk % 256:02x}"
    address = hashlib.sha256(base_url.encode()).hexdigest()[:8]
    return Path(folder, f"{series.pk}-{series.version}-{address}.json.gz")


def _prepare(who: Any, series: Series, base_url: str, path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    file = cast(BinaryIO, os.fdopen(handle, "w+b"))
    try:
        sound = _write(file, who, series, base_url)
        file.flush()
        if sound:
            os.replace(name, path)
            _remove_older(series, path)
        else:
            os.unlink(name)  # served once; the next request looks again
    except BaseException:
        file.close()
        Path(name).unlink(missing_ok=True)
        raise
    file.seek(0)
    return file


def _write(target: BinaryIO, who: Any, series: Series, base_url: str) -> bool:
    """The gzipped array into `target`; whether every object could be read."""
    sound = True
    begin = b"["
    locations = instances_of(
        who=who,
        study_instance_uids=[series.study_ref.study_instance_uid],
        series_instance_uids=[series.series_instance_uid],
    ).filter(instance_ref__series_ref=series)
    last = 0
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=COMPRESSION, mtime=0, filename="") as packed:
        for location in locations.iterator(BATCH):
            if location.instance_ref_id == last:
                continue
            last = location.instance_ref_id
            found, whole = metadata_or_identity(location=location, base_url=base_url)
            sound = sound and whole
            packed.write(begin + json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
            begin = b","
        packed.write(b"]" if begin == b"," else b"[]")
    return sound


def _remove_older(series: Series, path: Path) -> None:
    for other in path.parent.glob(f"{series.pk}-*.json.gz"):
        if not other.name.startswith(f"{series.pk}-{series.version}-"):
            other.unlink(missing_ok=True)


def study_metadata(*, who: Any, series: list[Series], base_url: str) -> Iterator[bytes]:
    """The JSON array of all instances of several series, in blocks."""
    begin = b"["
    for each in series:
        with open_series_metadata(who=who, series=each, base_url=base_url) as file, gzip.open(file) as array:
            inner = array.read(1)
            held = b""  # the bracket that closes a series' array is not passed on
            while block := array.read(1 << 20):
                block = held + block
                held = block[-1:]
                if inner:
                    if block == b"]":
                        break
                    yield begin
                    begin, inner = b",", b""
                yield block[:-1]
    yield b"[]" if begin == b"[" else b"]"
