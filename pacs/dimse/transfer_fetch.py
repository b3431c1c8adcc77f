"""Carries out a transfer that fetches: what the node says it holds is asked for, as far as it is not here yet.

A node that can be searched is asked for its instances first, so that a transfer which goes on after a
crash gets only what is missing, and each object's fate is known. One that cannot is asked for the study.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import structlog
from django.conf import settings

from pacs.dimse import scu_query
from pacs.dimse.message import Status
from pacs.dimse.scu_query import Arrived, Counts, Refused
from pacs.dimse.transfer_progress import Progress
from pacs.models import ApplicationEntity, Transfer, TransferDirection, TransferMethod, TransferOutcome
from pacs.models.transfer import KINDS
from pacs.services.filing import wait_until_filed
from pacs.services.store import Source, StoreOutcome
from pacs.services.transfer_runs import (
    Outcome,
    begin_run,
    finish,
    held,
    here,
    here_of_study,
    of_job,
    set_method,
    set_total,
)
from pacs.services.transfers import MOST_OBJECTS
from radiology.dicom import is_uid
from radiology.errors import NotAllowed, RadiologyError, TooLarge, Unreachable
from radiology.models import Job
from radiology.services.jobs import handles

log = structlog.get_logger(__name__)

MOST_SERIES = 5000
PLAN_SECONDS = 300.0
# UIDs of one request: lists of UIDs are matched by every archive, endless ones are not.
LIST = 50
# What our own door acknowledged a moment ago.
FILED_SECONDS = 5.0
LOOK_SECONDS = 1.0


@dataclass
class Selection:
    """What one request asks for: the study, series of it, or instances of one series."""

    series: Sequence[str] = ()
    instances: Sequence[str] = ()


@dataclass
class Plan:
    """What the node holds of the study: SOP Instance UIDs by series, and the SOP classes."""

    series: dict[str, set[str]] = field(default_factory=dict)
    sop_classes: set[str] = field(default_factory=set)

    @property
    def instances(self) -> set[str]:
        return {uid for uids in self.series.values() for uid in uids}


@handles(KINDS[TransferDirection.FETCH])
def run(job: Job) -> None:
    """Fetch what is not here yet. Raises Unreachable when the node cannot be had: tried again later."""
    transfer = of_job(job=job)
    if transfer is None:
        return
    node = transfer.node
    if node is None or not node.is_active:
        raise NotAllowed("The node is gone, or not active any more.")
    begin_run(transfer=transfer)
    with Progress(transfer, job) as progress:
        try:
            _Fetching(transfer, node, progress).work()
        except Refused as refused:
            if refused.may_pass:
                raise
            raise RadiologyError(_in_words(node, refused)) from refused
    finish(transfer=transfer)
    log.info("transfer done", transfer=transfer.pk, completed=transfer.completed, failed=transfer.failed)


def _in_words(node: ApplicationEntity, refused: Refused) -> str:
    if refused.status != Status.MOVE_DESTINATION_UNKNOWN:
        return refused.message
    ports = " or ".join(str(port) for port in settings.SINAR_DICOM_PORTS)
    return (
        f"{node.title} does not know where to send to (A801): register the AE title {settings.DIMSE['AE_TITLE']} "
        f"there, with the address of this server and port {ports}."
    )


class _Fetching:
    def __init__(self, transfer: Transfer, node: ApplicationEntity, progress: Progress) -> None:
        self._transfer = transfer
        self._node = node
        self._progress = progress
        self._plan: Plan | None = None
        self._missing: set[str] = set()
        self._refused_by_node: set[str] = set()
        self._refused_by_us: set[str] = set()
        self._comment = ""
        self._has_come = False
        self._next_look = 0.0
        self._seen = 0

    def work(self) -> None:
        self._plan = self._ask()
        if self._plan is not None:
            wanted = self._plan.instances
            if not wanted:
                raise RadiologyError(f"{self._node.title} does not hold this study, or nothing of the selection.")
            set_total(transfer=self._transfer, total=len(wanted))
            self._missing = set(wanted)
            self._settle_arrived()
            self._progress.restart()
        method = self._transfer.method
        has_got = method != TransferMethod.C_MOVE and self._wants_more() and self._get(may_lack=not method)
        if method != TransferMethod.C_GET and self._wants_more():
            self._move(second_try=has_got)
        self._settle_missing()

    def _wants_more(self) -> bool:
        return bool(self._missing) if self._plan is not None else not self._has_come

    # What the node holds

    def _ask(self) -> Plan | None:
        """None when the node does not answer searches for instances. Chosen ones that it does not hold are in it."""
        study = self._transfer.study_instance_uid
        chosen = set(self._transfer.sop_instance_uids)
        plan, count = Plan(), 0
        try:
            series = self._transfer.series_instance_uids or [
                uid for uid, _ in self._found("SERIES", {"StudyInstanceUID": study}, MOST_SERIES)
            ]
            for each in series:
                keys = {"StudyInstanceUID": study, "SeriesInstanceUID": each}
                for uid, sop_class in self._found("IMAGE", keys, MOST_OBJECTS):
                    if chosen and uid not in chosen:
                        continue
                    plan.series.setdefault(each, set()).add(uid)
                    plan.sop_classes.add(sop_class)
                    count += 1
                    if count > MOST_OBJECTS:
                        raise TooLarge(f"More than {MOST_OBJECTS} images: fetch the series one by one.")
        except Refused as refused:
            if refused.may_pass:
                raise
            log.info("transfer without a plan", transfer=self._transfer.pk, status=refused.status)
            return None
        for uids in plan.series.values():
            uids |= chosen
        return plan

    def _found(self, level: str, keys: dict[str, str], most: int) -> Iterator[tuple[str, str]]:
        """Unique keys and SOP classes. Raises Unreachable for answers about something else."""
        answers = scu_query.find(
            node=self._node,
            level=level,
            keys=keys,
            returned=["SOPClassUID"] if level == "IMAGE" else [],
            limit=most + 1,
            seconds=PLAN_SECONDS,
            beat=self._progress.beat,
        )
        with contextlib.closing(answers):
            for number, answer in enumerate(answers, 1):
                uid = str(answer.get(scu_query.UNIQUE_KEYS[level]) or "")
                same = all(str(answer.get(name) or value) == value for name, value in keys.items())
                if not is_uid(uid) or not same or number > most:
                    raise Unreachable(f"{self._node.title} answers a search with what was not asked for.")
                yield uid, str(answer.get("SOPClassUID") or "")

    # Requests

    def _requests(self) -> Iterator[Selection]:
        """The selections to ask for: all at once while nothing is here, else series or instances that are missing."""
        series, instances = self._transfer.series_instance_uids, self._transfer.sop_instance_uids
        if self._plan is not None and (instances or len(self._missing) < len(self._plan.instances)):
            for uid, there in self._plan.series.items():
                missing = sorted(there & self._missing)
                if len(missing) == len(there) and not instances:
                    yield Selection([uid])
                    continue
                for start in range(0, len(missing), LIST):
                    yield Selection([uid], missing[start : start + LIST])
        elif instances:
            for start in range(0, len(instances), LIST):
                yield Selection(series, instances[start : start + LIST])
        else:
            for start in range(0, len(series) or 1, LIST):
                yield Selection(series[start : start + LIST])

    def _get(self, *, may_lack: bool) -> bool:
        """C-GET; False when the node does not offer it and need not."""
        source = Source.of_node(self._node)
        for selection in list(self._requests()):
            try:
                self._follow(
                    scu_query.get(
                        node=self._node,
                        source=source,
                        study_instance_uid=self._transfer.study_instance_uid,
                        sop_class_uids=self._plan.sop_classes if self._plan else (),
                        arrived=self._arrived,
                        watch=self._watch_get,
                        series_instance_uids=selection.series,
                        sop_instance_uids=selection.instances,
                    )
                )
            except Refused as refused:
                if may_lack and refused.status == Status.SOP_CLASS_NOT_SUPPORTED:
                    return False
                raise
            self._uses(TransferMethod.C_GET)
        return True

    def _move(self, *, second_try: bool) -> None:
        """C-MOVE to ourselves. After a C-GET that left objects behind, its refusal fails only those."""
        if not self._node.may_store:
            if second_try:
                return
            raise NotAllowed(f"{self._node.title} may not send images here: allow it in the administration first.")
        if not second_try:
            self._uses(TransferMethod.C_MOVE)
        try:
            for selection in list(self._requests()):
                self._follow(
                    scu_query.move(
                        node=self._node,
                        destination=settings.DIMSE["AE_TITLE"],
                        study_instance_uid=self._transfer.study_instance_uid,
                        watch=self._watch_move,
                        series_instance_uids=selection.series,
                        sop_instance_uids=selection.instances,
                    )
                )
        except Refused as refused:
            if not second_try or refused.may_pass:
                raise
        self._settle_arrived()

    def _uses(self, method: TransferMethod) -> None:
        if self._transfer.method != method:
            set_method(transfer=self._transfer, method=method)

    def _follow(self, counts: Generator[Counts, None, None]) -> None:
        last = Counts()
        with contextlib.closing(counts):
            for last in counts:
                if self._plan is None and last.remaining is not None:
                    self._transfer.total = last.done + last.remaining
                self._progress.beat()
        if self._plan is None:
            set_total(transfer=self._transfer, total=max(last.done, self._transfer.settled))
        self._refused_by_node.update(last.failed_uids)
        self._comment = last.comment or self._comment

    # What came

    def _arrived(self, arrived: Arrived) -> None:
        uid, stored = arrived.sop_instance_uid, arrived.stored
        self._uses(TransferMethod.C_GET)
        self._has_come = True
        outcome = TransferOutcome.COMPLETED
        if stored is None or stored.outcome is StoreOutcome.REFUSED:
            outcome = TransferOutcome.FAILED
            self._refused_by_us.add(uid)
        elif stored.outcome is StoreOutcome.HELD:
            outcome = TransferOutcome.WARNED
        if outcome != TransferOutcome.FAILED:
            self._missing.discard(uid)
        if is_uid(uid):
            self._progress.add(Outcome(uid, outcome, arrived.status, arrived.error, arrived.size))
            self._progress.count_bytes(arrived.size)

    def _watch_get(self) -> bool:
        self._progress.beat()
        return False

    def _watch_move(self) -> bool:
        """Whether anything came in through our own door since the last look."""
        self._progress.beat()
        began = time.monotonic()
        if began < self._next_look:
            return False
        found = self._look()
        now = time.monotonic()
        self._next_look = now + max(LOOK_SECONDS, 20 * (now - began))
        return found

    def _look(self) -> bool:
        site_id = self._transfer.site_id
        if self._plan is not None:
            arrived = here(site_id=site_id, sop_instance_uids=self._missing)
        else:
            arrived = here_of_study(
                site_id=site_id,
                study_instance_uid=self._transfer.study_instance_uid,
                series=self._transfer.series_instance_uids,
                instances=self._transfer.sop_instance_uids,
            )
        new = len(arrived) > (0 if self._plan is not None else self._seen)
        self._seen = len(arrived)
        if new:
            for uid, size in arrived.items():
                self._progress.add(Outcome(uid, TransferOutcome.COMPLETED, size=size))
                self._progress.count_bytes(size if uid in self._missing else 0)
            self._missing -= arrived.keys()
        return new

    def _settle_arrived(self) -> None:
        """What is here, whichever way it came; and what came and was put aside."""
        wait_until_filed(seconds=FILED_SECONDS)
        self._look()
        for uid in held(site_id=self._transfer.site_id, sop_instance_uids=self._missing):
            self._missing.discard(uid)
            self._progress.add(
                Outcome(uid, TransferOutcome.WARNED, error="It contradicts the archive: held for review.")
            )

    def _settle_missing(self) -> None:
        for uid in self._missing - self._refused_by_us:
            said = f": “{self._comment}”" if self._comment else "."
            why = "The node could not send it" if uid in self._refused_by_node else "The node did not send it"
            self._progress.add(Outcome(uid, TransferOutcome.FAILED, error=why + said))
        if self._plan is None:
            for uid in self._refused_by_node - self._refused_by_us:
                self._progress.add(Outcome(uid, TransferOutcome.FAILED, error="The node could not send it."))
