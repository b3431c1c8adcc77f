"""Deleting what a request names: gone from every door at once, to be restored for some days, then purged."""

import contextlib
from collections.abc import Sequence
from typing import Any

from pacs.models import Study
from pacs.services import removal
from radiology.errors import NotFound

REASON = "Deleted over the Orthanc REST API"


def delete_named(
    *, who: Any, study: Study, series: Sequence[str], instances: Sequence[str], reason: str, address: str | None = None
) -> None:
    """A study, where no UIDs of series or objects of it are named, else these. What is gone already is passed over."""
    common: Any = {"who": who, "study": study, "reason": reason, "address": address}
    with contextlib.suppress(NotFound):
        if series or instances:
            removal.delete_images(series_instance_uids=series, sop_instance_uids=instances, **common)
        else:
            removal.delete_study(**common)
