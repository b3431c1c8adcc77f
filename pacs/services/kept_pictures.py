"""Pictures that were drawn before, so that the next who asks waits for no decoder.

What a picture looks like follows from the stored file, from how it was asked for and from the program that draws: these
are its name. So whatever is compressed, replaced, repaired or otherwise annotated has another name, and nothing must be
thrown away for being out of date. Who may see the object was decided before anybody asks here.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from pacs.models import HeldObject, Location
from pacs.services.data_set import Stored
from pacs.storage.picture_cache import PictureCache

log = structlog.get_logger(__name__)

# What draws: when one of these is another, pictures are drawn anew.
PROGRAM = (
    "data_set", "decode", "elements", "encoding", "frames", "greyscale", "header", "picture_files", "plain_pictures",
    "render",
)  # fmt: skip
LIBRARIES = (
    "imagecodecs", "numpy", "pillow", "pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
)  # fmt: skip


def kept_picture(*, location: Stored, asked: Mapping[str, Any], draw: Callable[[], bytes]) -> bytes:
    """The picture of a stored object that was `asked` for, or what `draw` makes. Raises only what `draw` raises."""
    cache, name = _cache(), _name(location, asked)
    if cache is None or name is None:
        return draw()
    try:
        found = cache.get(name)
    except OSError as error:
        log.warning("kept picture cannot be read", reason=str(error.strerror))
        found = None
    if found is not None:
        return found
    picture = draw()
    try:
        cache.put(name, picture, reserve=location.volume.reserve)
    except OSError as error:
        # A full or broken disk costs the speed, not the picture.
        log.warning("picture cannot be kept", reason=str(error.strerror))
    return picture


def forget_pictures(*, sop_instance_uids: Iterable[str]) -> int:
    """Remove the kept pictures of these objects; how many there were. Raises OSError."""
    cache = _cache() or _cache_of(settings.SINAR_DATA, 0)  # switched off, but what was kept before may lie there
    return cache.forget({_mark(uid) for uid in sop_instance_uids})


def _cache() -> PictureCache | None:
    limit = settings.SINAR_RENDERED_CACHE_SIZE
    return _cache_of(settings.SINAR_DATA, limit) if limit > 0 else None


@functools.lru_cache(maxsize=8)
def _cache_of(data: Path, limit: int) -> PictureCache:
    return PictureCache(Path(data, "cache", "pictures"), limit=limit)


def _name(location: Stored, asked: Mapping[str, Any]) -> str | None:
    """None for what is no row: nobody vouches for its bytes."""
    if not isinstance(location, Location | HeldObject) or location.pk is None:
        return None
    named = location if isinstance(location, HeldObject) else location.instance_ref
    facts = [
        location.volume_id, location.path, bytes(location.sha256).hex(), location.transfer_syntax_uid,
        dict(asked), _program(),
    ]  # fmt: skip
    return f"{_mark(named.sop_instance_uid)}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"


def _mark(sop_instance_uid: str) -> str:
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32]


@functools.cache
def _program() -> str:
    folder = Path(__file__).parent
    sources = [*(folder / f"{name}.py" for name in PROGRAM), *sorted((folder / "decoder").glob("*.py"))]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()
