"""Why is my worklist empty? What a question matches now, and for everything near it what keeps it away.

The search itself answers: the same rules and keys that decide for the device decide here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from pacs.models import ApplicationEntity
from pacs.services.criteria import Keys
from radiology.dicom import PersonName, parse_offset
from radiology.models import AuditEvent, Patient
from worklist.models import OPEN, Device, ScheduledProcedureStep, WorklistQuery
from worklist.services.modality_worklist import KeyTest, WorklistSearch
from worklist.services.query_words import refusal_in_words
from worklist.services.worklist_rules import Rule, Station, station_of

SHOWN = 50
# So many near the day are judged, of which those are shown that the fewest keys refuse.
JUDGED = 200
UNSCHEDULED = 20
REFUSED_SHOWN = 5
AROUND = timedelta(days=1)


@dataclass(frozen=True)
class Candidate:
    """An examination that the device is not told of, and each reason."""

    step: ScheduledProcedureStep
    refusals: Sequence[Rule | KeyTest]
    reasons: Sequence[str]


@dataclass
class Diagnosis:
    """`matched` is what the device is told of, the first `SHOWN`; `has_more` says that there is more."""

    search: WorklistSearch
    matched: list[ScheduledProcedureStep] = field(default_factory=list)
    has_more: bool = False
    candidates: list[Candidate] = field(default_factory=list)


def diagnose(
    *,
    who: Any,
    station: Station,
    keys: Keys,
    zone: tzinfo | None = None,
    sought: str = "",
    now: datetime | None = None,
) -> Diagnosis:
    """What the question matches, and why not the others: open and ended examinations of the station's site around
    the day that is asked for, or, with `sought`, those of that patient, accession number or step.

    Raises InvalidValue for a question that would be refused.
    """
    search = WorklistSearch(station=station, keys=keys, zone=zone, now=now)
    steps = ScheduledProcedureStep.objects.visible_to(who).select_related("room", "device")
    matched = list(islice(search.rows(steps), SHOWN + 1))
    found = Diagnosis(search, matched[:SHOWN], len(matched) > SHOWN)
    near = _sought(search, steps, sought) if sought.strip() else _near(search, steps)
    judged = ((step, list(search.refusals(step))) for step in near)
    refused = sorted(
        ((step, refusals) for step, refusals in judged if refusals), key=lambda pair: (len(pair[1]), _start(pair[0]))
    )
    found.candidates = [
        Candidate(step, refusals, [refusal_in_words(refusal, step, search) for refusal in refusals])
        for step, refusals in refused[:SHOWN]
    ]
    return found


def diagnose_query(*, who: Any, query: WorklistQuery, sought: str = "") -> Diagnosis:
    """The same for what a device asked, as if it asked now."""
    zone = parse_offset(query.timezone_offset_from_utc)
    return diagnose(who=who, station=station_of_query(query), keys=query.keys, zone=zone, sought=sought)


def station_of_query(query: WorklistQuery) -> Station:
    """Who asked, as we know it now: the device may have been registered since."""
    node = query.node or ApplicationEntity(title=query.calling_ae_title, site=query.site)
    return station_of(node=node, title=query.calling_ae_title)


def devices_of(who: Any) -> list[Device]:
    """The devices as which `who` may ask."""
    found = Device.objects.select_related("room", "site").order_by("name", "pk")
    return list((found if who.sees_every_site else found.filter(site_id=who.site_id))[:500])


def refused_callers() -> list[AuditEvent]:
    """The newest callers whose association was refused, each once."""
    seen: dict[tuple[Any, ...], AuditEvent] = {}
    since = timezone.now() - timedelta(days=1)
    for event in AuditEvent.objects.filter(event="dicom.refused").order_by("-id")[:50]:
        if event.at >= since:
            seen.setdefault((event.detail.get("calling"), event.detail.get("called"), event.address), event)
    return list(seen.values())[:REFUSED_SHOWN]


def _near(search: WorklistSearch, steps: QuerySet[ScheduledProcedureStep]) -> Iterable[ScheduledProcedureStep]:
    zone = search.context.zone
    day = (search.interval and search.interval.first_day) or search.now.astimezone(zone).date()
    start = datetime.combine(day, time.min, tzinfo=zone)
    around = search.candidates(
        steps.filter(scheduled_start__gte=start - AROUND, scheduled_start__lt=start + 2 * AROUND)
    )
    waiting = search.candidates(steps.filter(scheduled_start=None, status__in=OPEN))
    yield from around.order_by("scheduled_start", "pk")[:JUDGED]
    yield from waiting.order_by("-pk")[:UNSCHEDULED]


def _sought(
    search: WorklistSearch, steps: QuerySet[ScheduledProcedureStep], sought: str
) -> Iterable[ScheduledProcedureStep]:
    text = sought.strip()[:100]
    order = "requested_procedure_ref__order_ref"
    people = Patient.objects.filter(site_id=search.station.site.pk)
    named = Q(patient_id=text)
    if words := PersonName(text).words:
        named |= Q(pk__in=people.named(words).values("pk"))
    found = steps.filter(
        Q(**{f"{order}__accession_number": text})
        | Q(scheduled_procedure_step_id=text)
        | Q(**{f"{order}__patient_ref__in": people.filter(named)})
    )
    yield from search.candidates(found).order_by("-pk")[:SHOWN]


def _start(step: ScheduledProcedureStep) -> datetime:
    return step.scheduled_start or step.created_at
