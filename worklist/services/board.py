"""The radiographers' board: a day's examinations of a site, with what must not be overlooked.

Three queries, however many examinations there are: the steps with everything about them, the studies of
their procedures, the rooms.
"""

import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from pacs.models import Study
from radiology.models import Order, Patient, Priority, RequestedProcedure
from worklist.models import OPEN, Room, ScheduledProcedureStep, StepStatus
from worklist.services.board_warnings import warnings_of, with_reports

# So long after its time an examination whose patient has not come is late, and one who came waits too long.
LATE_AFTER = timedelta(minutes=10)
LONG_WAIT = timedelta(minutes=45)
# An order that nobody gave a time stays on the board for so many days.
UNSCHEDULED_DAYS = 3
MOST_CARDS = 600

GROUPS: dict[str, tuple[str, ...]] = {
    "scheduled": (StepStatus.SCHEDULED,),
    "arrived": (StepStatus.ARRIVED, StepStatus.READY),
    "started": (StepStatus.STARTED,),
    "done": (StepStatus.COMPLETED,),
    "problem": (StepStatus.DISCONTINUED, StepStatus.NO_SHOW, StepStatus.CANCELLED),
}
PRIORITIES = [Priority.STAT, Priority.HIGH, Priority.ROUTINE, Priority.MEDIUM, Priority.LOW]


@dataclass(frozen=True)
class BoardFilter:
    """What of the day is shown. Empty means everything."""

    day: date
    room: int | None = None
    modality: str = ""
    group: str = ""


@dataclass
class Card:
    """One examination. `images` have arrived so far; `study` is where they are; `warnings` are its devices'."""

    step: ScheduledProcedureStep
    is_late: bool = False
    waits_long: bool = False
    images: int = 0
    study: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def procedure(self) -> RequestedProcedure:
        return self.step.requested_procedure_ref

    @property
    def order(self) -> Order:
        return self.procedure.order_ref

    @property
    def patient(self) -> Patient:
        return self.order.patient_ref

    @cached_property
    def group(self) -> str:
        """Which of `GROUPS` its status belongs to."""
        return next(name for name, statuses in GROUPS.items() if self.step.status in statuses)

    @property
    def can_swap(self) -> bool:
        """Whether it may still go to another room."""
        return self.group in {"scheduled", "arrived"}

    @property
    def says_reason(self) -> bool:
        """Whether a warning has the reason of its status already."""
        return any(self.step.status_reason in warning for warning in self.warnings)

    @property
    def is_urgent(self) -> bool:
        return self.order.priority in {Priority.STAT, Priority.HIGH} and self.step.status in OPEN


@dataclass
class Board:
    """The cards in the order in which they want attention. `truncated`: there are more than fit."""

    cards: list[Card]
    rooms: list[Room]
    truncated: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def of_room(self, room: Room | None) -> list[Card]:
        return [card for card in self.cards if card.step.room_id == (room.pk if room else None)]

    def of_group(self, group: str) -> list[Card]:
        return [card for card in self.cards if card.group == group]


def day_of(site: Any, moment: datetime | None = None) -> date:
    """The day that it is at the site."""
    return timezone.localtime(moment, zoneinfo.ZoneInfo(site.time_zone)).date()


def bounds(site: Any, day: date) -> tuple[datetime, datetime]:
    """The moments at which a day begins and ends at the site."""
    zone = zoneinfo.ZoneInfo(site.time_zone)
    start = datetime.combine(day, time(0), tzinfo=zone)
    return start, datetime.combine(day + timedelta(days=1), time(0), tzinfo=zone)


def board(*, who: Any, wanted: BoardFilter, now: datetime | None = None) -> Board:
    """The day's examinations of `who`'s site that the filter leaves."""
    now = now or timezone.now()
    steps = _steps(who, wanted, now)
    if wanted.room is not None:
        steps = steps.filter(room=wanted.room)
    if wanted.modality:
        steps = steps.filter(modality=wanted.modality)
    found = list(with_reports(steps.with_patient()).order_by("scheduled_start", "pk")[: MOST_CARDS + 1])
    cards = [_card(step, now) for step in found[:MOST_CARDS]]
    _count_images(who, cards)
    counts = {group: sum(card.group == group for card in cards) for group in GROUPS}
    if wanted.group:
        cards = [card for card in cards if card.group == wanted.group]
    cards.sort(key=_rank)
    rooms = list(Room.objects.filter(site_id=who.site_id).active())
    return Board(cards, rooms, truncated=len(found) > MOST_CARDS, counts=counts)


@dataclass(frozen=True)
class Counts:
    """How many examinations of a day are in which of `GROUPS`, and how many are late."""

    groups: dict[str, int]
    late: int


def counts_of_today(*, who: Any, now: datetime | None = None) -> Counts:
    """What the board of today at `who`'s site has, in one query."""
    now = now or timezone.now()
    steps = _steps(who, BoardFilter(day=day_of(who.site, now)), now)
    late = Q(status=StepStatus.SCHEDULED, scheduled_start__lt=now - LATE_AFTER)
    found = steps.aggregate(
        late=Count("pk", filter=late),
        **{f"in_{name}": Count("pk", filter=Q(status__in=statuses)) for name, statuses in GROUPS.items()},
    )
    return Counts({name: found[f"in_{name}"] for name in GROUPS}, found["late"])


def board_version(*, who: Any, wanted: BoardFilter, now: datetime | None = None) -> str:
    """Changes whenever what the board shows may have changed; two small queries. Minutes count: people get late."""
    now = now or timezone.now()
    steps = _steps(who, wanted, now)
    procedure = "requested_procedure_ref"
    found = steps.aggregate(
        rows=Count("pk"),
        step=Max("updated_at"),
        order=Max(f"{procedure}__order_ref__updated_at"),
        patient=Max(f"{procedure}__order_ref__patient_ref__updated_at"),
    )
    studies = _studies(who, steps.values(procedure)).aggregate(
        rows=Count("pk"), images=Sum("number_of_study_related_instances")
    )
    return f"{now:%Y%m%d%H%M}|{sorted(found.items(), key=str)}|{sorted(studies.items())}"


def card_of(*, who: Any, step: ScheduledProcedureStep) -> Card:
    """One examination as the board shows it."""
    card = _card(step, timezone.now())
    _count_images(who, [card])
    return card


def _steps(who: Any, wanted: BoardFilter, now: datetime) -> Any:
    start, end = bounds(who.site, wanted.day)
    shown = Q(scheduled_start__gte=start, scheduled_start__lt=end)
    if start <= now < end:
        shown |= Q(scheduled_start=None, status__in=OPEN, created_at__gte=start - timedelta(days=UNSCHEDULED_DAYS))
        shown |= Q(status__in=[StepStatus.ARRIVED, StepStatus.READY, StepStatus.STARTED], scheduled_start__lt=start)
    steps = ScheduledProcedureStep.objects.visible_to(who).filter(shown, site_id=who.site_id)
    return steps.exclude(status=StepStatus.CANCELLED)


def _card(step: ScheduledProcedureStep, now: datetime) -> Card:
    due, arrived = step.scheduled_start, step.arrived_at
    late = step.status == StepStatus.SCHEDULED and due is not None and now > due + LATE_AFTER
    here = step.status in {StepStatus.ARRIVED, StepStatus.READY}
    long = here and arrived is not None and now > arrived + LONG_WAIT
    return Card(step, is_late=late, waits_long=long, warnings=warnings_of(step))


def _rank(card: Card) -> tuple[Any, ...]:
    """Urgent first, then by time; what has ended sinks to the bottom."""
    ended = card.step.status not in OPEN
    start = card.step.scheduled_start or card.step.created_at
    urgency = PRIORITIES.index(Priority(card.order.priority)) if not ended else 0
    return (ended, min(urgency, PRIORITIES.index(Priority.ROUTINE)), start, card.step.pk)


def _studies(who: Any, procedures: Any) -> Any:
    return Study.objects.visible_to(who).filter(requested_procedure_ref__in=procedures)


def _count_images(who: Any, cards: Sequence[Card]) -> None:
    by_procedure: dict[int, list[Card]] = {}
    for card in cards:
        by_procedure.setdefault(card.procedure.pk, []).append(card)
    rows: Iterable[tuple[int, str, int]] = _studies(who, list(by_procedure)).values_list(
        "requested_procedure_ref_id", "study_instance_uid", "number_of_study_related_instances"
    )
    for procedure, uid, images in rows:
        for card in by_procedure[procedure]:
            card.images += images
            card.study = uid
