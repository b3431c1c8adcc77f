"""C-STORE over a raw socket, framed in every way that PS3.8 9.3.5 and Annex E allow: the bytes kept are those sent."""

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.uid import generate_uid

from pacs.models import Instance, Location
from pacs.storage import open_object
from tests.daemons import Daemon, wait_until
from tests.flows.raw_dicom import (
    FIND,
    STORE,
    Peer,
    data_set,
    find_request,
    fragments,
    p_data,
    store_request,
)
from tests.pacs.dimse_client import Sent, of_data_set
from tests.pacs.objects import bare, ct

COMMAND, LAST = 1, 2
LARGEST = 1024 * 1024  # what we say that we take


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


def value(context_id: int, control: int, data: bytes) -> bytes:
    """A presentation data value."""
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def pdu_of(*values: bytes) -> bytes:
    """A P-DATA-TF PDU."""
    body = b"".join(values)
    return struct.pack(">BBI", 4, 0, len(body)) + body


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[position : position + size] for position in range(0, len(data), size)]


def ends(parts: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each part with its control bits: the last is marked."""
    for number, part in enumerate(parts, 1):
        yield (LAST if number == len(parts) else 0), part


def command_of(sent: Sent) -> bytes:
    """The bare command set of its C-STORE."""
    return store_request(sent.sop_instance_uid)[12:]


def pdus_of(size: int) -> Callable[[Sent], bytes]:
    def framed(sent: Sent) -> bytes:
        return store_request(sent.sop_instance_uid) + fragments(STORE, sent.data, size - 6)

    return framed


def split_command(sent: Sent) -> bytes:
    """The command set over PDUs of 7 bytes each: elements, lengths and values are cut through."""
    parts = ends(cut(command_of(sent), 7))
    return b"".join(pdu_of(value(STORE, COMMAND | end, part)) for end, part in parts) + fragments(STORE, sent.data)


def all_in_one(sent: Sent) -> bytes:
    """Command set and data set as the values of one PDU."""
    return pdu_of(value(STORE, COMMAND | LAST, command_of(sent)), value(STORE, LAST, sent.data))


def many_values(sent: Sent) -> bytes:
    """Three values in each PDU, the last of the command together with the first of the data set."""
    values = [value(STORE, COMMAND | end, part) for end, part in ends(cut(command_of(sent), 40))]
    values += [value(STORE, end, part) for end, part in ends(cut(sent.data, 999))]
    return b"".join(pdu_of(*values[position : position + 3]) for position in range(0, len(values), 3))


def empty_values(sent: Sent) -> bytes:
    """Values without a byte before, amid and behind the data set, the end marked on the last of them."""
    middle = len(sent.data) // 2
    parts = [b"", sent.data[:middle], b"", sent.data[middle:], b""]
    return store_request(sent.sop_instance_uid) + b"".join(pdu_of(value(STORE, end, part)) for end, part in ends(parts))


FRAMINGS: dict[str, Callable[[Sent], bytes]] = {
    "16 KB": pdus_of(16 * 1024),
    "smallest": pdus_of(128),
    "largest": pdus_of(LARGEST),
    "split command": split_command,
    "all in one": all_in_one,
    "many values": many_values,
    "empty values": empty_values,
}


def image(**attributes: Any) -> Sent:
    return of_data_set(ct(side=200, **attributes))


def large(**attributes: Any) -> Sent:
    """Of more than two of the largest PDUs."""
    return of_data_set(ct(side=1100, **attributes))


def kept(sent: Sent) -> bytes:
    wait_until(lambda: Instance.objects.filter(sop_instance_uid=sent.sop_instance_uid).exists(), seconds=5)
    location = Location.objects.select_related("volume").get(instance_ref__sop_instance_uid=sent.sop_instance_uid)
    assert bytes(location.sha256).hex() == sent.sha256
    with open_object(location=location) as file:
        return bare(file.read())


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_is_kept_is_what_was_sent(dimse_server: Daemon, framing: str) -> None:
    objects = [large() if framing == "largest" else image() for _ in range(3)]
    with Peer(dimse_server.port) as peer:
        peer.associate()
        for sent in objects:
            peer.sock.sendall(FRAMINGS[framing](sent))
            assert peer.receive_command()["Status"] == 0
    assert [kept(sent) for sent in objects] == [sent.data for sent in objects]


def test_all_ways_over_one_association_with_echoes_and_queries_between(dimse_server: Daemon) -> None:
    study, series = generate_uid(), generate_uid()
    objects = {framing: image(StudyInstanceUID=study, SeriesInstanceUID=series) for framing in FRAMINGS}
    keys = {0x00080052: b"IMAGE", 0x0020000D: study.encode(), 0x0020000E: series.encode()}
    with Peer(dimse_server.port) as peer:
        peer.associate()
        for framing, sent in objects.items():
            peer.sock.sendall(FRAMINGS[framing](sent))
            assert peer.receive_command()["Status"] == 0
            assert peer.echo() == 0
            wanted = data_set({**keys, 0x00080018: sent.sop_instance_uid.encode()})
            peer.sock.sendall(find_request() + fragments(FIND, wanted))
            assert peer.receive_command()["Status"] == 0xFF00, "it is found by the very next request"
            assert peer.final_status() == 0
    assert [kept(sent) for sent in objects.values()] == [sent.data for sent in objects.values()]


def test_a_byte_at_a_time_makes_no_difference(dimse_server: Daemon) -> None:
    sent = of_data_set(ct(side=4))
    with Peer(dimse_server.port) as peer:
        peer.associate()
        for byte in many_values(sent):
            peer.sock.sendall(bytes([byte]))
        assert peer.receive_command()["Status"] == 0
    assert kept(sent) == sent.data


@pytest.mark.parametrize("length", [1, 3])
def test_a_data_set_of_odd_length_is_kept_as_it_came(dimse_server: Daemon, length: int) -> None:
    """Such are not allowed (PS3.5 7.1.1), and are sent."""
    first, second = image(), image()
    tail = struct.pack("<HH2sH", 0xFFFC, 0x0001, b"UI", length) + b"1" * length
    odd = [Sent(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.data + tail)
           for each in (first, second)]  # fmt: skip
    assert all(len(each.data) % 2 for each in odd)
    with Peer(dimse_server.port) as peer:
        peer.associate()
        for sent in odd:
            peer.sock.sendall(pdus_of(16 * 1024)(sent))
            assert peer.receive_command()["Status"] == 0
    assert [kept(sent) for sent in odd] == [sent.data for sent in odd]


def test_what_is_not_whole_leaves_nothing(dimse_server: Daemon) -> None:
    first, second = image(), image()
    with Peer(dimse_server.port) as peer:
        peer.associate()
        peer.sock.sendall(all_in_one(first))
        assert peer.receive_command()["Status"] == 0
        whole = many_values(second)
        peer.sock.sendall(whole[: len(whole) // 2])
    assert kept(first) == first.data
    assert not Instance.objects.filter(sop_instance_uid=second.sop_instance_uid).exists()


def test_a_value_for_a_context_that_is_not_the_commands_ends_the_association(dimse_server: Daemon) -> None:
    sent = image()
    with Peer(dimse_server.port) as peer:
        peer.associate()
        peer.sock.sendall(store_request(sent.sop_instance_uid) + p_data(FIND, LAST, sent.data[:100]))
        assert peer.is_over(seconds=5)


def test_every_framing_is_another() -> None:
    sent = image()
    wires = [FRAMINGS[framing](sent) for framing in FRAMINGS]
    assert all(one != other for one, other in itertools.combinations(wires, 2))
