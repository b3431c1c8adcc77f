"""Peers that mean harm, or are broken, against the whole daemon. A known modality is served throughout."""

import contextlib
import json
import random
import resource
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, generate_uid

from pacs.dimse import connection, message, pdu
from pacs.dimse.pdu import PduType
from pacs.models import HeldObject, Instance, Location
from tests.daemons import Daemon, dimse_daemon, wait_until
from tests.factories import make_node
from tests.flows.raw_dicom import (
    ECHO,
    FIND,
    FIND_DEFLATED,
    GET,
    STORE,
    STORE_DEFLATED,
    STUDY_ROOT_GET,
    VERIFICATION,
    Peer,
    command,
    data_set,
    find_request,
    fragments,
    memory,
    p_data,
    request,
    seconds_of_echo,
    store_request,
)
from tests.pacs.dimse_client import of_data_set, store
from tests.pacs.objects import ct

PATIENCE = 2.0  # seconds that a known modality waits at most, whatever goes on
MEGABYTE = 1024 * 1024
CHARACTER_SET, STUDY_DATE, LEVEL, PATIENT_NAME, PATIENT_ID, STUDY_UID = (
    0x00080005, 0x00080020, 0x00080052, 0x00100010, 0x00100020, 0x0020000D,
)  # fmt: skip
SEARCH = {LEVEL: b"STUDY", STUDY_UID: b""}

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:Value .* is not valid")


@pytest.fixture(autouse=True)
def _modality(committed_db):
    make_node("CT1")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


@pytest.fixture(scope="module")
def narrow_server(django_db_setup) -> Iterator[Daemon]:
    """A daemon with few places, which no deadline frees in the time of a test."""
    daemon = dimse_daemon(SINAR_DIMSE_MAX_ASSOCIATIONS="5").start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def hasty_server(django_db_setup) -> Iterator[Daemon]:
    """A daemon with short deadlines."""
    daemon = dimse_daemon(SINAR_DIMSE_PDU_SECONDS="2", SINAR_DIMSE_IDLE_SECONDS_UNKNOWN="3").start()
    yield daemon
    daemon.stop()


@pytest.fixture(autouse=True)
def _processes_live(dimse_server, narrow_server, hasty_server) -> Iterator[None]:
    daemons = (dimse_server, narrow_server, hasty_server)
    wait_until(lambda: all(len(daemon.pids) == 2 for daemon in daemons))
    pids = [daemon.pids for daemon in daemons]
    yield
    assert [daemon.pids for daemon in daemons] == pids, "a worker died"


def assert_served(port: int, *, seconds: float) -> None:
    """For so long the known modality is answered in time, again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert seconds_of_echo(port) < PATIENCE


@contextlib.contextmanager
def many(port: int, number: int, begin: Callable[[Peer], object] = lambda peer: None) -> Iterator[list[Peer]]:
    """So many connections, each begun; what the daemon drops meanwhile is dropped."""
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(number):
            peer = stack.enter_context(Peer(port))
            with contextlib.suppress(OSError, AssertionError):
                begin(peer)
            peers.append(peer)
        yield peers


@contextlib.contextmanager
def dripping(peers: list[Peer], data: bytes, every: float) -> Iterator[None]:
    """Each peer sends one byte after the other, for as long as the block runs."""
    over = threading.Event()

    def drip() -> None:
        for byte in data:
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.sock.send(bytes([byte]))
            if over.wait(every):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    yield
    over.set()
    thread.join()


# Connections that say nothing or drip


def test_a_thousand_silent_connections_keep_nobody_out(dimse_server):
    with many(dimse_server.port, 1500):
        assert_served(dimse_server.port, seconds=3)


def test_hundreds_of_dripping_association_requests_keep_nobody_out(dimse_server):
    with many(dimse_server.port, 500) as peers, dripping(peers, request(), 0.2):
        assert_served(dimse_server.port, seconds=3)


def test_a_connection_without_a_request_is_closed_after_ten_seconds(dimse_server):
    with Peer(dimse_server.port) as silent, Peer(dimse_server.port) as half:
        half.sock.sendall(request()[:100])
        assert not silent.is_over(seconds=5)
        assert silent.is_over(seconds=8) and half.is_over(seconds=2)


def test_associations_that_are_held_and_not_used_keep_nobody_out(narrow_server):
    with many(narrow_server.port, 40, lambda peer: peer.associate(calling="UNKNOWN")):
        assert_served(narrow_server.port, seconds=3)


def test_a_known_modality_keeps_its_idle_association_when_strangers_crowd_in(narrow_server):
    with Peer(narrow_server.port) as modality:
        modality.associate(calling="CT1")
        with many(narrow_server.port, 40, lambda peer: peer.associate(calling="UNKNOWN")):
            assert modality.echo() == 0


def test_objects_that_drip_keep_nobody_out(narrow_server):
    def begin(peer: Peer) -> None:
        peer.associate(calling="UNKNOWN").sock.sendall(store_request("1.2.3") + p_data(STORE, 0, b"\x08\x00"))

    with many(narrow_server.port, 30, begin) as peers:
        drops = b"".join(p_data(STORE, 0, b"x") for _ in range(100))
        with dripping(peers, drops, 0.05):
            assert_served(narrow_server.port, seconds=3)


def test_a_pdu_that_drips_is_cut_off(hasty_server):
    with Peer(hasty_server.port) as peer:
        peer.associate(calling="CT1")
        begun = time.monotonic()
        with dripping([peer], store_request("1.2.3"), 0.5):
            assert peer.is_over(seconds=6)
        assert time.monotonic() - begun < 5


def test_an_unknown_caller_may_be_idle_for_a_shorter_while_than_a_registered_one(hasty_server):
    with Peer(hasty_server.port) as known, Peer(hasty_server.port) as unknown:
        known.associate(calling="CT1")
        unknown.associate(calling="UNKNOWN")
        assert unknown.is_over(seconds=6)
        assert known.echo() == 0


def test_who_does_not_read_its_answers_is_cut_off_and_delays_nobody(hasty_server):
    study = generate_uid()
    objects = [of_data_set(ct(side=512, seed=n, StudyInstanceUID=study)) for n in range(12)]
    store(hasty_server.port, objects, calling="CT1")
    identifier = data_set({LEVEL: b"STUDY", STUDY_UID: study.encode()})
    with Peer(hasty_server.port) as peer:
        peer.associate(calling="CT1", provides=(CTImageStorage,))
        peer.sock.sendall(p_data(GET, 3, command(0x10, STUDY_ROOT_GET)) + fragments(GET, identifier))
        assert_served(hasty_server.port, seconds=4)
        peer.sock.settimeout(5)
        with contextlib.suppress(ConnectionError):  # what was under way comes, then the end
            while peer.sock.recv(MEGABYTE):
                pass


# PDUs


HOSTILE_FIRST = [
    pytest.param(pdu.HEADER.pack(PduType.ASSOCIATE_RQ, 0xFFFFFFFF), id="a request of 4 GB"),
    pytest.param(pdu.HEADER.pack(PduType.ASSOCIATE_RQ, MEGABYTE + 1), id="a request over 1 MB"),
    pytest.param(pdu.HEADER.pack(PduType.ASSOCIATE_RQ, 0), id="an empty request"),
    pytest.param(pdu.HEADER.pack(PduType.ASSOCIATE_RQ, 68) + bytes(68), id="a request of zeros"),
    pytest.param(request().replace(b"Q\0\0\4", b"Q\0\xff\xff"), id="a request with a wrong length inside"),
    pytest.param(p_data(ECHO, 3, command(0x30, VERIFICATION, has_data=False)), id="a message before the association"),
    pytest.param(pdu.release_request(), id="a release before the association"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    pytest.param(b"\x0bMSH|^~\\&|", id="HL7"),
]


@pytest.mark.parametrize("first", HOSTILE_FIRST)
def test_what_is_no_association_request_is_turned_away_at_once(dimse_server, first):
    before = memory(dimse_server.pids)
    with Peer(dimse_server.port) as peer:
        peer.sock.sendall(first)
        assert peer.is_over(seconds=3)
    assert memory(dimse_server.pids) - before < 16 * MEGABYTE
    assert seconds_of_echo(dimse_server.port) < PATIENCE


HOSTILE_LATER = [
    pytest.param(pdu.HEADER.pack(PduType.P_DATA, 0xFFFFFFFF), id="P-DATA of 4 GB"),
    pytest.param(pdu.HEADER.pack(PduType.P_DATA, connection.MAXIMUM_LENGTH + 1), id="P-DATA over what we said"),
    pytest.param(pdu.HEADER.pack(PduType.P_DATA, 2) + b"xx", id="P-DATA without room for a value"),
    pytest.param(pdu.HEADER.pack(PduType.P_DATA, 6) + struct.pack(">IBB", 0xFFFFFFF0, 1, 3), id="a value of 4 GB"),
    pytest.param(pdu.HEADER.pack(PduType.ABORT + 1, 4) + bytes(4), id="an unknown PDU"),
    pytest.param(request(), id="a second association request"),
    pytest.param(pdu.release_reply(), id="a release reply to nothing"),
    pytest.param(p_data(99, 3, command(0x30, VERIFICATION, has_data=False)), id="a context that was not accepted"),
    pytest.param(p_data(ECHO, 3, b""), id="an empty command"),
    pytest.param(p_data(ECHO, 3, b"\xff" * 100), id="a command of nonsense"),
    pytest.param(p_data(ECHO, 1, bytes(60_000)) * 2, id="a command of 120 KB"),
    pytest.param(p_data(ECHO, 2, b"data"), id="a data set without a command"),
    pytest.param(store_request("1.2.3") + p_data(FIND, 2, b"data"), id="a data set on another context"),
    pytest.param(
        store_request("1.2.3") + p_data(STORE, 0, b"x") + store_request("1.2.4"), id="a command amid a data set"
    ),
    pytest.param(store_request("1.2.3") + pdu.release_request(), id="a release amid a message"),
    pytest.param(p_data(ECHO, 3, message.encode({"CommandField": 0x8030, "Status": 0})), id="a response to nothing"),
]


@pytest.mark.parametrize("wire", HOSTILE_LATER)
def test_what_breaks_the_protocol_is_aborted(dimse_server, wire):
    before, said = memory(dimse_server.pids), len(dimse_server.output)
    with Peer(dimse_server.port) as peer:
        peer.associate(calling="CT1")
        peer.sock.sendall(wire)
        assert peer.is_over(seconds=3)
    assert memory(dimse_server.pids) - before < 16 * MEGABYTE
    assert seconds_of_echo(dimse_server.port) < PATIENCE
    wait_until(lambda: "association_aborted" in dimse_server.output[said:])
    assert not Instance.objects.exists()


def test_a_cancel_of_nothing_is_passed_over(dimse_server):
    with Peer(dimse_server.port) as peer:
        peer.associate()
        cancel = message.encode({"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 1, "CommandDataSetType": 0x0101})
        peer.sock.sendall(p_data(FIND, 3, cancel))
        assert peer.echo() == 0


def test_a_cancelled_search_ends_with_fe00(dimse_server):
    store(dimse_server.port, [of_data_set(ct(PatientID=f"MRN-{n}")) for n in range(5)])
    with Peer(dimse_server.port) as peer:
        peer.associate()
        cancel = message.encode({"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 1, "CommandDataSetType": 0x0101})
        peer.sock.sendall(find_request() + fragments(FIND, data_set(SEARCH)) + p_data(FIND, 3, cancel))
        assert peer.final_status() == 0xFE00
        assert peer.echo() == 0


# Data sets


def nested(depth: int) -> bytes:
    """Sequences of undefined length in one another, without end (PS3.5 7.5)."""
    return struct.pack("<HHIHHI", 0x0040, 0x0275, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * depth


def nested_explicit(depth: int) -> bytes:
    opening = struct.pack("<HH2sHIHHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("context_id", "identifier", "status"),
    [
        pytest.param(FIND, nested(300), 0xC000, id="300 sequences"),
        pytest.param(FIND, nested(20_000), 0xC000, id="20,000 sequences"),
        pytest.param(FIND, data_set({**SEARCH, PATIENT_NAME: bytes(2 * MEGABYTE)}), 0xA700, id="2 MB"),
        pytest.param(FIND, data_set(SEARCH) + b"\x21\0\1\0\xff\xff\xff\x7f", 0xC000, id="a length beyond the end"),
        pytest.param(FIND, b"\x00", 0xA900, id="one byte"),
        pytest.param(FIND, b"", 0xA900, id="nothing"),
        pytest.param(FIND_DEFLATED, deflated(bytes(100 * MEGABYTE)), 0xA700, id="a deflate bomb"),
        pytest.param(FIND_DEFLATED, b"no deflate stream", 0xC000, id="no deflate stream"),
        pytest.param(FIND, data_set({**SEARCH, STUDY_DATE: b"20260230"}), 0xA900, id="no such day"),
        pytest.param(FIND, data_set({**SEARCH, STUDY_UID: b"1.2..'--"}), 0xA900, id="no UID"),
        pytest.param(FIND, data_set({**SEARCH, LEVEL: b"STUDY\\SERIES"}), 0xA900, id="two values where one belongs"),
        pytest.param(FIND, data_set({LEVEL: b"PATIENT"}), 0xA900, id="the patient level of study root"),
    ],
)
def test_a_query_that_is_none_gets_an_explicit_status(dimse_server, context_id, identifier, status):
    before, begun = memory(dimse_server.pids), time.monotonic()
    with Peer(dimse_server.port, seconds=20) as peer:
        peer.associate()
        peer.sock.sendall(find_request(context_id) + fragments(context_id, identifier))
        assert peer.final_status() == status
        assert peer.echo() == 0
    assert time.monotonic() - begun < 10
    assert memory(dimse_server.pids) - before < 64 * MEGABYTE


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({PATIENT_NAME: b"%_' OR 1=1 --*"}, id="SQL"),
        pytest.param({CHARACTER_SET: b"ISO 2022 IR 87", PATIENT_NAME: b"\x1b$B\xff\xfe\x81"}, id="undecodable"),
        pytest.param({CHARACTER_SET: b"NO_SUCH_SET", PATIENT_NAME: b"\xff\xfe"}, id="unknown character set"),
        pytest.param({PATIENT_ID: b"A\x00B"}, id="NUL"),
        pytest.param({PATIENT_NAME: b"A" * 10_000}, id="10 KB"),
        pytest.param({PATIENT_ID: b"../../../etc/passwd"}, id="a path"),
    ],
)
def test_an_odd_value_matches_nothing_and_ends_nothing(dimse_server, keys):
    store(dimse_server.port, [of_data_set(ct())])
    with Peer(dimse_server.port) as peer:
        peer.associate()
        peer.sock.sendall(find_request() + fragments(FIND, data_set({**SEARCH, **keys})))
        assert peer.receive_command()["Status"] in (0x0000, 0xA900, 0xC000)
        assert peer.echo() == 0


@pytest.mark.parametrize(
    ("context_id", "data"),
    [
        pytest.param(STORE, b"", id="nothing"),
        pytest.param(STORE, nested_explicit(300), id="300 sequences"),
        pytest.param(STORE, nested_explicit(50_000), id="50,000 sequences"),
        pytest.param(STORE_DEFLATED, deflated(bytes(100 * MEGABYTE)), id="a deflate bomb of zeros"),
        pytest.param(
            STORE_DEFLATED,
            deflated(of_data_set(ct()).data[:600] + b"\x10\x00\x10\x00PN\xff\xff" + bytes(200 * MEGABYTE)),
            id="a deflate bomb in an element",
        ),
        pytest.param(STORE_DEFLATED, b"no deflate stream", id="no deflate stream"),
    ],
)
def test_an_object_that_is_a_bomb_is_refused_in_little_memory(dimse_server, context_id, data):
    before, begun = memory(dimse_server.pids), time.monotonic()
    with Peer(dimse_server.port, seconds=30) as peer:
        peer.associate()
        peer.sock.sendall(store_request("1.2.3.4", context_id) + fragments(context_id, data))
        assert peer.receive_command()["Status"] in (0xA700, 0xA900, 0xC000)
        assert peer.echo() == 0
    assert time.monotonic() - begun < 15
    assert memory(dimse_server.pids) - before < 64 * MEGABYTE
    assert not Instance.objects.exists()


def test_a_store_that_names_no_instance_is_refused(dimse_server):
    sent = of_data_set(ct())
    with Peer(dimse_server.port) as peer:
        peer.associate()
        peer.sock.sendall(p_data(STORE, 3, command(1, CTImageStorage)) + fragments(STORE, sent.data))
        assert peer.receive_command()["Status"] == 0xA900
        assert peer.echo() == 0
    assert not Instance.objects.exists()


def test_a_store_without_a_data_set_is_not_understood(dimse_server):
    with Peer(dimse_server.port) as peer:
        peer.associate()
        bare = command(1, CTImageStorage, has_data=False, AffectedSOPInstanceUID="1.2.3")
        peer.sock.sendall(p_data(STORE, 3, bare))
        assert peer.receive_command()["Status"] == 0xC000
        assert peer.echo() == 0


HOSTILE_TEXTS = [
    "../../../../tmp/x",
    "/etc/passwd",
    "x\x00y",
    "%s%n%00",
    "'; DROP TABLE pacs_study;--",
    '<b>&"',
    "A" * 60,
]


def archive_is_sound(daemon: Daemon) -> bool:
    """Every file that a row names lies in the archive folder."""
    root = (daemon.data / "archive").resolve()
    paths = [*Location.objects.values_list("path", flat=True), *HeldObject.objects.values_list("path", flat=True)]
    return all((root / path).resolve().is_relative_to(root) and (root / path).is_file() for path in paths)


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=ascii)
def test_hostile_texts_in_uids_and_identifiers_touch_nothing_outside_the_archive(dimse_server, text, tmp_path):
    outside = snapshot(dimse_server.data)
    with Peer(dimse_server.port) as peer:
        peer.associate()
        uids = [
            {"SOPInstanceUID": text},
            {"StudyInstanceUID": text},
            {"SeriesInstanceUID": text},
        ]
        for attributes in uids:
            peer.sock.sendall(store_request(text) + fragments(STORE, hostile_object(attributes)))
            assert peer.receive_command()["Status"] & 0xF000 in (0xA000, 0xC000)
        uid = generate_uid()
        ids = {
            "SOPInstanceUID": uid,
            "PatientID": text,
            "AccessionNumber": text[:16],
            "PatientName": text,
            "Modality": text,
        }
        peer.sock.sendall(store_request(uid) + fragments(STORE, hostile_object(ids)))
        assert peer.receive_command()["Status"] == 0
        assert peer.echo() == 0
    assert archive_is_sound(dimse_server)
    assert snapshot(dimse_server.data) == outside
    assert Instance.objects.count() == 1


def hostile_object(attributes: dict[str, str]) -> bytes:
    """An object whose attributes hold the texts as they are, whatever their VR allows."""
    hostile = ct(**dict.fromkeys(attributes))
    marks = {}
    for number, (keyword, text) in enumerate(attributes.items()):
        marks[keyword] = f"@{number}".ljust(len(text) + len(text) % 2, "@")
        hostile.add_new(keyword, "PN" if keyword == "PatientName" else "LO", marks[keyword])
    data = of_data_set(hostile).data
    for keyword, mark in marks.items():
        data = data.replace(mark.encode(), attributes[keyword].encode().ljust(len(mark)))
    return data


def snapshot(data: Path) -> set[str]:
    """Files beside the archive folder and the logs, and where a path would have led."""
    beside = {str(path) for path in data.rglob("*") if not {"archive", "log"} & set(path.parts) and path.is_file()}
    return beside | {path for path in ("/tmp/x", "/tmp/x.dcm") if Path(path).exists()}


@pytest.mark.parametrize("title", ["../../etc", "a\\b", "\x00", "%s%n", "'--", "\xff\xfe"])
def test_hostile_ae_titles_are_refused_or_harmless(dimse_server, title):
    raw = bytearray(request())
    raw[26:42] = title.encode("latin-1").ljust(16)
    with Peer(dimse_server.port) as peer:
        peer.sock.sendall(raw)
        kind, _ = peer.receive()
        assert kind in (PduType.ASSOCIATE_AC, PduType.ASSOCIATE_RJ, PduType.ABORT)
        if kind == PduType.ASSOCIATE_AC:
            assert peer.echo() == 0
    for line in dimse_server.output.splitlines():
        if line.startswith("{"):
            json.loads(line)


# Anything


def test_connections_cut_at_random_bytes_leave_nothing_half(dimse_server):
    chance = random.Random(1)
    sent = of_data_set(ct(side=128))
    wire = request() + store_request(sent.sop_instance_uid) + fragments(STORE, sent.data, 4096)
    before = incoming(dimse_server)
    for _ in range(60):
        with Peer(dimse_server.port) as peer:
            peer.sock.sendall(wire[: chance.randrange(len(wire) - 1)])
    wait_until(lambda: incoming(dimse_server) <= before, what="the drafts are removed")
    assert not Instance.objects.exists()
    assert store(dimse_server.port, [sent]) == {sent.sop_instance_uid: 0}


def incoming(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.data / "archive" / "incoming").iterdir()}


def test_mutated_conversations_end_no_process_and_leave_no_trace(dimse_server):
    """Fuzzing: bytes changed, left out, repeated in a conversation that was good."""
    chance = random.Random(20260101)
    sent = of_data_set(ct())
    good = (
        p_data(ECHO, 3, command(0x30, VERIFICATION, has_data=False))
        + store_request(sent.sop_instance_uid)
        + fragments(STORE, sent.data, 300)
        + find_request()
        + fragments(FIND, data_set(SEARCH))
        + pdu.release_request()
    )
    said = len(dimse_server.output)
    for number in range(250):
        opening = number % 5 == 0
        wire = bytearray(request() if opening else good)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(wire))
            what = chance.randrange(4)
            if what == 0:
                wire[at] = chance.randrange(256)
            elif what == 1:
                del wire[at : at + chance.randrange(1, 20)]
            elif what == 2:
                wire[at:at] = wire[at : at + chance.randrange(1, 20)]
            else:
                wire[at : at + 4] = b"\xff\xff\xff\xff"
        with Peer(dimse_server.port) as peer, contextlib.suppress(OSError):
            if not opening:
                peer.associate()
            peer.sock.sendall(wire)
            peer.sock.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                while peer.sock.recv(65536):
                    pass
    assert seconds_of_echo(dimse_server.port) < PATIENCE
    bad = {"association_failed", "message_error", "message_aftermath_failed", "dimse_worker_died"}
    lines = [json.loads(line) for line in dimse_server.output[said:].splitlines() if line.startswith("{")]
    assert [line for line in lines if line["event"] in bad] == []
    assert "Traceback" not in dimse_server.output[said:]
