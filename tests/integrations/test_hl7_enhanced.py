"""Enhanced acknowledgment mode, what happens behind it, and the ports with TLS."""

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from integrations.models import AcknowledgmentMode, Hl7Message, Hl7Peer, MessageState, UnknownPatient
from radiology.models import Patient
from tests.certificates import certificate
from tests.daemons import Daemon, database_url, free_port, hl7_daemon, wait_until
from tests.integrations.mllp_client import MllpClient, framed, last_message, message, pid

Start = Callable[[Daemon], Daemon]


def asking(kind: str, accept: str, application: str, *segments: str, **header: str) -> bytes:
    """A message with MSH-15 and MSH-16."""
    text = message(kind, *segments, **header)
    head, rest = text.split("\r", 1)
    return f"{head}|||{accept}|{application}\r{rest}".encode()


def silent(client: MllpClient) -> bool:
    """Whether nothing more was said: the next answer is that of the next message."""
    return client.ask(message("ADT^A08", pid("SENTINEL", "SENTINEL^X"), own_id="SENTINEL")).control_id == "SENTINEL"


ASKED = [
    # MSH-15, MSH-16, and what is answered to what is done, to what cannot be done, and to what is not taken
    ("AL", "AL", ["CA", "AA"], ["CA", "AE"], ["CR", "AR"]),
    ("AL", "NE", ["CA"], ["CA"], ["CR"]),
    ("AL", "ER", ["CA"], ["CA", "AE"], ["CR", "AR"]),
    ("AL", "SU", ["CA", "AA"], ["CA"], ["CR"]),
    ("AL", "", ["CA"], ["CA"], ["CR"]),
    ("ER", "AL", ["AA"], ["AE"], ["CR", "AR"]),
    ("SU", "NE", ["CA"], ["CA"], []),
    ("NE", "AL", ["AA"], ["AE"], ["AR"]),
    ("", "AL", ["AA"], ["AE"], ["AR"]),
    ("", "", ["AA"], ["AE"], ["AR"]),
    ("NE", "NE", ["AA"], ["AE"], ["AR"]),  # nobody means it
]


@pytest.mark.parametrize(("accept", "application", "done", "failed", "rejected"), ASKED)
def test_what_is_asked_for_is_answered_and_nothing_else(
    mllp: MllpClient, accept: str, application: str, done: list[str], failed: list[str], rejected: list[str]
) -> None:
    for kind, born, expected in (
        ("ADT^A08", "19700131", done),
        ("ADT^A08", "10131113", failed),
        ("ADT^A60", "19700131", rejected),
    ):
        mllp.send(framed(asking(kind, accept, application, pid("N1", born=born), own_id=f"M{expected}")))
        answers = [mllp.receive() for _ in expected]
        assert [each.code for each in answers] == expected
        assert {each.control_id for each in answers} <= {f"M{expected}"}
        if len(answers) > 1:
            assert {tuple(each.segment("MSH")[14:16]) for each in answers} == {("NE", "NE")}
        assert silent(mllp)


def test_what_is_only_kept_is_done_behind_and_in_order(mllp: MllpClient) -> None:
    """The sender goes on at once; the last message counts, and a message that is awaited comes after them."""
    for number in range(30):
        assert mllp.ask(asking("ADT^A08", "AL", "NE", pid("N1", f"NAME{number}^X"))).code == "CA"
    assert mllp.ask(message("ADT^A08", pid("N1", "LAST^X"))).code == "AA"
    assert Patient.objects.get(patient_id="N1").patient_name == "LAST^X"
    rows = Hl7Message.objects.order_by("pk")
    assert [row.state for row in rows] == [MessageState.PROCESSED] * 31
    assert [row.is_enhanced for row in rows] == [True] * 30 + [False]


def test_the_same_again_is_told_so_and_done_once(mllp: MllpClient) -> None:
    raw = asking("ADT^A08", "AL", "AL", pid("N1"))
    for _ in range(3):
        mllp.send(framed(raw))
        assert [mllp.receive().code, mllp.receive().code] == ["CA", "AA"]
    assert [row.state for row in Hl7Message.objects.order_by("pk")] == ["processed", "duplicate", "duplicate"]
    assert Patient.objects.get().version == 1


def test_a_peer_may_be_answered_in_original_mode_whatever_it_says(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.filter(pk=peer.pk).update(acknowledgment_mode=AcknowledgmentMode.ORIGINAL)
    assert mllp.ask(asking("ADT^A08", "AL", "NE", pid("N1"))).code == "AA"
    assert silent(mllp)


def test_an_answer_to_our_answer_is_not_answered(mllp: MllpClient) -> None:
    mllp.send(framed(message("ACK^A08", "MSA|CA|OURS").encode()))
    assert silent(mllp)
    assert Hl7Message.objects.count() == 1


def test_many_at_once_share_a_transaction_and_each_is_answered(peer: Hl7Peer, start: Start) -> None:
    """Same and different ones, from ten connections; and what nobody can read spoils nothing for the others."""
    daemon = start(hl7_daemon())
    same = asking("ADT^A08", "AL", "NE", pid("SAME"), own_id="SAME")

    def send(number: int) -> list[str]:
        with MllpClient(daemon.port) as client:
            mine = [asking("ADT^A28", "AL", "NE", pid(f"N{number}-{each}")) for each in range(10)]
            for raw in [*mine[:5], same, b"NO HL7", *mine[5:]]:
                client.send(framed(raw))
            return [client.receive().code for _ in range(12)]

    with ThreadPoolExecutor(10) as pool:
        for codes in pool.map(send, range(10)):
            assert codes == ["CA"] * 6 + ["AR"] + ["CA"] * 5
    assert Hl7Message.objects.filter(message_control_id="SAME", state=MessageState.DUPLICATE).count() == 9
    wait_until(lambda: Patient.objects.count() == 101, what="every patient")
    wait_until(lambda: not Hl7Message.objects.filter(state=MessageState.WAITING).exists(), what="everything done")


def test_what_was_only_kept_is_done_after_a_kill(peer: Hl7Peer, start: Start) -> None:
    """CA is a promise: nobody sends it again."""
    daemon = start(hl7_daemon())
    with MllpClient(daemon.port) as client:
        assert client.ask(message("ADT^A08", pid("N1"))).code == "AA"
        with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"])) as other:
            other.execute("SELECT FROM radiology_patient WHERE patient_id = 'N1' FOR UPDATE")
            for number in range(5):
                assert client.ask(asking("ADT^A08", "AL", "NE", pid("N1", f"NAME{number}^X"))).code == "CA"
            daemon.kill()
            assert Hl7Message.objects.filter(state=MessageState.WAITING).count() == 5
    start(hl7_daemon())
    wait_until(lambda: not Hl7Message.objects.filter(state=MessageState.WAITING).exists(), what="everything done")
    assert Patient.objects.get(patient_id="N1").patient_name == "NAME4^X"


def test_several_ports_answer(peer: Hl7Peer, start: Start) -> None:
    port, other = free_port(), free_port()
    start(hl7_daemon(port=port, SINAR_HL7_PORT=f"{port},{other}"))
    for each in (port, other):
        with MllpClient(each) as client:
            assert client.ask(message("ADT^A08", pid("N1"))).code == "AA"


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """By name, a certificate with its key, each its own authority."""
    return {name: certificate(tmp_path, name) for name in ("ours", "sender", "stranger")}


def secured(client: MllpClient, certificates: dict[str, Path], own: str = "") -> MllpClient:
    context = ssl.create_default_context(cafile=certificates["ours"])
    if own:
        context.load_cert_chain(certificates[own])
    client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
    return client


def test_messages_come_over_tls_from_those_whose_certificate_is_known(
    peer: Hl7Peer, start: Start, certificates: dict[str, Path]
) -> None:
    port = free_port()
    daemon = start(
        hl7_daemon(
            SINAR_HL7_TLS_PORT=str(port),
            SINAR_HL7_TLS_CERTIFICATE=str(certificates["ours"]),
            SINAR_HL7_TLS_CA=str(certificates["sender"]),
        )
    )
    with secured(MllpClient(port), certificates, "sender") as client:
        assert client.ask(message("ADT^A08", pid("N1", "OVER^TLS"))).code == "AA"
    for own in ("", "stranger"):
        with pytest.raises((ssl.SSLError, ConnectionError)), MllpClient(port) as client:
            secured(client, certificates, own).ask(message("ADT^A08", pid("N2")))
    with MllpClient(port) as client:
        client.send(framed(message("ADT^A08", pid("N2")).encode()))
        assert client.is_closed()
    with MllpClient(daemon.port) as client:  # beside the port without
        assert client.ask(message("ADT^A08", pid("N1", "OVER^TLS"))).code == "AA"
    assert list(Patient.objects.values_list("patient_name", flat=True)) == ["OVER^TLS"]
    assert last_message().peer == peer


def test_a_certificate_that_cannot_be_used_is_said_at_the_start(committed_db: None, start: Start) -> None:
    daemon: Daemon = hl7_daemon(SINAR_HL7_TLS_PORT=str(free_port()), SINAR_HL7_TLS_CERTIFICATE="/nowhere.pem")
    with pytest.raises(AssertionError):
        start(daemon)
    assert "SINAR_HL7_TLS_CERTIFICATE" in daemon.output


def test_one_that_failed_behind_is_tried_again_when_it_comes_again(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.filter(pk=peer.pk).update(unknown_patient=UnknownPatient.HOLD)
    raw = asking("ADT^A08", "AL", "NE", pid("N1"))
    assert mllp.ask(raw).code == "CA"
    wait_until(lambda: last_message().state == MessageState.FAILED, what="the message held")
    Hl7Peer.objects.filter(pk=peer.pk).update(unknown_patient=UnknownPatient.CREATE)
    assert mllp.ask(raw).code == "CA"
    wait_until(lambda: Patient.objects.filter(patient_id="N1").exists(), what="the patient registered")
