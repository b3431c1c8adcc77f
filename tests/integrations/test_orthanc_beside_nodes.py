"""A real Orthanc and ours about their nodes: jobs that are paused, files that are sent on, images, configuration."""

import json
import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyorthanc
import pytest
import requests
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage

from integrations.models import OrthancPeer
from pacs.models import ApplicationEntity, Instance, Location, Transfer
from radiology.models import AuditEvent, Scope, Site
from radiology.services.access import issue_token
from tests.daemons import Daemon, free_port, wait_until, web_daemon
from tests.factories import make_node, make_site, make_user
from tests.integrations.orthanc_server import real_orthanc
from tests.integrations.test_orthanc_beside import Both
from tests.pacs.objects import ct, part10
from tests.pacs.objects import real as sample
from tests.pacs.test_transfers_send import receiver, storescp

STUDY = "1.2.826.0.1.66"
PASSWORD = "rahasia-sekali-1"


@pytest.fixture(scope="module")
def real_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    permissions = {"DicomAlwaysAllowGet": True, "DicomAlwaysAllowFind": True}
    with real_orthanc(tmp_path_factory.mktemp("orthanc"), ConcurrentJobs=1, **permissions) as url:
        yield url


@pytest.fixture(scope="module")
def orthanc_server(django_db_setup: None) -> Iterator[Daemon]:
    daemon = web_daemon(SINAR_ORTHANC_PORT=str(free_port())).start()
    yield daemon
    daemon.stop()


@pytest.fixture
def both(orthanc_server: Daemon, real_one: str, committed_db: None) -> Both:
    token = issue_token(name="programs", scopes=list(Scope.values), site=Site.objects.default())[1]
    return Both(real_one, f"http://127.0.0.1:{orthanc_server.environment['SINAR_ORTHANC_PORT']}", token)


def file(number: int, **attributes: Any) -> bytes:
    fixed = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1", "SOPInstanceUID": f"{STUDY}.1.{number}"}
    return part10(ct(**fixed, InstanceNumber=number, side=8, **attributes))


def test_jobs_are_paused_and_resumed_as_orthanc_does(both: Both) -> None:
    """Where nothing works them off: ours has no worker here, and the real one's only one waits for a node."""
    both.ask("POST", "instances", file(1))
    told: dict[str, list[Any]] = {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        make_node("SILENT", port=silent.getsockname()[1])
        silent_node = ["SILENT", "127.0.0.1", silent.getsockname()[1]]
        requests.put(f"{both.roots['theirs']}/modalities/SILENT", json=silent_node, timeout=30).raise_for_status()
        busy = ""
        for name, root in both.roots.items():
            client = pyorthanc.Orthanc(root, *(both.auth if name == "ours" else ()))
            asked = {"Resources": client.get_studies(), "Synchronous": False}
            if name == "theirs":
                busy = client.post_modalities_id_store("SILENT", json=asked)["ID"]
                wait_until(partial(is_running, pyorthanc.Job(busy, client)))
            job = pyorthanc.Job(client.post_modalities_id_store("SILENT", json=asked)["ID"], client)
            told[name] = [job.state.value]
            for action in (
                "resume", "resubmit", "pause", "pause", "resubmit", "resume", "pause", "cancel", "cancel", "pause",
                "resume", "resubmit", "pause", "resume", "cancel",
            ):  # fmt: skip
                status = client.post(f"{root}/jobs/{job.id_}/{action}").status_code
                told[name].append((action, status, job.state.value))
        requests.post(f"{both.roots['theirs']}/jobs/{busy}/cancel", timeout=30)
    assert told["ours"] == told["theirs"]
    assert ("pause", 200, "Paused") in told["ours"] and ("resume", 400, "Failure") in told["ours"]
    assert AuditEvent.objects.filter(event="transfer.resumed").count() == 2
    assert Transfer.objects.count() == 1


def is_running(job: pyorthanc.Job) -> bool:
    return bool(job.state.value == "Running")


def test_a_file_is_sent_on_and_not_stored(both: Both, tmp_path: Path, tool: Any) -> None:
    with storescp(tmp_path / "got", tool) as port:
        register(both, "WS", port)
        sent = both.ask("POST", "modalities/WS/store-straight", file(7))
        assert sent["ours"] == {"SOPClassUID": CTImageStorage, "SOPInstanceUID": f"{STUDY}.1.7"}
        assert len(list((tmp_path / "got").iterdir())) == 1
        for wrong in (b"nonsense", b"", file(7)[:700], file(7)[:-7], b"PK\x03\x04 no zip"):
            both.ask("POST", "modalities/WS/store-straight", wrong)
        both.ask("POST", "modalities/NOBODY/store-straight", file(7))
    assert [each for each in both.differences if "status" in each] == []
    both.ask("POST", "modalities/WS/store-straight", file(7))  # down, and elsewhere 500
    (down,) = (each for each in both.differences if "status" in each)
    assert down.endswith("status 500 502")
    assert not Instance.objects.exists() and not Location.objects.exists()
    events = AuditEvent.objects.filter(event="orthanc.store-straight", detail__node="WS")
    assert {each.detail["instance"] for each in events} == {f"{STUDY}.1.7"}


def test_what_a_node_does_not_take_is_told(both: Both) -> None:
    def answered(node: str, body: bytes, auth: Any = None) -> requests.Response:
        url = f"{both.roots['ours']}/modalities/{node}/store-straight"
        return requests.post(url, data=body, auth=auth or both.auth, timeout=60)

    taken = [(each, [ImplicitVRLittleEndian]) for each in (CTImageStorage, MRImageStorage)]
    with receiver(*taken) as (found, port):
        node = make_node("WS", port=port)
        assert answered("WS", file(1)).status_code == 200  # rewritten: it came in Explicit VR
        assert dict(found.came) == {f"{STUDY}.1.1": 1}
        found.answer = lambda event: 0xA700
        refusal = answered("WS", file(2))
        assert refusal.status_code == 502 and "A700" in refusal.json()["Details"]
        found.answer = lambda event: 0xB000
        assert answered("WS", file(3)).status_code == 200
        compressed = answered("WS", sample("MR_small_jp2klossless.dcm").read_bytes())
        assert compressed.status_code == 502 and JPEG2000Lossless in compressed.json()["Details"]
        reads = issue_token(name="reads", scopes=["studies.read"], site=Site.objects.default())[1]
        assert answered("WS", file(4), ("any", reads)).status_code == 403
        ApplicationEntity.objects.filter(pk=node.pk).update(may_receive=False)
        assert answered("WS", file(5)).status_code == 403
        make_node("ELSEWHERE", port=port, site=make_site())
        assert answered("ELSEWHERE", file(5)).status_code == 404
    assert sum(found.came.values()) == 2 and not Instance.objects.exists()


def test_images_are_fetched_and_sent_on_alone(
    both: Both, job_worker: Daemon, tmp_path: Path, tool: Any, settings: Any
) -> None:
    theirs, ours = both.roots["theirs"], both.roots["ours"]
    for number in (1, 2, 3):
        requests.post(f"{theirs}/instances", data=file(number), timeout=30).raise_for_status()
    make_node("REAL", port=requests.get(f"{theirs}/system", timeout=30).json()["DicomPort"])
    client = pyorthanc.Orthanc(ours, *both.auth, timeout=60)
    keys = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1", "SOPInstanceUID": ""}
    query = client.post_modalities_id_query("REAL", json={"Level": "Instance", "Query": keys})["ID"]
    answers = client.get_queries_id_answers(query, params={"expand": "", "simplify": ""})
    first = next(n for n, each in enumerate(answers) if each["SOPInstanceUID"] == f"{STUDY}.1.1")
    fetched = client.post_queries_id_answers_index_retrieve(query, str(first), json={})
    one = {"0020,000d": STUDY, "0020,000e": f"{STUDY}.1", "0008,0018": f"{STUDY}.1.1"}
    assert fetched["Query"] == [one] and fetched["RemoteAet"] == "REAL"
    assert set(Instance.objects.values_list("sop_instance_uid", flat=True)) == {f"{STUDY}.1.1"}
    second = {**keys, "SOPInstanceUID": f"{STUDY}.1.2"}
    client.post_modalities_id_move("REAL", json={"Level": "Instance", "Resources": [second]})
    assert Instance.objects.count() == 2
    client.post_queries_id_retrieve(query, json={})
    assert Instance.objects.count() == 3
    called = {"AET": settings.DIMSE["AE_TITLE"], "Host": "127.0.0.1", "Port": 1}
    requests.put(f"{theirs}/modalities/sinar", json=called, timeout=30).raise_for_status()
    with storescp(tmp_path / "got", tool) as port:
        register(both, "THIRD", port)
        moved = {"Level": "Instance", "Resources": [second], "TargetAet": "THIRD"}
        assert client.post_modalities_id_move("REAL", json=moved)["Query"] == [{**one, "0008,0018": f"{STUDY}.1.2"}]
        (got,) = (tmp_path / "got").iterdir()
        assert got.name.endswith(f"{STUDY}.1.2")
    register(both, "OTHER", 1)
    wrong: Any
    for wrong in (
        [{"SOPInstanceUID": f"{STUDY}.1.3"}], [{"StudyInstanceUID": STUDY, "SOPInstanceUID": f"{STUDY}.1.3"}], [{}],
        [3],
    ):  # fmt: skip
        both.ask("POST", "modalities/OTHER/move", json.dumps({"Level": "Instance", "Resources": wrong}))
    both.ask("POST", "modalities/OTHER/move", json.dumps({"Level": "Foo", "Resources": [second]}))
    assert [each for each in both.differences if "status" in each] == []


def register(both: Both, title: str, port: int) -> None:
    """A node at both."""
    make_node(title, port=port)
    body = [title, "127.0.0.1", port]
    requests.put(f"{both.roots['theirs']}/modalities/{title}", json=body, timeout=30).raise_for_status()


def test_nodes_and_peers_are_registered_as_at_orthanc(both: Both) -> None:
    make_user("chief", role="administrator", is_staff=True)
    both.auth = ("chief", PASSWORD)
    body: Any
    for path, body in (
        ("modalities/ct", ["CT1", "127.0.0.1", 104]),
        ("modalities/ct", ["CT1", "127.0.0.1", "11112", "Generic"]),
        ("modalities/ct", {"AET": "CT1", "Host": "10.0.0.7", "Port": 104, "AllowStore": False, "UseDicomTls": True}),
        ("modalities/b2", ["CT2", "127.0.0.1"]),
        ("modalities/b2", {"AET": "CT2", "Host": "127.0.0.1"}),
        ("modalities/b2", ["CT2", "127.0.0.1", 99999]),
        ("modalities/b2", [1, 2, 3]),
        ("modalities/b2", "x"),
        ("modalities/a$b", ["CT2", "127.0.0.1", 104]),
        ("peers/p", ["https://a.example/"]),
        ("peers/p", ["https://a.example/", "alice", "s3cret"]),
        ("peers/p", ["https://a.example/", "alice"]),
        ("peers/p", {"Url": "https://b.example/orthanc", "Username": "bob", "Password": "s3cret2"}),
        ("peers/q", {"Username": "u"}),
        ("peers/q", ["ftp://x"]),
        ("peers/a$b", ["https://a.example/"]),
    ):
        both.ask("PUT", path, json.dumps(body))
        if "$" not in path:
            both.ask("GET", f"{path}/configuration")
    words = "Details|Message|OrthancError|OrthancStatus"
    assert [each for each in both.differences if not re.search(words, each)] == []
    node = ApplicationEntity.objects.get()
    assert (node.title, node.host, node.port, node.description) == ("CT1", "10.0.0.7", 104, "ct")
    assert (node.tls, node.may_store, node.may_query) == (True, False, True)
    peer = OrthancPeer.objects.get()
    assert (peer.url, peer.username, peer.password) == ("https://b.example/orthanc/", "bob", "s3cret2")
    events = AuditEvent.objects.filter(event="orthanc.configuration").order_by("at")
    assert [each.detail["changed"] for each in events[:3]] == [
        ["host", "port", "title"], ["port"], ["host", "may_store", "port", "tls"],
    ]  # fmt: skip
    assert "s3cret" not in json.dumps([each.detail for each in events])
    for path in ("modalities/ct", "peers/p", "modalities/ct", "peers/p", "modalities/nobody"):
        both.ask("DELETE", path)
    assert [each for each in both.differences if "status" in each] == []
    assert not ApplicationEntity.objects.exists() and not OrthancPeer.objects.exists()


def test_who_registers_nodes_and_what_is_no_node(both: Both) -> None:
    make_user("chief", role="administrator", is_staff=True)
    make_user("doctor", role="doctor")
    make_user("off", role="administrator")  # does not get into the administration
    node = make_node("CT1", may_retrieve=False, description="mine")
    make_node("FAR", site=make_site(), port=4242)
    peer = OrthancPeer(name="p", url="https://a.example/", site=Site.objects.default(), username="u")
    peer.password = "kept"
    peer.save()
    root = both.roots["ours"]

    def put(path: str, body: Any, auth: Any = ("chief", PASSWORD)) -> int:
        return requests.put(f"{root}/{path}", json=body, auth=auth, timeout=30).status_code

    new = ["NEW", "10.0.0.1", 104]
    body: Any
    for auth in (both.auth, ("doctor", PASSWORD), ("off", PASSWORD)):
        for path, body in (("modalities/NEW", new), ("modalities/CT1", new), ("peers/p", ["https://b.example/"])):
            assert put(path, body, auth) == 403
            status = requests.delete(f"{root}/{path}", auth=auth, timeout=30).status_code
            assert status == (404 if path.endswith("NEW") else 403)
    for body, status in (
        ({"AET": "NEW", "Host": "h", "Port": 1, "AllowEcho": False}, 501),
        ({"AET": "NEW", "Host": "h", "Port": 1, "LocalAet": "ME"}, 501),
        (["N" * 17, "h", 1], 400), (["NEW", "", 1], 400), (["NEW", "h" * 300, 1], 400), (["\\", "h", 1], 400),
        (["CT1", node.host, node.port], 400),  # is there under another name
        (["FAR", "127.0.0.1", 4242], 400),  # is there at another site
        ({"AET": "NEW", "Host": "h", "Port": {}}, 400), ([], 400), (None, 400), ({}, 400),
        (["NEW", "h\0", 1], 400), (["NEW\0", "h", 1], 400), (["NEW", "\ud800", 1], 400), (["NEW", "h", "9" * 999], 400),
        (["NEW", "h", float("1e300")], 400),
    ):  # fmt: skip
        assert put("modalities/NEW", body) == status, body
    assert put("peers/q", {"Url": "https://a.example/", "CertificateFile": "/etc/passwd"}) == 501
    assert put("peers/q", ["https://a:b@a.example/"]) == 400 and put("peers/q", ["https://a/", "a:b", "c"]) == 400
    for texts in (["https://a.example/\0"], ["https://a.example/", "u", "\ud800"], ["https://a.example/", 1, 2]):
        assert put("peers/q", texts) == 400
    assert ApplicationEntity.objects.count() == 2 and OrthancPeer.objects.count() == 1
    assert put("modalities/mine", {"AET": "CT9", "Host": "h", "Port": 1, "Timeout": 5}) == 200
    node.refresh_from_db()
    assert (node.title, node.may_retrieve, node.description) == ("CT9", False, "mine")  # what was not named stays
    assert put("peers/p", {"Url": "https://evil.example/", "Username": "u"}) == 200
    assert OrthancPeer.objects.get().password == ""  # a kept one does not go to a new address


def test_changes_tell_what_came_and_have_no_word_for_what_went(both: Both) -> None:
    told, after = {}, {}
    for name, root in both.roots.items():
        client = pyorthanc.Orthanc(root, *(both.auth if name == "ours" else ()))
        for patient in client.get_patients():
            client.delete_patients_id(patient)
        before = client.get_changes(params={"last": ""})["Last"]
        for number in (1, 2):
            study = client.post_instances(file(number))["ParentStudy"]
        since = {"since": before, "limit": 100}
        told[name] = [(each["ChangeType"], each["ID"]) for each in client.get_changes(params=since)["Changes"]]
        client.delete_studies_id(study)
        after[name] = [(each["ChangeType"], each["ID"]) for each in client.get_changes(params=since)["Changes"]]
    assert told["ours"] == told["theirs"] and len(told["ours"]) == 5
    assert after == {"ours": told["ours"], "theirs": []}  # Orthanc forgets that it ever came
