"""Mails about critical results, over a real SMTP server: who gets one, what is in it, what when it is away."""

import smtplib
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from django.utils import timezone

from radiology.models import CriticalPolicy, CriticalResult, Job, JobState, User
from radiology.services import critical_mail
from radiology.services.critical_results import acknowledge, withdraw
from tests.daemons import free_port
from tests.factories import default_site
from tests.radiology.critical import examination, let_the_time_run_out, log_of, people, raised, work

pytestmark = pytest.mark.django_db


class Mailbox:
    """What the server took; `answer` is what it says to the next mails."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], EmailMessage]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail: Any = message_from_bytes(envelope.content, policy=policy.default)
            self.got.append((envelope.rcpt_tos, mail))
        return self.answer


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield mailbox, controller.port
    controller.stop()


@pytest.fixture
def mailbox(server: tuple[Mailbox, int], settings: Any) -> Mailbox:
    box, port = server
    box.got.clear()
    box.answer = "250 OK"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.SINAR_PUBLIC_URL = "127.0.0.1", port, "https://sinar.rs.example/"
    return box


@pytest.fixture
def doctor() -> User:
    return people()[1]


@pytest.fixture
def radiologist(doctor: User) -> User:
    return User.objects.get(username="rahmat")


def texts(result: CriticalResult) -> list[tuple[str, str]]:
    return [(each.kind, each.detail) for each in result.events.filter(channel="mail")]


def let_retries_be_due() -> None:
    Job.objects.filter(kind=critical_mail.KIND, state=JobState.PENDING).update(next_attempt_at=timezone.now())
    work()


def test_the_mail_says_where_it_is_and_neither_what_nor_whose(
    mailbox: Mailbox, doctor: User, radiologist: User
) -> None:
    site = default_site()
    site.time_zone = "Asia/Makassar"
    site.save()
    procedure = examination(doctor, accession_number="A-77")
    result = raised(procedure, radiologist, "Pneumotoraks")
    work()
    ((to, mail),) = mailbox.got
    text = mail.get_content()
    assert to == ["sari@rs.example"] and "A-77" in str(mail["Subject"])
    assert f"https://sinar.rs.example/critical/{result.public_id}" in text and "WITA" in text
    patient = procedure.order_ref.patient_ref
    for secret in ("Pneumotoraks", patient.patient_id, *patient.display_name.split(), "Sari"):
        assert secret.lower() not in (text + str(mail["Subject"])).lower()
    assert log_of(result)[-1] == ("notified", "Sari Dewi", "mail")
    work()
    assert len(mailbox.got) == 1


def test_it_is_told_again_and_then_the_addresses_of_the_policy(
    mailbox: Mailbox, doctor: User, radiologist: User
) -> None:
    CriticalPolicy.objects.create(category="red", minutes=5, addresses=["igd@rs.example"])
    result = raised(examination(doctor), radiologist)
    for _level in range(3):
        let_the_time_run_out()
        work()
    assert [to for (to,), _mail in mailbox.got] == ["sari@rs.example"] * 2 + ["igd@rs.example"] * 2
    assert len({str(mail["Message-ID"]) for _to, mail in mailbox.got}) == 4
    acknowledge(result=result, how="read", who=doctor)
    let_the_time_run_out()
    assert len(mailbox.got) == 4


def test_a_withdrawal_is_told_and_the_mail_that_waited_is_not(
    mailbox: Mailbox, doctor: User, radiologist: User
) -> None:
    result = raised(examination(doctor), radiologist)
    withdraw(result=result, reason="Lipatan kulit", who=radiologist)
    work()
    ((_to, mail),) = mailbox.got
    assert "withdrawn" in str(mail["Subject"]) and "Lipatan" not in mail.get_content()


def test_a_server_that_is_away_holds_nothing_up_and_gets_it_later(
    mailbox: Mailbox, doctor: User, radiologist: User, settings: Any
) -> None:
    there, settings.EMAIL_PORT = settings.EMAIL_PORT, free_port()
    result = raised(examination(doctor), radiologist)
    work()
    let_retries_be_due()
    assert [kind for kind, _detail in texts(result)] == ["failed"]
    settings.EMAIL_PORT = there
    mailbox.answer = "451 try again"
    let_retries_be_due()
    assert not mailbox.got
    mailbox.answer = "250 OK"
    let_retries_be_due()
    assert len(mailbox.got) == 1 and [kind for kind, _detail in texts(result)] == ["failed", "notified"]


def test_what_the_server_refuses_is_not_tried_again(mailbox: Mailbox, doctor: User, radiologist: User) -> None:
    mailbox.answer = "554 no such person"
    result = raised(examination(doctor), radiologist)
    work()
    assert Job.objects.get(kind=critical_mail.KIND).state == JobState.DEAD
    assert texts(result) == [("failed", "The mail server refused it.")]


def test_without_a_mail_server_the_log_says_so(doctor: User, radiologist: User, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    result = raised(examination(doctor), radiologist)
    work()
    assert texts(result) == [("failed", "No mail server is configured.")]
    assert Job.objects.get(kind=critical_mail.KIND).state == JobState.DONE


def test_an_account_without_an_address_is_told_in_the_product_alone(
    mailbox: Mailbox, doctor: User, radiologist: User
) -> None:
    User.objects.filter(pk=doctor.pk).update(email="")
    result = raised(examination(doctor), radiologist)
    work()
    assert not mailbox.got and texts(result)[0][0] == "failed"
    assert ("notified", "Sari Dewi", "here") in log_of(result)


def test_the_test_s_server_is_one(server: tuple[Mailbox, int]) -> None:
    with smtplib.SMTP("127.0.0.1", server[1]) as client:
        assert client.noop()[0] == 250
