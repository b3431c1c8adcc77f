"""The same message again, and another one under the same control ID."""

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from integrations.models import Direction, Hl7Message, MessageState

SAME_WITHIN = timedelta(days=30)
IS_KNOWN = (
    f'SELECT 1 FROM "{Hl7Message._meta.db_table}" WHERE message_control_id = ANY(%s) AND received_at >= %s LIMIT 1'
)


def find_earlier(rows: list[Hl7Message]) -> None:
    """The same message, if it came within thirty days and was not rejected, which may have had reasons of ours.

    Another message under the same control ID is noted. Whoever keeps a message of the same sender and control ID
    waits until the transaction ends.
    """
    named = [row for row in rows if row.message_control_id]
    keys = sorted({"\x1f".join(["hl7", *_sender_and_id(row)]) for row in named})
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest(%s::text[]) AS key", [keys])
    found = _alike(named)
    for row in named:
        alike = [each for each in found if each.site_id == row.site_id and _sender_and_id(each) == _sender_and_id(row)]
        row.reuses_control_id = any(bytes(each.content_sha256) != row.content_sha256 for each in alike)
        same = (each for each in alike if bytes(each.content_sha256) == row.content_sha256)
        earlier = next((each for each in same if each.state != MessageState.REJECTED), None)
        if earlier is None:
            found.insert(0, row)
            continue
        row.duplicate_of, row.state = earlier, MessageState.DUPLICATE
        row.acknowledgment_code, row.acknowledgment = earlier.acknowledgment_code, bytes(earlier.acknowledgment)
        row.patient_ref_id, row.order_ref_id = earlier.patient_ref_id, earlier.order_ref_id
        row.processed_at = timezone.now()


def _alike(rows: list[Hl7Message]) -> list[Hl7Message]:
    """Messages of the last thirty days that have a control ID of these, the latest first. Most often there are none."""
    control_ids, since = sorted({row.message_control_id for row in rows}), timezone.now() - SAME_WITHIN
    with connection.cursor() as cursor:
        cursor.execute(IS_KNOWN, [control_ids, since])
        if cursor.fetchone() is None:
            return []
    there = Hl7Message.objects.filter(
        duplicate_of=None,
        replay_of=None,
        direction=Direction.IN,
        message_control_id__in=control_ids,
        received_at__gte=since,
        site_id__in={row.site_id for row in rows},
    ).order_by("-received_at")
    return list(there.defer("raw")[: 100 * len(control_ids)])


def _sender_and_id(row: Hl7Message) -> tuple[str, str, str]:
    return row.sending_application, row.sending_facility, row.message_control_id
