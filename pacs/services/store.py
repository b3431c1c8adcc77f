"""The one way in. Whatever the door, an object is stored here, durable and indexed in one step.

`receive` or `receive_part10` takes the bytes, `store_instance` makes them part of the archive. When
it returns, the file and its folder are synced and the rows are committed. Bytes stay as received;
what contradicts the archive is kept aside as a HeldObject and the first one stays untouched.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from pacs.models import HeldObject, HeldReason, Instance, Location, NodePriority, Study
from pacs.services.deletion import REFUSED, may_return, may_return_to
from pacs.services.duplicates import Difference, difference
from pacs.services.incoming import Incoming, Received, Source, receive, receive_part10
from pacs.services.index import Indexer
from pacs.services.joining import Changed, Joining, forget, learn, pioneers
from pacs.services.part10 import HEAD_SIZE
from pacs.services.rejection import apply_note, hide, note_of, rejected_among
from pacs.signals import studies_stored
from pacs.storage import backend
from radiology.errors import OutOfResources, RadiologyError
from radiology.services.jobs import was_rolled_back
from radiology.services.rows import Statement, insert_missing

__all__ = [
    "Incoming",
    "Received",
    "Source",
    "StoreOutcome",
    "Stored",
    "receive",
    "receive_part10",
    "store_instance",
    "store_instances",
]

log = structlog.get_logger(__name__)

BATCH = 64
ATTEMPTS = 4

# Instances by site and SOP Instance UID.
Taken = dict[tuple[int, str], int]

_INSTANCES = Statement(
    "SELECT site_id, sop_instance_uid, id FROM pacs_instance"
    " WHERE sop_instance_uid = ANY(%s::varchar[]) AND site_id = ANY(%s::bigint[])"
)


class StoreOutcome(StrEnum):
    STORED = "stored"
    UNCHANGED = "unchanged"
    HELD = "held"
    REFUSED = "refused"


@dataclass(frozen=True)
class Stored:
    """What became of one object. `reason` says why it was held or refused."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    outcome: StoreOutcome
    reason: str = ""


def store_instances(*, received: Sequence[Received]) -> list[Stored]:
    """Make a batch durable and findable, in the order given; each object's outcome.

    New objects go in together, in one transaction, and before them, in another, the first of each series
    that is new here; one whose UID is taken is compared with what is there. Raises OutOfResources when the
    database or the disk fails: then nothing of what had not been stored yet is visible.
    """
    return _store(received, taken=None)


def _store(received: Sequence[Received], *, taken: Taken | None) -> list[Stored]:
    """`store_instances`, where `taken` is known already if the caller has asked."""
    outcomes: dict[int, Stored] = {}
    waiting = list(range(len(received)))
    try:
        while waiting:
            first: dict[tuple[int, str], int] = {}
            later = []
            for index in waiting:
                if _key(received[index]) in first:
                    later.append(index)
                else:
                    first[_key(received[index])] = index
            if taken is None:
                taken = _taken([received[index] for index in first.values()])
            new = []
            for key, index in first.items():
                if key in taken:
                    outcomes[index] = _repeated(received[index], taken[key])
                else:
                    new.append(index)
            for index, outcome in zip(new, _store_new([received[index] for index in new]), strict=True):
                if outcome is None:
                    later.append(index)
                else:
                    outcomes[index] = outcome
            waiting, taken = sorted(later), None
    except (OperationalError, InterfaceError) as error:
        raise OutOfResources("The database does not answer: nothing was stored, send again.") from error
    except FileNotFoundError as error:
        raise OutOfResources("A stored file that this object must be compared with is missing.") from error
    finally:
        for each in received:
            each.discard()
    return [outcomes[index] for index in range(len(received))]


def _key(received: Received) -> tuple[int, str]:
    return received.source.site.pk, received.sop_instance_uid


def _taken(received: Sequence[Received]) -> Taken:
    """The instances, by site and UID, whose UID is already in the archive."""
    uids = {each.sop_instance_uid for each in received}
    sites = {each.source.site.pk for each in received}
    return {(site, uid): pk for site, uid, pk in _INSTANCES(list(uids), list(sites))}


def _store_new(received: list[Received]) -> list[Stored | None]:
    """Insert objects that were not there a moment ago; None for one that came in elsewhere meanwhile."""
    outcomes: dict[int, Stored | None] = {}
    for site in {each.source.site.pk for each in received}:
        own = [each for each in received if each.source.site.pk == site]
        first = pioneers(own)
        are_first = set(map(id, first))
        for batch in (first, [each for each in own if id(each) not in are_first]):
            if batch:
                outcomes.update(zip(map(id, batch), _store_batch(batch), strict=True))
    return [outcomes[id(each)] for each in received]


def _store_batch(received: list[Received]) -> list[Stored | None]:
    for attempt in range(1, ATTEMPTS + 1):
        published: list[Received] = []
        try:
            with transaction.atomic():
                joining = Joining.of(received)
                return _insert(received, published) if joining is None else _join(joining, received, published)
        except Changed:
            _retract(published)
            forget(received)
            return _store_batch(received)
        except (OperationalError, InterfaceError) as error:
            # Two batches that touch the same rows in another order: PostgreSQL lets one of them go on.
            if was_rolled_back(error) and attempt < ATTEMPTS:
                _retract(published)
                continue
            # Otherwise the server may have gone behind the commit: the collector will look at the rows.
            for each in received:
                each.draft.abandon()
            raise
        except DatabaseError:
            _retract(published)
            if len(received) > 1:
                return [outcome for each in received for outcome in _store_batch([each])]
            log.exception("object cannot be indexed", sop_instance_uid=received[0].sop_instance_uid)
            return [_outcome(received[0], StoreOutcome.REFUSED, "The archive cannot index this object.")]
        except BaseException:
            _retract(published)
            raise
    raise AssertionError("unreachable")


def _join(joining: Joining, received: list[Received], published: list[Received]) -> list[Stored | None]:
    """The short way: all of them belong to series that are known."""
    published.extend(received)
    paths = dict(zip(map(id, received), _publish(received), strict=True))
    made = joining.insert(paths)
    _remove_rejected(received, joining.study)
    is_ours = all(each.source.is_ours for each in received)
    studies_stored.send(sender=Study, studies=joining.studies, new=[], returned=[], instances=made, is_ours=is_ours)
    return [_outcome(each, StoreOutcome.STORED) for each in received]


def _insert(received: list[Received], published: list[Received]) -> list[Stored | None]:
    indexer = Indexer(received)
    results: dict[str, Stored | None] = {}
    instances: list[Instance] = []
    fitting: list[Received] = []
    for each in sorted(received, key=lambda one: one.sop_instance_uid):
        reason = indexer.conflict(each)
        if indexer.is_refused(each):
            results[each.sop_instance_uid] = _outcome(each, StoreOutcome.REFUSED, REFUSED)
        elif reason is not None:
            published.append(each)
            results[each.sop_instance_uid] = _hold(each, reason)
        else:
            fitting.append(each)
            instances.append(indexer.instance(each))
    made = insert_missing(instances, returning="sop_instance_uid")
    new = [each for each in fitting if each.sop_instance_uid in made]
    published.extend(new)
    paths = _publish(new)
    Location.objects.bulk_create(
        Location(
            instance_ref_id=made[each.sop_instance_uid],
            volume=each.volume,
            path=path,
            data_set_offset=HEAD_SIZE,
            size=each.size,
            sha256=each.sha256,
            transfer_syntax_uid=each.transfer_syntax_uid,
            pixels=each.pixels,
        )
        for each, path in zip(new, paths, strict=True)
    )
    indexer.count(new)
    _remove_rejected(new, indexer.study)
    indexer.tell(new, [made[each.sop_instance_uid] for each in new])
    for each in new:
        learn(each, *indexer.filed_under(each))
    for each in new:
        results[each.sop_instance_uid] = _outcome(each, StoreOutcome.STORED)
    return [results.get(each.sop_instance_uid) for each in received]


def _remove_rejected(new: Sequence[Received], study_of: Callable[[Received], int]) -> None:
    """Hide those of the new objects that were rejected before they came, and what new notes reject."""
    for site in {each.source.site.pk for each in new}:
        uids = [each.sop_instance_uid for each in new if each.source.site.pk == site]
        if rejected := rejected_among(site=site, sop_instance_uids=uids):
            hide(site=site, sop_instance_uids=sorted(rejected))
    for each in new:
        note = note_of(each)
        if note is not None:
            apply_note(received=each, note=note, study=study_of(each))


def _publish(received: list[Received]) -> list[str]:
    """Link the files to their lasting paths and sync the folders, before the rows are committed."""
    paths = [each.draft.publish() for each in received]
    for volume in {each.volume.pk: each.volume for each in received}.values():
        mine = [path for each, path in zip(received, paths, strict=True) if each.volume.pk == volume.pk]
        backend(volume).sync(mine)
    return paths


def _retract(published: list[Received]) -> None:
    for each in published:
        each.draft.retract()


def _repeated(received: Received, instance: int) -> Stored:
    """An object whose UID is taken: the first is kept, whatever the newcomer is."""
    known = list(
        Location.objects.filter(instance_ref=instance)
        .select_related("instance_ref__series_ref__study_ref", "volume", "compression")
        .order_by("is_current", "id")
    )
    bytes_of = (received.sha256, received.size, received.transfer_syntax_uid)
    if any(bytes_of in _bytes_known(each) for each in known):
        return _unchanged(received, known[-1])  # these very bytes, or those that a correction replaced
    stored = known[-1]
    series = stored.instance_ref.series_ref
    named = {series.study_ref.study_instance_uid, series.received_study_instance_uid}
    if series.series_instance_uid != received.series_instance_uid or received.study_instance_uid not in named:
        return _hold_alone(received, HeldReason.INSTANCE_ELSEWHERE)
    found = difference(stored=stored, received=received)
    if found is Difference.NONE:
        return _unchanged(received, stored)
    if found is Difference.HEADER:
        return _hold_alone(received, HeldReason.OTHER_HEADER)
    held = _hold_alone(received, HeldReason.OTHER_PIXELS)
    log.warning("other pixels under a known UID", sop_instance_uid=received.sop_instance_uid, held=True)
    if received.source.refuse_conflicts:
        return _outcome(received, StoreOutcome.REFUSED, held.reason)
    return held


def _bytes_known(location: Location) -> Iterator[tuple[bytes, int, str]]:
    """Which bytes this is: those that are stored, and those that were received where they were compressed since."""
    yield bytes(location.sha256), location.size, location.transfer_syntax_uid
    done = getattr(location, "compression", None)
    if done is not None:
        yield bytes(done.received_sha256), done.received_size, done.received_transfer_syntax_uid


def _unchanged(received: Received, stored: Location) -> Stored:
    """It is here already; where it was deleted, or its study was, what the site wants of such."""
    instance = stored.instance_ref
    study = instance.series_ref.study_ref
    if study.deleted_at is not None or instance.removed_at is not None:
        with transaction.atomic():
            if not (may_return(study) and may_return_to(study, instance)):
                return _outcome(received, StoreOutcome.REFUSED, REFUSED)
    return _outcome(received, StoreOutcome.UNCHANGED)


def _hold_alone(received: Received, reason: HeldReason) -> Stored:
    try:
        with transaction.atomic():
            return _hold(received, reason)
    except (OperationalError, InterfaceError):
        received.draft.abandon()
        raise
    except (DatabaseError, RadiologyError, OSError):
        received.draft.retract()
        raise


def _hold(received: Received, reason: HeldReason) -> Stored:
    """Keep an object aside; the same bytes again are the same case."""
    header = received.header
    row = HeldObject(
        site=received.source.site,
        reason=reason,
        sop_instance_uid=received.sop_instance_uid,
        sop_class_uid=received.sop_class_uid,
        series_instance_uid=received.series_instance_uid,
        study_instance_uid=received.study_instance_uid,
        patient_id=header.text(0x00100020)[:64],
        patient_name=header.first(0x00100010)[:324],
        source_ae_title=received.source.ae_title[:16],
        volume=received.volume,
        path=received.draft.publish(),
        data_set_offset=HEAD_SIZE,
        size=received.size,
        sha256=received.sha256,
        transfer_syntax_uid=received.transfer_syntax_uid,
    )
    if insert_missing([row], returning="sop_instance_uid"):
        backend(received.volume).sync([row.path])
    else:
        received.draft.retract()
    return _outcome(received, StoreOutcome.HELD, str(HeldReason(reason).label))


def _outcome(received: Received, outcome: StoreOutcome, reason: str = "") -> Stored:
    return Stored(
        received.sop_class_uid,
        received.sop_instance_uid,
        received.series_instance_uid,
        received.study_instance_uid,
        outcome,
        reason,
    )


class _Ticket:
    """One caller's object in the queue of the next batch."""

    def __init__(self, received: Received) -> None:
        self.received = received
        self.done = False
        self.repeated: Taken | None = None
        self.stored: Stored | None = None
        self.error: Exception | None = None

    def result(self) -> Stored:
        if self.repeated is not None:
            return _store([self.received], taken=self.repeated)[0]
        if self.error is not None:
            raise self.error
        if self.stored is None:
            raise OutOfResources("The object was not stored.")
        return self.stored


class _Line:
    """Who waits for the next batch, in the order of their priority. Threads may append at any time."""

    def __init__(self) -> None:
        self._waiting: dict[NodePriority, deque[_Ticket]] = {priority: deque() for priority in NodePriority}

    def append(self, ticket: _Ticket) -> None:
        self._waiting[ticket.received.source.priority].append(ticket)

    def take(self, most: int) -> list[_Ticket]:
        """The next ones, `most` at most: devices before others, who are left an eighth each so that they go on."""
        batch: list[_Ticket] = []
        waiting = [tickets for tickets in self._waiting.values() if tickets]
        for place, tickets in enumerate(waiting, 1):
            room = most - len(batch) - (len(waiting) - place) * (most // 8)
            batch += [tickets.popleft() for _ in range(min(len(tickets), room))]
        return batch


_line = _Line()
_leading = threading.Lock()


def store_instance(*, received: Received) -> Stored:
    """Store one object together with whatever other threads store at this moment.

    While one thread commits, the others' objects gather; the next to come forward commits them all,
    64 at a time, those of devices first. An object whose UID is taken is compared by its own thread, so
    that it delays nobody. Raises what `store_instances` raises.
    """
    ticket = _Ticket(received)
    _line.append(ticket)
    with _leading:
        while not ticket.done:
            _commit(_line.take(BATCH))
    return ticket.result()


def _commit(batch: list[_Ticket]) -> None:
    try:
        received = [ticket.received for ticket in batch]
        # The short way finds out by itself.
        taken = {} if Joining.of(received) else _taken(received)
        for ticket in batch:
            if _key(ticket.received) in taken:
                ticket.repeated, ticket.done = taken, True
        new = [ticket for ticket in batch if not ticket.done]
        for ticket, stored in zip(new, _store([each.received for each in new], taken={}), strict=True):
            ticket.stored, ticket.done = stored, True
    except (OperationalError, InterfaceError):
        _fail(batch, OutOfResources("The database does not answer: nothing was stored, send again."))
    except Exception as error:
        _fail(batch, error)


def _fail(batch: list[_Ticket], error: Exception) -> None:
    for ticket in batch:
        if not ticket.done:
            ticket.received.discard()
            ticket.error, ticket.done = error, True
