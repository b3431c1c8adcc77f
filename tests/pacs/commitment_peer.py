"""A modality that asks for storage commitment, by pynetdicom alone."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt

from pacs import tasks
from radiology.models import Job, JobState
from radiology.services import jobs
from tests.daemons import free_port, wait_until
from tests.pacs.dimse_client import associate

COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"

Pair = tuple[str, str]
assert tasks, "registers the handlers of jobs"


@dataclass
class Report:
    """One N-EVENT-REPORT as it came."""

    event_type: int
    transaction_uid: str
    committed: set[str]
    failed: dict[str, int]
    retrieve_ae_title: str
    calling_ae_title: str


@dataclass
class Reports:
    """Collects reports; `answer` is the status that each is answered with."""

    received: list[Report] = field(default_factory=list)
    answer: int = 0x0000

    def on_report(self, event: Any) -> tuple[int, None]:
        information: Dataset = event.event_information
        assert event.request.AffectedSOPClassUID == COMMITMENT
        assert event.request.AffectedSOPInstanceUID == INSTANCE
        self.received.append(
            Report(
                event.event_type,
                str(information.TransactionUID),
                {str(each.ReferencedSOPInstanceUID) for each in information.get("ReferencedSOPSequence", [])},
                {
                    str(each.ReferencedSOPInstanceUID): each.FailureReason
                    for each in information.get("FailedSOPSequence", [])
                },
                str(information.get("RetrieveAETitle", "")),
                str(event.assoc.requestor.ae_title).strip(),
            )
        )
        return self.answer, None


def information(pairs: Iterable[Pair], transaction_uid: str | None = None) -> Dataset:
    """The Action Information of a request."""
    data_set = Dataset()
    data_set.TransactionUID = generate_uid() if transaction_uid is None else transaction_uid
    items = []
    for sop_class, sop_instance in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    data_set.ReferencedSOPSequence = items
    return data_set


@contextmanager
def modality(port: int, reports: Reports, *, calling: str = "CT1", **options: Any) -> Iterator[Any]:
    """An association over which commitment is asked for and reported."""
    association = associate(
        port,
        [build_context(COMMITMENT)],
        calling=calling,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.on_report)],
        **options,
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def ask(association: Any, data_set: Dataset, *, action: int = 1, instance: str = INSTANCE) -> int:
    """N-ACTION; its status."""
    status, _ = association.send_n_action(data_set, action, COMMITMENT, instance)
    return int(status.Status)


def ask_and_leave(port: int, pairs: Sequence[Pair], *, calling: str = "CT1", transaction_uid: str | None = None) -> str:
    """Ask, and end the association at once, as most modalities do; the transaction's UID."""
    data_set = information(pairs, transaction_uid)
    with modality(port, Reports(), calling=calling) as association:
        assert ask(association, data_set) == 0x0000
    return str(data_set.TransactionUID)


@contextmanager
def listening(reports: Reports, *, port: int = 0, title: str = "CT1", scp_role: bool = True) -> Iterator[int]:
    """The modality's own listener for reports; its port."""
    ae = AE(ae_title=title)
    if scp_role:
        ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    else:
        ae.add_supported_context(COMMITMENT)
    server: Any = ae.start_server(
        ("127.0.0.1", port or free_port()), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.on_report)]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def make_due() -> None:
    """Let everything that waits for its time be due."""
    Job.objects.filter(state=JobState.PENDING).update(next_attempt_at="2000-01-01T00:00:00Z")


def work_until(condition: Any, *, what: str = "", hurry: bool = True) -> None:
    """Run jobs here, due or (`hurry`) not yet, until `condition` holds."""

    def step() -> bool:
        if hurry:
            make_due()
        jobs.run_due()
        return bool(condition())

    wait_until(step, seconds=120, what=what)
