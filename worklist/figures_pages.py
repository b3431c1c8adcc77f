"""The figures of the department as pages and files, for those who lead it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs.forms import MODALITY_NAMES
from pacs.pages import refusal
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, NotFound, RadiologyError, outcome_of
from radiology.models import AuditAction, Site
from radiology.services import audit
from worklist.figures_plots import drawing
from worklist.figures_words import change, csv_of, shown
from worklist.services import figures_quality, figures_rows, figures_turnaround, figures_workload
from worklist.services.figures_numbers import STEP_WORDS, Selection
from worklist.services.figures_period import PERIODS, UNITS, USUAL, choices, period_of
from worklist.services.figures_quality import AGAIN_DAYS, USUAL_DAYS
from worklist.services.figures_tables import RIGHT, Figures, Table, sites_of
from worklist.services.figures_turnaround import USUAL_STEP

PARTS = {
    "turnaround": gettext_lazy("Turnaround"),
    "workload": gettext_lazy("Workload"),
    "repeats": gettext_lazy("Repeats"),
    "critical": gettext_lazy("Critical results"),
}


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see: a part, and the choices as they stand in the address."""

    part: str
    selection: Selection
    values: dict[str, str]

    @property
    def step(self) -> str:
        return self.values["step"]

    def figures(self) -> Figures:
        unit = self.values["unit"]
        match self.part:
            case "workload":
                return figures_workload.workload(selection=self.selection, unit=unit)
            case "repeats":
                return figures_quality.repeats(selection=self.selection, days=int(self.values["days"]))
            case "critical":
                return figures_quality.critical(selection=self.selection, unit=unit)
            case _:
                return figures_turnaround.turnaround(selection=self.selection, step=self.step, unit=unit)

    def address(self, name: str = "figures", **changed: str) -> str:
        """The same with something changed; what is usual is left out."""
        usual = {"part": "turnaround", "period": USUAL, "step": USUAL_STEP, "days": str(USUAL_DAYS)}
        values = {"part": self.part, **self.values, **changed}
        kept = {key: value for key, value in values.items() if value and usual.get(key) != value}
        return f"{reverse(name)}?{urlencode(kept)}" if kept else reverse(name)


def asked(who: Any, values: Any, *, part: str = "") -> Asked:
    """What a query asks for. Raises NotAllowed, InvalidValue."""
    sites = sites_of(who, values.get("site") or "")
    name = values.get("period") or USUAL
    given = {
        "period": name,
        "from": (values.get("from") or "") if name == "range" else "",
        "to": (values.get("to") or "") if name == "range" else "",
        "modality": (values.get("modality") or "").strip().upper()[:16].replace("\x00", ""),
        "site": (values.get("site") or "") if who.sees_every_site else "",
        "step": _one_of(values.get("step"), STEP_WORDS, USUAL_STEP, "step"),
        "unit": _one_of(values.get("unit"), {"": "", **UNITS}, "", "unit"),
        "days": _one_of(values.get("days"), [str(each) for each in AGAIN_DAYS], str(USUAL_DAYS), "days"),
    }
    period = period_of(name=name, site=sites[0], first=given["from"], last=given["to"])
    selection = Selection(tuple(each.pk for each in sites), period, given["modality"])
    return Asked(_one_of(part or values.get("part"), PARTS, "turnaround", "part"), selection, given)


@require_safe
@never_cache
@signed_in
def figures(request: PageRequest) -> HttpResponseBase:
    """GET /figures?part=&period=&from=&to=&modality=&site=&step=&unit=&days=."""
    if not request.user.may(RIGHT):
        return refusal(request, 403, _("The figures are for those who lead the department."))
    error = None
    try:
        wanted = asked(request.user, request.GET)
    except InvalidValue as raised:
        error, wanted = raised, asked(request.user, {"part": _part(request.GET.get("part"))})
    try:
        found = wanted.figures()
    except RadiologyError as raised:
        return refusal(request, outcome_of(raised).http, raised.message)
    note(request, wanted)
    context = {
        "parts": [(name, label, wanted.address(part=name)) for name, label in PARTS.items()],
        "wanted": wanted,
        "error": error,
        "period": wanted.selection.period,
        "before": wanted.selection.before.period,
        "headlines": [(title, shown(now, column), change(column, was)) for title, column, now, was in found.headlines],
        "tables": [_shown(table, wanted) for table in found.tables],
        "periods": choices(PERIODS),
        "steps": choices(STEP_WORDS),
        "units": choices(UNITS),
        "days": AGAIN_DAYS,
        "modalities": MODALITY_NAMES.items(),
        "sites": Site.objects.order_by("name") if request.user.sees_every_site else [],
        "waits": figures_rows.changes_wait(),
    }
    return render(request, "worklist/figures.html", context)


@require_safe
@never_cache
@signed_in
def figures_csv(request: PageRequest) -> HttpResponseBase:
    """GET /figures/csv?table=…: one table of the page as a file; the rest of the query as for the page."""
    try:
        wanted = asked(request.user, request.GET)
        table = wanted.figures().table(request.GET.get("table", ""))
        if table is None:
            raise NotFound(_("There is no such table."), field="table")
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    note(request, wanted, table=table.name)
    return csv_answer(wanted, table)


def csv_answer(wanted: Asked, table: Table) -> HttpResponse:
    period = wanted.selection.period
    name = f"{wanted.part}-{table.name}-{period.first:%Y%m%d}-{period.last:%Y%m%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(csv_of(table), content_type="text/csv; charset=utf-8", headers=headers)


def note(request: Any, wanted: Asked, **more: str) -> None:
    """Who looked at whose figures stands in the audit trail: they tell how people work."""
    period = wanted.selection.period
    audit.record(
        event="figures.read",
        action=AuditAction.READ,
        who=request.user,
        address=audit.address_of(request),
        detail={"part": wanted.part, "from": f"{period.first}", "to": f"{period.last}", **more},
    )


def _shown(table: Table, wanted: Asked) -> dict[str, Any]:
    return {
        "table": table,
        "rows": [
            [(shown(value, column), column.kind != "text") for value, column in zip(row, table.columns, strict=True)]
            for row in table.rows
        ],
        "drawing": drawing(table),
        "legend": [
            (number, column.label)
            for number, column in enumerate(
                [each for each in table.columns[1:] if table.plot == "bars" or each.kind == "time"], 1
            )
        ]
        if table.plot in {"lines", "bars"} and table.columns[0].name == "start"
        else [],
        "csv": wanted.address("figures-csv", table=table.name),
        "is_empty": table.is_empty,
    }


def _part(text: str | None) -> str:
    return text if text in PARTS else ""


def _one_of(text: str | None, known: Any, usual: str, field: str) -> str:
    if not text:
        return usual
    if text not in known:
        raise InvalidValue(_("There is no such choice."), field=field)
    return text
