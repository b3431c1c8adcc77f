"""nginx in front, configured as docs/installation.md says: it sends stored files by itself, and nothing to others."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from django.conf import settings

from pacs.models import Location
from pacs.services.store import Stored
from pacs.storage import folder_of
from radiology.models import AuditEvent, Site
from radiology.services.access import issue_token
from tests.conftest import require_tool
from tests.daemons import Daemon, free_port, wait_until, web_daemon
from tests.factories import make_site
from tests.pacs.dicomweb import address, store
from tests.pacs.objects import ct, part10

DOCUMENT = Path(settings.BASE_DIR, "docs", "installation.md")
ACCEPT = "application/dicom; transfer-syntax=*"


@pytest.fixture(scope="module")
def behind(django_db_setup: None) -> Iterator[Daemon]:
    daemon = web_daemon(SINAR_ACCEL_REDIRECT="/archive-files", SINAR_BEHIND_PROXY="1").start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def front(behind: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    found = re.search(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    server = found[1].replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    server = re.sub(r"^ *ssl_.*\n", "", server, flags=re.MULTILINE).replace(
        "127.0.0.1:8000", f"127.0.0.1:{behind.port}"
    )
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f" http {{ access_log off; {temporary} {server} }}"
    )
    process = subprocess.Popen([require_tool("nginx"), "-p", folder, "-c", configuration, "-e", folder / "error.log"])
    try:
        wait_until((folder / "pid").exists, seconds=10, what="nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def web(committed_db: None) -> requests.Session:
    session = requests.Session()
    _, token = issue_token(name="program", scopes=["studies.read"], site=Site.objects.default())
    session.headers.update({"Authorization": f"Bearer {token}", "Accept": ACCEPT})
    return session


@pytest.fixture
def stored(web: requests.Session) -> Stored:
    return store(Site.objects.default(), part10(ct(side=1024)))


def file_of(stored: Stored) -> Path:
    location = Location.objects.get(instance_ref__sop_instance_uid=stored.sop_instance_uid)
    return Path(folder_of(location.volume), location.path)


def test_nginx_sends_the_file_and_says_of_it_what_we_say(front: str, stored: Stored, web: requests.Session) -> None:
    content = file_of(stored).read_bytes()
    whole = web.get(front + address(stored))
    assert (whole.status_code, whole.content == content) == (200, True)
    assert whole.headers["Content-Type"] == "application/dicom"
    assert whole.headers["Content-Length"] == str(len(content))
    assert stored.sop_instance_uid in whole.headers["Content-Disposition"]
    assert "private" in whole.headers["Cache-Control"]
    assert "X-Accel-Redirect" not in whole.headers
    tag = whole.headers["ETag"]
    assert web.head(front + address(stored)).headers["ETag"] == tag
    assert web.get(front + address(stored), headers={"If-None-Match": tag}).status_code == 304
    assert web.get(front + address(stored), headers={"If-None-Match": '"other"'}).content == content
    part = web.get(front + address(stored), headers={"Range": "bytes=100-", "If-Range": tag})
    assert (part.status_code, part.content == content[100:]) == (206, True)
    beyond = web.get(front + address(stored), headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert AuditEvent.objects.filter(event="dicomweb.retrieve").count() >= 2


def test_the_bytes_pass_the_web_server_by(behind: Daemon, front: str, stored: Stored, web: requests.Session) -> None:
    answer = web.get(behind.url + address(stored))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["X-Accel-Redirect"] == "/archive-files" + quote(str(file_of(stored)))


@pytest.mark.parametrize("who", ["nobody", "elsewhere"])
def test_who_may_not_see_it_gets_nothing(
    front: str, stored: Stored, web: requests.Session, who: str, make_elsewhere: Callable[[], str]
) -> None:
    headers = {"Accept": ACCEPT}
    if who == "elsewhere":
        headers["Authorization"] = f"Bearer {make_elsewhere()}"
    answer = requests.get(front + address(stored), headers=headers, timeout=10)
    assert answer.status_code == (401 if who == "nobody" else 404)
    for path in (f"/archive-files{file_of(stored)}", "/archive-files/etc/passwd", f"/%61rchive-files{file_of(stored)}"):
        assert web.get(front + path).status_code == 404


@pytest.fixture
def make_elsewhere() -> Callable[[], str]:
    return lambda: issue_token(name="elsewhere", scopes=["studies.read"], site=make_site())[1]
