"""The HL7 daemon over raw sockets: framing, who is let in, limits, and how it ends."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings

from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import Patient
from tests.daemons import Daemon, database_url, hl7_daemon, wait_until
from tests.integrations.mllp_client import MllpClient, framed, last_message, make_peer, message, pid

Start = Callable[[Daemon], Daemon]


def update(number: str, **header: str) -> bytes:
    return message("ADT^A08", pid(number), **header).encode()


def test_several_messages_in_one_write_are_answered_in_order(mllp: MllpClient) -> None:
    messages = [update(f"N{number}", own_id=f"M{number}") for number in range(20)]
    mllp.send(b"".join(framed(each) for each in messages))
    assert [mllp.receive().control_id for _ in messages] == [f"M{number}" for number in range(20)]
    assert Patient.objects.filter(patient_id__startswith="N").count() == 20


def test_a_message_in_a_hundred_writes_is_one_message(mllp: MllpClient) -> None:
    data = framed(update("N1") + b"NTE|1||" + b"x" * 2000)
    step = len(data) // 100
    for start in range(0, len(data), step):
        mllp.send(data[start : start + step])
        time.sleep(0.002)
    assert mllp.receive().code == "AA"
    assert Hl7Message.objects.count() == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_segments_that_end_with_lf_are_taken(mllp: MllpClient, end: str) -> None:
    assert mllp.ask(update("N1").replace(b"\r", end.encode())).code == "AA"
    assert Patient.objects.filter(patient_id="N1").exists()


def test_the_bytes_are_kept_as_they_came(mllp: MllpClient) -> None:
    raw = message("ADT^A08", pid("N1", "GRÖNÉ^X")).encode("latin-1") + b"\n\nZZZ|\xff"
    assert mllp.ask(raw).code == "AA"
    kept = last_message()
    assert bytes(kept.raw) == raw and kept.size == len(raw)
    assert kept.state == MessageState.PROCESSED
    assert str(kept.address) == "127.0.0.1"
    assert bytes(kept.acknowledgment).startswith(b"MSH|^~\\&|SINAR|RAD|SIMRS|RSUD|")


def test_nobody_is_let_in_who_is_not_entered(committed_db: None, hl7_server: Daemon) -> None:
    with MllpClient(hl7_server.port) as stranger:
        stranger.send(framed(update("N1")))
        assert stranger.is_closed()
    make_peer("Elsewhere", addresses=["10.0.0.0/8", "192.168.1.7"])
    make_peer("Gone", addresses=["127.0.0.1"], is_active=False)
    with MllpClient(hl7_server.port) as stranger:
        stranger.send(framed(update("N1")))
        assert stranger.is_closed()
    assert not Hl7Message.objects.exists()
    make_peer("Here", addresses=["127.0.0.0/8"])
    with MllpClient(hl7_server.port) as known:
        assert known.ask(update("N1")).code == "AA"


def test_a_peer_that_was_made_inactive_is_answered_no_more(mllp: MllpClient, peer: Hl7Peer) -> None:
    assert mllp.ask(update("N1")).code == "AA"
    Hl7Peer.objects.update(is_active=False)
    mllp.send(framed(update("N2")))
    assert mllp.is_closed()
    assert Hl7Message.objects.count() == 1


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"MSH|^~\\&|A|B\r"])
def test_what_is_no_mllp_is_closed_without_an_answer(mllp: MllpClient, garbage: bytes) -> None:
    mllp.send(garbage)
    assert mllp.is_closed()
    assert not Hl7Message.objects.exists()


@pytest.mark.parametrize("raw", [b"", b"hello", b"MSH", b"\xff" * 1000, b"PID|1||12\r"])
def test_a_frame_without_a_message_is_kept_and_rejected(mllp: MllpClient, raw: bytes) -> None:
    answer = mllp.ask(raw)
    assert answer.code == "AR"
    assert bytes(last_message().raw) == raw
    assert last_message().state == MessageState.REJECTED and last_message().error
    assert mllp.ask(update("N1")).code == "AA"


def test_half_a_message_leaves_nothing(mllp: MllpClient) -> None:
    whole = framed(update("N1"))
    mllp.send(whole[: len(whole) // 2])
    mllp.socket.shutdown(socket.SHUT_WR)
    assert mllp.is_closed()
    assert not Hl7Message.objects.exists()


def test_a_message_without_end_is_refused_at_the_limit(peer: Hl7Peer, start: Start) -> None:
    daemon = start(hl7_daemon(SINAR_HL7_MAX_MESSAGE_SIZE="100000"))
    with MllpClient(daemon.port) as client:
        client.send(b"\x0b" + b"x" * 300_000)
        assert client.receive().code == "AR"
        assert client.is_closed()
    with MllpClient(daemon.port) as client:
        assert client.ask(update("N1") + b"NTE|1||" + b"x" * 90_000).code == "AA"


def test_the_largest_message_is_sixteen_megabytes(mllp: MllpClient) -> None:
    mllp.socket.settimeout(60)
    answer = mllp.ask(update("N1") + b"OBX|1|ED|PDF||" + b"x" * (15 * 1024**2))
    assert answer.code == "AA"
    assert last_message().size > 15 * 1024**2
    mllp.send(b"\x0b" + b"x" * (16 * 1024**2 + 2))
    assert mllp.receive().code == "AR"


def test_connections_that_say_nothing_or_drip_are_closed(peer: Hl7Peer, start: Start) -> None:
    daemon = start(hl7_daemon(SINAR_HL7_MESSAGE_SECONDS="1.5"))
    with MllpClient(daemon.port) as silent, MllpClient(daemon.port) as dripping, MllpClient(daemon.port) as proven:
        assert proven.ask(update("N1")).code == "AA"
        data = framed(update("N2"))
        until = time.monotonic() + 6
        closed = False
        for byte in data:
            try:
                dripping.send(bytes([byte]))
            except OSError:
                closed = True
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        assert closed
        assert silent.is_closed()
        # Who has sent a message may be silent for longer.
        assert proven.ask(update("N3")).code == "AA"
    assert not Patient.objects.filter(patient_id="N2").exists()


def test_a_real_sender_is_answered_while_hundreds_are_silent(peer: Hl7Peer, hl7_server: Daemon) -> None:
    silent = [socket.create_connection(("127.0.0.1", hl7_server.port)) for _ in range(500)]
    try:
        with MllpClient(hl7_server.port) as client:
            began = time.monotonic()
            assert client.ask(update("N1")).code == "AA"
            assert time.monotonic() - began < 2
    finally:
        for each in silent:
            each.close()


def test_over_the_limit_the_connection_that_was_silent_longest_goes(peer: Hl7Peer, start: Start) -> None:
    daemon = start(hl7_daemon(SINAR_HL7_MAX_CONNECTIONS="5", SINAR_HL7_PROCESSES="1"))
    with MllpClient(daemon.port) as proven:
        assert proven.ask(update("N1")).code == "AA"
        others = [MllpClient(daemon.port) for _ in range(6)]
        assert others[0].is_closed()
        with others[-1] as newest:
            assert newest.ask(update("N2")).code == "AA"
        assert proven.ask(update("N3")).code == "AA"
        for each in others:
            each.socket.close()


def test_the_same_patient_from_many_sides_at_once_is_one(peer: Hl7Peer, hl7_server: Daemon) -> None:
    def send(number: int) -> str:
        with MllpClient(hl7_server.port) as client:
            return client.ask(update("N1", own_id=f"M{number}")).code

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(send, range(60))) == {"AA"}
    assert Patient.objects.filter(patient_id="N1").count() == 1
    assert Hl7Message.objects.filter(state=MessageState.PROCESSED).count() == 60


def test_sigterm_finishes_what_is_in_hand(peer: Hl7Peer, start: Start) -> None:
    """A message whose work waits for a lock is answered although the daemon has been told to end meanwhile."""
    daemon = start(hl7_daemon())
    with MllpClient(daemon.port) as idle, MllpClient(daemon.port) as client:
        assert idle.ask(update("N0")).code == "AA"
        assert client.ask(update("N1")).code == "AA"
        with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"])) as other:
            other.execute("SELECT FROM radiology_patient WHERE patient_id = 'N1' FOR UPDATE")
            client.send(framed(message("ADT^A08", pid("N1", "OTHER^NAME")).encode()))
            wait_until(lambda: Hl7Message.objects.count() == 3, what="the message kept")
            assert daemon.process is not None
            daemon.process.terminate()
            assert idle.is_closed()
            other.rollback()
        assert client.receive().code == "AA"
        assert client.is_closed()
    assert daemon.process.wait(30) == 0
    assert Patient.objects.get(patient_id="N1").patient_name == "OTHER^NAME"


def test_a_kept_message_is_taken_up_when_it_comes_again_after_a_kill(peer: Hl7Peer, start: Start) -> None:
    """The bytes are committed before they are processed: a daemon that is killed in between has them."""
    daemon = start(hl7_daemon())
    raw = message("ADT^A08", pid("N1", "OTHER^NAME")).encode()
    with MllpClient(daemon.port) as client:
        assert client.ask(update("N1")).code == "AA"
        with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"])) as other:
            other.execute("SELECT FROM radiology_patient WHERE patient_id = 'N1' FOR UPDATE")
            client.send(framed(raw))
            wait_until(lambda: Hl7Message.objects.count() == 2, what="the message kept")
            daemon.kill()
    kept = last_message()
    assert (kept.state, bytes(kept.raw)) == (MessageState.RECEIVED, raw)
    assert Patient.objects.get(patient_id="N1").patient_name == "WIBOWO^BUDI"
    again = start(hl7_daemon())
    with MllpClient(again.port) as client:
        assert client.ask(raw).code == "AA"
    kept.refresh_from_db()
    assert kept.state == MessageState.PROCESSED
    assert last_message().state == MessageState.DUPLICATE and last_message().duplicate_of == kept
    assert Patient.objects.get(patient_id="N1").patient_name == "OTHER^NAME"


def test_no_log_line_holds_what_a_message_says(mllp: MllpClient, hl7_server: Daemon) -> None:
    mllp.ask(message("ADT^A08", pid("SECRET-NUMBER", "SECRET^NAME", f11="SECRET STREET")))
    mllp.ask(message("ADT^A08", pid("SECRET-NUMBER", "SECRET^NAME", born="SECRET")))
    mllp.ask(message("ORM^O01", pid("SECRET-NUMBER"), "ORC|NW|SECRET", "OBR|1|SECRET||SECRET"))
    mllp.send(b"SECRET")
    assert mllp.is_closed()
    assert "hl7_message" in hl7_server.output
    assert "SECRET" not in hl7_server.output
