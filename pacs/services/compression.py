"""Compresses stored images without loss, by the sites' rules, long after anybody waits for them.

One job goes on for ever while there are active rules. Each object is looked at once: encoded and compared
(pacs.services.lossless), then its row is switched to the new file in the transaction that also orders the
old file's removal. The old one stays a while for whoever has begun to read it. A worker that is killed
leaves drafts, which the collector clears.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from pacs.models import (
    Compression,
    CompressionOutcome,
    CompressionRule,
    HeldObject,
    Instance,
    Location,
    NativeSyntax,
    Series,
    Study,
    Volume,
)
from pacs.services.coercion import lock_studies
from pacs.services.incoming import Received
from pacs.services.lossless import Alive, Left, encode_object
from pacs.services.part10 import HEAD_SIZE
from pacs.services.relocation import SignOfLife
from pacs.services.verification_checks import Pace, problem_of_file
from pacs.storage import Draft, backend
from pacs.storage.priority import low_priority
from radiology.errors import CannotUnderstand, NotAcceptable, NotFound, OutOfResources
from radiology.models import AuditAction, Job, JobState
from radiology.services import audit
from radiology.services.jobs import Postponed, enqueue, handles, run_again

log = structlog.get_logger(__name__)

KIND = "pacs.compress"
# How long a turn of the job lasts, and how long it rests when all is done.
TURN = 240.0
REST = timedelta(minutes=15)
# A series is quiet when nothing came for so long, or when its object is older than a day.
QUIET = timedelta(minutes=10)
WINDOW = 1000
# Objects that are switched in one transaction.
BATCH = 16
# How long the old file stays for whoever read its row before.
GRACE = timedelta(hours=1)


def save_rule(rule: CompressionRule) -> None:
    """Save a rule that was made or changed: it looks at everything again, soon."""
    rule.reached = 0
    with transaction.atomic():
        if CompressionRule.objects.filter(pk=rule.pk).exists():
            # What it counts meanwhile is its own affair.
            counted = {"objects_compressed", "objects_left", "bytes_before", "bytes_after", "id"}
            rule.save(update_fields=[each.name for each in rule._meta.concrete_fields if each.name not in counted])
        else:
            rule.save()
        if rule.is_active:
            wake()


def wake() -> None:
    """Let the job run soon, whatever became of it."""
    job = enqueue(kind=KIND, idempotency_key=KIND, ordering_key=KIND)
    waiting = Job.objects.filter(pk=job.pk, state=JobState.PENDING)
    if not waiting.update(next_attempt_at=timezone.now()):
        run_again(jobs=Job.objects.filter(pk=job.pk))


def forget(looked_at: Sequence[Compression]) -> int:
    """Let objects that stayed as they are be looked at again, by a person's wish; how many."""
    left = [each for each in looked_at if each.outcome != CompressionOutcome.COMPRESSED]
    with transaction.atomic():
        Compression.objects.filter(pk__in=[each.pk for each in left]).delete()
        sites = {each.location.instance_ref.site_id for each in left}
        for rule in CompressionRule.objects.filter(site__in=sites):
            save_rule(rule)
    return len(left)


@handles("pacs.compress_daily", daily=True)
def run_daily(job: Job) -> None:
    """The job goes on, also where it failed for a day or somebody took it back, as long as there are rules."""
    if CompressionRule.objects.active().exists():
        wake()


@handles(KIND)
def run_compression(job: Job) -> None:
    """A turn: each active rule goes on where it was. Progress is in MB."""
    until = time.monotonic() + TURN
    rules = list(CompressionRule.objects.active().select_related("site"))
    if not rules:
        return
    alive = SignOfLife(job, total=0)
    with low_priority():
        finished = [Work(rule, until=until, alive=alive).go_on() for rule in rules]
    # What killed workers long ago is forgotten with every turn that came to its end.
    Job.objects.filter(pk=job.pk).update(attempts=1)
    raise Postponed(timezone.now() + (REST if all(finished) else timedelta(0)))


def candidates(rule: CompressionRule) -> QuerySet[Location]:
    """The objects that a rule is for, without regard to their age, those that were looked at left out."""
    found = Location.objects.current().filter(
        transfer_syntax_uid__in=rule.received_in or NativeSyntax.values,
        instance_ref__site=rule.site_id,
        instance_ref__removed_at=None,
        instance_ref__series_ref__study_ref__deleted_at=None,
    )
    if rule.modalities:
        found = found.filter(instance_ref__series_ref__modality__in=rule.modalities)
    if rule.sop_class_uids:
        found = found.filter(instance_ref__sop_class_uid__in=rule.sop_class_uids)
    looked_at = Q(compression__transfer_syntax_uid=rule.transfer_syntax_uid) | Q(
        compression__outcome=CompressionOutcome.DAMAGED
    )
    return found.exclude(looked_at).select_related("volume", "instance_ref__series_ref__study_ref")


def oldest_allowed(rule: CompressionRule) -> datetime:
    """What was received later is too young."""
    return timezone.now() - max(timedelta(days=rule.older_than_days), QUIET)


@dataclass
class Sample:
    """What a rule would do to some images: bytes before and after of all that were looked at, and why some are left."""

    looked_at: int = 0
    compressed: int = 0
    before: int = 0
    after: int = 0
    left: dict[str, int] = field(default_factory=dict)


def sample(*, rule: CompressionRule, size: int) -> Sample:
    """Try a rule on its newest images that are old enough, and keep nothing. Raises OutOfResources."""
    found = Sample()
    old_enough = candidates(rule).filter(instance_ref__created_at__lte=oldest_allowed(rule))
    for location in old_enough.order_by("-pk")[:size]:
        found.looked_at += 1
        found.before += location.size
        try:
            draft = encode_object(location=location, transfer_syntax_uid=rule.transfer_syntax_uid, alive=lambda _: None)
        except (Left, CannotUnderstand, NotAcceptable, NotFound) as error:
            found.after += location.size
            found.left[str(error)] = found.left.get(str(error), 0) + 1
        else:
            found.compressed += 1
            found.after += draft.size
            draft.retract()
            draft.discard()
    return found


class Work:
    """One rule during one turn."""

    def __init__(self, rule: CompressionRule, *, until: float, alive: Alive) -> None:
        self.rule, self.until, self.alive = rule, until, alive
        self._done: list[tuple[Location, Draft]] = []

    def go_on(self) -> bool:
        """Look at what has become due; whether that is all. Raises OutOfResources, and what `alive` raises."""
        try:
            while (end := self._window()) is not None:
                reached, stopped = self._through(end)
                self._publish()
                known = CompressionRule.objects.filter(pk=self.rule.pk, reached=self.rule.reached, is_active=True)
                if not known.update(reached=reached):
                    return False  # it was changed meanwhile
                self.rule.reached = reached
                self.alive(0)
                if time.monotonic() > self.until:
                    return False
                if stopped:
                    return True
            return True
        finally:
            for _, draft in self._done:
                draft.retract()
                draft.discard()

    def _window(self) -> int | None:
        """The last of the next locations that are old enough, in the order in which they came."""
        rows = Location.objects.filter(pk__gt=self.rule.reached).order_by("pk")
        latest, last = oldest_allowed(self.rule), None
        for pk, received in rows.values_list("pk", "instance_ref__created_at")[:WINDOW]:
            if received > latest:
                break
            last = pk
        return last

    def _through(self, end: int) -> tuple[int, bool]:
        """Look at the window's objects; how far that came, and whether it stopped before its end."""
        found = candidates(self.rule).filter(pk__gt=self.rule.reached, pk__lte=end).order_by("pk")
        for location in list(found):
            if not _is_quiet(location) or time.monotonic() > self.until:
                return location.pk - 1, True
            self._look_at(location)
            if len(self._done) >= BATCH:
                self._publish()
        return end, False

    def _look_at(self, location: Location) -> None:
        try:
            if HeldObject.objects.filter(volume=location.volume_id, path=location.path).exists():
                raise Left(CompressionOutcome.UNSUITABLE, "A held object shares its file.")
            draft = encode_object(
                location=location, transfer_syntax_uid=self.rule.transfer_syntax_uid, alive=self.alive
            )
        except Left as left:
            self._leave(location, left.outcome, left.detail)
        except OutOfResources:
            problem = problem_of_file(location, pace=Pace(tick=lambda: self.alive(0)))
            if problem is None:
                raise
            self._leave(location, CompressionOutcome.DAMAGED, problem.detail)
        except (CannotUnderstand, NotAcceptable, NotFound) as error:
            self._leave(location, CompressionOutcome.UNSUITABLE, error.message)
        else:
            self._done.append((location, draft))

    def _leave(self, location: Location, outcome: CompressionOutcome, detail: str) -> None:
        """Write down why the object stays as it is."""
        if outcome in {CompressionOutcome.DIFFERENT, CompressionOutcome.DAMAGED}:
            log.error("not compressed", location=location.pk, outcome=outcome.value, detail=detail)
        with transaction.atomic():
            if not Location.objects.select_for_update(of=("self",)).filter(pk=location.pk).exists():
                return
            _mark(location, self.rule.transfer_syntax_uid, outcome, detail)
            CompressionRule.objects.filter(pk=self.rule.pk).update(objects_left=F("objects_left") + 1)

    def _publish(self) -> None:
        """Let the rows name the new files: all of the batch, or none."""
        batch, self._done = self._done, []
        if not batch:
            return
        try:
            for volume in {location.volume_id: location.volume for location, _ in batch}.values():
                paths = [draft.publish() for location, draft in batch if location.volume_id == volume.pk]
                backend(volume).sync(paths)
            with transaction.atomic():
                switched = list(self._switch(batch))
            for location, draft in batch:
                if location.pk not in switched:
                    draft.retract()
        except (OperationalError, InterfaceError) as error:
            for _, draft in batch:  # the commit's outcome is not known: the collector looks at the rows
                draft.abandon()
            raise OutOfResources("The database does not answer: nothing was compressed.") from error
        except BaseException:
            for _, draft in batch:
                draft.retract()
            raise
        finally:
            for _, draft in batch:
                draft.discard()

    def _switch(self, batch: list[tuple[Location, Draft]]) -> Iterator[int]:
        """Switch those rows that are still as they were when their file was read; their keys."""
        lock_studies({location.instance_ref.series_ref.study_ref_id for location, _ in batch})
        shown = {
            instance: (series, study)
            for instance, series, study in Instance.objects.filter(
                pk__in=[location.instance_ref_id for location, _ in batch], removed_at=None
            ).values_list("pk", "series_ref", "series_ref__study_ref")
        }
        saved: dict[tuple[type[Any], int], int] = defaultdict(int)
        old, before, after = [], 0, 0
        studies: dict[int, tuple[Study, int]] = {}
        for location, draft in batch:
            if not self._switch_row(location, draft):
                continue
            yield location.pk
            old.append([location.volume_id, location.path])
            before, after = before + location.size, after + draft.size
            for model, key in zip((Series, Study), shown.get(location.instance_ref_id, ()), strict=False):
                saved[model, key] += location.size - draft.size
            study = location.instance_ref.series_ref.study_ref
            studies[study.pk] = (study, studies.get(study.pk, (study, 0))[1] + 1)
        for (model, key), count in sorted(saved.items(), key=lambda each: (each[0][0].__name__, each[0][1])):
            model._default_manager.filter(pk=key).update(size=F("size") - count, version=F("version") + 1)
        if not old:
            return
        CompressionRule.objects.filter(pk=self.rule.pk).update(
            objects_compressed=F("objects_compressed") + len(old),
            bytes_before=F("bytes_before") + before,
            bytes_after=F("bytes_after") + after,
        )
        enqueue(
            kind="pacs.remove_files",
            arguments={"files": old},
            not_before=timezone.now() + GRACE,
            site=self.rule.site,
        )
        for study, count in studies.values():
            audit.record(
                event="study.compressed",
                action=AuditAction.UPDATE,
                who=KIND,
                site_id=study.site_id,
                patient_id=study.patient_ref_id,
                study_instance_uid=study.study_instance_uid,
                detail={"objects": count, "transfer_syntax_uid": self.rule.transfer_syntax_uid},
            )

    def _switch_row(self, location: Location, draft: Draft) -> bool:
        as_read = {"pk": location.pk, "volume": location.volume_id, "path": location.path, "is_current": True}
        changed = Location.objects.filter(**as_read, sha256=bytes(location.sha256)).update(
            path=draft.publish(),
            data_set_offset=draft.head_size,
            size=draft.size,
            sha256=draft.sha256(),
            transfer_syntax_uid=self.rule.transfer_syntax_uid,
            pixels=None,  # until somebody asks for a frame
            created_at=timezone.now(),
        )
        if changed:
            _mark(location, self.rule.transfer_syntax_uid, CompressionOutcome.COMPRESSED, "")
        return bool(changed)


def adopt(*, location: Location, volume: Volume, path: str, received: Received) -> bool:
    """Let a location whose file is gone name the compressed form of it that lies there; whether it did."""
    with transaction.atomic():
        as_read = {"pk": location.pk, "volume": location.volume_id, "path": location.path}
        changed = Location.objects.filter(**as_read).update(
            volume=volume,
            path=path,
            data_set_offset=HEAD_SIZE,
            size=received.size,
            sha256=received.sha256,
            transfer_syntax_uid=received.transfer_syntax_uid,
            pixels=received.pixels,
        )
        if changed:
            _mark(location, received.transfer_syntax_uid, CompressionOutcome.COMPRESSED, "")
    return bool(changed)


def _mark(location: Location, transfer_syntax_uid: str, outcome: CompressionOutcome, detail: str) -> None:
    """`location` as it was when it was looked at."""
    Compression.objects.update_or_create(
        location_id=location.pk,
        defaults={
            "outcome": outcome,
            "detail": detail[:300],
            "transfer_syntax_uid": transfer_syntax_uid,
            "received_size": location.size,
            "received_sha256": bytes(location.sha256),
            "received_transfer_syntax_uid": location.transfer_syntax_uid,
            "created_at": timezone.now(),
        },
    )


def _is_quiet(location: Location) -> bool:
    now = timezone.now()
    instance = location.instance_ref
    return instance.series_ref.updated_at < now - QUIET or instance.created_at < now - timedelta(days=1)
