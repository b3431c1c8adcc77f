"""docs/integration.md: its examples run as they stand, and answer what stands below them."""

import json
import os
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from pacs.models import Study
from radiology.models import Scope, Site
from radiology.services.catalogue_csv import import_csv, usual_procedures
from tests.daemons import Daemon
from tests.factories import make_token, make_user
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "integration.md"
SERVER = "https://pacs.hospital.com"
ROOT = "1.2.840.113619.2.55.3.4271045733"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str, str]]:
    """Each shell example with the kind and text of the answer below it, if there is one."""
    blocks = list(BLOCK.finditer(GUIDE.read_text(encoding="utf-8")))
    found = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "sh":
            answered = after is not None and after[1] in {"json", "text"} and after.start() - block.end() < 4
            found.append((block[2], after[1] if after and answered else "", after[2] if after and answered else ""))
    return found


def image(study: str, number: int, **values: Any) -> bytes:
    uid = f"{ROOT}.{study}"
    return part10(
        ct(
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1",
            SOPInstanceUID=f"{uid}.1.{number}",
            InstanceNumber=number,
            seed=number,
            StudyDescription="CT HEAD NON CONTRAST",
            **{
                "PatientID": "001234",
                "PatientName": "DOE^JOHN",
                "StudyDate": "20240125",
                "AccessionNumber": "ACC12345",
                **values,
            },
        )
    )


def fits(shown: Any, real: Any) -> bool:
    """Whether an answer has all that is shown of it; … stands for anything."""
    if shown == "…":
        return True
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(name in real and fits(shown[name], real[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(fits, shown, real))
    return bool(shown == real)


@pytest.fixture
def archive(committed_db: None, tmp_path: Path) -> Path:
    """The patients of the examples, and the files that they send, in a folder to run them in."""
    site = Site.objects.default()
    for number in (1, 2):
        store(site, image("996", number))
    for study, name in (("990", "SITI^AMINAH"), ("991", "WIBOWO^BUDI")):
        store(site, image(study, 1, PatientID=f"00{study}", PatientName=name, AccessionNumber=f"A{study}"))
    Study.objects.update(timezone_offset_from_utc="")
    import_csv(site=site, text=usual_procedures())
    other = {"PatientID": "005678", "PatientName": "ROE^RICHARD", "AccessionNumber": "ACC9"}
    (tmp_path / "image.dcm").write_bytes(image("997", 1, **other))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as packed:
        packed.writestr("IM2", image("997", 2, **other))
    return tmp_path


def test_the_examples_run_as_they_stand(
    archive: Path, web_server: Daemon, dimse_server: Daemon, tool: Callable[[str], str]
) -> None:
    for name in ("curl", "echoscu", "findscu"):
        tool(name)
    _, token = make_token("simrs", scopes=Scope.values)
    environment = {**os.environ, "PACS": web_server.url, "TOKEN": token}
    ran = 0
    for command, kind, shown in examples():
        if command.startswith("export PACS="):
            continue  # where the reader puts in their own
        command = command.replace("pacs.hospital.com 11112", f"127.0.0.1 {dimse_server.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=archive, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        answer = done.stdout.replace(web_server.url, SERVER)
        if kind == "json":
            real, wanted = json.loads(answer), json.loads(shown)
            assert fits(wanted, real), (command, real)
            if "studyInstanceUid" in shown or "detail" in shown or '"total": 0' in shown:
                assert real == wanted and list(real) == list(wanted), command
        elif kind == "text":
            assert answer == shown, command
        elif "/studies" in command and answer.startswith("{"):
            for line in re.findall(r"\{.*?\}(?=\{|\Z)", answer.strip(), re.DOTALL):
                assert "urn:sinar:error" not in line, (command, line)
        ran += 1
    assert ran >= 15
    assert (archive / "preview.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert Study.objects.filter(study_instance_uid=f"{ROOT}.996", deleted_at=None, accession_number="ACC12345").exists()
    assert Study.objects.get(study_instance_uid=f"{ROOT}.997").number_of_study_related_instances == 2


def test_the_links_open_images(archive: Path) -> None:
    links = re.findall(rf"`{SERVER}(/(?:viewer|worklist)\?[^`]+)`", GUIDE.read_text(encoding="utf-8"))
    assert len(links) == 4
    client = Client()
    client.force_login(make_user("dewi"))
    for link in links:
        response = client.get(link)
        assert response.status_code == 302, (link, response.status_code)
        assert response["Location"].startswith(("/ohif/viewer?StudyInstanceUIDs=", "/worklist?patient=")), link
        assert Client().get(link)["Location"].startswith("/accounts/login/?next=%2F"), link
