"""Rows of the figures follow from orders, steps, images, reports, checks and critical results.

One statement says how; it serves single changes and the whole. Triggers of the database write down which examinations
something happened to, in the transaction that does it: whatever way a row is changed, moved or deleted by, its
examination is counted anew. `rebuild` counts everything; it finds what is there already.
"""

from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import Max

from radiology.models import SIGNED, Job, RequestedProcedure
from radiology.services.jobs import extend_lease, handles
from worklist.models import FiguresChange

REBUILD = "worklist.rebuild_figures"
LOCK = "worklist_figures"
# So many changes, or examinations of the whole, in one transaction.
PORTION = 2000

_SECONDS = "least(greatest(extract(epoch FROM {1} - {0}), -2000000000), 2000000000)::int"


def _between(first: str, second: str) -> str:
    """Seconds from one moment to another; what ends before it begins is nobody's waiting."""
    return f"CASE WHEN {second} >= {first} THEN {_SECONDS.format(first, second)} END"


_COLUMNS = {
    "requested_procedure_ref_id": "p.id",
    "site_id": "o.site_id",
    "patient_key": "o.patient_ref_id",
    "began_at": "m.began_at",
    "day": "(m.began_at AT TIME ZONE site.time_zone)::date",
    "hour": "extract(hour FROM m.began_at AT TIME ZONE site.time_zone)::int",
    "modality": "coalesce(nullif(reading.modality, ''), p.modality)",
    "procedure": "left(CASE WHEN p.procedure_code_value <> '' THEN p.procedure_code_value || ' ' || p.laterality"
    " ELSE p.requested_procedure_description END, 90)",
    "priority": "o.priority",
    "requesting_service": "o.requesting_service",
    "device_id": "place.device_id",
    "station_ae_title": "coalesce(performed.station, '')",
    "radiographer_id": "checked.user_id",
    "operators_name": "left(coalesce(performed.operators, ''), 324)",
    "radiologist_id": "signed.author_id",
    "signed_on": "(signed.at AT TIME ZONE site.time_zone)::date",
    "signed_hour": "extract(hour FROM signed.at AT TIME ZONE site.time_zone)::int",
    "agreed": _between("m.complete_at", "reading.due_at"),
    "to_appointment": _between("o.created_at", "step.scheduled_at"),
    "to_arrival": "CASE WHEN step.scheduled_at IS NOT NULL AND step.arrived_at IS NOT NULL THEN "
    + _SECONDS.format("step.scheduled_at", "step.arrived_at")
    + " END",
    "to_start": _between("step.arrived_at", "step.started_at"),
    "to_images": _between("step.started_at", "m.complete_at"),
    "to_draft": _between("m.complete_at", "CASE WHEN report.origin = 'here' THEN report.created_at END"),
    "to_preliminary": _between("m.complete_at", "preliminary.at"),
    "preliminary_to_final": _between("preliminary.at", "signed.at"),
    "to_final": _between("m.complete_at", "signed.at"),
    "order_to_final": _between("o.created_at", "signed.at"),
    "to_acknowledgement": _between("critical.raised_at", "critical.acknowledged_at"),
}
_OTHERS = [name for name in _COLUMNS if name != "requested_procedure_ref_id"]
# Performed Series Sequence (0040,0340), Operators' Name (0008,1070) of its first item.
_OPERATORS = "'{{00400340,Value,0,00081070,Value,0,Alphabetic}}'"

_SIGNED = ", ".join(f"'{each.value}'" for each in SIGNED)

# An examination counts from when it began: at the device, else when its images were complete, else when it was signed.
_DERIVED = f"""
SELECT {", ".join(f"{expression} AS {name}" for name, expression in _COLUMNS.items())}
  FROM radiology_requestedprocedure p
  JOIN radiology_order o ON o.id = p.order_ref_id
  JOIN radiology_site site ON site.id = o.site_id
  LEFT JOIN worklist_reading reading ON reading.requested_procedure_ref_id = p.id
  LEFT JOIN radiology_report report
    ON report.requested_procedure_ref_id = p.id AND report.status <> 'entered-in-error'
  LEFT JOIN LATERAL (
       SELECT min(s.scheduled_start) AS scheduled_at, min(s.arrived_at) AS arrived_at, min(s.started_at) AS started_at,
              max(s.ended_at) FILTER (WHERE s.status = 'COMPLETED') AS ended_at
         FROM worklist_scheduledprocedurestep s
        WHERE s.requested_procedure_ref_id = p.id AND s.status NOT IN ('CANCELLED', 'NO SHOW')) step ON true
  LEFT JOIN LATERAL (
       SELECT s.device_id FROM worklist_scheduledprocedurestep s
        WHERE s.requested_procedure_ref_id = p.id AND s.status NOT IN ('CANCELLED', 'NO SHOW')
          AND s.device_id IS NOT NULL
        ORDER BY s.started_at NULLS LAST, s.id LIMIT 1) place ON true
  LEFT JOIN LATERAL (
       SELECT v.performed_station_ae_title AS station, v.attributes #>> {_OPERATORS} AS operators
         FROM worklist_scheduledprocedurestep s
         JOIN worklist_performedstepreference r ON r.scheduled_ref_id = s.id
         JOIN worklist_performedprocedurestep v ON v.id = r.performed_ref_id AND NOT v.is_wrong_entry
        WHERE s.requested_procedure_ref_id = p.id
        ORDER BY v.id LIMIT 1) performed ON true
  LEFT JOIN LATERAL (
       SELECT q.user_id FROM worklist_scheduledprocedurestep s JOIN worklist_qualitycheck q ON q.step_id = s.id
        WHERE s.requested_procedure_ref_id = p.id AND q.undone_at IS NULL AND q.user_id IS NOT NULL
        ORDER BY q.at, q.id LIMIT 1) checked ON true
  LEFT JOIN LATERAL (
       SELECT min(v.at) AS at FROM radiology_reportversion v
        WHERE v.report_ref_id = report.id AND v.status = 'preliminary') preliminary ON true
  LEFT JOIN LATERAL (
       SELECT v.at, v.author_id FROM radiology_reportversion v
        WHERE v.report_ref_id = report.id AND v.status IN ({_SIGNED})
        ORDER BY v.number LIMIT 1) signed ON true
  LEFT JOIN LATERAL (
       SELECT c.raised_at, c.acknowledged_at FROM radiology_criticalresult c
        WHERE c.requested_procedure_ref_id = p.id AND c.state <> 'withdrawn'
        ORDER BY c.raised_at, c.id LIMIT 1) critical ON true
  CROSS JOIN LATERAL (
       SELECT coalesce(reading.images_complete_at, step.ended_at) AS complete_at,
              coalesce(step.started_at, reading.images_complete_at, step.ended_at, signed.at) AS began_at) m
 WHERE {{which}} AND m.began_at IS NOT NULL AND o.status <> 'entered-in-error' AND p.status <> 'cancelled'
   AND (reading.state IS DISTINCT FROM 'gone' OR step.started_at IS NOT NULL OR signed.at IS NOT NULL)
"""
_WRITE = f"""
WITH derived AS ({_DERIVED}),
gone AS (
    DELETE FROM worklist_examinationfigures f
     WHERE f.{{mine}} AND NOT EXISTS (SELECT FROM derived d WHERE d.requested_procedure_ref_id =
           f.requested_procedure_ref_id))
INSERT INTO worklist_examinationfigures AS f ({", ".join(_COLUMNS)})
SELECT {", ".join(_COLUMNS)} FROM derived
    ON CONFLICT (requested_procedure_ref_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _OTHERS)}
 WHERE ({", ".join(f"f.{name}" for name in _OTHERS)}) IS DISTINCT FROM
       ({", ".join(f"excluded.{name}" for name in _OTHERS)})
"""
_SOME = _WRITE.format(which="p.id = ANY(%(keys)s)", mine="requested_procedure_ref_id = ANY(%(keys)s)")
_RANGE = _WRITE.format(
    which="p.id > %(after)s AND p.id <= %(until)s",
    mine="requested_procedure_ref_id > %(after)s AND f.requested_procedure_ref_id <= %(until)s",
)


def count_changes(*, most: int | None = None, waits: bool = True) -> int:
    """Count those examinations anew that something happened to; how many changes were followed.

    One at a time, across all processes: of two who count the same examination the later one has seen all. Without
    `waits` it leaves them to whoever is at it.
    """
    done = 0
    while most is None or done < most:
        found = _count_portion(PORTION if most is None else min(PORTION, most - done), waits)
        done += found
        if not found:
            break
    return done


@transaction.atomic
def _count_portion(most: int, waits: bool) -> int:
    if not _lock(waits=waits):
        return 0
    changes = list(FiguresChange.objects.order_by("pk").values_list("pk", "procedure_key")[:most])
    if changes:
        _count({procedure for _pk, procedure in changes})
        FiguresChange.objects.filter(pk__in=[pk for pk, _procedure in changes]).delete()
    return len(changes)


@handles(REBUILD)
def rebuild(job: Job | None = None) -> None:
    """Count everything anew, some thousand examinations at a time; figures are there meanwhile."""
    last = RequestedProcedure.objects.aggregate(last=Max("pk"))["last"] or 0
    after = 0
    while after < last:
        # Keys may have holes of any size: the next portion ends at a key that is there.
        keys = RequestedProcedure.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)
        until = next(iter(keys[PORTION - 1 : PORTION]), last)
        with transaction.atomic(), connection.cursor() as cursor:
            _lock()
            cursor.execute(_RANGE, {"after": after, "until": until})
        after = until
        if job is not None:
            extend_lease(job=job, progress=after, total=last)


def _count(procedures: Iterable[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SOME, {"keys": sorted(procedures)})


def changes_wait() -> bool:
    """Whether something happened that the figures do not show yet."""
    return FiguresChange.objects.exists()


def _lock(*, waits: bool = True) -> bool:
    """Whether it is one's own, until the transaction ends."""
    with connection.cursor() as cursor:
        if waits:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [LOCK])
        return bool(cursor.fetchone()[0])
