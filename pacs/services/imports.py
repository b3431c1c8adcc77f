"""Moving in: runs of an import, who may start one, and what carries it out.

A run is a row; from the pages it is carried out by a job, from the command line by the command. The
same places given again go on where an unfinished run of them stopped.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import ImportKind, ImportRun, ImportState
from pacs.services.imports_engine import Counting, Engine, Listing, Progress, Stopped
from pacs.services.imports_journal import begin, finish
from pacs.services.media import Candidate, Refusal, candidates
from pacs.services.store import Source
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, OutOfResources, RadiologyError
from radiology.models import AuditAction, Job, JobState, Site, User
from radiology.services import audit, jobs

__all__ = ["Progress", "Stopped"]

log = structlog.get_logger(__name__)

KIND = "pacs.import"
# In a worker, beside its other jobs; a command has the machine to itself.
READERS_OF_JOB = 2
LEASE_EVERY = 2.0
LOCK = 0x1390
MOST_FOLDERS = 200


def run_for(
    *, site: Site, kind: ImportKind, places: Sequence[str], who: Any = None, fresh: bool = False
) -> tuple[ImportRun, bool]:
    """The unfinished run of these places, to go on with, else a new one; and whether it goes on."""
    digest = hashlib.sha256(json.dumps([kind.value, sorted(places)]).encode()).hexdigest()
    if not fresh:
        earlier = ImportRun.objects.filter(site=site, places_sha256=digest).order_by("-id").first()
        if earlier is not None and earlier.state != ImportState.DONE:
            return earlier, True
    run = ImportRun.objects.create(
        site=site,
        kind=kind,
        places=list(places),
        places_sha256=digest,
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
        fresh=fresh,
    )
    return run, False


def listing_of(paths: Sequence[Path], *, within: Sequence[Path | None] = ()) -> Listing:
    """What lies under `paths`, one after the other, each `within` its folder. What is not there is a refusal."""
    limits = within or [None] * len(paths)

    def listing() -> Iterator[Candidate | Refusal]:
        for path, limit in zip(paths, limits, strict=True):
            try:
                yield from candidates(path, within=limit)
            except RadiologyError as error:
                yield Refusal(str(path), error.message)

    return listing


def carry_out(
    *,
    run: ImportRun,
    listing: Listing,
    source: Source | None = None,
    readers: int = 4,
    counted: bool | Counting = True,
    alive: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
    rate: float = 0.0,
) -> None:
    """Import what `listing` names, in this process, until it is done; at most `rate` bytes a second, 0: no limit.

    Raises Stopped once `stop` is set, Conflict while another process carries out the same run, and
    what made it impossible to go on. The row of the run says all of it.
    """
    with carried_out(run):
        Engine(
            run=run,
            listing=listing,
            source=source or Source.of_site(run.site),
            readers=readers,
            counted=counted,
            alive=alive,
            stop=stop,
            rate=rate,
        ).work()


@contextmanager
def carried_out(run: ImportRun) -> Iterator[None]:
    """Around the work on a run in this process: its row says that it goes on, and how it ended.

    Raises Conflict while another process has it.
    """
    with _alone(run):
        begin(run=run)
        try:
            yield
        except BaseException as error:
            explained = _explained(error)
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            text = explained.message if isinstance(explained, RadiologyError) else type(error).__name__
            log.warning("import ended early", run=run.pk, error=type(error).__name__)
            with suppress(OperationalError, InterfaceError):
                finish(
                    run=run,
                    state=ImportState.STOPPED if stopped else ImportState.FAILED,
                    error="" if stopped else text,
                )
            if explained is error:
                raise
            raise explained from error
        finish(run=run, state=ImportState.DONE)
        log.info("import done", run=run.pk, stored=run.stored, refused=run.refused)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, OperationalError | InterfaceError):
        return OutOfResources(_("The database does not answer: the import goes on when it is started again."))
    return error


@contextmanager
def _alone(run: ImportRun) -> Iterator[None]:
    """This database session is the one that carries out the run; a process that dies lets go of it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK, run.pk & 0x7FFFFFFF])
        if not cursor.fetchone()[0]:
            raise Conflict(_("This import is running already."))
    try:
        yield
    finally:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK, run.pk & 0x7FFFFFFF])


def import_roots() -> list[Path]:
    """The folders that the pages may import from."""
    return [Path(each).expanduser() for each in settings.SINAR_IMPORT_ROOTS if each]


def folder_within_roots(path: str) -> tuple[Path, Path]:
    """The folder or file of that name and the root that it lies in, links resolved.

    A name that is not absolute is looked for in each of the roots. Raises InvalidValue.
    """
    if not path or "\0" in path or len(path) > 4000:
        raise InvalidValue(_("Name a folder below one of the folders for imports."), field="path")
    for root in import_roots():
        try:
            resolved_root = root.resolve(strict=True)
            place = (resolved_root / path).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        if place.is_relative_to(resolved_root):
            return place, resolved_root
    raise InvalidValue(_("There is no such folder or file below the folders for imports."), field="path")


def offered_folders() -> list[str]:
    """What lies directly in the roots, to choose from; at most MOST_FOLDERS of each."""
    offered = []
    for root in import_roots():
        try:
            names = sorted(each.name for each in root.iterdir() if not each.name.startswith("."))
        except OSError:
            continue
        offered += [str(root), *(str(root / name) for name in names[:MOST_FOLDERS])]
    return offered


@transaction.atomic
def start_folder_import(*, who: Any, path: str, address: str | None = None) -> ImportRun:
    """Have the worker import a folder (or ZIP) below one of the roots; its run.

    An unfinished run of the same folder goes on instead. Raises NotAllowed, InvalidValue.
    """
    _require(who, "pacs.import_folder")
    place, _root = folder_within_roots(path)
    run, _goes_on = run_for(site=who.site, kind=ImportKind.FILES, places=[str(place)], who=who)
    if run.job is None or run.job.state not in {JobState.PENDING, JobState.RUNNING}:
        _enqueue(run)
    _audit(who, run, "import.start", address)
    return run


@transaction.atomic
def resume(*, who: Any, run: ImportRun, address: str | None = None) -> None:
    """Have a stopped or failed run go on where it stopped. Raises NotAllowed, Conflict."""
    _require(who, "pacs.import_folder")
    run = ImportRun.objects.select_for_update(of=("self",)).select_related("job").get(pk=run.pk)
    if not run.can_resume:
        raise Conflict(_("Only an import that was stopped or failed can go on."))
    for place in run.places:
        folder_within_roots(place)
    if run.job is not None and run.job.state == JobState.PENDING:
        Job.objects.filter(pk=run.job.pk).update(next_attempt_at=timezone.now())
        ImportRun.objects.filter(pk=run.pk).update(state=ImportState.WAITING, version=F("version") + 1)
    else:
        _enqueue(run)
    _audit(who, run, "import.resume", address)


@transaction.atomic
def cancel(*, who: Any, run: ImportRun, address: str | None = None) -> None:
    """Stop a run; what is stored stays. Raises NotAllowed, Conflict when there is nothing to stop."""
    _require(who, "pacs.import_folder")
    run = ImportRun.objects.select_for_update(of=("self",)).select_related("job").get(pk=run.pk)
    if not run.is_unfinished or run.job is None:
        raise Conflict(_("This import does not run here: stop it where it was started."))
    jobs.cancel(job=run.job)
    if run.state == ImportState.WAITING:
        ImportRun.objects.filter(pk=run.pk).update(state=ImportState.STOPPED, version=F("version") + 1)
    _audit(who, run, "import.cancel", address)


@jobs.handles(KIND)
def run_import_job(job: Job) -> None:
    """Carry out a folder run, as long as nobody cancels its job."""
    run = ImportRun.objects.select_related("site", "user").get(pk=job.arguments["run"])
    stop = threading.Event()
    last = 0.0

    def alive(progress: Progress) -> None:
        nonlocal last
        if stop.is_set() or time.monotonic() - last < LEASE_EVERY:
            return
        last = time.monotonic()
        try:
            jobs.extend_lease(job=job, progress=progress.handled, total=progress.found)
        except RadiologyError:
            stop.set()

    try:
        found = [folder_within_roots(place) for place in run.places]
    except RadiologyError as error:
        ImportRun.objects.filter(pk=run.pk).update(
            state=ImportState.FAILED, error=error.message, version=F("version") + 1
        )
        raise
    listing = listing_of([place for place, _root in found], within=[root for _place, root in found])
    carry_out(run=run, listing=listing, readers=READERS_OF_JOB, alive=alive, stop=stop)


def _enqueue(run: ImportRun) -> None:
    run.job = jobs.enqueue(kind=KIND, arguments={"run": run.pk}, ordering_key=f"import:{run.pk}", site=run.site)
    ImportRun.objects.filter(pk=run.pk).update(
        job=run.job, state=ImportState.WAITING, error="", version=F("version") + 1
    )


def _require(who: Any, right: str) -> None:
    if not who.may("studies.write") or not who.has_perm(right):
        raise NotAllowed(_("You may not do this: ask your administrator for the right to import."))


def _audit(who: Any, run: ImportRun, event: str, address: str | None) -> None:
    audit.record(
        event=event,
        action=AuditAction.EXECUTE,
        who=who,
        address=address,
        site_id=run.site_id,
        detail={"import": str(run.public_id)},
    )


def run_of(*, who: Any, public_id: Any) -> ImportRun:
    """One run. Raises NotFound when it is not there or not for `who` to see."""
    run = ImportRun.objects.visible_to(who).select_related("site", "user", "job").filter(public_id=public_id).first()
    if run is None:
        raise NotFound(_("This import is not here, or not for you to see."))
    return run
