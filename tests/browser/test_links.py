"""Images that open without signing in, in a real browser: by token, and in a frame of a hospital system's page."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, Page, expect

from pacs.models import LinkSigner, Study
from pacs.services.links import make_link, new_secret
from pacs.services.study_tokens import hand_out
from radiology.models import ApiClient, AuditEvent
from tests.browser.test_viewer import IMAGES_ARE_VISIBLE, wait_for_images
from tests.browser.volume import ct_volume
from tests.daemons import Daemon, free_port
from tests.factories import make_token


@pytest.fixture
def study(committed_db: None, send: Callable[[Path], None], tmp_path: Path) -> Study:
    folder = tmp_path / "images"
    folder.mkdir()
    uid = ct_volume(folder, slices=8)
    send(folder)
    return Study.objects.get(study_instance_uid=uid)


def test_a_token_opens_the_images(page: Page, study: Study, complaints: list[str]) -> None:
    (handed,) = hand_out(studies=Study.objects.filter(pk=study.pk))
    asked: list[tuple[str, str]] = []
    page.on("request", lambda request: asked.append((request.url, request.headers.get("referer", ""))))
    page.goto(f"/viewer?token={handed.token}")
    page.wait_for_url(f"**/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}")
    wait_for_images(page, canvases=1)
    expect(page.get_by_text("BR0001")).to_be_visible()
    assert page.evaluate("history.length") <= 2
    named = [each for each in asked if handed.token in "".join(each)]
    assert len(named) == 1 and named[0][0].endswith(handed.token) and handed.token not in named[0][1]
    assert complaints == []
    page.goto("/worklist")
    expect(page.get_by_label("User name")).to_be_visible()
    page.goto("/viewer?token=" + "x" * 64)
    expect(page.get_by_role("heading", name="This link is not valid.")).to_be_visible()
    assert complaints == []


@pytest.fixture
def secure_web(django_db_setup: None, tmp_path: Path, start: Callable[[Daemon], Daemon]) -> Daemon:
    """The web process with a certificate of its own making."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    secured = ["--certfile", str(tmp_path / "certificate.pem"), "--keyfile", str(tmp_path / "key.pem")]
    arguments = ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", *secured, "radiology.wsgi"]
    port = free_port()
    return start(Daemon("web", arguments, port=port, environment={"SINAR_HTTP_PORT": str(port)}))


@pytest.fixture
def emr() -> Iterator[tuple[int, dict[str, str]]]:
    """A hospital system: the port of its web server, and its pages by path."""
    pages: dict[str, str] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in pages else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], pages
    server.shutdown()
    server.server_close()


def test_only_the_pages_that_may_show_the_images_in_a_frame_do(
    browser: Browser, study: Study, secure_web: Daemon, emr: tuple[int, dict[str, str]]
) -> None:
    """The page is of another site (localhost) than the images (127.0.0.1): cookies of third parties, HTTPS."""
    port, pages = emr
    token, _ = make_token("emr", scopes=["studies.share"])
    new_secret(who=None, client=ApiClient.objects.get())
    LinkSigner.objects.update(frame_ancestors=[f"http://localhost:{port}"])
    server = f"https://127.0.0.1:{secure_web.port}"

    def link(path: str, **names: str) -> str:
        signed, _ = make_link(who=token, client=token.client, path=path, parameters=names, seconds=60)
        return f"{server}{path}?" + "&amp;".join(f"{name}={value}" for name, value in signed.items())

    frame = '<!doctype html><title>EMR</title><iframe src="{}" width="900" height="600"></iframe>'
    pages["/viewer"] = frame.format(link("/viewer", AccessionNumber=study.accession_number))
    pages["/list"] = frame.format(link("/worklist", patientId=study.patient_ref.patient_id))
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"http://localhost:{port}/viewer")
        inside = page.frames[1]
        inside.wait_for_url(f"{server}/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}")
        inside.wait_for_function(IMAGES_ARE_VISIBLE, arg=1, timeout=90_000, polling=250)
        (cookie,) = [each for each in context.cookies(server) if each["name"].startswith("sinar_guest")]
        assert cookie["name"] == "sinar_guest_embedded" and cookie["sameSite"] == "None" and cookie["secure"]
        page.goto(f"http://localhost:{port}/list")
        thumbnail = page.frame_locator("iframe").locator(".thumbnail img")
        assert thumbnail.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
        expect(page.frame_locator("iframe").get_by_role("link", name="View images")).to_be_visible()
        for path in pages:
            page.goto(f"http://127.0.0.1:{port}{path}")
            page.wait_for_function("document.querySelector('iframe')")
            page.frames[1].wait_for_url("chrome-error://**")
    assert AuditEvent.objects.filter(event="link.used", succeeded=True).count() == 4
