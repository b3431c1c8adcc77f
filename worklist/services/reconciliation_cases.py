"""What the reconciliation inbox shows: cases with both sides, decisions, and orders found by hand. Reads only."""

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Prefetch, Q, QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext_lazy as _

from pacs.models import Series
from radiology.dicom import PersonName
from radiology.models import Order, OrderStatus, Patient, RequestedProcedure
from worklist.models import ReconciliationCase, ReconciliationDecision, ScheduledProcedureStep
from worklist.services.reconciliation_candidates import NAMES_IT, Evidence
from worklist.services.reconciliation_facts import person_of
from worklist.services.resemblance import modality_fits, regions, words

PAGE = 10
KEYS = 9
MOST_FOUND = 20
MOST_DECISIONS = 50


@dataclass(frozen=True)
class Fact:
    """One row of the two sides: what the images say, what was ordered."""

    key: str
    label: Any
    study: str
    order: str
    differs: bool


@dataclass
class Proposal:
    """A requested procedure that a study may belong to, as a person sees it."""

    procedure: RequestedProcedure
    step: ScheduledProcedureStep | None
    score: int = 0
    agrees: list[Any] = field(default_factory=list)
    differs: list[Any] = field(default_factory=list)
    number: int = 0

    @property
    def order(self) -> Order:
        return self.procedure.order_ref

    @property
    def patient(self) -> Patient:
        return self.order.patient_ref

    @property
    def moment(self) -> datetime | None:
        """When it was to be made."""
        known = self.step.started_at or self.step.scheduled_start if self.step else None
        return known or self.order.requested_start

    @property
    def state(self) -> str:
        """How far it is, in a word."""
        return self.step.get_status_display() if self.step else self.procedure.get_status_display()


@dataclass
class Card:
    """A case with its proposals, the best first, and the two sides of the best."""

    case: ReconciliationCase
    proposals: list[Proposal]
    facts: list[Fact]

    @property
    def key(self) -> str:
        return str(self.case.public_id)

    @property
    def best(self) -> Proposal | None:
        return self.proposals[0] if self.proposals else None


@dataclass(frozen=True)
class CardPage:
    cards: list[Card]
    older: int | None


@dataclass(frozen=True)
class DecisionPage:
    decisions: list[ReconciliationDecision]
    older: int | None


def waiting(*, who: Any) -> QuerySet[ReconciliationCase]:
    return ReconciliationCase.objects.visible_to(who).waiting()


def waiting_version(*, who: Any) -> tuple[Any, ...]:
    """Changes whenever anything on the page of `who` does."""
    open_cases = waiting(who=who).aggregate(Max("id"), Count("id"), Max("updated_at"), Max("study_ref__updated_at"))
    decisions = ReconciliationDecision.objects.visible_to(who).aggregate(Max("id"), Max("undone_at"))
    return (*open_cases.values(), *decisions.values())


def cards(*, who: Any, before: int | None = None, size: int = PAGE) -> CardPage:
    """The cases that wait, the newest first. A fixed number of queries, however many they are."""
    found = waiting(who=who).order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(_with_study(found)[: size + 1])
    return CardPage(_cards(rows[:size]), rows[size - 1].pk if len(rows) > size else None)


def card(*, case: ReconciliationCase) -> Card:
    """One case, whatever its state."""
    row = _with_study(ReconciliationCase.objects.filter(pk=case.pk))[0]
    return _cards([row])[0]


def decisions(*, who: Any, before: int | None = None, case: ReconciliationCase | None = None) -> DecisionPage:
    """What was decided, the latest first; each row says as `can_be_undone` whether nothing stands on it."""
    found = ReconciliationDecision.objects.visible_to(who).select_related(
        "case__study_ref__patient_ref", "case__study_ref__site", "procedure_ref__order_ref__patient_ref", "user"
    )
    if case is not None:
        found = found.filter(case=case)
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: MOST_DECISIONS + 1])
    shown = rows[:MOST_DECISIONS]
    standing = ReconciliationDecision.objects.filter(case__in={row.case_id for row in shown}, undone_at=None)
    latest = set(standing.values("case").annotate(last=Max("pk")).values_list("last", flat=True))
    for row in shown:
        row.can_be_undone = row.pk in latest  # type: ignore[attr-defined]
    return DecisionPage(shown, shown[-1].pk if len(rows) > MOST_DECISIONS else None)


def find_orders(*, who: Any, case: ReconciliationCase, text: str) -> list[Proposal]:
    """The procedures of the case's site that `text` may mean: an accession number, MRN or order number, or a name."""
    wanted = text.strip()[:200]
    if not wanted:
        return []
    known = Order.objects.visible_to(who).filter(site=case.site_id)
    known = known.exclude(status__in=[OrderStatus.ENTERED_IN_ERROR, OrderStatus.DRAFT])
    patients = Patient.objects.visible_to(who).filter(site=case.site_id)
    said = PersonName(wanted).words
    keys: dict[int, None] = {}
    for found in (
        known.filter(accession_number__startswith=wanted),
        known.filter(Q(placer_order_number=wanted) | Q(filler_order_number=wanted)),
        known.filter(patient_ref__in=patients.filter(patient_id=wanted)),
        known.filter(patient_ref__in=patients.named(said)) if said else known.none(),
    ):
        keys |= dict.fromkeys(found.order_by("-pk").values_list("pk", flat=True)[:MOST_FOUND])
    rows = _procedures(Q(order_ref__in=list(keys)[:MOST_FOUND]))
    return [_proposal(row) for row in sorted(rows, key=lambda row: -row.pk)[:MOST_FOUND]]


def _with_study(found: QuerySet[ReconciliationCase]) -> QuerySet[ReconciliationCase]:
    series = Series.objects.filter(removed_at=None).order_by("series_number", "pk")
    return found.select_related("study_ref__patient_ref", "study_ref__site").prefetch_related(
        Prefetch("study_ref__series", series, to_attr="shown_series")
    )


def _procedures(which: Q) -> QuerySet[RequestedProcedure]:
    steps = ScheduledProcedureStep.objects.select_related("room", "device").order_by("scheduled_start", "pk")
    return (
        RequestedProcedure.objects.filter(which)
        .select_related("order_ref__patient_ref", "order_ref__site")
        .prefetch_related(Prefetch("scheduled_procedure_steps", steps))
    )


def _cards(rows: Sequence[ReconciliationCase]) -> list[Card]:
    keys = {entry["procedure"] for row in rows for entry in row.candidates}
    procedures = {each.pk: each for each in _procedures(Q(pk__in=keys))} if keys else {}
    found = []
    for row in rows:
        entries = [entry for entry in row.candidates if entry["procedure"] in procedures]
        proposals = [_proposal(procedures[entry["procedure"]], entry) for entry in entries]
        for number, each in enumerate(proposals[:KEYS], 1):
            each.number = number
        found.append(Card(row, proposals, facts(row, proposals[0] if proposals else None)))
    return found


def _proposal(procedure: RequestedProcedure, entry: dict[str, Any] | None = None) -> Proposal:
    entry = entry or {"score": 0, "agrees": [], "differs": []}
    steps = list(procedure.scheduled_procedure_steps.all())
    return Proposal(
        procedure,
        steps[0] if steps else None,
        entry["score"],
        [Evidence(each).label for each in entry["agrees"] if each in Evidence.values],
        [Evidence(each).label for each in entry["differs"] if each in Evidence.values and each not in NAMES_IT]
        + [Evidence(each).label for each in entry["differs"] if each in NAMES_IT],
    )


def facts(case: ReconciliationCase, best: Proposal | None) -> list[Fact]:
    """Both sides, row by row; what lacks on one side does not differ."""
    study, person = case.study_ref, person_of(case.study_ref)
    zone = zoneinfo.ZoneInfo(study.site.time_zone)
    series = getattr(study, "shown_series", [])
    parts = ", ".join(dict.fromkeys(each.body_part_examined for each in series if each.body_part_examined))
    stations = ", ".join(dict.fromkeys(each.source_ae_title for each in series if each.source_ae_title))
    modalities = ", ".join(study.modalities_in_study)
    procedure, order = (best.procedure, best.order) if best else (None, None)
    patient = best.patient if best else None
    step = best.step if best else None

    def row(key: str, label: Any, mine: str, theirs: str, differs: bool | None = None) -> Fact:
        if differs is None:
            differs = mine.strip() != theirs.strip()
        return Fact(key, label, mine, theirs, bool(mine and theirs and best and differs))

    at = study.study_datetime or study.created_at
    ordered_part = procedure.body_part_examined if procedure else ""
    station = (step.device.name if step and step.device else "") or (str(step.room) if step and step.room else "")
    titles = set(step.scheduled_station_ae_titles) if step else set()
    moment = best.moment if best else None
    return [
        row(
            "name",
            _("Name"),
            PersonName(person.name).display,
            PersonName(patient.patient_name).display if patient else "",
            differs=patient is not None
            and set(PersonName(person.name).words) != set(PersonName(patient.patient_name).words),
        ),
        row("id", _("MRN"), person.patient_id, patient.patient_id if patient else ""),
        row("born", _("Birth date"), person.birth_date, patient.patient_birth_date if patient else ""),
        row("sex", _("Sex"), person.sex, patient.patient_sex if patient else ""),
        row("number", _("Accession number"), study.accession_number, order.accession_number if order else ""),
        row(
            "modality",
            _("Modality"),
            modalities,
            procedure.modality if procedure else "",
            differs=procedure is not None and modality_fits(procedure.modality, study.modalities_in_study) is False,
        ),
        row(
            "description",
            _("Description"),
            study.study_description,
            procedure.requested_procedure_description if procedure else "",
            differs=procedure is not None
            and not words(study.study_description) & words(procedure.requested_procedure_description),
        ),
        row(
            "part",
            _("Body part"),
            parts,
            ordered_part,
            differs=bool(regions(parts)) and bool(regions(ordered_part)) and not regions(parts) & regions(ordered_part),
        ),
        row("time", _("Time"), _moment(at, zone), _moment(moment, zone), differs=_far(at, moment)),
        row("station", _("Device"), stations, station, differs=bool(titles) and not titles & set(stations.split(", "))),
    ]


def _moment(at: datetime | None, zone: Any) -> str:
    return formats.date_format(timezone.localtime(at, zone), "j M Y H:i") if at else ""


def _far(one: datetime, other: datetime | None) -> bool:
    return other is not None and abs((one - other).total_seconds()) > 6 * 3600
