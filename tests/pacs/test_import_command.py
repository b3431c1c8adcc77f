"""`manage.py importdicom` as its user types it, killed and stopped on the way."""

import csv
import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from pydicom.fileset import FileSet

from pacs.models import ImportedFile, ImportRun, ImportState, Instance, Study, Volume
from tests.daemons import Daemon, database_url, wait_until
from tests.factories import make_site
from tests.pacs.imported import archived, make_objects
from tests.pacs.objects import ct, part10

Start = Callable[[Daemon], Daemon]

pytestmark = pytest.mark.usefixtures("committed_db")


def command(*arguments: Any, name: str = "importdicom") -> Daemon:
    return Daemon(name, ["manage.py", "importdicom", *map(str, arguments)])


def finished(daemon: Daemon, seconds: float = 120) -> int:
    assert daemon.process is not None
    return daemon.process.wait(seconds)


def imported(start: Start, *arguments: Any) -> tuple[int, dict[str, Any]]:
    """Run the command to its end: exit code and report."""
    daemon = command("--json", *arguments)
    daemon.log.unlink(missing_ok=True)
    code = finished(start(daemon))
    lines = [line for line in daemon.output.splitlines() if line.startswith('{"id"')]
    assert lines, daemon.output
    return code, json.loads(lines[-1])


@contextmanager
def journal_locked() -> Iterator[Callable[[Daemon], bool]]:
    """Nobody can write to the journal of imports: objects are stored, and an import stands still behind that.

    Gives a function that says whether this import does. The server's list of locks tells of all its databases, and
    those of two pytest workers are copies, in which the journal has the same number.
    """
    with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"])) as other:
        other.execute("LOCK TABLE pacs_importedfile IN EXCLUSIVE MODE")
        yield waits_for_the_journal


def waits_for_the_journal(daemon: Daemon) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted "
            "AND relation = 'pacs_importedfile'::regclass AND datname = current_database() AND application_name = %s)",
            [daemon.sessions],
        )
        return bool(cursor.fetchone()[0])


def test_a_folder_is_imported_and_the_report_says_what_became_of_each_file(start: Start, tmp_path: Path) -> None:
    medium = tmp_path / "old pacs"
    made = make_objects(medium, 60, per_study=20)
    twin = next(medium.rglob("IM*"))
    (medium / "twin.dcm").write_bytes(twin.read_bytes())
    (medium / "readme.txt").write_text("no dicom")
    (medium / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 200)
    (medium / "cut.dcm").write_bytes(twin.read_bytes()[:-40])
    (medium / "=HYPERLINK(1).dcm").write_bytes(twin.read_bytes()[:-41])
    report = tmp_path / "report.csv"
    code, found = imported(start, medium, "--report", report)
    assert code == 3
    assert archived() == made
    figures = {key: found[key] for key in ("stored", "unchanged", "held", "skipped", "refused", "found", "studies")}
    assert figures == {
        "stored": 60,
        "unchanged": 1,
        "held": 0,
        "skipped": 2,
        "refused": 2,
        "found": 65,
        "studies": 3,
    }
    rows = list(csv.DictReader(io.StringIO(report.read_text())))
    assert {row["outcome"] for row in rows} == {"refused"}
    assert {Path(row["file"]).name for row in rows} == {"cut.dcm", "=HYPERLINK(1).dcm"}
    assert all("truncated" in row["reason"] for row in rows)


def test_what_was_done_is_not_read_again_unless_asked_for(start: Start, tmp_path: Path) -> None:
    made = make_objects(tmp_path / "medium", 30)
    assert imported(start, tmp_path / "medium")[0] == 0
    code, again = imported(start, tmp_path / "medium")
    assert (code, again["stored"], again["unchanged"], again["done_before"]) == (0, 0, 0, 30)
    assert again["bytes_read"] == 0
    code, fresh = imported(start, tmp_path / "medium", "--fresh")
    assert (code, fresh["stored"], fresh["unchanged"], fresh["done_before"]) == (0, 0, 30, 0)
    assert archived() == made


@pytest.mark.parametrize("jobs", [1, 4])
def test_an_import_that_is_killed_twice_has_everything_once_and_reads_nothing_again(
    start: Start, tmp_path: Path, jobs: int
) -> None:
    medium = tmp_path / "medium"
    made = make_objects(medium, 500)
    for _ in range(2):
        daemon = start(command(medium, "--jobs", jobs))
        before = ImportedFile.objects.count()
        wait_until(lambda: ImportedFile.objects.count() > before, seconds=60, what="first files done")  # noqa: B023
        with journal_locked() as stands_still:
            wait_until(lambda: stands_still(daemon), seconds=60, what="objects stored and not yet in the journal")  # noqa: B023
            daemon.kill()
        assert ImportRun.objects.get().state == ImportState.RUNNING
        spoil_what_is_in_the_journal(medium)
    assert 0 < ImportedFile.objects.count() < 500
    code, found = imported(start, medium, "--jobs", jobs)
    assert code == 0, found
    assert archived() == made
    assert found["stored"] + found["unchanged"] == 500
    assert found["refused"] == found["skipped"] == found["held"] == found["done_before"] == 0
    assert ImportRun.objects.get().state == ImportState.DONE


def spoil_what_is_in_the_journal(medium: Path) -> None:
    """Whoever reads a file again that was done with finds nothing that is DICOM."""
    from pacs.services.imports_journal import digest_of
    from pacs.services.media import Candidate, candidates

    done = set(ImportedFile.objects.values_list("digest", flat=True))
    assert done
    for each in list(candidates(medium)):
        if isinstance(each, Candidate) and digest_of(each) in done:
            Path(each.name).write_bytes(b"\xff" * each.size)
            os.utime(each.name, ns=(each.mark, each.mark))


def test_ctrl_c_stores_what_was_read_and_the_same_command_goes_on(start: Start, tmp_path: Path) -> None:
    made = make_objects(tmp_path / "medium", 300)
    daemon = command(tmp_path / "medium", name="importdicom-stopped")
    incoming = Path(settings.SINAR_DATA, "archive", "incoming")
    left_by_others = set(incoming.glob("*"))
    with journal_locked() as stands_still:
        start(daemon)
        wait_until(lambda: stands_still(daemon), seconds=60, what="objects stored and not yet in the journal")
        os.kill(daemon.pid, signal.SIGINT)
        wait_until(lambda: "Stopping" in daemon.output, seconds=30)
    assert finished(daemon) == 130, daemon.output
    run = ImportRun.objects.get()
    assert run.state == ImportState.STOPPED
    assert 0 < run.stored == Instance.objects.count() < 300
    assert set(incoming.glob("*")) <= left_by_others
    code, found = imported(start, tmp_path / "medium")
    assert (code, found["stored"], found["id"]) == (0, 300, str(run.public_id))
    assert archived() == made


def test_two_commands_do_not_import_the_same_places_at_once(start: Start, tmp_path: Path) -> None:
    make_objects(tmp_path / "medium", 100)
    with journal_locked() as stands_still:
        first = start(command(tmp_path / "medium", name="importdicom-first"))
        wait_until(lambda: stands_still(first), seconds=60)
        second = command(tmp_path / "medium", name="importdicom-second")
        code = finished(start(second))
        assert code == 4
        assert "running already" in second.output
    assert finished(first) == 0
    assert Instance.objects.count() == 100
    assert ImportRun.objects.get().state == ImportState.DONE


def test_hostile_zips_hurt_nobody(start: Start, tmp_path: Path) -> None:
    good = ct()
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("good.dcm", part10(good))
        bomb.writestr("../../escaped.dcm", part10(ct()))
        bomb.writestr("/tmp/escaped.dcm", part10(ct()))
        bomb.writestr("bomb.dcm", part10(ct())[:400] + bytes(500 * 1024 * 1024))
    code, found = imported(start, tmp_path / "bomb.zip")
    assert (code, found["stored"], found["refused"]) == (3, 1, 3)
    assert set(archived()) == {good.SOPInstanceUID}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.zip"]
    assert not Path("/tmp/escaped.dcm").exists()


def test_a_cd_and_a_zip_are_imported_in_one_go(start: Start, tmp_path: Path) -> None:
    medium, packed = FileSet(), ct(PatientID="MRN-2")
    on_cd = [ct(InstanceNumber=number) for number in range(3)]
    for each in on_cd:
        medium.add(each)
    medium.write(tmp_path / "cd")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("IM1", part10(packed))
    code, found = imported(start, tmp_path / "cd" / "DICOMDIR", tmp_path / "study.zip")
    assert (code, found["stored"], found["skipped"], found["refused"]) == (0, 4, 0, 0)
    assert set(archived()) == {packed.SOPInstanceUID, *(each.SOPInstanceUID for each in on_cd)}


def test_a_full_disk_ends_the_import_and_blames_no_file(start: Start, tmp_path: Path) -> None:
    make_objects(tmp_path / "medium", 20)
    Volume.objects.update(reserve=2**62)
    code, found = imported(start, tmp_path / "medium")
    assert (code, found["state"], found["refused"]) == (4, "failed", 0)
    assert "full" in found["error"]
    Volume.objects.update(reserve=0)
    code, found = imported(start, tmp_path / "medium")
    assert (code, found["stored"]) == (0, 20)


def test_objects_go_to_the_site_that_is_named(start: Start, tmp_path: Path) -> None:
    make_site("cabang")
    make_objects(tmp_path / "medium", 3)
    assert imported(start, tmp_path / "medium", "--site", "cabang")[0] == 0
    assert {study.site.code for study in Study.objects.select_related("site")} == {"cabang"}


def test_an_import_reads_no_faster_than_it_may(tmp_path: Path, committed_db: None) -> None:
    made = make_objects(tmp_path / "medium", 8, side=128)
    size = sum(path.stat().st_size for path in (tmp_path / "medium").rglob("*") if path.is_file())
    began = time.monotonic()
    with pytest.raises(SystemExit):
        call_command("importdicom", tmp_path / "medium", "--bandwidth", "0.2")
    seconds = time.monotonic() - began
    largest = 4 * size / len(made)  # each reader waits after what it has read
    assert size <= 200_000 * seconds + largest
    assert archived() == made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a folder"),
        (["/nowhere/at/all"], "nothing at"),
        (["/", "--site", "nowhere"], "There is no site"),
        (["/", "--jobs", "0"], "--jobs"),
        (["/", "--bandwidth", "0.001"], "--bandwidth"),
        (["/", "--bandwidth", "nan"], "--bandwidth"),
        (["--from-node", "PACS2", "--bandwidth", "5"], "at the node"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("importdicom", *arguments)
    assert not ImportRun.objects.exists()
