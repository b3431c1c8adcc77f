"""What the pages of studies share: saying what is wrong, and telling whether anything changed."""

import hashlib

from django.utils import timezone, translation

from radiology.accounts import PageRequest
from radiology.pages import next_address, refusal

__all__ = ["etag", "next_address", "refusal"]


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
