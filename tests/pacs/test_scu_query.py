"""C-FIND, C-MOVE and C-GET as user (PS3.4 Annex C), against dcmtk's archive and against peers that talk nonsense."""

import contextlib
import hashlib
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import build_context, evt

from pacs.dimse import pdu, scu_query
from pacs.dimse.connection import Closed, Connection
from pacs.dimse.message import Command, CommandField, encode
from pacs.dimse.pdu import AnsweredContext, AssociateAccept
from pacs.dimse.scu_query import Arrived, Refused
from pacs.models import ApplicationEntity, Instance, Location, Volume
from pacs.services.store import Source
from pacs.storage import open_object
from radiology.errors import Unreachable
from tests.daemons import wait_until
from tests.factories import make_node
from tests.pacs.archives import TITLE, application, dcmqrscp, wire
from tests.pacs.dimse_client import Sent, of_data_set, of_file
from tests.pacs.objects import ct, real

STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"


@pytest.fixture(autouse=True)
def archive(committed_db: None, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))


def node(port: int, **fields: Any) -> ApplicationEntity:
    return make_node(TITLE, port=port, **fields)


def study_of(number: int, **attributes: Any) -> tuple[str, str, list[Sent]]:
    study, series = generate_uid(), generate_uid()
    return (
        study,
        series,
        [
            of_data_set(
                ct(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=n + 1, seed=n, **attributes)
            )
            for n in range(number)
        ],
    )


def get_all(peer: ApplicationEntity, study: str, **options: Any) -> tuple[list[scu_query.Counts], list[Arrived]]:
    arrived: list[Arrived] = []
    source = Source.of_node(peer)
    counts = list(scu_query.get(node=peer, source=source, study_instance_uid=study, arrived=arrived.append, **options))
    return counts, arrived


def stored_bytes() -> dict[str, str]:
    """SHA-256 of what lies in the archive, by SOP Instance UID."""
    found = {}
    for location in Location.objects.select_related("instance_ref", "volume"):
        with open_object(location=location) as file:
            file.seek(location.data_set_offset)
            found[location.instance_ref.sop_instance_uid] = hashlib.sha256(file.read()).hexdigest()
    return found


# Against dcmtk


def test_dcmtk_is_searched_at_each_level(tmp_path, tool):
    study, series, objects = study_of(3, PatientName="MÜLLER^JÖRG", SpecificCharacterSet="ISO_IR 100")
    _, _, others = study_of(1, PatientID="MRN-2", PatientName="OTHER")
    with dcmqrscp(tmp_path, tool, [*objects, *others]) as port:
        peer = node(port)
        (found,) = scu_query.find(
            node=peer,
            level="STUDY",
            keys={"PatientID": "MRN-1001"},
            returned=["PatientName", "StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"],
        )
        assert str(found.PatientName) == "MÜLLER^JÖRG"
        assert found.StudyInstanceUID == study
        (found,) = scu_query.find(node=peer, level="SERIES", keys={"StudyInstanceUID": study}, returned=["Modality"])
        assert (found.SeriesInstanceUID, found.Modality) == (series, "CT")
        images = scu_query.find(
            node=peer,
            level="IMAGE",
            keys={"StudyInstanceUID": study, "SeriesInstanceUID": series},
            returned=["SOPClassUID"],
        )
        assert {str(each.SOPInstanceUID) for each in images} == {each.sop_instance_uid for each in objects}


def test_what_is_beyond_the_limit_is_called_off(tmp_path, tool):
    study, series, objects = study_of(120)
    with dcmqrscp(tmp_path, tool, objects) as port:
        found = scu_query.find(
            node=node(port), level="IMAGE", keys={"StudyInstanceUID": study, "SeriesInstanceUID": series}, limit=5
        )
        assert len(list(found)) == 5
        # Whether it found the time to heed it before its last answer or not; it writes so when it comes to it.
        said = re.compile("MatchingTerminatedDueToCancelRequest|late C-CANCEL-RQ")
        wait_until(lambda: said.search((tmp_path / "dcmqrscp.log").read_text("latin-1")), seconds=60)


def test_a_study_is_got_from_dcmtk_byte_by_byte(tmp_path, tool):
    study, _, objects = study_of(3)
    with dcmqrscp(tmp_path, tool, [*objects, of_data_set(ct())]) as port:
        counts, arrived = get_all(node(port), study)
    assert counts[-1].status == 0 and counts[-1].completed == 3
    assert [each.done for each in counts] == sorted(each.done for each in counts)
    assert {each.sop_instance_uid for each in arrived} == {each.sop_instance_uid for each in objects}
    assert stored_bytes() == {each.sop_instance_uid: each.sha256 for each in objects}


def test_series_and_instances_are_got_alone(tmp_path, tool):
    study, series, objects = study_of(4)
    other = of_data_set(ct(StudyInstanceUID=study))
    with dcmqrscp(tmp_path, tool, [*objects, other]) as port:
        peer = node(port)
        wanted = [objects[0].sop_instance_uid, objects[2].sop_instance_uid]
        get_all(peer, study, series_instance_uids=[series], sop_instance_uids=wanted)
        assert set(Instance.objects.values_list("sop_instance_uid", flat=True)) == set(wanted)
        get_all(peer, study, series_instance_uids=[series])
        assert Instance.objects.count() == 4


def test_dcmtk_moves_a_study_to_our_daemon(tmp_path, tool, dimse_server):
    study, _, objects = study_of(3)
    with dcmqrscp(tmp_path, tool, objects, peers=[("MINIPACS", dimse_server.port)]) as port:
        counts = list(scu_query.move(node=node(port), destination="MINIPACS", study_instance_uid=study))
    assert (counts[-1].status, counts[-1].completed) == (0, 3)
    assert len(counts) > 1
    assert Instance.objects.count() == 3


def test_an_unknown_destination_is_said_with_its_status(tmp_path, tool):
    study, _, objects = study_of(1)
    with dcmqrscp(tmp_path, tool, objects) as port, pytest.raises(Refused) as refused:
        list(scu_query.move(node=node(port), destination="NOBODY", study_instance_uid=study))
    assert refused.value.status == 0xA801
    assert not refused.value.may_pass


# Against an application of pynetdicom's


def answers(*pairs: tuple[int, Dataset | None]) -> Any:
    def handle(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield from pairs

    return handle


def test_patient_root_is_asked_where_a_node_offers_only_that():
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", "1.2.3"
    with application([PATIENT_FIND], [(evt.EVT_C_FIND, answers((0xFF00, answer)))]) as port:
        (found,) = scu_query.find(node=node(port), level="STUDY", keys={})
    assert found.StudyInstanceUID == "1.2.3"


@pytest.mark.parametrize(
    ("character_set", "name"),
    [("ISO_IR 100", "MÜLLER^JÖRG"), ("ISO_IR 192", "王^小东"), ("GB18030", "王^小东"), ("", "PLAIN")],
)
def test_answers_come_in_their_own_character_set(character_set, name):
    answer = Dataset()
    if character_set:
        answer.SpecificCharacterSet = character_set
    answer.QueryRetrieveLevel, answer.StudyInstanceUID, answer.PatientName = "STUDY", "1.2.3", name
    received: list[Dataset] = []

    def handle(event: Any) -> Iterator[tuple[int, Dataset]]:
        received.append(event.identifier)
        yield 0xFF00, answer

    with application([STUDY_FIND], [(evt.EVT_C_FIND, handle)]) as port:
        (found,) = scu_query.find(node=node(port), level="STUDY", keys={"PatientName": name})
    assert str(found.PatientName) == name
    assert str(received[0].PatientName) == name


def test_a_node_without_search_is_refused_in_words():
    with (
        application([STUDY_MOVE], []) as port,
        pytest.raises(Refused, match=f"{TITLE} does not offer search"),
    ):
        list(scu_query.find(node=node(port), level="STUDY", keys={}))


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0124, 0xFE00, 0x1234])
def test_a_failed_search_says_its_status(status):
    with (
        application([STUDY_FIND], [(evt.EVT_C_FIND, answers((status, None)))]) as port,
        pytest.raises(Refused, match=f"{status:04X}") as refused,
    ):
        list(scu_query.find(node=node(port), level="STUDY", keys={}))
    assert refused.value.may_pass == (status == 0xA700)


# C-GET from an application that is told what to send


def sending(*objects: Sent) -> Any:
    """A handler of C-GET that sends these data sets' own bytes, then says Success."""

    def handle(event: Any) -> Iterator[Any]:
        yield len(objects)
        for each in objects:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, data_set_of(each)

    return handle


def data_set_of(sent: Sent) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(sent.transfer_syntax_uid)
    data_set = read_dataset(
        BytesIO(sent.data), is_implicit_VR=sent.transfer_syntax_uid == ImplicitVRLittleEndian, is_little_endian=True
    )
    data_set.file_meta = meta
    return data_set


def contexts(sop_class: str, *transfer_syntaxes: str) -> list[Any]:
    return [STUDY_GET, build_context(sop_class, list(transfer_syntaxes) or None)]


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_implicit.dcm", "SC_rgb_jpeg_gdcm.dcm"])
def test_what_a_node_holds_compressed_comes_as_it_is(name):
    sent = of_file(real(name))
    study = str(dcmread(real(name)).StudyInstanceUID)
    with application(contexts(sent.sop_class_uid, sent.transfer_syntax_uid), [(evt.EVT_C_GET, sending(sent))]) as port:
        counts, _ = get_all(node(port), study)
    assert counts[-1].completed == 1
    (location,) = Location.objects.all()
    assert location.transfer_syntax_uid == sent.transfer_syntax_uid


def test_an_object_of_another_study_ends_it():
    study, _, objects = study_of(1)
    _, _, (foreign,) = study_of(1)
    with (
        application(contexts(CTImageStorage), [(evt.EVT_C_GET, sending(*objects, foreign))]) as port,
        pytest.raises(Unreachable, match="another study"),
    ):
        get_all(node(port), study)
    assert set(Instance.objects.values_list("sop_instance_uid", flat=True)) == {objects[0].sop_instance_uid}


def test_what_we_refuse_fails_alone():
    study, _, objects = study_of(2)
    broken = of_data_set(ct(StudyInstanceUID=study, SeriesInstanceUID="not a uid"))
    with application(contexts(CTImageStorage), [(evt.EVT_C_GET, sending(objects[0], broken, objects[1]))]) as port:
        counts, arrived = get_all(node(port), study)
    assert [each.status for each in arrived] == [0, 0xC000, 0]
    assert "no UID" in arrived[1].error
    assert (counts[-1].status, counts[-1].completed, counts[-1].failed) == (0xB000, 2, 1)
    assert counts[-1].failed_uids == (broken.sop_instance_uid,)


def test_a_retrieval_is_cancelled_by_what_watch_raises():
    class Enough(Exception):
        pass

    asked = []
    cancelled = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield 10
        while not event.is_cancelled:
            time.sleep(0.01)
        cancelled.set()
        yield 0xFE00, None

    def watch() -> bool:
        asked.append(True)
        if len(asked) > 8:
            raise Enough
        return False

    with application(contexts(CTImageStorage), [(evt.EVT_C_GET, handle)]) as port:
        with pytest.raises(Enough):
            get_all(node(port), "1.2.3", watch=watch)
        assert cancelled.wait(60)


# Nonsense, byte by byte


def test_a_node_that_never_answers_ends_in_time():
    def silent(connection: socket.socket) -> None:
        connection.settimeout(30)
        while connection.recv(65536):
            pass

    with wire(silent) as port, pytest.raises(Unreachable, match="in time"):
        list(scu_query.find(node=node(port), level="STUDY", keys={}, seconds=0.5))


@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\x00\xff\xff\xff\xff", bytes(64)])
def test_what_is_no_dicom_is_said(body):
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(body)

    with wire(answer) as port, pytest.raises(Unreachable):
        list(scu_query.find(node=node(port), level="STUDY", keys={}, seconds=5))


def asked(connection: socket.socket) -> tuple[Connection, int, Command]:
    """A peer that accepts everything, and the first request that it gets, in its context."""
    peer = Connection(connection, pdu_seconds=30)
    _, body = peer.receive_pdu(largest=pdu.LARGEST_ASSOCIATE)
    request = pdu.decode_request(body)
    accepted = tuple(AnsweredContext(each.context_id, 0, each.transfer_syntaxes[0]) for each in request.contexts)
    peer.send_pdu(
        AssociateAccept(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            implementation_class_uid="1.2.3",
            contexts=accepted,
            roles=request.roles,
        ).encode()
    )
    context_id, command = peer.receive_command()
    for _ in peer.data_set(context_id):
        pass
    return peer, context_id, command


def response(command: Command, fields: dict[str, Any], data: bytes | None) -> bytes:
    """A response to `command`; `fields` that are None are left out."""
    values = {
        "CommandField": command["CommandField"] | 0x8000,
        "MessageIDBeingRespondedTo": command["MessageID"],
        "AffectedSOPClassUID": command["AffectedSOPClassUID"],
        "CommandDataSetType": 0x0101 if data is None else 1,
        **fields,
    }
    return encode({name: value for name, value in values.items() if value is not None})


def scripted(*messages: tuple[dict[str, Any], bytes | None]) -> Any:
    """A peer that accepts everything and answers the first request with these messages, then falls silent."""

    def answer(connection: socket.socket) -> None:
        peer, context_id, command = asked(connection)
        for fields, data in messages:
            peer.send_message(fields.get("context", context_id), response(command, fields, data), data)
        connection.settimeout(30)
        while connection.recv(65536):
            pass

    return answer


PENDING: dict[str, Any] = {"Status": 0xFF00}


def test_answers_without_end_stop_at_the_limit():
    """The peer looks for a C-CANCEL between any two answers, which a queue of answers in the peer would put off."""
    sent: queue.Queue[Command] = queue.Queue()
    heard: queue.Queue[Command] = queue.Queue()

    def answer(connection: socket.socket) -> None:
        peer, context_id, command = asked(connection)
        sent.put(command)
        with contextlib.suppress(Closed):  # we wait a few seconds for the last of its answers, and no longer
            while not peer.has_input():
                peer.send_message(context_id, response(command, PENDING, b""), b"")
            heard.put(peer.receive_command()[1])
            peer.send_message(context_id, response(command, {"Status": 0xFE00}, None))
            peer.receive_command()

    with wire(answer) as port:
        assert len(list(scu_query.find(node=node(port), level="STUDY", keys={}, limit=50))) == 50
        cancel = heard.get(timeout=60)
    assert cancel["CommandField"] == CommandField.C_CANCEL_RQ
    assert cancel["MessageIDBeingRespondedTo"] == sent.get()["MessageID"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        pytest.param([({"Status": 0, "MessageIDBeingRespondedTo": 4711}, None)], "protocol", id="another message's id"),
        pytest.param([({"Status": None}, None)], "protocol", id="no status"),
        pytest.param([({"Status": 0, "CommandField": 0x8021}, None)], "protocol", id="another kind of response"),
        pytest.param([({"Status": 0, "CommandField": 0x0001}, None)], "protocol", id="a request"),
        pytest.param([(PENDING, None)], "without a data set", id="pending without an answer"),
        pytest.param([(PENDING, b"\x08\x00\x52\x00CS\xff\xffSTUDY")], "cannot be read", id="a truncated answer"),
        pytest.param([(PENDING, bytes(2 * 1024 * 1024))], "protocol", id="an answer of two megabytes"),
        pytest.param([], "in time", id="silence"),
        pytest.param([(PENDING, b"\x08\x00\x52\x00CS\x06\x00STUDY ")], "in time", id="silence after an answer"),
    ],
)
def test_nonsense_ends_a_search(messages, said):
    with wire(scripted(*messages)) as port, pytest.raises(Unreachable, match=said):
        list(scu_query.find(node=node(port), level="STUDY", keys={}, seconds=1.5))


def counted(completed: int, remaining: int, failed: int = 0) -> dict[str, Any]:
    return {
        "Status": 0xFF00,
        "NumberOfRemainingSuboperations": remaining,
        "NumberOfCompletedSuboperations": completed,
        "NumberOfFailedSuboperations": failed,
        "NumberOfWarningSuboperations": 0,
    }


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        pytest.param([(counted(5, 5), None), (counted(4, 6), None)], "counts backwards", id="counts go backwards"),
        pytest.param([(counted(1, 9), None)] * 50, "in time", id="pending for ever"),
        pytest.param([({"Status": 0, "MessageIDBeingRespondedTo": 4711}, None)], "protocol", id="another message's id"),
        pytest.param([({"Status": None}, None)], "protocol", id="no status"),
        pytest.param([({"Status": 0xA801}, None)], "A801", id="destination unknown"),
        pytest.param([({"Status": 0x4242}, None)], "4242", id="a status that is none"),
        pytest.param([(PENDING, bytes(2 * 1024 * 1024))], "protocol", id="an endless identifier"),
        pytest.param([({"CommandField": 0x0001, "Status": None}, b"1234")], "protocol", id="an object on our C-MOVE"),
    ],
)
def test_nonsense_ends_a_move(messages, said):
    with wire(scripted(*messages)) as port, pytest.raises(Unreachable, match=said):
        list(scu_query.move(node=node(port), destination="MINIPACS", study_instance_uid="1.2.3", silence_seconds=1.5))


def test_a_final_answer_with_a_broken_list_still_counts():
    final = {**counted(1, 0, 2), "Status": 0xB000}
    with wire(scripted((final, b"\x08\x00\x58\x00UI\xff\xff1.2"))) as port:
        counts = list(scu_query.move(node=node(port), destination="MINIPACS", study_instance_uid="1.2.3"))
    assert (counts[-1].completed, counts[-1].failed, counts[-1].failed_uids) == (1, 2, ())


def test_a_node_that_is_silent_while_it_sends_has_more_time():
    """Pending responses are optional (PS3.4 C.4.2.3.1): what arrives by another way counts as progress."""
    seen = []

    def watch() -> bool:
        seen.append(True)
        return len(seen) < 5

    with wire(scripted()) as port, pytest.raises(Unreachable, match="in time"):
        list(
            scu_query.move(
                node=node(port),
                destination="MINIPACS",
                study_instance_uid="1.2.3",
                silence_seconds=0.6,
                watch=watch,
            )
        )
    assert len(seen) >= 5
