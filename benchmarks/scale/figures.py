"""`… -m benchmarks.scale.figures 1000000`: what the figures of so many examinations cost.

A throw-away PostgreSQL with the options of the product; rows of orders, steps, performed steps, readings, reports,
critical results, quality checks and rejection notes are made inside the database, two hundred examinations a day; then
the whole is counted anew, and each part is asked for.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy import project
from deploy.postgres import Postgres

ROUNDS = 5
# Examinations for each row of these.
SHARES = {"patient": 2, "critical": 50, "check": 20, "note": 200, "rejected": 200}
ROWS = (
    "INSERT INTO {table} ({names}) SELECT {values}"
    " FROM (SELECT * FROM {table} WHERE id = {pk}) t, generate_series(1, {n}) n"
)
# Examination n began so long ago; two hundred a day, in the hours from 1 to 9 of UTC.
BEGAN = (
    "(date_trunc('day', now()) - (n / 200) * interval '1 day' + interval '1 hour' + (n % 200) * interval '144 seconds')"
)
# Long tails, as queues have them; the same for the same n.
NOISE = "(-ln(((n * {prime}::bigint) % 9973 + 1) / 9974.0))"


def fill(examinations: int) -> None:
    from django.db import connection

    from tests import factories
    from worklist.models import Reading

    readers = [factories.make_user(f"reader{number}").pk for number in range(20)]
    devices = [factories.make_device(f"DEV{number}").pk for number in range(12)]
    procedure = factories.make_requested_procedure()
    order, patient = procedure.order_ref, procedure.order_ref.patient_ref
    step = factories.make_step(procedure, status="COMPLETED", room=None)
    report = factories.make_report(procedure)
    reading = Reading.objects.create(requested_procedure_ref=procedure, site=order.site, due_at=step.created_at)
    critical = _critical(procedure, readers)
    performed = factories.make_performed(step)
    check, note, rejected = _rejected(patient)
    done = f"{BEGAN} + interval '15 minutes'"
    signed = f"{done} + {NOISE.format(prime=7919)} * interval '5 hours'"
    reader = f"(ARRAY{readers})[1 + n % {len(readers)}]"
    kinds = "(ARRAY['CT','MR','DX','US','MG'])[1 + n % 5]"
    rows: dict[str, tuple[Any, dict[str, str]]] = {
        "patient": (patient, {"patient_id": "'S' || n"}),
        "order": (order, {"patient_ref_id": "10000000 + (n + 1) / 2", "accession_number": "'S' || n",
            "created_at": f"{BEGAN} - {NOISE.format(prime=104729)} * interval '1 day'",
            "priority": "(ARRAY['STAT','HIGH','ROUTINE','ROUTINE','ROUTINE','LOW'])[1 + n % 6]",
            "requesting_service": "'WARD ' || n % 30"}),
        "procedure": (procedure, {"order_ref_id": "10000000 + n", "study_instance_uid": "'1.2.3.' || n",
            "modality": kinds,
            "procedure_code_value": "'P' || n % 60"}),
        "step": (step, {"requested_procedure_ref_id": "10000000 + n", "scheduled_procedure_step_id": "'S' || n",
            "device_id": f"(ARRAY{devices})[1 + n % {len(devices)}]", "scheduled_start": BEGAN,
            "scheduled_end": done, "arrived_at": f"{BEGAN} - {NOISE.format(prime=1299709)} * interval '20 minutes'",
            "started_at": BEGAN, "ended_at": done}),
        "reading": (reading, {"requested_procedure_ref_id": "10000000 + n", "modality": kinds, "state": "'done'",
            "images_complete_at": done, "due_at": f"{done} + interval '1 day'"}),
        "report": (report, {"requested_procedure_ref_id": "10000000 + n", "origin": "'here'", "external_id": "''",
            "created_at": f"{done} + {NOISE.format(prime=7919)} * interval '4 hours'"}),
        "version": (report.versions.get(), {"report_ref_id": "10000000 + n", "author_id": reader, "at": signed}),
        "critical": (critical, {"requested_procedure_ref_id": "10000000 + n * 50 - 49",
            "raised_at": _spread("critical"), "finding": "'Pneumothorax ' || n",
            "acknowledged_at": f"{_spread('critical')} + {NOISE.format(prime=7919)} * interval '20 minutes'"}),
        "performed": (performed, {"sop_instance_uid": "'1.2.4.' || n", "study_instance_uid": "'1.2.3.' || n",
            "modality": kinds, "performed_station_ae_title": "'DEV' || n % 12",
            "performed_procedure_step_status": "CASE WHEN n % 50 = 0 THEN 'DISCONTINUED' ELSE 'COMPLETED' END",
            "discontinuation_reason": """'["110514", "DCM", "Wrong worklist entry selected"]'::jsonb""",
            "started_at": BEGAN, "ended_at": done, "created_at": BEGAN}),
        "check": (check, {"at": _spread("check"), "modality": kinds, "source_ae_title": "'DEV' || n % 12",
            "reason": "(ARRAY['motion','protocol','equipment','other'])[1 + n % 4]"}),
        "note": (note, {"created_at": _spread("note")}),
        "rejected": (rejected, {"removal_id": "10000000 + n"}),
    }  # fmt: skip
    with connection.cursor() as cursor:
        # Rows that belong together are made; that they do need not be looked at for each of millions.
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY(%s)",
            [[cursor_table(cursor, row) for row, _columns in rows.values()]],
        )
        for table, constraint in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint}"')
        for name, (row, columns) in rows.items():
            table = row._meta.db_table
            names = [field.column for field in row._meta.concrete_fields if field.column]
            made = {"id": "10000000 + n", "public_id": "gen_random_uuid()", **columns}
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            cursor.execute(
                ROWS.format(
                    table=table,
                    names=", ".join(f'"{each}"' for each in names),
                    values=", ".join(made.get(each, f't."{each}"') for each in names),
                    pk=row.pk,
                    n=examinations // SHARES.get(name, 1) + 1,
                )
            )
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        cursor.execute("VACUUM ANALYZE")


def cursor_table(cursor: Any, row: Any) -> int:
    cursor.execute("SELECT %s::regclass::oid", [row._meta.db_table])
    return int(cursor.fetchone()[0])


def _spread(name: str) -> str:
    """When the images of an examination were complete, for rows that only each so many of them have."""
    return f"{BEGAN} + interval '15 minutes' - n * {SHARES[name] - 1} / 200 * interval '1 day'"


def _rejected(patient: Any) -> tuple[Any, Any, Any]:
    """A quality check, and a rejection note that came without one, of an image."""
    from pacs.models import Instance, Removal, RemovalCode, RemovedInstance
    from tests import factories
    from worklist.models import QualityCheck

    study = factories.make_study(patient, series=1, instances=1)
    image = Instance.objects.get(series_ref__study_ref=study)
    check = QualityCheck.objects.create(site=study.site, study_ref=study, outcome="rejected", reason="motion", images=1)
    note = Removal.objects.create(site=study.site, study_ref=study, code=RemovalCode.QUALITY)
    removed = RemovedInstance.objects.create(removal=note, site=study.site, sop_instance_uid=image.sop_instance_uid)
    return check, note, removed


def _critical(procedure: Any, readers: list[int]) -> Any:
    from django.utils import timezone

    from radiology.models import CriticalResult

    return CriticalResult.objects.create(
        site=procedure.order_ref.site, requested_procedure_ref=procedure, category="red", finding="Pneumothorax",
        raised_by_id=readers[0], state="acknowledged", acknowledged_at=timezone.now(), acknowledged_how="read",
        acknowledged_name="dr. Sari",
    )  # fmt: skip


def measure(examinations: int) -> None:
    import django

    django.setup()
    from datetime import timedelta

    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.utils import timezone

    from tests.factories import make_user
    from worklist.models import ExaminationFigures
    from worklist.services.figures_rows import count_changes, rebuild

    call_command("migrate", verbosity=0)
    _timed("rows are made", lambda: fill(examinations))
    _timed("everything is counted (manage.py figures --rebuild)", rebuild)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE worklist_examinationfigures")
        cursor.execute("SELECT pg_size_pretty(pg_total_relation_size('worklist_examinationfigures'))")
        print(f"{ExaminationFigures.objects.count()} rows of figures, {cursor.fetchone()[0]} with indexes", flush=True)
        cursor.execute(
            "UPDATE radiology_order SET priority = 'HIGH' WHERE id BETWEEN 10000001 AND 10001000 AND priority <> 'HIGH'"
        )
    _timed("a thousand changes are followed", count_changes)
    client = Client()
    client.force_login(make_user("chief", is_superuser=True), backend="django.contrib.auth.backends.ModelBackend")
    today = timezone.now().date()
    for days in (30, 90, 365, 3650):
        first = today - timedelta(days=days - 1)
        query = f"period=range&from={first}&to={today}"
        for part in ("turnaround", "workload", "repeats", "critical"):
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = client.get(f"/figures?part={part}&{query}")
                times.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    raise SystemExit(f"{part}: {answer.status_code}")
            held = ExaminationFigures.objects.filter(day__gte=first).count()
            print(f"{part}, {days} days, {held} examinations: {statistics.median(times) * 1000:.0f} ms", flush=True)


def _timed(what: str, do: Callable[[], Any]) -> None:
    began = time.perf_counter()
    do()
    print(f"{what}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="sinar-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103 - the server's own user passes through
        server = Postgres(Path(folder))
        password = server.make()
        server.start(log=Path(folder) / "postgres.log")
        try:
            os.environ.update({**project.environment(), "DATABASE_URL": server.url(password), "SINAR_DATA": folder})
            os.environ["DJANGO_SETTINGS_MODULE"] = "radiology.settings.test"
            measure(int(sys.argv[1]))
        finally:
            server.stop()
