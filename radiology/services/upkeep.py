"""Daily chores of this app's own tables."""

from datetime import date, timedelta

from django.db import connection, transaction
from django.utils import timezone

from radiology.models import IdempotencyKey, Job, JobState
from radiology.services.jobs import handles

MONTHS_AHEAD = 3
KEEP_DONE_JOBS = timedelta(days=30)
KEEP_IDEMPOTENCY_KEYS = timedelta(days=90)


@handles("radiology.prepare_audit_partitions", daily=True)
def prepare_audit_partitions(job: Job | None = None) -> None:
    """Make the audit table's partitions of this month and the next ones, where they are missing."""
    month = timezone.now().date().replace(day=1)
    for _ in range(MONTHS_AHEAD + 1):
        following = (month + timedelta(days=32)).replace(day=1)
        _make_partition(month, following)
        month = following


@handles("radiology.forget_done_jobs", daily=True)
def forget_done_jobs(job: Job | None = None) -> None:
    """Delete jobs that were done or cancelled a month ago; failed ones stay until a person decides."""
    finished = Job.objects.filter(state__in=[JobState.DONE, JobState.CANCELLED])
    finished.filter(finished_at__lt=timezone.now() - KEEP_DONE_JOBS).delete()


@handles("radiology.forget_idempotency_keys", daily=True)
def forget_idempotency_keys(job: Job | None = None) -> None:
    """Delete keys so old that nobody sends their requests again."""
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEEP_IDEMPOTENCY_KEYS).delete()


def _make_partition(first: date, following: date) -> None:
    name = f"radiology_auditevent_{first:%Y_%m}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('radiology_auditevent'))")
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return
        # Rows of that month may lie in the default partition; they move before the new one is attached, and
        # writers wait meanwhile. Who waits for these locks must not keep everybody else waiting.
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute("LOCK TABLE ONLY radiology_auditevent IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f'CREATE TABLE "{name}" (LIKE radiology_auditevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)')
        cursor.execute(
            f'INSERT INTO "{name}" SELECT * FROM radiology_auditevent_default WHERE at >= %s AND at < %s',
            [first, following],
        )
        cursor.execute("SET LOCAL sinar.audit_upkeep = 'on'")
        cursor.execute("DELETE FROM radiology_auditevent_default WHERE at >= %s AND at < %s", [first, following])
        cursor.execute("SET LOCAL sinar.audit_upkeep = 'off'")
        cursor.execute(
            f'ALTER TABLE radiology_auditevent ATTACH PARTITION "{name}" '
            f"FOR VALUES FROM ('{first.isoformat()}') TO ('{following.isoformat()}')"
        )
