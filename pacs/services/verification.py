"""Compares index and bytes, both ways: every file that a row names, every file that none names, the counters.

A run goes through files, locations, held objects and counters, in batches whose end is kept in its
row, so that a run that was ended or killed goes on there. Memory does not grow with the archive.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import structlog
from django.db.models import Count, Sum
from django.utils import timezone

from pacs.models import (
    FindingKind,
    HeldObject,
    Location,
    Study,
    Verification,
    VerificationFinding,
    Volume,
)
from pacs.services.verification_checks import (
    Pace,
    Problem,
    Row,
    WrongCount,
    is_unavailable,
    is_unused,
    orphans_among,
    problem_of_file,
    shown,
    still_orphans,
    wrong_counts,
)
from pacs.services.verification_repair import recount_wrong, restore_file, take_in
from pacs.storage import backend
from pacs.storage.priority import low_priority
from radiology.errors import OutOfResources, RadiologyError
from radiology.models import Job, JobState
from radiology.services.jobs import enqueue, extend_lease, handles

__all__ = ["Options", "Pace", "begin", "enqueue_verification", "unfinished", "verify"]

log = structlog.get_logger(__name__)

KIND = "pacs.verify_archive"
FILES, LOCATIONS, HELD, COUNTERS, DONE = "files", "locations", "held", "counters", "done"
FILE_BATCH, ROW_BATCH, STUDY_BATCH = 500, 50, 500
# A file may stand there so long before its row does.
YOUNG = timedelta(hours=1)
# What looks like an orphan is looked at again after so many seconds.
SETTLED = 1.0
KEPT_FINDINGS = 10_000
SIGN_OF_LIFE_EVERY = 5.0
# A scheduled run reads this long a day, not faster than this.
DAILY_HOURS = 4
DAILY_RATE = 20 * 1024 * 1024


class Ended(Exception):
    """The time of this stretch is over; the run goes on another time."""


@dataclass
class Options:
    """How a run is carried out; none of it changes what is looked at."""

    pace: Pace = field(default_factory=Pace)
    young: timedelta = YOUNG
    settled: float = SETTLED
    pause: float = 0.0
    until: float | None = None
    alive: Callable[[Verification], None] = lambda _: None
    found: Callable[[VerificationFinding], None] = lambda _: None


def begin(
    *, volume: Volume | None = None, repairs: bool = False, since: datetime | None = None, scheduled: bool = False
) -> Verification:
    """A new run over one volume or all, of everything or of what was stored since."""
    figures = [
        rows.aggregate(number=Count("pk"), bytes=Sum("size"))
        for rows in (_rows(Location, volume, since), _rows(HeldObject, volume, since))
    ]
    return Verification.objects.create(
        volume=volume,
        repairs=repairs,
        since=since,
        scheduled=scheduled,
        objects_total=sum(each["number"] for each in figures),
        bytes_total=sum(each["bytes"] or 0 for each in figures),
        position={"phase": FILES},
    )


def unfinished(*, volume: Volume | None = None, scheduled: bool = False) -> Verification | None:
    """The newest run of that volume, or of all, when it has not come to its end."""
    newest = Verification.objects.filter(volume=volume, scheduled=scheduled).order_by("-id").first()
    return newest if newest is not None and newest.finished_at is None else None


def verify(*, run: Verification, options: Options) -> bool:
    """Carry out a run from where it is; whether it came to its end. What `options.alive` raises ends it there."""
    work = _Work(run, options)
    try:
        with low_priority():
            for phase, step in ((FILES, work.files), (LOCATIONS, work.locations), (HELD, work.held)):
                if run.position["phase"] == phase:
                    step()
            work.counters()
    except Ended:
        return False
    run.position = {"phase": DONE}
    run.finished_at = timezone.now()
    run.save()
    log.info("archive verified", run=run.pk, objects=run.objects_read, problems=run.problems, repaired=run.repaired)
    return True


class _Work:
    """One stretch of a run."""

    def __init__(self, run: Verification, options: Options) -> None:
        self.run, self.options = run, options
        self._gone: set[int] = set(run.position.get("gone", ()))
        self._looked_at: set[int] = set()

    def files(self) -> None:
        """Files that no row names, volume by volume."""
        at, after = (
            self.run.position.get("volume", 0),
            os.fsdecode(unquote_to_bytes(self.run.position.get("after", ""))),
        )
        for volume in self._volumes().filter(pk__gte=at):
            if self._is_there(volume) and not is_unused(volume):
                start = after if volume.pk == at else ""
                try:
                    for batch in _batches(backend(volume).walk(after=start), FILE_BATCH):
                        self._orphans(volume, batch)
                        self.run.files_seen += len(batch)
                        self._checkpoint(FILES, volume=volume.pk, after=quote(os.fsencode(batch[-1].path)))
                except OutOfResources as error:
                    self._leave(volume, error.message)
        self._checkpoint(LOCATIONS)

    def _orphans(self, volume: Volume, batch: list[Any]) -> None:
        before = timezone.now() - self.options.young
        suspects = orphans_among(volume, batch, before=before, since=self.run.since)
        if not suspects:
            return
        time.sleep(self.options.settled)
        for path in still_orphans(volume, suspects):
            done = self._repaired(lambda path=path: take_in(volume=volume, path=path, pace=self.options.pace))  # type: ignore[misc]
            self._report(FindingKind.ORPHAN, "Nothing in the database names this file.", done, volume, path)

    def locations(self) -> None:
        """The file of every instance."""
        self._files_of(Location, LOCATIONS, ("volume", "instance_ref__series_ref__study_ref"))
        self._checkpoint(HELD)

    def held(self) -> None:
        """The file of every held object; one that was accepted may share it with an instance."""
        self._files_of(HeldObject, HELD, ("volume",))
        self._checkpoint(COUNTERS)

    def _files_of(self, model: type[Any], phase: str, related: tuple[str, ...]) -> None:
        rows = _rows(model, self.run.volume, self.run.since).select_related(*related).order_by("pk")
        last = self.run.position.get("after", 0)
        while batch := list(rows.filter(pk__gt=last)[:ROW_BATCH]):
            for row in batch:
                self._file(model, row, related)
                self._sign(row.size)
                last = row.pk
            self._checkpoint(phase, after=last)

    def _file(self, model: type[Any], row: Row, related: tuple[str, ...]) -> None:
        if not self._is_there(row.volume):
            return
        try:
            problem = problem_of_file(row, pace=self.options.pace)
            if problem is not None:
                # It may have been moved or removed between the query and the reading.
                anew = model.objects.select_related(*related).filter(pk=row.pk).first()
                if anew is None:
                    return
                row = anew
                problem = problem_of_file(row, pace=self.options.pace)
        except OutOfResources as error:
            self._leave(row.volume, error.message)
            return
        if problem is not None:
            self._report_file(row, problem)

    def _report_file(self, row: Row, problem: Problem) -> None:
        done = self._repaired(lambda: restore_file(row=row, pace=self.options.pace))
        if isinstance(row, HeldObject):
            study, instance = row.study_instance_uid, row.sop_instance_uid
        else:
            study = row.instance_ref.series_ref.study_ref.study_instance_uid
            instance = row.instance_ref.sop_instance_uid
        self._report(problem.kind, problem.detail, done, row.volume, row.path, study, instance)

    def counters(self) -> None:
        """What studies and series say of how much they hold."""
        last = self.run.position.get("after", 0)
        studies = Study.objects.order_by("pk")
        if self.run.since is not None:
            studies = studies.filter(updated_at__gte=self.run.since)
        while batch := list(studies.filter(pk__gt=last).values_list("pk", flat=True)[:STUDY_BATCH]):
            wrong: dict[str, list[WrongCount]] = {}
            for each in wrong_counts(batch):
                wrong.setdefault(each.study_instance_uid, []).append(each)
            for uid, found in wrong.items():
                done = self._repaired(lambda found=found: recount_wrong(found))  # type: ignore[misc]
                for each in found:
                    self._report(FindingKind.COUNTERS, each.detail, done, study=uid)
            last = batch[-1]
            self._checkpoint(COUNTERS, after=last)

    def _volumes(self) -> Any:
        found = Volume.objects.order_by("pk")
        return found if self.run.volume is None else found.filter(pk=self.run.volume.pk)

    def _is_there(self, volume: Volume) -> bool:
        """Whether the volume answers; looked at once a stretch."""
        if volume.pk in self._gone:
            return False
        if volume.pk not in self._looked_at:
            self._looked_at.add(volume.pk)
            if reason := is_unavailable(volume):
                self._leave(volume, reason)
                return False
        return True

    def _leave(self, volume: Volume, reason: str) -> None:
        """Look at nothing more of a volume that does not answer."""
        self._gone.add(volume.pk)
        self._report(FindingKind.UNAVAILABLE, reason, "", volume)

    def _repaired(self, repair: Callable[[], str]) -> str:
        if not self.run.repairs:
            return ""
        try:
            return repair()
        except RadiologyError as error:
            log.warning("not repaired", run=self.run.pk, reason=error.message)
        except OSError as error:
            log.warning("not repaired", run=self.run.pk, reason=type(error).__name__)
        return ""

    def _report(
        self,
        kind: FindingKind,
        detail: str,
        done: str,
        volume: Volume | None = None,
        path: str = "",
        study: str = "",
        instance: str = "",
    ) -> None:
        finding = VerificationFinding(
            verification=self.run,
            kind=kind,
            volume=volume,
            path=shown(path),
            study_instance_uid=study,
            sop_instance_uid=instance,
            detail=detail,
            repair=done,
        )
        self.run.problems += 1
        self.run.repaired += bool(done)
        if self.run.problems <= KEPT_FINDINGS:
            finding.save()
        self.options.found(finding)

    def _sign(self, size: int) -> None:
        self.run.objects_read += 1
        self.run.bytes_read += size
        self.options.alive(self.run)

    def _checkpoint(self, phase: str, **position: Any) -> None:
        self.run.position = {"phase": phase, **position, "gone": sorted(self._gone)}
        self.run.save()
        self.options.alive(self.run)
        if self.options.until is not None and time.monotonic() > self.options.until:
            raise Ended
        if self.options.pause:
            time.sleep(self.options.pause)


def _rows(model: type[Any], volume: Volume | None, since: datetime | None) -> Any:
    rows = model.objects.all()
    if volume is not None:
        rows = rows.filter(volume=volume)
    return rows if since is None else rows.filter(created_at__gte=since)


def _batches(entries: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(entries, size)):
        yield batch


def enqueue_verification(*, volume: Volume | None = None) -> Job:
    """Verify a volume, or all, in the background, by a person's wish."""
    waiting = Job.objects.filter(kind=KIND, state__in=[JobState.PENDING, JobState.RUNNING])
    arguments = {"volume": volume.pk if volume else None}
    return waiting.filter(arguments=arguments).first() or enqueue(kind=KIND, arguments=arguments, max_attempts=5)


@handles(KIND)
def run_verification(job: Job) -> None:
    """One run, without repairs. A worker that takes over goes on where the last one was."""
    volume = Volume.objects.filter(pk=job.arguments["volume"]).first() if job.arguments.get("volume") else None
    run = unfinished(volume=volume) if job.attempts > 1 else None
    verify(run=run or begin(volume=volume), options=_in_job(job))


@handles("pacs.verify_scheduled", daily=True)
def run_scheduled(job: Job) -> None:
    """A stretch of each volume whose turn it is, a few hours a day."""
    options = _in_job(job)
    options.pace.rate = DAILY_RATE
    options.until = time.monotonic() + DAILY_HOURS * 3600
    for volume in Volume.objects.filter(verify_days__gt=0).order_by("pk"):
        run = unfinished(volume=volume, scheduled=True)
        if run is None:
            last = Verification.objects.filter(volume=volume, scheduled=True).order_by("-id").first()
            if last is not None and last.started_at > timezone.now() - timedelta(days=volume.verify_days):
                continue
            run = begin(volume=volume, scheduled=True)
        if not verify(run=run, options=options):
            return


def _in_job(job: Job) -> Options:
    shown_at, figures = 0.0, (0, 0)

    def alive(run: Verification) -> None:
        nonlocal figures
        megabyte = 1024 * 1024
        figures = (run.bytes_read // megabyte, run.bytes_total // megabyte)
        tick()

    def tick() -> None:
        """Within a large file too: a lease is short."""
        nonlocal shown_at
        if time.monotonic() - shown_at > SIGN_OF_LIFE_EVERY:
            shown_at = time.monotonic()
            extend_lease(job=job, progress=figures[0], total=figures[1])

    return Options(alive=alive, pace=Pace(tick=tick))
