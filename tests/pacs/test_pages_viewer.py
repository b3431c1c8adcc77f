"""Links into the viewer, and the viewer's page."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from pacs import viewer
from radiology.models import AuditEvent, User
from tests.factories import make_patient, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in() -> Client:
    client = Client()
    client.force_login(make_user(language="en"))
    return client


@pytest.fixture
def installed(settings: Any, tmp_path: Path) -> Path:
    """The viewer's page as deploy/ohif.py leaves it, reduced to its variables."""
    (tmp_path / "ohif").mkdir()
    page = tmp_path / "ohif" / "index.html"
    page.write_text('<html lang="{{ language }}"><script nonce="{{ nonce }}">1</script></html>')
    settings.SINAR_DATA = tmp_path
    viewer._page.cache_clear()
    return page


def test_link_by_study_uid_opens_the_viewer_with_what_it_understands(signed_in: Client) -> None:
    link = "/viewer?StudyInstanceUIDs=1.2.3&hangingprotocolid=mpr&url=http://evil/&initialSeriesInstanceUID=x%22"
    assert signed_in.get(link)["Location"] == "/ohif/viewer?StudyInstanceUIDs=1.2.3&hangingprotocolid=mpr"


@pytest.mark.parametrize("query", ["StudyInstanceUIDs=1.2,3.4", "StudyInstanceUIDs=1.2&StudyInstanceUIDs=3.4"])
def test_several_studies_by_comma_or_repeated(signed_in: Client, query: str) -> None:
    assert signed_in.get(f"/viewer?{query}")["Location"] == "/ohif/viewer?StudyInstanceUIDs=1.2,3.4"


def test_link_by_accession_number(signed_in: Client) -> None:
    study = make_study(accession_number="RAD 1/2")
    response = signed_in.get("/viewer", {"AccessionNumber": "RAD 1/2"})
    assert response["Location"] == f"/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}"


def test_an_accession_number_of_two_studies_is_a_choice(signed_in: Client) -> None:
    studies = [make_study(accession_number="A1"), make_study(accession_number="A1")]
    page = signed_in.get("/viewer", {"AccessionNumber": "A1"}).content.decode()
    for study in studies:
        assert f"/viewer?StudyInstanceUIDs={study.study_instance_uid}" in page


def test_link_by_patient_id(signed_in: Client) -> None:
    patient = make_patient("001234")
    study = make_study(patient)
    only = signed_in.get("/viewer", {"patientId": "001234"})
    assert only["Location"] == f"/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}"
    make_study(patient)
    assert signed_in.get("/viewer", {"patientId": "001234"}).content.count(b"data-row ") == 2


@pytest.mark.parametrize(
    "query",
    [
        {"AccessionNumber": "none"},
        {"AccessionNumber": ""},
        {"patientId": "none"},
        {"patientId": ""},
        {"patient": "not-a-uuid"},
        {},
    ],
)
def test_what_is_not_there_gets_a_page_that_helps(signed_in: Client, query: dict[str, str]) -> None:
    response = signed_in.get("/viewer", query)
    assert response.status_code == 404
    assert b"/worklist?search" in response.content


@pytest.mark.parametrize("uid", ["1.2.3.4", "../../etc/passwd", "'; DROP TABLE x", "<script>", "1" * 5000])
def test_an_unknown_study_gets_a_page_and_not_a_blank_viewer(signed_in: Client, installed: Path, uid: str) -> None:
    response = signed_in.get("/ohif/viewer", {"StudyInstanceUIDs": uid})
    assert response.status_code == 404
    assert b"/worklist?search" in response.content
    assert "unsafe-eval" not in response["Content-Security-Policy"]


def test_the_viewers_page_has_its_nonce_language_policy_and_token(signed_in: Client, installed: Path) -> None:
    study = make_study()
    response = signed_in.get("/ohif/viewer", {"StudyInstanceUIDs": study.study_instance_uid})
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'<html lang="en"><script nonce="{nonce}">' in response.content.decode()
    for directive in ("worker-src 'self' blob:", "'wasm-unsafe-eval'", "object-src 'self' blob:"):
        assert directive in policy
    assert response.cookies["csrftoken"].value
    assert response["Cache-Control"].count("no-store")


def test_opening_a_study_is_audited(signed_in: Client, installed: Path) -> None:
    study = make_study()
    signed_in.get("/ohif/viewer", {"StudyInstanceUIDs": study.study_instance_uid}, REMOTE_ADDR="10.1.2.3")
    event = AuditEvent.objects.get(event="study.opened")
    assert event.study_instance_uid == study.study_instance_uid
    assert event.patient_ref_id == study.patient_ref_id
    assert event.user == User.objects.get(username="dewi")
    assert event.address == "10.1.2.3"


def test_without_the_viewer_the_page_says_what_to_do(signed_in: Client, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    viewer._page.cache_clear()
    response = signed_in.get("/ohif/local")
    assert response.status_code == 503
    assert "make run" in response.content.decode()


def test_the_viewer_without_a_study_asks_for_one(signed_in: Client, installed: Path) -> None:
    response = signed_in.get("/ohif/viewer")
    assert response.status_code == 404
    assert b"/worklist?search" in response.content
    assert signed_in.get("/ohif/")["Location"] == "/worklist"


def test_a_missing_file_of_the_viewer_is_missing(signed_in: Client, installed: Path) -> None:
    assert signed_in.get("/ohif/99.bundle.0123456789abcdef.js").status_code == 404


def test_every_other_page_keeps_the_strict_policy(signed_in: Client) -> None:
    for address in ("/", "/worklist", "/nowhere", "/accounts/password/change/"):
        policy = signed_in.get(address)["Content-Security-Policy"]
        assert "unsafe" not in policy, address
        assert "default-src 'self'" in policy


@pytest.mark.parametrize(("language", "expected"), [("id", '"id"'), ("en", '"en-US"')])
def test_viewer_configuration_speaks_the_users_language(client: Client, language: str, expected: str) -> None:
    client.cookies["django_language"] = language
    response = client.get("/ohif/app-config.js")
    assert response["Content-Type"] == "text/javascript; charset=utf-8"
    assert f"const language = {expected}" in response.content.decode()
    assert 'qidoRoot: "/dicom-web"' in response.content.decode()
