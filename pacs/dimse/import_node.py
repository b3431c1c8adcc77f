"""Moves in what another archive holds: C-FIND for its studies, then C-GET, or C-MOVE to ourselves, of each."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from pydicom import Dataset
from pydicom.multival import MultiValue

from pacs.dimse import scu_query
from pacs.dimse.message import Status
from pacs.dimse.scu_query import Arrived, Counts, Refused
from pacs.models import ApplicationEntity, ImportRun
from pacs.services.imports import Progress, Stopped, carried_out
from pacs.services.imports_journal import FATE_OF, Fate, Handled, digest_of, known, record
from pacs.services.media import Candidate
from pacs.services.store import Source
from pacs.services.transfer_runs import here_of_study
from radiology.dicom import is_uid
from radiology.errors import Busy, NotAllowed, Unreachable

BATCH = 64
MOST_STUDIES = 100_000
SEARCH_SECONDS = 600.0
# So many studies one after the other that could not be had: the node is gone.
MOST_FAILURES = 5
# A node that has as many associations as it may is asked again after so long.
BUSY_SECONDS = 5.0

T = TypeVar("T")


def days_of(text: str) -> Iterator[str]:
    """The days of `YYYYMMDD` or `YYYYMMDD-YYYYMMDD`, one search each: archives cut long answers off silently."""
    first, _, last = text.partition("-")
    day, end = (datetime.strptime(each, "%Y%m%d").date() for each in (first, last or first))  # noqa: DTZ007
    while day <= end:
        yield f"{day:%Y%m%d}"
        day += timedelta(days=1)


def import_from_node(
    *,
    run: ImportRun,
    node: ApplicationEntity,
    keys: Mapping[str, str],
    alive: Callable[[Progress], None],
    stop: threading.Event,
) -> None:
    """Fetch every study of `node` that matches, one after the other, and write down what became of it.

    A study that was fetched whole is in the journal: it is not fetched again when the run goes on.
    Raises Stopped, Unreachable when the node is gone, and what `carried_out` raises.
    """
    with carried_out(run):
        _NodeImport(run, node, keys, alive, stop).work()


class _NodeImport:
    def __init__(
        self,
        run: ImportRun,
        node: ApplicationEntity,
        keys: Mapping[str, str],
        alive: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._run = run
        self._node = node
        self._keys = keys
        self._alive = alive
        self._stop = stop
        self._progress = Progress()
        self._arrived: list[Handled] = []
        self._failures = 0
        self._gets = True
        # Of the study that is being fetched: what came by C-GET, and what of it we could not take.
        self._told: set[str] = set()
        self._refused: set[str] = set()

    def work(self) -> None:
        for study, sop_classes in self._studies():
            self._require_going_on()
            mark = Candidate(f"{self._node.title}/{study}", 0, 0, lambda: iter(()))
            by = known(run=self._run, digests=[digest_of(mark)]).get(digest_of(mark))
            if by is not None:
                if by != self._run.pk:
                    here = here_of_study(site_id=self._run.site_id, study_instance_uid=study)
                    record(run=self._run, handled=[], done_before=len(here))
                continue
            self._told.clear()
            self._refused.clear()
            try:
                whole = self._when_there_is_room(partial(self._fetch, study, sop_classes))
            except Refused as refused:
                self._refuse(f"{self._node.title}/{study}", refused.message, study)
                whole, self._failures = False, self._failures + 1
            except Unreachable as error:
                self._refuse(f"{self._node.title}/{study}", error.message, study)
                whole, self._failures = False, self._failures + 1
            else:
                self._failures = 0
            self._store_report(done=digest_of(mark) if whole else "")
            if self._failures >= MOST_FAILURES:
                raise Unreachable(f"{self._node.title} let {MOST_FAILURES} studies fail one after the other.")

    def _studies(self) -> Iterator[tuple[str, list[str]]]:
        """The Study Instance UIDs, each once, with the SOP classes if the node tells them.

        A range of days is asked for day by day.
        """
        seen: set[str] = set()
        for day in list(days_of(self._keys["StudyDate"])) if self._keys.get("StudyDate") else [""]:
            for study, sop_classes in self._when_there_is_room(partial(self._found, day)):
                if not is_uid(study):
                    raise Unreachable(f"{self._node.title} answers a search with what was not asked for.")
                if study not in seen:
                    seen.add(study)
                    yield study, sop_classes

    def _found(self, day: str) -> list[tuple[str, list[str]]]:
        answers = scu_query.find(
            node=self._node,
            level="STUDY",
            keys={**self._keys, **({"StudyDate": day} if day else {})},
            returned=["SOPClassesInStudy"],
            limit=MOST_STUDIES,
            seconds=SEARCH_SECONDS,
            beat=self._require_going_on,
        )
        with contextlib.closing(answers):
            return [(str(answer.get("StudyInstanceUID") or ""), _classes(answer)) for answer in answers]

    def _when_there_is_room(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except Busy:
                self._stop.wait(BUSY_SECONDS)
                self._require_going_on()

    def _fetch(self, study: str, sop_classes: list[str]) -> bool:
        """Whether everything of the study is here now. What C-GET cannot bring, C-MOVE may."""
        counts = self._get(study, sop_classes) if self._gets else None
        if counts is None:
            counts = self._move(study)
        elif counts.failed and self._node.may_store:
            with contextlib.suppress(Refused):
                counts = self._move(study)
        for uid in set(counts.failed_uids) - self._refused:
            self._refuse(f"{self._node.title}/{study}/{uid}", "The node could not send it.", study)
        if counts.failed > len(counts.failed_uids) and not counts.failed_uids:
            said = f": “{counts.comment}”" if counts.comment else "."
            self._refuse(f"{self._node.title}/{study}", f"The node could not send {counts.failed} objects{said}", study)
        return not counts.failed

    def _get(self, study: str, sop_classes: list[str]) -> Counts | None:
        """None when the node offers no C-GET, or breaks off where it may yet send (C-MOVE)."""
        try:
            return self._follow(
                scu_query.get(
                    node=self._node,
                    source=Source.of_node(self._node),
                    study_instance_uid=study,
                    sop_class_uids=sop_classes,
                    arrived=lambda arrived: self._note(study, arrived),
                    watch=self._watch,
                )
            )
        except Refused as refused:
            if refused.status != Status.SOP_CLASS_NOT_SUPPORTED:
                raise
            self._gets = False
        except Busy:
            raise
        except Unreachable:
            if not self._node.may_store:
                raise
        return None

    def _move(self, study: str) -> Counts:
        """C-MOVE to ourselves: what came is seen in the archive."""
        if not self._node.may_store:
            raise NotAllowed(f"{self._node.title} may not send images here: allow it in the administration first.")
        before = here_of_study(site_id=self._run.site_id, study_instance_uid=study)
        counts = self._follow(
            scu_query.move(
                node=self._node,
                destination=settings.DIMSE["AE_TITLE"],
                study_instance_uid=study,
                watch=self._watch,
            )
        )
        for uid, size in here_of_study(site_id=self._run.site_id, study_instance_uid=study).items():
            if uid in self._told:
                continue
            fate = Fate.UNCHANGED if uid in before else Fate.STORED
            self._add(Handled(f"{self._node.title}/{study}/{uid}", fate, "", size, "", study))
        return counts

    def _follow(self, counts: Iterator[Counts]) -> Counts:
        last = Counts()
        for each in counts:
            last = each
            self._alive(self._progress)
        return last

    # What came

    def _note(self, study: str, arrived: Arrived) -> None:
        name = f"{self._node.title}/{study}/{arrived.sop_instance_uid}"
        if arrived.stored is None:
            self._refused.add(arrived.sop_instance_uid)
            self._refuse(name, arrived.error, study)
            return
        fate = FATE_OF[arrived.stored.outcome]
        self._told.add(arrived.sop_instance_uid)
        self._add(Handled(name, fate, arrived.stored.reason, arrived.size, "", study))

    def _refuse(self, name: str, reason: str, study: str) -> None:
        self._add(Handled(name, Fate.REFUSED, reason, 0, "", study))

    def _add(self, handled: Handled) -> None:
        self._arrived.append(handled)
        if len(self._arrived) >= BATCH:
            self._store_report()

    def _store_report(self, *, done: str = "") -> None:
        handled, self._arrived = self._arrived, []
        record(run=self._run, handled=handled, done=[done] if done else [])
        self._progress.handled += len(handled)
        self._progress.bytes_read += sum(each.size for each in handled)

    def _watch(self) -> bool:
        self._require_going_on()
        self._alive(self._progress)
        return False

    def _require_going_on(self) -> None:
        if self._stop.is_set():
            raise Stopped("The import was stopped: it goes on from here when it is started again.")


def _classes(answer: Dataset) -> list[str]:
    value = answer.get("SOPClassesInStudy") or []
    return [str(each) for each in (value if isinstance(value, MultiValue) else [value])]
