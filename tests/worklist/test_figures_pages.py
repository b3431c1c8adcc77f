"""The figures as pages, files and JSON: what they say, who sees them, what they cost."""

import csv
import io
import re
import statistics
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pacs.models import Removal, RemovalCode
from radiology.models import AuditEvent, CriticalResult, RequestedProcedure, Role, Site, User
from radiology.models.critical_result import CriticalCategory, CriticalState
from radiology.services.critical_results import raise_critical
from tests.factories import (
    let_it_be_noon,
    make_device,
    make_performed,
    make_reading,
    make_requested_procedure,
    make_site,
    make_step,
    make_study,
    make_token,
    make_user,
)
from worklist.models import (
    ExaminationFigures,
    PerformedProcedureStep,
    PerformedStatus,
    QualityCheck,
    QualityOutcome,
    Reading,
)
from worklist.services import figures_numbers
from worklist.services.figures_numbers import Selection, percentile, read
from worklist.services.figures_period import Period, period_of, starts
from worklist.services.figures_rows import count_changes

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def site() -> Site:
    return let_it_be_noon()


@pytest.fixture
def manager(site: Site) -> User:
    return make_user("manager", role=Role.ADMINISTRATOR)


@pytest.fixture
def signed_in(client: Client, manager: User) -> Client:
    client.force_login(manager, backend=MODEL_BACKEND)
    return client


def figure(site: Site, **fields: Any) -> ExaminationFigures:
    """An examination of today, counted."""
    procedure = make_requested_procedure()
    now = timezone.localtime(timezone.now(), timezone=ZoneInfo(site.time_zone))
    values = {
        "site": site,
        "patient_key": procedure.order_ref.patient_ref_id,
        "began_at": now,
        "day": now.date(),
        "hour": now.hour,
        "modality": "CT",
        "procedure": "CTTHX",
        **fields,
    }
    return ExaminationFigures.objects.create(requested_procedure_ref=procedure, **values)


def table(client: Client, name: str, path: str = "/api/v1/figures/turnaround", **query: str) -> list[dict[str, Any]]:
    response = client.get(path, {"table": name, **query})
    assert response.status_code == 200, response.content
    rows = response.json()["tables"][0]["rows"]
    assert isinstance(rows, list)
    return rows


def test_percentiles_are_those_of_the_database(site: Site) -> None:
    for seconds in (5, 60, 61, 3600, 90000, 7, 7, 12):
        figure(site, to_final=seconds, agreed=3600, signed_on=timezone.now().date())
    figure(site, to_final=None)
    today = period_of(name="today", site=site)
    columns = read(Selection((site.pk,), today))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY to_final), percentile_cont(0.9) "
            "WITHIN GROUP (ORDER BY to_final) FROM worklist_examinationfigures"
        )
        median, p90 = cursor.fetchone()
    found = columns.summary("to_final")
    assert (found.count, found.median, found.p90, found.within) == (8, median, p90, 7 / 8)
    assert len(columns) == 9


@pytest.mark.parametrize("size", [1, 2, 3, 10, 101])
def test_a_percentile_lies_between_its_neighbours(size: int) -> None:
    values = sorted((n * 7919) % 1000 for n in range(size))
    for share in (0, 0.1, 0.5, 0.9, 1):
        assert percentile(values, share) == pytest.approx(float(numpy.percentile(values, 100 * share)))
    assert percentile(values, 0.5) == statistics.median(values)


def test_groups_have_their_own_figures(site: Site) -> None:
    rahmat, sri = make_user("rahmat", first_name="Rahmat"), make_user("sri", first_name="Sri")
    for who, seconds in ((rahmat, 100), (rahmat, 300), (sri, 50), (None, 7)):
        figure(site, to_final=seconds, agreed=200, radiologist=who, signed_on=timezone.now().date(), priority="STAT")
    client = Client()
    client.force_login(make_user("m", role=Role.ADMINISTRATOR), backend=MODEL_BACKEND)
    rows = table(client, "by-radiologist", period="today")
    assert rows == [
        {"name": "Rahmat", "count": 2, "median": 200, "p90": 280, "within": 0.5},
        {"name": "Reported elsewhere", "count": 1, "median": 7, "p90": 7, "within": 1},
        {"name": "Sri", "count": 1, "median": 50, "p90": 50, "within": 1},
    ]
    assert [row["name"] for row in table(client, "by-priority", period="today")] == ["Stat"]
    assert [row["name"] for row in table(client, "by-modality", period="today")] == ["CT"]
    assert table(client, "by-modality", period="today", modality="MR") == []
    steps = table(client, "steps", period="today")
    assert [row["count"] for row in steps] == [0, 0, 0, 0, 0, 0, 0, 4, 0, 0]


def test_what_nobody_agreed_on_is_neither_late_nor_in_time(signed_in: Client, site: Site) -> None:
    sri = make_user("sri", first_name="Sri")
    for seconds, agreed, who in ((100, 200, None), (300, 200, None), (300, None, None), (300, None, sri)):
        figure(site, to_final=seconds, agreed=agreed, radiologist=who, signed_on=timezone.now().date())
    rows = table(signed_in, "by-radiologist", period="today")
    assert [(row["name"], row["count"], row["within"]) for row in rows] == [
        ("Reported elsewhere", 3, 0.5),
        ("Sri", 1, None),
    ]
    assert table(signed_in, "steps", period="today")[7]["within"] == 0.5
    assert signed_in.get("/figures?period=today").status_code == 200


def test_two_of_the_same_name_are_two_lines(signed_in: Client, site: Site) -> None:
    for name in ("rahmat1", "rahmat2"):
        who = make_user(name, first_name="Rahmat")
        row = figure(site, to_final=60, radiologist=who, radiographer=who)
        ExaminationFigures.objects.filter(pk=row.pk).update(signed_on=row.day, signed_hour=5)
    names = ["Rahmat (rahmat1)", "Rahmat (rahmat2)"]
    for path, of in (("turnaround", "by-radiologist"), ("workload", "by-radiologist"), ("workload", "by-radiographer")):
        rows = table(signed_in, of, f"/api/v1/figures/{path}")
        assert [(row["name"], row["count"]) for row in rows] == [(name, 1) for name in names], of


def test_times_before_the_appointment_are_drawn_below_zero(signed_in: Client, site: Site) -> None:
    for seconds in (-600, -600):
        figure(site, to_arrival=seconds)
    page = signed_in.get("/figures?period=today&step=to_arrival").content.decode()
    drawing = next(each for each in re.findall(r"<svg class=\"plot.*?</svg>", page, re.DOTALL) if "polyline" in each)
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)</text>', drawing))
    heights = {words: float(place) - 4 for place, words in ticks.items()}
    (median,) = {float(each) for each in re.findall(r'<circle [^>]*cy="([\d.]+)"', drawing)}
    assert heights["0 s"] < median <= heights["-10 min"]


def test_many_blocks_of_the_copy_are_put_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_numbers, "BLOCK", 300)
    for seconds in range(20):
        figure(site, to_final=seconds)
    columns = read(Selection((site.pk,), period_of(name="today", site=site)))
    assert sorted(columns["to_final"].tolist()) == list(range(20))


def test_the_period_before_is_as_long_and_weeks_begin_on_monday(site: Site) -> None:
    period = period_of(name="range", site=site, first="2026-03-03", last="2026-03-16")
    assert period.before == Period(period.first - timedelta(days=14), period.first - timedelta(days=1))
    assert [str(each) for each in starts(period, "week")] == ["2026-03-02", "2026-03-09", "2026-03-16"]
    assert [str(each) for each in starts(period, "month")] == ["2026-03-01"]


def test_workload_counts_by_people_devices_and_hours(signed_in: Client, site: Site) -> None:
    rahmat = make_user("rahmat", first_name="Rahmat")
    device = make_device("CT7")
    one = figure(site, device=device, radiologist=rahmat, operators_name="SARI^DEWI")
    ExaminationFigures.objects.filter(pk=one.pk).update(signed_on=one.day, signed_hour=5)
    figure(site, station_ae_title="OLD")
    path = "/api/v1/figures/workload"
    assert table(signed_in, "by-device", path) == [
        {"name": "CT7", "count": 1, "before": 0},
        {"name": "OLD", "count": 1, "before": 0},
    ]
    assert table(signed_in, "by-radiologist", path) == [{"name": "Rahmat", "count": 1, "before": 0}]
    assert {row["name"] for row in table(signed_in, "by-radiographer", path)} == {"DEWI SARI", "—"}
    hours = table(signed_in, "reports-by-hour", path)
    assert [row["h05"] for row in hours] == [int(day == one.day.weekday()) for day in range(7)]
    assert sum(row["examinations"] for row in table(signed_in, "over-time", path)) == 2


def test_what_was_made_again_and_why(signed_in: Client, site: Site) -> None:
    study = make_study()
    QualityCheck.objects.create(
        study_ref=study, outcome="rejected", reason="motion", images=3, source_ae_title="DX1", modality="DX"
    )
    Removal.objects.create(site=site, study_ref=study, code="113001")
    make_performed(
        performed_procedure_step_status="DISCONTINUED",
        discontinuation_reason=["110514", "DCM", "Wrong worklist entry selected"],
        ended_at=timezone.now(),
    )
    first = figure(site, procedure="DXTHX")
    for days in (3, 20):
        figure(site, procedure="DXTHX", patient_key=first.patient_key, began_at=first.began_at + timedelta(days=days))
    figure(site, procedure="DXTHX")
    path = "/api/v1/figures/repeats"
    reasons = {row["name"]: row["images"] for row in table(signed_in, "rejected-by-reason", path)}
    assert reasons == {"Motion": 3, "Rejection note without a reason of ours": 0}
    assert table(signed_in, "discontinued", path) == [
        {"device": "CT1", "reason": "Wrong worklist entry selected", "count": 1}
    ]
    again = table(signed_in, "again-by-procedure", path)
    assert again == [{"name": "DXTHX", "again": 1, "count": 4, "share": 0.25}]
    assert table(signed_in, "again-by-procedure", path, days="30")[0]["again"] == 2


def test_critical_results_in_figures(signed_in: Client, site: Site) -> None:
    raised = timezone.now() - timedelta(minutes=90)
    for state, minutes, level in (("acknowledged", 10, 0), ("acknowledged", 30, 1), ("open", None, 2)):
        CriticalResult.objects.create(
            site=site,
            requested_procedure_ref=make_requested_procedure(),
            category="red",
            finding="Pneumothorax",
            state=state,
            level=level,
            raised_at=raised,
            raised_by=make_user(f"r{level}{state}"),
            acknowledged_at=raised + timedelta(minutes=minutes) if minutes else None,
            acknowledged_how="read" if minutes else "",
            acknowledged_name="x" if minutes else "",
        )
    row = table(signed_in, "by-category", "/api/v1/figures/critical-results")[0]
    assert {key: row[key] for key in ("count", "acknowledged", "open", "escalated", "median")} == {
        "count": 3,
        "acknowledged": 2,
        "open": 1,
        "escalated": 2,
        "median": 20 * 60,
    }
    assert row["within"] == pytest.approx(1 / 3)
    assert "/critical" in signed_in.get("/figures?part=critical").content.decode()


def test_critical_results_are_of_the_modality_of_the_images(signed_in: Client, site: Site) -> None:
    for images, ordered in (("MR", "CT"), ("", "CT")):
        reading = make_reading(modality=images)
        procedure = reading.requested_procedure_ref
        Reading.objects.filter(pk=reading.pk).update(modality=images)
        RequestedProcedure.objects.filter(pk=procedure.pk).update(modality=ordered)
        raise_critical(
            procedure=procedure,
            finding=f"x {images}",
            category="red",
            who=make_user(f"r{images}", role=Role.RADIOLOGIST),
        )
    for modality in ("MR", "CT"):
        row = table(signed_in, "by-category", "/api/v1/figures/critical-results", modality=modality)[0]
        assert row["count"] == 1, modality


@pytest.mark.parametrize("part", ["turnaround", "workload", "repeats", "critical"])
def test_each_page_plots_without_scripts_or_styles_of_its_own(signed_in: Client, site: Site, part: str) -> None:
    empty = signed_in.get("/figures", {"part": part})
    assert empty.status_code == 200
    assert "Nothing in this period." in empty.content.decode()
    figure(site, to_final=600, agreed=900, signed_on=timezone.now().date(), signed_hour=3)
    QualityCheck.objects.create(study_ref=make_study(), outcome="rejected", reason="motion", images=3, modality="DX")
    radiologist = make_user("rahmat", role=Role.RADIOLOGIST)
    raise_critical(procedure=make_requested_procedure(), finding="Pneumothorax", category="red", who=radiologist)
    page = signed_in.get("/figures", {"part": part}).content.decode()
    main = page[page.index("<main") : page.index("</main>")]
    assert "<script" not in main
    assert " style=" not in main
    drawings = re.findall(r"<svg class=\"plot.*?</svg>", main, re.DOTALL)
    assert drawings
    for drawing in drawings:
        key = re.search(r'aria-labelledby="(\S+) (\S+)"', drawing)
        assert key is not None and f'<title id="{key[1]}">' in drawing and f'<desc id="{key[2]}">' in drawing


def test_a_table_is_a_file_too(signed_in: Client, site: Site) -> None:
    figure(site, to_final=600, agreed=900, requesting_service="=cmd|'/c calc'!A1")
    response = signed_in.get("/figures/csv", {"table": "by-requesting-service", "period": "today"})
    assert response["Content-Type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert rows == [["name", "count", "median", "p90", "within"], ["'=cmd|'/c calc'!A1", "1", "600.0", "600.0", "1.0"]]
    again = signed_in.get(
        "/api/v1/figures/turnaround", {"table": "by-requesting-service", "period": "today", "format": "csv"}
    )
    assert again.content == response.content
    assert signed_in.get("/figures/csv", {"table": "nonsense"}).status_code == 404
    assert signed_in.get("/api/v1/figures/turnaround", {"format": "csv"}).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "period=range&from=2026-02-01&to=2026-01-01",
        "period=range&from=1999-01-01&to=2026-01-01",
        "period=range&from=x",
        "period=nonsense",
        "step=nonsense",
        "unit=hour",
        "part=nonsense",
        "days=9999",
    ],
)
def test_a_wrong_question_is_said_to_be_wrong(signed_in: Client, query: str) -> None:
    page = signed_in.get(f"/figures?{query}")
    assert page.status_code == 200
    assert 'role="alert"' in page.content.decode()


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.RADIOLOGIST, Role.RADIOGRAPHER, Role.DESK])
def test_figures_are_not_for_everybody(client: Client, site: Site, role: str) -> None:
    client.force_login(make_user("other", role=role), backend=MODEL_BACKEND)
    assert client.get("/figures").status_code == 403
    assert client.get("/figures/csv?table=steps").status_code == 403
    assert client.get("/api/v1/figures/workload").status_code == 403
    assert 'href="/figures"' not in client.get("/").content.decode()


def test_only_ones_own_site_is_counted(signed_in: Client, site: Site) -> None:
    there = make_site("there", time_zone=site.time_zone)  # where it is the same day
    figure(there, to_final=60)
    figure(site, to_final=60)
    for query in ({}, {"site": "there"}, {"site": "all"}):
        assert table(signed_in, "steps", **query)[7]["count"] == 1
    chief = Client()
    chief.force_login(make_user("chief", is_superuser=True), backend=MODEL_BACKEND)
    assert [table(chief, "steps", site=each)[7]["count"] for each in ("", "there", "all")] == [1, 1, 2]


def test_a_program_needs_the_scope(site: Site) -> None:
    for scopes, status in ((["studies.read"], 403), (["figures.read"], 200)):
        _, text = make_token(f"t{status}", scopes=scopes)
        client = Client(HTTP_AUTHORIZATION=f"Bearer {text}")
        assert client.get("/api/v1/figures/repeats").status_code == status


def test_who_looked_stands_in_the_audit_trail(signed_in: Client, manager: User) -> None:
    signed_in.get("/figures?part=workload")
    event = AuditEvent.objects.get(event="figures.read")
    assert (event.user, event.detail["part"]) == (manager, "workload")


@pytest.mark.parametrize(("part", "most"), [("turnaround", 16), ("workload", 26), ("repeats", 20), ("critical", 12)])
def test_no_more_queries_for_more_examinations(signed_in: Client, site: Site, part: str, most: int) -> None:
    counted = []
    signed_in.get("/figures", {"part": part})
    for _ in range(2):
        for number in range(3):
            figure(
                site,
                to_final=60,
                radiologist=make_user(f"r{ExaminationFigures.objects.count()}{number}"),
                device=make_device(f"D{ExaminationFigures.objects.count()}{number}"),
            )
        with CaptureQueriesContext(
            connection,
        ) as queries:
            signed_in.get("/figures", {"part": part})
        counted.append(len(queries))
    assert counted[0] == counted[1] <= most


@pytest.fixture
def years(site: Site) -> None:
    """Something of each kind on each of four thousand days, and the planner knows of it."""
    step = make_step()
    procedure = step.requested_procedure_ref
    study = make_study()
    moments = [timezone.now() - timedelta(days=day) for day in range(4000)]
    critical = [
        CriticalResult(
            site=site,
            requested_procedure_ref=procedure,
            finding=f"Nodule {day}",
            category=CriticalCategory.RED,
            state=CriticalState.WITHDRAWN,
            raised_at=moment,
        )
        for day, moment in enumerate(moments)
    ]
    CriticalResult.objects.bulk_create(critical)
    QualityCheck.objects.bulk_create(
        QualityCheck(site=site, study_ref=study, outcome=QualityOutcome.REJECTED, at=moment) for moment in moments
    )
    Removal.objects.bulk_create(
        Removal(site=site, study_ref=study, code=RemovalCode.QUALITY, created_at=moment) for moment in moments
    )
    PerformedProcedureStep.objects.bulk_create(
        PerformedProcedureStep(
            site=site,
            sop_instance_uid=f"1.2.3.{day}",
            performed_procedure_step_status=PerformedStatus.DISCONTINUED,
            ended_at=moment,
        )
        for day, moment in enumerate(moments)
    )
    with connection.cursor() as cursor:
        for model in (CriticalResult, QualityCheck, Removal, PerformedProcedureStep):
            cursor.execute(f"ANALYZE {model._meta.db_table}")


@pytest.mark.parametrize(
    ("part", "index"),
    [
        ("critical", "critical_by_day"),
        ("repeats", "quality_check_by_time"),
        ("repeats", "removal_by_day"),
        ("repeats", "performed_step_broken_off"),
    ],
)
def test_what_a_period_has_is_found_by_its_days(
    signed_in: Client, years: None, site: Site, part: str, index: str
) -> None:
    """And not among all that a site ever had."""
    with CaptureQueriesContext(connection) as queries:
        signed_in.get("/figures", {"part": part})
    asked = [each["sql"] for each in queries if "AT TIME ZONE site.time_zone" in each["sql"]]
    plans = []
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {sql}")
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
    plan = next((each for each in plans if index in each), "")
    assert plan, "\n\n".join(plans)
    line = plan[plan.index(index) :]
    condition = line[line.index("Index Cond:") :].split("\n")[0]
    assert "site_id" in condition and ">=" in condition and "<" in condition, plan


def test_it_says_when_something_is_not_counted_yet(signed_in: Client) -> None:
    make_step()
    assert "not counted yet" in signed_in.get("/figures").content.decode()
    count_changes()
    assert "not counted yet" not in signed_in.get("/figures").content.decode()
