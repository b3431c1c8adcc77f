"""dcmtk's programs, each timed as a whole process.

TCP_NODELAY: without it dcmtk's portions of a message and the other side's delayed acknowledgements wait for each
other, 40 ms a message.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.screen import SetUpFailed

if TYPE_CHECKING:
    from benchmarks.servers import Server

TITLE = "BENCH"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def run(program: str, *arguments: str) -> str:
    """Run to the end; what it wrote. `SetUpFailed` when it is missing or failed."""
    try:
        done = subprocess.run([program, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SetUpFailed(f"{program} is missing: type deploy/debian-packages bench as root.") from None
    if done.returncode:
        raise SetUpFailed(f"{program} {' '.join(arguments)} failed: {(done.stderr + done.stdout).strip()[-500:]}")
    return done.stdout + done.stderr


def _peer(server: "Server") -> list[str]:
    return ["-aet", TITLE, "-aec", server.ae_title, "127.0.0.1", str(server.dicom_port)]


def store(server: "Server", *folders: Path) -> None:
    """One storescu and so one association for each folder, all at once."""
    command = ["storescu", "--required", "+sd", "+r", "+sp", "*.dcm", *_peer(server)]
    running = [
        subprocess.Popen([*command, folder], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for folder in folders
    ]
    for process in running:
        said = process.communicate()[1]
        if process.returncode:
            raise SetUpFailed(f"storescu to {server.name} failed: {said.decode(errors='replace').strip()[-500:]}")


def find_studies(server: "Server", **keys: str) -> int:
    """How many studies C-FIND finds, asking for what a workstation's list shows."""
    shown = "PatientName PatientBirthDate PatientSex StudyTime StudyDescription AccessionNumber ModalitiesInStudy "
    shown += "NumberOfStudyRelatedInstances StudyInstanceUID"
    wanted = {"QueryRetrieveLevel": "STUDY", **dict.fromkeys(shown.split(), ""), **keys}
    arguments = [part for key, value in wanted.items() for part in ("-k", f"{key}={value}")]
    return run("findscu", "-v", "-S", *arguments, *_peer(server)).count("(Pending)")


def get_study(server: "Server", study_uid: str, folder: Path) -> None:
    """C-GET into a folder, bytes written as they come."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}"]
    run("getscu", "-S", "+B", "-od", str(folder), *keys, *_peer(server))


def move_study(server: "Server", study_uid: str) -> None:
    """C-MOVE to the receiver that is registered as BENCH."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}"]
    run("movescu", "-S", "-aem", TITLE, *keys, *_peer(server))


@contextmanager
def receiver(port: int, folder: Path) -> Iterator[None]:
    """storescp, which writes what it gets into a folder, bytes as they come."""
    command = ["storescp", "+B", "--fork", "-aet", TITLE, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
