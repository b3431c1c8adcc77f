"""What the pages of studies share: saying what is wrong, telling whether anything changed, and where a page begins."""

import hashlib
from collections.abc import Sequence
from urllib.parse import urlencode

from django.utils import timezone, translation

from pacs.services.keyset import Place
from radiology.accounts import PageRequest
from radiology.api.pages import cursor_of, place_of
from radiology.errors import InvalidValue
from radiology.pages import next_address, refusal

__all__ = ["etag", "next_address", "page_address", "place_in", "refusal"]


def etag(request: PageRequest, version: str, *others: str) -> str:
    """What the answer depends on besides its address: the studies, who asks, the language, the day, and `others`."""
    parts = [
        version,
        *others,
        str(request.user.pk),
        str(request.user.site_id),
        translation.get_language(),
        str(timezone.localdate()),
        request.META.get("QUERY_STRING", ""),
    ]
    return f'"{hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]}"'


def place_in(request: PageRequest, order: Sequence[str]) -> Place | None:
    """Where the page begins; an address that was tampered with begins at the head."""
    try:
        return Place(*place_of(cursor=request.GET["at"], order=order)) if request.GET.get("at") else None
    except InvalidValue:
        return None


def page_address(here: str, order: Sequence[str], place: Place | None) -> str:
    """The address of a list's page; nothing where there is none."""
    if place is None:
        return ""
    cursor = cursor_of(order=order, values=place.values, backwards=place.backwards)
    return f"{here}{'&' if '?' in here else '?'}{urlencode({'at': cursor})}"
