"""What whoever runs the interfaces looks at: messages by what is known of them, and how each peer is doing."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from django.db.models import Avg, Count, F, Min, Q, QuerySet
from django.utils import timezone

from integrations.models import QUEUED, UNDONE, Direction, Hl7Alarm, Hl7Message, Hl7Peer
from radiology.models import Order, Patient, PatientIdentifier

PAGE = 50
# So far queues and what waits for a person are counted.
COUNTED = 10_000
FIGURES_OF = timedelta(hours=1)
OPEN = "open"
MOST_ROWS_OF_TEXT = 200
_HEAVY = ("raw", "acknowledgment", "changed")


@dataclass(frozen=True)
class Criteria:
    """What a search asks for. `state` is a state, or `open`: what waits for a person. `text` is a control ID, a
    patient's number, an accession number or a placer's order number, in full.
    """

    peer: int | None = None
    direction: str = ""
    state: str = ""
    code: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Self:
        moments = {
            name: datetime.fromisoformat(values[name]) if values.get(name) else None for name in ("since", "until")
        }
        return cls(**{**values, **moments})


@dataclass(frozen=True)
class Page:
    """Messages, the newest first; `older` is where the next page begins."""

    rows: list[Hl7Message]
    older: int | None


def search(*, who: Any, criteria: Criteria, before: int | None = None) -> Page:
    """A page of what `who` may see."""
    found = matching(criteria, site_id=None if who.sees_every_site else who.site_id)
    found = found if who.may("interfaces.read") else found.none()
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.select_related("peer", "patient_ref").defer(*_HEAVY).order_by("-pk")[: PAGE + 1])
    return Page(rows[:PAGE], rows[PAGE - 1].pk if len(rows) > PAGE else None)


def count(*, who: Any, criteria: Criteria) -> int:
    """How many messages a search finds, so far as anybody counts."""
    found = matching(criteria, site_id=None if who.sees_every_site else who.site_id)
    return found.order_by()[:COUNTED].count() if who.may("interfaces.read") else 0


def matching(criteria: Criteria, *, site_id: int | None) -> QuerySet[Hl7Message]:
    """The messages that a search means; those of all sites without `site_id`."""
    found = Hl7Message.objects.all()
    if site_id is not None:
        found = found.filter(site_id=site_id)
    if criteria.text:
        found = found.filter(pk__in=_by_text(criteria.text, found))
    if criteria.state == OPEN:
        found = found.open()
    elif criteria.state:
        found = found.filter(state=criteria.state)
    if criteria.peer is not None:
        found = found.filter(peer=criteria.peer)
    if criteria.direction:
        found = found.filter(direction=criteria.direction)
    if criteria.code:
        code, _mark, event = criteria.code.partition("^")
        found = found.filter(message_code=code, **({"trigger_event": event} if event else {}))
    if criteria.since is not None:
        found = found.filter(received_at__gte=criteria.since)
    if criteria.until is not None:
        found = found.filter(received_at__lt=criteria.until)
    return found


def _by_text(text: str, within: QuerySet[Hl7Message]) -> set[int]:
    """Keys of the newest messages with that number; each kind of number by its own index."""
    by_number = PatientIdentifier.objects.filter(value=text).values("patient_ref")
    patients = list(Patient.objects.filter(Q(patient_id=text) | Q(pk__in=by_number)).values_list("pk", flat=True)[:50])
    orders: list[int] = []
    for name in ("accession_number", "placer_order_number"):
        orders += Order.objects.filter(**{name: text}).values_list("pk", flat=True)[:50]
    found: set[int] = set()
    for question in (
        within.filter(message_control_id=text),
        within.filter(patient_ref__in=patients),
        within.filter(order_ref__in=orders),
    ):
        found.update(question.order_by("-pk").values_list("pk", flat=True)[:MOST_ROWS_OF_TEXT])
    return found


@dataclass
class PeerFigures:
    """How a peer is doing: messages within the last hour, what waits, and for how long already."""

    peer: Hl7Peer
    received: int = 0
    sent: int = 0
    failed: int = 0
    seconds: float | None = None
    to_do: int = 0
    to_send: int = 0
    oldest: datetime | None = None
    alarms: list[Hl7Alarm] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Messages of both directions that wait."""
        return self.to_do + self.to_send

    @property
    def milliseconds(self) -> int | None:
        """From the first byte kept to the last row written, on average."""
        return None if self.seconds is None else round(self.seconds * 1000)

    @property
    def version(self) -> str:
        """What is shown of it, in short; the lag grows by the minute."""
        lag = int(self.lag.total_seconds()) // 60 if self.lag else ""
        rings = [(alarm.pk, alarm.kind) for alarm in self.alarms]
        heard = (self.peer.last_message_at, self.peer.last_sent_at)
        counts = (self.received, self.sent, self.failed, self.to_do, self.to_send)
        return f"{self.peer.pk}.{counts}.{lag}.{rings}.{heard}"

    @property
    def lag(self) -> timedelta | None:
        """How long the message has waited that waits longest."""
        return timezone.now() - self.oldest if self.oldest else None


def figures(*, who: Any) -> list[PeerFigures]:
    """Of every peer that `who` may see; those with alarms first."""
    if not who.may("interfaces.read"):
        return []
    peers = Hl7Peer.objects.select_related("site").order_by("name")
    peers = peers if who.sees_every_site else peers.filter(site_id=who.site_id)
    found = {peer.pk: PeerFigures(peer) for peer in peers}
    of_hour = Hl7Message.objects.filter(received_at__gte=timezone.now() - FIGURES_OF, peer__in=found)
    counted = (
        of_hour.order_by()
        .values("peer", "direction")
        .annotate(
            count=Count("pk"),
            done=Count("pk", filter=Q(state="processed")),
            failed=Count("pk", filter=Q(state__in=["failed", "rejected", "dead"])),
            seconds=Avg(F("processed_at") - F("received_at"), filter=Q(duplicate_of=None)),
        )
    )
    for row in counted:
        mine = found[row["peer"]]
        mine.failed += row["failed"]
        if row["direction"] == Direction.IN:
            mine.received = row["count"]
            mine.seconds = row["seconds"].total_seconds() if row["seconds"] is not None else None
        else:
            mine.sent = row["done"]
    _add_waiting(found.values())
    for alarm in Hl7Alarm.objects.ringing().filter(peer__in=found).order_by("since"):
        found[alarm.peer_id].alarms.append(alarm)
    return sorted(found.values(), key=lambda each: not each.alarms)


def _add_waiting(all_figures: Iterable[PeerFigures]) -> None:
    for direction, states in ((Direction.IN, UNDONE), (Direction.OUT, QUEUED)):
        waiting = Hl7Message.objects.filter(direction=direction, state__in=states)
        rows = waiting.order_by().values("peer").annotate(count=Count("pk"), oldest=Min("received_at"))
        by_peer = {row["peer"]: row for row in rows}
        for each in all_figures:
            row = by_peer.get(each.peer.pk)
            if row is None:
                continue
            if direction == Direction.IN:
                each.to_do = row["count"]
            else:
                each.to_send = row["count"]
            each.oldest = min(filter(None, (each.oldest, row["oldest"])))


def waiting_for_person(*, who: Any) -> int:
    """Messages and alarms that wait for somebody, counted so far as anybody reads."""
    rows = Hl7Message.objects.visible_to(who).open().order_by()[:COUNTED]
    return rows.count() + Hl7Alarm.objects.visible_to(who).ringing().count()
