"""Entity tags and dates of what is retrieved (RFC 9110 8.8): out of the rows, no file is read."""

import hashlib
from datetime import datetime

from pacs.models import Location
from pacs.services.outgoing import is_corrected


def state_of(location: Location) -> str:
    """What changes whenever the object would leave with other bytes: it was compressed, or corrected."""
    stored = f"{location.pk}-{bytes(location.sha256).hex()[:16]}"
    if not is_corrected(location):
        return stored
    series = location.instance_ref.series_ref
    return f"{stored}.{series.version}.{series.study_ref.version}"


def changed_at(location: Location) -> datetime:
    """When the object last became what it is."""
    if not is_corrected(location):
        return location.created_at
    series = location.instance_ref.series_ref
    return max(location.created_at, series.updated_at, series.study_ref.updated_at)


def strong(*facts: object) -> str:
    """A tag for bodies that are the same byte by byte whenever `facts` are."""
    return f'"{_digest(facts)}"'


def weak(*facts: object) -> str:
    """A tag for bodies that mean the same: multipart ones have another boundary each time."""
    return f'W/"{_digest(facts)}"'


def _digest(facts: tuple[object, ...]) -> str:
    return hashlib.sha256("\0".join(map(str, facts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
