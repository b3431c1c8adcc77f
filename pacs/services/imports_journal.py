"""What a run of an import has done, written with each batch: figures, studies, refusals, the journal."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from pacs.models import ImportedAs, ImportedFile, ImportedStudy, ImportRefusal, ImportRun, ImportState
from pacs.services.media import Candidate
from pacs.services.store import Stored, StoreOutcome
from radiology.models import AuditAction, Job
from radiology.services import audit
from radiology.services.jobs import handles

MOST_REFUSALS = 100_000
JOURNAL_KEPT_FOR = timedelta(days=30)
FORGOTTEN_AT_ONCE = 10_000


class Fate(StrEnum):
    """What became of a file."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    HELD = "held"
    SKIPPED = "skipped"
    REFUSED = "refused"


FATE_OF = {
    StoreOutcome.STORED: Fate.STORED,
    StoreOutcome.UNCHANGED: Fate.UNCHANGED,
    StoreOutcome.HELD: Fate.HELD,
    StoreOutcome.REFUSED: Fate.REFUSED,
}


@dataclass(frozen=True)
class Handled:
    """One file and its fate. `size` is what was read of it; `digest` is empty for what is no file."""

    name: str
    fate: Fate
    reason: str = ""
    size: int = 0
    digest: str = ""
    study_instance_uid: str = ""

    @classmethod
    def of(cls, candidate: Candidate, stored: Stored, *, size: int) -> "Handled":
        """What `store_instances` said of a candidate."""
        return cls(
            candidate.name,
            FATE_OF[stored.outcome],
            stored.reason,
            size,
            digest_of(candidate),
            stored.study_instance_uid,
        )


def digest_of(candidate: Candidate) -> str:
    """What the journal knows a file by: another size or time of change makes it another file."""
    text = f"{candidate.name}\0{candidate.size}\0{candidate.mark}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def known(*, run: ImportRun, digests: Sequence[str]) -> dict[str, int]:
    """Which of the files are in the journal of the run's site, and by which run. A fresh run knows its own only."""
    rows = ImportedFile.objects.filter(site=run.site_id, digest__in=digests)
    if run.fresh:
        rows = rows.filter(run=run)
    return dict(rows.values_list("digest", "run_id"))


@transaction.atomic
def record(
    *,
    run: ImportRun,
    handled: Sequence[Handled],
    done: Sequence[str] = (),
    done_before: int = 0,
    found: int | None = None,
    found_bytes: int | None = None,
    who: Any = None,
    address: str | None = None,
) -> None:
    """Add files whose fate is known to the figures of `run`, all at once.

    They go into the journal, refused ones excepted: the next run tries those again. So do the digests
    in `done`, which stand for more than one file.
    """
    fates = Counter(each.fate for each in handled)
    values: dict[str, Any] = {fate.value: F(fate.value) + number for fate, number in fates.items()}
    if done_before:
        values["done_before"] = F("done_before") + done_before
    if found is not None:
        values |= {"found": found, "found_bytes": found_bytes}
    ImportRun.objects.filter(pk=run.pk).update(
        version=F("version") + 1, bytes_read=F("bytes_read") + sum(each.size for each in handled), **values
    )
    finished = {each.digest for each in handled if each.digest and each.fate is not Fate.REFUSED}
    ImportedFile.objects.bulk_create(
        (ImportedFile(run=run, site_id=run.site_id, digest=digest) for digest in sorted(finished.union(done))),
        update_conflicts=True,
        update_fields=["run"],
        unique_fields=["site", "digest"],
    )
    _record_studies(run, handled, who or run.user or run.agent, address)
    _record_refusals(run, handled)


def _record_studies(run: ImportRun, handled: Sequence[Handled], who: Any, address: str | None) -> None:
    studies: dict[str, Counter[Fate]] = {}
    for each in handled:
        if each.study_instance_uid and each.fate is not Fate.REFUSED:
            studies.setdefault(each.study_instance_uid, Counter())[each.fate] += 1
    for uid in sorted(studies):
        counted = studies[uid]
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {ImportedStudy._meta.db_table} (run_id, study_instance_uid, stored, unchanged, held) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (run_id, study_instance_uid) DO UPDATE SET "
                "stored = pacs_importedstudy.stored + excluded.stored, "
                "unchanged = pacs_importedstudy.unchanged + excluded.unchanged, "
                "held = pacs_importedstudy.held + excluded.held "
                "RETURNING stored = %s",
                [run.pk, uid, counted[Fate.STORED], counted[Fate.UNCHANGED], counted[Fate.HELD], counted[Fate.STORED]],
            )
            first = cursor.fetchone()[0]
        if first and counted[Fate.STORED]:
            audit.record(
                event="import",
                action=AuditAction.CREATE,
                who=who,
                address=address,
                site_id=run.site_id,
                study_instance_uid=uid,
                detail={"import": str(run.public_id), "kind": run.kind},
            )


def _record_refusals(run: ImportRun, handled: Sequence[Handled]) -> None:
    told = [each for each in handled if each.fate in {Fate.REFUSED, Fate.HELD}]
    if not told:
        return
    refused, held = ImportRun.objects.values_list("refused", "held").get(pk=run.pk)
    room = MOST_REFUSALS - (refused + held - len(told))
    ImportRefusal.objects.bulk_create(
        ImportRefusal(
            run=run,
            outcome=ImportedAs.HELD if each.fate is Fate.HELD else ImportedAs.REFUSED,
            name=each.name,
            reason=each.reason,
            study_instance_uid=each.study_instance_uid,
        )
        for each in told[: max(0, room)]
    )


@transaction.atomic
def begin(*, run: ImportRun) -> None:
    """Set a run going, or going on: what was refused before is tried again, and told anew if it fails again."""
    ImportRefusal.objects.filter(run=run, outcome=ImportedAs.REFUSED).delete()
    values: dict[str, Any] = {"refused": 0, "done_before": 0, "state": ImportState.RUNNING, "error": ""}
    if run.started_at is None:
        values["started_at"] = timezone.now()
    ImportRun.objects.filter(pk=run.pk).update(version=F("version") + 1, finished_at=None, **values)
    run.refresh_from_db()


def finish(*, run: ImportRun, state: ImportState, error: str = "") -> None:
    """Write how the run ended."""
    ImportRun.objects.filter(pk=run.pk).update(
        state=state, error=error, finished_at=timezone.now(), version=F("version") + 1
    )
    run.refresh_from_db()


@handles("pacs.forget_imported_files", daily=True)
def forget_imported_files(job: Job | None = None) -> None:
    """Empty the journal of runs that ended a month ago."""
    ended = ImportRun.objects.filter(finished_at__lt=timezone.now() - JOURNAL_KEPT_FOR)
    for run in ended.filter(pk__in=ImportedFile.objects.values("run").distinct()).values_list("pk", flat=True):
        while True:
            rows = ImportedFile.objects.filter(run=run).values("pk")[:FORGOTTEN_AT_ONCE]
            if not ImportedFile.objects.filter(pk__in=list(rows.values_list("pk", flat=True))).delete()[0]:
                break
