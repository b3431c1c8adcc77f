"""Study tokens over raw sockets, on the port of the HL7 daemon: the known dialogues, and misuse."""

import contextlib
import socket
import string
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Hl7Peer
from integrations.tokens.questions import Question, answer_all
from pacs.models import Study, StudyToken
from pacs.services import removal
from pacs.services.study_tokens import revoke_token, token_of_text
from radiology.models import AuditEvent
from radiology.services.merges import merge_patients
from tests.daemons import Daemon, hl7_daemon
from tests.factories import make_patient, make_site, make_study, make_user
from tests.integrations.mllp_client import MllpClient, framed, make_peer, message, pid

Start = Callable[[Daemon], Daemon]
UID = "1.2.826.0.1.3748527.1.4.2.0.20181120.185921.384642"
UIDS = [f"1.2.840.113619.2.55.3.2831173124.78.1375418120.{number}" for number in (812, 813, 814)]


@pytest.fixture
def asker(committed_db: None) -> Hl7Peer:
    """A hospital system on this machine that may ask for tokens."""
    return make_peer(may_request_tokens=True)


@pytest.fixture
def line(asker: Hl7Peer, hl7_server: Daemon) -> Iterator[socket.socket]:
    """A connection of that system."""
    with socket.create_connection(("127.0.0.1", hl7_server.port), timeout=20) as connected:
        yield connected


def shown(patient: Any = None, **fields: Any) -> Study:
    return make_study(patient, number_of_study_related_instances=1, **fields)


def ask(line: socket.socket, key: str | bytes, ends: int = 1) -> bytes:
    """All bytes of the answer to one question, which has so many 0D."""
    line.sendall(b"\x10" + (key if isinstance(key, bytes) else key.encode()) + b"\x0d")
    return receive(line, ends)


def receive(line: socket.socket, ends: int = 1) -> bytes:
    got = b""
    while got.count(b"\x0d") < ends:
        more = line.recv(1)
        assert more, got
        got += more
    line.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        got += line.recv(100)  # there must be nothing more
    line.settimeout(20)
    return got


def is_closed(line: socket.socket) -> bool:
    line.settimeout(10)
    try:
        return line.recv(100) == b""
    except ConnectionError:
        return True


def is_token(text: bytes) -> bool:
    return len(text) == 64 and set(text.decode()) <= set(string.ascii_letters + string.digits)


def test_the_token_of_a_study_byte_for_byte(line: socket.socket, asker: Hl7Peer, hl7_server: Daemon) -> None:
    study = shown(study_instance_uid=UID)
    answer = ask(line, UID)
    assert answer[:1] == b"\x10" and answer[-1:] == b"\x0d" and len(answer) == 66
    token = answer[1:-1]
    assert is_token(token)
    assert ask(line, UID) == answer  # lasting
    kept = StudyToken.objects.get(study_ref=study)
    assert bytes(kept.token_sha256) == sha256(token).digest()
    assert token_of_text(text=token.decode()) == kept
    first, second = AuditEvent.objects.filter(event="token.asked")
    assert first.study_instance_uid == UID and first.agent == asker.name and first.address == "127.0.0.1"
    assert first.patient_ref_id == study.patient_ref_id and first.succeeded and second.succeeded
    assert token.decode() not in hl7_server.output and UID not in hl7_server.output


def test_the_tokens_of_a_patient_byte_for_byte(line: socket.socket) -> None:
    patient = make_patient("ID200631zw609")
    for day, uid in enumerate(UIDS):
        shown(patient, study_instance_uid=uid, study_date=f"2013080{9 - day}")
    answer = ask(line, "ID200631zw609", ends=7)
    assert answer[:1] == b"\x10" and answer[-2:] == b"\x0d\x0d"
    parts = answer[1:-2].split(b"\x0d")
    assert [part.decode() for part in parts[::2]] == UIDS
    assert all(is_token(part) for part in parts[1::2]) and len(set(parts[1::2])) == 3
    assert ask(line, UIDS[1]) == b"\x10" + parts[3] + b"\x0d"
    assert AuditEvent.objects.filter(event="token.asked", patient_ref=patient).count() == 4


def test_what_is_unknown_or_not_shown_has_none(line: socket.socket) -> None:
    patient = make_patient("GONE")
    deleted = shown(patient)
    removal.delete_study(who=make_user("chief", is_superuser=True), study=deleted, reason="by mistake")
    rejected = make_study(patient)  # of which nothing is left
    elsewhere = shown(make_patient("THERE", site=make_site()))
    provisional = shown(make_patient("NOT-SURE", provisional_for="1.2.3"))
    keys = [
        "1.2.3.4", "NOBODY", "", " ", "%", "GO%", "gone", "\x00", "../../etc/passwd", "x" * 64, "é", "GONE",
        deleted.study_instance_uid, rejected.study_instance_uid, elsewhere.study_instance_uid, "THERE", "NOT-SURE",
    ]  # fmt: skip
    for key in keys:
        assert ask(line, key) == b"\x10\x0d", key
    assert AuditEvent.objects.filter(event="token.asked", succeeded=False).count() == len(keys)
    assert ask(line, provisional.study_instance_uid) != b"\x10\x0d"  # who names the study means it
    assert StudyToken.objects.count() == 1


def test_a_number_of_several_patients_is_of_none(line: socket.socket, asker: Hl7Peer) -> None:
    here, there = make_patient("7"), make_patient("7", issuer_of_patient_id="RSUD")
    studies = [shown(here), shown(there)]
    assert ask(line, "7") == b"\x10\x0d"
    Hl7Peer.objects.update(assigning_authority="RSUD")
    assert ask(line, "7", ends=3).startswith(b"\x10" + studies[1].study_instance_uid.encode() + b"\x0d")
    Hl7Peer.objects.update(assigning_authority="OTHER")  # not its number; one without issuer may be
    assert ask(line, "7", ends=3).startswith(b"\x10" + studies[0].study_instance_uid.encode() + b"\x0d")
    Study.objects.filter(patient_ref=here).delete()
    assert ask(line, "7") == b"\x10\x0d"


def test_the_number_of_who_was_merged_leads_to_the_survivor(line: socket.socket) -> None:
    old, new = make_patient("OLD"), make_patient("NEW")
    uids = {shown(old).study_instance_uid, shown(new).study_instance_uid}
    merge_patients(who=make_user("chief", is_superuser=True), survivor=new, merged=old, reason="twice")
    for number in ("OLD", "NEW"):
        assert {part.decode() for part in ask(line, number, ends=5)[1:-2].split(b"\r")[::2]} == uids


def test_a_study_uid_that_is_also_a_number_is_the_study(line: socket.socket) -> None:
    shown(make_patient(UID))
    study = shown(study_instance_uid=UID)
    found = token_of_text(text=ask(line, UID)[1:-1].decode())
    assert found is not None and found.study_ref == study


def test_a_revoked_token_opens_nothing_and_another_one_is_given(line: socket.socket) -> None:
    study = shown()
    first = ask(line, study.study_instance_uid)[1:-1].decode()
    revoke_token(who=make_user("chief", is_superuser=True), study=study)
    assert token_of_text(text=first) is None
    second = ask(line, study.study_instance_uid)[1:-1].decode()
    assert second != first and token_of_text(text=second)


def test_questions_and_messages_on_one_connection(asker: Hl7Peer, hl7_server: Daemon) -> None:
    study = shown(study_instance_uid=UID)
    adt = message("ADT^A08", pid("N1")).encode()
    with MllpClient(hl7_server.port) as client:
        client.send(b"\x10" + UID.encode() + b"\x0d" + framed(adt) + b"\x10NOBODY\x0d\x0a\x10")
        got = b""
        while not got.endswith(b"\x10\x0d"):
            got += client.socket.recv(1000)
        token, _, rest = got[1:].partition(b"\x0d")
        assert is_token(token) and rest.startswith(b"\x0bMSH|") and b"MSA|AA|" in rest
        client.send(UID.encode() + b"\x0d")
        assert receive(client.socket) == b"\x10" + token + b"\x0d"
        assert client.ask(adt).code == "AA"
    assert StudyToken.objects.get().study_ref == study


@pytest.mark.parametrize(
    "garbage", [b"\x10" + b"1" * 65 + b"\x0d", b"\x10" + b"x" * 300, b"\x10\x00\x0d\x10" + b"9" * 999]
)
def test_a_key_without_end_is_closed(line: socket.socket, garbage: bytes) -> None:
    line.sendall(garbage)
    if garbage.startswith(b"\x10\x00"):
        assert receive(line)[:2] == b"\x10\x0d"
    assert is_closed(line)


def test_half_a_question_is_closed_after_its_time(asker: Hl7Peer, start: Start) -> None:
    daemon = start(hl7_daemon(SINAR_HL7_MESSAGE_SECONDS="1"))
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as half:
        half.sendall(b"\x10" + UID.encode())
        began = time.monotonic()
        assert is_closed(half) and time.monotonic() - began > 0.8
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as cut:
        cut.sendall(b"\x10" + UID.encode())
        cut.shutdown(socket.SHUT_WR)
        assert is_closed(cut)
    assert not AuditEvent.objects.filter(event="token.asked").exists()


def test_who_may_not_ask_is_closed_without_an_answer(committed_db: None, hl7_server: Daemon) -> None:
    shown(study_instance_uid=UID)
    make_peer("Elsewhere", addresses=["10.0.0.0/8"], may_request_tokens=True)
    with socket.create_connection(("127.0.0.1", hl7_server.port)) as stranger:
        stranger.sendall(b"\x10" + UID.encode() + b"\x0d")
        assert is_closed(stranger)
    assert not AuditEvent.objects.filter(event="token.asked").exists()
    sends = make_peer("Sends messages only")
    time.sleep(1.1)  # so long the gate remembers who it let in
    with MllpClient(hl7_server.port) as known:
        assert known.ask(message("ADT^A08", pid("N1"))).code == "AA"
        known.send(b"\x10" + UID.encode() + b"\x0d")
        assert known.is_closed()
    assert "no HL7 peer of this address may ask for study tokens" in hl7_server.output
    refused = AuditEvent.objects.get(event="token.asked")
    assert not refused.succeeded and refused.address == "127.0.0.1" and refused.detail == {"key": UID}
    Hl7Peer.objects.filter(pk=sends.pk).update(may_request_tokens=True)
    with socket.create_connection(("127.0.0.1", hl7_server.port)) as known:
        assert is_token(ask(known, UID)[1:-1])
        Hl7Peer.objects.update(is_active=False)  # takes effect at once, also on what is open
        known.sendall(b"\x10" + UID.encode() + b"\x0d")
        assert is_closed(known)


def test_a_thousand_at_once_get_each_their_own(asker: Hl7Peer, hl7_server: Daemon) -> None:
    patient = make_patient()
    uids = [shown(patient).study_instance_uid for _ in range(50)]

    def one(number: int) -> tuple[str, bytes]:
        uid = uids[number % len(uids)]
        with socket.create_connection(("127.0.0.1", hl7_server.port), timeout=60) as line:
            line.sendall(b"\x10" + uid.encode() + b"\x0d")
            return uid, receive(line)

    with ThreadPoolExecutor(100) as pool:
        answers = set(pool.map(one, range(1000)))
    assert len(answers) == len({token for _, token in answers}) == 50
    assert StudyToken.objects.count() == 50
    assert AuditEvent.objects.filter(event="token.asked", succeeded=True).count() == 1000


@pytest.mark.django_db
def test_many_questions_cost_three_queries() -> None:
    make_peer(may_request_tokens=True)
    patient = make_patient()
    questions = [Question(shown(patient).study_instance_uid, "127.0.0.1") for _ in range(30)]
    first = answer_all(questions)
    with CaptureQueriesContext(connection) as captured:
        assert answer_all(questions) == first
    told = [query["sql"] for query in captured if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
    assert len(told) == 3, told  # who may ask, the studies with their tokens, the audit


@pytest.mark.django_db
def test_another_key_makes_every_token_worthless(settings: Any) -> None:
    make_peer(may_request_tokens=True)
    question = [Question(shown().study_instance_uid, "127.0.0.1")]
    (old,) = answer_all(question)
    assert old is not None
    settings.SINAR_STUDY_TOKEN_KEY = "another" * 8
    assert token_of_text(text=old[1:-1].decode()) is None
    (new,) = answer_all(question)
    assert new is not None and new != old and token_of_text(text=new[1:-1].decode())
