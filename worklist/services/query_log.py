"""What devices asked for, written down so that somebody can see why a worklist is empty.

Devices ask the same every few seconds: that is one row, counted. Of questions that differ each time
a title keeps the last `MOST_OF_TITLE`, and nothing is kept longer than `KEPT`.
"""

import hashlib
import json
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from pacs.models import ApplicationEntity
from pacs.services.criteria import Keys
from radiology.models import AuditAction, Job
from radiology.services import audit
from radiology.services.jobs import handles
from worklist.models import WorklistQuery
from worklist.services.worklist_rules import Station

KEPT = timedelta(days=30)
MOST_OF_TITLE = 500
COUNT = (
    "UPDATE worklist_worklistquery SET times = times + 1, node_id = %(node_id)s, device_id = %(device_id)s,"
    " address = %(address)s, answered = %(answered)s, error = %(error)s, error_field = %(error_field)s,"
    " last_at = %(last_at)s WHERE site_id = %(site_id)s AND calling_ae_title = %(calling_ae_title)s"
    " AND digest = %(digest)s"
)
# A question longer than this is kept without its keys: nobody asks so much of a worklist.
LONGEST = 20_000


def record_query(
    *,
    station: Station,
    node: ApplicationEntity,
    address: str,
    keys: Keys,
    offset: str = "",
    answered: int = 0,
    error: str = "",
    error_field: str = "",
) -> None:
    """Count a question. One that was not asked before also stands in the audit trail."""
    text = json.dumps([keys, offset], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    identity: dict[str, Any] = {"site_id": station.site.pk, "calling_ae_title": station.title, "digest": digest}
    now = timezone.now()
    last: dict[str, Any] = {
        "node_id": node.pk,
        "device_id": station.device and station.device.pk,
        "address": address or None,
        "answered": answered,
        "error": error[:200],
        "error_field": error_field[:64],
        "last_at": now,
    }
    with connection.cursor() as cursor:  # asked for with every query: the ORM would take longer than the database
        cursor.execute(COUNT, {**identity, **last})
        if cursor.rowcount:
            return
    kept = keys if len(text) <= LONGEST else {}
    row = WorklistQuery(**identity, **last, keys=kept, timezone_offset_from_utc=offset[:16], first_at=now)
    WorklistQuery.objects.bulk_create([row], ignore_conflicts=True)
    _forget_beyond(station)
    audit.record(
        event="dicom.worklist",
        action=AuditAction.EXECUTE,
        who=node,
        address=address,
        site_id=station.site.pk,
        succeeded=not error,
        detail={"calling": station.title, "answers": answered},
    )


@handles("worklist.forget_queries", daily=True)
def forget_queries(job: Job | None = None) -> None:
    """Delete what nobody has asked for a month."""
    WorklistQuery.objects.filter(last_at__lt=timezone.now() - KEPT).delete()


def _forget_beyond(station: Station) -> None:
    """Delete the oldest questions of a title that has asked too many different ones."""
    mine = WorklistQuery.objects.filter(site_id=station.site.pk, calling_ae_title=station.title)
    oldest: Any = mine.order_by("-last_at").values_list("last_at", flat=True)[MOST_OF_TITLE : MOST_OF_TITLE + 1]
    for last_at in oldest:
        mine.filter(last_at__lte=last_at).delete()
