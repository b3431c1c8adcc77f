"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3), C-FIND over the wire, against dcmtk and pynetdicom."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    generate_uid,
)
from pynetdicom import AE, build_context, build_role, evt

from pacs.dimse.suboperations import Target, groups
from pacs.dimse.upcoming import Upcoming
from pacs.models import Location
from pacs.storage import open_object
from radiology.models import AuditEvent
from tests.daemons import free_port, wait_until
from tests.factories import make_node, make_site
from tests.pacs.dimse_client import Sent, associate, contexts_of, get, of_data_set, of_file, store
from tests.pacs.objects import bare, ct, real

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


class Destination:
    """A node that receives: what came, with the command's own fields."""

    def __init__(self) -> None:
        self.received: list[Sent] = []
        self.requests: list[Any] = []
        self.associations = 0
        self.answer: Callable[[Any], int] = lambda event: 0x0000

    def on_store(self, event: Any) -> int:
        request = event.request
        self.requests.append(request)
        self.received.append(
            Sent(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue(),
            )
        )
        return self.answer(event)

    def on_association(self, event: Any) -> None:
        self.associations += 1


@contextmanager
def destination(*contexts: tuple[str, list[str]], title: str = "WS1", **node: Any) -> Iterator[Destination]:
    """A registered node that takes these SOP classes and transfer syntaxes."""
    receiver = Destination()
    ae = AE(ae_title=title)
    for sop_class, syntaxes in contexts:
        ae.add_supported_context(sop_class, syntaxes)
    handlers: list[Any] = [(evt.EVT_C_STORE, receiver.on_store), (evt.EVT_ACCEPTED, receiver.on_association)]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    make_node(title, host="127.0.0.1", port=server.server_address[1], **node)
    try:
        yield receiver
    finally:
        server.shutdown()


def move(port: int, to: str = "WS1", model: str = STUDY_ROOT_MOVE, **keys: Any) -> list[tuple[Any, Any]]:
    """All responses of a C-MOVE."""
    association = associate(port, [build_context(model)], calling="REQUESTOR")
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    answers = list(association.send_c_move(identifier, to, model, msg_id=77))
    association.release()
    return answers


def counts(status: Any) -> tuple[int | None, int, int, int]:
    remaining = status.get("NumberOfRemainingSuboperations")
    return (
        remaining,
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def study_of(number: int, **attributes: Any) -> tuple[str, list[Sent]]:
    study, series = generate_uid(), generate_uid()
    return study, [
        of_data_set(
            ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number - n, seed=n, **attributes)
        )
        for n in range(number)
    ]


def path_of(sent: Sent) -> str:
    location = Location.objects.select_related("volume").get(instance_ref__sop_instance_uid=sent.sop_instance_uid)
    with open_object(location=location) as file:
        return str(Path(file.name).resolve())


def is_open(path: str) -> bool:
    """Whether any process has the file open."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) == path:
                return True
    return False


def test_a_study_is_moved_in_order_as_stored_with_counts_and_originator(dimse_server):
    study, objects = study_of(3)
    store(dimse_server.port, objects)
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        answers = move(dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    assert receiver.received == list(reversed(objects))  # by instance number
    assert receiver.associations == 1
    assert [status.Status for status, _ in answers] == [0xFF00] * 3 + [0x0000]
    assert [counts(status) for status, _ in answers] == [(2, 1, 0, 0), (1, 2, 0, 0), (0, 3, 0, 0), (None, 3, 0, 0)]
    assert all(not identifier for _, identifier in answers)
    request = receiver.requests[0]
    assert (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID) == ("REQUESTOR", 77)
    event = AuditEvent.objects.get(event="dicom.move")
    assert (event.study_instance_uid, event.detail["destination"]) == (study, "WS1")
    assert event.detail["instances"]["completed"] == 3


@pytest.mark.parametrize(
    ("level", "expected"), [("PATIENT", {0, 1, 2, 3}), ("STUDY", {0, 1, 2}), ("SERIES", {0, 1}), ("IMAGE", {0})]
)
def test_patient_root_moves_each_level(dimse_server, level, expected):
    study, series = generate_uid(), generate_uid()
    objects = [
        of_data_set(ct(StudyInstanceUID=study, SeriesInstanceUID=series)),
        of_data_set(ct(StudyInstanceUID=study, SeriesInstanceUID=series)),
        of_data_set(ct(StudyInstanceUID=study)),
        of_data_set(ct()),
        of_data_set(ct(PatientID="MRN-1002")),
    ]
    store(dimse_server.port, objects)
    keys: dict[str, dict[str, str]] = {
        "PATIENT": {"PatientID": "MRN-1001"},
        "STUDY": {"StudyInstanceUID": study},
        "SERIES": {"SeriesInstanceUID": series},
        "IMAGE": {"SOPInstanceUID": objects[0].sop_instance_uid},
    }
    wanted: dict[str, str] = {}
    for each, key in keys.items():
        wanted |= key
        if each == level:
            break
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        answers = move(dimse_server.port, model=PATIENT_ROOT_MOVE, QueryRetrieveLevel=level, **wanted)
    assert answers[-1][0].Status == 0
    assert {each.sop_instance_uid for each in receiver.received} == {objects[n].sop_instance_uid for n in expected}


def test_an_unknown_destination_is_a801(dimse_server):
    make_node("QUIET", may_receive=False)
    make_node("FAR", site=make_site())
    for title in ("NOWHERE", "QUIET", "FAR", "ws1"):
        answers = move(dimse_server.port, to=title, QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3")
        assert [status.Status for status, _ in answers] == [0xA801]


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"StudyInstanceUID": "1.2.3"}, id="no level"),
        pytest.param({"QueryRetrieveLevel": "PATIENT", "PatientID": "1"}, id="patient level of study root"),
        pytest.param({"QueryRetrieveLevel": "NONSENSE", "StudyInstanceUID": "1.2.3"}, id="unknown level"),
        pytest.param({"QueryRetrieveLevel": "STUDY"}, id="no unique key"),
        pytest.param({"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.3"}, id="key of another level"),
        pytest.param({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "../../etc/passwd"}, id="no UID"),
        pytest.param({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.*"}, id="a wildcard"),
    ],
)
def test_an_identifier_that_is_none_of_the_class_is_a900(dimse_server, keys):
    with destination((CTImageStorage, [ExplicitVRLittleEndian])):
        answers = move(dimse_server.port, **keys)
    assert [status.Status for status, _ in answers] == [0xA900]


def test_nothing_found_is_success_with_nothing_sent(dimse_server):
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        ((status, _),) = move(dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3")
    assert status.Status == 0 and counts(status) == (None, 0, 0, 0) and not receiver.associations


def test_a_dead_destination_is_a702_with_all_that_failed(dimse_server):
    study, objects = study_of(2)
    store(dimse_server.port, objects)
    make_node("DEAD", port=free_port())
    ((status, identifier),) = move(dimse_server.port, "DEAD", QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    assert status.Status == 0xA702 and counts(status) == (None, 0, 2, 0)
    assert identifier is not None
    assert set(identifier.FailedSOPInstanceUIDList) == {each.sop_instance_uid for each in objects}


def test_what_the_destination_refuses_fails_and_the_others_go_on(dimse_server):
    study, objects = study_of(3)
    mr = of_data_set(ct(SOPClassUID=MRImageStorage, StudyInstanceUID=study))
    store(dimse_server.port, [*objects, mr])
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        answer = {objects[0].sop_instance_uid: 0xA700, objects[1].sop_instance_uid: 0xB000}
        receiver.answer = lambda event: answer.get(str(event.request.AffectedSOPInstanceUID), 0)
        answers = move(dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    status, identifier = answers[-1]
    assert status.Status == 0xB000 and counts(status) == (None, 1, 2, 1)
    assert identifier is not None
    assert set(identifier.FailedSOPInstanceUIDList) == {objects[0].sop_instance_uid, mr.sop_instance_uid}


def test_a_destination_that_drops_the_association_amid_it_costs_one_object(dimse_server):
    study, objects = study_of(3)
    store(dimse_server.port, objects)

    def drop(event: Any) -> int:
        if len(receiver.received) == 2:
            event.assoc.abort()
        return 0

    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        receiver.answer = drop
        answers = move(dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    assert receiver.associations == 2
    assert answers[-1][0].Status == 0xB000 and counts(answers[-1][0]) == (None, 2, 1, 0)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "image_dfl.dcm"]
)
def test_what_the_destination_cannot_take_as_stored_is_sent_uncompressed(dimse_server, name, syntax):
    sent = of_file(real(name))
    store(dimse_server.port, [sent])
    with destination((sent.sop_class_uid, [syntax])) as receiver:
        answers = move(
            dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID=dcmread(real(name)).StudyInstanceUID
        )
    assert answers[-1][0].Status == 0
    (came,) = receiver.received
    assert came.transfer_syntax_uid == syntax
    assert (decoded(came).pixel_array == dcmread(real(name)).pixel_array).all()


def decoded(sent: Sent) -> Dataset:
    data_set = read_dataset(
        BytesIO(sent.data), is_implicit_VR=sent.transfer_syntax_uid == ImplicitVRLittleEndian, is_little_endian=True
    )
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(sent.transfer_syntax_uid)
    return data_set


def test_what_cannot_be_converted_fails_and_the_others_go_on(dimse_server):
    study = generate_uid()
    good = of_data_set(ct(StudyInstanceUID=study))
    items = (b"\xfe\xff\x00\xe0\x00\x00\x00\x00", b"\xfe\xff\x00\xe0\x04\x00\x00\x00junk")
    damaged = ct(StudyInstanceUID=study, PixelData=b"".join(items) + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00")
    damaged.file_meta.TransferSyntaxUID = JPEG2000Lossless
    damaged["PixelData"].is_undefined_length = True
    bad = of_data_set(damaged)
    assert store(dimse_server.port, [bad, good]) == {good.sop_instance_uid: 0, bad.sop_instance_uid: 0}
    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        answers = move(dimse_server.port, QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    assert receiver.received == [good]
    assert answers[-1][0].Status == 0xB000
    assert answers[-1][1].FailedSOPInstanceUIDList == bad.sop_instance_uid
    received, status, _ = get(
        dimse_server.port,
        [build_context(CTImageStorage, [ExplicitVRLittleEndian])],
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID=study,
    )
    assert received == [good] and status.Status == 0xB000


def test_a_move_is_cancelled(dimse_server):
    study, objects = study_of(10)
    store(dimse_server.port, objects)
    association = associate(dimse_server.port, [build_context(STUDY_ROOT_MOVE)])
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study

    cancelled = threading.Event()

    def when_cancelled(event: Any) -> int:
        if len(receiver.received) > 1:
            cancelled.wait(60)
        return 0

    with destination((CTImageStorage, [ExplicitVRLittleEndian])) as receiver:
        receiver.answer = when_cancelled
        answers = []
        for status, _ in association.send_c_move(identifier, "WS1", STUDY_ROOT_MOVE, msg_id=5):
            answers.append(status)
            if len(answers) == 1:
                association.bind(evt.EVT_PDU_SENT, lambda event: cancelled.set())
                association.send_c_cancel(5, query_model=STUDY_ROOT_MOVE)
    association.release()
    assert answers[-1].Status == 0xFE00
    remaining, completed, failed, _ = counts(answers[-1])
    assert completed < 10 and remaining == 10 - completed and not failed


def test_a_study_is_got_as_stored(dimse_server):
    study, objects = study_of(3)
    store(dimse_server.port, objects)
    received, status, failed = get(
        dimse_server.port, contexts_of(objects), QueryRetrieveLevel="STUDY", StudyInstanceUID=study
    )
    assert received == list(reversed(objects))
    assert status.Status == 0 and counts(status) == (None, 3, 0, 0) and not failed
    assert AuditEvent.objects.get(event="dicom.get").study_instance_uid == study


def test_patient_root_gets_a_patient(dimse_server):
    objects = [of_data_set(ct()), of_data_set(ct()), of_data_set(ct(PatientID="MRN-1002"))]
    store(dimse_server.port, objects)
    received, status, _ = get(
        dimse_server.port,
        contexts_of(objects),
        model=PATIENT_ROOT_GET,
        QueryRetrieveLevel="PATIENT",
        PatientID="MRN-1001",
    )
    assert status.Status == 0 and {each.sop_instance_uid for each in received} == {
        each.sop_instance_uid for each in objects[:2]
    }


def test_what_the_getter_took_no_context_for_fails_and_the_others_come(dimse_server):
    study, objects = study_of(2)
    mr = of_data_set(ct(SOPClassUID=MRImageStorage, StudyInstanceUID=study))
    store(dimse_server.port, [*objects, mr])
    received, status, failed = get(
        dimse_server.port, contexts_of(objects), QueryRetrieveLevel="STUDY", StudyInstanceUID=study
    )
    assert len(received) == 2 and status.Status == 0xB000
    assert failed is not None and failed.FailedSOPInstanceUIDList == mr.sop_instance_uid
    received, status, failed = get(
        dimse_server.port, contexts_of([mr]), answer=0xA700, QueryRetrieveLevel="STUDY", StudyInstanceUID=study
    )
    assert status.Status == 0xA702 and counts(status) == (None, 0, 3, 0)


def test_an_object_whose_file_is_gone_fails_and_the_others_come(dimse_server):
    study, objects = study_of(2)
    store(dimse_server.port, objects)
    location = Location.objects.select_related("volume").get(instance_ref__sop_instance_uid=objects[0].sop_instance_uid)
    with open_object(location=location) as file:
        Path(file.name).unlink()
    received, status, failed = get(
        dimse_server.port, contexts_of(objects), QueryRetrieveLevel="STUDY", StudyInstanceUID=study
    )
    assert received == [objects[1]] and status.Status == 0xB000
    assert failed is not None and failed.FailedSOPInstanceUIDList == objects[0].sop_instance_uid


def test_the_next_object_is_opened_while_the_getter_has_one_in_hand(dimse_server):
    study, objects = study_of(3)
    store(dimse_server.port, objects)
    objects.reverse()
    paths = [path_of(each) for each in objects]
    in_hand = []

    def look(sent: Sent) -> None:
        following = objects.index(sent) + 1
        in_hand.append(following)
        if following < len(paths):
            wait_until(lambda: is_open(paths[following]))

    received, status, _ = get(
        dimse_server.port,
        contexts_of(objects),
        before_answer=look,
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID=study,
    )
    assert received == objects and status.Status == 0 and in_hand == [1, 2, 3]
    assert not any(is_open(path) for path in paths)


def test_what_was_opened_ahead_and_is_not_wanted_any_more_is_closed(dimse_server):
    study, objects = study_of(3)
    store(dimse_server.port, objects)
    first, second, _ = (path_of(each) for each in reversed(objects))

    def cancel(event: Any) -> int:
        wait_until(lambda: is_open(second))
        association.send_c_cancel(5, query_model=STUDY_ROOT_GET)
        return 0

    association = associate(
        dimse_server.port,
        [build_context(STUDY_ROOT_GET), *contexts_of(objects)],
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, cancel)],
    )
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    *_, (status, _) = association.send_c_get(identifier, STUDY_ROOT_GET, msg_id=5)
    association.release()
    assert status.Status == 0xFE00 and counts(status) == (2, 1, 0, 0)
    assert not is_open(first) and not is_open(second)


def test_what_goes_wrong_when_an_object_is_looked_for_ahead_is_told_in_its_turn():
    targets = [Target(number, str(number), CTImageStorage, ExplicitVRLittleEndian, "") for number in range(2)]
    there = Location(pk=1)

    def found() -> Iterator[tuple[Target, Location | None]]:
        yield targets[0], None
        yield targets[1], there
        raise ConnectionError

    upcoming = Upcoming(found())
    assert upcoming.location() is None and next(upcoming) == (targets[0], None)
    assert upcoming.location() is there and next(upcoming) == (targets[1], there)
    assert upcoming.location() is None and upcoming.give_back() is None
    with pytest.raises(ConnectionError):
        next(upcoming)
    again = Upcoming(iter([(targets[0], there)]))
    assert again.location() is there and again.give_back() == targets[0]
    assert list(again) == []


def test_another_sites_studies_are_not_there(dimse_server):
    study, objects = study_of(1)
    store(dimse_server.port, objects)
    far = make_node("FAR", site=make_site())
    association = associate(dimse_server.port, [build_context(STUDY_ROOT_MOVE)], calling="FAR")
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    with destination((CTImageStorage, [ExplicitVRLittleEndian]), title="FARWS", site=far.site) as receiver:
        ((status, _),) = association.send_c_move(identifier, "FARWS", STUDY_ROOT_MOVE)
    association.release()
    assert status.Status == 0 and counts(status) == (None, 0, 0, 0) and not receiver.received


def test_more_contexts_than_fit_become_several_associations():
    targets = [Target(n, f"1.2.{n}", f"1.3.{n % 60}", ExplicitVRLittleEndian, "1.4") for n in range(600)]
    parts = list(groups(targets))
    assert [len(contexts) <= 128 for contexts, _ in parts] == [True] * len(parts)
    assert sorted(target for _, part in parts for target in part) == sorted(targets)
    for contexts, part in parts:
        assert {(target.sop_class_uid, ExplicitVRLittleEndian) for target in part} <= set(contexts)


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        ("-P", "PATIENT", ["PatientID=MRN-1001"]),
        ("-P", "STUDY", ["PatientID=MRN-1001", "StudyInstanceUID"]),
        ("-S", "STUDY", ["PatientName=SANTOSO*", "StudyInstanceUID"]),
        ("-S", "SERIES", ["StudyInstanceUID={study}", "SeriesInstanceUID"]),
        ("-S", "IMAGE", ["StudyInstanceUID={study}", "SeriesInstanceUID={series}", "SOPInstanceUID"]),
    ],
)
def test_findscu_finds_at_each_level(dimse_server, tool, tmp_path, root, level, keys):
    objects = [ct(PatientName="SANTOSO^BUDI"), ct(PatientID="MRN-1002", PatientName="WIBOWO^BUDI")]
    store(dimse_server.port, [of_data_set(each) for each in objects])
    names = {"study": objects[0].StudyInstanceUID, "series": objects[0].SeriesInstanceUID}
    keys = [f"QueryRetrieveLevel={level}", *(key.format(**names) for key in keys)]
    arguments = [argument for key in keys for argument in ("-k", key)]
    command = [tool("findscu"), root, "-X", "-od", str(tmp_path), *arguments, "127.0.0.1", str(dimse_server.port)]
    subprocess.run(command, check=True, timeout=30)
    (answer,) = [dcmread(path, force=True) for path in tmp_path.iterdir()]
    keyword = keys[-1].partition("=")[0]
    assert answer.get(keyword) == objects[0].get(keyword)
    wait_until(lambda: AuditEvent.objects.filter(event="dicom.find", detail__answers=1).exists())


def test_getscu_as_it_comes_gets(dimse_server, tool, tmp_path):
    sent = of_data_set(ct(StudyInstanceUID="1.2.3.4"))
    store(dimse_server.port, [sent])
    command = [tool("getscu"), "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.4", "-od", "."]
    subprocess.run([*command, "+B", "127.0.0.1", str(dimse_server.port)], check=True, timeout=30, cwd=tmp_path)
    (file,) = tmp_path.iterdir()
    assert bare(file.read_bytes()) == sent.data


def test_movescu_moves_to_a_storescp(dimse_server, tool, tmp_path):
    sent = of_data_set(ct(StudyInstanceUID="1.2.3.4"))
    store(dimse_server.port, [sent])
    port = free_port()
    make_node("STORESCP", port=port)
    receiver = subprocess.Popen([tool("storescp"), "+B", "-od", str(tmp_path), str(port)])
    try:
        command = [tool("movescu"), "-S", "-aem", "STORESCP", "-k", "QueryRetrieveLevel=STUDY"]
        wait_until(
            lambda: (
                subprocess.run(
                    [*command, "-k", "StudyInstanceUID=1.2.3.4", "127.0.0.1", str(dimse_server.port)], timeout=30
                ).returncode
                == 0
            )
        )
    finally:
        receiver.terminate()
        receiver.wait()
    (file,) = tmp_path.iterdir()
    assert bare(file.read_bytes()) == sent.data
