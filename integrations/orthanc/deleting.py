"""Deleting what a request names: gone from every door at once, to be restored for some days, then purged."""

import contextlib
from collections.abc import Iterable
from typing import Any

from django.db import transaction

from integrations.orthanc.selection import Selection
from pacs.services import removal
from radiology.errors import NotFound


@transaction.atomic
def delete_selected(
    *,
    who: Any,
    selections: Iterable[Selection],
    reason: str = "Deleted over the Orthanc REST API",
    address: str | None = None,
) -> None:
    """Whole studies, or series and objects of them; all of it or nothing. What is gone already is passed over."""
    for each in selections:
        common: Any = {"who": who, "study": each.study, "reason": reason, "address": address}
        with contextlib.suppress(NotFound):
            if each.is_whole:
                removal.delete_study(**common)
            else:
                removal.delete_images(series_instance_uids=each.series, sop_instance_uids=each.instances, **common)
