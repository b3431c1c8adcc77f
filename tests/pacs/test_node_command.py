"""`manage.py node` and the associations that we ask for: C-ECHO with and without TLS."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pynetdicom import AE, evt

from pacs.models import ApplicationEntity
from tests.certificates import certificate
from tests.daemons import free_port

pytestmark = pytest.mark.django_db


def node(*arguments: object) -> str:
    out = StringIO()
    call_command("node", *map(str, arguments), stdout=out)
    return out.getvalue()


@contextmanager
def scp(*, title: str = "WS1", classes: tuple[str, ...] = ("1.2.840.10008.1.1",), **options: Any) -> Iterator[int]:
    """A node that answers on a port; `answer` is the status of its C-ECHO response."""
    status = options.pop("answer", 0)
    ae = AE(ae_title=title)
    ae.require_called_aet = True
    for sop_class in classes:
        ae.add_supported_context(sop_class)
    handlers: list[Any] = [(evt.EVT_C_ECHO, lambda event: status)]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **options)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_a_node_is_added_listed_and_removed():
    node("add", "WS1", "10.0.0.7", 104)
    node("add", "WS1", "10.0.0.7", 104, "--tls")
    added = ApplicationEntity.objects.get()
    assert (added.title, added.host, added.port, added.tls) == ("WS1", "10.0.0.7", 104, True)
    assert node("list") == "WS1 (10.0.0.7:104) TLS\n"
    node("remove", "WS1")
    assert not ApplicationEntity.objects.exists()


@pytest.mark.parametrize("arguments", [("A" * 17, "h", 104), ("A\\B", "h", 104), ("WS1", "h", 0), ("WS1", "h", 70000)])
def test_what_is_no_node_is_refused(arguments):
    with pytest.raises(CommandError):
        node("add", *arguments)
    assert not ApplicationEntity.objects.exists()


def test_a_title_that_is_not_there_is_said():
    for action in ("echo", "remove"):
        with pytest.raises(CommandError, match="no node of the title WS9"):
            node(action, "WS9")


def test_a_node_that_answers_is_said_to():
    with scp() as port:
        node("add", "WS1", "127.0.0.1", port)
        assert "answers" in node("echo", "WS1")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"title": "OTHER"}, "does not know the AE title"),
        ({"classes": ("1.2.840.10008.5.1.4.1.1.2",)}, "does not offer verification"),
        ({"answer": 0x0122}, "status 0122"),
    ],
)
def test_why_a_node_does_not_answer_is_said(options, why):
    with scp(**options) as port:
        node("add", "WS1", "127.0.0.1", port)
        with pytest.raises(CommandError, match=why):
            node("echo", "WS1")


def test_a_node_that_is_not_there_does_not_answer():
    node("add", "WS1", "127.0.0.1", free_port())
    with pytest.raises(CommandError, match="does not answer at"):
        node("echo", "WS1")


def test_a_node_with_tls_is_verified_and_shown_our_certificate(tmp_path, settings):
    pem = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem)
    with scp(ssl_context=context) as port:
        node("add", "WS1", "127.0.0.1", port, "--tls")
        with pytest.raises(CommandError, match="not trusted"):
            node("echo", "WS1")
        settings.DIMSE = {**settings.DIMSE, "TLS_CA": str(pem), "TLS_CERTIFICATE": str(pem)}
        assert "answers" in node("echo", "WS1")


def test_a_node_is_limited_and_what_is_not_named_stays():
    node("add", "MIGRATE", "10.0.0.9", 104)
    node("set", "MIGRATE", "--priority", "bulk", "--most-associations-from", 2, "--receive-rate", 2.5)
    said = node("set", "MIGRATE", "--associations-per-transfer", 4)
    assert said == (
        "MIGRATE (10.0.0.9:104) bulk most-associations-from=2 most-associations-to=0 "
        "associations-per-transfer=4 receive-rate=2.5 send-rate=0\n"
    )
    found = ApplicationEntity.objects.get()
    assert (found.priority, found.most_associations_from, found.receive_rate) == ("bulk", 2, 2.5)
    assert (found.associations_per_transfer, found.send_rate) == (4, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--receive-rate", "-1"),
        ("--receive-rate", "0.001"),
        ("--send-rate", "nan"),
        ("--send-rate", "inf"),
        ("--most-associations-to", "201"),
        ("--most-associations-from", "-1"),
        ("--associations-per-transfer", "0"),
        ("--associations-per-transfer", "17"),
    ],
)
def test_limits_that_make_no_sense_are_refused(name, value):
    node("add", "MIGRATE", "10.0.0.9", 104)
    with pytest.raises(CommandError):
        node("set", "MIGRATE", f"{name}={value}")
    found = ApplicationEntity.objects.get()
    assert (found.receive_rate, found.send_rate, found.most_associations_to, found.associations_per_transfer) == (
        0, 0, 0, 1,
    )  # fmt: skip
