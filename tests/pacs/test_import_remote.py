"""Moving in what another archive holds: dcmtk's over DICOM, another and our own over DICOMweb."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from pacs.import_sources import from_dicomweb
from pacs.models import ImportRun, ImportState, Instance, Study
from pacs.services.media import Candidate
from radiology.errors import RadiologyError
from radiology.models import Site
from tests.daemons import Daemon
from tests.factories import make_node, make_token
from tests.pacs.archives import TITLE, dcmqrscp
from tests.pacs.dicomweb_peer import BASE, Peer, dicomweb_peer, send
from tests.pacs.dimse_client import of_file
from tests.pacs.imported import archived, make_objects

Start = Callable[[Daemon], Daemon]
Tool = Callable[[str], str]

pytestmark = pytest.mark.usefixtures("committed_db")


def imported(start: Start, *arguments: Any) -> tuple[int, dict[str, Any]]:
    daemon = Daemon("importdicom-remote", ["manage.py", "importdicom", "--json", *map(str, arguments)])
    daemon.log.unlink(missing_ok=True)
    start(daemon)
    assert daemon.process is not None
    code = daemon.process.wait(120)
    lines = [line for line in daemon.output.splitlines() if line.startswith('{"id"')]
    return code, json.loads(lines[-1]) if lines else {"output": daemon.output}


# DICOM


def test_another_archive_moves_in_by_c_get(start: Start, tool: Tool, tmp_path: Path) -> None:
    made = make_objects(tmp_path / "theirs", 30, per_study=10)
    objects = [of_file(path) for path in sorted((tmp_path / "theirs").rglob("IM*"))]
    with dcmqrscp(tmp_path, tool, objects) as port:
        make_node(TITLE, port=port)
        code, found = imported(start, "--from-node", TITLE)
        assert (code, found["stored"], found["studies"], found["refused"]) == (0, 30, 3, 0)
        assert archived() == made
        code, again = imported(start, "--from-node", TITLE)
        assert (code, again["stored"], again["unchanged"], again["done_before"]) == (0, 0, 0, 30)
        code, fresh = imported(start, "--from-node", TITLE, "--fresh", "--patient", "MRN-1")
        assert (code, fresh["stored"], fresh["unchanged"]) == (0, 0, 10)


def test_an_archive_without_c_get_sends_by_c_move(
    start: Start, tool: Tool, tmp_path: Path, dimse_server: Daemon
) -> None:
    made = make_objects(tmp_path / "theirs", 20, per_study=10)
    objects = [of_file(path) for path in sorted((tmp_path / "theirs").rglob("IM*"))]
    with dcmqrscp(tmp_path, tool, objects, peers=[("MINIPACS", dimse_server.port)], options=["--disable-get"]) as port:
        make_node(TITLE, port=port)
        code, found = imported(start, "--from-node", TITLE, "--date", "20260101-20260103")
    assert (code, found["stored"], found["studies"]) == (0, 20, 2)
    assert archived() == made


def test_only_the_study_and_the_days_that_were_named_come(start: Start, tool: Tool, tmp_path: Path) -> None:
    make_objects(tmp_path / "theirs", 4, per_study=2)
    objects = [of_file(path) for path in sorted((tmp_path / "theirs").rglob("IM*"))]
    with dcmqrscp(tmp_path, tool, objects) as port:
        make_node(TITLE, port=port)
        assert imported(start, "--from-node", TITLE, "--date", "20250101")[1]["stored"] == 0
        assert imported(start, "--from-node", TITLE)[1]["stored"] == 4
        uid = Study.objects.values_list("study_instance_uid", flat=True)[0]
        found = imported(start, "--from-node", TITLE, "--study", uid, "--fresh")[1]
        assert (found["unchanged"], found["studies"]) == (2, 1)


def test_a_node_that_is_gone_fails_the_run_which_goes_on_later(start: Start, tool: Tool, tmp_path: Path) -> None:
    make_objects(tmp_path / "theirs", 2)
    objects = [of_file(path) for path in sorted((tmp_path / "theirs").rglob("IM*"))]
    with dcmqrscp(tmp_path, tool, objects) as port:
        node = make_node(TITLE, port=port)
    code, found = imported(start, "--from-node", TITLE)
    assert (code, found["state"]) == (4, "failed")
    with dcmqrscp(tmp_path / "again", tool, objects) as port:
        node.port = port
        node.save()
        code, again = imported(start, "--from-node", TITLE)
    assert (code, again["stored"], again["id"]) == (0, 2, found["id"])


# DICOMweb


def test_a_dicomweb_server_moves_in(start: Start, tmp_path: Path) -> None:
    made = make_objects(tmp_path / "theirs", 30, per_study=10)
    (tmp_path / "token").write_text("s3cret-token\n")
    with dicomweb_peer(tmp_path / "theirs") as peer:
        code, found = imported(start, "--from-dicomweb", peer.url, "--token-file", tmp_path / "token")
        assert (code, found["stored"], found["studies"], found["found"]) == (0, 30, 3, 30), found
        assert archived() == made
        assert found["bytes_read"] > 30 * 512
        assert peer.authorizations == {"Bearer s3cret-token"}
        peer.requests.clear()
        code, again = imported(start, "--from-dicomweb", peer.url)
        assert (code, again["done_before"]) == (0, 30)
        assert not [path for path in peer.requests if path.count("/") > BASE.count("/") + 5]
        assert "s3cret" not in str(ImportRun.objects.values_list("places", "error"))


def test_our_own_server_moves_in_from_itself(start: Start, tmp_path: Path, web_server: Daemon) -> None:
    made = make_objects(tmp_path / "theirs", 12, per_study=6)
    assert imported(start, tmp_path / "theirs")[0] == 0
    _, text = make_token()
    (tmp_path / "token").write_text(text)
    code, found = imported(start, "--from-dicomweb", f"{web_server.url}/dicom-web", "--token-file", tmp_path / "token")
    assert (code, found["unchanged"], found["stored"]) == (0, 12, 0), found
    assert archived() == made


@pytest.fixture
def peer(tmp_path: Path) -> Any:
    make_objects(tmp_path / "theirs", 3)
    with dicomweb_peer(tmp_path / "theirs") as peer:
        yield peer


def moved_in(peer: Peer, readers: int = 2) -> tuple[ImportRun, str]:
    """What `importdicom --from-dicomweb` does, in this process: the run, and the sentence that it ended with."""
    plan = from_dicomweb(
        site=Site.objects.default(),
        url=peer.url,
        filters={},
        token_file=None,
        user=None,
        readers=readers,
        fresh=False,
    )
    said = ""
    try:
        plan.work()
    except RadiologyError as error:
        said = error.message
    plan.run.refresh_from_db()
    return plan.run, said


def is_object(path: str) -> bool:
    return "/instances/" in path


def test_a_redirect_to_another_host_is_not_followed(peer: Peer) -> None:
    peer.disturb = lambda handler, path: send(handler, 302, Location="http://localhost.localdomain:9/secret")
    run, said = moved_in(peer)
    assert run.state == ImportState.FAILED
    assert "another host" in said
    assert run.error == said


def test_a_redirect_on_the_same_host_is_followed(peer: Peer) -> None:
    def moved(handler: Any, path: str) -> bool:
        if "/moved" in path or not is_object(path):
            handler.path = handler.path.replace("/moved", "")
            return False
        return send(handler, 307, Location=path.replace(BASE, f"{BASE}/moved"))

    peer.disturb = moved
    run, _ = moved_in(peer)
    assert run.stored == 3


def test_a_server_that_stumbles_is_asked_again(peer: Peer) -> None:
    stumbled: set[str] = set()

    def once(handler: Any, path: str) -> bool:
        if path in stumbled:
            return False
        stumbled.add(path)
        return send(handler, 503)

    peer.disturb = once
    run, said = moved_in(peer)
    assert (run.stored, said) == (3, "")


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b"<html>sign in</html>", "text/html"),
        (200, b"", 'multipart/related; type="application/dicom"; boundary=x'),
        (200, b"--x\r\n\r\nDICM, cut", 'multipart/related; type="application/dicom"; boundary=x'),
        (200, b"nonsense" * 50, "application/dicom"),
        (404, b"", "text/plain"),
        (406, b"", "text/plain"),
    ],
)
def test_objects_that_cannot_be_had_are_refused_and_the_others_come(
    peer: Peer, status: int, body: bytes, content_type: str
) -> None:
    spoilt: list[str] = []

    def first(handler: Any, path: str) -> bool:
        if not is_object(path) or (spoilt and path != spoilt[0]):
            return False
        spoilt[:] = [path]
        return send(handler, status, body, content_type)

    peer.disturb = first
    run, said = moved_in(peer, readers=1)
    assert (run.stored, run.refused + run.skipped, said) == (2, 1, "")
    assert Instance.objects.count() == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b"nonsense", b'[{"0020000D": {"Value": ["../../etc/passwd"]}}]', b"[" * 100_000],
)
def test_searches_answered_with_nonsense_end_the_run_with_a_sentence(peer: Peer, body: bytes) -> None:
    peer.disturb = lambda handler, path: send(handler, 200, body, "application/dicom+json")
    run, said = moved_in(peer)
    assert run.stored == 0
    assert ("search" in said) == bool(body)
    assert run.state == (ImportState.FAILED if body else ImportState.DONE)


def test_a_server_that_knows_no_pages_is_not_asked_for_ever(peer: Peer) -> None:
    search = peer.search
    peer.search = lambda parts, query: search(parts, {"limit": "500", "offset": "0"})  # type: ignore[method-assign]
    run, said = moved_in(peer)
    assert (run.stored, said) == (3, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from-node", "NOWHERE"], "no active node"),
        (["--from-node", "A", "--date", "2024-01-01"], "--date"),
        (["--from-node", "A", "--date", "20240230"], "--date"),
        (["--from-dicomweb", "ftp://x/"], "address"),
        (["--from-dicomweb", "https://user:secret@x/"], "without a password"),
        (["--from-dicomweb", "http://pacs.example/dicom-web", "--user", "a"], "https only"),
        (["--from-dicomweb", "https://x/", "--token-file", "/nowhere"], "token cannot be read"),
        (["/tmp", "--from-node", "A"], "Name a folder"),
        (["/tmp", "--study", "1.2"], "another archive"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("importdicom", *arguments)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not ImportRun.objects.exists()


def test_a_candidate_of_a_server_has_a_name_of_its_own(peer: Peer) -> None:
    from pacs.dicomweb.client import DicomWebServer

    every = list(DicomWebServer(peer.url).candidates({}))
    assert len({each.name for each in every if isinstance(each, Candidate)}) == 3
    assert not ImportRun.objects.filter(state=ImportState.RUNNING).exists()
