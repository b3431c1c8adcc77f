"""The figures of the department over `/api/v1`: the tables of the page, as JSON or one of them as CSV."""

from typing import Any

from django.http import HttpResponse
from rest_framework.permissions import BasePermission

from pacs.api.access import ApiView
from radiology.api.operations import json_answer, operation
from radiology.api.parameters import Parameter
from radiology.errors import InvalidValue
from worklist.api import figures_shapes as shapes
from worklist.figures_pages import asked, csv_answer, note
from worklist.services.figures_numbers import STEP_WORDS
from worklist.services.figures_period import PERIODS, UNITS, USUAL
from worklist.services.figures_quality import AGAIN_DAYS, USUAL_DAYS
from worklist.services.figures_tables import RIGHT, Table
from worklist.services.figures_turnaround import USUAL_STEP

DAY = r"\d{4}-\d\d-\d\d"
ASKED = [
    Parameter("period", "Which days, by the site's clock.", choices=list(PERIODS), default=USUAL),
    Parameter("from", "Of `period=range` the first day.", example="2026-11-01", pattern=DAY),
    Parameter("to", "Of `period=range` the last day.", example="2026-11-30", pattern=DAY),
    Parameter("modality", "Exactly; empty for all.", example="CT"),
    Parameter("site", "Code of a site, or `all`; only for who sees every site.", example="default"),
    Parameter("table", "Only the table of this name.", example="over-time"),
    Parameter("format", "`csv` gives the table that `table` names as a file.", choices=["json", "csv"], default="json"),
]
UNIT = Parameter("unit", "By what it is counted over time; empty: what fits the period.", choices=list(UNITS))


class MayReadFigures(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        return bool(who and who.is_authenticated and who.may(RIGHT))


class FiguresView(ApiView):
    """A part of the figures."""

    permission_classes = [MayReadFigures]

    def answer(self, request: Any, part: str) -> HttpResponse:
        wanted = asked(request.user, self.asked, part=part)
        found = wanted.figures()
        name = self.asked["table"]
        tables = [each for each in found.tables if not name or each.name == name]
        if not tables:
            known = ", ".join(each.name for each in found.tables)
            raise InvalidValue(f"There is no table of that name; there are: {known}.", field="table")
        if self.asked["format"] == "csv":
            if not name:
                raise InvalidValue("A CSV file holds one table: name it by table.", field="table")
            note(request, wanted, table=name)
            return csv_answer(wanted, tables[0])
        note(request, wanted)
        period, before = wanted.selection.period, wanted.selection.before.period
        body = {
            "period": {"first": period.first.isoformat(), "last": period.last.isoformat()},
            "before": {"first": before.first.isoformat(), "last": before.last.isoformat()},
            "modality": wanted.selection.modality,
            "tables": [table_entry(each) for each in tables],
        }
        return json_answer(request, body)


class TurnaroundFigures(FiguresView):
    """`GET /figures/turnaround`."""

    @operation(
        tag="Figures",
        summary="How long the steps of examinations took",
        description="Count, median, 90th percentile and the share in time, by step; of one step over time and by "
        "modality, radiologist, priority and requesting service. Percentiles are of all examinations, to the second. "
        "Needs the scope `figures.read`.",
        parameters=[
            *ASKED,
            UNIT,
            Parameter("step", "The one that is told in detail.", choices=list(STEP_WORDS), default=USUAL_STEP),
        ],
        answers={200: shapes.FiguresShape},
    )
    def get(self, request: Any) -> HttpResponse:
        return self.answer(request, "turnaround")


class WorkloadFigures(FiguresView):
    """`GET /figures/workload`."""

    @operation(
        tag="Figures",
        summary="How much was examined and reported",
        description="Over time, by radiologist, radiographer and device, and by weekday and hour.",
        parameters=[*ASKED, UNIT],
        answers={200: shapes.FiguresShape},
    )
    def get(self, request: Any) -> HttpResponse:
        return self.answer(request, "workload")


class RepeatFigures(FiguresView):
    """`GET /figures/repeats`."""

    @operation(
        tag="Figures",
        summary="What had to be made again",
        description="Images rejected for quality, steps that were broken off, and the same procedure of the same "
        "patient again within some days, by device and reason.",
        parameters=[
            *ASKED,
            Parameter(
                "days", "Within how many days.", choices=[str(each) for each in AGAIN_DAYS], default=str(USUAL_DAYS)
            ),
        ],
        answers={200: shapes.FiguresShape},
    )
    def get(self, request: Any) -> HttpResponse:
        return self.answer(request, "repeats")


class CriticalFigures(FiguresView):
    """`GET /figures/critical-results`."""

    @operation(
        tag="Figures",
        summary="Critical results in figures",
        description="How many were raised, how long until somebody acknowledged them, which escalated, which are open.",
        parameters=[*ASKED, UNIT],
        answers={200: shapes.FiguresShape},
    )
    def get(self, request: Any) -> HttpResponse:
        return self.answer(request, "critical")


def table_entry(table: Table) -> dict[str, Any]:
    """A table as the API tells it."""
    names = [each.name for each in table.columns]
    return {
        "name": table.name,
        "title": table.title,
        "columns": [{"name": each.name, "label": each.label, "kind": each.kind} for each in table.columns],
        "rows": [dict(zip(names, row, strict=True)) for row in table.rows],
    }
