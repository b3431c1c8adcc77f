"""Other servers over the Orthanc-shaped REST, a real Orthanc among them: peers over HTTP, and nodes that send on."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from django.core.exceptions import ValidationError

from integrations.models import OrthancJob, OrthancPeer, WebhookNetwork
from pacs.models import Location, Study
from radiology.models import AuditEvent, Site
from radiology.services import jobs
from tests.daemons import Daemon, free_port, web_daemon
from tests.factories import make_node, make_site, make_user
from tests.integrations.orthanc_client import OrthancProgram, refused, sha1
from tests.integrations.orthanc_server import real_orthanc
from tests.integrations.webhook_receiver import receiving
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from tests.pacs.test_transfers_send import storescp
from tests.pacs.visibility import caller

STUDY, MRN = "1.2.826.0.1.22", "MRN-1001"
NAME = sha1(MRN, STUDY)


@pytest.fixture(scope="module")
def real_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield url


@pytest.fixture
def committed(committed_db: None) -> OrthancProgram:
    """Of the tests with daemons."""
    return OrthancProgram()


@pytest.fixture
def khanza(site: Site) -> OrthancProgram:
    return OrthancProgram()


def store_two() -> None:
    for number in (1, 2):
        file = ct(StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", SOPInstanceUID=f"{STUDY}.1.{number}")
        store(Site.objects.default(), part10(file))


def make_peer(url: str, name: str = "other", *, password: str = "", **values: Any) -> OrthancPeer:
    site = values.setdefault("site", Site.objects.default())
    WebhookNetwork.objects.get_or_create(site=site, network="127.0.0.1/32", defaults={"plain_http": True})
    peer = OrthancPeer(name=name, url=url, **values)
    peer.password = password
    peer.full_clean()
    peer.save()
    return peer


def test_a_real_orthanc_is_asked_and_given_studies(
    committed: OrthancProgram, real_one: str, job_worker: Daemon
) -> None:
    store_two()
    make_peer(real_one)
    assert committed.json("peers") == ["other"]
    assert committed.json("peers?expand") == {
        "other": {"HttpHeaders": [], "Pkcs11": False, "Timeout": 0, "Url": f"{real_one}/"}
    }
    assert committed.json("peers/other/configuration") == committed.json("peers?expand")["other"]
    assert committed.json("peers/other") == ["configuration", "store", "system"]
    assert committed.json("peers/other/system")["Name"] == "real"
    answer = committed.told("peers/other/store", NAME)
    assert (answer["InstancesCount"], answer["FailedInstancesCount"], answer["Peer"]) == (2, 0, [f"{real_one}/"])
    there = requests.get(f"{real_one}/studies/{NAME}/instances", timeout=30).json()
    for each in there:
        file = requests.get(f"{real_one}/instances/{each['ID']}/file", timeout=30).content
        assert pydicom.dcmread(io.BytesIO(file)).PatientName == "SANTOSO^BUDI"
    assert len(there) == 2
    later = committed.told("peers/other/store", {"Resources": [NAME], "Synchronous": False})
    assert committed.json(f"jobs/{later['ID']}")["Type"] == "OrthancPeerStore"
    assert AuditEvent.objects.filter(event="orthanc.peer", study_instance_uid=STUDY).count() == 2
    requests.delete(f"{real_one}/patients/{sha1(MRN)}", timeout=30)


def test_we_are_a_peer_of_a_real_orthanc(committed: OrthancProgram, real_one: str, django_db_setup: None) -> None:
    file = part10(ct(StudyInstanceUID=f"{STUDY}.5"))
    posted = requests.post(f"{real_one}/instances", data=file, timeout=30).json()
    port = free_port()
    daemon = web_daemon(SINAR_ORTHANC_PORT=str(port)).start()
    try:
        peer = {"Url": f"http://127.0.0.1:{port}/", "Username": "any", "Password": committed.token}
        requests.put(f"{real_one}/peers/sinar", json=peer, timeout=30).raise_for_status()
        assert requests.get(f"{real_one}/peers/sinar/system", timeout=30).json()["Version"] == "1.12.4"
        answer = requests.post(f"{real_one}/peers/sinar/store", data=posted["ParentStudy"], timeout=60)
        assert answer.json()["InstancesCount"] == 1 and answer.json()["FailedInstancesCount"] == 0
    finally:
        daemon.stop()
    assert Study.objects.get().study_instance_uid == f"{STUDY}.5"
    requests.delete(f"{real_one}/patients/{posted['ParentPatient']}", timeout=30)


def test_patients_are_looked_for_at_a_real_orthanc_and_sent_on_to_a_third(
    committed: OrthancProgram, real_one: str, job_worker: Daemon, tmp_path: Path, tool: Any, settings: Any
) -> None:
    for number in (1, 2):
        file = ct(StudyInstanceUID=f"{STUDY}.{number}", SeriesInstanceUID=f"{STUDY}.{number}.1", PatientID="P 77")
        requests.post(f"{real_one}/instances", data=part10(file), timeout=30).raise_for_status()
    make_node("REAL", port=requests.get(f"{real_one}/system", timeout=30).json()["DicomPort"])
    ours = {"AET": settings.DIMSE["AE_TITLE"], "Host": "127.0.0.1", "Port": 1}
    requests.put(f"{real_one}/modalities/sinar", json=ours, timeout=30).raise_for_status()
    asked = {"Level": "Patient", "Query": {"PatientID": "P*"}}
    query = committed.told("modalities/REAL/query", asked)["Path"][1:]
    assert committed.get(f"{query}/level").content == b"Patient"
    assert committed.json(f"{query}/answers/0/content?simplify")["PatientID"] == "P 77"
    with storescp(tmp_path / "got", tool) as port:
        make_node("THIRD", port=port)
        third = {"AET": "THIRD", "Host": "127.0.0.1", "Port": port}
        requests.put(f"{real_one}/modalities/third", json=third, timeout=30).raise_for_status()
        answer = committed.told(f"{query}/answers/0/retrieve", "THIRD")
        assert (answer["RemoteAet"], answer["TargetAet"], len(answer["Query"])) == ("REAL", "THIRD", 2)
        assert len(list((tmp_path / "got").iterdir())) == 2
        series = {"StudyInstanceUID": f"{STUDY}.1", "SeriesInstanceUID": f"{STUDY}.1.1"}
        moved = committed.told("modalities/REAL/move", {"Level": "Series", "Resources": [series], "TargetAet": "THIRD"})
        assert moved["Query"] == [{"0020,000d": f"{STUDY}.1", "0020,000e": f"{STUDY}.1.1"}]
    assert not Study.objects.exists()  # nothing of it came by here
    make_node("UNKNOWN", port=1)
    patient = {"Level": "Patient", "Resources": [{"PatientID": "P 77"}]}
    assert "refuses" in refused(committed.post("modalities/REAL/move", {**patient, "TargetAet": "UNKNOWN"}), 502, 9)
    refused(committed.post("modalities/REAL/move", {**patient, "TargetAet": "NOBODY"}), 404, 17)
    reads = OrthancProgram(scopes=["studies.read"], name="reads")
    refused(reads.post("modalities/REAL/move", {**patient, "TargetAet": "THIRD"}), 403)
    began = committed.told("modalities/REAL/move", {**patient, "TargetAet": "THIRD", "Synchronous": False})
    assert committed.json(f"jobs/{began['ID']}")["Type"] == "DicomMoveScu"
    fetched = committed.told("modalities/REAL/move", {**patient, "Synchronous": False})
    assert len(fetched["Jobs"]) == 2  # to us: a transfer for each study of the patient
    assert AuditEvent.objects.filter(event="orthanc.move", study_instance_uid=f"{STUDY}.1").exists()


@pytest.mark.django_db
def test_a_peer_gets_what_it_needs_and_no_more(khanza: OrthancProgram) -> None:
    store_two()
    with receiving(200, body=b'{"ID": "x", "Status": "Success"}') as receiver:
        make_peer(f"http://127.0.0.1:{receiver.port}/", username="alice", password="s3cret")
        peer = OrthancPeer.objects.get()
        assert "s3cret" not in json.dumps(OrthancPeer.objects.values().get()) and peer.password == "s3cret"
        assert khanza.json("peers/other/configuration") == {
            "HttpHeaders": [], "Password": None, "Pkcs11": False, "Timeout": 0, "Url": peer.url, "Username": "alice",
        }  # fmt: skip
        began = khanza.told("peers/other/store", {"Resources": [NAME], "Asynchronous": True})
        jobs.run_due()
        assert khanza.json(f"jobs/{began['ID']}")["State"] == "Success"
        assert [each.headers["Authorization"] for each in receiver.got] == ["Basic YWxpY2U6czNjcmV0"] * 2
        assert receiver.got[0].path.endswith("/instances") and receiver.got[0].body[128:132] == b"DICM"
        assert int(receiver.got[0].headers["Content-Length"]) == len(receiver.got[0].body)


@pytest.mark.django_db
def test_a_peer_that_fails_is_gone_on_with_where_it_failed(khanza: OrthancProgram) -> None:
    store_two()
    with receiving(200, 500, 200, body=b'{"Details": "disk full"}') as receiver:
        make_peer(f"http://127.0.0.1:{receiver.port}/")
        began = khanza.told("peers/other/store", {"Resources": [NAME], "Asynchronous": True})
        jobs.run_due()
        job = khanza.json(f"jobs/{began['ID']}")
        assert job["State"] == "Pending" and "disk full" in job["ErrorDetails"] and job["Progress"] == 50
        jobs.Job.objects.filter(orthanc_job__public_id=began["ID"]).update(next_attempt_at="2020-01-01T00:00:00Z")
        jobs.run_due()
        assert khanza.json(f"jobs/{began['ID']}")["State"] == "Success" and len(receiver.got) == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:8/", "not outside"),
        ("http://169.254.169.254/latest/", "not outside"),
        ("http://[::ffff:127.0.0.1]:8/", "not outside"),
        ("http://0.0.0.0:8/", "not outside"),
    ],
)
def test_a_peer_inside_is_not_called_unless_its_network_was_allowed(khanza: OrthancProgram, url: str, why: str) -> None:
    OrthancPeer.objects.create(site=Site.objects.default(), name="inside", url=url)
    assert why in refused(khanza.get("peers/inside/system"), 502, 9)


@pytest.mark.django_db
def test_answers_that_are_none_are_told_as_such(khanza: OrthancProgram) -> None:
    for status, body in ((302, b"{}"), (200, b"<html>"), (200, b"[1]"), (401, b"{}"), (200, b"[" * 100_000)):
        with receiving(status, body=body, headers={"Location": "http://169.254.169.254/"}) as receiver:
            OrthancPeer.objects.all().delete()
            make_peer(f"http://127.0.0.1:{receiver.port}/")
            refused(khanza.get("peers/other/system"), 502, 9)


@pytest.mark.django_db
def test_peers_are_a_sites_own_and_only_in_order(khanza: OrthancProgram) -> None:
    store_two()
    make_peer("http://127.0.0.1:9/orthanc", "theirs", site=make_site())
    OrthancPeer.objects.create(site=Site.objects.default(), name="asleep", url="http://127.0.0.1:9/", is_active=False)
    assert khanza.json("peers") == []
    for name in ("theirs", "asleep", "nobody", "x" * 5000):
        refused(khanza.get(f"peers/{name}"), 404, 17)
        refused(khanza.post(f"peers/{name}/store", NAME), 404, 17)
    make_peer("http://127.0.0.1:9/orthanc")
    assert OrthancPeer.objects.get(name="other").url == "http://127.0.0.1:9/orthanc/"
    refused(khanza.client.put("/orthanc/peers/other", "{}"), 403)
    for wrong, status in (([], 400), ([sha1("nobody")], 404), ({"Resources": [NAME], "Compress": True}, 501)):
        refused(khanza.post("peers/other/store", wrong), status)
    assert not OrthancJob.objects.exists()
    site = Site.objects.default()
    for wrong_values in ({"url": "ftp://x/"}, {"url": "http://a:b@x/"}, {"username": "a:b"}, {"name": "a/b"}):
        with pytest.raises(ValidationError):
            OrthancPeer(**{"name": "n", "url": "http://x/", "site": site, **wrong_values}).full_clean()


@pytest.mark.django_db
def test_the_admin_takes_the_password_and_never_shows_it(khanza: OrthancProgram) -> None:
    chief = caller(make_user("chief", is_superuser=True, is_staff=True))
    form = {"name": "new", "url": "http://127.0.0.1:9/", "username": "alice", "password": "s3cret", "is_active": "on"}
    site = Site.objects.default()
    answer = chief.post("/admin/integrations/orthancpeer/add/", {**form, "site": site.pk})
    assert answer.status_code == 302, answer.content.decode()[-3000:]
    peer = OrthancPeer.objects.get()
    assert peer.password == "s3cret" and "s3cret" not in peer.password_encrypted
    page = chief.get(f"/admin/integrations/orthancpeer/{peer.pk}/change/").content.decode()
    assert "s3cret" not in page and peer.password_encrypted not in page
    chief.post(f"/admin/integrations/orthancpeer/{peer.pk}/change/", {**form, "site": site.pk, "password": ""})
    assert OrthancPeer.objects.get().password == "s3cret"
    tried = chief.get(f"/admin/integrations/orthancpeer/{peer.pk}/try/", follow=True)
    assert "not outside" in tried.content.decode()
    for model in ("orthancjob", "orthancorigin"):
        assert chief.get(f"/admin/integrations/{model}/").status_code == 200


@pytest.mark.django_db
def test_several_resources_are_described_and_deleted_at_once(
    khanza: OrthancProgram, django_assert_max_num_queries: Any
) -> None:
    store_two()
    for number in range(3):
        store(Site.objects.default(), part10(ct(StudyInstanceUID=f"{STUDY}.{number}", PatientID=f"P{number}")))
    one, series = sha1(MRN, STUDY, f"{STUDY}.1", f"{STUDY}.1.1"), sha1(MRN, STUDY, f"{STUDY}.1")
    found = khanza.told("tools/bulk-content", {"Resources": [one, sha1("nobody"), NAME], "Short": True})
    assert [(each["Type"], each["ID"]) for each in found] == [("Instance", one), ("Study", NAME)]
    assert found[0]["Metadata"]["SopClassUid"].startswith("1.2.840") and found[1]["MainDicomTags"]["0020,000d"] == STUDY
    asked = {"Resources": [one, series, sha1("P1")], "Level": "Study", "Metadata": False}
    studies = khanza.told("tools/bulk-content", asked)
    assert [each["ID"] for each in studies] == [NAME, sha1("P1", f"{STUDY}.1")] and "Metadata" not in studies[0]
    with django_assert_max_num_queries(14):
        assert len(khanza.told("tools/bulk-content", {"Resources": [sha1(MRN)], "Level": "Instance"})) == 2
    refused(khanza.post("tools/bulk-content", {"Resources": [one], "Level": "Foo"}), 400, 3)
    refused(khanza.post("tools/bulk-content", {}), 400)
    writes = OrthancProgram(scopes=["studies.read", "studies.write"], name="writes")
    refused(writes.post("tools/bulk-delete", {"Resources": [NAME]}), 403)
    assert khanza.post("tools/bulk-delete", {"Resources": [sha1("P1"), series, sha1("nobody")]}).content == b""
    left = set(Study.objects.filter(deleted_at=None).values_list("study_instance_uid", flat=True))
    assert left == {f"{STUDY}.0", f"{STUDY}.2"} and Location.objects.count() == 5
    elsewhere = OrthancProgram(site=make_site(), name="elsewhere")
    assert elsewhere.told("tools/bulk-content", {"Resources": [sha1("P0")]}) == []
    elsewhere.post("tools/bulk-delete", {"Resources": [sha1("P0")]})
    assert Study.objects.get(study_instance_uid=f"{STUDY}.0").deleted_at is None
