"""Storage commitment (PS3.4 Annex J) by the real daemon, asked for and received by pynetdicom."""

import struct
from io import BytesIO
from typing import Any

import pytest
from pydicom import FileDataset
from pydicom.uid import UID, CTImageStorage, ImplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import N_ACTION

from pacs.dimse.verification import VERIFICATION
from pacs.models import CommitmentState, Location, RemovalCode, ReportedOver, StorageCommitment, Study, Volume
from pacs.services import removal
from pacs.services.commitment import report_again
from pacs.storage import backend, folder_of
from radiology.models import AuditEvent, Job, JobState
from tests.daemons import Daemon, dimse_daemon, free_port, wait_until
from tests.factories import make_node, make_user
from tests.pacs.commitment_peer import (
    COMMITMENT,
    INSTANCE,
    Pair,
    Reports,
    ask,
    ask_and_leave,
    information,
    listening,
    modality,
    work_until,
)
from tests.pacs.dimse_client import associate, contexts_of, of_data_set, store, store_over
from tests.pacs.objects import ct


@pytest.fixture(autouse=True)
def archive(committed_db: None) -> None:
    """Daemons see what tests write."""


@pytest.fixture
def node() -> Any:
    """The modality, registered with an address where nobody listens at first."""
    return make_node("CT1", port=free_port())


def images(number: int, **attributes: Any) -> list[FileDataset]:
    study, series = generate_uid(), generate_uid()
    return [
        ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=n + 1, seed=n, **attributes)
        for n in range(number)
    ]


def sent(port: int, data_sets: list[FileDataset], *, calling: str = "CT1") -> list[Pair]:
    """Store them over the network; what to ask commitment for."""
    objects = [of_data_set(each) for each in data_sets]
    assert set(store(port, objects, calling=calling).values()) == {0x0000}
    return [(each.sop_class_uid, each.sop_instance_uid) for each in objects]


def uids(pairs: list[Pair]) -> set[str]:
    return {uid for _, uid in pairs}


def flip(sop_instance_uid: str) -> None:
    """Change the last byte of a stored file."""
    location = Location.objects.current().get(instance_ref__sop_instance_uid=sop_instance_uid)
    path = folder_of(location.volume) / location.path
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# The report and its ways


def test_a_report_comes_over_the_association_that_is_still_open(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(3))
    reports = Reports()
    with modality(dimse_server.port, reports) as association:
        asked = information(pairs)
        assert ask(association, asked) == 0x0000
        row = StorageCommitment.objects.get(transaction_uid=asked.TransactionUID)
        work_until(lambda: reports.received, what="the report", hurry=False)
        wait_until(lambda: StorageCommitment.objects.get(pk=row.pk).state == CommitmentState.REPORTED)
    [report] = reports.received
    assert report.event_type == 1 and report.transaction_uid == asked.TransactionUID
    assert report.committed == uids(pairs) and report.failed == {}
    assert report.retrieve_ae_title == "MINIPACS"
    row.refresh_from_db()
    assert row.reported_over == ReportedOver.SAME_ASSOCIATION and row.number_of_failed == 0
    work_until(
        lambda: not Job.objects.filter(kind__contains="commitment").exclude(state=JobState.DONE).exists(),
        what="jobs that find nothing left to tell",
    )
    assert len(reports.received) == 1


def test_other_requests_are_served_while_a_report_is_awaited(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(1))
    later = [of_data_set(each) for each in images(3)]
    reports = Reports()
    association = associate(
        dimse_server.port,
        [build_context(COMMITMENT), *contexts_of(later)],
        calling="CT1",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.on_report)],
    )
    asked = [information(pairs), information(pairs)]
    assert [ask(association, each) for each in asked] == [0x0000, 0x0000]
    assert [store_over(association, each).Status for each in later] == [0x0000] * 3
    work_until(lambda: len(reports.received) == 2, what="both reports", hurry=False)
    assert [store_over(association, each).Status for each in later] == [0x0000] * 3
    association.release()
    assert {each.transaction_uid for each in reports.received} == {str(each.TransactionUID) for each in asked}


def test_a_report_comes_over_a_new_association_when_that_is_closed(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(2))
    reports = Reports()
    with listening(reports, port=node.port):
        uid = ask_and_leave(dimse_server.port, pairs)
        wait_until(lambda: StorageCommitment.objects.get(transaction_uid=uid).association_until is None)
        work_until(lambda: reports.received, what="the report", hurry=False)
    [report] = reports.received
    assert report.event_type == 1 and report.committed == uids(pairs) and report.calling_ae_title == "MINIPACS"
    row = StorageCommitment.objects.get(transaction_uid=uid)
    assert row.state == CommitmentState.REPORTED and row.reported_over == ReportedOver.NEW_ASSOCIATION
    assert row.node == node and row.reported_at is not None
    events = AuditEvent.objects.filter(event__in=["dicom.commitment", "commitment.checked"])
    assert events.count() == 2 and all(each.succeeded for each in events)


def test_a_requester_calls_us_by_another_title_and_is_called_by_that(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(1))
    reports = Reports()
    with listening(reports, port=node.port, scp_role=False):
        with modality(dimse_server.port, Reports(), called="MINIPACS_MWL") as association:
            ask(association, information(pairs))
        work_until(lambda: reports.received, what="the report")
    assert reports.received[0].calling_ae_title == "MINIPACS_MWL"


def test_a_requester_that_is_down_gets_its_reports_afterwards(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(2))
    asked = [ask_and_leave(dimse_server.port, pairs) for _ in range(2)]
    work_until(lambda: Job.objects.filter(kind="pacs.report_commitment", attempts__gte=3).exists(), what="tries")
    rows = StorageCommitment.objects.filter(transaction_uid__in=asked)
    assert {row.state for row in rows} == {CommitmentState.CHECKED}
    assert any("does not answer" in row.remark for row in rows)
    failing = Job.objects.filter(kind="pacs.report_commitment", attempts__gte=3)
    assert failing.count() == 1, "a node that is down is asked by one job at a time"
    assert "does not answer" in failing[0].error
    reports = Reports()
    with listening(reports, port=node.port):
        work_until(lambda: len(reports.received) == 2, what="both reports")
    assert {each.transaction_uid for each in reports.received} == set(asked)
    assert {row.state for row in rows.all()} == {CommitmentState.REPORTED}


def test_a_report_that_is_refused_is_given_up_visibly_and_sent_again_by_a_person(
    dimse_server: Daemon, node: Any
) -> None:
    uid = ask_and_leave(dimse_server.port, sent(dimse_server.port, images(1)))
    reports = Reports(answer=0x0110)
    with listening(reports, port=node.port):
        work_until(lambda: Job.objects.filter(state=JobState.DEAD).exists(), what="giving up")
        row = StorageCommitment.objects.select_related("job").get(transaction_uid=uid)
        assert row.state == CommitmentState.CHECKED and row.job is not None and "0110" in row.job.error
        reports.answer = 0x0000
        report_again(who=make_user(is_superuser=True), commitment=row)
        work_until(lambda: StorageCommitment.objects.get(pk=row.pk).state == CommitmentState.REPORTED)
    assert len(reports.received) == 6


def test_an_unknown_requester_is_told_over_its_association_or_not_at_all(dimse_server: Daemon) -> None:
    pairs = sent(dimse_server.port, images(1), calling="STRANGER")
    reports = Reports()
    with modality(dimse_server.port, reports, calling="STRANGER") as association:
        ask(association, information(pairs))
        work_until(lambda: reports.received, what="the report", hurry=False)
    uid = ask_and_leave(dimse_server.port, pairs, calling="STRANGER")
    work_until(lambda: StorageCommitment.objects.get(transaction_uid=uid).state == CommitmentState.UNREPORTED)
    assert "no registered node" in StorageCommitment.objects.get(transaction_uid=uid).remark


def test_a_killed_daemon_loses_no_report(start: Any, node: Any) -> None:
    daemon = start(dimse_daemon())
    pairs = sent(daemon.port, images(2))
    data_set = information(pairs)
    with modality(daemon.port, Reports()) as association:
        assert ask(association, data_set) == 0x0000
        daemon.kill()
    reports = Reports()
    with listening(reports, port=node.port):
        work_until(lambda: reports.received, what="the report")
    assert reports.received[0].transaction_uid == data_set.TransactionUID
    assert reports.received[0].committed == uids(pairs)


def test_a_worker_of_its_own_checks_and_reports(dimse_server: Daemon, job_worker: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(1))
    reports = Reports()
    with listening(reports, port=node.port):
        ask_and_leave(dimse_server.port, pairs)
        wait_until(lambda: reports.received, seconds=120, what="the report")
    assert reports.received[0].committed == uids(pairs)


# What is committed


def result_of(port: int, node: Any, pairs: list[Pair]) -> dict[str, int]:
    """Ask, and what the report says has failed, over an association of its own."""
    reports = Reports()
    with listening(reports, port=node.port):
        ask_and_leave(port, pairs)
        work_until(lambda: reports.received, what="the report")
    [report] = reports.received
    assert report.event_type == (2 if report.failed else 1)
    assert report.committed | set(report.failed) == uids(pairs) and not report.committed & set(report.failed)
    return report.failed


def test_each_object_that_is_not_safe_here_is_named_with_its_reason(dimse_server: Daemon, node: Any) -> None:
    good, damaged, missing, other_class = (each for each in sent(dimse_server.port, images(4)))
    flip(damaged[1])
    location = Location.objects.current().get(instance_ref__sop_instance_uid=missing[1])
    backend(location.volume).remove(location.path)
    unknown = (CTImageStorage, generate_uid())
    unsupported = (VERIFICATION, generate_uid())
    failed = result_of(
        dimse_server.port, node, [good, damaged, missing, (MRImageStorage, other_class[1]), unknown, unsupported]
    )
    assert failed == {
        damaged[1]: 0x0110,
        missing[1]: 0x0110,
        other_class[1]: 0x0119,
        unknown[1]: 0x0112,
        unsupported[1]: 0x0122,
    }
    row = StorageCommitment.objects.get()
    assert row.number_of_failed == 5 and "SHA-256" in next(
        text for _, uid, _, text in row.failures if uid == damaged[1]
    )


def test_other_pixels_under_a_known_uid_are_not_committed_to_whoever_sent_them(dimse_server: Daemon, node: Any) -> None:
    first = images(1)[0]
    pairs = sent(dimse_server.port, [first])
    other = ct(
        seed=99, **{key: first[key].value for key in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    )
    second = make_node("CT2", port=free_port())
    assert sent(dimse_server.port, [other], calling="CT2") == pairs
    assert result_of(dimse_server.port, node, pairs) == {}
    reports = Reports()
    with listening(reports, port=second.port, title="CT2"):
        ask_and_leave(dimse_server.port, pairs, calling="CT2")
        work_until(lambda: reports.received, what="the report")
    assert reports.received[0].failed == {pairs[0][1]: 0x0110}


def test_deleted_and_rejected_objects_are_not_there_and_the_note_is(dimse_server: Daemon, node: Any) -> None:
    chief = make_user("chief", is_superuser=True)
    rejected = sent(dimse_server.port, images(2))
    deleted = sent(dimse_server.port, images(1, PatientID="MRN-2", PatientName="OTHER"))
    study = Study.objects.get(series__instances__sop_instance_uid=rejected[0][1])
    instances = list(study.series.get().instances.filter(sop_instance_uid=rejected[0][1]))
    made = removal.reject(who=chief, study=study, code=RemovalCode.QUALITY, instances=instances)
    removal.delete_study(
        who=chief, study=Study.objects.get(series__instances__sop_instance_uid=deleted[0][1]), reason="test"
    )
    note = ("1.2.840.10008.5.1.4.1.1.88.59", made.note_sop_instance_uid)
    assert result_of(dimse_server.port, node, [*rejected, *deleted, note]) == {
        rejected[0][1]: 0x0112,
        deleted[0][1]: 0x0112,
    }


def test_a_volume_that_does_not_answer_is_waited_for_and_then_said(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(1))
    Volume.objects.update(path="/nonexistent/volume")
    ask_and_leave(dimse_server.port, pairs)
    check = Job.objects.filter(kind="pacs.check_commitment")
    work_until(lambda: check.filter(attempts__gte=3).exists())
    assert check.get().state != JobState.DEAD and "not there" in check.get().error
    reports = Reports()
    with listening(reports, port=node.port):
        work_until(lambda: reports.received, what="the report")
    assert reports.received[0].failed == {pairs[0][1]: 0x0213}


def test_the_same_request_again_is_reported_again_and_another_under_its_uid_is_not(
    dimse_server: Daemon, node: Any
) -> None:
    pairs = sent(dimse_server.port, images(2))
    uid = generate_uid()
    reports = Reports()
    with listening(reports, port=node.port):
        ask_and_leave(dimse_server.port, pairs, transaction_uid=uid)
        work_until(lambda: len(reports.received) == 1)
        ask_and_leave(dimse_server.port, pairs, transaction_uid=uid)
        work_until(lambda: len(reports.received) == 2)
        assert StorageCommitment.objects.count() == 1
        ask_and_leave(dimse_server.port, pairs[:1], transaction_uid=uid)
        work_until(lambda: len(reports.received) == 3)
    assert [each.committed for each in reports.received[:2]] == [uids(pairs)] * 2
    assert reports.received[2].failed == {pairs[0][1]: 0x0131}


def test_twice_at_once_is_one_request(dimse_server: Daemon, node: Any) -> None:
    pairs = sent(dimse_server.port, images(1))
    uid = generate_uid()
    for _ in range(3):
        ask_and_leave(dimse_server.port, pairs, transaction_uid=uid)
    assert StorageCommitment.objects.count() == 1 and Job.objects.filter(kind="pacs.check_commitment").count() == 1


# What is asked wrongly


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        pytest.param({}, {"action": 2}, 0x0123, id="another action"),
        pytest.param({}, {"instance": "1.2.3"}, 0x0112, id="another instance"),
        pytest.param({"ReferencedSOPSequence": []}, {}, 0x0115, id="no objects"),
        pytest.param({"ReferencedSOPSequence": None}, {}, 0x0115, id="no sequence"),
        pytest.param({"TransactionUID": None}, {}, 0x0115, id="no transaction"),
        pytest.param({"TransactionUID": "../../etc/passwd"}, {}, 0x0115, id="a path for a transaction"),
        pytest.param({"pairs": [(CTImageStorage, "")]}, {}, 0x0115, id="an object without UID"),
        pytest.param({"pairs": [("", "1.2.3")]}, {}, 0x0115, id="an object without class"),
        pytest.param({"pairs": [(CTImageStorage, "1.2.%'; DROP")]}, {}, 0x0115, id="nonsense"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_malformed_request_is_refused_at_the_door(
    dimse_server: Daemon, node: Any, change: dict[str, Any], options: dict[str, Any], expected: int
) -> None:
    data_set = information(change.pop("pairs", [(CTImageStorage, "1.2.3")]))
    for keyword, value in change.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    with modality(dimse_server.port, Reports()) as association:
        assert ask(association, data_set, **options) == expected
    assert not StorageCommitment.objects.exists() and not Job.objects.exists()


def raw_information(transaction_uid: str, number: int) -> bytes:
    """The Action Information of a request for many objects, Implicit VR Little Endian."""

    def element(group: int, number: int, value: bytes) -> bytes:
        value += bytes(len(value) % 2)
        return struct.pack("<HHI", group, number, len(value)) + value

    items = b"".join(
        element(
            0xFFFE,
            0xE000,
            element(0x0008, 0x1150, CTImageStorage.encode())
            + element(0x0008, 0x1155, f"1.2.826.0.1.3680043.8.498.{10**37 + each}".encode()),
        )
        for each in range(number)
    )
    return element(0x0008, 0x1195, transaction_uid.encode()) + element(0x0008, 0x1199, items)


def ask_raw(association: Any, data: bytes) -> int:
    """N-ACTION with an encoded data set; its status."""
    request = N_ACTION()
    request.MessageID, request.ActionTypeID = 1, 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = UID(COMMITMENT), UID(INSTANCE)
    request.ActionInformation = BytesIO(data)
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return int(response.Status)


def test_megabytes_of_objects_are_taken_up_to_a_limit(dimse_server: Daemon, node: Any) -> None:
    """10,000 objects are a megabyte; 40,000 are more than one transaction may comprise."""
    association = associate(dimse_server.port, [build_context(COMMITMENT, ImplicitVRLittleEndian)], calling="CT1")
    asked = raw_information("1.2.3.1", 10_000)
    assert len(asked) > 1_000_000
    assert ask_raw(association, asked) == 0x0000
    assert ask_raw(association, raw_information("1.2.3.2", 20_001)) == 0x0213
    assert ask_raw(association, raw_information("1.2.3.3", 40_000)) == 0x0213
    assert ask_raw(association, asked[:-1]) == 0x0110, "a data set that is cut short"
    association.abort()
    rows = StorageCommitment.objects.all()
    work_until(lambda: rows.get().state == CommitmentState.CHECKED, what="the check")
    assert rows.get().number_of_requested == rows.get().number_of_failed == 10_000


def test_a_node_may_be_refused(dimse_server: Daemon) -> None:
    make_node("CT1", may_commit=False)
    with modality(dimse_server.port, Reports()) as association:
        assert ask(association, information([(CTImageStorage, "1.2.3")])) == 0x0124
    assert not StorageCommitment.objects.exists()


def test_a_node_that_takes_no_reports_is_said_to(dimse_server: Daemon, node: Any) -> None:
    ask_and_leave(dimse_server.port, sent(dimse_server.port, images(1)))
    ae = AE(ae_title="CT1")
    ae.add_supported_context(VERIFICATION)
    server: Any = ae.start_server(("127.0.0.1", node.port), block=False)
    try:
        work_until(lambda: Job.objects.filter(state=JobState.DEAD).exists())
    finally:
        server.shutdown()
    assert "takes no storage commitment reports" in Job.objects.get(state=JobState.DEAD).error
