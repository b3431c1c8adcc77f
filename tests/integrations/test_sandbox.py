"""`manage.py sandbox`: a place to try everything, next to the real one and never in it."""

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from integrations.models import Webhook
from pacs.models import Study, Volume
from pacs.services import removal
from radiology.models import ApiClient, Job, Order, Patient, Site
from radiology.services import jobs
from tests.daemons import Daemon
from tests.factories import make_patient, make_site, make_study, make_token
from tests.integrations.webhook_receiver import make_webhook
from tests.pacs.api_client import ApiProgram, body


@pytest.fixture
def archive(db: None, settings: Any, tmp_path: Path) -> Path:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    return tmp_path / "archive"


def sandbox(*arguments: str) -> str:
    printed = io.StringIO()
    call_command("sandbox", *arguments, stdout=printed)
    return printed.getvalue()


def program(printed: str) -> ApiProgram:
    made = ApiProgram(name="unused")
    token = printed.split("Token")[1].split()[0]
    made.client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    made.client.headers = None
    return made


def test_it_holds_all_that_is_needed_and_nothing_of_the_hospital(archive: Path) -> None:
    make_study(make_patient("001234", "WARGA^NYATA"))
    tried = program(sandbox())
    (study,) = tried.get("studies").json()["data"]
    assert (study["patientId"], study["patientName"], study["accessionNumber"]) == (
        "001234",
        "COBA^SITI",
        "SANDBOX0001",
    )
    assert tried.get("orders").json()["data"][0]["procedures"][0]["study_instance_uid"] == study["studyInstanceUid"]
    assert tried.get("procedures", text="thorax").json()["data"]
    (series,) = tried.get(f"studies/{study['studyInstanceUid']}").json()["series"]
    (first, *rest) = tried.get(f"series/{series['series_instance_uid']}/instances").json()["data"]
    assert len(rest) == 4
    assert body(tried.get(f"instances/{first['sop_instance_uid']}/preview"))[:2] == b"\xff\xd8"
    assert Patient.objects.filter(site=Site.objects.default()).count() == 1


def test_again_is_the_same_with_one_more_token(archive: Path) -> None:
    first, second = program(sandbox()), program(sandbox())
    assert first.get("studies").json() == second.get("studies").json()
    assert (Order.objects.count(), Study.objects.count(), Site.objects.count()) == (1, 1, 2)


def test_emptied_its_tokens_see_a_fresh_one(archive: Path) -> None:
    tried = program(sandbox())
    tried.post("patients", b'{"patient_name": "LAIN^ORANG", "patient_birth_date": "19900101"}', "application/json")
    token = ApiClient.objects.get(name="sandbox").tokens.get()
    webhook, _ = make_webhook("https://a.example/", who=token)
    (before,) = tried.get("studies").json()["data"]
    sandbox("--reset")
    (after,) = tried.get("studies").json()["data"]
    assert after["studyInstanceUid"] != before["studyInstanceUid"]
    assert [each["patient_id"] for each in tried.get("patients").json()["data"]] == ["001234"]
    assert tried.get(f"studies/{before['studyInstanceUid']}").status_code == 404
    assert tried.get("webhooks").json()["data"] == [] and Webhook.objects.get(pk=webhook.pk).ended_at
    old = Site.objects.get(code="SANDBOX")
    removal.Removal.objects.update(created_at="2020-01-01T00:00Z")
    assert removal.purge(site=old) == 1
    jobs.run_due()
    assert not Job.objects.filter(kind="pacs.remove_files").exclude(state="done").exists()
    assert len([each for each in archive.rglob("*") if each.is_file()]) == 5, "files of the old images are gone"


def test_it_takes_no_real_site_for_its_own(archive: Path) -> None:
    make_token("sandbox")
    with pytest.raises(CommandError, match="real site"):
        sandbox("--reset")
    ApiClient.objects.all().delete()
    make_site("SANDBOX")
    with pytest.raises(CommandError, match="without its client"):
        sandbox()


def test_the_line_that_it_prints_works(committed_db: None, web_server: Daemon, tool: Any) -> None:
    tool("curl")
    line = sandbox("--url", web_server.url).strip().splitlines()[-1]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert '"total":1' in done.stdout and "SANDBOX0001" in done.stdout
