"""Writes down which identifier leads to which row, behind the back of whoever stores.

Storing leaves one small row a batch (OrthancArrival). What came is written down by a task that rings every ten
seconds, or at once when somebody asks for an identifier that is not known. One at a time does it, so that the
sequence numbers of `/changes` appear in their order.
"""

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from integrations.models import OrthancArrival, OrthancChange, OrthancLevel, OrthancQuery, OrthancUnsettled
from integrations.orthanc.identifiers import as_digest, digest_of, patient_identifiers
from pacs.models import Instance, Series, Study
from radiology.models import Job, Patient
from radiology.services.jobs import handles
from radiology.services.rows import Added

LOCK = "integrations_orthancresource"
BATCH = 200
MOST_BATCHES = 100
BACKLOG_BATCH = 5
ROWS = 5000
STABLE_AFTER = timedelta(seconds=60)
KEPT = timedelta(days=1)
STUDIES_AN_ARRIVAL = 20

_add = Added(OrthancArrival)

# site, change, level, digest, row
Entry = tuple[int | None, int, int, bytes, int]


def arrived(*, instances: Iterable[int] = (), studies: Iterable[int] = ()) -> None:
    """Note what came or was corrected, in the caller's transaction: one statement."""
    keys = sorted(studies)
    parts = [keys[start : start + STUDIES_AN_ARRIVAL] for start in range(0, len(keys), STUDIES_AN_ARRIVAL)]
    rows = [OrthancArrival(instances=list(instances))] if instances else []
    _add([*rows, *(OrthancArrival(studies=part) for part in parts)])


def catch_up() -> None:
    """Write down what has come, the newest batches first."""
    waiting = OrthancArrival.objects.filter(is_backlog=False).order_by("-id")
    for _ in range(MOST_BATCHES):
        if _write_down(waiting, BATCH) < BATCH:
            break


def work_off_backlog(*, seconds: float) -> bool:
    """Write down what was there before this table, for so long; whether something is left."""
    until = time.monotonic() + seconds
    waiting = OrthancArrival.objects.filter(is_backlog=True).order_by("-id")
    while _write_down(waiting, BACKLOG_BATCH):
        if time.monotonic() > until:
            return True
    return False


@transaction.atomic
def _write_down(waiting: QuerySet[OrthancArrival], most: int) -> int:
    if not waiting.exists():
        return 0
    _lock()
    batch = sorted(waiting[:most], key=lambda each: each.pk)
    instances = [pk for each in batch for pk in each.instances]
    studies = {pk for each in batch for pk in each.studies}
    for start in range(0, len(instances), ROWS):
        _register(_parts_of(pk__in=instances[start : start + ROWS]))
    for study in sorted(studies):
        last = 0
        while rows := _parts_of(series_ref__study_ref=study, pk__gt=last):
            last = rows[-1][0]
            _register(rows)
    OrthancArrival.objects.filter(pk__in=[each.pk for each in batch]).delete()
    return len(batch)


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [LOCK])


def _parts_of(**condition: Any) -> list[tuple[Any, ...]]:
    """Instances with what their identifiers are made of, in the order of their keys, ROWS at most."""
    above = "series_ref__study_ref"
    found = Instance.objects.filter(**condition).order_by("pk").values_list(
        "pk", "sop_instance_uid", "series_ref_id", "series_ref__series_instance_uid", f"{above}_id",
        f"{above}__study_instance_uid", f"{above}__site_id", f"{above}__patient_ref_id",
        f"{above}__patient_ref__patient_id",
    )  # fmt: skip
    return list(found[:ROWS])


def _register(rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    people = Patient.objects.filter(pk__in={row[7] for row in rows})
    of_patient = {pk: as_digest(text) or b"" for pk, text in patient_identifiers(people).items()}
    entries: dict[Entry, None] = {}
    unsettled = {}
    now = timezone.now()
    for pk, instance_uid, series, series_uid, study, study_uid, site, patient, number in rows:
        for level, digest, row in (
            (OrthancLevel.INSTANCE, digest_of(number, study_uid, series_uid, instance_uid), pk),
            (OrthancLevel.SERIES, digest_of(number, study_uid, series_uid), series),
            (OrthancLevel.STUDY, digest_of(number, study_uid), study),
            (OrthancLevel.PATIENT, of_patient[patient], patient),
        ):
            entries[site, OrthancChange.NEW, level, digest, row] = None
        unsettled[series] = OrthancUnsettled(site_id=site, series=series, study=study, patient=patient, at=now)
    _write(list(entries))
    OrthancUnsettled.objects.bulk_create(
        unsettled.values(), update_conflicts=True, unique_fields=["series"], update_fields=["study", "patient", "at"]
    )


def _write(entries: list[Entry]) -> None:
    sites, changes, levels, digests, rows = (list(column) for column in zip(*entries, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrations_orthancresource (site_id, change, level, digest, row, at)"
            " SELECT site, change, level, digest, row, now() FROM unnest("
            "%s::bigint[], %s::smallint[], %s::smallint[], %s::bytea[], %s::bigint[])"
            " WITH ORDINALITY AS new (site, change, level, digest, row, number) ORDER BY number"
            " ON CONFLICT DO NOTHING",
            [sites, [int(each) for each in changes], [int(each) for each in levels], digests, rows],
        )


@transaction.atomic
def settle() -> None:
    """Note which series, studies and patients have had nothing new for a minute."""
    due = OrthancUnsettled.objects.filter(at__lt=timezone.now() - STABLE_AFTER).order_by("at")
    if not due.exists():
        return
    _lock()
    rows = list(due[:ROWS])
    OrthancUnsettled.objects.filter(pk__in=[row.pk for row in rows]).delete()
    moving = OrthancUnsettled.objects.all()
    studies = {row.study for row in rows} - set(moving.values_list("study", flat=True))
    patients = {row.patient for row in rows} - set(moving.values_list("patient", flat=True))
    entries: list[Entry] = []
    above = ("study_ref__patient_ref__patient_id", "study_ref__study_instance_uid", "series_instance_uid")
    for pk, site, *parts in Series.objects.filter(pk__in=[row.series for row in rows]).values_list(
        "pk", "site_id", *above
    ):
        entries.append((site, OrthancChange.STABLE, OrthancLevel.SERIES, digest_of(*parts), pk))
    found = Study.objects.filter(pk__in=studies)
    for pk, site, *parts in found.values_list("pk", "site_id", "patient_ref__patient_id", "study_instance_uid"):
        entries.append((site, OrthancChange.STABLE, OrthancLevel.STUDY, digest_of(*parts), pk))
    people = {patient.pk: patient for patient in Patient.objects.filter(pk__in=patients)}
    for pk, text in patient_identifiers(people.values()).items():
        digest = as_digest(text) or b""
        entries.append((people[pk].site_id, OrthancChange.STABLE, OrthancLevel.PATIENT, digest, pk))
    if entries:
        _write(entries)


@handles("integrations.forget_orthanc_queries", daily=True)
def forget_queries(job: Job | None = None) -> None:
    """Delete searches at other nodes, whose answers name patients, a day after they were made."""
    OrthancQuery.objects.filter(at__lt=timezone.now() - KEPT).delete()
