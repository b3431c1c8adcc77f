"""Webhooks do not become a way into the hospital's network."""

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.exceptions import ValidationError

from integrations.models import Webhook, WebhookNetwork
from integrations.webhooks import addresses, deliver, sending
from integrations.webhooks.addresses import Allowed
from radiology.errors import InvalidValue, Unreachable
from tests.integrations.webhook_receiver import Receiver, allow, make_webhook, receiving

INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "198.18.0.1", "192.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:db8::1",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.167.1.1", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_refused_until_its_network_is_allowed(address: str) -> None:
    assert not Allowed().admits(address, tls=True)
    assert not Allowed().admits(address, tls=False)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_outside_is_called_by_tls_only(address: str) -> None:
    assert Allowed().admits(address, tls=True)
    assert not Allowed().admits(address, tls=False)


@pytest.mark.django_db
def test_an_administrator_allows_networks_and_http() -> None:
    allow("10.1.0.0/16", plain_http=False)
    allow("10.2.3.4", plain_http=True)
    allow("8.8.8.0/24", plain_http=True)
    found = Allowed.at(1)
    assert found.admits("10.1.2.3", tls=True) and not found.admits("10.1.2.3", tls=False)
    assert found.admits("::ffff:10.1.2.3", tls=True)
    assert found.admits("10.2.3.4", tls=False) and not found.admits("10.2.3.5", tls=True)
    assert found.admits("8.8.8.8", tls=False)
    assert not Allowed.at(2).admits("10.1.2.3", tls=True), "another site's networks are its own"


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "8.0.0.0/7", "everywhere", "", "10.0.0.0/8/8"])
def test_no_network_is_everything(network: str) -> None:
    with pytest.raises(ValidationError):
        WebhookNetwork(network=network, site_id=1).clean()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "https://", "https:///x", "x", "",
        "https://user:pw@a.example/", "https://a.example/#x", "https://a.example/\r\nX: y", "https://a b/", "https://[::1",
        "https://a.example:0/", "https://a.example:99999/", "https://a.example\\@b.example/", "https://ä.example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue):
        make_webhook(url)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A resolver: each question of a name takes the next answer, the last one for good."""
    answers: dict[str, list[str]] = {}
    system = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **more: Any) -> Any:
        known = answers.get(host)
        if known is None:
            return system(host, port, *rest, **more)
        return system(known.pop(0) if len(known) > 1 else known[0], port, *rest, **more)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    return answers


@pytest.mark.django_db
def test_a_name_that_rebinds_reaches_nothing_inside(names: dict[str, list[str]]) -> None:
    """Looked at as an address outside, and meant as one inside a moment later."""
    with receiving() as receiver:
        webhook, _ = make_webhook(f"https://rebind.example:{receiver.port}/")
        names["rebind.example"] = ["192.0.2.1", "127.0.0.1"]
        for _ in range(3):
            with pytest.raises(Unreachable) as refused:
                deliver.send_test(webhook)
        assert "an administrator must allow that network" in refused.value.message
        allow("192.0.2.0/24")
        Webhook.objects.update(url=f"http://rebind.example:{receiver.port}/")
        webhook.refresh_from_db()
        names["rebind.example"] = ["192.0.2.1", "127.0.0.1"]
        looked_at: list[tuple[str, int]] = []

        def connect(address: tuple[str, int], timeout: float) -> Any:
            looked_at.append(address)
            raise OSError("no route")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sending.socket, "create_connection", connect)
            with pytest.raises(Unreachable):
                deliver.send_test(webhook)
        assert looked_at == [("192.0.2.1", receiver.port)], "connected to what was looked at, not to the name"
        assert not receiver.got


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    with receiving() as receiver:
        webhook, _ = make_webhook(f"https://{host}:{receiver.port}/")
        with pytest.raises(Unreachable):
            deliver.send_test(webhook)
        assert not receiver.got


@pytest.mark.django_db
def test_a_redirect_is_not_followed() -> None:
    allow("127.0.0.0/8")
    with receiving() as inside, receiving(307, headers={"Location": inside.url}) as receiver:
        webhook, _ = make_webhook(receiver.url)
        answer = deliver.send_test(webhook)
        assert answer.status == 307 and not answer.is_success and not inside.got


@pytest.mark.django_db
def test_a_long_answer_is_cut() -> None:
    allow()
    with receiving(200, body=b"x" * 5_000_000) as receiver:
        webhook, _ = make_webhook(receiver.url)
        answer = deliver.send_test(webhook)
    assert answer.is_success and 0 < len(answer.excerpt) <= sending.EXCERPT


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[ssl.SSLContext, Path]]:
    """A server's TLS for `hooks.example`, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    kept = tmp_path / "server.pem"
    kept.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kept)
    yield context, kept


@pytest.mark.django_db
def test_certificates_are_checked_for_the_name(
    authority: tuple[ssl.SSLContext, Path], names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = authority
    allow("127.0.0.0/8", plain_http=False)
    names["hooks.example"] = names["other.example"] = ["127.0.0.1"]
    receiver = Receiver(context=context)
    try:
        webhook, _ = make_webhook(f"https://hooks.example:{receiver.port}/")
        with pytest.raises(Unreachable, match="certificate verify failed"):
            deliver.send_test(webhook)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert deliver.send_test(webhook).is_success
        assert receiver.got[0].headers["Host"] == f"hooks.example:{receiver.port}"
        webhook.url = f"https://other.example:{receiver.port}/"
        with pytest.raises(Unreachable, match="certificate verify failed"):
            deliver.send_test(webhook)
    finally:
        receiver.stop()


def test_a_name_server_that_says_nothing_does_not_hold_us_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def wait(*_: Any, **__: Any) -> list[Any]:
        answered.wait(5)
        return []

    monkeypatch.setattr(addresses.socket, "getaddrinfo", wait)
    with pytest.raises(Unreachable, match="in time"):
        addresses.resolve("slow.example", 443, seconds=0.2)
    answered.set()
