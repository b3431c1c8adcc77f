"""docs/integration.md: its programs in Python and PHP run as they stand, from the order to the images."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from integrations.models import WebhookDelivery
from integrations.webhooks.signing import headers_of
from pacs.models import Study
from radiology.models import Order, Scope, Site
from radiology.services.catalogue_csv import import_csv, usual_procedures
from tests.daemons import Daemon, accepts, wait_until
from tests.factories import make_token
from tests.integrations.webhook_receiver import allow
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "integration.md"
PROGRAM = re.compile(
    r"^`([a-z]+\.(?:py|php))`[^`\n]*(?:`[^`\n]+`[^\n]*)?:\n\n```(?:python|php)\n(.*?)^```$", re.M | re.S
)
EVENTS = ["order.placed", "study.received"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the guide's programs under the names that it gives them."""
    found = dict(PROGRAM.findall(GUIDE.read_text(encoding="utf-8")))
    assert sorted(found) == ["receiver.php", "receiver.py", "simrs.php", "simrs.py"]
    for name, text in found.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@contextmanager
def running(command: list[str], folder: Path, port: int, secret: str) -> Iterator[Path]:
    """A receiver at work in a folder; what it prints goes into a file."""
    printed = folder / f"printed-{port}"
    with printed.open("wb") as file:
        environment = {**os.environ, "WEBHOOK_SECRET": secret}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
        try:
            wait_until(lambda: accepts(port), what=f"{command} listens")
            yield printed
        finally:
            process.terminate()
            process.wait(10)


def send(port: int, headers: dict[str, str], body: bytes) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def subscribe(server: Daemon, token: str, url: str) -> str:
    body = json.dumps({"url": url, "events": EVENTS}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/api/v1/webhooks", body, headers)) as response:
        return str(json.load(response)["secret"])


def test_orders_images_and_events_in_python_and_php(
    programs: Path,
    job_worker: Daemon,
    web_server: Daemon,
    tool: Callable[[str], str],
    free_port: Callable[[], int],
) -> None:
    site, php = Site.objects.default(), tool("php")
    import_csv(site=site, text=usual_procedures())
    allow()
    _, token = make_token("simrs", scopes=Scope.values)
    python = os.environ.get("PYTHON", "python3")
    ports = {"py": free_port(), "php": free_port()}
    secrets = {name: subscribe(web_server, token, f"http://127.0.0.1:{port}/") for name, port in ports.items()}

    def run(language: str, *arguments: str) -> str:
        command = [python, "simrs.py"] if language == "py" else [php, "simrs.php"]
        environment = {**os.environ, "PACS": web_server.url, "TOKEN": token}
        done = subprocess.run(
            [*command, *arguments],
            cwd=programs,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (language, arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    with ExitStack() as receivers:
        printed = {
            "py": receivers.enter_context(
                running([python, "receiver.py", str(ports["py"])], programs, ports["py"], secrets["py"])
            ),
            "php": receivers.enter_context(
                running(
                    [php, "-S", f"127.0.0.1:{ports['php']}", "receiver.php"], programs, ports["php"], secrets["php"]
                )
            ),
        }
        numbers = {}
        for language in ("py", "php"):
            numbers[language] = run(language, "order", f"RM-{language}")
            assert run(language, "order", f"RM-{language}") == numbers[language], "sent again, it is placed once"
            assert run(language, "images", numbers[language]) == ""
            order = Order.objects.get(accession_number=numbers[language])
            image = ct(
                StudyInstanceUID=order.requested_procedures.get().study_instance_uid,
                AccessionNumber=numbers[language],
                PatientID=order.patient_ref.patient_id,
                PatientName=order.patient_ref.patient_name,
                PatientBirthDate=order.patient_ref.patient_birth_date,
                Modality="DX",
            )
            store(site, part10(image))
            study = Study.objects.get(accession_number=numbers[language])
            link = f"{web_server.url}/viewer?StudyInstanceUIDs={study.study_instance_uid}"
            assert run(language, "images", numbers[language]).endswith(f"DX {link}")
        wanted = [f"{event} {number}" for number in numbers.values() for event in EVENTS]

        def told(language: str) -> list[str]:
            return re.findall(r"(?:order|study)\.\w+ \S+", printed[language].read_text())

        wait_until(lambda: all(sorted(told(each)) == sorted(wanted) for each in ports), what="all events came")
        body = b'{"type": "order.placed", "data": {"accession_number": "FORGED"}}'
        for language, port in ports.items():
            delivery = WebhookDelivery.objects.filter(webhook__url=f"http://127.0.0.1:{port}/").first()
            assert delivery
            genuine = stamped(str(delivery.public_id), delivery.body.encode(), secrets[language])
            assert send(port, genuine, delivery.body.encode()) == 204, "an event that comes again is thanked for"
            assert send(port, genuine, body) == 401
            assert send(port, stamped("x", body, secrets[language], age=3600), body) == 401
            assert send(port, {}, body) == 401
            assert sorted(told(language)) == sorted(wanted)


def stamped(event_id: str, body: bytes, secret: str, *, age: int = 0) -> dict[str, Any]:
    return headers_of(event_id=event_id, timestamp=int(time.time()) - age, body=body, secrets=[secret])
