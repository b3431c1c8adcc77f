"""When somebody should look at an interface: a peer falls silent, cannot be reached, or its messages pile up."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from integrations.models import QUEUED, UNDONE, AlarmKind, Direction, Hl7Alarm, Hl7Message, Hl7Peer

log = structlog.get_logger(__name__)

UNREACHABLE_FOR = timedelta(minutes=2)


def watch(*, now: datetime | None = None) -> None:
    """Raise what is wrong now and end what no longer is. Each alarm is one row from when it began."""
    now = now or timezone.now()
    for peer in Hl7Peer.objects.order_by("pk"):
        wrong = _wrong(peer, now) if peer.is_active else {}
        with transaction.atomic():
            ringing = {alarm.kind: alarm.pk for alarm in Hl7Alarm.objects.ringing().filter(peer=peer)}
            for kind in ringing.keys() - wrong:
                Hl7Alarm.objects.filter(pk=ringing[kind]).update(ended_at=now)
                log.info("hl7_alarm_ended", peer=peer.pk, kind=kind)
            new = [Hl7Alarm(peer=peer, kind=kind, since=now) for kind in wrong.keys() - ringing]
            Hl7Alarm.objects.bulk_create(new, ignore_conflicts=True)
        for alarm in new:
            log.error("hl7_alarm", peer=peer.pk, kind=alarm.kind, **wrong[alarm.kind])


def _wrong(peer: Hl7Peer, now: datetime) -> dict[str, dict[str, Any]]:
    """By kind, what is wrong with a peer, and how much."""
    found: dict[str, dict[str, Any]] = {}
    allowed = timedelta(minutes=peer.silent_after_minutes)
    if allowed and peer.addresses:
        heard = peer.last_message_at
        if heard is None or now - heard > allowed:
            found[AlarmKind.SILENT] = {"last": heard.isoformat() if heard else ""}
    if peer.receives and peer.unreachable_since is not None and now - peer.unreachable_since > UNREACHABLE_FOR:
        found[AlarmKind.UNREACHABLE] = {"since": peer.unreachable_since.isoformat()}
    if peer.queue_alarm:
        for direction, states in ((Direction.OUT, QUEUED), (Direction.IN, UNDONE)):
            waiting = Hl7Message.objects.filter(peer=peer, direction=direction, state__in=states)
            if waiting.order_by()[: peer.queue_alarm].count() >= peer.queue_alarm:
                found[AlarmKind.QUEUE] = {"direction": direction.value}
    return found
