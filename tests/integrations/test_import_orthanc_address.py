"""Moving in a real Orthanc over its REST API."""

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command

import integrations.orthanc_import.server
import pacs.http_peer
from integrations.orthanc_import.server import OrthancServer
from pacs.models import ImportedFile, ImportKind, ImportRun, ImportState, Instance
from tests.daemons import Daemon, free_port, wait_until
from tests.integrations.imported_orthanc import figures, held, importorthanc, made, real_files, uploaded
from tests.integrations.orthanc_proxy import OrthancProxy, orthanc_proxy
from tests.integrations.orthanc_server import real_orthanc
from tests.pacs.imported import archived

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's, with 45 objects of three patients' and those of other kinds."""
    with real_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        for number in range(3):
            uploaded(url, made(15, f"MRN-{number}"))
        uploaded(url, real_files())
        yield url


@pytest.fixture
def proxy(orthanc: str) -> Iterator[OrthancProxy]:
    with orthanc_proxy(orthanc) as found:
        yield found


@pytest.fixture(autouse=True)
def _small_pages_and_no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrations.orthanc_import.server, "PAGE", 7)
    monkeypatch.setattr(pacs.http_peer, "PAUSE", 0.01)


def test_everything_comes_once_and_later_what_is_new(orthanc: str, capsys: Any) -> None:
    before = held(orthanc)
    code, report = importorthanc(orthanc)
    assert (code, figures(report), report["remarks"]) == (0, (len(before), 0, 0, 0, 0), [])
    assert report["found"] == len(before)
    assert archived() == before
    run = ImportRun.objects.get()
    assert (run.kind, run.places, run.state) == (ImportKind.ORTHANC, [orthanc], ImportState.DONE)

    code, again = importorthanc(orthanc + "/")
    assert (code, figures(again), again["bytes_read"]) == (0, (0, 0, 0, 0, len(before)), 0)
    code, fresh = importorthanc(orthanc, "--fresh")
    assert (code, figures(fresh)) == (0, (0, len(before), 0, 0, 0))

    late = uploaded(orthanc, made(3, "MRN-late"))
    with pytest.raises(SystemExit):
        call_command("importorthanc", orthanc)
    said = capsys.readouterr().out
    assert "Stored: 3, in 1 studies" in said and f"Done in an earlier import: {len(before)}" in said
    assert archived() == held(orthanc)
    for each in late:
        requests.delete(f"{orthanc}/instances/{each}", timeout=30)


def names(server: OrthancServer, at: int = 0, do: Any = None) -> list[str]:
    """What the server lists, while `do` happens after `at` of it."""
    found = []
    for number, each in enumerate(server.candidates()):
        if number == at and do is not None:
            do()
        found.append(each.name.rpartition("/")[2])
    return found


@pytest.mark.parametrize("in_order", [True, False], ids=["as they came", "by identifier"])
def test_what_comes_and_goes_while_the_list_is_read_is_not_missed(proxy: OrthancProxy, in_order: bool) -> None:
    proxy.sorts = not in_order
    server = OrthancServer(proxy.url)
    every = set(requests.get(f"{proxy.theirs}/instances", timeout=30).json())
    assert sorted(names(server)) == sorted(every)

    gone = uploaded(proxy.theirs, made(12, "MRN-gone"))
    new: list[str] = []

    def disturb() -> None:
        for each in gone:
            requests.delete(f"{proxy.theirs}/instances/{each}", timeout=30)
        new.extend(uploaded(proxy.theirs, made(9, "MRN-new")))

    listed = names(server, 30, disturb)
    assert new and every | set(new) <= set(listed) <= every | set(new) | set(gone)
    assert all(listed.count(each) == 1 for each in new)
    for each in new:
        requests.delete(f"{proxy.theirs}/instances/{each}", timeout=30)


def test_objects_that_come_while_it_imports_come_too(proxy: OrthancProxy) -> None:
    new: list[str] = []

    def arrives(path: str) -> None:
        if path == "/instances" and proxy.asked[path] == 3:
            new.extend(uploaded(proxy.theirs, made(2, "MRN-meanwhile")))

    proxy.before = arrives
    code, report = importorthanc(proxy.url)
    assert new and (code, report["refused"]) == (0, 0)
    assert archived() == held(proxy.theirs)
    for each in new:
        requests.delete(f"{proxy.theirs}/instances/{each}", timeout=30)


def test_an_import_that_is_killed_goes_on_where_it_was(proxy: OrthancProxy, start: Any) -> None:
    every = held(proxy.theirs)
    go_on = threading.Event()

    def hold(path: str) -> None:
        if len(proxy.fetched) > 25 and path.endswith("/data"):
            go_on.wait(60)

    proxy.before = hold
    daemon = start(Daemon("importorthanc", ["manage.py", "importorthanc", proxy.url]))
    wait_until(lambda: ImportedFile.objects.count() >= 20, seconds=90, what="objects done")
    daemon.kill()
    go_on.set()
    done = ImportedFile.objects.count()
    assert 0 < done < len(every) and ImportRun.objects.get().state == ImportState.RUNNING
    proxy.asked.clear()
    code, report = importorthanc(proxy.url)
    assert code == 0 and report["id"] == str(ImportRun.objects.get().public_id)
    assert len(proxy.fetched) == len(every) - done
    assert report["stored"] + report["unchanged"] == len(every) == Instance.objects.count()
    assert archived() == every


def test_an_orthanc_that_goes_away_ends_the_import_which_goes_on_later(proxy: OrthancProxy) -> None:
    proxy.before = lambda path: (503, b"") if len(proxy.fetched) > 10 else None
    code, report = importorthanc(proxy.url)
    assert (code, report["state"], report["refused"]) == (4, "failed", 0)
    assert "503" in report["error"]
    proxy.before = lambda path: None
    code, again = importorthanc(proxy.url)
    assert (code, again["id"]) == (0, report["id"])
    assert archived() == held(proxy.theirs)


def test_one_object_that_cannot_be_had_is_named_and_the_others_come(proxy: OrthancProxy, tmp_path: Path) -> None:
    cut, wrong, lost, broken, unsummed = sorted(requests.get(f"{proxy.theirs}/instances", timeout=30).json())[:5]
    answers = {
        f"/instances/{wrong}/attachments/dicom/md5": (200, b"0" * 32),
        f"/instances/{lost}/attachments/dicom/data": (404, b"{}"),
        f"/instances/{broken}/attachments/dicom/data": (500, b"{}"),
        f"/instances/{unsummed}/attachments/dicom/md5": (404, b"{}"),
    }
    proxy.before = answers.get
    proxy.cuts = cut
    code, report = importorthanc(proxy.url, "--report", tmp_path / "report.csv")
    every = held(proxy.theirs)
    assert (code, figures(report)) == (3, (len(every) - 4, 0, 4, 0, 0))
    rows = (tmp_path / "report.csv").read_text().splitlines()[1:]
    reasons = {name: next(row for row in rows if name in row) for name in (cut, wrong, lost, broken)}
    assert "does not send its file whole" in reasons[cut]
    assert "MD5" in reasons[wrong]
    assert "no file of it" in reasons[lost]
    assert "HTTP 500" in reasons[broken]
    assert report["remarks"] == ["There was no MD5 of 1 file: it was taken without being compared."]
    proxy.before, proxy.cuts = lambda path: None, ""
    code, again = importorthanc(proxy.url)
    assert (code, figures(again)) == (0, (4, 0, 0, 0, len(every) - 4))
    assert archived() == every


@pytest.mark.parametrize(
    ("path", "status", "body", "ends"),
    [
        ("/instances", 200, b"[" * 100_000, 4),
        ("/instances", 200, b'[{"ID": "../../system"}]', 4),
        ("/instances", 200, b'{"ID": 3}', 4),
        ("/statistics", 200, b"[]", 4),
        ("/changes", 200, b'{"Changes": [{}], "Last": "x"}', 4),
        ("/changes", 404, b"", 0),  # a log that is not kept
        ("/changes", 200, b'{"Changes": [], "Last": 0, "Done": false}', 0),
    ],
)
def test_answers_that_make_no_sense_end_it_with_a_sentence(
    proxy: OrthancProxy, path: str, status: int, body: bytes, ends: int
) -> None:
    if ends == 0:
        importorthanc(proxy.url)
    proxy.before = lambda asked: (status, body) if asked == path else None
    code, report = importorthanc(proxy.url)
    assert code == ends
    assert bool(report["error"]) == bool(ends)


def test_passwords_open_and_are_told_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    files = made(2)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"mover": "s3cret"}}
    with real_orthanc(tmp_path, **users) as url:
        uploaded(url, files, ("mover", "s3cret"))
        with pytest.raises(CommandError, match="refuses us"):
            call_command("importorthanc", url)
        (tmp_path / "wrong").write_text("s3cret-not\n")
        with pytest.raises(CommandError, match="refuses us") as refused:
            call_command("importorthanc", url, "--user", "mover", "--password-file", str(tmp_path / "wrong"))
        assert not ImportRun.objects.exists()
        (tmp_path / "right").write_text("s3cret\n")
        code, report = importorthanc(url, "--user", "mover", "--password-file", tmp_path / "right")
        assert (code, report["stored"]) == (0, 2)
        monkeypatch.setenv("SINAR_ORTHANC_PASSWORD", "s3cret")
        code, again = importorthanc(url, "--user", "mover")
        assert (code, again["done_before"]) == (0, 2)
        monkeypatch.delenv("SINAR_ORTHANC_PASSWORD")
        monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
        assert importorthanc(url, "--user", "mover", "--fresh")[1]["unchanged"] == 2
    told = [str(refused.value), str(report), *capfd.readouterr(), str(list(ImportRun.objects.values()))]
    assert "s3cret" not in "".join(told)


def test_mistakes_are_explained_before_anything_begins(proxy: OrthancProxy, tmp_path: Path) -> None:
    proxy.before = lambda path: (200, b'{"Version": "nginx"}')
    for arguments, said in (
        ([], "Name the address"),
        ([f"http://127.0.0.1:{free_port()}"], "does not answer"),
        (["http://mover:s3cret@127.0.0.1:8042"], "without a password"),
        (["ftp://127.0.0.1"], "address"),
        ([proxy.url], "There is no Orthanc"),
        (["http://pacs.example:8042", "--password-file", "x"], "needs a user"),
        (["http://127.0.0.1:8042", "--user", "a", "--password-file", "/nowhere"], "cannot be read"),
        (["http://127.0.0.1:8042", "--without-index"], "folder of an Orthanc"),
        ([str(tmp_path), "--user", "a"], "about the address"),
        ([str(tmp_path / "nowhere")], "There is no folder"),
    ):
        with pytest.raises(CommandError) as caught:
            call_command("importorthanc", *arguments)
        assert said in str(caught.value)
        assert "s3cret" not in str(caught.value)
    assert not ImportRun.objects.exists()
    assert os.listdir(tmp_path) == []
