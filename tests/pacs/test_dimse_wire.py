"""The upper layer's encodings against those of pynetdicom, and its bounds."""

import random
import socket
import struct
import threading
import time
import zlib
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian
from pydicom.uid import ImplicitVRLittleEndian as ImplicitLE
from pynetdicom import pdu as reference
from pynetdicom.dimse_messages import C_MOVE_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_MOVE, C_STORE

from pacs.dimse import connection, data_sets, message, pdu
from pacs.dimse.connection import Closed, Connection, ProtocolError, TooSlow
from pacs.dimse.pdu import AnsweredContext, AssociateAccept, AssociateRequest, ProposedContext, Role
from radiology.errors import CannotUnderstand, TooLarge

REQUEST = AssociateRequest(
    called_ae_title="MINIPACS",
    calling_ae_title="CT 1",
    maximum_length=65536,
    implementation_class_uid="1.2.3",
    implementation_version_name="TEST",
    roles={CTImageStorage: Role(scu=False, scp=True)},
    extended={"1.2.840.10008.5.1.4.1.2.2.1": b"\x01\x01\x00\x00"},
    contexts=(
        ProposedContext(1, "1.2.840.10008.1.1", (ImplicitLE,)),
        ProposedContext(3, CTImageStorage, (ExplicitVRLittleEndian, ImplicitLE)),
    ),
)


def test_an_association_request_reads_the_same_here_and_in_pynetdicom():
    decoded: Any = reference.A_ASSOCIATE_RQ()
    decoded.decode(REQUEST.encode())
    assert decoded.called_ae_title == "MINIPACS" and decoded.calling_ae_title == "CT 1"
    assert [each.context_id for each in decoded.presentation_context] == [1, 3]
    assert decoded.presentation_context[1].transfer_syntax == [ExplicitVRLittleEndian, ImplicitLE]
    assert decoded.user_information.maximum_length == 65536
    assert decoded.user_information.role_selection[CTImageStorage].scp_role
    assert decoded.user_information.ext_neg[0].app_info == b"\x01\x01\x00\x00"
    assert decoded.encode() == REQUEST.encode()
    assert pdu.decode_request(decoded.encode()[6:]) == REQUEST


def test_our_acceptance_reads_the_same_in_pynetdicom():
    accept = AssociateAccept(
        called_ae_title="MINIPACS",
        calling_ae_title="CT1",
        maximum_length=1048576,
        implementation_class_uid="1.2.3",
        contexts=(AnsweredContext(1, 0, ImplicitLE), AnsweredContext(3, 4, ExplicitVRLittleEndian)),
    )
    decoded = reference.A_ASSOCIATE_AC()
    decoded.decode(accept.encode())
    assert [(each.context_id, each.result) for each in decoded.presentation_context] == [(1, 0), (3, 4)]
    assert pdu.decode_accept(accept.encode()[6:]) == accept


def test_items_that_nobody_knows_are_passed_over():
    """PS3.8 9.3.1. pynetdicom raises KeyError here."""
    body = REQUEST.encode()[6:] + bytes([0x77, 0, 0, 3]) + b"abc"
    assert pdu.decode_request(body) == REQUEST


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(67), id="too short"),
        pytest.param(REQUEST.encode()[6:-1], id="cut in the last item"),
        pytest.param(bytes(68) + b"\x20\x00\xff\xff", id="an item longer than the PDU"),
        pytest.param(bytes(68) + b"\x20\x00\x00\x04\x02\x00\x00\x00", id="an even context identifier"),
        pytest.param(bytes(68) + b"\x20\x00\x00\x04\x01\x00\x00\x00" * 2, id="a context without abstract syntax"),
        pytest.param(bytes(68) + b"\x50\x00\x00\x08\x54\x00\x00\x04\xff\xff12", id="a UID longer than its item"),
    ],
)
def test_a_malformed_request_is_said_to_be_malformed(body):
    with pytest.raises(pdu.Malformed):
        pdu.decode_request(body)


def test_command_sets_read_the_same_here_and_in_pynetdicom():
    store = C_STORE()
    store.MessageID, store.Priority = 7, 2
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = CTImageStorage, "1.2.3.4.5"
    store.MoveOriginatorApplicationEntityTitle, store.MoveOriginatorMessageID = "WS1", 9
    store.DataSet = BytesIO(b"12")
    move = C_MOVE()
    move.MessageID, move.MoveDestination, move.Identifier = 1, "WS2", BytesIO(b"12")
    move.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.2.2.2"
    for primitive, kind in ((store, C_STORE_RQ), (move, C_MOVE_RQ)):
        reference_message = kind()
        reference_message.primitive_to_message(primitive)
        fragments = list(reference_message.encode_msg(1, 16384))
        raw = fragments[0].presentation_data_value_list[0][1][1:]
        assert message.encode(message.decode(raw)) == raw
    assert message.decode(raw)["MoveDestination"] == "WS2"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 7, id="half an element"),
        pytest.param(struct.pack("<HHI", 0, 0x0100, 0xFFFFFFFF), id="a length beyond the end"),
        pytest.param(struct.pack("<HHIH", 0, 0x0110, 2, 1), id="no command field"),
        pytest.param(struct.pack("<HHIH", 8, 0x0100, 2, 1), id="another group"),
        pytest.param(struct.pack("<HHIB", 0, 0x0100, 1, 1), id="a number of one byte"),
    ],
)
def test_a_malformed_command_set_is_said_to_be_malformed(raw):
    with pytest.raises(message.MalformedCommand):
        message.decode(raw)


def test_an_error_comment_holds_at_most_64_plain_characters():
    text = message.error_comment("Gambar “ini” sudah ada\\" + "x" * 100)
    assert len(text) == 64 and text.isascii() and "\\" not in text


@pytest.fixture
def pair():
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def ends(pair):
    """Ours as a Connection, theirs as a socket."""
    return Connection(pair[0], pdu_seconds=20), pair[1]


def p_data(context_id: int, control: int, data: bytes) -> bytes:
    return pdu.HEADER.pack(4, len(data) + 6) + pdu.PDV_HEADER.pack(len(data) + 2, context_id, control) + data


def test_a_data_set_comes_through_whatever_its_fragments(ends):
    ours, theirs = ends
    data = bytes(range(256)) * 5000
    wire = b"".join(
        p_data(1, 2 if end >= len(data) else 0, data[end - 999 : end]) for end in range(999, len(data) + 999, 999)
    )
    threading.Thread(target=theirs.sendall, args=(wire,)).start()
    assert b"".join(bytes(block) for block in ours.data_set(1)) == data


def test_several_values_in_one_pdu_are_all_read(ends):
    ours, theirs = ends
    command = message.encode({"CommandField": 0x0001, "MessageID": 1})
    one = pdu.PDV_HEADER.pack(len(command) + 2, 5, 3) + command
    two = pdu.PDV_HEADER.pack(6, 5, 2) + b"data"
    theirs.sendall(pdu.HEADER.pack(4, len(one) + len(two)) + one + two)
    assert ours.receive_command() == (5, {"CommandField": 1, "MessageID": 1})
    assert b"".join(map(bytes, ours.data_set(5))) == b"data"


@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 1000])
def test_what_is_sent_is_cut_to_the_peers_length_and_its_end_is_marked(ends, size):
    ours, theirs = ends
    ours.respect(256)
    data = random.Random(size).randbytes(size)
    for stream in (data, BytesIO(data)):
        ours.send_message(1, b"c" * 300, stream)
        theirs.settimeout(1)
        received, last_command, last_data = b"", 0, 0
        while not last_data:
            header = theirs.recv(6, socket.MSG_WAITALL)
            _, length = pdu.HEADER.unpack(header)
            assert length <= 256
            body = theirs.recv(length, socket.MSG_WAITALL)
            control = body[5]
            if control & 1:
                last_command += control >> 1
            else:
                received += body[6:]
                last_data += control >> 1
        assert received == data and last_command == 1


def test_messages_that_may_wait_go_out_in_order_with_the_next_and_before_anything_is_waited_for(ends, monkeypatch):
    ours, theirs = ends
    theirs.settimeout(0.2)
    for follows in (lambda: ours.send_message(1, b"two"), lambda: ours.wait(seconds=0, stop=theirs.fileno())):
        ours.send_message(1, b"one", b"data", may_wait=True)
        with pytest.raises(TimeoutError):
            theirs.recv(1)
        follows()
        assert theirs.recv(1000).startswith(p_data(1, 3, b"one") + p_data(1, 2, b"data"))
    ours.send_message(1, b"one", may_wait=True)
    assert not ours.has_input()
    with pytest.raises(TimeoutError):
        theirs.recv(1)
    monkeypatch.setattr(connection, "HELD_SECONDS", 0)  # old by now
    assert not ours.has_input()
    assert theirs.recv(1000) == p_data(1, 3, b"one")
    monkeypatch.undo()
    written = 0
    while written < connection.MOST_HELD:  # nobody waits for ever, and nothing heaps up
        ours.send_message(1, b"c", bytes(4000), may_wait=True)
        written += 4000
    assert theirs.recv(1)


class Trickle(BytesIO):
    """A stream that gives less than it is asked for."""

    def read(self, size=-1):
        return super().read(min(size, 777))


@pytest.mark.parametrize("limit", [128, 16384, 0])
@pytest.mark.parametrize("kind", ["file", "stream", "file read ahead"])
def test_objects_of_every_length_go_out_whole_over_one_connection(ends, limit, kind, tmp_path):
    """Around the ends of PDUs and of the portions in which they are read, long ones before short ones."""
    ours, theirs = ends
    ours.respect(limit)
    longest = (limit or connection.LARGEST_SENT) - 6
    portion = longest * min(max(1, connection.LARGEST_SENT // longest), connection.MOST_PDUS)
    sizes = [n * portion + rest for n in (2, 1, 0) for rest in (-1, 0, 1, longest) if n * portion + rest >= 0]
    objects = [random.Random(size).randbytes(size) for size in sizes]

    def send() -> None:
        for data in objects:
            (tmp_path / "object").write_bytes(b"head" + data)
            with Trickle(b"head" + data) if kind == "stream" else (tmp_path / "object").open("rb") as stream:
                stream.seek(4)
                if kind == "file read ahead":
                    ours.read_ahead(stream)
                ours.send_message(7, b"c" * 1000, stream)

    sender = threading.Thread(target=send)
    sender.start()
    theirs.settimeout(20)
    wire = theirs.makefile("rb")
    for data in objects:
        parts, is_last = {0: b"", 1: b""}, {0: 0, 1: 0}
        while not is_last[0]:
            kind_of_pdu, length = pdu.HEADER.unpack(wire.read(6))
            body = wire.read(length)
            value, context_id, control = pdu.PDV_HEADER.unpack(body[:6])
            assert (kind_of_pdu, context_id, value) == (4, 7, length - 4) and length <= longest + 6
            parts[control & 1] += body[6:]
            is_last[control & 1] += control >> 1
        assert parts == {0: data, 1: b"c" * 1000} and is_last == {0: 1, 1: 1}
    sender.join()


def test_a_file_that_was_read_ahead_and_is_not_sent_leaves_nothing_behind(ends, tmp_path):
    ours, theirs = ends
    (tmp_path / "other").write_bytes(b"other" * 9)
    (tmp_path / "object").write_bytes(b"data")
    with (tmp_path / "other").open("rb") as other, (tmp_path / "object").open("rb") as stream:
        ours.read_ahead(stream)
        ours.read_ahead(other)
        for whole in (stream, BytesIO(b"data")):
            ours.read_ahead(whole)  # of what can be read once only, nothing is taken
            ours.read_ahead(other)
            ours.send_message(1, b"c", whole)
            assert theirs.recv(1000) == p_data(1, 3, b"c") + p_data(1, 2, b"data")


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(pdu.HEADER.pack(4, 0xFFFFFFFF), id="4 GB"),
        pytest.param(pdu.HEADER.pack(4, connection.MAXIMUM_LENGTH + 1), id="more than we said"),
        pytest.param(pdu.HEADER.pack(4, 5), id="no room for a value"),
        pytest.param(pdu.HEADER.pack(4, 6) + pdu.PDV_HEADER.pack(0xFFFFFFFF, 1, 3), id="a value longer than the PDU"),
        pytest.param(pdu.HEADER.pack(4, 6) + pdu.PDV_HEADER.pack(1, 1, 3), id="a value shorter than its header"),
        pytest.param(p_data(1, 0, b"data"), id="a data set first"),
        pytest.param(p_data(1, 1, b"c") + p_data(3, 3, b"c"), id="a command over two contexts"),
        pytest.param(p_data(1, 1, bytes(40000)) * 2, id="a command of 80 KB"),
        pytest.param(p_data(1, 3, b"nonsense"), id="no command set"),
        pytest.param(pdu.HEADER.pack(9, 4) + bytes(4), id="an unknown PDU"),
        pytest.param(pdu.HEADER.pack(1, 4) + bytes(4), id="a second association request"),
        pytest.param(p_data(1, 1, b"c") + pdu.release_request(), id="a release amid a message"),
    ],
)
def test_what_breaks_the_protocol_is_refused_before_it_takes_memory(ends, wire):
    ours, theirs = ends
    theirs.sendall(wire)
    with pytest.raises((ProtocolError, Closed)) as raised:
        ours.receive_command()
    assert not isinstance(raised.value, TooSlow)


def test_a_pdu_that_drips_is_cut_off_in_time_however_often_a_byte_comes(pair):
    over = threading.Event()

    def drip() -> None:
        for byte in p_data(1, 3, bytes(1000)):
            pair[1].sendall(bytes([byte]))
            if over.wait(0.1):
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    begun = time.monotonic()
    with pytest.raises(TooSlow):
        Connection(pair[0], pdu_seconds=1).receive_command()
    over.set()
    dripping.join()
    assert time.monotonic() - begun < 5


def test_a_peer_that_does_not_read_is_cut_off_in_time(pair):
    with pytest.raises(TooSlow):
        Connection(pair[0], pdu_seconds=0.5).send_pdu(bytes(64 * 1024 * 1024))


@pytest.mark.parametrize(
    "syntax", [ImplicitLE, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_message_data_sets_survive_every_syntax(syntax):
    data_set = Dataset()
    data_set.PatientName, data_set.Rows = "SANTOSO^BUDI", 512
    assert data_sets.decode(data_sets.encode(data_set, syntax), syntax) == data_set


def test_a_deflate_bomb_is_refused():
    bomb = zlib.compressobj(9, wbits=-15)
    raw = bomb.compress(bytes(100 * 1024 * 1024)) + bomb.flush()
    assert len(raw) < 200 * 1024
    with pytest.raises(TooLarge):
        data_sets.decode(raw, DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("depth", [20, 300, 3000])
def test_nested_sequences_are_refused(undefined_length, depth):
    raw = b""
    for _ in range(depth):
        if undefined_length:
            raw = (
                struct.pack("<HHIHHI", 0x0040, 0x0275, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
                + raw
                + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            )
        else:
            raw = struct.pack("<HHI", 0xFFFE, 0xE000, len(raw)) + raw
            raw = struct.pack("<HHI", 0x0040, 0x0275, len(raw)) + raw
    with pytest.raises(CannotUnderstand):
        data_sets.decode(raw, ImplicitLE)


def test_a_sequence_key_of_ordinary_depth_is_read():
    item, data_set = Dataset(), Dataset()
    item.ScheduledProcedureStepID = "S1"
    data_set.RequestAttributesSequence = Sequence([item])
    assert data_sets.decode(data_sets.encode(data_set, ImplicitLE), ImplicitLE) == data_set
