"""Imports that a worker carries out: from the folders that were allowed, and from nowhere else."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from pacs.models import ImportRefusal, ImportRun, ImportState, Volume
from pacs.services import imports, imports_engine, imports_journal
from pacs.services.media import Candidate, candidates
from radiology.models import Job, JobState, Role, Site, User
from radiology.services import jobs
from tests.factories import make_user
from tests.pacs.imported import archived, make_objects
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    settings.SINAR_DATA = tmp_path / "data"
    settings.SINAR_IMPORT_ROOTS = [str(tmp_path / "import")]
    Volume.objects.update(path=str(tmp_path / "archive"))
    (tmp_path / "import").mkdir()
    return tmp_path / "import"


@pytest.fixture
def administrator(root: Path) -> User:
    user = make_user("admin", is_staff=True)
    user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    return user


@pytest.fixture
def client(administrator: User) -> Client:
    client = Client()
    client.force_login(administrator, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_a_folder_is_imported_by_the_worker(client: Client, root: Path) -> None:
    made = make_objects(root / "cd", 100)
    answer = client.post("/import/folders", {"path": "cd"})
    run = ImportRun.objects.get()
    assert answer["Location"] == f"/import/{run.public_id}"
    assert (run.state, run.agent) == (ImportState.WAITING, "admin")
    jobs.run_due()
    run.refresh_from_db()
    assert (run.state, run.found, run.stored) == (ImportState.DONE, 100, 100)
    assert Job.objects.get(kind__startswith="pacs.import").state == JobState.DONE
    assert archived() == made
    assert b"100" in client.get(f"/import/{run.public_id}").content


@pytest.mark.parametrize("path", ["../outside", "/etc", "", "\0", "nowhere", "link", "link/deep", "x" * 5000])
def test_nothing_outside_of_the_roots_is_read(client: Client, root: Path, path: str) -> None:
    make_objects(root.parent / "outside" / "deep", 1)
    (root / "link").symlink_to(root.parent / "outside")
    answer = client.post("/import/folders", {"path": path})
    assert answer.status_code == 400
    assert not ImportRun.objects.exists()


def test_a_folder_that_became_a_link_before_the_worker_came_is_not_read(client: Client, root: Path) -> None:
    make_objects(root / "cd", 1)
    make_objects(root.parent / "outside", 1)
    client.post("/import/folders", {"path": "cd"})
    (root / "cd").rename(root.parent / "moved")
    (root / "cd").symlink_to(root.parent / "outside")
    jobs.run_due()
    assert ImportRun.objects.get().state == ImportState.FAILED
    assert archived() == {}


def test_a_cancelled_import_stops_and_goes_on_when_asked(
    client: Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_objects(root / "cd", 600)
    client.post("/import/folders", {"path": "cd"})
    run = ImportRun.objects.get()
    monkeypatch.setattr(imports, "LEASE_EVERY", 0.0)
    monkeypatch.setattr(imports_engine, "SIGN_EVERY", 0.0)
    extend = jobs.extend_lease

    def cancelled_on_the_way(**values: Any) -> None:
        if values["progress"]:
            assert client.post(f"/import/{run.public_id}/cancel").status_code == 302
        extend(**values)

    monkeypatch.setattr(jobs, "extend_lease", cancelled_on_the_way)
    jobs.run_due()
    run.refresh_from_db()
    assert run.state == ImportState.STOPPED
    assert 0 < run.stored < 600
    assert Job.objects.get(kind__startswith="pacs.import").state == JobState.CANCELLED
    monkeypatch.setattr(jobs, "extend_lease", extend)
    assert client.post(f"/import/{run.public_id}/cancel").status_code == 409
    assert client.post(f"/import/{run.public_id}/resume").status_code == 302
    jobs.run_due()
    run.refresh_from_db()
    assert (run.state, run.stored, run.unchanged) == (ImportState.DONE, 600, 0)
    assert archived() == made
    assert client.post(f"/import/{run.public_id}/resume").status_code == 409


def test_one_who_may_upload_may_not_start_stop_or_resume_folders(root: Path) -> None:
    user = make_user("radiographer")
    user.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    (root / "cd").mkdir()
    run = ImportRun.objects.create(site=Site.objects.default(), kind="files", places=[str(root / "cd")])
    for address in ("/import/folders", f"/import/{run.public_id}/cancel", f"/import/{run.public_id}/resume"):
        assert client.post(address, {"path": "cd"}).status_code == 403
    assert not Job.objects.exists()


def engine(run: ImportRun, listing: Any) -> None:
    imports.carry_out(run=run, listing=listing)


def new_run(place: Path) -> ImportRun:
    return imports.run_for(site=Site.objects.default(), kind=imports.ImportKind.FILES, places=[str(place)])[0]


def test_a_file_that_grows_while_it_is_read_is_refused_and_taken_the_next_time(root: Path) -> None:
    data_set = ct(side=512)
    file = root / "growing.dcm"
    whole = part10(data_set)
    file.write_bytes(whole[:-5000])

    def growing() -> Any:
        for each in candidates(root):
            assert isinstance(each, Candidate)

            def blocks(each: Candidate = each) -> Any:
                for block in each.blocks():
                    yield block
                    with file.open("ab") as more:
                        more.write(whole[-5000:])

            yield Candidate(each.name, each.size, each.mark, blocks)

    run = new_run(root)
    engine(run, growing)
    refusal = ImportRefusal.objects.get()
    assert "grew" in refusal.reason
    assert archived() == {}
    file.write_bytes(whole)
    engine(new_run(root), imports.listing_of([root]))
    assert set(archived()) == {data_set.SOPInstanceUID}


def test_a_run_that_goes_on_tells_refused_files_once(root: Path) -> None:
    make_objects(root, 3)
    (root / "cut.dcm").write_bytes(part10(ct())[:-20])
    run = new_run(root)
    engine(run, imports.listing_of([root]))
    ImportRun.objects.update(state=ImportState.STOPPED)
    again = new_run(root)
    assert again == run
    engine(again, imports.listing_of([root]))
    again.refresh_from_db()
    assert (again.stored, again.refused, ImportRefusal.objects.count()) == (3, 1, 1)


def test_a_corrected_file_is_another_file(root: Path) -> None:
    data_set = ct()
    file = root / "a.dcm"
    file.write_bytes(part10(data_set)[:-20])
    engine(new_run(root), imports.listing_of([root]))
    file.write_bytes(part10(data_set))
    engine(new_run(root), imports.listing_of([root]))
    assert set(archived()) == {data_set.SOPInstanceUID}


def test_of_endless_refusals_a_fixed_number_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports_journal, "MOST_REFUSALS", 10)
    for number in range(150):
        (root / f"{number}.dcm").write_bytes(part10(ct())[:-20])
    run = new_run(root)
    engine(run, imports.listing_of([root]))
    run.refresh_from_db()
    assert run.refused == 150
    assert ImportRefusal.objects.count() == 10


def test_a_reader_that_nobody_thought_of_costs_one_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_objects(root, 2)

    def listing() -> Any:
        def broken() -> Any:
            raise ZeroDivisionError
            yield b""

        yield Candidate("broken", 1, 1, broken)
        yield from candidates(root)

    run = new_run(root)
    engine(run, listing)
    run.refresh_from_db()
    assert (run.state, run.stored, run.refused) == (ImportState.DONE, 2, 1)
    assert archived() == made


def test_the_journal_is_forgotten_some_weeks_after_the_run(root: Path) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from pacs.models import ImportedFile

    make_objects(root, 5)
    engine(new_run(root), imports.listing_of([root]))
    imports_journal.forget_imported_files()
    assert ImportedFile.objects.count() == 5
    ImportRun.objects.update(finished_at=timezone.now() - timedelta(days=31))
    imports_journal.forget_imported_files()
    assert not ImportedFile.objects.exists()


def test_files_of_the_same_bytes_and_other_names_are_there_already(root: Path) -> None:
    make_objects(root, 1)
    file = next(root.rglob("IM*"))
    for number in range(5):
        os.link(file, root / f"again{number}")
    run = new_run(root)
    engine(run, imports.listing_of([root]))
    run.refresh_from_db()
    assert (run.stored, run.unchanged) == (1, 5)
